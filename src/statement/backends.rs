//! `BACKENDS`: the list behind `->` and `pool NAME =`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::Code;
use crate::endpoint::{PortRange, bracketed, ipv4_prefix, is_ipv6, name_ref, near_keyword, needs_brackets, ports};
use crate::keyword;
use crate::print::{MAX_WIDTH, Printer};
use crate::source::{Span, Spanned};
use crate::syntax::{
    In, Parsed, SyntaxError, blank0, breaks0, comma, comment, element_end, expect, expected, newline, number, recover,
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

/// Backends with commas between them.
fn inline(mut i: In<'_>) -> Parsed<'_, Vec<Backend>> {
    let mut list = Vec::new();
    loop {
        if word(i).is_ok_and(|(_, text)| keyword::is_statement(text.rest)) {
            return expected(i, "a backend").fail();
        }
        let (rest, parsed) = recover(i, backend, |from| element_end(first_step(from)))?;
        push(&mut list, parsed, i)?;
        match comma(rest) {
            Ok((next, ())) => i = next,
            Err(_) => return Ok((rest, list)),
        }
    }
}

/// Backends in braces, separated by commas or line ends.
fn block(open: In<'_>) -> Parsed<'_, Vec<Backend>> {
    let (i, ()) = symbol('{')(open)?;
    let mut list = Vec::new();
    let (mut i, ()) = breaks0(i)?;
    let mut read = 0usize;
    loop {
        if i.first() == b'}' && read > 0 {
            return Ok((i.skip(1), list));
        }
        let unfinished = i.rest.is_empty() || word(i).is_ok_and(|(_, text)| keyword::is_statement(text.rest));
        if unfinished {
            return expected(i, "a backend or `}`").label(open.span_of(1), "the list is opened here").fail();
        }
        let (rest, parsed) = recover(i, backend, |from| element_end(first_step(from)))?;
        push(&mut list, parsed, i)?;
        read += 1;
        let (rest, _) = blank0(rest)?;
        if let Ok((next, ())) = comma(rest) {
            i = next;
            continue;
        }
        let (at, _) = nom::Parser::parse(&mut nom::combinator::opt(comment), rest)?;
        if newline(at).is_ok() || at.rest.is_empty() {
            let (next, ()) = breaks0(rest)?;
            if next.first() == b',' {
                return expected(next, "a backend or `}`")
                    .help("the comma stands behind the backend, on its line")
                    .fail();
            }
            if word(next).is_ok_and(|(_, text)| keyword::ATTRIBUTES.contains(&text.rest)) {
                return expected(next, "a backend or `}`").help("a backend's attributes stand on its own line").fail();
            }
            i = next;
            continue;
        }
        if rest.first() == b'}' {
            i = rest;
            continue;
        }
        let error = expected(rest, "`weight`, `backup`, `,`, a new line or `}`")
            .maybe_help(near_keyword(rest, keyword::ATTRIBUTES));
        let error = match rest.first() {
            b';' => error.help("backends are separated by commas or line ends"),
            _ => error,
        };
        match rest.first() {
            b';' | b'{' => return error.label(open.span_of(1), "the list is opened here").fail(),
            _ => {
                rest.errors().record(error);
                let next = element_end(first_step(rest));
                let (next, ()) = comma(next).or_else(|_| breaks0(next))?;
                i = next;
            }
        }
        if i.errors().overflow() {
            return expected(i, "fewer errors").fail();
        }
    }
}

/// One character on, unless it already ends the element.
fn first_step(i: In<'_>) -> In<'_> {
    match i.first() {
        b',' | b'}' | b'\n' | b';' | b'#' => i,
        _ => i.skip_char(),
    }
}

fn push<'a>(
    list: &mut Vec<Backend>,
    parsed: Option<Backend>,
    at: In<'a>,
) -> Result<(), nom::Err<crate::syntax::Problem>> {
    list.extend(parsed);
    let error = match list.len() > MAX_BACKENDS {
        true => {
            SyntaxError::new(Code::PoolNesting, at.span_of(0), format!("more than {MAX_BACKENDS} backends in one list"))
        }
        false if at.errors().overflow() => expected(at, "fewer errors"),
        false => return Ok(()),
    };
    error.fail::<'a, ()>().map(|_| ())
}

/// `SERVER [:PORT] { weight N | backup }`
pub fn backend(start: In<'_>) -> Parsed<'_, Backend> {
    let (i, (server, port)) = server(start)?;
    let mut backend = Backend { server, port, weight: None, backup: false, span: start.span_to(i) };
    let mut i = i;
    loop {
        let (at, _) = blank0(i)?;
        let Ok((rest, text)) = word(at) else { break };
        match text.rest {
            "weight" => {
                let (rest, _) = blank0(rest)?;
                let (rest, found) = expect(number("a weight", 0..=65_535), "a weight (0-65535)")(rest)?;
                if backend.weight.replace(Spanned { value: found.value as u16, span: found.span }).is_some() {
                    return repeated(at, text.rest);
                }
                i = rest;
            }
            "backup" => {
                if std::mem::replace(&mut backend.backup, true) {
                    return repeated(at, text.rest);
                }
                i = rest;
            }
            _ => {
                let error = expected(at, "`weight`, `backup`, `,` or the end of the list");
                if keyword::OPTIONS.contains(&text.rest) {
                    return error
                        .help(format!("options stand before the arrow: `balance … {} … -> …`", text.rest))
                        .fail();
                }
                return error.maybe_help(near_keyword(at, keyword::ATTRIBUTES)).fail();
            }
        }
    }
    backend.span = start.span_to(i);
    Ok((i, backend))
}

fn repeated<'a, T>(at: In<'a>, word: &str) -> Parsed<'a, T> {
    SyntaxError::new(Code::RepeatedOption, at.span_of(word.len()), format!("`{word}` is written twice")).fail()
}

fn server(i: In<'_>) -> Parsed<'_, (Server, Option<Spanned<PortRange>>)> {
    const WHAT: &str = "a backend (`HOST:PORT`, a pool, or `:PORT`)";
    if is_ipv6(i) {
        return needs_brackets(i);
    }
    let (rest, server) = match i.first() {
        b':' => {
            let (rest, port) = expect(ports, "a port (1-65535)")(i.skip(1))?;
            return Ok((rest, (Server::Local, Some(port))));
        }
        b'[' => {
            let (rest, net) = bracketed(i)?;
            (rest, address(net)?)
        }
        b'0'..=b'9' => {
            let (rest, net) = ipv4_prefix(i)?;
            (rest, address(net)?)
        }
        _ => {
            let (rest, name) = expect(name_ref(WHAT), WHAT)(i)?;
            (rest, Server::Name(name))
        }
    };
    match rest.first() {
        b':' => {
            let (rest, port) = expect(ports, "a port (1-65535)")(rest.skip(1))?;
            Ok((rest, (server, Some(port))))
        }
        _ => Ok((rest, (server, None))),
    }
}

fn address(net: Spanned<IpNet>) -> Result<Server, nom::Err<crate::syntax::Problem>> {
    if net.value.prefix_len() == net.value.max_prefix_len() {
        return Ok(Server::Address(net.value.addr(), net.span));
    }
    let error = SyntaxError::new(Code::InvalidAddress, net.span, "a backend is one address, not a prefix");
    error.fail::<()>().map(|_| Server::Local)
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
        p.words("{\n");
        for backend in &self.list {
            p.begin(backend.span.start, "    ");
            backend.format(p);
            p.end(backend.span.end);
        }
        p.begin(self.span.end - u32::from(self.braces), "");
        p.words("}");
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
