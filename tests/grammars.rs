//! The grammars for editors in `grammar/`: TextMate, tree-sitter and Vim. Each knows every word of the language, and each says
//! of every part of the sample files what the compiler says of it.
//!
//! The samples are the examples and the fixtures that parse. tree-sitter and Vim are run where they can be had; else the test says
//! so and passes, and with `LBC_TREE_SITTER=require` or `LBC_VIM=require` it fails.

#![allow(clippy::disallowed_methods, reason = "tests read files and the environment")]

#[path = "grammars/oracle.rs"]
mod oracle;
#[path = "grammars/textmate.rs"]
mod textmate;
#[path = "grammars/tree_sitter.rs"]
mod tree_sitter;
#[path = "grammars/vim.rs"]
mod vim;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file below `grammar/`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("a grammar")
}

/// Whether what cannot be had makes a test fail. Says what is missing.
fn skip(variable: &str, missing: &str) {
    let required = std::env::var_os(variable).is_some_and(|value| value == "require");
    assert!(!required, "{missing}");
    eprintln!("skipped: {missing}");
}

/// The words of the language that stand in quotes in a text.
fn quoted(text: &str) -> BTreeSet<&str> {
    let parts = text.split(['"', '\'']);
    parts.filter(|part| lbc::keyword::is_reserved(part)).collect()
}

/// The words between bars, of all groups in a text.
fn listed(text: &str, bar: &str) -> BTreeSet<String> {
    let words =
        text.split(bar).map(|part| part.trim_matches(|c: char| !(c.is_ascii_lowercase() || c == '-')).to_owned());
    words.collect()
}
