//! The reference meaning as a party of the survey: statements in order, each asked the plain question.

use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeSet;

use crate::address::{last, number, range};
use crate::ir::hash::{Hash6, SourceHash};
use crate::ir::options::SourceNat;
use crate::ir::share::Fraction;
use crate::ir::{Algorithm, Backend, BackendPort, Body, Config, Destination, Family, Interface, Service};
use crate::meaning::{self, Action, Connection, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Amount, Answer, Asked, Facets, Hashed, Horizon, Protocols, Seen, Side, Survey, Translated};
use crate::trace::{Machine, Packet, Source};

pub struct Reference<'a> {
    config: &'a Config,
    hash6: Hash6,
    /// By family, and whether this machine opens the connection.
    destinations: [[Destinations; 2]; 2],
}

/// The services that may match a destination.
#[derive(Default)]
struct Destinations {
    /// The first addresses of stretches that no destination of the program cuts, ascending.
    starts: Vec<u128>,
    /// For each stretch the services that list it or a prefix of it.
    listed: Vec<Candidates>,
    /// Services on local addresses and on any.
    everywhere: Candidates,
}

/// Services in order.
#[derive(Default)]
struct Candidates {
    all: Vec<u32>,
    /// By protocol and port, where there are many.
    by_port: Option<HashMap<Protocol, Ports>>,
}

/// The services of a protocol by port.
#[derive(Default)]
struct Ports {
    /// The first ports of stretches that no service cuts, ascending.
    starts: Vec<u32>,
    services: Vec<Vec<u32>>,
}

/// Hashes that are tried where the program has none of its own in a place.
const MAX_HASHES: usize = 8;

/// Fewer services are as fast to ask as to look up.
const FEW: usize = 16;

/// Entries of one table by port: overlapping ranges of ports multiply them.
const MAX_ENTRIES: usize = 1 << 20;

/// Stretches that the rules on loopback, multicast and broadcast cut.
fn special(family: Family) -> Vec<(u128, u128)> {
    let nets: &[&str] = match family {
        Family::V4 => &["0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"],
        Family::V6 => &["::1/128", "ff00::/8"],
    };
    nets.iter().map(|net| range(net.parse().expect("a prefix"))).collect()
}

impl Candidates {
    fn new(mut all: Vec<u32>, services: &[Service]) -> Candidates {
        all.sort_unstable();
        all.dedup();
        let by_port = if all.len() > FEW { by_port(&all, services) } else { None };
        Candidates { all, by_port }
    }

    /// Those that may match a port, and where that changes: 65,536 for nowhere.
    fn at(&self, protocol: Protocol, port: u16) -> (&[u32], u32) {
        let Some(by_port) = &self.by_port else { return (&self.all, 65_536) };
        let Some(ports) = by_port.get(&protocol) else { return (&[], 65_536) };
        let next = ports.starts.partition_point(|start| *start <= u32::from(port));
        let services = next.checked_sub(1).map_or(&[][..], |stretch| &ports.services[stretch]);
        (services, ports.starts.get(next).copied().unwrap_or(65_536))
    }
}

/// `None` where the table would be too large.
fn by_port(all: &[u32], services: &[Service]) -> Option<HashMap<Protocol, Ports>> {
    let mut tables = HashMap::new();
    let mut entries = 0;
    for protocol in Protocol::ALL {
        let speaking = || {
            let own = all.iter().map(|&index| (index, &services[index as usize]));
            own.filter(move |(_, service)| service.protocols.contains(&protocol))
        };
        let mut starts = BTreeSet::new();
        for ports in speaking().flat_map(|(_, service)| &service.ports) {
            starts.insert(u32::from(ports.first()));
            starts.insert(u32::from(ports.last()) + 1);
        }
        let starts: Vec<u32> = starts.into_iter().filter(|start| *start < 65_536).collect();
        let mut lists = vec![Vec::new(); starts.len()];
        for (index, service) in speaking() {
            for ports in &service.ports {
                let from = starts.partition_point(|start| *start < u32::from(ports.first()));
                let to = starts.partition_point(|start| *start <= u32::from(ports.last()));
                entries += to - from;
                if entries > MAX_ENTRIES {
                    return None;
                }
                for list in &mut lists[from..to] {
                    if list.last() != Some(&index) {
                        list.push(index);
                    }
                }
            }
        }
        tables.insert(protocol, Ports { starts, services: lists });
    }
    Some(tables)
}

impl<'a> Reference<'a> {
    pub fn new(config: &'a Config, hash6: Hash6) -> Reference<'a> {
        let both = |family| [false, true].map(|leaves| destinations(config, family, leaves));
        Reference { config, hash6, destinations: Family::ALL.map(both) }
    }

    /// The source hash of a service, or where none is asked the first of the program's.
    pub(super) fn hashes(&self, service: Hashed) -> Vec<SourceHash> {
        let hash = |service: &Service| match service.algorithm {
            Algorithm::SourceHash(hash) => Some(hash),
            Algorithm::Random | Algorithm::RoundRobin => None,
        };
        let services = self.config.services();
        if let Some(own) = service.and_then(|index| services.get(index as usize)) {
            return hash(own).into_iter().collect();
        }
        let mut list = Vec::new();
        for hash in services.iter().filter_map(hash) {
            if !list.contains(&hash) {
                list.push(hash);
            }
            if list.len() == MAX_HASHES {
                break;
            }
        }
        list
    }

    pub(super) fn hash6(&self) -> Hash6 {
        self.hash6
    }

    /// The first addresses of stretches that arriving connections of a family can tell apart, ascending from 0.
    pub(super) fn starts(&self, family: Family) -> &[u128] {
        &self.destinations[family as usize][0].starts
    }
}

fn destinations(config: &Config, family: Family, leaves: bool) -> Destinations {
    let services = config.services();
    let takes_part = move |service: &Service| service.body(family).is_some() && (service.output || !leaves);
    let present = || (0u32..).zip(services).filter(|(_, service)| takes_part(service));
    let mut starts = vec![0];
    let mut ranges: Vec<(u128, u128, u32)> = Vec::new();
    for (index, service) in present() {
        for wanted in service.destinations(family) {
            if let Destination::Prefix(net) = wanted {
                let (first, end) = range(net);
                ranges.push((first, end, index));
            }
        }
    }
    for (first, end) in ranges.iter().map(|&(first, end, _)| (first, end)).chain(special(family)) {
        starts.push(first);
        starts.extend(end.checked_add(1).filter(|next| *next <= last(family)));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut listed = vec![Vec::new(); starts.len()];
    for (first, end, index) in ranges {
        let from = starts.partition_point(|start| *start < first);
        let to = starts.partition_point(|start| *start <= end);
        listed[from..to].iter_mut().for_each(|list: &mut Vec<u32>| list.push(index));
    }
    let broad = |service: &Service| {
        service.destinations.iter().any(|wanted| matches!(wanted, Destination::Local | Destination::Any))
    };
    let everywhere = present().filter(|(_, service)| broad(service)).map(|(index, _)| index).collect();
    Destinations {
        starts,
        listed: listed.into_iter().map(|list| Candidates::new(list, services)).collect(),
        everywhere: Candidates::new(everywhere, services),
    }
}

impl Reference<'_> {
    /// As [`Survey::estimate`], with the service that decides.
    pub(super) fn owned_estimate(&self, packet: &Packet, machine: &Machine) -> (Answer<Amount>, Option<u32>) {
        self.in_fractions(packet, machine)
    }

    /// As [`Survey::source`], of a connection that is a service's.
    pub(super) fn source_of(&self, owner: Option<u32>, packet: &Packet, machine: &Machine, action: &Action) -> Seen {
        let asked = Asked::new(packet);
        let kept = |asked: &Asked| Seen {
            source: Some(Source::Kept),
            horizon: asked.horizon(),
            facets: asked.facets(),
            cost: 1,
        };
        let (Some(owner), Action::Dnat(backend, port)) = (owner, action) else { return kept(&asked) };
        let service = &self.config.services()[owner as usize];
        match &service.options.source_nat {
            SourceNat::Kept => return kept(&asked),
            SourceNat::Masquerade | SourceNat::Address(_) => {}
            SourceNat::Hairpin(near) => {
                let near = near.get(Family::of(*backend));
                if let Ok(place) = near.binary_search_by_key(backend, |near| near.backend) {
                    for &net in &near[place].clients {
                        let (first, end) = range(net);
                        asked.stretch(Side::Source, first, end);
                    }
                }
            }
        }
        asked.local(*backend);
        let itself = number(*backend);
        asked.stretch(Side::Destination, itself, itself);
        if packet.destination == *backend {
            asked.port_in(*port, *port);
        }
        let source = meaning::source(service, &connection(packet), action, &machine.local);
        Seen { source: Some(source), ..kept(&asked) }
    }

    /// What has happened to a connection that a service sent to one of its backends, for each backend that any client
    /// may get.
    pub(super) fn translations(&self, owner: u32, packet: &Packet) -> Vec<Translated> {
        let service = &self.config.services()[owner as usize];
        let Some(Body::Balance(group)) = service.body(Family::of(packet.destination)) else { return Vec::new() };
        let translated = |backend: &Backend| {
            let (Backend::Server(_, port) | Backend::Local(port)) = backend;
            let follows = !matches!(port, BackendPort::Fixed(_));
            Translated { action: meaning::action(*backend, packet.port), follows }
        };
        let mut list: Vec<Translated> = group.backends.iter().map(translated).collect();
        list.sort_by(|one, other| (&one.action, one.follows).cmp(&(&other.action, other.follows)));
        list.dedup();
        list
    }

    fn in_fractions<F: Fraction>(&self, packet: &Packet, machine: &Machine) -> (Answer<F>, Option<u32>) {
        let family = Family::of(packet.destination);
        let (destination, source) = (number(packet.destination), number(packet.source));
        let arrives = matches!(packet.direction, Direction::In(_));
        let Destinations { starts, listed, everywhere } = &self.destinations[family as usize][usize::from(!arrives)];
        let stretch = starts.partition_point(|start| *start <= destination) - 1;
        let (few, few_until) = listed[stretch].at(packet.protocol, packet.port);
        let (many, many_until) = everywhere.at(packet.protocol, packet.port);
        let mut horizon =
            Horizon { destination: starts.get(stretch + 1).copied(), port: few_until.min(many_until), ..Horizon::FAR };
        let looked_up = listed[stretch].by_port.is_some() || everywhere.by_port.is_some();
        let protocols = if looked_up { Protocols::ALL } else { Protocols::NONE };
        let mut facets = Facets { protocols, ..Facets::NONE };
        let mut known = None;
        let mut cost = 1;
        for index in in_order(few, many) {
            cost += 1;
            let service = &self.config.services()[index as usize];
            let speaks = |protocol| service.protocols.contains(&protocol);
            facets.protocols = facets.protocols.and(Protocols::those(speaks));
            if !speaks(packet.protocol) {
                continue;
            }
            for ports in &service.ports {
                horizon.ask_port(packet.port, ports.first(), ports.last());
            }
            if !service.ports.iter().any(|ports| ports.contains(packet.port)) {
                continue;
            }
            facets.interface |= arrives && service.on.is_some();
            facets.local |= service.destinations.contains(&Destination::Local);
            let connection = known.get_or_insert_with(|| connection(packet));
            if !meaning::listens(service, connection, &machine.local) {
                continue;
            }
            if let Some(from) = &service.from {
                for &net in from.nets.get(family) {
                    let (first, end) = range(net);
                    horizon.ask_source(source, first, end);
                }
            }
            if let Some(actions) = meaning::of_service(service, connection, self.hash6) {
                let hashed = matches!(service.algorithm, Algorithm::SourceHash(_)).then_some(u64::from(index));
                let unknown = Vec::new();
                let answer = Answer { actions, horizon, facets, hashed, in_step: None, cost, cut: false, unknown };
                return (answer, Some(index));
            }
        }
        let answer = Answer {
            actions: vec![(Action::Pass, F::all())],
            horizon,
            facets,
            hashed: None,
            in_step: None,
            cost,
            cut: false,
            unknown: Vec::new(),
        };
        (answer, None)
    }
}

fn connection(packet: &Packet) -> Connection {
    Connection {
        protocol: packet.protocol,
        source: packet.source,
        destination: packet.destination,
        port: packet.port,
        direction: packet.direction.clone(),
    }
}

impl Survey for Reference<'_> {
    fn answer(&self, packet: &Packet, machine: &Machine) -> Answer {
        self.in_fractions(packet, machine).0
    }

    fn estimate(&self, packet: &Packet, machine: &Machine) -> Answer<Amount> {
        self.in_fractions(packet, machine).0
    }

    fn source(&self, packet: &Packet, machine: &Machine, translated: &Translated) -> Seen {
        let (answer, owner) = self.owned_estimate(packet, machine);
        let mut seen = self.source_of(owner, packet, machine, &translated.action);
        seen.horizon.join(answer.horizon);
        seen.facets.join(answer.facets);
        seen
    }

    fn changes_sources(&self) -> bool {
        self.config.services().iter().any(|service| service.options.source_nat != SourceNat::Kept)
    }

    fn interfaces(&self) -> Vec<Interface> {
        let all = self.config.services().iter().filter_map(|service| service.on.as_ref());
        all.flat_map(|on| on.interfaces.iter().cloned()).collect()
    }
}

/// Two ascending lists as one, without repetition.
fn in_order<'l>(mut one: &'l [u32], mut other: &'l [u32]) -> impl Iterator<Item = u32> + 'l {
    std::iter::from_fn(move || {
        let next = match (one.first(), other.first()) {
            (Some(a), Some(b)) => *a.min(b),
            (Some(a), None) => *a,
            (None, Some(b)) => *b,
            (None, None) => return None,
        };
        one = one.strip_prefix(&[next]).unwrap_or(one);
        other = other.strip_prefix(&[next]).unwrap_or(other);
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_are_one_in_order() {
        assert_eq!(in_order(&[1, 4, 7], &[2, 4, 9, 11]).collect::<Vec<_>>(), [1, 2, 4, 7, 9, 11]);
        assert_eq!(in_order(&[], &[3]).collect::<Vec<_>>(), [3]);
    }
}
