//! `balance PROTO LISTEN [OPTION ...] -> BACKENDS`

use crate::diagnostic::Code;
use crate::endpoint::near_keyword;
use crate::keyword;
use crate::list::{plain_until, twice};
use crate::option::{BalanceOption, format, options};
use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, arrow, at_end, blank0, expected, word};

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

    /// The IP protocol's number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
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
    let before = i.errors().count();
    let (i, _) = blank0(i)?;
    let (i, protocols) = plain_until(i, protocol, PROTOCOL, protocol_end)?;
    for (index, protocol) in protocols.iter().enumerate() {
        if let Some(first) = protocols[..index].iter().find(|earlier| earlier.value == protocol.value) {
            let what = format!("the protocol `{}`", protocol.value.name());
            i.errors().record(twice(Code::RepeatedOption, first.span, protocol.span, &what));
        }
    }
    let (i, _) = blank0(i)?;
    if i.errors().count() > before && (at_end(i) || i.rest.starts_with("->")) {
        return i.give_up();
    }
    let (i, listen) = listen(i)?;
    let (i, options) = options(i, "`,`, an option or `->`")?;
    let i = match arrow(i) {
        Ok((i, _)) => i,
        // What stands in the place of the arrow is reported already.
        Err(_) if i.errors().count() > before => return i.give_up(),
        Err(_) => return expected(i, "`,`, an option or `->`").help("backends stand behind the arrow").fail(),
    };
    let (i, backends) = backends(i)?;
    Ok((i, Balance { protocols, listen, options, backends }))
}

const PROTOCOL: &str = "a protocol (`tcp`, `udp` or `sctp`)";

fn protocol(i: In<'_>) -> Parsed<'_, Spanned<Protocol>> {
    if let Ok((rest, text)) = word(i)
        && let Some(value) = Protocol::ALL.into_iter().find(|protocol| protocol.name() == text.rest)
    {
        return Ok((rest, Spanned { value, span: i.span_to(rest) }));
    }
    expected(i, PROTOCOL).maybe_help(near_keyword(i, keyword::PROTOCOLS)).fail()
}

/// A wrong protocol is one word; where there is none, it was left out, and what stands there is the listen part.
fn protocol_end(i: In<'_>) -> In<'_> {
    match word(i) {
        Ok((rest, _)) if rest.first() != b':' => rest,
        Ok(_) | Err(_) => i,
    }
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
