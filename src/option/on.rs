//! `on [not] IFACES`

use crate::diagnostic::Code;
use crate::keyword;
use crate::list::{braced_or_plain, format_list};
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, SyntaxError, blank0, keyword as this_word, not_here, string};

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
        let end = i.rest.find(|c: char| c.is_whitespace() || c.is_control() || ",;{}#\"/".contains(c));
        let text = &i.rest[..end.unwrap_or(i.rest.len())];
        let text = text.find("->").map_or(text, |cut| &text[..cut]);
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
    let error = |message: String| SyntaxError::new(Code::TargetLimit, i.span_to(rest), message);
    if text.is_empty() {
        return error("an interface without a name".to_owned()).fail();
    }
    if text.trim_end_matches('*').len() > MAX_INTERFACE_BYTES || text.len() > MAX_INTERFACE_BYTES + 1 {
        return error(format!("an interface name of {} bytes; {MAX_INTERFACE_BYTES} are the most", text.len()))
            .help("the kernel knows no longer ones; a `*` at the end makes a shorter one a prefix")
            .fail();
    }
    if text.contains(|c: char| c.is_whitespace() || c == '/') || matches!(text, "." | ".." | "!") {
        return error(format!("`{text}` cannot be the name of an interface"))
            .help("the kernel allows neither blanks nor `/` in it")
            .fail();
    }
    Ok((rest, Interface { name, quoted }))
}

impl On {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(if self.not { " not " } else { " " });
        format_list(&self.interfaces, p, |interface, p| {
            let quote = if interface.quoted { "\"" } else { "" };
            p.words(quote);
            p.source(interface.name);
            p.words(quote);
        });
    }
}
