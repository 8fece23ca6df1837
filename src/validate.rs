//! Translation validation: the rules that were read back do what the program means, for every packet.
//!
//! Two parties that share no code answer for the same packets: the reference meaning, and the evaluator of a target's
//! text. Both say how far their answer holds ([`survey`](crate::survey)), so that a rule that matches too much is seen
//! as surely as one that matches too little.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashSet, HashSetExt};
use ipnet::IpNet;
use num_traits::One;

use crate::ir::hash::Hash6;
use crate::ir::share::Share;
use crate::ir::{Algorithm, Config, Destination, Family, Interface};
use crate::meaning::{self, Action, Connection, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Answer, Hashed, Horizon, Survey, number};
use crate::trace::{Machine, Packet};

/// A packet to which the two parties answer differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub packet: Packet,
    /// The addresses of this machine.
    pub machine: Machine,
    /// What the program means.
    pub wanted: Vec<(Action, Share)>,
    /// What the rules do.
    pub found: Vec<(Action, Share)>,
}

/// How much shares may differ: each backend's by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tolerance {
    Exact,
    /// `2^-32` for each decision on the way, as iptables' 31-bit probabilities allow.
    Rounded,
}

/// How many questions were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub packets: u64,
    /// The tests that were asked.
    pub cost: u64,
}

/// Why a comparison ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Differs(Box<Difference>),
    /// More than [`MAX_COST`] tests would have to be asked.
    TooLarge,
}

/// Why a text is not what its program means.
#[derive(Debug)]
pub enum Flaw {
    /// It cannot be read back.
    Unreadable(String),
    Differs(Box<Difference>),
    /// Nothing was found so far, and there is too much to compare.
    TooLarge,
}

impl From<Stop> for Flaw {
    fn from(stop: Stop) -> Flaw {
        match stop {
            Stop::Differs(difference) => Flaw::Differs(difference),
            Stop::TooLarge => Flaw::TooLarge,
        }
    }
}

/// The tests of one comparison: a few seconds.
pub const MAX_COST: u64 = 30_000_000;

/// The reference meaning as a party of the survey.
pub struct Reference<'a> {
    config: &'a Config,
    hash6: Hash6,
    /// By family, protocol, and whether this machine opens the connection.
    cuts: Vec<Cuts>,
}

/// Who may match the connections of one kind. Services are indices, ascending.
#[derive(Default)]
struct Cuts {
    /// The first addresses of stretches that no destination of these services cuts, ascending; the first is 0.
    starts: Vec<u128>,
    /// For each stretch the services that have prefixes in it.
    near: Vec<Listed>,
    /// Services of whole families and of local addresses.
    everywhere: Listed,
}

/// Services by their ports.
#[derive(Default)]
struct Listed {
    all: Vec<u32>,
    /// Of many: the first ports of stretches, ascending from 0, with the services that listen there.
    by_port: Vec<(u16, Vec<u32>)>,
}

impl Listed {
    /// Fewer services are as well asked one by one.
    const FEW: usize = 16;
    /// Stretches of ports for each service, on average, that are worth it.
    const MANY: usize = 64;

    fn new(all: Vec<u32>, config: &Config) -> Listed {
        if all.len() <= Listed::FEW {
            return Listed { all, by_port: Vec::new() };
        }
        let ports = |index: &u32| config.services()[*index as usize].ports.iter();
        let ends = all.iter().flat_map(ports).flat_map(|ports| [Some(ports.first()), ports.last().checked_add(1)]);
        let starts = BTreeSet::from_iter([0].into_iter().chain(ends.flatten()));
        let mut by_port: Vec<(u16, Vec<u32>)> = starts.into_iter().map(|start| (start, Vec::new())).collect();
        let mut left = Listed::MANY * all.len();
        for index in &all {
            for ports in ports(index) {
                let from = by_port.partition_point(|(start, _)| *start < ports.first());
                let to = by_port.partition_point(|(start, _)| *start <= ports.last());
                match left.checked_sub(to - from) {
                    Some(rest) => left = rest,
                    None => return Listed { all, by_port: Vec::new() },
                }
                by_port[from..to].iter_mut().for_each(|(_, list)| list.push(*index));
            }
        }
        Listed { all, by_port }
    }

    /// The services that may listen to a port.
    fn at(&self, port: u16, horizon: &mut Horizon) -> &[u32] {
        let next = self.by_port.partition_point(|(start, _)| *start <= port);
        let Some(own) = next.checked_sub(1) else { return &self.all };
        let (first, list) = &self.by_port[own];
        horizon.ask_port(port, *first, self.by_port.get(next).map_or(u16::MAX, |(start, _)| start - 1));
        list
    }
}

impl Cuts {
    /// The services that may match a port in a stretch, in order.
    fn candidates(&self, stretch: usize, port: u16, horizon: &mut Horizon) -> impl Iterator<Item = u32> + use<'_> {
        let (mut near, mut everywhere) = (self.near[stretch].at(port, horizon), self.everywhere.at(port, horizon));
        std::iter::from_fn(move || {
            let list = match (near, everywhere) {
                ([one, ..], [other, ..]) if other < one => &mut everywhere,
                ([], _) => &mut everywhere,
                (_, _) => &mut near,
            };
            let (first, rest) = list.split_first()?;
            *list = rest;
            Some(*first)
        })
    }
}

/// The place of a kind of connections in [`Reference::cuts`].
fn kind(family: Family, protocol: Protocol, direction: &Direction) -> usize {
    (family as usize * Protocol::ALL.len() + protocol as usize) * 2 + usize::from(*direction == Direction::Out)
}

/// The first and the last address of a prefix, in host order.
fn range(net: IpNet) -> (u128, u128) {
    (number(net.network()), number(net.broadcast()))
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(number as u32).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

/// The last address of a family.
fn last(family: Family) -> u128 {
    match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    }
}

/// Stretches that the rules on loopback, multicast and broadcast cut.
fn special(family: Family) -> Vec<(u128, u128)> {
    let nets: &[&str] = match family {
        Family::V4 => &["0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"],
        Family::V6 => &["::1/128", "ff00::/8"],
    };
    nets.iter().map(|net| range(net.parse().expect("a prefix"))).collect()
}

impl<'a> Reference<'a> {
    pub fn new(config: &'a Config, hash6: Hash6) -> Reference<'a> {
        let mut reference = Reference { config, hash6, cuts: Vec::new() };
        for family in Family::ALL {
            for protocol in Protocol::ALL {
                for out in [false, true] {
                    reference.cuts.push(reference.cut(family, protocol, out));
                }
            }
        }
        reference
    }

    fn cut(&self, family: Family, protocol: Protocol, out: bool) -> Cuts {
        let services = (0u32..).zip(self.config.services()).filter(|(_, service)| {
            service.body(family).is_some() && service.protocols.contains(&protocol) && (service.output || !out)
        });
        let mut ranges: Vec<(u128, u128, u32)> = Vec::new();
        let mut everywhere = Vec::new();
        for (index, service) in services {
            let mut whole = false;
            for &wanted in &service.destinations {
                match wanted {
                    Destination::Local | Destination::Any => whole = true,
                    Destination::Prefix(net) if Family::of_net(net) != family => {}
                    Destination::Prefix(net) if net.prefix_len() == 0 => whole = true,
                    Destination::Prefix(net) => {
                        let (first, end) = range(net);
                        ranges.push((first, end, index));
                    }
                }
            }
            everywhere.extend(whole.then_some(index));
        }
        let ends = |first: u128, end: u128| [Some(first), end.checked_add(1).filter(|next| *next <= last(family))];
        let cuts = ranges.iter().map(|(first, end, _)| (*first, *end)).chain(special(family));
        let mut starts: Vec<u128> =
            [0].into_iter().chain(cuts.flat_map(|(first, end)| ends(first, end)).flatten()).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut near = vec![Vec::new(); starts.len()];
        for (first, end, index) in ranges {
            let from = starts.partition_point(|start| *start < first);
            let to = starts.partition_point(|start| *start <= end);
            // A service may be in both lists: it gives the same answer twice, or its clients go on twice.
            near[from..to].iter_mut().for_each(|list: &mut Vec<u32>| {
                if list.last() != Some(&index) {
                    list.push(index);
                }
            });
        }
        let near = near.into_iter().map(|list| Listed::new(list, self.config)).collect();
        Cuts { starts, near, everywhere: Listed::new(everywhere, self.config) }
    }

    /// The source hashes of the program.
    fn hashes(&self) -> Vec<crate::ir::hash::SourceHash> {
        let mut list = Vec::new();
        for service in self.config.services() {
            if let Algorithm::SourceHash(hash) = service.algorithm
                && !list.contains(&hash)
            {
                list.push(hash);
            }
        }
        list
    }
}

impl Survey for Reference<'_> {
    fn answer(&self, packet: &Packet, machine: &Machine) -> Answer {
        let family = Family::of(packet.destination);
        let (destination, source) = (number(packet.destination), number(packet.source));
        let cuts = &self.cuts[kind(family, packet.protocol, &packet.direction)];
        let stretch = cuts.starts.partition_point(|start| *start <= destination) - 1;
        let mut horizon = Horizon { destination: cuts.starts.get(stretch + 1).copied(), ..Horizon::FAR };
        let connection = Connection {
            protocol: packet.protocol,
            source: packet.source,
            destination: packet.destination,
            port: packet.port,
            direction: packet.direction.clone(),
        };
        let mut cost = 1;
        for index in cuts.candidates(stretch, packet.port, &mut horizon) {
            cost += 1;
            let service = &self.config.services()[index as usize];
            horizon.local |= service.destinations.contains(&Destination::Local);
            horizon.interface |= service.on.is_some();
            for ports in &service.ports {
                horizon.ask_port(packet.port, ports.first(), ports.last());
            }
            if !meaning::listens(service, &connection, &machine.local) {
                continue;
            }
            if let Some(from) = &service.from {
                for &net in from.nets.get(family) {
                    let (first, end) = range(net);
                    horizon.ask_source(source, first, end);
                }
            }
            if let Some(shares) = meaning::of_service(service, &connection, self.hash6) {
                let hashed = matches!(service.algorithm, Algorithm::SourceHash(_)).then_some(u64::from(index));
                return Answer { actions: shares, horizon, hashed, cost };
            }
        }
        Answer { actions: vec![(Action::Pass, Share::one())], horizon, hashed: None, cost }
    }

    fn interfaces(&self) -> Vec<Interface> {
        let all = self.config.services().iter().filter_map(|service| service.on.as_ref());
        all.flat_map(|on| on.interfaces.iter().cloned()).collect()
    }
}

/// Compares the two for every packet of the families. The error is the first packet where they differ, or that there is too much to compare.
pub fn validate(
    reference: &Reference<'_>,
    rules: &dyn Survey,
    families: &[Family],
    tolerance: &Tolerance,
) -> Result<Coverage, Stop> {
    let mut sweep = Sweep {
        reference,
        rules,
        tolerance,
        coverage: Coverage::default(),
        clients: Vec::new(),
        tried: HashSet::new(),
    };
    let interfaces = representatives(reference.interfaces().into_iter().chain(rules.interfaces()));
    let arriving: Vec<Direction> = interfaces.iter().cloned().map(Direction::In).collect();
    for &family in families {
        sweep.clients = clients(reference, family);
        for protocol in Protocol::ALL {
            for directions in [arriving.as_slice(), &[Direction::Out]] {
                sweep.destinations(family, protocol, directions)?;
            }
        }
    }
    Ok(sweep.coverage)
}

/// Names of interfaces such that every test answers for each as for one of these.
fn representatives(interfaces: impl Iterator<Item = Interface>) -> BTreeSet<String> {
    // Neither is the start of a real name that a test may be about.
    let mut names = BTreeSet::from(["\u{1}".to_owned()]);
    for interface in interfaces {
        match interface {
            Interface::Exact(name) => {
                names.insert(name);
            }
            Interface::Prefix(start) => {
                names.insert(format!("{start}\u{1}"));
                names.insert(start);
            }
        }
    }
    names
}

/// Clients of a hash that are tried where all of its buckets were tried already, with another port or destination.
const FEW_CLIENTS: usize = 7;

/// What belongs to this machine.
#[derive(Clone, Copy)]
enum Local {
    Nothing,
    /// The packet's destination alone: backends are elsewhere.
    Destination,
    /// Every address, those of the backends too.
    Everything,
}

impl Local {
    fn machine(self, destination: IpAddr) -> Machine {
        // No machine has a multicast address.
        const UNICAST: [&str; 11] = [
            "0.0.0.0/1",
            "128.0.0.0/2",
            "192.0.0.0/3",
            "::/1",
            "8000::/2",
            "c000::/3",
            "e000::/4",
            "f000::/5",
            "f800::/6",
            "fc00::/7",
            "fe00::/8",
        ];
        let local = match self {
            Local::Nothing => Vec::new(),
            Local::Destination if destination.is_multicast() => Vec::new(),
            Local::Destination => vec![destination.into()],
            Local::Everything => UNICAST.iter().map(|net| net.parse().expect("a prefix")).collect(),
        };
        Machine { local }
    }
}

/// For each source hash of the program, a client for every bucket.
fn clients(reference: &Reference<'_>, family: Family) -> Vec<u128> {
    let mut list = Vec::new();
    for hash in reference.hashes() {
        let buckets = hash.levels.buckets() as usize;
        let mut found: Vec<Option<u128>> = vec![None; buckets];
        let mut missing = buckets;
        // Far more tries than buckets: the chance to miss one is nil, and it would only be tested less.
        for nth in 1..64 * buckets as u128 {
            let client = match family {
                Family::V4 => nth.wrapping_mul(2_654_435_761) & u128::from(u32::MAX),
                Family::V6 => nth.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            };
            let bucket = hash.bucket(address(family, client), reference.hash6) as usize;
            if found[bucket].is_none() {
                found[bucket] = Some(client);
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        list.extend(found.into_iter().flatten());
    }
    list.sort_unstable();
    list.dedup();
    list
}

struct Sweep<'a> {
    reference: &'a Reference<'a>,
    rules: &'a dyn Survey,
    tolerance: &'a Tolerance,
    coverage: Coverage,
    /// Sources that between them have every bucket of every hash.
    clients: Vec<u128>,
    /// Hashes of which every bucket was tried: by family and direction, and by the statement and the rule that ask.
    tried: HashSet<(Family, bool, Hashed, Hashed)>,
}

impl Sweep<'_> {
    fn destinations(&mut self, family: Family, protocol: Protocol, directions: &[Direction]) -> Result<(), Stop> {
        let mut at = Some(0);
        while let Some(destination) = at.filter(|at| *at <= last(family)) {
            let mut packet = Packet {
                protocol,
                source: address(family, 0),
                source_port: None,
                destination: address(family, destination),
                port: 1,
                direction: Direction::Out,
            };
            at = self.directions(&mut packet, directions)?.destination;
        }
        Ok(())
    }

    /// Every interface and every machine at one destination, as far as anyone asks for them.
    fn directions(&mut self, packet: &mut Packet, directions: &[Direction]) -> Result<Horizon, Stop> {
        let mut all = Horizon::FAR;
        for direction in directions {
            packet.direction.clone_from(direction);
            let mut own = Horizon::FAR;
            for local in [Local::Nothing, Local::Destination, Local::Everything] {
                own.join(self.ports(packet, &local.machine(packet.destination))?);
                if !own.local {
                    break;
                }
            }
            all.join(own);
            if !own.interface {
                break;
            }
        }
        Ok(all)
    }

    /// Every port at one destination.
    fn ports(&mut self, packet: &mut Packet, machine: &Machine) -> Result<Horizon, Stop> {
        let mut all = Horizon::FAR;
        let mut port = 1u32;
        while let Ok(number) = u16::try_from(port) {
            packet.port = number;
            let (horizon, translated) = self.sources(packet, machine)?;
            all.join(horizon);
            if translated && horizon.port > port + 1 {
                // Kept, shifted and fixed ports give the same at one end of a stretch, and not at both.
                packet.port = (horizon.port - 1) as u16;
                all.join(self.sources(packet, machine)?.0);
            }
            port = horizon.port;
        }
        Ok(all)
    }

    /// Every source at one destination and port, and whether any is translated.
    fn sources(&mut self, packet: &mut Packet, machine: &Machine) -> Result<(Horizon, bool), Stop> {
        let family = Family::of(packet.destination);
        let (mut all, mut any) = (Horizon::FAR, false);
        let mut at = Some(0);
        while let Some(source) = at.filter(|at| *at <= last(family)) {
            packet.source = address(family, source);
            let Compared { horizon, wanted, found, translated } = self.compare(packet, machine)?;
            all.join(horizon);
            any |= translated;
            if wanted.is_some() || found.is_some() {
                let end = horizon.source.unwrap_or(u128::MAX);
                let from = self.clients.partition_point(|client| *client < source);
                let to = self.clients.partition_point(|client| *client < end);
                let out = packet.direction == Direction::Out;
                let first = to > from && self.tried.insert((family, out, wanted, found));
                let step = if first { 1 } else { ((to - from) / FEW_CLIENTS).max(1) };
                for index in (from..to).step_by(step) {
                    packet.source = address(family, self.clients[index]);
                    let own = self.compare(packet, machine)?;
                    all.join(own.horizon);
                    any |= own.translated;
                }
            }
            at = horizon.source;
        }
        Ok((all, any))
    }

    fn compare(&mut self, packet: &Packet, machine: &Machine) -> Result<Compared, Stop> {
        self.coverage.packets += 1;
        if self.coverage.cost > MAX_COST {
            return Err(Stop::TooLarge);
        }
        let wanted = self.reference.answer(packet, machine);
        let found = self.rules.answer(packet, machine);
        if !agree(&wanted.actions, &found.actions, self.tolerance) {
            return Err(Stop::Differs(Box::new(Difference {
                packet: packet.clone(),
                machine: machine.clone(),
                wanted: wanted.actions,
                found: found.actions,
            })));
        }
        self.coverage.cost += wanted.cost + found.cost;
        let mut horizon = wanted.horizon;
        horizon.join(found.horizon);
        let ahead = |next: Option<u128>, at: IpAddr| next.is_none_or(|next| next > number(at));
        assert!(
            horizon.port > u32::from(packet.port)
                && ahead(horizon.destination, packet.destination)
                && ahead(horizon.source, packet.source),
            "a horizon lies ahead: {horizon:?} of {packet}"
        );
        let translated =
            wanted.actions.iter().any(|(action, _)| matches!(action, Action::Dnat(..) | Action::Redirect(_)));
        Ok(Compared { horizon, wanted: wanted.hashed, found: found.hashed, translated })
    }
}

/// What both parties say of one packet.
struct Compared {
    horizon: Horizon,
    wanted: Hashed,
    found: Hashed,
    /// Whether it may get another port.
    translated: bool,
}

/// Whether two distributions are one, up to the tolerance.
fn agree(wanted: &[(Action, Share)], found: &[(Action, Share)], tolerance: &Tolerance) -> bool {
    wanted.len() == found.len()
        && wanted.iter().zip(found).all(|((wanted_action, wanted_share), (action, share))| {
            wanted_action == action
                && match tolerance {
                    // Comparing fractions as such divides again and again.
                    Tolerance::Exact => {
                        (wanted_share.numer(), wanted_share.denom()) == (share.numer(), share.denom())
                            || wanted_share.numer() * share.denom() == share.numer() * wanted_share.denom()
                    }
                    // |a/b - c/d| <= n / 2^32, without bringing anything to lowest terms.
                    Tolerance::Rounded => {
                        let (one, other) = (wanted_share.numer() * share.denom(), share.numer() * wanted_share.denom());
                        let apart = if one > other { one - other } else { other - one };
                        (apart << 32u32) <= wanted_share.denom() * share.denom() * wanted.len()
                    }
                }
        })
}

#[cfg(test)]
mod tests;
