//! Source texts and places in them.
//!
//! Everything that reads files lives in [`crate::cli`]; this module only holds what was read.

use std::cell::OnceCell;

/// A half-open range of bytes of one source.
///
/// Offsets are 32-bit: a source holds at most 64 MiB (language section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Builds a span; `start` must not lie behind `end`.
    pub fn new(start: u32, end: u32) -> Span {
        debug_assert!(start <= end);
        Span { start, end }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// The span as indices into the source's text.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value together with the place it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// The number of a source in its [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A place in one of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loc {
    pub source: SourceId,
    pub span: Span,
}

/// One text with the two names it goes by.
#[derive(Debug)]
pub struct Source {
    /// The path as the user gave it, for diagnostics.
    pub path: String,
    /// The short path that goes into the comments of the output (never absolute).
    pub origin: String,
    text: String,
    /// Byte offset of the start of each line; made when first asked for.
    lines: OnceCell<Vec<u32>>,
}

/// The largest source that is read, in bytes (language section 6).
pub const MAX_SOURCE_BYTES: usize = 64 << 20;

impl Source {
    /// Wraps a text of at most [`MAX_SOURCE_BYTES`] bytes.
    pub fn new(path: impl Into<String>, origin: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        assert!(text.len() <= MAX_SOURCE_BYTES + 3, "the reader refuses larger files");
        Source { path: path.into(), origin: origin.into(), text, lines: OnceCell::new() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn lines(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let mut starts = vec![0];
            let newlines = self.text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
            starts.extend(newlines.map(|(at, _)| at as u32 + 1));
            starts
        })
    }

    /// Line and column of a byte offset, both counted from 1; columns count characters.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.lines()[line - 1] as usize;
        let end = (offset as usize).min(self.text.len());
        let column = String::from_utf8_lossy(&self.text.as_bytes()[start..end]).chars().count() + 1;
        (line, column)
    }

    /// The line of a byte offset, counted from 1.
    pub fn line(&self, offset: u32) -> usize {
        self.lines().partition_point(|&start| start <= offset)
    }

    /// The bytes of a line (counted from 1), its newline left out.
    pub fn line_span(&self, line: usize) -> Span {
        let lines = self.lines();
        let start = lines[line - 1];
        let end = lines.get(line).map_or(self.text.len() as u32, |&next| next - 1);
        Span::new(start, end.max(start))
    }

    /// The number of lines, the one behind the last newline included.
    pub fn line_count(&self) -> usize {
        self.lines().len()
    }
}

/// All texts of one run, in the order in which they were reached.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    pub fn add(&mut self, source: Source) -> SourceId {
        self.list.push(source);
        SourceId(self.list.len() as u32 - 1)
    }

    pub fn get(&self, id: SourceId) -> &Source {
        &self.list[id.0 as usize]
    }

    /// The text of a place.
    pub fn text(&self, loc: Loc) -> &str {
        &self.get(loc.source).text[loc.span.range()]
    }

    pub fn ids(&self) -> impl Iterator<Item = SourceId> + use<> {
        (0..self.list.len() as u32).map(SourceId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("x.lb", "x.lb", "é b\n# c\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(3), (1, 3));
        assert_eq!(source.position(5), (2, 1));
        assert_eq!(source.position(9), (3, 1));
        assert_eq!(source.line_span(2), Span::new(5, 8));
        assert_eq!(source.line_count(), 3);
    }
}
