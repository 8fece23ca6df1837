//! `include "PATH"`

use nom::Err;

use crate::diagnostic::Code;
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, SyntaxError, blank0, expected, string};

/// The longest path in bytes: Linux's PATH_MAX, the ending NUL left out.
const MAX_PATH_BYTES: u32 = 4095;

/// Another file of the program; its path is relative to the file that includes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Include {
    /// The path, without quotes.
    pub path: Span,
}

pub fn parse(i: In<'_>) -> Parsed<'_, Include> {
    let (i, _) = blank0(i)?;
    let (end, path) = match string(i) {
        Err(Err::Error(_)) => return expected(i, "a path in double quotes").maybe_help(quoted(i)).fail(),
        other => other?,
    };
    match path.end - path.start {
        0 => SyntaxError::new(Code::Include, i.span_to(end), "expected a path, found an empty string").fail(),
        1..=MAX_PATH_BYTES => Ok((end, Include { path })),
        len => {
            let message = format!("a path of {len} bytes; {MAX_PATH_BYTES} are the most");
            SyntaxError::new(Code::Include, i.span_of(1), message).fail()
        }
    }
}

/// What to write where the quotes are missing.
fn quoted(i: In<'_>) -> Option<String> {
    let len = i.rest.find([' ', '\t', '\r', '\n', ';', '#', '"']).unwrap_or(i.rest.len());
    let text = &i.rest[..len];
    ((1..=64).contains(&len) && !text.contains(char::is_control))
        .then(|| format!("write `include \"{}\"`", text.trim_matches('\'')))
}

impl Include {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("include \"");
        p.source(self.path);
        p.words("\"");
    }
}
