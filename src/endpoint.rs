//! Names, addresses, prefixes, ports: what the statements are made of. No blanks stand inside any of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::diagnostic::{Code, did_you_mean};
use crate::keyword;
use crate::source::{Span, Spanned};
use crate::syntax::{In, Parsed, SyntaxError, digits, expect, expected, not_here, shorten, symbol, word};

/// A range of ports: `1 <= first <= last <= 65535`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// One port; `None` for port 0.
    pub fn single(port: u16) -> Option<PortRange> {
        PortRange::new(port, port)
    }

    /// Both ends belong to the range; `None` for port 0 or an inverted range.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first > 0 && first <= last).then_some(PortRange { first, last })
    }

    pub fn first(self) -> u16 {
        self.first
    }

    pub fn last(self) -> u16 {
        self.last
    }

    /// The number of ports, 1 to 65,535.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    pub fn is_single(self) -> bool {
        self.first == self.last
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_single() {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: u32 = 63;

/// `NAME` where one is declared: not reserved, short enough, not ending with `-`.
pub fn new_name(i: In<'_>) -> Parsed<'_, Span> {
    let (rest, text) = expect(word, "a name")(i)?;
    let span = i.span_to(rest);
    if rest.first() == b'-' && !rest.rest.starts_with("->") {
        return SyntaxError::new(Code::InvalidName, i.span_of(text.rest.len() + 1), "a name that ends with `-`")
            .help("names are letters, digits, `_` and `-`, and end with none of the last")
            .fail();
    }
    if rest.first() == b'.' {
        return dns_name(i, "a name");
    }
    if keyword::is_reserved(text.rest) {
        return SyntaxError::new(
            Code::InvalidName,
            span,
            format!("`{}` is a word of the language and cannot be a name", text.rest),
        )
        .help(format!("write another name, such as `{}1` or `my-{}`", text.rest, text.rest))
        .fail();
    }
    if span.end - span.start > MAX_NAME_BYTES {
        return SyntaxError::new(
            Code::InvalidName,
            span,
            format!("a name of {} bytes; {MAX_NAME_BYTES} are the most", span.end - span.start),
        )
        .fail();
    }
    Ok((rest, span))
}

/// A name that refers to a declaration; `what` is what could stand here.
pub fn name_ref<'a>(what: &'static str) -> impl FnMut(In<'a>) -> Parsed<'a, Span> {
    move |i| {
        let (rest, text) = word(i)?;
        if rest.first() == b'.' {
            return dns_name(i, what);
        }
        if keyword::is_reserved(text.rest) {
            return SyntaxError::new(
                Code::Syntax,
                i.span_to(rest),
                format!("expected {what}, found the keyword `{}`", text.rest),
            )
            .fail();
        }
        Ok((rest, i.span_to(rest)))
    }
}

fn dns_name<'a, T>(i: In<'a>, what: &str) -> Parsed<'a, T> {
    let len =
        i.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).unwrap_or(i.rest.len());
    let text = i.rest[..len].trim_end_matches('-');
    SyntaxError::new(
        Code::NotAnAddress,
        i.span_of(text.len()),
        format!("expected {what}, found the DNS name `{}`", shorten(text)),
    )
    .help("names are never looked up; declare it (`host NAME = ADDRESS`) or pass `-D NAME=ADDRESS` or `--hosts FILE`")
    .fail()
}

/// The run of characters that could belong to an address, a name or `HOST:PORT`.
fn run(i: In<'_>) -> &str {
    let end = i.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-' | '%')));
    let run = &i.rest[..end.unwrap_or(i.rest.len())];
    run.find("->").map_or(run, |cut| &run[..cut])
}

/// Whether an IPv6 address starts here: a word with two colons.
pub fn is_ipv6(i: In<'_>) -> bool {
    run(i).bytes().filter(|&b| b == b':').nth(1).is_some()
}

/// `192.168.1.10` or `2001:db8::1`, without a port.
pub fn address(i: In<'_>) -> Parsed<'_, Spanned<IpAddr>> {
    if is_ipv6(i) {
        return ipv6(i);
    }
    match i.first() {
        b'0'..=b'9' => ipv4(i),
        b'[' => SyntaxError::new(Code::Syntax, i.span_of(1), "expected an address, found `[`")
            .help("brackets stand only where a port may follow; write the address without them")
            .fail(),
        _ => match word(i) {
            Ok((rest, _)) if rest.first() == b'.' => dns_name(i, "an address"),
            Ok((rest, text)) => SyntaxError::new(
                Code::NotAnAddress,
                i.span_to(rest),
                format!("expected an address, found `{}`", shorten(text.rest)),
            )
            .help("an address such as `192.168.1.10` or `2001:db8::1` stands here")
            .fail(),
            Err(_) => not_here(),
        },
    }
}

fn ipv6(i: In<'_>) -> Parsed<'_, Spanned<IpAddr>> {
    let text = run(i);
    let span = i.span_of(text.len());
    match text.parse::<Ipv6Addr>() {
        Ok(value) => Ok((i.skip(text.len()), Spanned { value: value.into(), span })),
        Err(_) => {
            let error = SyntaxError::new(Code::InvalidAddress, span, format!("`{}` is no IPv6 address", shorten(text)));
            match text.rsplit_once(':') {
                _ if text.contains('%') => error.help("zones such as `%eth0` cannot be balanced to; leave it out"),
                Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => {
                    error.help(format!("with a port it is written `[{host}]:{port}`"))
                }
                Some(_) | None => error,
            }
            .fail()
        }
    }
}

fn ipv4(i: In<'_>) -> Parsed<'_, Spanned<IpAddr>> {
    let end = i.rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))).unwrap_or(i.rest.len());
    let text = &i.rest[..end];
    let span = i.span_of(end);
    match text.parse::<Ipv4Addr>() {
        Ok(value) => Ok((i.skip(end), Spanned { value: value.into(), span })),
        Err(_) => {
            let zeros = text.split('.').any(|part| part.len() > 1 && part.starts_with('0'));
            let error = SyntaxError::new(Code::InvalidAddress, span, format!("`{}` is no IPv4 address", shorten(text)));
            match zeros {
                true => error.help("leave out the leading zeros: some tools read such numbers as octal"),
                false => error.help("an IPv4 address is four numbers from 0 to 255, such as `192.168.1.10`"),
            }
            .fail()
        }
    }
}

/// An address or a prefix, without a port: `10.0.0.0/8`, `2001:db8::/32`, `192.168.1.10`.
pub fn prefix(i: In<'_>) -> Parsed<'_, Spanned<IpNet>> {
    let (rest, address) = address(i)?;
    prefix_len(i, rest, address)
}

/// `/LEN` behind an address that starts at `start`; without it the address alone.
fn prefix_len<'a>(start: In<'a>, i: In<'a>, address: Spanned<IpAddr>) -> Parsed<'a, Spanned<IpNet>> {
    if i.first() != b'/' {
        return Ok((i, Spanned { value: address.value.into(), span: address.span }));
    }
    let (rest, len) = expect(digits, "a prefix length")(i.skip(1))?;
    let span = start.span_to(rest);
    if rest.first() == b'.' {
        return SyntaxError::new(Code::InvalidAddress, span, "a netmask where a prefix length is needed")
            .help("write `/24` instead of `/255.255.255.0`")
            .fail();
    }
    let max = if address.value.is_ipv4() { 32 } else { 128 };
    let parsed = len.rest.parse::<u8>().ok().filter(|&len| len <= max);
    let Some(net) = parsed.and_then(|len| IpNet::new(address.value, len).ok()) else {
        return SyntaxError::new(
            Code::InvalidNumber,
            start.span_to(rest),
            format!("expected a prefix length (0-{max}), found `{}`", shorten(len.rest)),
        )
        .fail();
    };
    if net.trunc() != net {
        return SyntaxError::new(Code::InvalidAddress, span, format!("`{net}` has host bits set"))
            .help(format!("write the network `{}`, or the address `{}` alone", net.trunc(), net.addr()))
            .fail();
    }
    Ok((rest, Spanned { value: net, span }))
}

/// `[2001:db8::1]`, also `[2001:db8::/48]` and `[2001:db8::]/48`; the span covers the brackets.
pub fn bracketed(i: In<'_>) -> Parsed<'_, Spanned<IpNet>> {
    let (inner, ()) = symbol('[')(i)?;
    if !is_ipv6(inner) {
        return expected(inner, "an IPv6 address").help("only IPv6 addresses stand in brackets").fail();
    }
    let (rest, net) = prefix(inner)?;
    let (rest, ()) = expect(symbol(']'), "`]`")(rest)?;
    let (rest, net) = match rest.first() {
        b'/' if net.value.prefix_len() == net.value.max_prefix_len() => {
            prefix_len(i, rest, Spanned { value: net.value.addr(), span: net.span })?
        }
        _ => (rest, net),
    };
    Ok((rest, Spanned { value: net.value, span: i.span_to(rest) }))
}

/// The error for an IPv6 address that a port could follow and that has no brackets.
pub fn needs_brackets<'a, T>(i: In<'a>) -> Parsed<'a, T> {
    let (rest, address) = ipv6(i)?;
    SyntaxError::new(Code::Syntax, i.span_to(rest), "an IPv6 address needs brackets where a port may follow")
        .help(format!("write `[{}]`, and `[{}]:PORT` with a port", address.value, address.value))
        .fail()
}

/// An IPv4 address or prefix, where an IPv6 address would stand in brackets.
pub fn ipv4_prefix(i: In<'_>) -> Parsed<'_, Spanned<IpNet>> {
    let (rest, address) = ipv4(i)?;
    prefix_len(i, rest, address)
}

/// `8080` or `9000-9010`.
pub fn ports(i: In<'_>) -> Parsed<'_, Spanned<PortRange>> {
    let (rest, first) = port(i)?;
    let (rest, last) = match rest.rest.as_bytes() {
        [b'-', b'0'..=b'9', ..] => port(rest.skip(1))?,
        _ => (rest, first),
    };
    let span = i.span_to(rest);
    match PortRange::new(first, last) {
        Some(value) => Ok((rest, Spanned { value, span })),
        None => SyntaxError::new(Code::InvalidRange, span, format!("the port range `{first}-{last}` is inverted"))
            .help(format!("write `{last}-{first}`"))
            .fail(),
    }
}

fn port(i: In<'_>) -> Parsed<'_, u16> {
    let (rest, text) = digits(i)?;
    match text.rest.parse::<u16>() {
        Ok(port) if port > 0 => Ok((rest, port)),
        Ok(_) | Err(_) => SyntaxError::new(
            Code::InvalidNumber,
            i.span_to(rest),
            format!("expected a port (1-65535), found `{}`", shorten(text.rest)),
        )
        .fail(),
    }
}

/// The help line where a keyword may have been meant.
pub fn near_keyword(i: In<'_>, candidates: &[&'static str]) -> Option<String> {
    let (_, found) = word(i).ok()?;
    did_you_mean(found.rest, candidates.iter().copied())
}
