//! LB105

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::{Applicability, Code, Diagnostic, Fix, at};
use crate::endpoint::PortRange;
use crate::lint::context::{Context, List};
use crate::lint::edit::{remove_backend, set_weight};
use crate::lint::{Doc, Lint};
use crate::statement::backends::{Backend, Server};

pub const LINT: Lint = Lint {
    code: Code::DuplicateBackend,
    doc: Doc {
        what: "Finds a backend that stands twice in one list: the same address and port, or the same pool.",
        why: "Its share silently doubles. Often one of the two was meant to be another server.",
        example: "balance tcp 80 -> 10.0.0.1:80, 10.0.0.2:80, 10.0.0.1:80\n",
        instead: "balance tcp 80 -> 10.0.0.1:80 weight 2, 10.0.0.2:80 weight 1\n",
        fix: "Safe: it adds the weights up. Unsafe where a service takes its backends in turn or by source hash: the order of the \
              turns, or the backends of some clients, change. None where the two are written differently (a host and its address).",
    },
    check,
};

/// What makes two backends one.
type Key = (IpAddr, Option<PortRange>, bool);

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for list in context.lists().filter(|list| list.list.len() > 1) {
        if is_plain_and_distinct(list.list) {
            continue;
        }
        let mut written = HashMap::with_capacity(list.list.len());
        let mut addresses: HashMap<Key, usize> = HashMap::with_capacity(list.list.len());
        for (index, backend) in list.list.iter().enumerate() {
            let key = context.member(list.source, backend);
            let mut same = written.get(&key).copied();
            for &address in context.addresses(list.source, backend.server).as_slice() {
                let earlier = addresses.entry((address, key.1, backend.backup)).or_insert(index);
                if *earlier < index {
                    same = same.or(Some(*earlier));
                }
            }
            written.entry(key).or_insert(index);
            if let Some(first) = same {
                found.push(diagnostic(context, list, first, index));
            }
        }
    }
    found
}

/// Whether a short list of addresses holds none twice: most lists, told without a table.
fn is_plain_and_distinct(list: &[Backend]) -> bool {
    let plain = |backend: &Backend| matches!(backend.server, Server::Address(..));
    let same = |one: &Backend, other: &Backend| match (one.server, other.server) {
        (Server::Address(one, _), Server::Address(other, _)) => one == other,
        (Server::Address(..) | Server::Name(_) | Server::Local, _) => true,
    };
    list.len() <= 32
        && list.iter().all(plain)
        && list.iter().enumerate().all(|(index, one)| list[..index].iter().all(|other| !same(one, other)))
}

fn diagnostic(context: &Context<'_>, list: List<'_>, first: usize, second: usize) -> Diagnostic {
    let (one, other) = (&list.list[first], &list.list[second]);
    let text = context.text(list.source, crate::source::Span::new(other.span.start, name_end(other)));
    Diagnostic::warning(
        Code::DuplicateBackend,
        at(list.source, other.span),
        format!("`{text}` is in the list already: it gets both shares"),
    )
    .here("again here")
    .label(at(list.source, one.span), "first listed here")
    .help("leave one of the two out, and give the other one the weight of both")
    .fix(merge(context, list, first, second))
}

fn name_end(backend: &Backend) -> u32 {
    match (backend.port, backend.server) {
        (Some(port), _) => port.span.end,
        (None, Server::Address(_, span) | Server::Name(span)) => span.end,
        (None, Server::Local) => backend.span.end,
    }
}

fn merge(context: &Context<'_>, list: List<'_>, first: usize, second: usize) -> Option<Fix> {
    let (one, other) = (&list.list[first], &list.list[second]);
    if context.member(list.source, one) != context.member(list.source, other) || context.overrides(list) {
        return None;
    }
    let weight = |backend: &Backend| backend.weight.map_or(1, |weight| weight.value);
    let sum = weight(one).checked_add(weight(other))?;
    let edits =
        vec![set_weight(list.source, one, sum), remove_backend(context.program, list.source, list.list, second)?];
    let applicability = if list.random { Applicability::Safe } else { Applicability::Unsafe };
    Some(Fix::new(applicability, format!("write it once, with `weight {sum}`"), edits))
}
