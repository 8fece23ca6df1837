//! Recovery: where parsing goes on after a user error.

use nom::Parser;

use super::{Abort, In, Parsed, Problem, already_reported, breaks_len, is_word_byte, line_end, run_len};

/// Runs `parser`; a user error in it is recorded and `skip` says where to go on.
///
/// "Not here" passes through: the caller names what it expected. So does a failure that is recorded already, and what
/// is left of a file with too many errors is not read.
pub fn recover<'a, T>(
    i: In<'a>,
    mut parser: impl Parser<In<'a>, Output = T, Error = Problem>,
    skip: impl FnOnce(In<'a>) -> In<'a>,
) -> Parsed<'a, Option<T>> {
    match parser.parse(i) {
        Ok((rest, value)) => Ok((rest, Some(value))),
        Err(nom::Err::Failure(Problem(Some(error)))) => {
            i.errors().record(*error);
            go_on(i)?;
            Ok((skip(i), None))
        }
        Err(other) => Err(other),
    }
}

/// Fails where so much was wrong with the file that going on helps nobody.
pub fn go_on(i: In<'_>) -> Result<(), Abort> {
    match i.errors().overflow() || i.errors().full() {
        true => Err(already_reported()),
        false => Ok(()),
    }
}

/// What the first word of a line says about the line before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It starts a statement: the statement before it is over, even within braces.
    Statement,
    /// It never starts a statement: part of a statement that went wrong before.
    Part,
    Other,
}

/// The end of the statement that `i` stands in: its newline or `;`, or the start of a line with a new statement.
///
/// `role` knows the words: those that start a statement end a list whose brace was never closed.
pub fn statement_end<'a>(i: In<'a>, role: fn(&str) -> Role) -> In<'a> {
    let bytes = i.rest.as_bytes();
    let (mut at, mut depth, mut goes_on) = (0, 0usize, false);
    while let Some(&byte) = bytes.get(at) {
        let mut len = 1;
        match byte {
            b' ' | b'\t' | b'\r' => {}
            b'#' => len = line_end(&bytes[at..]),
            b';' if depth == 0 => break,
            b'\n' => {
                len = breaks_len(&bytes[at..]);
                let role = line_role(i, at + len, role);
                if role == Role::Statement || (depth == 0 && !goes_on && role == Role::Other) {
                    break;
                }
            }
            b',' | b'=' => goes_on = true,
            b'-' if bytes.get(at + 1) == Some(&b'>') => (goes_on, len) = (true, 2),
            b'{' => (goes_on, depth) = (false, depth + 1),
            b'}' => (goes_on, depth) = (false, depth.saturating_sub(1)),
            b'"' => (goes_on, len) = (false, string_len(&bytes[at..])),
            _ => (goes_on, len) = (false, 1 + run_len(&bytes[at + 1..], is_plain)),
        }
        at += len;
    }
    i.skip(at)
}

/// What starts at `at`, the start of a line, says about the line before it.
fn line_role(i: In<'_>, at: usize, role: fn(&str) -> Role) -> Role {
    match i.rest.as_bytes()[at..] {
        [b',' | b'{' | b'}' | b'=', ..] | [b'-', b'>', ..] => Role::Part,
        [b, ..] if b.is_ascii_lowercase() => role(&i.rest[at..at + word_len(&i.rest.as_bytes()[at..])]),
        _ => Role::Other,
    }
}

/// The length of the word at the start of `bytes`, which start with a letter.
fn word_len(bytes: &[u8]) -> usize {
    let run = run_len(bytes, is_word_byte);
    bytes[..run].iter().rposition(|&b| b != b'-').map_or(run, |last| last + 1)
}

/// Whether a byte means nothing to recovery. All bytes of characters that are not ASCII are plain, so that every stop is
/// at a character.
fn is_plain(b: u8) -> bool {
    b > b'=' && b != b'{' && b != b'}'
}

/// The end of the list element that `i` stands in: `,`, `}`, newline, `;`, comment or `->`. What stands in braces of its
/// own belongs to the element.
pub fn element_end(i: In<'_>) -> In<'_> {
    element_end_or(i, None)
}

/// As [`element_end`], but a word that `stop` knows ends the element too.
pub fn element_end_or<'a>(i: In<'a>, stop: Option<fn(&str) -> bool>) -> In<'a> {
    let bytes = i.rest.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&byte) = bytes.get(at) {
        let mut len = 1;
        match byte {
            b'\n' | b';' | b'#' => break,
            b',' | b'}' if depth == 0 => break,
            b'-' if bytes.get(at + 1) == Some(&b'>') => break,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'"' => len = string_len(&bytes[at..]),
            _ if byte.is_ascii_alphabetic() && stop.is_some() => {
                len = word_len(&bytes[at..]);
                if depth == 0 && stop.is_some_and(|stop| stop(&i.rest[at..at + len])) {
                    break;
                }
            }
            // Letters behind a digit are no word of their own.
            _ if byte.is_ascii_digit() || byte == b'_' => {
                len += run_len(&bytes[at + 1..], |b| b.is_ascii_alphanumeric() || b == b'_');
            }
            _ => {}
        }
        at += len;
    }
    i.skip(at)
}

/// The length of a closed string at the start of `bytes`; 1, the quote alone, where it is not closed on its line.
pub(super) fn string_len(bytes: &[u8]) -> usize {
    let len = 1 + run_len(&bytes[1..], |b| b != b'"' && b != b'\n');
    match bytes.get(len) {
        Some(b'"') => len + 1,
        Some(_) | None => 1,
    }
}
