//! `textDocument/inlayHint`: the exact share behind every backend.

use lsp_types::{InlayHint, InlayHintLabel, InlayHintTooltip, Position};

use crate::diagnostic::at;
use crate::ir::share::percent;
use crate::source::{SourceId, Span};
use crate::statement::Statement;
use crate::statement::backends::Backend;

use super::analysis::Analysis;
use super::shares::{Shares, own, services, within};

/// The hints within a span. A list of one backend has none: it gets everything.
pub fn hints(analysis: &Analysis, source: SourceId, span: Span) -> Vec<InlayHint> {
    let mut hints = Vec::new();
    let touches = |other: Span| other.start <= span.end && span.start <= other.end;
    for (own_source, item, balance, service) in services(analysis) {
        if own_source == source && touches(item.span) && balance.backends.list.len() > 1 {
            let of = format!("of `{}`", service.name);
            let shares = own(analysis, source, balance, service);
            add(analysis, source, span, &balance.backends.list, &shares, &of, &mut hints);
        }
    }
    if analysis.config.is_some() {
        for item in analysis.program.files[source.0 as usize].items.iter().filter(|item| touches(item.span)) {
            if let Statement::Pool(pool) = &item.statement
                && pool.backends.list.len() > 1
            {
                let of = format!("of the pool `{}`", analysis.at(at(source, pool.name)));
                add(analysis, source, span, &pool.backends.list, &within(analysis, source, pool), &of, &mut hints);
            }
        }
    }
    hints
}

fn add(
    analysis: &Analysis,
    source: SourceId,
    span: Span,
    list: &[Backend],
    shares: &[Shares],
    of: &str,
    hints: &mut Vec<InlayHint>,
) {
    let wanted = |backend: &Backend| backend.span.start <= span.end && span.start <= backend.span.end;
    for (backend, shares) in list.iter().zip(shares).filter(|(backend, _)| wanted(backend)) {
        let (Some(label), Some(percent)) = (shares.fractions(), shares.show(percent)) else { continue };
        let position: Position = analysis.lines(source).position(analysis.text(source), backend.span.end);
        hints.push(InlayHint {
            position,
            label: InlayHintLabel::String(label),
            kind: None,
            text_edits: None,
            tooltip: Some(InlayHintTooltip::String(format!("{percent} {of}"))),
            padding_left: Some(true),
            padding_right: None,
            data: None,
        });
    }
}
