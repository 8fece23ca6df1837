//! What we tell the user: one plain value, whatever phase it comes from.

use crate::source::{Loc, SourceId, Span};

macro_rules! codes {
    ($($variant:ident = $number:literal $name:literal: $summary:literal;)*) => {
        /// The stable code of an error or a lint. Codes never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $summary] $variant,)* }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as it is printed, such as `LB010`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => concat!("LB", $number),)* }
            }

            /// The kebab-case name, such as `unknown-name`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// One line on what the code stands for.
            pub fn summary(self) -> &'static str {
                match self { $(Code::$variant => $summary,)* }
            }
        }
    };
}

codes! {
    InvalidText = "001" "invalid-text": "a NUL byte, invalid UTF-8, or a file over 64 MiB";
    Syntax = "002" "syntax-error": "something other than what the grammar expects";
    InvalidNumber = "003" "invalid-number": "a number, port, weight or duration out of its range";
    InvalidAddress = "004" "invalid-address": "a malformed address or prefix, host bits set, or two addresses of one family";
    InvalidRange = "005" "invalid-range": "an inverted port range, or ranges that do not fit each other";
    InvalidName = "006" "invalid-name": "a name that is reserved, too long or ends with `-`";
    RepeatedOption = "007" "repeated-option": "an option that is written twice";
    ContradictoryOptions = "008" "contradictory-options": "options that exclude each other";
    Include = "009" "include-error": "an include that cannot be followed: missing, a cycle, or too deep";
    UnknownName = "010" "unknown-name": "a name that is not declared";
    DuplicateName = "011" "duplicate-name": "a name that is declared twice";
    DuplicateListener = "012" "duplicate-listener": "the same protocol, destination, port, interface and source twice";
    KeptOwnPort = "013" "kept-own-port": "a listener of this machine that redirects to the very port it listens on";
    NoBackendForFamily = "014" "no-backend-for-family": "an address of a family is written in LISTEN, and no backend has one";
    PoolNesting = "015" "pool-nesting": "a pool that contains itself, pools nested too deep, or too many backends";
    UnrepresentableWeight = "016" "unrepresentable-weight": "a share that rounds to nothing, or needs too many slots or buckets";
    TargetLimit = "017" "target-limit": "more than a target can hold";
    NotAnAddress = "018" "not-an-address": "a DNS name where an address or a declared host is needed";
    UnsupportedOnTarget = "019" "unsupported-on-target": "an option that the target cannot do";
    StickyCapacity = "109" "sticky-capacity": "sticky clients in a list that holds 100 of them";
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    /// A probable mistake: the output is right as far as it goes.
    Warning,
}

/// A second place that belongs to a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub loc: Loc,
    pub text: String,
}

/// One finding: what, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// Lower case, no full stop, user text in backquotes.
    pub message: String,
    pub primary: Label,
    pub labels: Vec<Label>,
    /// Lines behind the first are to be copied as they are.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place of one of the sources.
    pub fn error(code: Code, loc: Loc, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            primary: Label { loc, text: String::new() },
            labels: Vec::new(),
            help: None,
        }
    }

    /// A probable mistake at a place of one of the sources.
    pub fn warning(code: Code, loc: Loc, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, loc, message) }
    }

    /// The text that stands at the underlined place.
    pub fn here(mut self, text: impl Into<String>) -> Diagnostic {
        self.primary.text = text.into();
        self
    }

    /// A second place, such as "first declared here".
    pub fn label(mut self, loc: Loc, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { loc, text: text.into() });
        self
    }

    /// What to write instead.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }

    /// As [`Diagnostic::help`], where there is something to say.
    pub fn maybe_help(mut self, text: Option<String>) -> Diagnostic {
        self.help = text.or(self.help);
        self
    }
}

/// The place of `span` in `source`.
pub fn at(source: SourceId, span: Span) -> Loc {
    Loc { source, span }
}

/// The candidate nearest to `word`, where one is near enough to be meant.
///
/// Damerau-Levenshtein distance, at most a third of the word's length (at least 1).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= limit && distance < length.min(candidate.chars().count()))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The help line for a near miss.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        assert_eq!(nearest("wieght", ["weight", "backup"]), Some("weight"));
        assert_eq!(nearest("zzz", ["weight", "backup"]), None);
        assert_eq!(nearest("a", ["b", "as"]), None);
        assert_eq!(nearest("blancer", ["balance", "bal"]), Some("balance"));
    }

    #[test]
    fn codes_are_ascending_and_unique() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    }
}
