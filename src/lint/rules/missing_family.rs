//! LB107

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::{Family, PerFamily, Service};
use crate::lint::context::{Context, List};
use crate::lint::{Doc, Lint};
use crate::statement::backends::Server;

pub const LINT: Lint = Lint {
    code: Code::MissingFamily,
    doc: Doc {
        what: "Finds lists, used by a service of both families, in which fewer backends have an address of one family than of \
               the other.",
        why: "A backend without an address of a family gets none of its connections, and the others get its share: in the end \
              all IPv6 clients land on one server, which nobody sees in the weights.",
        example: "host a = 10.0.0.1, fd00::1\nhost b = 10.0.0.2\nbalance tcp 80 -> a:8080, b:8080\n",
        instead: "host a = 10.0.0.1, fd00::1\nhost b = 10.0.0.2, fd00::2\nbalance tcp 80 -> a:8080, b:8080\n",
        fix: "",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen = foldhash::HashSet::default();
    let mut open: Vec<List<'_>> = Vec::new();
    let both = context.balances().filter(|one| Family::ALL.into_iter().all(|family| has_clients(one.service, family)));
    for one in both {
        open.push(one.list());
        while let Some(list) = open.pop() {
            let before = open.len();
            for backend in list.list {
                if let (Server::Name(_), Some((source, pool))) =
                    (backend.server, context.pool(list.source, backend.server))
                    && seen.insert(at(source, pool.name))
                {
                    open.push(List { source, list: &pool.backends.list, service: None, random: false });
                }
            }
            found.extend(check_list(context, list));
            open[before..].reverse();
        }
    }
    found
}

/// Whether connections of a family can come to a service's backends.
fn has_clients(service: &Service, family: Family) -> bool {
    service.body(family).is_some()
        && service.destinations(family).next().is_some()
        && !service.from.as_ref().is_some_and(|from| from.allows_none(family))
}

fn check_list(context: &Context<'_>, list: List<'_>) -> Option<Diagnostic> {
    let mut count = PerFamily::<usize>::default();
    let mut members = Vec::new();
    for backend in list.list {
        // A pool is judged by its own list, and who gets no share misses none.
        let has_share = !backend.backup && backend.weight.is_none_or(|weight| weight.value > 0);
        if context.pool(list.source, backend.server).is_some() || !has_share {
            continue;
        }
        let families = context.families(list.source, backend.server);
        count.v4 += usize::from(families.v4);
        count.v6 += usize::from(families.v6);
        members.push((backend, families));
    }
    let lacking = match (count.v4, count.v6) {
        (0, _) | (_, 0) => return None,
        (v4, v6) if v4 == v6 => return None,
        (v4, v6) => {
            if v4 < v6 {
                Family::V4
            } else {
                Family::V6
            }
        }
    };
    let (without, _) = members.iter().find(|(_, families)| !families.get(lacking))?;
    let (with, _) = members.iter().find(|(_, families)| *families.get(lacking))?;
    let (few, all) = (*count.get(lacking), members.len());
    let family = lacking.name();
    Some(
        Diagnostic::warning(
            Code::MissingFamily,
            at(list.source, without.span),
            format!(
                "{few} of {all} backends of this list {} {family} clients",
                if few == 1 { "gets all" } else { "share all" }
            ),
        )
        .here(format!("has no {family} address"))
        .label(at(list.source, with.span), format!("has one, and gets more of the {family} connections"))
        .help(format!("give every backend an {family} address, or make a service of each family")),
    )
}
