//! Edits that several lints make.

use crate::diagnostic::Edit;
use crate::option::BalanceOption;
use crate::program::Program;
use crate::source::{SourceId, Span};
use crate::statement::Item;
use crate::statement::backends::{Backend, Server};
use crate::statement::balance::Balance;
use crate::suppression;

/// Writes an option behind those that are there.
pub fn add_option(source: SourceId, balance: &Balance, option: &str) -> Edit {
    let last = balance.options.last().map_or(balance.listen.span, |option| option.span);
    Edit::insert(source, last.end, format!(" {option}"))
}

/// Takes out an option with the blanks before it.
pub fn remove_option(program: &Program, source: SourceId, option: &BalanceOption) -> Edit {
    let text = program.sources.get(source).text();
    Edit::remove(source, Span::new(blanks_before(text, option.span.start), option.span.end))
}

/// Writes a backend's weight.
pub fn set_weight(source: SourceId, backend: &Backend, weight: u16) -> Edit {
    match backend.weight {
        Some(written) => Edit::replace(source, written.span, weight.to_string()),
        None => Edit::insert(source, server_end(backend), format!(" weight {weight}")),
    }
}

/// Takes out a backend's weight; `None` where none is written.
pub fn remove_weight(program: &Program, source: SourceId, backend: &Backend) -> Option<Edit> {
    let text = program.sources.get(source).text();
    let number = backend.weight?.span;
    let keyword = blanks_before(text, number.start) - "weight".len() as u32;
    debug_assert_eq!(&text[keyword as usize..][.."weight".len()], "weight");
    Some(Edit::remove(source, Span::new(blanks_before(text, keyword), number.end)))
}

/// The end of a backend's name or address and port.
fn server_end(backend: &Backend) -> u32 {
    match (backend.port, backend.server) {
        (Some(port), _) => port.span.end,
        (None, Server::Address(_, span) | Server::Name(span)) => span.end,
        (None, Server::Local) => backend.span.end,
    }
}

/// Takes one backend, not the first, out of a list, with what separates it from the one before. A comment stays.
///
/// `None` where a comment stands in the way.
pub fn remove_backend(program: &Program, source: SourceId, list: &[Backend], index: usize) -> Option<Edit> {
    let text = program.sources.get(source).text();
    let (before, span) = (list.get(index.checked_sub(1)?)?.span, list[index].span);
    if !text[before.end as usize..span.start as usize].contains('#') {
        return Some(Edit::remove(source, Span::new(before.end, span.end)));
    }
    // A comma before the comment would be left behind with nothing to follow it.
    let follows_comma = text[before.end as usize..].trim_start().starts_with(',');
    if follows_comma && index + 1 == list.len() {
        return None;
    }
    // On a line of its own, in braces.
    let (start, end) = (blanks_before(text, span.start), blanks_behind(text, span.end));
    let line = starts_line(text, start) && text[end as usize..].starts_with('\n');
    line.then(|| Edit::remove(source, Span::new(start, end + 1)))
}

/// Takes out a whole statement: its line where it has one to itself, with the comment behind it.
///
/// Comments above it stay, unless they and the statement are a paragraph of their own.
pub fn remove_statement(program: &Program, source: SourceId, item: &Item) -> Edit {
    let text = program.sources.get(source).text();
    let start = blanks_before(text, item.span.start);
    let mut end = blanks_behind(text, item.span.end);
    if !starts_line(text, start) {
        // Behind another one: its `;` goes too.
        return Edit::remove(source, Span::new(item.span.start, separator(text, end)));
    }
    if text[end as usize..].starts_with(';') {
        let behind = blanks_behind(text, end + 1);
        if !is_line_end(text, behind) {
            return Edit::remove(source, Span::new(item.span.start, behind));
        }
        end = behind;
    }
    end = next_line(text, end);
    let start = suppressions_above(text, start);
    let top = paragraph_start(text, start);
    let is_paragraph = top < start && (end as usize == text.len() || is_blank(line_at(text, end)));
    Edit::remove(source, Span::new(if is_paragraph { top } else { start }, end))
}

/// The lines of a statement that has them to itself, with the comments directly above it; they belong to it.
pub fn block(program: &Program, source: SourceId, item: &Item) -> Option<Span> {
    let text = program.sources.get(source).text();
    let start = blanks_before(text, item.span.start);
    let end = separator(text, blanks_behind(text, item.span.end));
    let is_own = starts_line(text, start) && is_line_end(text, end);
    is_own.then(|| Span::new(climb(text, start, |line| line.starts_with('#')), next_line(text, end)))
}

/// The start of the suppressions directly above a line: they are of no use without it.
fn suppressions_above(text: &str, start: u32) -> u32 {
    climb(text, start, |line| {
        let comment = Span::new(0, line.len() as u32);
        suppression::parse(line, comment).is_some_and(|one| !one.is_for_file)
    })
}

/// The start of the lines directly above a line that are of a kind.
fn climb(text: &str, start: u32, is_meant: impl Fn(&str) -> bool) -> u32 {
    let mut top = start as usize;
    loop {
        let Some(before) = text[..top].strip_suffix('\n') else { return top as u32 };
        let above = before.rfind('\n').map_or(bom(text) as usize, |at| at + 1);
        if !is_meant(before[above..].trim()) {
            return top as u32;
        }
        top = above;
    }
}

/// The length of the byte order mark at the start of a text.
fn bom(text: &str) -> u32 {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() as u32 } else { 0 }
}

fn separator(text: &str, end: u32) -> u32 {
    if text[end as usize..].starts_with(';') { blanks_behind(text, end + 1) } else { end }
}

/// The start of the comment lines directly above a line, where nothing but a blank line stands above them; else `start`.
fn paragraph_start(text: &str, start: u32) -> u32 {
    let mut top = start;
    while top > bom(text) {
        let above = text[..top as usize - 1].rfind('\n').map_or(bom(text) as usize, |at| at + 1);
        let line = text[above..top as usize].trim();
        if line.is_empty() {
            break;
        }
        // What speaks of the whole file stays.
        if !line.starts_with('#') || line.contains("lbc:") {
            return start;
        }
        top = above as u32;
    }
    // A comment at the top of a file may be about all of it.
    if top == bom(text) { start } else { top }
}

fn line_at(text: &str, start: u32) -> &str {
    text[start as usize..].lines().next().unwrap_or("")
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// The start of the line behind the one that `at` stands in.
pub fn next_line(text: &str, at: u32) -> u32 {
    text[at as usize..].find('\n').map_or(text.len() as u32, |newline| at + newline as u32 + 1)
}

/// The start of the blanks before `at`.
pub fn blanks_before(text: &str, at: u32) -> u32 {
    text[..at as usize].trim_end_matches([' ', '\t']).len() as u32
}

fn blanks_behind(text: &str, at: u32) -> u32 {
    let rest = &text[at as usize..];
    text.len() as u32 - rest.trim_start_matches([' ', '\t', '\r']).len() as u32
}

/// Whether nothing but a comment follows on the line.
fn is_line_end(text: &str, at: u32) -> bool {
    matches!(text.as_bytes().get(at as usize), None | Some(b'\n' | b'#'))
}

/// Whether a line starts at `at`.
pub fn starts_line(text: &str, at: u32) -> bool {
    at == bom(text) || text.as_bytes()[..at as usize].ends_with(b"\n")
}
