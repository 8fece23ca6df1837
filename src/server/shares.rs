//! The exact share of every backend, at the place where it is written.

use std::collections::BTreeSet;

use num_traits::Zero;

use crate::diagnostic::at;
use crate::ir::share::{Fraction, Share, fraction};
use crate::ir::{Body, Family, Member, Node, Service};
use crate::source::{SourceId, Span};
use crate::statement::backends::{Backend, Server};
use crate::statement::balance::Balance;
use crate::statement::pool::Pool;
use crate::statement::{Item, Statement};

use super::analysis::Analysis;

/// What a backend gets, family by family; nothing where it has no address of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    pub v4: Option<Share>,
    pub v6: Option<Share>,
}

impl Shares {
    fn add(&mut self, family: Family, share: Share) {
        let own = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        *own = Some(own.take().map_or(share.clone(), |own| own + share));
    }

    /// `2/3`, or `IPv4 2/3, IPv6 1` where the families differ; `None` where there is none.
    pub fn show(&self, print: impl Fn(&Share) -> String) -> Option<String> {
        match (&self.v4, &self.v6) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(print(one)),
            (Some(one), Some(other)) if one == other => Some(print(one)),
            (Some(one), Some(other)) => Some(format!("IPv4 {}, IPv6 {}", print(one), print(other))),
        }
    }

    pub fn fractions(&self) -> Option<String> {
        self.show(fraction)
    }
}

/// Services that are looked at to learn of a pool.
const MOST_SERVICES: usize = 50;

/// Every `balance` statement with its service; none where the program has errors.
pub fn services(analysis: &Analysis) -> impl Iterator<Item = (SourceId, &Item, &Balance, &Service)> {
    let statements = analysis.program.items().filter_map(|(source, item)| match &item.statement {
        Statement::Balance(balance) => Some((source, item, &**balance)),
        Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Pool(_) | Statement::Default(_) => {
            None
        }
    });
    let services = analysis.config.iter().flat_map(|config| config.services());
    statements.zip(services).map(|((source, item, balance), service)| (source, item, balance, service))
}

/// The members that a list has in a family, each with what it was written as.
fn members<'a, 'm>(
    analysis: &'a Analysis,
    source: SourceId,
    list: &'a [Backend],
    members: &'m [Member],
    family: Family,
) -> impl Iterator<Item = (&'a Backend, &'m Member)> {
    list.iter().filter(move |backend| is_present(analysis, source, backend, family)).zip(members)
}

/// Whether a backend has an address of a family; a pool, whether any of its members has.
fn is_present(analysis: &Analysis, source: SourceId, backend: &Backend, family: Family) -> bool {
    match backend.server {
        Server::Address(address, _) => Family::of(address) == family,
        Server::Local => true,
        Server::Name(span) => {
            let name = analysis.at(at(source, span));
            match pool(analysis, source, backend) {
                Some((source, pool)) => {
                    pool.backends.list.iter().any(|inner| is_present(analysis, source, inner, family))
                }
                None => {
                    let addresses = analysis.names().host(&analysis.program, name).unwrap_or_default();
                    addresses.into_iter().any(|address| Family::of(address) == family)
                }
            }
        }
    }
}

fn pool<'a>(analysis: &'a Analysis, source: SourceId, backend: &Backend) -> Option<(SourceId, &'a Pool)> {
    let Server::Name(span) = backend.server else { return None };
    analysis.names().pool(&analysis.program, analysis.at(at(source, span)))
}

/// The tree of a service in a family; `None` where it has none. One whose backends are all drained has an empty one.
fn tree(service: &Service, family: Family) -> Option<&[Member]> {
    match service.body(family)? {
        Body::Balance(group) => Some(&group.members),
        Body::Drained(_) => Some(&[]),
        Body::Closed => None,
    }
}

/// The part of the whole that each of some siblings gets.
fn part(weight: u16, sum: u64) -> Share {
    if sum == 0 { Share::zero() } else { <Share as Fraction>::ratio(u64::from(weight), sum) }
}

fn sum(members: &[Member]) -> u64 {
    members.iter().map(|member| u64::from(member.weight)).sum()
}

/// The shares of a service's own list, in its order.
pub fn own(analysis: &Analysis, source: SourceId, balance: &Balance, service: &Service) -> Vec<Shares> {
    let list = &balance.backends.list;
    let mut shares = vec![Shares::default(); list.len()];
    for family in Family::ALL {
        if let Some(tree) = tree(service, family) {
            of_list(analysis, source, list, tree, family, &mut shares);
        }
    }
    shares
}

fn of_list(
    analysis: &Analysis,
    source: SourceId,
    list: &[Backend],
    tree: &[Member],
    family: Family,
    shares: &mut [Shares],
) {
    let sum = sum(tree);
    let mut tree = tree.iter();
    for (backend, shares) in list.iter().zip(shares) {
        if is_present(analysis, source, backend, family) {
            shares.add(family, tree.next().map_or_else(Share::zero, |member| part(member.weight, sum)));
        }
    }
}

/// The services that use a pool, directly or through others: their indices among [`services`].
pub fn users(analysis: &Analysis, name: &str) -> Vec<usize> {
    let mut statements: BTreeSet<(SourceId, u32)> = BTreeSet::new();
    let mut wanted = vec![name];
    while let Some(name) = wanted.pop() {
        for one in analysis.names().occurrences(name).iter().filter(|one| !one.is_declaration) {
            let Some(item) = one.item else { continue };
            if !statements.insert((one.loc.source, item)) {
                continue;
            }
            match &analysis.program.files[one.loc.source.0 as usize].items[item as usize].statement {
                Statement::Pool(pool) => wanted.push(analysis.at(at(one.loc.source, pool.name))),
                Statement::Include(_)
                | Statement::Host(_)
                | Statement::Net(_)
                | Statement::Default(_)
                | Statement::Balance(_) => {}
            }
        }
    }
    let balances = analysis.program.order.iter().filter(|(source, item)| {
        let statement = &analysis.program.files[source.0 as usize].items[*item as usize].statement;
        matches!(statement, Statement::Balance(_))
    });
    balances.enumerate().filter(|(_, statement)| statements.contains(statement)).map(|(index, _)| index).collect()
}

/// The shares within a pool, in the order of its list: those that a service which uses it makes of its weights.
pub fn within(analysis: &Analysis, source: SourceId, wanted: &Pool) -> Vec<Shares> {
    let mut shares = vec![Shares::default(); wanted.backends.list.len()];
    let users = users(analysis, analysis.at(at(source, wanted.name)));
    let users: BTreeSet<usize> = users.into_iter().take(MOST_SERVICES).collect();
    let services: Vec<_> = services(analysis)
        .enumerate()
        .take(users.last().map_or(0, |last| last + 1))
        .filter(|(index, _)| users.contains(index))
        .map(|(_, service)| service)
        .collect();
    for family in Family::ALL {
        let tree = services.iter().find_map(|(source, _, balance, service)| {
            let tree = tree(service, family)?;
            find(analysis, *source, &balance.backends.list, tree, family, wanted)
        });
        if let Some(tree) = tree {
            of_list(analysis, source, &wanted.backends.list, tree, family, &mut shares);
        }
    }
    shares
}

/// The tree of a pool, wherever it stands in that of a list.
fn find<'m>(
    analysis: &Analysis,
    source: SourceId,
    list: &[Backend],
    tree: &'m [Member],
    family: Family,
    wanted: &Pool,
) -> Option<&'m [Member]> {
    members(analysis, source, list, tree, family).find_map(|(backend, member)| {
        let Node::Pool(inner) = &member.node else { return None };
        let (source, pool) = pool(analysis, source, backend)?;
        match std::ptr::eq(pool, wanted) {
            true => Some(inner.as_slice()),
            false => find(analysis, source, &pool.backends.list, inner, family, wanted),
        }
    })
}

/// What a service sends to the backend that is written at a place, in its own list or in a pool, all ways together.
pub fn total(
    analysis: &Analysis,
    source: SourceId,
    balance: &Balance,
    service: &Service,
    wanted: (SourceId, Span),
) -> Shares {
    let mut shares = Shares::default();
    for family in Family::ALL {
        let Some(tree) = tree(service, family) else { continue };
        let mut found = None;
        let one = Share::from_integer(1u32.into());
        add(analysis, source, &balance.backends.list, tree, family, wanted, &one, &mut found);
        match found {
            Some(share) => shares.add(family, share),
            None if tree.is_empty() => shares.add(family, Share::zero()),
            None => {}
        }
    }
    shares
}

#[allow(clippy::too_many_arguments, reason = "a recursion over two trees at once")]
fn add(
    analysis: &Analysis,
    source: SourceId,
    list: &[Backend],
    tree: &[Member],
    family: Family,
    wanted: (SourceId, Span),
    of: &Share,
    found: &mut Option<Share>,
) {
    let sum = sum(tree);
    for (backend, member) in members(analysis, source, list, tree, family) {
        let share = of * part(member.weight, sum);
        if (source, backend.span) == wanted {
            *found = Some(found.take().map_or(share.clone(), |found| found + &share));
        }
        if let (Node::Pool(inner), Some((source, pool))) = (&member.node, pool(analysis, source, backend)) {
            add(analysis, source, &pool.backends.list, inner, family, wanted, &share, found);
        }
    }
}
