//! The reference meaning as a party of the survey: statements in order, each asked the plain question.

mod cuts;
mod nets;

use foldhash::{HashMap, HashMapExt};
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeSet;

use crate::address::{last, number, range};
use crate::ir::hash::{Hash6, SourceHash};
use crate::ir::options::SourceNat;
use crate::ir::share::Fraction;
use crate::ir::{Algorithm, Backend, BackendPort, Body, Config, Destination, Family, Interface, Service};
use crate::meaning::{self, Action, Connection, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Amount, Answer, Asked, Facets, Hashed, Horizon, Protocols, Seen, Side, Survey, Translated};
use crate::trace::{Known, Machine, Memory, Over, Packet, Source, Store};

use cuts::Cuts;
use nets::Nets;

pub struct Reference<'a> {
    config: &'a Config,
    hash6: Hash6,
    /// Whether any service limits its connections.
    has_limits: bool,
    /// By family, and whether this machine opens the connection.
    destinations: [[Destinations; 2]; 2],
}

/// The services that may match a destination.
#[derive(Default)]
struct Destinations {
    /// Those that list it or a prefix of it.
    listed: Nets<Candidates>,
    /// Those on local addresses and on any.
    everywhere: Candidates,
    /// Where the destinations of listeners begin and end, by protocol.
    cuts: [Cuts; Protocol::ALL.len()],
    /// Where addresses of a special kind begin and end, ascending.
    special: Vec<u128>,
    /// The first addresses of stretches that no destination of the program cuts, ascending.
    starts: Vec<u128>,
    /// What any of them tells apart.
    protocols: Protocols,
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
        let has_limits = config.services().iter().any(|service| service.options.limits());
        Reference { config, hash6, has_limits, destinations: Family::ALL.map(both) }
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
    let mut listed: Vec<((u128, u128), u32)> = Vec::new();
    for (index, service) in present() {
        for wanted in service.destinations(family) {
            if let Destination::Prefix(net) = wanted {
                listed.push((range(net), index));
            }
        }
    }
    let ends = |(first, end): (u128, u128)| [Some(first), end.checked_add(1).filter(|next| *next <= last(family))];
    let ascending = |all: &mut dyn Iterator<Item = (u128, u128)>| {
        let mut cuts: Vec<u128> = all.flat_map(ends).flatten().collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    };
    let special = ascending(&mut special(family).into_iter());
    let starts = ascending(&mut listed.iter().map(|(net, _)| *net).chain([(0, last(family))]));
    let cuts = Protocol::ALL.map(|protocol| {
        let speaking = listed.iter().filter(|(_, index)| services[*index as usize].protocols.contains(&protocol));
        let boxes = speaking.flat_map(|&(net, index)| {
            let ports = &services[index as usize].ports;
            ports.iter().map(move |ports| (net, (u32::from(ports.first()), u32::from(ports.last()) + 1)))
        });
        Cuts::new(boxes.flat_map(|(net, ports)| ends(net).into_iter().flatten().map(move |cut| (cut, ports))))
    });
    let broad = |service: &Service| {
        service.destinations.iter().any(|wanted| matches!(wanted, Destination::Local | Destination::Any))
    };
    let everywhere = present().filter(|(_, service)| broad(service)).map(|(index, _)| index).collect();
    let told = |service: &Service| Protocols::those(|protocol| service.protocols.contains(&protocol));
    Destinations {
        listed: Nets::new(listed, |list| Candidates::new(list, services)),
        everywhere: Candidates::new(everywhere, services),
        cuts,
        special,
        starts,
        protocols: present().fold(Protocols::NONE, |all, (_, service)| all.and(told(service))),
    }
}

impl Destinations {
    /// Above an address the next one where anything changes for these ports.
    fn next(&self, protocol: Protocol, at: u128, ports: (u32, u32)) -> Option<u128> {
        let special = self.special.iter().copied().find(|cut| *cut > at);
        let own = self.cuts[protocol as usize].next(at, ports);
        special.into_iter().chain(own).min()
    }
}

impl Reference<'_> {
    /// As [`Survey::estimate_below`], with the service that decides.
    pub(super) fn owned_estimate(&self, packet: &Packet, machine: &Machine, end: u32) -> (Answer<Amount>, Option<u32>) {
        self.in_fractions(packet, machine, end)
    }

    /// As [`Survey::source`], of a connection that is a service's.
    pub(super) fn source_of(&self, owner: Option<u32>, packet: &Packet, machine: &Machine, action: &Action) -> Seen {
        let asked = Asked::new(packet);
        let kept = |asked: &Asked| Seen {
            source: Some(Source::Kept),
            horizon: asked.horizon(),
            facets: asked.facets(),
            asks_backend: asked.asks_backend(),
            cost: 1,
        };
        let (Some(owner), Action::Dnat(backend, port)) = (owner, action) else { return kept(&asked) };
        let service = &self.config.services()[owner as usize];
        match &service.options.source_nat {
            SourceNat::Kept => return kept(&asked),
            SourceNat::Masquerade | SourceNat::Address(_) => {}
            SourceNat::Hairpin(near) => {
                asked.backend();
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

    /// What else the machine may remember, beside nothing, when a connection comes that a service decides: of limits
    /// those that are reached.
    pub(super) fn limits(&self, owner: Option<u32>) -> SmallVec<[Memory; 3]> {
        let over = |over_rate, over_count| Memory { over_rate, over_count, ..Memory::default() };
        if !self.has_limits {
            return SmallVec::new();
        }
        let mut list = smallvec![over(Over::All, Over::All)];
        let options = owner.map(|owner| &self.config.services()[owner as usize].options);
        let limit = options.and_then(|options| options.limit);
        list.extend(limit.map(|limit| over(Over::Of(limit.rate()), Over::None)));
        let most = options.and_then(|options| options.max_connections);
        list.extend(most.map(|most| over(Over::None, Over::Of(most.count()))));
        list
    }

    /// How long a service keeps clients on their backends, in milliseconds, where it does.
    pub(super) fn sticky(&self, owner: u32) -> Option<u32> {
        self.config.services()[owner as usize].options.sticky
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

    /// For ports below `end`.
    fn in_fractions<F: Fraction>(&self, packet: &Packet, machine: &Machine, end: u32) -> (Answer<F>, Option<u32>) {
        let family = Family::of(packet.destination);
        let (destination, source) = (number(packet.destination), number(packet.source));
        let arrives = matches!(packet.direction, Direction::In(_));
        let own = &self.destinations[family as usize][usize::from(!arrives)];
        let mut horizon = Horizon { port: end, ..Horizon::FAR };
        let mut facets = Facets { protocols: own.protocols, ..Facets::NONE };
        let mut candidates: SmallVec<[u32; 8]> = SmallVec::new();
        let mut cost = 1;
        for all in own.listed.around(destination).chain([&own.everywhere]) {
            let (some, until) = all.at(packet.protocol, packet.port);
            horizon.port = horizon.port.min(until);
            candidates.extend_from_slice(some);
            cost += 1;
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut known = None;
        let mut found = None;
        for index in candidates {
            cost += 1;
            let service = &self.config.services()[index as usize];
            if !service.protocols.contains(&packet.protocol) {
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
            found = meaning::of_service(service, connection, self.hash6).map(|actions| {
                let certain = meaning::remembered(service, connection, &machine.memory);
                (index, service, certain.map_or(actions, |action| vec![(action, F::all())]))
            });
            if found.is_some() {
                break;
            }
        }
        horizon.destination = own.next(packet.protocol, destination, (packet.port.into(), horizon.port));
        let (owner, hashed, actions) = match found {
            Some((index, service, actions)) => {
                let hashed = matches!(service.algorithm, Algorithm::SourceHash(_)).then_some(u64::from(index));
                (Some(index), hashed, actions)
            }
            None => (None, None, vec![(Action::Pass, F::all())]),
        };
        let unknown = Vec::new();
        (Answer { actions, horizon, facets, hashed, in_step: None, cost, cut: false, unknown }, owner)
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
        self.in_fractions(packet, machine, Horizon::FAR.port).0
    }

    fn estimate_below(&self, packet: &Packet, machine: &Machine, end: u32) -> Answer<Amount> {
        self.in_fractions(packet, machine, end).0
    }

    fn source_below(&self, packet: &Packet, machine: &Machine, translated: &Translated, end: u32) -> Seen {
        let (answer, owner) = self.owned_estimate(packet, machine, end);
        let mut seen = self.source_of(owner, packet, machine, &translated.action);
        seen.horizon.join(answer.horizon);
        seen.facets.join(answer.facets);
        seen
    }

    fn remembered(&self, packet: &Packet, machine: &Machine) -> Option<Vec<Known>> {
        let (answer, owner) = self.owned_estimate(packet, machine, Horizon::FAR.port);
        let is_sticky = |owner: u32| self.config.services()[owner as usize].options.sticky.is_some();
        let store = |action: &Action| Store { name: format!("{owner:?} {action:?}"), data: None };
        let known = |(action, _): (Action, Amount)| {
            let stores = if owner.is_some_and(is_sticky) { vec![store(&action)] } else { Vec::new() };
            Known { action, stores, age: 0, is_stale: false }
        };
        Some(answer.actions.into_iter().map(known).collect())
    }

    fn changes_sources(&self) -> bool {
        self.config.services().iter().any(|service| service.options.source_nat != SourceNat::Kept)
    }

    fn interfaces(&self) -> Vec<Interface> {
        let all = self.config.services().iter().filter_map(|service| service.on.as_ref());
        all.flat_map(|on| on.interfaces.iter().cloned()).collect()
    }
}
