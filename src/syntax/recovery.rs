//! Recovery: where parsing goes on after a user error.

use nom::Parser;

use super::{Abort, In, Parsed, Problem, already_reported, breaks_len, is_word_byte, line_end, run_len, word};

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
                let next = i.skip(at + len);
                let role = word(next).map_or(Role::Other, |(_, word)| role(word.rest));
                let part = role == Role::Part
                    || next.rest.starts_with("->")
                    || matches!(next.first(), b',' | b'{' | b'}' | b'=');
                if role == Role::Statement || (depth == 0 && !goes_on && !part) {
                    break;
                }
            }
            b',' | b'=' => goes_on = true,
            b'-' if bytes.get(at + 1) == Some(&b'>') => (goes_on, len) = (true, 2),
            _ => {
                goes_on = false;
                match byte {
                    b'{' => depth += 1,
                    b'}' => depth = depth.saturating_sub(1),
                    b'"' => len = string_len(&bytes[at..]),
                    _ => {}
                }
            }
        }
        at += len;
    }
    // Everything but ASCII is stepped over byte by byte; the stops are ASCII, so `at` is a boundary.
    i.skip(at)
}

/// The end of the list element that `i` stands in: `,`, `}`, newline, `;`, comment or `->`, or where `stop` says so
/// of a word. What stands in braces of its own belongs to the element.
pub fn element_end<'a>(i: In<'a>, stop: fn(&str) -> bool) -> In<'a> {
    let bytes = i.rest.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&byte) = bytes.get(at) {
        let mut len = 1;
        match byte {
            b'\n' | b';' | b'#' => break,
            b',' if depth == 0 => break,
            b'}' if depth == 0 => break,
            b'-' if bytes.get(at + 1) == Some(&b'>') => break,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'"' => len = string_len(&bytes[at..]),
            _ if byte.is_ascii_alphabetic() => {
                let Ok((_, word)) = word(i.skip(at)) else { break };
                if depth == 0 && stop(word.rest) {
                    break;
                }
                len = word.rest.len();
            }
            _ if is_word_byte(byte) => len = run_len(&bytes[at..], is_word_byte),
            _ => {}
        }
        at += len;
    }
    i.skip(at)
}

/// The length of a closed string at the start of `bytes`; 1, the quote alone, where it is not closed on its line.
pub(super) fn string_len(bytes: &[u8]) -> usize {
    match bytes[1..].iter().position(|b| matches!(b, b'"' | b'\n')) {
        Some(len) if bytes[len + 1] == b'"' => len + 2,
        Some(_) | None => 1,
    }
}
