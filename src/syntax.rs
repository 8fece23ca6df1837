//! Parsing machinery that knows no keyword: input with offsets, errors, blanks, words, numbers, recovery.
//!
//! Words of the parsers: a function that returns `Err::Error` did not find its thing and something else may be tried;
//! `Err::Failure` is a user error at a known place. Only [`recover`] turns a failure into a recorded error.
//!
//! What may be megabytes long (blanks, comments, runs of characters) is scanned by bytes, once, and never copied.

mod error;
mod input;
mod recovery;

use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::char;

use crate::diagnostic::Code;
use crate::source::{Span, Spanned};

pub use error::{
    Abort, MAX_TOKEN_BYTES, Parsed, Problem, SyntaxError, already_reported, expect, expected, found, kept, not_here,
    shorten, token_len, without_arrow,
};
pub use input::{Errors, In, MAX_ERRORS, MAX_TREE_BYTES};
pub use recovery::{Role, element_end, element_end_or, go_on, recover, statement_end};

// ---- blanks and line ends -------------------------------------------------------------------------------------------

/// The number of bytes up to the first that does not belong.
///
/// Most runs are short; a long one is looked at in blocks without a branch inside, which compile to vector code.
#[inline]
fn run_len(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    const SHORT: usize = 24;
    const BLOCK: usize = 64;
    let position = |bytes: &[u8]| bytes.iter().position(|&b| !belongs(b));
    let short = &bytes[..bytes.len().min(SHORT)];
    if let Some(len) = position(short) {
        return len;
    }
    let mut at = short.len();
    for block in bytes[at..].chunks(BLOCK) {
        if !block.iter().fold(true, |all, &b| all & belongs(b)) {
            return at + position(block).unwrap_or(block.len());
        }
        at += block.len();
    }
    at
}

/// The number of bytes up to the next LF or the end.
fn line_end(bytes: &[u8]) -> usize {
    run_len(bytes, |b| b != b'\n')
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// Blanks within a line.
#[inline]
pub fn blank0(i: In<'_>) -> Parsed<'_, ()> {
    let len = match *i.rest.as_bytes() {
        [b' ', next, ..] if !is_blank(next) => 1,
        [first, ..] if !is_blank(first) => 0,
        _ => run_len(i.rest.as_bytes(), is_blank),
    };
    Ok((i.skip(len), ()))
}

/// `BREAKS`: blanks, comments and line ends, where a statement may go on over them.
pub fn breaks0(i: In<'_>) -> Parsed<'_, ()> {
    Ok((i.skip(breaks_len(i.rest.as_bytes())), ()))
}

fn breaks_len(bytes: &[u8]) -> usize {
    if let [b' ', next, ..] = bytes
        && !matches!(next, b' ' | b'\t' | b'\n' | b'\r' | b'#')
    {
        return 1;
    }
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\n') if !matches!(bytes.get(at + 1), Some(b' ' | b'\t' | b'\n')) => at += 1,
            Some(b' ' | b'\t' | b'\n') => at += run_len(&bytes[at..], |b| b == b' ' || b == b'\t' || b == b'\n'),
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => at += 2,
            Some(b'#') => at += line_end(&bytes[at..]),
            Some(_) | None => return at,
        }
    }
}

/// The input behind all blanks, comments, line ends and `;`: where the next statement starts, or the end of the file.
pub fn next_statement(i: In<'_>) -> In<'_> {
    let bytes = i.rest.as_bytes();
    let mut at = 0;
    loop {
        at += breaks_len(&bytes[at..]);
        match bytes.get(at) {
            Some(b';') => at += run_len(&bytes[at..], |b| b == b';'),
            Some(_) | None => return i.skip(at),
        }
    }
}

/// A comma between two elements of a list; the list may go on in the next line.
pub fn comma(i: In<'_>) -> Parsed<'_, Span> {
    let (at, _) = blank0(i)?;
    match at.first() {
        b',' => breaks0(at.skip(1)).map(|(i, ())| (i, at.span_of(1))),
        _ => not_here(),
    }
}

/// `=`; the statement may go on in the next line.
pub fn equals(i: In<'_>) -> Parsed<'_, ()> {
    let (at, _) = blank0(i)?;
    match at.first() {
        b'=' if at.rest.as_bytes().get(1) != Some(&b'>') => breaks0(at.skip(1)),
        _ => expected(at, "`=`").fail(),
    }
}

/// `->`, at the end of a line or at the start of the next.
pub fn arrow(i: In<'_>) -> Parsed<'_, Span> {
    let (at, ()) = breaks0(i)?;
    let (i, _) = tag("->").parse(at)?;
    let span = at.span_to(i);
    let (i, ()) = breaks0(i)?;
    Ok((i, span))
}

/// Whether the statement ends here: end of line, `;`, comment or end of file.
pub fn at_end(i: In<'_>) -> bool {
    let bytes = i.rest.as_bytes();
    match bytes[run_len(bytes, is_blank)..] {
        [] | [b'\n' | b';' | b'#', ..] | [b'\r', b'\n', ..] => true,
        [..] => false,
    }
}

// ---- words, numbers, strings ----------------------------------------------------------------------------------------

/// The bytes of names and keywords.
pub fn is_word_byte(b: u8) -> bool {
    // Asked of nearly every byte of a file: one look into a table is half the price of the comparisons.
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'_' | b'-');
            byte += 1;
        }
        table
    };
    TABLE[usize::from(b)]
}

/// The most bytes that are read as one word. Names and keywords are far shorter: a longer word is an error anyway.
const MAX_WORD_BYTES: usize = 255;

/// `WORD`: `[A-Za-z_][A-Za-z0-9_-]*` without a `-` at the end.
#[inline]
pub fn word(i: In<'_>) -> Parsed<'_, In<'_>> {
    let first = i.first();
    if !(first.is_ascii_alphabetic() || first == b'_') {
        return not_here();
    }
    let bytes = i.rest.as_bytes();
    let mut len = run_len(&bytes[..bytes.len().min(MAX_WORD_BYTES)], is_word_byte);
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
        // The fraction's or the letters' error says the range too.
        let (rest, digits) = match digits(i, what) {
            Err(nom::Err::Failure(_)) => digits(i, &format!("{what} ({}-{})", range.start(), range.end())),
            other => other,
        }?;
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

/// `NUMBER`: a run of ASCII digits that no letter and no fraction follows.
pub fn digits<'a>(i: In<'a>, what: &str) -> Parsed<'a, In<'a>> {
    let bytes = i.rest.as_bytes();
    let len = run_len(bytes, |b| b.is_ascii_digit());
    if len == 0 {
        return not_here();
    }
    match bytes[len..] {
        [b, ..] if b.is_ascii_alphabetic() || b == b'_' => expected(i, what).fail(),
        [b'.', b, ..] if b.is_ascii_digit() => expected(i, what).help("write a whole number").fail(),
        _ => Ok((i.skip(len), i.keep(len))),
    }
}

/// `STRING`: text in double quotes, on one line, without escapes; the span covers the text alone.
pub fn string(i: In<'_>) -> Parsed<'_, Span> {
    let (text, _) = char('"').parse(i)?;
    let len = run_len(text.rest.as_bytes(), |b| b != b'"' && b != b'\n' && b != b'\r');
    if text.rest.as_bytes().get(len) != Some(&b'"') {
        return SyntaxError::new(Code::Syntax, i.span_of(1), "this string is not closed")
            .help("write the closing `\"` on the same line")
            .fail();
    }
    let body = text.keep(len);
    if let Some(at) = body.rest.find(char::is_control) {
        let at = body.skip(at);
        let code = at.rest.chars().next().map_or(0, u32::from);
        let message = format!("expected printable text, found the control character U+{code:04X}");
        return SyntaxError::new(Code::Syntax, at.span_to(at.skip_char()), message).fail();
    }
    Ok((text.skip(len + 1), text.span_of(len)))
}

/// One character, as a combinator that names it.
pub fn symbol<'a>(wanted: char) -> impl FnMut(In<'a>) -> Parsed<'a, ()> {
    move |i| char(wanted).map(|_| ()).parse(i)
}

/// The spans of all comments, `#` included and blanks at their ends not, in source order.
///
/// For texts without syntax errors; there every string is closed.
pub fn comments(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    loop {
        at += run_len(&bytes[at..], |b| b != b'#' && b != b'"');
        if at == bytes.len() {
            return spans;
        }
        if bytes[at] == b'"' {
            at += recovery::string_len(&bytes[at..]);
            continue;
        }
        let end = at + line_end(&bytes[at..]);
        let comment = text[at..end].trim_end();
        spans.push(Span::new(at as u32, (at + comment.len()) as u32));
        at = end;
    }
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
            assert!(matches!(number("a weight", 0..=65535)(i), Err(nom::Err::Failure(_))));
        });
    }

    #[test]
    fn a_hash_in_a_string_is_no_comment() {
        assert_eq!(comments("include \"#a\" # b\n# c"), vec![Span::new(13, 16), Span::new(17, 20)]);
    }

    #[test]
    fn a_list_element_ends_before_what_may_follow_it() {
        let stop: fn(&str) -> bool = |word| word == "by";
        for (text, rest) in [
            ("x y, z", ", z"),
            ("{a, b} c, z", ", z"),
            ("\",\" x->y", "->y"),
            ("x 80by by y", "by y"),
            ("x my-by é } y", "} y"),
            ("x # y", "# y"),
        ] {
            with(text, |i| assert_eq!(element_end_or(i, Some(stop)).rest, rest, "{text:?}"));
        }
    }

    #[test]
    fn recovery_ends_where_the_statement_ends() {
        let role = |word: &str| match word {
            "host" => Role::Statement,
            "by" => Role::Part,
            _ => Role::Other,
        };
        for (text, rest) in [
            ("x y\nz", "\nz"),
            ("x ->\n y\nz", "\nz"),
            ("x\n -> y\nz", "\nz"),
            ("x {\n a\n}\nz", "\nz"),
            ("x {\n a\nhost b", "\nhost b"),
            ("x; y", "; y"),
            ("x, # no\n y\nz", "\nz"),
            ("x\n by y\nz", "\nz"),
            ("x\n{\n a\n}\n}\nz", "\nz"),
            ("x \"{\"\nz", "\nz"),
            ("x \"{\nz\nhost", "\nhost"),
            ("x é ->\n\n# é\n é\nz", "\nz"),
        ] {
            with(text, |i| assert_eq!(statement_end(i, role).rest, rest, "{text:?}"));
        }
    }
}
