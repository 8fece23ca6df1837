//! `on [not] IFACES`

use crate::diagnostic::Code;
use crate::keyword;
use crate::list::{braced_or_plain, format_list};
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{
    In, MAX_TOKEN_BYTES, Parsed, SyntaxError, blank0, kept, keyword as this_word, not_here, shorten, string,
};

/// On which interfaces a connection has to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On {
    /// Covers the whole list.
    pub not: bool,
    pub interfaces: Vec<Interface>,
}

/// An interface name as written; a `*` at its end makes it a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name, without quotes.
    pub name: Span,
    /// As the source has it; the canonical form has quotes only where they are needed.
    pub quoted: bool,
}

/// The longest interface name in bytes: IFNAMSIZ - 1.
pub const MAX_INTERFACE_BYTES: usize = 15;

pub fn parse(i: In<'_>) -> Parsed<'_, On> {
    let (i, _) = blank0(i)?;
    let (i, not) = match this_word("not")(i) {
        Ok((i, _)) => (blank0(i)?.0, true),
        Err(_) => (i, false),
    };
    let (i, interfaces) = braced_or_plain(i, interface, "an interface")?;
    Ok((i, On { not, interfaces }))
}

fn interface(i: In<'_>) -> Parsed<'_, Interface> {
    let (rest, name, quoted) = if i.first() == b'"' {
        let (rest, name) = string(i)?;
        (rest, name, true)
    } else {
        let text = bare(i.rest);
        if text.is_empty() {
            return not_here();
        }
        if keyword::is_reserved(text) {
            return SyntaxError::new(
                Code::Syntax,
                i.span_of(text.len()),
                format!("expected an interface, found the keyword `{text}`"),
            )
            .help(format!("an interface of that name is written `\"{text}\"`"))
            .fail();
        }
        (i.skip(text.len()), i.span_of(text.len()), false)
    };
    let offset = (name.start - i.offset) as usize;
    let text = &i.rest[offset..offset + (name.end - name.start) as usize];
    match problem(text) {
        None => Ok((rest, Interface { name, quoted })),
        Some((message, help)) => {
            let span = i.span_of(((rest.offset - i.offset) as usize).min(MAX_TOKEN_BYTES));
            let code = if is_too_long(text) { Code::TargetLimit } else { Code::InvalidName };
            SyntaxError::new(code, span, message).help(help).fail()
        }
    }
}

/// The characters that stand for an interface without quotes: up to a blank, a separator or an arrow.
fn bare(rest: &str) -> &str {
    let ends = |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control() || b",;{}#\"/".contains(b);
    let bytes = rest.as_bytes();
    // A name of that length is refused in any case.
    let mut len = bytes.iter().take(MAX_TOKEN_BYTES).position(ends).unwrap_or(bytes.len().min(MAX_TOKEN_BYTES));
    while !rest.is_char_boundary(len) {
        len -= 1;
    }
    rest[..len].find("->").map_or(&rest[..len], |cut| &rest[..cut])
}

/// What every name begins with that is meant.
fn start(text: &str) -> &str {
    text.strip_suffix('*').unwrap_or(text)
}

/// LB017: no target can test more.
fn is_too_long(text: &str) -> bool {
    start(text).len() > MAX_INTERFACE_BYTES
}

/// What keeps a text from being the name of an interface, and what to write instead.
///
/// The kernel's dev_valid_name() refuses `.`, `..`, `/`, `:` and blanks. A `+` at the end is a prefix to iptables.
fn problem(text: &str) -> Option<(String, String)> {
    let name = start(text);
    let show = shorten(text);
    if text.is_empty() {
        return Some(("an interface without a name".to_owned(), "write its name, such as `eth0`".to_owned()));
    }
    if is_too_long(text) {
        let message = format!("the interface name `{show}` has more than {MAX_INTERFACE_BYTES} bytes");
        // iptables needs a byte for the `*`.
        let prefix = format!("{}*", kept(name, MAX_INTERFACE_BYTES - 1));
        let quote = if needs_quotes(&prefix) { "\"" } else { "" };
        let help = format!(
            "the kernel knows no longer ones, and matches no alternative names: write the name that `ip -br link` shows, \
             or all that begin so: `{quote}{prefix}{quote}`"
        );
        return Some((message, help));
    }
    let message = format!("`{show}` cannot be the name of an interface");
    if let Some(prefix) = name.strip_suffix('+') {
        return Some((message, format!("a prefix is written `{prefix}*`")));
    }
    if let Some((device, _)) = name.split_once(':') {
        return Some((message, format!("an alias is an address, not an interface; write `{device}`")));
    }
    if name.contains('*') {
        return Some((message, "a `*` stands only at the end, where it makes the name a prefix".to_owned()));
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') || matches!(text, "." | ".." | "!") {
        return Some((message, "the kernel allows neither blanks nor `/` in it".to_owned()));
    }
    None
}

/// Whether an interface name needs quotes.
fn needs_quotes(text: &str) -> bool {
    bare(text) != text || keyword::is_reserved(text)
}

impl On {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(if self.not { " not " } else { " " });
        format_list(&self.interfaces, p, |interface, p| {
            let quote = if needs_quotes(p.text(interface.name)) { "\"" } else { "" };
            p.words(quote);
            p.source(interface.name);
            p.words(quote);
        });
    }
}
