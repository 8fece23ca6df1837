//! `textDocument/definition`: where a host, net or pool is declared.

use lsp_types::Location;

use crate::source::SourceId;

use super::analysis::Analysis;

/// Every declaration of the name at a place; two where that is the error.
pub fn definition(analysis: &Analysis, source: SourceId, offset: u32) -> Vec<Location> {
    let Some((name, _)) = analysis.names().find(source, offset) else { return Vec::new() };
    analysis.names().declarations(name).filter_map(|one| analysis.location(one.loc)).collect()
}
