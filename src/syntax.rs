//! Parsing machinery that knows no keyword: input with offsets, errors, blanks, words, numbers, recovery.
//!
//! Words of the parsers: a function that returns `Err::Error` did not find its thing and something else may be tried;
//! `Err::Failure` is a user error at a known place. Only [`recover`] turns a failure into a recorded error.

use std::cell::RefCell;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{char, satisfy};
use nom::combinator::{opt, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0_count;
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{Compare, CompareResult, Err, IResult, Input, Needed, Offset, Parser};

use crate::diagnostic::Code;
use crate::source::{Span, Spanned};

/// Errors recorded in one file before its parser gives up on the rest of it.
pub const MAX_ERRORS: usize = 1_000;

/// What is left of a source, where it starts, and where errors go.
#[derive(Clone, Copy, Debug)]
pub struct In<'a> {
    pub rest: &'a str,
    pub offset: u32,
    errors: &'a Errors,
}

/// The errors that recovery has recorded so far.
#[derive(Debug, Default)]
pub struct Errors(RefCell<Vec<SyntaxError>>);

impl Errors {
    pub fn record(&self, error: SyntaxError) {
        self.0.borrow_mut().push(error);
    }

    /// Whether so many errors were found that going on helps nobody.
    pub fn overflow(&self) -> bool {
        self.0.borrow().len() >= MAX_ERRORS
    }

    pub fn take(self) -> Vec<SyntaxError> {
        self.0.into_inner()
    }
}

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
pub struct Problem(Option<Box<SyntaxError>>);

impl<'a> ParseError<In<'a>> for Problem {
    fn from_error_kind(_: In<'a>, _: ErrorKind) -> Problem {
        Problem(None)
    }

    fn append(_: In<'a>, _: ErrorKind, other: Problem) -> Problem {
        other
    }
}

/// The result of every parser function.
pub type Parsed<'a, T> = IResult<In<'a>, T, Problem>;

impl<'a> In<'a> {
    /// The whole text, from offset 0.
    pub fn new(text: &'a str, errors: &'a Errors) -> In<'a> {
        In { rest: text, offset: 0, errors }
    }

    /// The span from here to where `end` starts.
    pub fn span_to(&self, end: In<'a>) -> Span {
        Span::new(self.offset, end.offset)
    }

    /// An empty span here.
    pub fn here(&self) -> Span {
        Span::new(self.offset, self.offset)
    }

    /// The next `len` bytes as a span.
    pub fn span_of(&self, len: usize) -> Span {
        Span::new(self.offset, self.offset + len as u32)
    }

    /// The first byte, 0 at the end (a source holds no NUL byte).
    pub fn first(&self) -> u8 {
        self.rest.as_bytes().first().copied().unwrap_or(0)
    }

    pub fn errors(&self) -> &'a Errors {
        self.errors
    }

    /// The input `len` bytes further on.
    pub fn skip(&self, len: usize) -> In<'a> {
        In { rest: &self.rest[len..], offset: self.offset + len as u32, errors: self.errors }
    }

    /// The input behind the next character; at the end, the end.
    pub fn skip_char(&self) -> In<'a> {
        self.skip(self.rest.chars().next().map_or(0, char::len_utf8))
    }

    fn keep(&self, len: usize) -> In<'a> {
        In { rest: &self.rest[..len], ..*self }
    }
}

impl<'a> Input for In<'a> {
    type Item = char;
    type Iter = std::str::Chars<'a>;
    type IterIndices = std::str::CharIndices<'a>;

    fn input_len(&self) -> usize {
        self.rest.len()
    }

    fn take(&self, index: usize) -> Self {
        self.keep(index)
    }

    fn take_from(&self, index: usize) -> Self {
        self.skip(index)
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.skip(index), self.keep(index))
    }

    fn position<P>(&self, predicate: P) -> Option<usize>
    where
        P: Fn(char) -> bool,
    {
        self.rest.find(predicate)
    }

    fn iter_elements(&self) -> Self::Iter {
        self.rest.chars()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.rest.char_indices()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        self.rest.slice_index(count)
    }
}

impl Offset for In<'_> {
    fn offset(&self, second: &Self) -> usize {
        (second.offset - self.offset) as usize
    }
}

impl Compare<&str> for In<'_> {
    fn compare(&self, other: &str) -> CompareResult {
        self.rest.compare(other)
    }

    fn compare_no_case(&self, other: &str) -> CompareResult {
        self.rest.compare_no_case(other)
    }
}

// ---- errors ---------------------------------------------------------------------------------------------------------

impl SyntaxError {
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> SyntaxError {
        SyntaxError { code, span, message: message.into(), help: None, label: None }
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
    pub fn fail<'a, T>(self) -> Parsed<'a, T> {
        Err(Err::Failure(Problem(Some(Box::new(self)))))
    }
}

/// A parser's "not here": something else may be tried.
pub fn not_here<'a, T>() -> Parsed<'a, T> {
    Err(Err::Error(Problem(None)))
}

/// ``expected `what`, found …`` at the next token.
pub fn expected(i: In<'_>, what: &str) -> SyntaxError {
    let len = token_len(i.rest);
    let error = SyntaxError::new(Code::Syntax, i.span_of(len), format!("expected {what}, found {}", found(i.rest)));
    match i.rest.chars().next() {
        Some(other) if other.is_whitespace() && !other.is_ascii() => {
            error.help("blanks of the language are space and tab; this one looks like a blank but is none")
        }
        Some(_) | None => error,
    }
}

/// Turns "not here" into a user error that says what was expected.
pub fn expect<'a, T>(
    mut parser: impl Parser<In<'a>, Output = T, Error = Problem>,
    what: &'static str,
) -> impl FnMut(In<'a>) -> Parsed<'a, T> {
    move |i| match parser.parse(i) {
        Err(Err::Error(_)) => expected(i, what).fail(),
        other => other,
    }
}

/// Describes the next token for a message.
fn found(rest: &str) -> String {
    match rest.chars().next() {
        None => "the end of the file".to_owned(),
        Some('\n' | '\r') => "the end of the line".to_owned(),
        Some('#') => "a comment".to_owned(),
        Some(first) if first.is_control() => format!("the control character U+{:04X}", first as u32),
        Some(first) if first.is_whitespace() && !first.is_ascii() => format!("the character U+{:04X}", first as u32),
        Some(_) => format!("`{}`", shorten(&rest[..token_len(rest)])),
    }
}

/// Cuts what a user wrote to a length that fits into a message.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// The length of what a reader would call one token.
fn token_len(rest: &str) -> usize {
    if rest.starts_with("->") {
        return 2;
    }
    let run = rest.find(|c: char| !(is_word(c) || matches!(c, '.' | ':' | '-'))).unwrap_or(rest.len());
    let run = rest[..run].find("->").unwrap_or(run);
    match rest.chars().next() {
        None | Some('\n' | '\r') => 0,
        Some(_) if run > 0 => run,
        Some(first) => first.len_utf8(),
    }
}

// ---- blanks and line ends -------------------------------------------------------------------------------------------

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Blanks within a line.
pub fn blank0(i: In<'_>) -> Parsed<'_, In<'_>> {
    match i.first() {
        b' ' | b'\t' => take_while(is_blank).parse(i),
        _ => Ok((i, i.keep(0))),
    }
}

/// One end of line, LF or CRLF.
pub fn newline(i: In<'_>) -> Parsed<'_, In<'_>> {
    alt((tag("\n"), tag("\r\n"))).parse(i)
}

/// `#` up to, not including, the end of the line.
pub fn comment(i: In<'_>) -> Parsed<'_, In<'_>> {
    preceded(char('#'), take_till(|c| c == '\n')).parse(i)
}

/// Blanks, comments and line ends, where a statement may go on over them.
pub fn breaks0(i: In<'_>) -> Parsed<'_, ()> {
    let (i, _) = blank0(i)?;
    match i.first() {
        b'#' | b'\n' | b'\r' => {
            let line = terminated(pair(opt(comment), newline), blank0);
            let (i, _) = many0_count(line).parse(i)?;
            value((), opt(comment)).parse(i)
        }
        _ => Ok((i, ())),
    }
}

/// A comma between two elements of a list; the list may go on in the next line.
pub fn comma(i: In<'_>) -> Parsed<'_, ()> {
    let (i, _) = blank0(i)?;
    match i.first() {
        b',' => breaks0(i.skip(1)),
        _ => not_here(),
    }
}

/// `=`; the statement may go on in the next line.
pub fn equals(i: In<'_>) -> Parsed<'_, ()> {
    delimited(blank0, value((), char('=')), breaks0).parse(i)
}

/// `->`, at the end of a line or at the start of the next.
pub fn arrow(i: In<'_>) -> Parsed<'_, Span> {
    let (at, _) = breaks0(i)?;
    let (i, _) = tag("->").parse(at)?;
    let span = at.span_to(i);
    let (i, _) = breaks0(i)?;
    Ok((i, span))
}

/// Whether the statement ends here: end of line, `;`, comment or end of file.
pub fn at_end(i: In<'_>) -> bool {
    let rest = i.rest.trim_start_matches(is_blank);
    rest.is_empty() || rest.starts_with(['\n', ';', '#']) || rest.starts_with("\r\n")
}

// ---- words, numbers, strings ----------------------------------------------------------------------------------------

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `[A-Za-z_][A-Za-z0-9_-]*` without a `-` at the end.
pub fn word(i: In<'_>) -> Parsed<'_, In<'_>> {
    let first = i.first();
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return not_here();
    }
    let bytes = i.rest.as_bytes();
    let run = bytes.iter().position(|&b| !(b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
    let mut len = run.unwrap_or(bytes.len());
    while bytes[len - 1] == b'-' {
        len -= 1;
    }
    Ok((i.skip(len), i.keep(len)))
}

/// This very word.
pub fn keyword<'a>(wanted: &'static str) -> impl FnMut(In<'a>) -> Parsed<'a, Span> {
    move |i| match word(i) {
        Ok((rest, found)) if found.rest == wanted => Ok((rest, i.span_to(rest))),
        Ok(_) | Err(_) => not_here(),
    }
}

/// A decimal number within `range`; `what` says in the message what the number is.
pub fn number<'a>(
    what: &'static str,
    range: std::ops::RangeInclusive<u64>,
) -> impl FnMut(In<'a>) -> Parsed<'a, Spanned<u64>> {
    move |i| {
        let (rest, digits) = digits(i)?;
        let span = i.span_to(rest);
        match digits.rest.parse() {
            Ok(value) if range.contains(&value) => Ok((rest, Spanned { value, span })),
            Ok(_) | Err(_) => SyntaxError::new(
                Code::InvalidNumber,
                span,
                format!("expected {what} ({}-{}), found `{}`", range.start(), range.end(), shorten(digits.rest)),
            )
            .fail(),
        }
    }
}

/// A run of ASCII digits that no letter follows.
pub fn digits(i: In<'_>) -> Parsed<'_, In<'_>> {
    let (rest, digits) = take_while1(|c: char| c.is_ascii_digit()).parse(i)?;
    match rest.first() {
        b if b.is_ascii_alphabetic() || b == b'_' => {
            let (end, all) = recognize(pair(digits_of, take_while(is_word))).parse(i)?;
            SyntaxError::new(Code::Syntax, i.span_to(end), format!("expected a number, found `{}`", shorten(all.rest)))
                .fail()
        }
        _ => Ok((rest, digits)),
    }
}

fn digits_of(i: In<'_>) -> Parsed<'_, In<'_>> {
    take_while1(|c: char| c.is_ascii_digit()).parse(i)
}

/// Text in double quotes, on one line, without escapes; the span covers the text alone.
pub fn string(i: In<'_>) -> Parsed<'_, Span> {
    let (text, _) = char('"').parse(i)?;
    let (rest, body) = take_till(|c| matches!(c, '"' | '\n' | '\r')).parse(text)?;
    match char::<In<'_>, Problem>('"').parse(rest) {
        Ok((rest, _)) => {
            if let Some(at) = body.rest.find(char::is_control) {
                let span = body.skip(at).span_of(1);
                return SyntaxError::new(Code::Syntax, span, "a control character in a string").fail();
            }
            Ok((rest, text.span_of(body.rest.len())))
        }
        Err(_) => SyntaxError::new(Code::Syntax, i.span_of(1), "this string is not closed")
            .help("write the closing `\"` on the same line")
            .fail(),
    }
}

/// One character, as a combinator that names it.
pub fn symbol<'a>(wanted: char) -> impl FnMut(In<'a>) -> Parsed<'a, ()> {
    move |i| value((), satisfy(|c| c == wanted)).parse(i)
}

// ---- recovery -------------------------------------------------------------------------------------------------------

/// Runs `parser`; a user error in it is recorded and `skip` says where to go on.
///
/// "Not here" passes through: the caller names what it expected.
pub fn recover<'a, T>(
    i: In<'a>,
    mut parser: impl Parser<In<'a>, Output = T, Error = Problem>,
    skip: impl FnOnce(In<'a>) -> In<'a>,
) -> Parsed<'a, Option<T>> {
    match parser.parse(i) {
        Ok((rest, value)) => Ok((rest, Some(value))),
        Err(Err::Failure(Problem(Some(error)))) => {
            i.errors.record(*error);
            Ok((skip(i), None))
        }
        Err(other) => Err(other),
    }
}

/// One step over the text: comments and strings count as one.
fn step(i: In<'_>) -> In<'_> {
    match i.first() {
        b'#' => comment(i).map_or(i, |(rest, _)| rest),
        b'"' => match i.rest[1..].find(['"', '\n']) {
            Some(end) if i.rest.as_bytes()[end + 1] == b'"' => i.skip(end + 2),
            Some(_) | None => i.skip(1),
        },
        b'-' if i.rest.starts_with("->") => i.skip(2),
        _ => {
            let plain =
                |c: char| !matches!(c, '#' | '"' | '-' | '\n' | ',' | ';' | '{' | '}' | '=' | ' ' | '\t' | '\r');
            let run = i.rest.find(|c| !plain(c)).unwrap_or(i.rest.len());
            if run > 0 { i.skip(run) } else { i.skip_char() }
        }
    }
}

/// The end of the statement that `i` stands in: its newline or `;`, or the start of a line with a new statement.
///
/// `is_statement` knows the words that start a statement; they end a list whose brace was never closed.
pub fn statement_end<'a>(mut i: In<'a>, is_statement: fn(&str) -> bool) -> In<'a> {
    let mut depth = 0usize;
    let mut goes_on = false;
    while !i.rest.is_empty() {
        match i.first() {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return i,
            b'\n' => {
                let next = breaks0(i).map_or(i, |(rest, ())| rest);
                let starts = word(next).is_ok_and(|(_, word)| is_statement(word.rest));
                let arrow = next.rest.starts_with("->");
                if starts || (depth == 0 && !goes_on && !arrow) {
                    return i;
                }
                i = if next.offset > i.offset { next } else { i.skip(1) };
                continue;
            }
            _ => {}
        }
        goes_on = match i.first() {
            b' ' | b'\t' | b'\r' | b'#' => goes_on,
            b',' | b'=' => true,
            _ => i.rest.starts_with("->"),
        };
        i = step(i);
    }
    i
}

/// The end of the list element that `i` stands in: `,`, `}`, newline, `;`, comment or `->`.
pub fn element_end(mut i: In<'_>) -> In<'_> {
    while !matches!(i.first(), 0 | b',' | b'}' | b'\n' | b';' | b'#') && !i.rest.starts_with("->") {
        i = step(i);
    }
    i
}

/// The spans of all comments, `#` included, in source order.
pub fn comments(text: &str) -> Vec<Span> {
    let errors = Errors::default();
    let mut i = In::new(text, &errors);
    let mut spans = Vec::new();
    while !i.rest.is_empty() {
        let next = step(i);
        if i.first() == b'#' {
            let text = i.rest[..(next.offset - i.offset) as usize].trim_end();
            spans.push(i.span_of(text.len()));
        }
        i = next;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, test: impl FnOnce(In<'_>) -> T) -> T {
        let errors = Errors::default();
        test(In::new(text, &errors))
    }

    #[test]
    fn a_word_does_not_take_the_dash_of_an_arrow() {
        with("web->a", |i| {
            let (rest, found) = word(i).expect("a word");
            assert_eq!((found.rest, rest.rest), ("web", "->a"));
        });
    }

    #[test]
    fn numbers_that_do_not_fit_are_user_errors() {
        with("99999999999999999999999", |i| {
            assert!(matches!(number("a weight", 0..=65535)(i), Err(Err::Failure(_))));
        });
    }

    #[test]
    fn a_hash_in_a_string_is_no_comment() {
        assert_eq!(comments("include \"#a\" # b\n# c"), vec![Span::new(13, 16), Span::new(17, 20)]);
    }

    #[test]
    fn recovery_ends_where_the_statement_ends() {
        let is_statement = |word: &str| word == "host";
        for (text, rest) in [
            ("x y\nz", "\nz"),
            ("x ->\n y\nz", "\nz"),
            ("x\n -> y\nz", "\nz"),
            ("x {\n a\n}\nz", "\nz"),
            ("x {\n a\nhost b", "\nhost b"),
            ("x; y", "; y"),
            ("x, # no\n y\nz", "\nz"),
        ] {
            with(text, |i| assert_eq!(statement_end(i, is_statement).rest, rest, "{text:?}"));
        }
    }
}
