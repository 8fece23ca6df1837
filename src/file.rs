//! One file: its statements, or all its syntax errors.

use crate::diagnostic::{Code, Diagnostic, at};
use crate::keyword;
use crate::print::Printer;
use crate::source::{Source, SourceId, Span};
use crate::statement::{self, Item};
use crate::syntax::{Errors, In, MAX_ERRORS, SyntaxError, breaks0, comments, recover, statement_end};

/// The statements of a file, in order. Where it has errors, those that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub items: Vec<Item>,
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

fn file(start: In<'_>) -> File {
    let mut items = Vec::new();
    let mut i = match start.rest.strip_prefix('\u{feff}') {
        Some(_) => start.skip('\u{feff}'.len_utf8()),
        None => start,
    };
    loop {
        if let Ok((rest, ())) = breaks0(i) {
            i = rest;
        }
        if i.first() == b';' {
            i = i.skip(1);
            continue;
        }
        if i.rest.is_empty() {
            return File { items };
        }
        if i.errors().overflow() {
            let message = format!("more than {MAX_ERRORS} errors in this file; the rest of it was not read");
            i.errors().record(SyntaxError::new(Code::Syntax, i.here(), message));
            return File { items };
        }
        let begin = i;
        let end = |_: In<'_>| statement_end(begin, keyword::is_statement);
        match recover(i, statement::statement, |from| end(from)) {
            Ok((rest, item)) => {
                items.extend(item);
                // Recovery makes way in every case: a stray byte that is no statement is stepped over.
                i = if rest.offset > begin.offset { rest } else { begin.skip_char() };
            }
            Err(_) => i = begin.skip_char(),
        }
    }
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
