//! The writer of the one canonical form: text, indentation, and the comments of the source.

use crate::source::Span;
use crate::suppression;

/// The longest list on one line, in characters; longer ones get one element a line.
pub const MAX_WIDTH: usize = 100;

/// Writes a file's statements and puts its comments back where they belong.
pub struct Printer<'a> {
    text: &'a str,
    comments: &'a [Span],
    /// The first comment that is not written yet.
    next: usize,
    /// Source offset up to which everything is written; blank lines are kept by looking behind it.
    done: u32,
    /// Whether the statement that is being written shares its line with another.
    pub is_in_row: bool,
    out: String,
}

impl<'a> Printer<'a> {
    pub fn new(text: &'a str, comments: &'a [Span]) -> Printer<'a> {
        Printer {
            text,
            comments,
            next: 0,
            done: 0,
            is_in_row: false,
            out: String::with_capacity(text.len() + text.len() / 8),
        }
    }

    /// A printer over the same text that writes apart: to measure, or to write what is put in elsewhere.
    pub fn scratch(&self) -> Printer<'a> {
        Printer { text: self.text, comments: &[], next: 0, done: self.done, is_in_row: false, out: String::new() }
    }

    pub fn words(&mut self, words: &str) {
        self.out.push_str(words);
    }

    /// The source's text at a place.
    pub fn text(&self, span: Span) -> &'a str {
        &self.text[span.range()]
    }

    /// Writes the source's own text.
    pub fn source(&mut self, span: Span) {
        self.out.push_str(&self.text[span.range()]);
    }

    pub fn finish(self) -> String {
        self.out
    }

    /// Whether a comment that is not written yet stands in `span`.
    pub fn has_comment(&self, span: Span) -> bool {
        self.comments[self.next..].iter().take_while(|c| c.start < span.end).any(|c| c.start >= span.start)
    }

    /// Whether the source breaks the line within `span`.
    pub fn has_newline(&self, span: Span) -> bool {
        self.text[span.range()].contains('\n')
    }

    /// Whether a comment that suppresses findings stands on the line behind `end`.
    pub fn is_suppressed_behind(&self, end: u32) -> bool {
        let behind = self.behind(end);
        behind.is_some_and(|comment| suppression::parse(self.text, comment).is_some_and(|one| !one.is_for_file))
    }

    /// The comment behind something that ends at `end`, with nothing of its own between.
    fn behind(&self, end: u32) -> Option<Span> {
        let after = &self.comments[self.next..];
        let comment = *after.get(after.partition_point(|comment| comment.start < end))?;
        let between = &self.text[end as usize..comment.start as usize];
        between.chars().all(|c| matches!(c, ' ' | '\t' | ',' | ';')).then_some(comment)
    }

    /// Nothing before `at` is to be looked at for blank lines.
    pub fn skip_to(&mut self, at: u32) {
        self.done = self.done.max(at);
    }

    /// Starts the line of something at `at`: a kept blank line, the comments before it, the indentation.
    pub fn begin(&mut self, at: u32, indent: &str) {
        self.comments_before(at, indent);
        self.blank_line(at);
        self.out.push_str(indent);
        self.done = self.done.max(at);
    }

    /// Ends a block whose brace closes at `at`: the comments before the brace belong into the block.
    pub fn close(&mut self, at: u32, indent: &str) {
        self.comments_before(at, indent);
        self.done = self.done.max(at);
        self.out.push('}');
    }

    fn comments_before(&mut self, at: u32, indent: &str) {
        while let Some(&comment) = self.comments.get(self.next).filter(|c| c.start < at) {
            self.line(comment, indent);
        }
    }

    /// One comment on a line of its own.
    fn line(&mut self, comment: Span, indent: &str) {
        self.next += 1;
        self.blank_line(comment.start);
        self.out.push_str(indent);
        self.source(comment);
        self.out.push('\n');
        self.done = self.done.max(comment.end);
    }

    /// Keeps one blank line where the source has some between what is written and `at`.
    fn blank_line(&mut self, at: u32) {
        let between = &self.text[self.done.min(at) as usize..at as usize];
        let blank = between.bytes().filter(|&b| b == b'\n').nth(1).is_some();
        let opened = self.out.is_empty() || self.out.ends_with("\n\n") || self.out.ends_with("{\n");
        if blank && !opened {
            self.out.push('\n');
        }
    }

    /// Ends the line of something that ends at `end`: the comment behind it in the source, then a newline.
    pub fn end(&mut self, end: u32) {
        self.done = self.done.max(end);
        let next = self.comments.get(self.next).filter(|comment| comment.start >= end);
        if let Some(comment) = next.and_then(|_| self.behind(end)) {
            self.next += 1;
            self.out.push(' ');
            self.source(comment);
            self.done = comment.end;
        }
        self.out.push('\n');
    }

    /// Writes the comments of `span`, each on a line of its own, before the statement that holds them.
    pub fn hoist(&mut self, span: Span, keep: Option<Span>) {
        let mut kept = Vec::new();
        let first = self.next;
        let inside = self.comments[first..].iter().take_while(|c| c.start < span.end);
        for (index, comment) in inside.enumerate() {
            if keep.is_none_or(|keep| comment.start < keep.start || comment.start >= keep.end) {
                kept.push(first + index);
            }
        }
        if keep.is_some_and(|keep| self.has_comment(keep)) && !kept.is_empty() {
            // Only comments before the kept part can move; those behind it are its trailing comments.
            kept.retain(|&index| keep.is_some_and(|keep| self.comments[index].start < keep.start));
        }
        for index in kept {
            debug_assert_eq!(index, self.next, "comments are written in source order");
            let comment = self.comments[index];
            self.source(comment);
            self.out.push('\n');
            self.next = index + 1;
        }
    }

    /// Writes the comments that are left, at the end of the file.
    pub fn rest(&mut self) {
        while let Some(&comment) = self.comments.get(self.next) {
            self.line(comment, "");
        }
    }
}
