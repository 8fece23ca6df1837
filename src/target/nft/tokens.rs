//! Tokens of nft's language, borrowed from the text.

use super::dump::ReadError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Letters, digits and `_ - . / : * \`; also `.` and `:` alone.
    Word(&'a str),
    /// What stands between quotes.
    Quoted(&'a str),
    /// `{ } , ; @ = [ ] !`
    Sign(u8),
    Newline,
    End,
}

/// The tokens from here on; comments and blanks are left out.
#[derive(Clone)]
pub struct Tokens<'a> {
    rest: &'a str,
    /// Of the next token, from 1.
    line: usize,
    /// The token that was looked at, and what is behind it.
    ahead: Option<(Token<'a>, &'a str)>,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Tokens<'a> {
        Tokens { rest: text, line: 1, ahead: None }
    }

    /// The text from the next token on, with blanks before it.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Goes on at an end of what is left.
    pub fn skip_to(&mut self, end: &'a str) {
        let skipped = &self.rest.as_bytes()[..self.rest.len() - end.len()];
        self.line += memchr::memchr_iter(b'\n', skipped).count();
        (self.rest, self.ahead) = (end, None);
    }

    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, ReadError> {
        Err(ReadError { line: Some(self.line), message: message.into() })
    }

    /// The next token, which stays.
    #[inline]
    pub fn peek(&mut self) -> Token<'a> {
        match self.ahead {
            Some((token, _)) => token,
            None => {
                let ahead = scan(self.rest);
                self.ahead = Some(ahead);
                ahead.0
            }
        }
    }

    pub fn next(&mut self) -> Token<'a> {
        let (token, rest) = self.ahead.take().unwrap_or_else(|| scan(self.rest));
        self.rest = rest;
        self.line += usize::from(token == Token::Newline);
        token
    }

    /// The next token that is no newline, which stays.
    pub fn peek_on(&mut self) -> Token<'a> {
        while self.peek() == Token::Newline {
            self.next();
        }
        self.peek()
    }

    /// Takes the next token, behind newlines, if it is a sign.
    pub fn accept(&mut self, sign: u8) -> bool {
        let found = self.peek_on() == Token::Sign(sign);
        if found {
            self.next();
        }
        found
    }

    /// Takes a word if it is next in the line.
    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Token::Word(word);
        if found {
            self.next();
        }
        found
    }

    pub fn sign(&mut self, sign: u8) -> Result<(), ReadError> {
        match self.accept(sign) {
            true => Ok(()),
            false => self.expected(&format!("`{}`", char::from(sign))),
        }
    }

    /// Takes what is made of the text from here on, where anything is: it goes up to the end of a token in this line.
    pub fn take<T>(&mut self, read: impl FnOnce(&'a str) -> Option<(T, &'a str)>) -> Option<T> {
        let (value, rest) = read(self.rest)?;
        (self.rest, self.ahead) = (rest, None);
        Some(value)
    }

    /// These words and no others, in the line.
    pub fn words(&mut self, words: &[&str]) -> Result<(), ReadError> {
        for word in words {
            if !self.accept_word(word) {
                return self.expected(&format!("`{word}`"));
            }
        }
        Ok(())
    }

    /// Any word in the line.
    pub fn word(&mut self, what: &str) -> Result<&'a str, ReadError> {
        match self.peek() {
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            Token::Quoted(_) | Token::Sign(_) | Token::Newline | Token::End => self.expected(what),
        }
    }

    pub fn number(&mut self, what: &str) -> Result<u32, ReadError> {
        let word = self.word(what)?;
        match super::dump::number(word) {
            Some(number) => Ok(number),
            None => self.error(format!("expected {what}, found `{word}`")),
        }
    }

    pub fn expected<T>(&mut self, what: &str) -> Result<T, ReadError> {
        let found = match self.peek() {
            Token::Word(word) => format!("`{}`", word.chars().take(40).collect::<String>()),
            Token::Quoted(_) => "a text in quotes".to_owned(),
            Token::Sign(sign) => format!("`{}`", char::from(sign)),
            Token::Newline => "the end of the line".to_owned(),
            Token::End => "the end".to_owned(),
        };
        self.error(format!("expected {what}, found {found}"))
    }
}

/// The bytes that words are made of.
const WORD: [bool; 256] = {
    let mut list = [false; 256];
    let mut byte = 0u8;
    loop {
        list[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'*' | b'\\')
            || byte >= 0x80;
        if byte == u8::MAX {
            break list;
        }
        byte += 1;
    }
};

fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

/// The first token and what is behind it.
fn scan(text: &str) -> (Token<'_>, &str) {
    let blanks = text.bytes().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')).unwrap_or(text.len());
    let mut rest = &text[blanks..];
    if rest.starts_with('#') {
        rest = rest.find('\n').map_or("", |end| &rest[end..]);
    }
    let Some(&first) = rest.as_bytes().first() else { return (Token::End, rest) };
    if first == b'\n' {
        return (Token::Newline, &rest[1..]);
    }
    if first == b'"' {
        // Without an end the quote is a sign that nothing expects.
        return match rest[1..].find(['"', '\n']) {
            Some(end) if rest.as_bytes()[1 + end] == b'"' => (Token::Quoted(&rest[1..1 + end]), &rest[end + 2..]),
            Some(_) | None => (Token::Sign(first), &rest[1..]),
        };
    }
    let end = rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len());
    match end {
        // No word byte: ASCII, so one byte is one character.
        0 => (Token::Sign(first), &rest[1..]),
        end => (Token::Word(&rest[..end]), &rest[end..]),
    }
}
