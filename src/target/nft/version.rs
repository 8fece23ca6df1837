//! Versions of nft, and what a ruleset needs of them.
//!
//! Loading, listing and loading what was listed were tried with 1.0.2, 1.0.6, 1.0.9, 1.1.1 and 1.1.6.

use std::fmt;
use std::str::FromStr;

use crate::ir::{Family, Interface};

use super::model::{Remembered, Ruleset, Statement, Value};

/// `1.0.6`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 3]);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let wrong = || format!("`{text}` is no version of nft such as 1.0.6");
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            *number = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Version(numbers)) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Ruleset {
    /// The oldest version that loads the ruleset and lists it again, and what needs it.
    pub fn needs(&self) -> (Version, &'static str) {
        let statements = self.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
        let is_prefix = |value: &Value| matches!(value, Value::Interface(Interface::Prefix(_)));
        let lists_prefixes = |statement: &Statement| match statement {
            Statement::Match { values, .. } => values.len() > 1 && values.iter().any(is_prefix),
            _ => false,
        };
        let remembers = |data, family| self.memories.iter().any(|one| one.data == data && one.family == family);
        if remembers(Remembered::Endpoint, Family::V4) {
            return (Version([1, 0, 6]), "a map from sticky clients to addresses with ports");
        }
        if statements.into_iter().any(lists_prefixes) {
            return (Version([1, 0, 6]), "a list of interfaces with a `*` in it");
        }
        (Version([1, 0, 2]), "a map to addresses with ports")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers_in_order() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("1.0.10").expect("a version") > version("1.0.9").expect("a version"));
        assert_eq!(version("1.0.6").expect("a version").to_string(), "1.0.6");
        for text in ["", "1", "1.0", "1.0.6.1", "1.0.x", "v1.0.6", "1.0.6 "] {
            assert!(version(text).is_err(), "{text}");
        }
    }
}
