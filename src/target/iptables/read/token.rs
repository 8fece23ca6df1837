//! The words of a line, as `iptables-restore` splits it: at blanks, with double quotes and backslashes inside them.

use std::borrow::Cow;
use std::ops::Range;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    /// Without quotes.
    pub text: Cow<'t, str>,
    /// In bytes of the line, quotes included.
    pub span: Range<usize>,
    /// Whether it has quotes: then it is a value, whatever it looks like.
    pub quoted: bool,
}

impl Token<'_> {
    /// Whether it starts an option, and is not a lone dash.
    pub fn is_option(&self) -> bool {
        !self.quoted && self.text.len() > 1 && self.text.starts_with('-')
    }

    /// Whether it turns the option behind it around, or the one before.
    pub fn is_not(&self) -> bool {
        !self.quoted && self.text == "!"
    }
}

/// Appends the words of a line, at most `most`. The error is that there are more, or an unfinished quote.
pub fn tokens<'t>(line: &'t str, most: usize, into: &mut Vec<Token<'t>>) -> Result<(), String> {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if is_blank(bytes[at]) {
            at += 1;
            continue;
        }
        if into.len() >= most {
            return Err(format!("more than {most} words"));
        }
        let start = at;
        while at < bytes.len() && !is_blank(bytes[at]) && bytes[at] != b'"' {
            at += 1;
        }
        if at == bytes.len() || bytes[at] != b'"' {
            into.push(Token { text: Cow::Borrowed(&line[start..at]), span: start..at, quoted: false });
            continue;
        }
        let (text, end) = quoted(line, start, at)?;
        into.push(Token { text, span: start..end, quoted: true });
        at = end;
    }
    Ok(())
}

/// A word from `start` whose first quote stands at `quote`, and where it ends.
fn quoted(line: &str, start: usize, quote: usize) -> Result<(Cow<'_, str>, usize), String> {
    let bytes = line.as_bytes();
    // The usual word is one pair of quotes with nothing to unescape.
    if start == quote
        && let Some(length) = memchr::memchr2(b'"', b'\\', &bytes[quote + 1..])
        && bytes[quote + 1 + length] == b'"'
        && bytes.get(quote + length + 2).is_none_or(|next| is_blank(*next))
    {
        return Ok((Cow::Borrowed(&line[quote + 1..quote + 1 + length]), quote + length + 2));
    }
    let mut text = String::new();
    let (mut open, mut escaped) = (false, false);
    for (offset, c) in line[start..].char_indices() {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' if open => escaped = true,
            '"' => open = !open,
            ' ' | '\t' | '\r' if !open => return Ok((Cow::Owned(text), start + offset)),
            _ => text.push(c),
        }
    }
    match open {
        true => Err("the quote is not closed".to_owned()),
        false => Ok((Cow::Owned(text), line.len())),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}
