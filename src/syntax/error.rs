//! Syntax errors: how a parser function says what it expected, and what it found instead.

use nom::Parser;
use nom::error::{ErrorKind, ParseError};

use crate::diagnostic::Code;
use crate::source::Span;

use super::{Errors, In, is_word_byte};

/// An error at a place of the text that is being parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub code: Code,
    pub span: Span,
    pub message: String,
    pub help: Option<String>,
    /// A second place and what it is, such as where a list was opened.
    pub label: Option<(Span, &'static str)>,
}

/// nom's error: cheap while backtracking, a whole [`SyntaxError`] once it is the user's.
#[derive(Debug)]
pub struct Problem(pub(super) Option<Box<SyntaxError>>);

impl<'a> ParseError<In<'a>> for Problem {
    fn from_error_kind(_: In<'a>, _: ErrorKind) -> Problem {
        Problem(None)
    }

    fn append(_: In<'a>, _: ErrorKind, other: Problem) -> Problem {
        other
    }
}

impl Problem {
    /// Records the error, if it has one that is not recorded yet.
    pub fn record(self, errors: &Errors) {
        if let Some(error) = self.0 {
            errors.record(*error);
        }
    }

    /// Whether its error is recorded already.
    pub fn is_recorded(&self) -> bool {
        self.0.is_none()
    }
}

/// How a parser function ends without a value.
///
/// `Error`: not here, something else may be tried. `Failure` with an error: the user's. `Failure` without one: the
/// user's, and recorded already.
pub type Abort = nom::Err<Problem>;

/// The result of every parser function.
pub type Parsed<'a, T> = Result<(In<'a>, T), Abort>;

impl SyntaxError {
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError { code, span, message: message.into(), help: None, label: None }
    }

    pub fn message(mut self, message: impl Into<String>) -> SyntaxError {
        self.message = message.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> SyntaxError {
        self.help = Some(help.into());
        self
    }

    pub fn maybe_help(mut self, help: Option<String>) -> SyntaxError {
        self.help = help.or(self.help);
        self
    }

    pub fn label(mut self, span: Span, text: &'static str) -> SyntaxError {
        self.label = Some((span, text));
        self
    }

    /// The error as a failure: nothing else may be tried.
    pub fn abort(self) -> Abort {
        nom::Err::Failure(Problem(Some(Box::new(self))))
    }

    /// As [`SyntaxError::abort`], for the end of a parser function.
    pub fn fail<'a, T>(self) -> Parsed<'a, T> {
        Err(self.abort())
    }
}

/// A parser's "not here": something else may be tried.
pub fn not_here<'a, T>() -> Parsed<'a, T> {
    Err(nom::Err::Error(Problem(None)))
}

/// A failure whose error is recorded already.
pub fn already_reported() -> Abort {
    nom::Err::Failure(Problem(None))
}

/// ``expected `what`, found …`` at the next token.
pub fn expected(i: In<'_>, what: &str) -> SyntaxError {
    let len = token_len(i.rest);
    let error = SyntaxError::new(Code::Syntax, i.span_of(len), format!("expected {what}, found {}", found(i.rest)));
    error.maybe_help(lookalike(i.rest))
}

/// Turns "not here" into a user error that says what was expected.
pub fn expect<'a, T>(
    mut parser: impl Parser<In<'a>, Output = T, Error = Problem>,
    what: &'static str,
) -> impl FnMut(In<'a>) -> Parsed<'a, T> {
    move |i| match parser.parse(i) {
        Err(nom::Err::Error(_)) => expected(i, what).fail(),
        other => other,
    }
}

/// Describes the next token for a message.
pub fn found(rest: &str) -> String {
    match rest.chars().next() {
        None => "the end of the file".to_owned(),
        Some('\n') => "the end of the line".to_owned(),
        Some('\r') if rest.starts_with("\r\n") => "the end of the line".to_owned(),
        Some(' ' | '\t') => "a blank".to_owned(),
        Some('#') => "a comment".to_owned(),
        Some(first) if is_invisible(first) => format!("the character U+{:04X}", u32::from(first)),
        Some(_) => format!("`{}`", shorten(&rest[..token_len(rest)])),
    }
}

/// Characters that a reader of the message could not see: controls, blanks of other scripts, marks of direction.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && !c.is_ascii())
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// What to write in the place of a character that only looks like the language's own.
fn lookalike(rest: &str) -> Option<String> {
    let meant = match rest.chars().next()? {
        '\r' if !rest.starts_with("\r\n") => return Some("lines end with LF or CRLF; this is a lone CR".to_owned()),
        c if c.is_whitespace() && !c.is_ascii() => {
            return Some(
                "blanks of the language are space and tab; this one looks like a blank but is none".to_owned(),
            );
        }
        c if is_invisible(c) => return Some("this character cannot be seen; delete it".to_owned()),
        '→' | '⇒' | '➔' | '⟶' => "->",
        '=' if rest.starts_with("=>") => "->",
        '–' | '—' | '−' | '‐' | '‑' => "-",
        '“' | '”' | '„' | '«' | '»' | '″' => "\"",
        '，' | '،' => ",",
        '：' => ":",
        '；' => ";",
        _ => return None,
    };
    Some(format!("write `{meant}`"))
}

/// Cuts what a user wrote to a length that fits into a message.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// As many whole characters from the start of a text as a number of bytes holds.
pub fn kept(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

/// The longest stretch that one error underlines, in bytes.
pub const MAX_TOKEN_BYTES: usize = 120;

/// The length of what a reader would call one token, [`MAX_TOKEN_BYTES`] at most.
pub fn token_len(rest: &str) -> usize {
    match rest.chars().next() {
        None | Some('\n') => return 0,
        Some('\r') if rest.starts_with("\r\n") => return 0,
        Some('-' | '=') if rest[1..].starts_with('>') => return 2,
        Some('"') => {
            let text = rest.char_indices().skip(1).take(MAX_TOKEN_BYTES).find(|&(_, c)| c == '"' || c.is_control());
            return match text {
                Some((end, '"')) => end + 1,
                Some(_) | None => 1,
            };
        }
        Some(_) => {}
    }
    let run = rest.as_bytes().iter().take(MAX_TOKEN_BYTES).position(|&b| !is_token_byte(b));
    let run = without_arrow(rest, run.unwrap_or(rest.len().min(MAX_TOKEN_BYTES)));
    match rest.chars().next() {
        Some(first) if run == 0 => first.len_utf8(),
        Some(_) | None => run,
    }
}

/// A length that does not take the dash of an arrow.
pub fn without_arrow(rest: &str, len: usize) -> usize {
    match rest.as_bytes()[..len].ends_with(b"-") && rest.as_bytes().get(len) == Some(&b'>') {
        true => len - 1,
        false => len,
    }
}

fn is_token_byte(b: u8) -> bool {
    is_word_byte(b) || matches!(b, b'.' | b':')
}
