//! Places as editors tell them: lines, and UTF-16 code units within a line, both counted from 0.

use lsp_types::{Position, Range, TextDocumentContentChangeEvent};

use crate::source::Span;

/// Where the lines of one text start, and how many UTF-16 code units stand before a place.
///
/// Lines end with LF, CRLF or a lone CR, as the protocol has it. A text that is no ASCII has marks, so that no question
/// reads more than [`STEP`] bytes: 64 MiB may be one line.
#[derive(Clone, Debug)]
pub struct Lines {
    starts: Vec<u32>,
    /// The UTF-16 code units before each [`STEP`]th byte; empty for ASCII, where they are the bytes.
    marks: Vec<u32>,
}

/// Bytes from one mark to the next.
const STEP: usize = 1024;

/// The UTF-16 code units that start in some bytes of UTF-8: one for each character, two for those of four bytes.
fn units(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte & 0xc0 != 0x80) + u32::from(byte >= 0xf0)).sum()
}

impl Lines {
    pub fn new(text: &str) -> Lines {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
            if bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n') {
                starts.push(at as u32 + 1);
            }
        }
        let mut marks = Vec::new();
        if !text.is_ascii() {
            let mut sum = 0;
            for block in bytes.chunks(STEP) {
                marks.push(sum);
                sum += units(block);
            }
            marks.push(sum);
        }
        Lines { starts, marks }
    }

    /// The code units before a byte of the text.
    fn before(&self, text: &str, offset: usize) -> u32 {
        match self.marks.get(offset / STEP) {
            None => offset as u32,
            Some(mark) => mark + units(&text.as_bytes()[offset / STEP * STEP..offset]),
        }
    }

    /// The place of a byte; within a character that of its start.
    pub fn position(&self, text: &str, offset: u32) -> Position {
        let mut offset = (offset as usize).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start as usize <= offset) - 1;
        let start = self.starts[line] as usize;
        Position::new(line as u32, self.before(text, offset) - self.before(text, start))
    }

    pub fn range(&self, text: &str, span: Span) -> Range {
        Range::new(self.position(text, span.start), self.position(text, span.end))
    }

    /// The byte of a place. What lies behind the end of a line is its end, behind the last line the end of the text, and
    /// within a character the character's start.
    pub fn offset(&self, text: &str, position: Position) -> u32 {
        let Some(&start) = self.starts.get(position.line as usize) else { return text.len() as u32 };
        let next = self.starts.get(position.line as usize + 1).map_or(text.len(), |next| *next as usize);
        let line = &text[start as usize..next];
        let end = start as usize + line.trim_end_matches(['\n', '\r']).len();
        if self.marks.is_empty() {
            return end.min((start as usize).saturating_add(position.character as usize)) as u32;
        }
        let wanted = self.before(text, start as usize).saturating_add(position.character);
        let mark = self.marks.partition_point(|mark| *mark <= wanted).saturating_sub(1);
        let mut at = (mark * STEP).max(start as usize).min(end);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let mut count = self.before(text, at);
        for c in text[at..end].chars() {
            count += c.len_utf16() as u32;
            if count > wanted {
                break;
            }
            at += c.len_utf8();
        }
        at as u32
    }

    /// The bytes of a range, whichever of its ends comes first.
    pub fn span(&self, text: &str, range: Range) -> Span {
        let (one, other) = (self.offset(text, range.start), self.offset(text, range.end));
        Span::new(one.min(other), one.max(other))
    }
}

/// Applies what an editor tells of a change.
pub fn change(text: &mut String, lines: &mut Lines, change: TextDocumentContentChangeEvent) {
    match change.range {
        Some(range) => {
            let span = lines.span(text, range);
            text.replace_range(span.range(), &change.text);
        }
        None => *text = change.text,
    }
    *lines = Lines::new(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character of a text with its place, found by walking over it.
    fn walk(text: &str) -> Vec<(usize, Position)> {
        let (mut line, mut character) = (0, 0);
        let mut places = Vec::new();
        let mut before = None;
        for (at, c) in text.char_indices() {
            if before == Some('\n') || (before == Some('\r') && c != '\n') {
                (line, character) = (line + 1, 0);
            }
            places.push((at, Position::new(line, character)));
            character += c.len_utf16() as u32;
            before = Some(c);
        }
        if matches!(before, Some('\n' | '\r')) {
            (line, character) = (line + 1, 0);
        }
        places.push((text.len(), Position::new(line, character)));
        places
    }

    #[test]
    fn places_are_those_of_a_walk() {
        let long = "é🙂x".repeat(STEP);
        for text in
            ["", "a", "a\nb\n", "é\r\n🙂b\rc\n\n", "# ü 🙂\nhost a = ::1", &long, &format!("{long}\n{long}\r\n")]
        {
            let lines = Lines::new(text);
            for (at, position) in walk(text) {
                assert_eq!(lines.position(text, at as u32), position, "{at}");
                let is_end_of_line = text[at..].starts_with('\n') && text[..at].ends_with('\r');
                let expected = if is_end_of_line { at - 1 } else { at };
                assert_eq!(lines.offset(text, position), expected as u32, "{position:?}");
            }
        }
    }

    #[test]
    fn places_outside_are_brought_inside() {
        let text = "é🙂\nb\r\n";
        let lines = Lines::new(text);
        let offset = |line, character| lines.offset(text, Position::new(line, character));
        // Within the two units of the emoji, behind the end of a line, behind the end of the text.
        assert_eq!((offset(0, 2), offset(0, 99), offset(1, u32::MAX), offset(9, 9)), (2, 6, 8, 10));
        assert_eq!(lines.position(text, 4), Position::new(0, 1));
        assert_eq!(lines.position(text, 999), Position::new(2, 0));
        let backwards = Range::new(Position::new(1, 0), Position::new(0, 1));
        assert_eq!(lines.span(text, backwards), Span::new(2, 7));
    }

    #[test]
    fn changes_are_of_the_text_before_them() {
        let (mut text, mut lines) = ("é = 1\nb".to_owned(), Lines::new("é = 1\nb"));
        let range = Range::new(Position::new(0, 4), Position::new(1, 1));
        change(
            &mut text,
            &mut lines,
            TextDocumentContentChangeEvent { range: Some(range), range_length: None, text: "🙂".into() },
        );
        assert_eq!(text, "é = 🙂");
        assert_eq!(lines.position(&text, text.len() as u32), Position::new(0, 6));
        change(
            &mut text,
            &mut lines,
            TextDocumentContentChangeEvent { range: None, range_length: None, text: "\n".into() },
        );
        assert_eq!((text.as_str(), lines.position(&text, 1)), ("\n", Position::new(1, 0)));
    }
}
