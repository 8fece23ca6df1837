//! `from [not] NETS [else drop|reject]`

use crate::print::Printer;
use crate::source::Span;
use crate::statement::net::{NetItem, net_item};
use crate::syntax::{In, Parsed, blank0, keyword};

use super::{Else, else_suffix};
use crate::list::{braced_or_plain, format_list};

/// Which clients a service is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Covers the whole list.
    pub not: bool,
    pub nets: Vec<NetItem>,
    /// What happens to clients that are kept out; without it they fall through to the next statement.
    pub otherwise: Option<Else>,
    pub span: Span,
}

pub fn parse(start: In<'_>) -> Parsed<'_, From> {
    let (i, _) = blank0(start)?;
    let (i, not) = match keyword("not")(i) {
        Ok((i, _)) => (blank0(i)?.0, true),
        Err(_) => (i, false),
    };
    let (i, nets) = braced_or_plain(i, net_item, "an address, a prefix, a host or a net")?;
    let span = start.span_to(i);
    let (i, otherwise) = else_suffix(i)?;
    Ok((i, From { not, nets, otherwise, span }))
}

impl From {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(if self.not { " not " } else { " " });
        format_list(&self.nets, p, |net, p| net.format(p));
        Else::format(self.otherwise, p);
    }
}
