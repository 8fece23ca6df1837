//! The input of every parser function: what is left of a source, where it starts, and what was found wrong so far.

use std::cell::{Cell, RefCell};

use nom::{Compare, CompareResult, Input, Needed, Offset};

use crate::diagnostic::Code;
use crate::source::Span;

use super::{Abort, Parsed, SyntaxError};

/// Errors recorded in one file before its parser gives up on the rest of it.
pub const MAX_ERRORS: usize = 1_000;

/// What the statements, options and list elements of one file may take, in bytes of memory.
///
/// 100,000 services of 10 backends need 195 MB; it bounds the memory and the time that 64 MiB of text can ask for.
pub const MAX_TREE_BYTES: usize = 224 << 20;

/// What an element counts at least, in bytes: reading one takes time, however small it is.
const MIN_ELEMENT_BYTES: usize = 64;

/// What is left of a source, where it starts, and where errors go.
#[derive(Clone, Copy, Debug)]
pub struct In<'a> {
    pub rest: &'a str,
    pub offset: u32,
    errors: &'a Errors,
}

/// The errors that recovery has recorded so far, and how much was read.
#[derive(Debug, Default)]
pub struct Errors {
    list: RefCell<Vec<SyntaxError>>,
    tree_bytes: Cell<usize>,
}

impl Errors {
    /// Keeps an error, unless there are [`MAX_ERRORS`] already.
    pub fn record(&self, error: SyntaxError) {
        if !self.overflow() {
            self.list.borrow_mut().push(error);
        }
    }

    /// Keeps the error that says why the rest of a file was not read.
    pub fn record_last(&self, error: SyntaxError) {
        self.list.borrow_mut().push(error);
    }

    /// The number of errors so far.
    pub fn count(&self) -> usize {
        self.list.borrow().len()
    }

    /// Whether so many errors were found that going on helps nobody.
    pub fn overflow(&self) -> bool {
        self.count() >= MAX_ERRORS
    }

    /// Whether the file holds more than is read of one file.
    pub fn full(&self) -> bool {
        self.tree_bytes.get() > MAX_TREE_BYTES
    }

    pub fn take(self) -> Vec<SyntaxError> {
        self.list.into_inner()
    }
}

impl<'a> In<'a> {
    /// The whole text, from offset 0.
    pub fn new(text: &'a str, errors: &'a Errors) -> In<'a> {
        In { rest: text, offset: 0, errors }
    }

    /// The span from here to where `end` starts.
    #[inline]
    pub fn span_to(&self, end: In<'a>) -> Span {
        Span::new(self.offset, end.offset)
    }

    /// An empty span here.
    #[inline]
    pub fn here(&self) -> Span {
        Span::new(self.offset, self.offset)
    }

    /// The next `len` bytes as a span.
    #[inline]
    pub fn span_of(&self, len: usize) -> Span {
        Span::new(self.offset, self.offset + len as u32)
    }

    /// The first byte, 0 at the end (a source holds no NUL byte).
    #[inline]
    pub fn first(&self) -> u8 {
        self.rest.as_bytes().first().copied().unwrap_or(0)
    }

    #[inline]
    pub fn errors(&self) -> &'a Errors {
        self.errors
    }

    /// The input `len` bytes further on.
    #[inline]
    pub fn skip(&self, len: usize) -> In<'a> {
        In { rest: &self.rest[len..], offset: self.offset + len as u32, errors: self.errors }
    }

    /// The input behind the next character; at the end, the end.
    pub fn skip_char(&self) -> In<'a> {
        self.skip(self.rest.chars().next().map_or(0, char::len_utf8))
    }

    /// The next `len` bytes alone.
    #[inline]
    pub fn keep(&self, len: usize) -> In<'a> {
        In { rest: &self.rest[..len], ..*self }
    }

    /// Counts a statement, an option or a list element that starts here and takes `bytes`, against [`MAX_TREE_BYTES`].
    #[inline]
    pub fn count(&self, bytes: usize) -> Result<(), Abort> {
        let before = self.errors.tree_bytes.get();
        self.errors.tree_bytes.set(before + bytes);
        match before + bytes <= MAX_TREE_BYTES {
            true => Ok(()),
            false => Err(self.too_large(before)),
        }
    }

    #[cold]
    fn too_large(&self, before: usize) -> Abort {
        if before > MAX_TREE_BYTES {
            return super::already_reported();
        }
        let mebibytes = MAX_TREE_BYTES >> 20;
        let message = format!("the statements up to here take {mebibytes} MiB of memory, the most for one file");
        SyntaxError::new(Code::TargetLimit, self.here(), message)
            .help("this is where reading ended; split the file, or list prefixes instead of addresses")
            .abort()
    }

    /// Counts an element that starts here and adds it to `list`, which grows no further than it must at first.
    pub fn push<T>(&self, list: &mut Vec<T>, element: T) -> Result<(), Abort> {
        self.count(size_of::<T>().max(MIN_ELEMENT_BYTES))?;
        if list.capacity() == 0 {
            // Most lists have one element; four, as `push` would take, are 200 MB in a file of a million hosts.
            list.reserve_exact(1);
        }
        list.push(element);
        Ok(())
    }

    /// A failure without a new error, if this statement's error or errors are recorded already.
    pub fn give_up<T>(&self) -> Parsed<'a, T> {
        Err(super::already_reported())
    }
}

impl<'a> Input for In<'a> {
    type Item = char;
    type Iter = std::str::Chars<'a>;
    type IterIndices = std::str::CharIndices<'a>;

    fn input_len(&self) -> usize {
        self.rest.len()
    }

    fn take(&self, index: usize) -> Self {
        self.keep(index)
    }

    fn take_from(&self, index: usize) -> Self {
        self.skip(index)
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.skip(index), self.keep(index))
    }

    fn position<P>(&self, predicate: P) -> Option<usize>
    where
        P: Fn(char) -> bool,
    {
        self.rest.find(predicate)
    }

    fn iter_elements(&self) -> Self::Iter {
        self.rest.chars()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.rest.char_indices()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        self.rest.slice_index(count)
    }
}

impl Offset for In<'_> {
    fn offset(&self, second: &Self) -> usize {
        (second.offset - self.offset) as usize
    }
}

impl Compare<&str> for In<'_> {
    fn compare(&self, other: &str) -> CompareResult {
        self.rest.compare(other)
    }

    fn compare_no_case(&self, other: &str) -> CompareResult {
        self.rest.compare_no_case(other)
    }
}
