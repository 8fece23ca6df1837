//! The reference meaning of a program: what happens to one new connection, exactly (language section 4).
//!
//! Everything else is compared with this. It walks the statements in order and asks each the plain question; it uses
//! neither the dispatch nor the targets' arithmetic.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use num_traits::{One, Zero};

use crate::ir::hash::Hash6;
use crate::ir::options::SourceNat;
use crate::ir::share::{Fraction, Share, fractions, shares};
use crate::ir::{Algorithm, Backend, Body, Config, Destination, Family, Group, Service};
use crate::option::Else;
use crate::statement::balance::Protocol;
use crate::trace::{Memory, Source};

/// One new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub protocol: Protocol,
    pub source: IpAddr,
    /// Of the source's family.
    pub destination: IpAddr,
    pub port: u16,
    pub direction: Direction,
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrives on this interface.
    In(String),
    /// This machine opens it.
    Out,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It goes to a server.
    Dnat(IpAddr, u16),
    /// It goes to a port of this machine.
    Redirect(u16),
    /// Nothing is done.
    Pass,
    Drop,
    Reject,
}

/// A whole distribution of outcomes, with the service that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Index into the config's services; `None` where no statement matches.
    pub service: Option<usize>,
    /// Distinct actions with positive shares that sum to 1, ascending.
    pub shares: Vec<(Action, Share)>,
}

/// The exact distribution over what may happen. `local` are the addresses of this machine beside loopback.
pub fn outcome(config: &Config, connection: &Connection, local: &[IpNet], hash6: Hash6) -> Outcome {
    let family = Family::of(connection.destination);
    for (index, service) in config.services().iter().enumerate() {
        if service.body(family).is_none() || !listens(service, connection, local) {
            continue;
        }
        if let Some(shares) = of_service(service, connection, hash6) {
            return Outcome { service: Some(index), shares };
        }
    }
    Outcome { service: None, shares: vec![(Action::Pass, Share::one())] }
}

/// What a service does with a connection that it listens to; `None` where its client goes on to the next statement.
pub fn of_service<F: Fraction>(service: &Service, connection: &Connection, hash6: Hash6) -> Option<Vec<(Action, F)>> {
    let certain = |action| Some(vec![(action, F::all())]);
    let otherwise = service.from.as_ref().and_then(|from| from.otherwise);
    if !service.from.as_ref().is_none_or(|from| from.allows(connection.source)) {
        return certain(kept_out(otherwise?));
    }
    match service.body(Family::of(connection.destination))? {
        Body::Closed => certain(otherwise.map_or(Action::Pass, kept_out)),
        Body::Drained(_) => certain(Action::Reject),
        Body::Balance(group) => Some(collect(group, pick(service, group, connection, hash6), connection.port)),
    }
}

/// What happens for certain to a connection that a service gives to a backend, because of what the machine remembers of
/// earlier ones.
pub fn remembered(service: &Service, connection: &Connection, memory: &Memory) -> Option<Action> {
    let Some(Body::Balance(group)) = service.body(Family::of(connection.destination)) else { return None };
    if !service.from.as_ref().is_none_or(|from| from.allows(connection.source)) {
        return None;
    }
    let options = &service.options;
    let limit = options.limit.filter(|limit| memory.over_rate.holds(Some(limit.rate()))).map(|limit| limit.otherwise);
    let most = options.max_connections.filter(|most| memory.over_count.holds(Some(most.count())));
    let most = most.map(|most| most.otherwise);
    if let Some(otherwise) = limit.or(most) {
        return Some(kept_out(otherwise));
    }
    let known = memory.known.as_ref().filter(|known| options.sticky.is_some() && !known.is_stale)?;
    let shares: Vec<Share> = shares(&group.members, group.backends.len());
    let mut offered = group.backends.iter().zip(shares).filter(|(_, share)| !share.is_zero());
    offered.any(|(backend, _)| action(*backend, connection.port) == known.action).then(|| known.action.clone())
}

fn kept_out(otherwise: Else) -> Action {
    match otherwise {
        Else::Drop => Action::Drop,
        Else::Reject => Action::Reject,
    }
}

/// Whether protocol, destination, port, interface and direction are the service's.
pub fn listens(service: &Service, connection: &Connection, local: &[IpNet]) -> bool {
    let arrives = match &connection.direction {
        Direction::In(interface) => service.on.as_ref().is_none_or(|on| on.allows(interface)),
        Direction::Out => service.output,
    };
    arrives
        && service.protocols.contains(&connection.protocol)
        && service.ports.iter().any(|ports| ports.contains(connection.port))
        && service.destinations.iter().any(|wanted| goes_to(service, *wanted, connection.destination, local))
}

/// What is a broadcast address whatever the networks are.
const BROADCAST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::BROADCAST), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];

fn goes_to(service: &Service, wanted: Destination, destination: IpAddr, local: &[IpNet]) -> bool {
    let is_local = local.iter().any(|net| net.contains(&destination));
    match wanted {
        Destination::Prefix(net) => net.contains(&destination),
        Destination::Local | Destination::Any if destination.is_loopback() => service.loopback,
        Destination::Local | Destination::Any if destination.is_multicast() => false,
        // The kernel takes 0.0.0.0 for a broadcast address too.
        Destination::Local | Destination::Any if BROADCAST.contains(&destination) => false,
        Destination::Local => is_local,
        Destination::Any => true,
    }
}

/// The share of each backend for this connection.
fn pick<F: Fraction>(service: &Service, group: &Group, connection: &Connection, hash6: Hash6) -> Vec<F> {
    match service.algorithm {
        Algorithm::Random | Algorithm::RoundRobin => fractions(&group.members, group.backends.len()),
        Algorithm::SourceHash(hash) => {
            let mut shares = vec![F::none(); group.backends.len()];
            let owner = group.buckets[hash.bucket(connection.source, hash6) as usize];
            shares[owner as usize] = F::all();
            shares
        }
    }
}

fn collect<F: Fraction>(group: &Group, shares: Vec<F>, port: u16) -> Vec<(Action, F)> {
    let pairs = group.backends.iter().zip(shares).filter(|(_, share)| !share.is_none());
    let mut actions: Vec<(Action, F)> = Vec::with_capacity(group.backends.len());
    actions.extend(pairs.map(|(backend, share)| (action(*backend, port), share)));
    actions.sort_by(|(one, _), (other, _)| one.cmp(other));
    actions.dedup_by(|(action, share), (own, sum)| {
        let same = action == own;
        if same {
            *sum = sum.plus(share);
        }
        same
    });
    actions
}

/// What a backend does to a connection to a port.
pub fn action(backend: Backend, port: u16) -> Action {
    match backend {
        Backend::Server(address, to) => Action::Dnat(address, to.apply(port)),
        Backend::Local(to) => Action::Redirect(to.apply(port)),
    }
}

/// The backends of the first `count` new connections to a round robin, as indices into the group's backends.
///
/// nginx's smooth weighted round robin over the exact shares: each turn everyone gains its share, the richest is
/// taken (ties in source order) and pays 1.
pub fn sequence(group: &Group, count: usize) -> Vec<u32> {
    let shares: Vec<Share> = shares(&group.members, group.backends.len());
    let gains: Vec<num_rational::BigRational> = shares.iter().map(signed).collect();
    let mut credit = vec![num_rational::BigRational::zero(); gains.len()];
    (0..count)
        .map(|_| {
            let mut best = None;
            for (index, gain) in gains.iter().enumerate().filter(|(_, gain)| !gain.is_zero()) {
                credit[index] += gain;
                if best.is_none_or(|best: usize| credit[index] > credit[best]) {
                    best = Some(index);
                }
            }
            let best = best.expect("a group has a positive share");
            credit[best] -= num_rational::BigRational::one();
            best as u32
        })
        .collect()
}

fn signed(share: &Share) -> num_rational::BigRational {
    num_rational::BigRational::new(share.numer().clone().into(), share.denom().clone().into())
}

/// The client's address as the server sees it, to which the service sends the connection (`action`).
///
/// `local` are the addresses of this machine: what stays here never leaves it, and keeps its source.
pub fn source(service: &Service, connection: &Connection, action: &Action, local: &[IpNet]) -> Source {
    let backend = match action {
        // What is where it was is not translated to the kernel, and has no other way back.
        Action::Dnat(backend, port) if (*backend, *port) == (connection.destination, connection.port) => {
            return Source::Kept;
        }
        Action::Dnat(backend, _) => *backend,
        Action::Redirect(_) | Action::Pass | Action::Drop | Action::Reject => return Source::Kept,
    };
    if backend.is_loopback() || local.iter().any(|net| net.contains(&backend)) {
        return Source::Kept;
    }
    let family = Family::of(backend);
    match &service.options.source_nat {
        SourceNat::Kept => Source::Kept,
        SourceNat::Masquerade => Source::Masquerade,
        SourceNat::Address(addresses) => addresses.get(family).map_or(Source::Kept, Source::Address),
        SourceNat::Hairpin(near) => {
            let near = near.get(family);
            let place = near.binary_search_by_key(&backend, |near| near.backend);
            let beside =
                place.is_ok_and(|place| near[place].clients.iter().any(|net| net.contains(&connection.source)));
            if beside { Source::Masquerade } else { Source::Kept }
        }
    }
}
