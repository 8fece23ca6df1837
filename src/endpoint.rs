//! Names, addresses, prefixes, ports: what the statements are made of. No blanks stand inside any of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::diagnostic::{Code, did_you_mean};
use crate::keyword;
use crate::source::{Span, Spanned};
use crate::syntax::{
    Abort, In, MAX_TOKEN_BYTES, Parsed, SyntaxError, digits, expect, expected, is_word_byte, not_here, shorten, symbol,
    without_arrow, word,
};

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
    let Ok((rest, text)) = word(i) else { return no_name(i) };
    let span = i.span_to(rest);
    check_name(i, rest)?;
    if rest.first() == b'.' {
        let name = dotted(i);
        return SyntaxError::new(
            Code::InvalidName,
            i.span_of(name.len()),
            format!("expected a name, found the DNS name `{}`", shorten(name)),
        )
        .help(format!("names have no dots; write `{}`", shorten(&name.replace('.', "-"))))
        .fail();
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
    Ok((rest, span))
}

/// `NAME` that refers to a declaration; `what` is what could stand here.
pub fn name_ref<'a>(what: &'static str) -> impl FnMut(In<'a>) -> Parsed<'a, Span> {
    move |i| {
        let (rest, text) = word(i)?;
        check_name(i, rest)?;
        if rest.first() == b'.' {
            return dns_name(i, what);
        }
        if keyword::is_reserved(text.rest) {
            return expected(i, what).message(format!("expected {what}, found the keyword `{}`", text.rest)).fail();
        }
        Ok((rest, i.span_to(rest)))
    }
}

const NAME_HELP: &str = "names are made of ASCII letters, digits, `_` and `-`, and start with a letter or `_`";

/// The error where a name should stand and no word does.
fn no_name<'a, T>(i: In<'a>) -> Parsed<'a, T> {
    let text = unicode_word(i);
    match text.is_empty() {
        true => expected(i, "a name").fail(),
        false => SyntaxError::new(Code::InvalidName, i.span_of(text.len()), format!("`{}` is no name", shorten(text)))
            .help(NAME_HELP)
            .fail(),
    }
}

/// Checks what stands behind a word that is a name: neither `-` nor a letter of another script; and its length.
fn check_name(i: In<'_>, rest: In<'_>) -> Result<(), Abort> {
    let len = rest.offset - i.offset;
    let error = |len: usize, message: String| SyntaxError::new(Code::InvalidName, i.span_of(len), message);
    if len > MAX_NAME_BYTES {
        let len = (len as usize).min(MAX_TOKEN_BYTES);
        let message = format!("a name of more than {MAX_NAME_BYTES} bytes: `{}`", shorten(&i.rest[..len]));
        return Err(error(len, message).help("shorten it").abort());
    }
    let text = unicode_word(i);
    if text.len() as u32 > len && !text.is_ascii() {
        return Err(error(text.len(), format!("`{}` is no name", shorten(text))).help(NAME_HELP).abort());
    }
    if rest.first() == b'-' && !rest.rest.starts_with("->") {
        let text = &i.rest[..len as usize + 1];
        let help = format!("write `{}`", &i.rest[..len as usize]);
        return Err(error(text.len(), format!("the name `{text}` ends with `-`")).help(help).abort());
    }
    Ok(())
}

/// The run of letters and digits of any script, and of `_` and `-`, that stands here.
fn unicode_word(i: In<'_>) -> &str {
    let belongs = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let end = i.rest.char_indices().take(MAX_TOKEN_BYTES).find(|&(_, c)| !belongs(c));
    let text = match end {
        Some((end, _)) => &i.rest[..end],
        None => i.rest.char_indices().nth(MAX_TOKEN_BYTES).map_or(i.rest, |(end, _)| &i.rest[..end]),
    };
    text.trim_end_matches('-')
}

/// The run of characters that could belong to a DNS name.
fn dotted(i: In<'_>) -> &str {
    let bytes = i.rest.as_bytes();
    let len = bytes.iter().take(MAX_TOKEN_BYTES).position(|&b| !(is_word_byte(b) || b == b'.'));
    i.rest[..len.unwrap_or(bytes.len().min(MAX_TOKEN_BYTES))].trim_end_matches('-')
}

fn dns_name<'a, T>(i: In<'a>, what: &str) -> Parsed<'a, T> {
    let text = dotted(i);
    SyntaxError::new(
        Code::NotAnAddress,
        i.span_of(text.len()),
        format!("expected {what}, found the DNS name `{}`", shorten(text)),
    )
    .help(
        "names are never looked up: write the address, or a host that is declared (`host NAME = ADDRESS`) or passed \
         (`-D NAME=ADDRESS`, `--hosts FILE`)",
    )
    .fail()
}

/// The run of characters that could belong to an address, a name or `HOST:PORT`; no such thing is longer than a token.
fn run(i: In<'_>) -> &str {
    let bytes = i.rest.as_bytes();
    let end = bytes.iter().take(MAX_TOKEN_BYTES).position(|&b| !(is_word_byte(b) || matches!(b, b'.' | b':' | b'%')));
    &i.rest[..without_arrow(i.rest, end.unwrap_or(bytes.len().min(MAX_TOKEN_BYTES)))]
}

/// Whether an IPv6 address starts here: a word with two colons.
pub fn is_ipv6(i: In<'_>) -> bool {
    let mut colons = 0;
    for &byte in i.rest.as_bytes().iter().take(MAX_TOKEN_BYTES) {
        match byte {
            b':' if colons == 1 => return true,
            b':' => colons = 1,
            b'.' | b'%' => {}
            _ if is_word_byte(byte) => {}
            _ => return false,
        }
    }
    false
}

/// Whether an IPv4 address starts here: digits with a dot or a slash behind them, not a port.
pub fn is_ipv4(i: In<'_>) -> bool {
    let bytes = i.rest.as_bytes();
    let len = bytes.iter().position(|b| !b.is_ascii_digit());
    len.is_some_and(|len| len > 0 && matches!(bytes[len], b'.' | b'/'))
}

/// `address`: `192.168.1.10` or `2001:db8::1`, without a port.
pub fn address(i: In<'_>) -> Parsed<'_, Spanned<IpAddr>> {
    if is_ipv6(i) {
        return ipv6(i);
    }
    match i.first() {
        b'0'..=b'9' => ipv4(i, "an address"),
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
    if let Ok(value) = text.parse::<Ipv6Addr>() {
        return Ok((i.skip(text.len()), Spanned { value: value.into(), span }));
    }
    let error = SyntaxError::new(Code::InvalidAddress, span, format!("`{}` is no IPv6 address", shorten(text)));
    match text.rsplit_once(':') {
        _ if text.contains('%') => error.help("zones such as `%eth0` cannot be balanced to; leave it out"),
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => {
            error.help(format!("with a port it is written `[{host}]:{port}`"))
        }
        Some(_) | None => {
            error.help("a word with two colons is an IPv6 address: groups of hex digits, such as `2001:db8::1`")
        }
    }
    .fail()
}

/// Four numbers from 0 to 255 with dots between them and no leading zeros, and their length.
#[inline]
pub(crate) fn quad(bytes: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let digit = |at: usize| bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    let (mut address, mut at) = (0u32, 0);
    for place in 0..4 {
        if place > 0 {
            at += (bytes.get(at) == Some(&b'.')).then_some(1)?;
        }
        let mut value = u32::from(digit(at)?);
        at += 1;
        if let Some(second) = digit(at).filter(|_| value > 0) {
            value = value * 10 + u32::from(second);
            at += 1;
            if let Some(third) = digit(at) {
                value = value * 10 + u32::from(third);
                at += 1;
            }
        }
        address = address << 8 | u32::from(u8::try_from(value).ok()?);
    }
    // A fourth digit, or one behind a zero.
    digit(at).is_none().then(|| (address.into(), at))
}

/// A number of one to five digits and the number of its digits; 0 digits where there are none or more.
fn short_number(bytes: &[u8]) -> (u32, usize) {
    let (mut value, mut len) = (0, 0);
    while let Some(digit @ b'0'..=b'9') = bytes.get(len) {
        value = value * 10 + u32::from(digit - b'0');
        len += 1;
        if len > 5 {
            return (0, 0);
        }
    }
    (value, len)
}

/// What nearly every backend of a large program looks like.
pub struct PlainServer {
    pub address: Ipv4Addr,
    pub address_len: usize,
    /// The port and the number of its digits.
    pub port: Option<(PortRange, usize)>,
    /// The weight and the number of its digits.
    pub weight: Option<(u16, usize)>,
    /// Of all of it.
    pub len: usize,
}

/// `192.168.1.10`, `192.168.1.10:8080` or `192.168.1.10:8080 weight 2` before a comma or the end of the line.
///
/// `None` says nothing: the parsers proper read all the rest, and say what is wrong with it.
#[inline]
pub fn plain_server(bytes: &[u8]) -> Option<PlainServer> {
    let (address, address_len) = quad(bytes)?;
    let mut server = PlainServer { address, address_len, port: None, weight: None, len: address_len };
    if bytes.get(server.len) == Some(&b':') {
        let (port, len) = short_number(&bytes[server.len + 1..]);
        server.port = Some((PortRange::single(u16::try_from(port).ok()?)?, len));
        server.len += 1 + len;
    }
    const WEIGHT: &[u8] = b" weight ";
    if bytes[server.len..].starts_with(WEIGHT) {
        let (weight, len) = short_number(&bytes[server.len + WEIGHT.len()..]);
        server.weight = Some((u16::try_from(weight).ok().filter(|_| len > 0)?, len));
        server.len += WEIGHT.len() + len;
    }
    matches!(bytes.get(server.len), Some(b',' | b'\n')).then_some(server)
}

fn ipv4<'a>(i: In<'a>, what: &str) -> Parsed<'a, Spanned<IpAddr>> {
    let bytes = i.rest.as_bytes();
    if let Some((address, len)) = quad(bytes)
        && !bytes.get(len).is_some_and(|&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
    {
        return Ok((i.skip(len), Spanned { value: address.into(), span: i.span_of(len) }));
    }
    let end =
        bytes.iter().take(MAX_TOKEN_BYTES).position(|&b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_')));
    let end = end.unwrap_or(bytes.len().min(MAX_TOKEN_BYTES));
    let text = &i.rest[..end];
    let span = i.span_of(end);
    if let Ok(value) = text.parse::<Ipv4Addr>() {
        return Ok((i.skip(end), Spanned { value: value.into(), span }));
    }
    let top = text.rsplit('.').next().unwrap_or_default();
    if top.len() > 1 && top.bytes().all(|b| b.is_ascii_alphabetic()) {
        // `1and1.example` is a DNS name that starts with a digit.
        return dns_name(i, what);
    }
    let error = SyntaxError::new(Code::InvalidAddress, span, format!("`{}` is no IPv4 address", shorten(text)));
    match text.split('.').any(|part| part.len() > 1 && part.starts_with('0')) {
        true => error.help("leave out the leading zeros: some tools read such numbers as octal"),
        false => error.help("an IPv4 address is four numbers from 0 to 255, such as `192.168.1.10`"),
    }
    .fail()
}

/// `prefix`: an address or a prefix, without a port: `10.0.0.0/8`, `2001:db8::/32`, `192.168.1.10`.
pub fn prefix(i: In<'_>) -> Parsed<'_, Spanned<IpNet>> {
    let (rest, address) = address(i)?;
    prefix_len(i, rest, address)
}

/// `/LEN` behind an address that starts at `start`; without it the address alone.
fn prefix_len<'a>(start: In<'a>, i: In<'a>, address: Spanned<IpAddr>) -> Parsed<'a, Spanned<IpNet>> {
    if i.first() != b'/' {
        return Ok((i, Spanned { value: address.value.into(), span: address.span }));
    }
    let at = i.skip(1);
    if is_ipv4(at) {
        return SyntaxError::new(Code::InvalidAddress, at.span_of(run(at).len()), "a netmask, not a prefix length")
            .help("write `/24` instead of `/255.255.255.0`")
            .fail();
    }
    let (rest, len) = expect(|i| digits(i, "a prefix length"), "a prefix length")(at)?;
    let max = if address.value.is_ipv4() { 32 } else { 128 };
    let parsed = len.rest.parse::<u8>().ok().filter(|&len| len <= max);
    let Some(net) = parsed.and_then(|len| IpNet::new(address.value, len).ok()) else {
        return SyntaxError::new(
            Code::InvalidNumber,
            at.span_to(rest),
            format!("expected a prefix length (0-{max}), found `{}`", shorten(len.rest)),
        )
        .fail();
    };
    if net.trunc() != net {
        return SyntaxError::new(Code::InvalidAddress, start.span_to(rest), format!("`{net}` has host bits set"))
            .help(format!("write the network `{}`, or the address `{}` alone", net.trunc(), net.addr()))
            .fail();
    }
    Ok((rest, Spanned { value: net, span: start.span_to(rest) }))
}

/// `[2001:db8::1]`; the span covers the brackets.
fn bracketed_address(i: In<'_>) -> Parsed<'_, Spanned<IpAddr>> {
    let (inner, ()) = symbol('[')(i)?;
    if !is_ipv6(inner) {
        return expected(inner, "an IPv6 address").help("only IPv6 addresses stand in brackets").fail();
    }
    let (rest, address) = ipv6(inner)?;
    if rest.first() == b'/' {
        // The prefix length within the brackets is the caller's to judge.
        return Ok((rest, address));
    }
    let (rest, ()) = expect(symbol(']'), "`]`")(rest)?;
    Ok((rest, Spanned { value: address.value, span: i.span_to(rest) }))
}

/// `[2001:db8::1]`, also `[2001:db8::/48]` and `[2001:db8::]/48`; the span covers the brackets.
pub fn bracketed(i: In<'_>) -> Parsed<'_, Spanned<IpNet>> {
    let (rest, address) = bracketed_address(i)?;
    let inside = rest.first() == b'/' && address.span.start > i.offset;
    let (rest, net) = match inside {
        true => {
            let (rest, net) = prefix_len(i.skip(1), rest, address)?;
            (expect(symbol(']'), "`]`")(rest)?.0, net)
        }
        false => prefix_len(i, rest, address)?,
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
    let (rest, address) = ipv4(i, "an address")?;
    prefix_len(i, rest, address)
}

/// `192.168.1.10` or `[2001:db8::1]`: one address where a port may follow, no prefix.
pub fn server_address(i: In<'_>) -> Parsed<'_, Spanned<IpAddr>> {
    let (rest, address) = match i.first() {
        b'[' => bracketed_address(i)?,
        _ => ipv4(i, "an address")?,
    };
    if rest.first() == b'/' {
        let len = rest.rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        return SyntaxError::new(
            Code::InvalidAddress,
            i.span_to(rest.skip(1 + len)),
            "a backend is one address, not a prefix",
        )
        .help(format!("write the address alone, such as `{}`", address.value))
        .fail();
    }
    Ok((rest, address))
}

/// `PORTS`: `8080` or `9000-9010`.
pub fn ports(i: In<'_>) -> Parsed<'_, Spanned<PortRange>> {
    let (rest, first) = port(i)?;
    let (rest, last) = match rest.rest.as_bytes() {
        [b'-', b'0'..=b'9', ..] => port(rest.skip(1))?,
        [b':', b'0'..=b'9', ..] => {
            return expected(i, PORT).help("a range of ports is written `8000-8010`").fail();
        }
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

/// What a port is, for messages.
pub const PORT: &str = "a port (1-65535)";

fn port(i: In<'_>) -> Parsed<'_, u16> {
    let (rest, text) = digits(i, PORT)?;
    match text.rest.parse::<u16>() {
        Ok(port) if port > 0 => Ok((rest, port)),
        Ok(_) | Err(_) => SyntaxError::new(
            Code::InvalidNumber,
            i.span_to(rest),
            format!("expected {PORT}, found `{}`", shorten(text.rest)),
        )
        .fail(),
    }
}

/// The error where a port should stand behind a colon.
pub fn port_name(i: In<'_>) -> SyntaxError {
    let error = expected(i, PORT);
    match i.first() {
        b' ' | b'\t' => error.help("no blanks stand around the colon"),
        _ if word(i).is_ok() => error.help("ports are numbers: names of services are not looked up"),
        _ => error,
    }
}

/// `PORTS` behind a `:`, which stands at `i`.
pub fn colon_ports(i: In<'_>) -> Parsed<'_, Spanned<PortRange>> {
    match ports(i.skip(1)) {
        Err(nom::Err::Error(_)) => port_name(i.skip(1)).fail(),
        other => other,
    }
}

/// The help line where a keyword may have been meant.
pub fn near_keyword(i: In<'_>, candidates: &[&'static str]) -> Option<String> {
    let (_, found) = word(i).ok()?;
    let lower = found.rest.to_ascii_lowercase();
    match candidates.iter().find(|&&candidate| candidate == lower) {
        Some(keyword) => Some(format!("did you mean `{keyword}`?")),
        None => did_you_mean(found.rest, candidates.iter().copied()),
    }
}
