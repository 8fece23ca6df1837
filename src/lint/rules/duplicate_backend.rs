//! LB105

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::{Applicability, Code, Diagnostic, Fix, at};
use crate::endpoint::PortRange;
use crate::ir::Service;
use crate::lint::context::{Context, List};
use crate::lint::edit::{remove_backend, set_weight};
use crate::lint::{Doc, Lint};
use crate::source::Span;
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
        let kept = list.service.and_then(own_port);
        let mut written = HashMap::with_capacity(list.list.len());
        let mut addresses: HashMap<Key, usize> = HashMap::with_capacity(list.list.len());
        // By the first of them.
        let mut repeated: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, backend) in list.list.iter().enumerate() {
            let key = context.member(list.source, backend);
            let mut same = written.get(&key).copied();
            for &address in context.addresses(list.source, backend.server).as_slice() {
                let port = key.1.or(kept);
                let earlier = addresses.entry((address, port, backend.backup)).or_insert(index);
                if *earlier < index {
                    same = same.or(Some(*earlier));
                }
            }
            written.entry(key).or_insert(index);
            if let Some(first) = same {
                repeated.entry(first).or_default().push(index);
            }
        }
        found.extend(repeated.into_iter().map(|(first, others)| diagnostic(context, list, first, &others)));
    }
    found
}

/// The port that connections keep where none is written, of a service that listens on one alone.
fn own_port(service: &Service) -> Option<PortRange> {
    match service.ports.as_slice() {
        [only] if only.is_single() => Some(*only),
        _ => None,
    }
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

fn diagnostic(context: &Context<'_>, list: List<'_>, first: usize, others: &[usize]) -> Diagnostic {
    let (one, other) = (&list.list[first], &list.list[others[0]]);
    let text = context.text(list.source, Span::new(other.span.start, name_end(other)));
    let times = match others.len() {
        1 => String::new(),
        others => format!(", {} times in all", others + 1),
    };
    Diagnostic::warning(
        Code::DuplicateBackend,
        at(list.source, other.span),
        format!("`{text}` is in the list already{times}: it gets the shares of all"),
    )
    .here("again here")
    .label(at(list.source, one.span), "first listed here")
    .help("list it once, with the sum of the weights")
    .fix(merge(context, list, first, others))
}

fn name_end(backend: &Backend) -> u32 {
    match (backend.port, backend.server) {
        (Some(port), _) => port.span.end,
        (None, Server::Address(_, span) | Server::Name(span)) => span.end,
        (None, Server::Local) => backend.span.end,
    }
}

fn merge(context: &Context<'_>, list: List<'_>, first: usize, others: &[usize]) -> Option<Fix> {
    let one = &list.list[first];
    let key = context.member(list.source, one);
    if context.overrides(list) || others.iter().any(|other| context.member(list.source, &list.list[*other]) != key) {
        return None;
    }
    let weight = |index: usize| list.list[index].weight.map_or(1, |weight| weight.value);
    let sum = others.iter().try_fold(weight(first), |sum, other| sum.checked_add(weight(*other)))?;
    let mut edits = vec![set_weight(list.source, one, sum)];
    for &other in others {
        let removal = remove_backend(context.program, list.source, list.list, other)?;
        // Lines and separators of neighbours overlap.
        match edits.last_mut().filter(|last| last.text.is_empty() && last.loc.span.end >= removal.loc.span.start) {
            Some(last) => last.loc.span = last.loc.span.to(removal.loc.span),
            None => edits.push(removal),
        }
    }
    let applicability = if list.random { Applicability::Safe } else { Applicability::Unsafe };
    Some(Fix::new(applicability, format!("write it once, with `weight {sum}`"), edits))
}
