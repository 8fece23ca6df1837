//! `net NAME = ITEM[, ITEM ...]`

use ipnet::IpNet;

use crate::endpoint::{is_ipv6, name_ref, new_name, prefix};
use crate::list::{format_list, plain_until};
use crate::print::{MAX_WIDTH, Printer};
use crate::source::{Span, Spanned};
use crate::syntax::{In, Parsed, blank0, element_end, equals, word};

/// A named list of addresses, prefixes, hosts and other nets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    pub name: Span,
    pub items: Vec<NetItem>,
    /// Where the items stand.
    pub list: Span,
}

/// One item of a net, or of `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetItem {
    Prefix(Spanned<IpNet>),
    Name(Span),
}

impl NetItem {
    pub fn span(&self) -> Span {
        match self {
            NetItem::Prefix(prefix) => prefix.span,
            NetItem::Name(name) => *name,
        }
    }

    pub fn format(&self, p: &mut Printer<'_>) {
        match self {
            NetItem::Prefix(prefix) => p.words(&show(prefix.value)),
            NetItem::Name(name) => p.source(*name),
        }
    }
}

/// A prefix as it is written: a single address without its length.
pub fn show(net: IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

pub fn parse(i: In<'_>) -> Parsed<'_, Net> {
    let (i, _) = blank0(i)?;
    let (i, name) = new_name(i)?;
    let (at, ()) = equals(i)?;
    let (i, items) = plain_until(at, net_item, "an address, a prefix, a host or a net", element_end)?;
    Ok((i, Net { name, items, list: at.span_to(i) }))
}

/// `PREFIX`, `ADDRESS` or `NAME`.
pub fn net_item(i: In<'_>) -> Parsed<'_, NetItem> {
    if !is_ipv6(i) && word(i).is_ok() {
        let (i, name) = name_ref("an address, a prefix, a host or a net")(i)?;
        return Ok((i, NetItem::Name(name)));
    }
    let (i, prefix) = prefix(i)?;
    Ok((i, NetItem::Prefix(prefix)))
}

/// A list behind ` =`: on one line, or one element a line where that was written, the line would be long, or comments
/// stand between the elements.
pub fn format_lines<T>(
    items: &[T],
    list: Span,
    p: &mut Printer<'_>,
    span: impl Fn(&T) -> Span,
    mut element: impl FnMut(&T, &mut Printer<'_>),
) {
    let mut line = p.scratch();
    format_list(items, &mut line, &mut element);
    let line = line.finish();
    if !p.has_comment(list) && !p.has_newline(list) && line.len() <= MAX_WIDTH {
        p.words(" ");
        return p.words(&line);
    }
    p.words("\n");
    // What stood between has moved above the statement.
    p.skip_to(list.start);
    for (index, item) in items.iter().enumerate() {
        p.begin(span(item).start, "    ");
        element(item, p);
        if index + 1 < items.len() {
            p.words(",");
            p.end(span(item).end);
        }
    }
}

impl Net {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("net ");
        p.source(self.name);
        p.words(" =");
        format_lines(&self.items, self.list, p, NetItem::span, NetItem::format);
    }
}
