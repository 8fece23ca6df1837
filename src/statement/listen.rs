//! `LISTEN`: ports, optionally behind a destination.

use ipnet::IpNet;

use crate::diagnostic::Code;
use crate::endpoint::{
    PORT, PortRange, bracketed, ipv4_prefix, is_ipv4, is_ipv6, name_ref, needs_brackets, port_name, ports, prefix,
};
use crate::list::{braced, format_list, plain};
use crate::print::Printer;
use crate::source::{Span, Spanned};
use crate::syntax::{In, Parsed, SyntaxError, expect, expected, keyword};

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

/// `listen = [ destination ":" ] PORTS { comma PORTS }`, without blanks around the colon.
pub fn listen(start: In<'_>) -> Parsed<'_, Listen> {
    let braces = start.first() == b'{';
    let (i, destinations) = match start.first() {
        b'{' => braced(start, braced_destination, "an address, a prefix, a host, a net or `local`")?,
        b'0'..=b'9' if !is_ipv4(start) && !is_ipv6(start) => (start, Vec::new()),
        b':' if !is_ipv6(start) => {
            let port = ports(start.skip(1)).map_or_else(|_| "80".to_owned(), |(_, ports)| ports.value.to_string());
            return expected(start, "a port or a destination")
                .help(format!(
                    "write `{port}` or `local:{port}` for the addresses of this machine, `*:{port}` for any destination"
                ))
                .fail();
        }
        _ => {
            let (i, destination) =
                expect(destination, "a port, or a destination such as `203.0.113.10:80` or `*:80`")(start)?;
            (i, vec![destination])
        }
    };
    let behind = braces || !destinations.is_empty();
    if behind && i.first() != b':' {
        return expected(i, "`:` and a port behind the destination").maybe_help(missing_port(&destinations)).fail();
    }
    let (end, ports) = match behind {
        true => plain(i.skip(1), first_of(i, ports), PORT)?,
        false => plain(i, ports, PORT)?,
    };
    Ok((end, Listen { destinations, braces, ports, span: start.span_to(end) }))
}

/// `item`; directly behind the colon at `colon` the error says that names of ports are not looked up.
fn first_of<'a, T>(
    colon: In<'a>,
    mut item: impl FnMut(In<'a>) -> Parsed<'a, T>,
) -> impl FnMut(In<'a>) -> Parsed<'a, T> {
    move |i| match item(i) {
        Err(nom::Err::Error(_)) if i.offset == colon.offset + 1 => port_name(i).fail(),
        other => other,
    }
}

fn missing_port(destinations: &[Destination]) -> Option<String> {
    let what = match destinations {
        [Destination::Any(_)] => "*",
        [Destination::Local(_)] => "local",
        [Destination::Prefix(_) | Destination::Name(_)] => "DESTINATION",
        _ => "{…}",
    };
    Some(format!("write `{what}:PORT`, without blanks around the colon"))
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
    let (i, name) = name_ref("a port, an address, a host or a net")(i)?;
    Ok((i, Destination::Name(name)))
}

/// In braces no port follows an address, so an IPv6 address needs no brackets of its own.
fn braced_destination(i: In<'_>) -> Parsed<'_, Destination> {
    match i.first() {
        b'*' => SyntaxError::new(
            Code::Syntax,
            i.span_of(1),
            "expected an address, a prefix, a host, a net or `local`, found `*`",
        )
        .help("`*` stands alone, as in `*:80`: it is every destination already")
        .fail(),
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
