//! `textDocument/references`: where a host, net or pool is used.

use lsp_types::Location;

use super::analysis::Analysis;

/// Every place of a name in some programs; a file that several share is told of once.
pub fn references<'a>(
    analyses: impl IntoIterator<Item = &'a Analysis>,
    name: &str,
    declarations: bool,
) -> Vec<Location> {
    let mut list = Vec::new();
    for analysis in analyses {
        let wanted = analysis.names().occurrences(name).iter().filter(|one| declarations || !one.is_declaration);
        list.extend(wanted.filter_map(|one| analysis.location(one.loc)));
    }
    let key = |one: &Location| (one.uri.clone(), one.range.start.line, one.range.start.character);
    list.sort_by_cached_key(key);
    list.dedup();
    list
}
