//! One file: its statements, or all its syntax errors.

use nom::Err;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::keyword;
use crate::print::Printer;
use crate::source::{Source, SourceId, Span};
use crate::statement::{self, Item};
use crate::syntax::{Errors, In, MAX_ERRORS, SyntaxError, comments, expected, next_statement, recover, statement_end};

/// The statements of a file, in order. Where it has errors, those that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub items: Vec<Item>,
    /// The names that statements declare which could not be read: who uses them need not be told that they are unknown.
    pub broken: Vec<Span>,
}

/// Parses a source. Returns every statement that is right and every error.
pub fn parse(source: &Source, id: SourceId) -> (File, Vec<Diagnostic>) {
    let errors = Errors::default();
    let text = source.text();
    let file = match text.find('\0') {
        Some(offset) => {
            let span = Span::new(offset as u32, offset as u32 + 1);
            errors.record(
                SyntaxError::new(Code::InvalidText, span, format!("a NUL byte at offset {offset}"))
                    .help("`.lb` files are UTF-8 text; this looks like another kind of file"),
            );
            File::default()
        }
        None => file(In::new(text, &errors)),
    };
    let diagnostics = errors.take().into_iter().map(|error| diagnostic(error, id)).collect();
    (file, diagnostics)
}

/// `file = [ BOM ] [ statement ] { END [ statement ] } [ COMMENT ]`
fn file(start: In<'_>) -> File {
    let errors = start.errors();
    let mut file = File::default();
    let mut i = match start.rest.strip_prefix('\u{feff}') {
        Some(_) => start.skip('\u{feff}'.len_utf8()),
        None => start,
    };
    loop {
        i = next_statement(i);
        if i.rest.is_empty() || errors.full() {
            return file;
        }
        if errors.overflow() {
            let message = format!("{MAX_ERRORS} errors in this file; the rest of it was not read");
            errors.record_last(SyntaxError::new(Code::Syntax, i.here(), message));
            return file;
        }
        i = item(i, &mut file);
    }
}

/// Reads the statement at `begin` into `file` and returns where it ends; where it is wrong, its errors are recorded.
fn item<'a>(begin: In<'a>, file: &mut File) -> In<'a> {
    let errors = begin.errors();
    let before = errors.count();
    let end = |_: In<'a>| statement_end(begin, keyword::role);
    let parsed = recover(begin, statement::statement, end).and_then(|(rest, item)| {
        begin.count_node()?;
        Ok((rest, item))
    });
    match parsed {
        Ok((rest, Some(item))) => {
            file.items.push(Item { broken: errors.count() > before, ..item });
            return rest;
        }
        Ok((_, None)) => {}
        Err(Err::Failure(problem)) => problem.record(errors),
        Err(Err::Error(_) | Err::Incomplete(_)) => errors.record(expected(begin, "a statement")),
    }
    file.broken.extend(statement::declared_name(begin));
    statement_end(begin, keyword::role)
}

fn diagnostic(error: SyntaxError, source: SourceId) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(error.code, at(source, error.span), error.message).maybe_help(error.help);
    if let Some((span, text)) = error.label {
        diagnostic = diagnostic.label(at(source, span), text);
    }
    diagnostic
}

/// The canonical form of a file without syntax errors.
pub fn format(source: &Source, file: &File) -> String {
    let text = source.text();
    let comments = comments(text);
    let mut p = Printer::new(text, &comments);
    for item in &file.items {
        statement::format(item, &mut p);
    }
    p.rest();
    p.finish()
}
