//! `balance PROTO LISTEN [OPTION ...] -> BACKENDS`

use crate::diagnostic::Code;
use crate::endpoint::near_keyword;
use crate::keyword;
use crate::list::plain;
use crate::option::{BalanceOption, format, options};
use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, SyntaxError, arrow, blank0, expected, word};

use super::backends::{Backends, backends};
use super::listen::{Listen, listen};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The name that the language, iptables and nft use.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// One service: who listens, who may, how it picks, and among whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub protocols: Vec<Spanned<Protocol>>,
    pub listen: Listen,
    pub options: Vec<BalanceOption>,
    pub backends: Backends,
}

pub fn parse(i: In<'_>) -> Parsed<'_, Balance> {
    let (at, _) = blank0(i)?;
    let (i, protocols) = plain(at, protocol, "a protocol (`tcp`, `udp` or `sctp`)")?;
    for (index, protocol) in protocols.iter().enumerate() {
        if let Some(first) = protocols[..index].iter().find(|earlier| earlier.value == protocol.value) {
            i.errors().record(
                SyntaxError::new(
                    Code::RepeatedOption,
                    protocol.span,
                    format!("the protocol `{}` is written twice", protocol.value.name()),
                )
                .label(first.span, "first written here"),
            );
        }
    }
    let (i, _) = blank0(i)?;
    let (i, listen) = listen(i)?;
    let (i, options) = options(i)?;
    let (i, _) = match arrow(i) {
        Ok(found) => found,
        Err(_) => {
            return expected(i, "`,`, an option or `->`").maybe_help(near_keyword(i, keyword::OPTIONS)).fail();
        }
    };
    let (i, backends) = backends(i)?;
    Ok((i, Balance { protocols, listen, options, backends }))
}

fn protocol(i: In<'_>) -> Parsed<'_, Spanned<Protocol>> {
    if let Ok((rest, text)) = word(i) {
        if let Some(value) = Protocol::ALL.into_iter().find(|protocol| protocol.name() == text.rest) {
            return Ok((rest, Spanned { value, span: i.span_to(rest) }));
        }
    }
    expected(i, "a protocol (`tcp`, `udp` or `sctp`)").maybe_help(near_keyword(i, keyword::PROTOCOLS)).fail()
}

impl Balance {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("balance ");
        for (index, protocol) in self.protocols.iter().enumerate() {
            p.words(if index > 0 { "," } else { "" });
            p.words(protocol.value.name());
        }
        p.words(" ");
        self.listen.format(p);
        for option in &self.options {
            p.words(" ");
            format(option, p);
        }
        p.words(" -> ");
        self.backends.format(p);
    }
}
