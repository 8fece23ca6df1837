//! `include "PATH"`

use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, blank0, expect, string};

/// Another file of the program; its path is relative to the file that includes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Include {
    /// The path, without quotes.
    pub path: Span,
}

pub fn parse(i: In<'_>) -> Parsed<'_, Include> {
    let (i, _) = blank0(i)?;
    let (i, path) = expect(string, "a path in double quotes")(i)?;
    Ok((i, Include { path }))
}

impl Include {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("include \"");
        p.source(self.path);
        p.words("\"");
    }
}
