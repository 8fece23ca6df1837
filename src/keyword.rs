//! The words of the language. All of them are reserved for every kind of name.

use crate::syntax::Role;

/// Words that start a statement.
pub const STATEMENTS: &[&str] = &["balance", "default", "host", "include", "net", "pool"];

/// Words that start an option of `balance`.
pub const OPTIONS: &[&str] = &[
    "accept",
    "as",
    "by",
    "counter",
    "from",
    "limit",
    "log",
    "masquerade",
    "max-connections",
    "on",
    "output",
    "snat",
    "sticky",
];

/// Transport protocols.
pub const PROTOCOLS: &[&str] = &["sctp", "tcp", "udp"];

/// What may follow a backend.
pub const ATTRIBUTES: &[&str] = &["backup", "weight"];

/// Words that only stand inside an option or a destination.
const INNER: &[&str] = &[
    "buckets",
    "burst",
    "drop",
    "else",
    "hairpin",
    "hour",
    "local",
    "minute",
    "not",
    "per",
    "random",
    "reject",
    "round-robin",
    "second",
    "seed",
    "source",
    "source-hash",
];

/// Every reserved word, in no particular order.
pub fn all() -> impl Iterator<Item = &'static str> {
    [STATEMENTS, OPTIONS, PROTOCOLS, ATTRIBUTES, INNER].into_iter().flatten().copied()
}

/// The longest reserved word, in bytes.
const MAX_BYTES: usize = 15;

/// Whether a word may not be a name.
pub fn is_reserved(word: &str) -> bool {
    // Most names are told by their length or first letter.
    (2..=MAX_BYTES).contains(&word.len())
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && all().any(|it| it == word)
}

/// Whether a word starts a statement.
pub fn is_statement(word: &str) -> bool {
    STATEMENTS.contains(&word)
}

/// Whether a word starts an option of `balance`, or the `else` behind one.
pub fn is_option(word: &str) -> bool {
    word.len() > 1 && (word == "else" || OPTIONS.contains(&word))
}

/// What the first word of a line says about the line before it.
pub fn role(word: &str) -> Role {
    match word {
        _ if !is_reserved(word) => Role::Other,
        _ if is_statement(word) => Role::Statement,
        // A line may start with a protocol because `balance` was forgotten.
        _ if PROTOCOLS.contains(&word) => Role::Other,
        _ => Role::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_reserved_once_and_no_more_than_that() {
        assert!(all().all(is_reserved));
        assert_eq!(all().map(str::len).max(), Some(MAX_BYTES));
        let mut words: Vec<&str> = all().collect();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(["", "a", "Host", "hosts", "max_connections"].iter().all(|word| !is_reserved(word)));
    }
}
