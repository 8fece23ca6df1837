//! Source texts and places in them.
//!
//! Everything that reads files lives in [`crate::cli`]; this module only holds what was read.

use std::cell::{Cell, OnceCell};

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
    /// Made when a line is first asked for.
    marks: OnceCell<Vec<Mark>>,
    /// An offset, and the newlines before it: where [`Source::line`] was asked last. Most questions go down the text.
    last_line: Cell<(u32, u32)>,
}

/// The largest source that is read, in bytes (language section 6).
pub const MAX_SOURCE_BYTES: usize = 64 << 20;

/// What is known of every [`STEP`]th byte, so that no question about a line reads more than that: 64 MiB may be one
/// line, or 64 million, and there may be a thousand errors in it.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Newlines before it.
    lines: u32,
    /// The start of the line that it stands in.
    line_start: u32,
    /// Characters before it.
    chars: u32,
}

/// Bytes from one [`Mark`] to the next.
const STEP: usize = 4096;

/// The number of newlines.
fn newlines(bytes: &[u8]) -> u32 {
    memchr::memchr_iter(b'\n', bytes).count() as u32
}

/// The number of characters: every byte but the continuation bytes of UTF-8 starts one.
fn characters(bytes: &[u8]) -> u32 {
    // Sums of a byte each compile to vector code.
    let blocks = bytes.chunks(usize::from(u8::MAX));
    blocks.map(|block| u32::from(block.iter().map(|&byte| u8::from(byte & 0xc0 != 0x80)).sum::<u8>())).sum()
}

impl Mark {
    /// The mark `bytes` further on; this one is at `offset`.
    fn over(self, offset: usize, bytes: &[u8]) -> Mark {
        let lines = newlines(bytes);
        let last = if lines > 0 { memchr::memrchr(b'\n', bytes) } else { None };
        Mark {
            lines: self.lines + lines,
            line_start: last.map_or(self.line_start, |at| (offset + at + 1) as u32),
            chars: self.chars + characters(bytes),
        }
    }
}

impl Source {
    /// Wraps a text of at most [`MAX_SOURCE_BYTES`] bytes.
    pub fn new(path: impl Into<String>, origin: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        assert!(text.len() <= MAX_SOURCE_BYTES + 3, "the reader refuses larger files");
        Source { path: path.into(), origin: origin.into(), text, marks: OnceCell::new(), last_line: Cell::default() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn marks(&self) -> &[Mark] {
        self.marks.get_or_init(|| {
            let mut mark = Mark::default();
            let mut marks = vec![mark];
            for (index, bytes) in self.text.as_bytes().chunks_exact(STEP).enumerate() {
                mark = mark.over(index * STEP, bytes);
                marks.push(mark);
            }
            marks
        })
    }

    /// What is known of a byte offset.
    fn mark(&self, offset: usize) -> Mark {
        let offset = offset.min(self.text.len());
        let start = offset / STEP * STEP;
        self.marks()[offset / STEP].over(start, &self.text.as_bytes()[start..offset])
    }

    /// Line and column of a byte offset, both counted from 1; columns count characters, a byte order mark is none.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let mark = self.mark(offset as usize);
        let start = if mark.lines == 0 { self.bom().min(offset) } else { mark.line_start };
        let column = mark.chars - self.mark(start as usize).chars;
        (mark.lines as usize + 1, column as usize + 1)
    }

    /// The line of a byte offset, counted from 1.
    pub fn line(&self, offset: u32) -> usize {
        let offset = offset.min(self.text.len() as u32);
        let (last, lines) = self.last_line.get();
        let lines = match offset.checked_sub(last) {
            Some(ahead) if (ahead as usize) < STEP => {
                lines + newlines(&self.text.as_bytes()[last as usize..offset as usize])
            }
            Some(_) | None => self.mark(offset as usize).lines,
        };
        self.last_line.set((offset, lines));
        lines as usize + 1
    }

    /// The length of the byte order mark at the start.
    fn bom(&self) -> u32 {
        if self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() as u32 } else { 0 }
    }

    /// The bytes of a line (counted from 1), its newline and a byte order mark left out.
    pub fn line_span(&self, line: usize) -> Span {
        let start = match line {
            1 => self.bom(),
            _ => self.newline(line - 1) + 1,
        };
        Span::new(start.min(self.text.len() as u32), self.newline(line))
    }

    /// The offset of the `count`th newline, or the end of the text.
    fn newline(&self, count: usize) -> u32 {
        let block = self.marks().partition_point(|mark| (mark.lines as usize) < count) - 1;
        let before = self.marks()[block].lines as usize;
        let bytes = self.text.as_bytes()[block * STEP..].iter().take(STEP);
        let newlines = bytes.enumerate().filter(|&(_, &byte)| byte == b'\n');
        let at = newlines.map(|(at, _)| at).nth(count - before - 1);
        at.map_or(self.text.len() as u32, |at| (block * STEP + at) as u32)
    }

    /// The number of lines, the one behind the last newline included.
    pub fn line_count(&self) -> usize {
        self.line(self.text.len() as u32)
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

    /// Appends the texts of another run; theirs are numbered from the returned number on.
    pub fn append(&mut self, other: Sources) -> u32 {
        let first = self.list.len() as u32;
        self.list.extend(other.list);
        first
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
        assert_eq!(source.line_span(3), Span::new(9, 9));
        assert_eq!(source.line_count(), 3);
        assert_eq!(Source::new("x", "x", "").line_span(1), Span::new(0, 0));
    }

    #[test]
    fn positions_are_those_of_a_count_from_the_start() {
        let long = "é".repeat(STEP);
        let text = format!("{long}\n\n{long}x\n{}{long}", "\n".repeat(2 * STEP));
        let source = Source::new("x", "x", text.clone());
        let mut lines: Vec<usize> = vec![0];
        lines.extend(text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1));
        assert_eq!(source.line_count(), lines.len());
        for (index, &start) in lines.iter().enumerate() {
            let end = lines.get(index + 1).map_or(text.len(), |next| next - 1);
            assert_eq!(source.line_span(index + 1), Span::new(start as u32, end as u32));
            assert_eq!(source.position(start as u32), (index + 1, 1));
            assert_eq!(source.position(end as u32), (index + 1, text[start..end].chars().count() + 1));
        }
    }
}
