//! `textDocument/rename`: another name for a host, net or pool, in all files.

use std::collections::HashMap;

use lsp_types::{TextEdit, Uri, WorkspaceEdit};

use crate::endpoint::{MAX_NAME_BYTES, new_name};
use crate::keyword::is_reserved;
use crate::syntax::{Errors, In};

use super::analysis::Analysis;
use super::references::references;

/// The edits of every file; an error says why there are none.
pub fn rename(analyses: &[&Analysis], old: &str, new: &str) -> Result<WorkspaceEdit, String> {
    check_name(new)?;
    for analysis in analyses {
        if let Some(outer) = analysis.names().declarations(old).find(|one| analysis.uri(one.loc.source).is_none()) {
            let place = &analysis.program.sources.get(outer.loc.source).path;
            return Err(format!("`{old}` is declared by `{place}`, which is no document"));
        }
        if old != new && analysis.names().declarations(new).next().is_some() {
            return Err(format!("`{new}` is declared already"));
        }
    }
    #[allow(clippy::mutable_key_type, reason = "the protocol's own type")]
    let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
    for place in references(analyses.iter().copied(), old, true) {
        changes.entry(place.uri).or_default().push(TextEdit::new(place.range, new.to_owned()));
    }
    Ok(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() })
}

fn check_name(name: &str) -> Result<(), String> {
    let errors = Errors::default();
    if matches!(new_name(In::new(name, &errors)), Ok((rest, _)) if rest.rest.is_empty()) {
        return Ok(());
    }
    Err(match is_reserved(name) {
        true => format!("`{name}` is a word of the language and cannot be a name"),
        false => format!(
            "`{name}` cannot be a name: at most {MAX_NAME_BYTES} letters, digits, `_` and `-`, no digit or `-` in front and \
             no `-` at the end"
        ),
    })
}
