//! `LISTEN`: ports, optionally behind a destination.

use ipnet::IpNet;

use crate::diagnostic::Code;
use crate::endpoint::{PortRange, bracketed, ipv4_prefix, is_ipv6, name_ref, needs_brackets, ports, prefix};
use crate::list::{braced, format_list, plain};
use crate::print::Printer;
use crate::source::{Span, Spanned};
use crate::syntax::{In, Parsed, SyntaxError, expect, expected, keyword, word};

use super::net::show;

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Empty where none is written: the addresses of this machine.
    pub destinations: Vec<Destination>,
    pub braces: bool,
    pub ports: Vec<Spanned<PortRange>>,
    pub span: Span,
}

/// One destination as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Local(Span),
    Any(Span),
    Prefix(Spanned<IpNet>),
    /// A host, or a net for its prefixes.
    Name(Span),
}

impl Destination {
    pub fn span(&self) -> Span {
        match self {
            Destination::Local(span) | Destination::Any(span) | Destination::Name(span) => *span,
            Destination::Prefix(prefix) => prefix.span,
        }
    }
}

pub fn listen(start: In<'_>) -> Parsed<'_, Listen> {
    let (i, destinations) = match start.first() {
        b'{' => braced(start, braced_destination, "an address, a prefix, a host, a net or `local`")?,
        b'0'..=b'9' if !looks_like_ipv4(start) && !is_ipv6(start) => (start, Vec::new()),
        _ => {
            let (i, destination) =
                expect(destination, "a port, or a destination such as `203.0.113.10:80` or `*:80`")(start)?;
            (i, vec![destination])
        }
    };
    let i = match destinations.as_slice() {
        [] => i,
        [..] if i.first() == b':' => i.skip(1),
        [..] => return expected(i, "`:` and a port behind the destination").fail(),
    };
    let (end, ports) = plain(i, ports, "a port (1-65535)")?;
    Ok((end, Listen { destinations, braces: start.first() == b'{', ports, span: start.span_to(end) }))
}

/// Digits with a dot in them: an address, not a port.
fn looks_like_ipv4(i: In<'_>) -> bool {
    i.rest.find(|c: char| !c.is_ascii_digit()).is_some_and(|at| matches!(i.rest.as_bytes()[at], b'.' | b'/'))
}

fn destination(i: In<'_>) -> Parsed<'_, Destination> {
    match i.first() {
        b'*' => Ok((i.skip(1), Destination::Any(i.span_of(1)))),
        b'[' => bracketed(i).map(|(i, net)| (i, Destination::Prefix(net))),
        _ if is_ipv6(i) => needs_brackets(i),
        b'0'..=b'9' => ipv4_prefix(i).map(|(i, net)| (i, Destination::Prefix(net))),
        _ => named(i),
    }
}

fn named(i: In<'_>) -> Parsed<'_, Destination> {
    if let Ok((rest, span)) = keyword("local")(i) {
        return Ok((rest, Destination::Local(span)));
    }
    word(i)?;
    let (i, name) = name_ref("a port, an address, a host or a net")(i)?;
    Ok((i, Destination::Name(name)))
}

/// In braces no port follows an address, so an IPv6 address needs no brackets of its own.
fn braced_destination(i: In<'_>) -> Parsed<'_, Destination> {
    match i.first() {
        b'*' => {
            SyntaxError::new(Code::Syntax, i.span_of(1), "`*` stands alone: it is every destination already").fail()
        }
        b'[' => bracketed(i).map(|(i, net)| (i, Destination::Prefix(net))),
        b'0'..=b'9' | b':' => prefix(i).map(|(i, net)| (i, Destination::Prefix(net))),
        _ if is_ipv6(i) => prefix(i).map(|(i, net)| (i, Destination::Prefix(net))),
        _ => named(i),
    }
}

impl Listen {
    pub fn format(&self, p: &mut Printer<'_>) {
        if self.braces {
            p.words("{");
            format_list(&self.destinations, p, Destination::format);
            p.words("}:");
        } else if let Some(destination) = self.destinations.first() {
            destination.format(p);
            p.words(":");
        }
        for (index, ports) in self.ports.iter().enumerate() {
            p.words(if index > 0 { "," } else { "" });
            p.words(&ports.value.to_string());
        }
    }
}

impl Destination {
    fn format(&self, p: &mut Printer<'_>) {
        match self {
            Destination::Local(_) => p.words("local"),
            Destination::Any(_) => p.words("*"),
            Destination::Prefix(net) => match net.value {
                IpNet::V4(_) => p.words(&show(net.value)),
                IpNet::V6(_) => p.words(&format!("[{}]", show(net.value))),
            },
            Destination::Name(name) => p.source(*name),
        }
    }
}
