//! `snat ADDRESS[, ADDRESS]`

use std::net::IpAddr;

use crate::endpoint::address;
use crate::list::{format_list, plain};
use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, blank0};

/// The addresses that backends see as the client: one per family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snat {
    pub addresses: Vec<Spanned<IpAddr>>,
}

pub fn parse(i: In<'_>) -> Parsed<'_, Snat> {
    let (i, _) = blank0(i)?;
    let (i, addresses) = plain(i, address, "an address")?;
    Ok((i, Snat { addresses }))
}

impl Snat {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(" ");
        format_list(&self.addresses, p, |address, p| p.words(&address.value.to_string()));
    }
}
