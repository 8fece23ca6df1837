//! `textDocument/documentSymbol`: the statements of a file.

use lsp_types::{DocumentSymbol, SymbolKind};

use crate::diagnostic::at;
use crate::option::Kind;
use crate::source::{SourceId, Span};
use crate::statement::backends::Backends;
use crate::statement::balance::Balance;
use crate::statement::{Item, Statement};

use super::analysis::Analysis;

/// The longest detail, in characters.
const MAX_DETAIL: usize = 80;

/// Every host, net, pool and service, in source order; backends stand below what they belong to.
pub fn outline(analysis: &Analysis, source: SourceId) -> Vec<DocumentSymbol> {
    let items = analysis.program.files.get(source.0 as usize).map_or(&[][..], |file| &file.items);
    items.iter().filter_map(|item| symbol(analysis, source, item)).collect()
}

fn symbol(analysis: &Analysis, source: SourceId, item: &Item) -> Option<DocumentSymbol> {
    let text = |span: Span| analysis.at(at(source, span));
    let (name, selection, kind, detail, backends) = match &item.statement {
        Statement::Include(include) => (text(include.path), include.path, SymbolKind::FILE, None, None),
        Statement::Host(host) => (text(host.name), host.name, SymbolKind::CONSTANT, Some(host.list), None),
        Statement::Net(net) => (text(net.name), net.name, SymbolKind::NAMESPACE, Some(net.list), None),
        Statement::Pool(pool) => (text(pool.name), pool.name, SymbolKind::ARRAY, None, Some(&pool.backends)),
        Statement::Default(_) => return None,
        Statement::Balance(balance) => {
            let listener = listener(balance);
            match named(balance) {
                Some(name) => (text(name), name, SymbolKind::INTERFACE, Some(listener), Some(&balance.backends)),
                None => (text(listener), listener, SymbolKind::INTERFACE, None, Some(&balance.backends)),
            }
        }
    };
    let detail = detail.map(|span| shorten(text(span)));
    let children = backends.map(|backends| children(analysis, source, backends));
    Some(new(analysis, source, (shorten(name), detail, kind), (item.span, selection), children))
}

fn children(analysis: &Analysis, source: SourceId, backends: &Backends) -> Vec<DocumentSymbol> {
    let child = |span: Span| {
        let name = shorten(analysis.at(at(source, span)));
        new(analysis, source, (name, None, SymbolKind::FIELD), (span, span), None)
    };
    backends.list.iter().map(|backend| child(backend.span)).collect()
}

#[allow(deprecated, reason = "the protocol's type has an old field")]
fn new(
    analysis: &Analysis,
    source: SourceId,
    (name, detail, kind): (String, Option<String>, SymbolKind),
    (whole, selection): (Span, Span),
    children: Option<Vec<DocumentSymbol>>,
) -> DocumentSymbol {
    DocumentSymbol {
        name,
        detail,
        kind,
        tags: None,
        deprecated: None,
        range: analysis.range(source, whole),
        selection_range: analysis.range(source, selection),
        children,
    }
}

/// The name that `as` gives.
fn named(balance: &Balance) -> Option<Span> {
    balance.options.iter().find_map(|option| match option.kind {
        Kind::As(name) => Some(name),
        _ => None,
    })
}

/// Protocols and listen part.
fn listener(balance: &Balance) -> Span {
    balance.protocols.first().map_or(balance.listen.span, |first| first.span.to(balance.listen.span))
}

/// One line of text, not too long and never empty, as editors want it.
fn shorten(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(MAX_DETAIL) {
        line.truncate(cut);
        line.push('…');
    }
    if line.is_empty() { "…".to_owned() } else { line }
}
