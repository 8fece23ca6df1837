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
    TooManyErrors = "020" "too-many-errors": "more errors in a file than are shown";
    AnyDestination = "101" "any-destination": "a listener on any destination, from anyone, on every interface";
    ManagementPort = "102" "management-port": "a port that this machine is managed by is balanced away";
    HairpinWithoutMasquerade = "103" "hairpin-without-masquerade": "clients that share a net with their backend, and no masquerade";
    LoopbackBackend = "104" "loopback-backend": "a backend in 127.0.0.0/8 or ::1";
    DuplicateBackend = "105" "duplicate-backend": "the same address and port twice in one list";
    PartialOverlap = "106" "partial-overlap": "listeners that overlap in part, so that their order decides";
    MissingFamily = "107" "missing-family": "some backends of a list serve a family that others lack";
    CoarseHash = "108" "coarse-hash": "so few buckets that a share is off by more than one point";
    StickyCapacity = "109" "sticky-capacity": "sticky clients in a list that holds 100 of them";
    UdpStaleFlows = "110" "udp-stale-flows": "a UDP service changed, and the kernel still remembers its old flows";
    AllWeightsZero = "111" "all-weights-zero": "a service that rejects everything";
    BackendInListener = "112" "backend-in-listener": "a backend that is inside its own listener";
    UnreachableStatement = "113" "unreachable-statement": "everything that a statement matches is matched before it";
    ReducibleWeights = "201" "reducible-weights": "weights with a common factor";
    UnusedName = "202" "unused-name": "a name that is declared and never used";
    MixedWeights = "203" "mixed-weights": "some backends with a written weight, some without";
    UnusualAddress = "204" "unusual-address": "an unspecified, multicast, broadcast or network address";
    RedundantOption = "205" "redundant-option": "an option that changes nothing";
    UnusedSuppression = "206" "unused-suppression": "a suppression that suppresses nothing";
}

impl Code {
    /// Whether it is a lint: the output is right, and the finding can be suppressed.
    pub fn is_lint(self) -> bool {
        self.as_str() >= "LB1"
    }

    /// The code of this number (`LB104`) or name (`loopback-backend`).
    pub fn find(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text || code.name() == text)
    }
}

/// Whether a fix keeps the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Applicability {
    /// The program means the same.
    Safe,
    /// The program means something else, which is probably what was meant.
    Unsafe,
}

/// A piece of text to be put in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub loc: Loc,
    pub text: String,
}

/// What to write instead, as edits that belong together and do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    pub applicability: Applicability,
    /// What it does, such as "remove `host a`".
    pub message: String,
    pub edits: Vec<Edit>,
}

impl Fix {
    pub fn new(applicability: Applicability, message: impl Into<String>, edits: Vec<Edit>) -> Fix {
        Fix { applicability, message: message.into(), edits }
    }
}

impl Edit {
    pub fn replace(source: SourceId, span: Span, text: impl Into<String>) -> Edit {
        Edit { loc: at(source, span), text: text.into() }
    }

    pub fn insert(source: SourceId, offset: u32, text: impl Into<String>) -> Edit {
        Edit::replace(source, Span::new(offset, offset), text)
    }

    pub fn remove(source: SourceId, span: Span) -> Edit {
        Edit::replace(source, span, "")
    }
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
    pub help: Option<Box<str>>,
    pub fix: Option<Box<Fix>>,
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
            fix: None,
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
        self.help = Some(text.into().into_boxed_str());
        self
    }

    /// As [`Diagnostic::help`], where there is something to say.
    pub fn maybe_help(mut self, text: Option<String>) -> Diagnostic {
        self.help = text.map(String::into_boxed_str).or(self.help);
        self
    }
}

impl Diagnostic {
    /// The same with other numbers of sources.
    pub fn map_sources(mut self, number: impl Fn(SourceId) -> SourceId) -> Diagnostic {
        let labels = [&mut self.primary].into_iter().chain(&mut self.labels).map(|label| &mut label.loc);
        let edits = self.fix.iter_mut().flat_map(|fix| &mut fix.edits).map(|edit| &mut edit.loc);
        labels.chain(edits).for_each(|loc| loc.source = number(loc.source));
        self
    }

    /// What can be written instead without further thought.
    pub fn fix(mut self, fix: Option<Fix>) -> Diagnostic {
        self.fix = fix.map(Box::new);
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
