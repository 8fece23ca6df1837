//! `textDocument/codeAction`: the fixes of errors and lints.

use std::collections::HashMap;

use lsp_types::{CodeAction, CodeActionKind, CodeActionOrCommand, TextEdit, Uri, WorkspaceEdit};

use crate::diagnostic::{Applicability, Diagnostic, Edit};
use crate::source::{SourceId, Span};

use super::analysis::Analysis;
use super::diagnostics::diagnostic;

/// All safe fixes of a document at once.
pub const FIX_ALL: CodeActionKind = CodeActionKind::new("source.fixAll.lbc");

/// What can be done about the findings that touch a span; `only` says which kinds are asked for. `fixed` is the document with all that
/// can be done without thought.
pub fn actions(
    analysis: &Analysis,
    source: SourceId,
    span: Span,
    only: Option<&[CodeActionKind]>,
    fixed: impl FnOnce() -> Option<String>,
) -> Vec<CodeActionOrCommand> {
    let wanted = |kind: &CodeActionKind| only.is_none_or(|only| only.iter().any(|one| covers(one, kind)));
    let mut list = Vec::new();
    if wanted(&CodeActionKind::QUICKFIX) {
        list.extend(analysis.diagnostics.iter().filter_map(|one| quick_fix(analysis, source, span, one)));
    }
    // Only where it is asked for by name: it would stand beside every fix.
    if only.is_some() && wanted(&FIX_ALL) {
        list.extend(fixed().and_then(|text| fix_all(analysis, source, text)));
    }
    list.into_iter().map(CodeActionOrCommand::CodeAction).collect()
}

/// Whether a kind is another, or one above it: `source` covers `source.fixAll`.
fn covers(one: &CodeActionKind, kind: &CodeActionKind) -> bool {
    let rest = kind.as_str().strip_prefix(one.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || one.as_str().is_empty())
}

fn quick_fix(analysis: &Analysis, source: SourceId, span: Span, one: &Diagnostic) -> Option<CodeAction> {
    let loc = one.primary.loc;
    if loc.source != source || loc.span.start > span.end || loc.span.end < span.start {
        return None;
    }
    let fix = one.fix.as_deref()?;
    let is_safe = fix.applicability == Applicability::Safe;
    let title = match is_safe {
        true => fix.message.clone(),
        false => format!("{} (changes the meaning)", fix.message),
    };
    Some(CodeAction {
        title,
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(vec![diagnostic(analysis, one)]),
        edit: Some(edit(analysis, &fix.edits)?),
        is_preferred: Some(is_safe),
        ..CodeAction::default()
    })
}

/// The edits for the editor; `None` where one is in no document.
fn edit(analysis: &Analysis, edits: &[Edit]) -> Option<WorkspaceEdit> {
    #[allow(clippy::mutable_key_type, reason = "the protocol's own type")]
    let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
    for edit in edits {
        let place = analysis.location(edit.loc)?;
        changes.entry(place.uri).or_default().push(TextEdit::new(place.range, edit.text.clone()));
    }
    Some(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() })
}

/// All the fixes that keep the meaning and do not leave the document.
fn fix_all(analysis: &Analysis, source: SourceId, text: String) -> Option<CodeAction> {
    let whole = Span::new(0, analysis.text(source).len() as u32);
    Some(CodeAction {
        title: "apply all fixes that keep the meaning".to_owned(),
        kind: Some(FIX_ALL),
        edit: Some(edit(analysis, &[Edit::replace(source, whole, text)])?),
        ..CodeAction::default()
    })
}
