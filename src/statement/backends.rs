//! `BACKENDS`: the list behind `->` and `pool NAME =`.

use std::net::IpAddr;

use crate::diagnostic::Code;
use crate::endpoint::{
    PORT, PlainServer, PortRange, colon_ports, is_ipv4, is_ipv6, name_ref, near_keyword, needs_brackets, plain_server,
    server_address,
};
use crate::keyword;
use crate::list::{Element, starts_statement, twice, unclosed};
use crate::print::{MAX_WIDTH, Printer};
use crate::source::{Span, Spanned};
use crate::syntax::{
    Abort, In, Parsed, SyntaxError, blank0, breaks0, comma, digits, element_end, expect, expected, go_on, number,
    symbol, word,
};

/// The most backends that one list, and one service, may have (language section 6).
pub const MAX_BACKENDS: usize = 65_536;

/// A list of backends as written; it has at least one, unless each was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backends {
    pub list: Vec<Backend>,
    pub braces: bool,
    pub span: Span,
}

/// One backend, or a pool in the place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub server: Server,
    pub port: Option<Spanned<PortRange>>,
    /// 0 to 65,535.
    pub weight: Option<Spanned<u16>>,
    pub backup: bool,
    pub span: Span,
}

/// Who the backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Address(IpAddr, Span),
    /// A host or a pool.
    Name(Span),
    /// This machine itself: `:port`.
    Local,
}

impl Backends {
    /// What may stand behind the list, for messages.
    pub fn may_follow(&self) -> &'static str {
        match self.braces {
            true => "the end of the statement",
            false => "`weight`, `backup`, `,` or the end of the statement",
        }
    }
}

pub fn backends(start: In<'_>) -> Parsed<'_, Backends> {
    let (end, list, braces) = match start.first() {
        b'{' => {
            let (end, list) = block(start)?;
            (end, list, true)
        }
        _ => {
            let (end, list) = inline(start)?;
            (end, list, false)
        }
    };
    Ok((end, Backends { list, braces, span: start.span_to(end) }))
}

/// What a backend is, for messages.
const BACKEND: &str = "a backend (`HOST:PORT`, a pool, or `:PORT`)";

fn element<'a>() -> Element<'a, fn(In<'a>) -> Parsed<'a, Backend>> {
    Element { item: backend, what: BACKEND, stop: element_end }
}

/// Backends with commas between them.
fn inline(mut i: In<'_>) -> Parsed<'_, Vec<Backend>> {
    let mut list = Vec::new();
    let mut before = None;
    loop {
        i = plain_run(i, &mut list, &mut before)?;
        let (rest, parsed) = match plain(i) {
            Some((rest, backend)) => (rest, Some(backend)),
            None => element().parse(i, before)?,
        };
        push(&mut list, parsed, i)?;
        match comma(rest) {
            Ok((next, comma)) => (i, before) = (next, Some(comma)),
            Err(_) => return Ok((rest, list)),
        }
    }
}

/// Backends in braces, separated by commas or line ends.
fn block(open: In<'_>) -> Parsed<'_, Vec<Backend>> {
    let (i, ()) = symbol('{')(open)?;
    let mut list = Vec::new();
    let (mut i, ()) = breaks0(i)?;
    let mut before = None;
    loop {
        if i.rest.is_empty() || i.first() == b'{' || starts_statement(i) {
            return unclosed(i, open, "a backend or `}`");
        }
        let (rest, parsed) = match plain(i) {
            Some((rest, backend)) => (rest, Some(backend)),
            None => element().parse(i, before)?,
        };
        push(&mut list, parsed, i)?;
        (i, before) = separator(rest, open)?;
        if i.first() == b'}' {
            return Ok((i.skip(1), list));
        }
    }
}

/// What separates backends in braces, up to the next backend or the `}`. Returns the comma, where it is one.
///
/// What should not stand there is recorded and stepped over.
fn separator<'a>(mut i: In<'a>, open: In<'a>) -> Parsed<'a, Option<Span>> {
    loop {
        (i, _) = blank0(i)?;
        match i.first() {
            b'}' => return Ok((i, None)),
            b',' => return comma(i).map(|(i, comma)| (i, Some(comma))),
            b'{' => return unclosed(i, open, "`,`, a new line or `}`"),
            b';' => {
                i.errors().record(
                    expected(i, "`,`, a new line or `}`")
                        .help("in braces, backends are separated by commas or line ends")
                        .label(open.span_of(1), "the list is opened here"),
                );
                return breaks0(i.skip(1)).map(|(i, ())| (i, None));
            }
            _ => {}
        }
        let (next, ()) = breaks0(i)?;
        let new_line = next.offset > i.offset;
        let attribute = new_line && word(next).is_ok_and(|(_, text)| keyword::ATTRIBUTES.contains(&text.rest));
        if (new_line || i.rest.is_empty()) && !attribute && next.first() != b',' {
            return Ok((next, None));
        }
        let what = if new_line { "a backend or `}`" } else { "`weight`, `backup`, `,`, a new line or `}`" };
        let error = expected(next, what);
        next.errors().record(match next.first() {
            _ if attribute => error.help("a backend's attributes stand on its own line"),
            b',' => error.help("a comma stands behind a backend, on its line"),
            _ => error.maybe_help(near_keyword(next, keyword::ATTRIBUTES)),
        });
        go_on(next)?;
        i = if next.first() == b',' { next } else { element_end(next.skip_char()) };
    }
}

fn push<'a>(list: &mut Vec<Backend>, parsed: Option<Backend>, at: In<'a>) -> Result<(), Abort> {
    if list.len() == MAX_BACKENDS {
        let error =
            SyntaxError::new(Code::PoolNesting, at.here(), format!("more than {MAX_BACKENDS} backends in one list"));
        return Err(error.abort());
    }
    if list.len() == list.capacity() && list.len() == 1 {
        // One allocation for a list on one line, however long it is.
        list.reserve_exact(1 + commas_ahead(at.rest.as_bytes()));
    }
    match parsed {
        Some(parsed) => at.push(list, parsed),
        None => Ok(()),
    }
}

/// The commas up to the end of the line or statement, in the next few thousand bytes.
fn commas_ahead(bytes: &[u8]) -> usize {
    const LOOK_AHEAD: usize = 4096;
    let bytes = &bytes[..bytes.len().min(LOOK_AHEAD)];
    let end = memchr::memchr3(b'\n', b';', b'#', bytes).unwrap_or(bytes.len());
    memchr::memchr_iter(b',', &bytes[..end]).count()
}

/// A [`backend`] of the plainest form, read in one go: large programs have hundreds of thousands.
fn plain(i: In<'_>) -> Option<(In<'_>, Backend)> {
    let found = plain_server(i.rest.as_bytes())?;
    Some(plain_backend(i, &found))
}

#[inline]
fn plain_backend<'a>(i: In<'a>, found: &PlainServer) -> (In<'a>, Backend) {
    let (address, end) = (i.skip(found.address_len), i.skip(found.len));
    let port = found.port.map(|(value, len)| Spanned { value, span: address.skip(1).span_of(len) });
    let weight = found.weight.map(|(value, len)| Spanned { value, span: i.skip(found.len - len).span_to(end) });
    let server = Server::Address(found.address.into(), i.span_to(address));
    (end, Backend { server, port, weight, backup: false, span: i.span_to(end) })
}

/// Reads plain backends as long as `, ` and the start of another follow, which is where it ends.
fn plain_run<'a>(mut i: In<'a>, list: &mut Vec<Backend>, before: &mut Option<Span>) -> Result<In<'a>, Abort> {
    while let Some(found) = plain_server(i.rest.as_bytes())
        && let [b',', b' ', b'0'..=b'9', ..] = i.rest.as_bytes()[found.len..]
    {
        let (end, backend) = plain_backend(i, &found);
        push(list, Some(backend), i)?;
        *before = Some(end.span_of(1));
        i = end.skip(2);
    }
    Ok(i)
}

/// `backend = server [ ":" PORTS ] { "weight" NUMBER | "backup" }`
///
/// A wrong port or weight does not hide what else is wrong: the backend is kept without it.
pub fn backend(start: In<'_>) -> Parsed<'_, Backend> {
    let (i, server) = match server(start) {
        Ok(found) => found,
        Err(problem) => return Err(hopeless(start, problem)),
    };
    let (i, port) = match (i.first(), server) {
        (b':', Server::Local) => match colon_ports(i) {
            Ok((rest, ports)) => (rest, Some(ports)),
            Err(problem) => return Err(hopeless(i, problem)),
        },
        (b':', Server::Address(..) | Server::Name(_)) => match colon_ports(i) {
            Ok((rest, ports)) => (rest, Some(ports)),
            Err(problem) => (without(i.skip(1), problem)?, None),
        },
        (_, _) => (i, None),
    };
    attributes(start, i, server, port)
}

/// The error of an element of which nothing can be kept; what is wrong with its attributes is recorded before.
fn hopeless<'a>(i: In<'a>, problem: Abort) -> Abort {
    let end = part_end(i);
    let follows = blank0(end).is_ok_and(|(i, _)| is_attribute(i));
    match follows && end.offset > i.offset {
        // Its own error comes last, because it is the one that ends the element.
        true => match attributes(i, end, Server::Local, None) {
            Err(other) => {
                if let nom::Err::Failure(other) = other {
                    other.record(i.errors());
                }
                problem
            }
            Ok(_) => problem,
        },
        false => problem,
    }
}

/// Records what is wrong with the part at `i` and goes on behind it; fails where what follows shows that more is wrong.
fn without(i: In<'_>, problem: Abort) -> Result<In<'_>, Abort> {
    let end = part_end(i);
    let (next, _) = blank0(end)?;
    let ends = next.rest.is_empty() || matches!(next.first(), b',' | b'}' | b'\n' | b'\r' | b';' | b'#');
    match problem {
        nom::Err::Failure(problem) if ends || is_attribute(next) => {
            problem.record(i.errors());
            go_on(i)?;
            Ok(end)
        }
        problem => Err(problem),
    }
}

/// The end of a port or a number, however wrong it is.
fn part_end(i: In<'_>) -> In<'_> {
    match is_attribute(i) {
        true => i,
        false => i.skip(i.rest.bytes().take_while(|b| !b.is_ascii_whitespace() && !b",;#{}".contains(b)).count()),
    }
}

fn is_attribute(i: In<'_>) -> bool {
    word(i).is_ok_and(|(_, text)| keyword::ATTRIBUTES.contains(&text.rest))
}

/// `{ "weight" NUMBER | "backup" }` at `i`, of the backend that starts at `start`.
fn attributes<'a>(
    start: In<'a>,
    mut i: In<'a>,
    server: Server,
    port: Option<Spanned<PortRange>>,
) -> Parsed<'a, Backend> {
    let mut backend = Backend { server, port, weight: None, backup: false, span: start.span_to(i) };
    let (mut weight, mut backup) = (None, None);
    loop {
        let (at, _) = blank0(i)?;
        let Ok((rest, text)) = word(at) else { break };
        let here = at.span_to(rest);
        match text.rest {
            "weight" => {
                let (rest, _) = blank0(rest)?;
                if let Some(first) = weight {
                    return twice(Code::RepeatedOption, first, here, "`weight`").fail();
                }
                i = match expect(number("a weight", 0..=65_535), "a weight (0-65535)")(rest) {
                    Ok((rest, found)) => {
                        backend.weight = Some(Spanned { value: found.value as u16, span: found.span });
                        weight = Some(here);
                        rest
                    }
                    Err(problem) => without(rest, problem)?,
                };
            }
            "backup" => {
                if let Some(first) = backup.replace(here) {
                    return twice(Code::RepeatedOption, first, here, "`backup`").fail();
                }
                i = rest;
            }
            _ => {
                let error = expected(at, "`weight`, `backup`, `,` or the end of the list");
                return match keyword::is_option(text.rest) {
                    true => error.help(format!("options stand before the arrow: `balance … {} … -> …`", text.rest)),
                    false => error.maybe_help(near_keyword(at, keyword::ATTRIBUTES)),
                }
                .fail();
            }
        }
    }
    backend.backup = backup.is_some();
    backend.span = start.span_to(i);
    Ok((i, backend))
}

fn server(i: In<'_>) -> Parsed<'_, Server> {
    if is_ipv6(i) {
        return needs_brackets(i);
    }
    match i.first() {
        // The port follows.
        b':' => Ok((i, Server::Local)),
        b'0'..=b'9' if !is_ipv4(i) && digits(i, PORT).is_ok() => {
            expected(i, BACKEND).help("a port of this machine is written with a colon: `:8080`").fail()
        }
        b'[' | b'0'..=b'9' => {
            server_address(i).map(|(rest, address)| (rest, Server::Address(address.value, address.span)))
        }
        _ => name_ref(BACKEND)(i).map(|(rest, name)| (rest, Server::Name(name))),
    }
}

impl Backends {
    /// Inline where that was written, is short and holds no comment; else one backend a line.
    pub fn format(&self, p: &mut Printer<'_>) {
        let mut line = p.scratch();
        crate::list::format_list(&self.list, &mut line, Backend::format);
        let line = line.finish();
        let block = p.has_comment(self.span) || (self.braces && p.has_newline(self.span)) || line.len() > MAX_WIDTH;
        if !block {
            return p.words(&line);
        }
        // What stands behind a list on one line or one of several statements, or suppresses, is not about the last backend.
        let is_about_all = !p.has_newline(self.span) || p.is_in_row || p.is_suppressed_behind(self.span.end);
        let is_apart = !self.braces && is_about_all;
        p.words("{\n");
        for (index, backend) in self.list.iter().enumerate() {
            p.begin(backend.span.start, "    ");
            backend.format(p);
            match is_apart && index + 1 == self.list.len() {
                true => p.words("\n"),
                false => p.end(backend.span.end),
            }
        }
        p.close(self.span.end - u32::from(self.braces), "    ");
    }
}

impl Backend {
    fn format(&self, p: &mut Printer<'_>) {
        match self.server {
            Server::Address(IpAddr::V4(address), _) => p.words(&address.to_string()),
            Server::Address(IpAddr::V6(address), _) => p.words(&format!("[{address}]")),
            Server::Name(name) => p.source(name),
            Server::Local => {}
        }
        if let Some(port) = self.port {
            p.words(&format!(":{}", port.value));
        }
        if let Some(weight) = self.weight {
            p.words(&format!(" weight {}", weight.value));
        }
        p.words(if self.backup { " backup" } else { "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Errors;

    #[test]
    fn a_plain_backend_is_what_the_parser_proper_makes_of_it() {
        let errors = Errors::default();
        for text in [
            "10.0.0.1,",
            "10.0.0.1\n",
            "10.0.0.1:80,",
            "10.0.0.1:080\n",
            "10.0.0.1:65535 weight 0,",
            "1.2.3.4 weight 7\n",
            "255.255.255.255:1 weight 65535\n",
            "1.2.3.4:8 weight 007,",
        ] {
            let i = In::new(text, &errors);
            let (rest, found) = plain(i).expect(text);
            let (other_rest, other) = backend(i).expect(text);
            assert_eq!((rest.rest, rest.offset, found), (other_rest.rest, other_rest.offset, other));
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser_proper() {
        let errors = Errors::default();
        for text in [
            "10.0.0.1",
            "10.0.0.256,",
            "10.0.0.01,",
            "10.0.0.1:0,",
            "10.0.0.1:65536,",
            "10.0.0.1:,",
            "10.0.0.1:123456,",
            "10.0.0.1:80-90,",
            "10.0.0.1:80:90,",
            "10.0.0.1 weight ,",
            "10.0.0.1 weight 65536,",
            "10.0.0.1 weight 2 backup,",
            "10.0.0.1  weight 2,",
            "1.2.3.4:8weight 2,",
            "10.0.0.1.5,",
            "1.2.3,",
            "1..2.3,",
            "10.0.0.1/8,",
            "a,",
        ] {
            assert!(plain(In::new(text, &errors)).is_none(), "{text}");
        }
    }
}
