//! `host NAME = ADDRESS[, ADDRESS]`

use std::net::IpAddr;

use crate::endpoint::{address, new_name};
use crate::list::plain_until;
use crate::print::Printer;
use crate::source::{Span, Spanned};
use crate::syntax::{In, Parsed, blank0, element_end, equals};

use super::net::format_lines;

/// A machine's name and its addresses, at most one per family (checked when names are resolved).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: Span,
    pub addresses: Vec<Spanned<IpAddr>>,
    /// Where the addresses stand.
    pub list: Span,
}

pub fn parse(i: In<'_>) -> Parsed<'_, Host> {
    let (i, _) = blank0(i)?;
    let (i, name) = new_name(i)?;
    let (at, ()) = equals(i)?;
    let (i, addresses) = plain_until(at, address, "an address", element_end)?;
    Ok((i, Host { name, addresses, list: at.span_to(i) }))
}

impl Host {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("host ");
        p.source(self.name);
        p.words(" =");
        format_lines(&self.addresses, self.list, p, |it| it.span, |it, p| p.words(&it.value.to_string()));
    }
}
