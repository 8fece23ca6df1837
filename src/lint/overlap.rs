//! What earlier statements leave to a later one: nothing, or a part on which the order decides.
//!
//! What a statement matches is a product: protocols, destinations, ports, ways to arrive, clients. As pieces of that shape
//! one can be taken from another exactly. Only statements that meet in destination and port are compared.

use std::collections::BTreeMap;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use crate::address::{bits, last, range};
use crate::dispatch::{Hook, loopback, multicast, takes_part};
use crate::ir::{Config, Destination, Family, Interface, Service};
use crate::statement::balance::Protocol;

/// What is to be said of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// These take everything that it matches, ascending; empty where it matches nothing.
    Unreachable(Vec<usize>),
    /// The first one that it shares connections with which none before has, while each has others of its own; and how many more there are.
    Partial(usize, usize),
}

/// Comparisons before the search gives up: a fraction of a second.
const MAX_STEPS: usize = 3_000_000;
/// Pieces of one statement; one of more is not compared.
const MAX_PIECES: usize = 64;
/// Pieces of what is left of a statement.
const MAX_LEFT: usize = 128;
/// Earlier statements that one is compared with.
const MAX_RIVALS: usize = 256;
/// Prefixes in the `from` of a statement that is compared.
const MAX_NETS: usize = 256;
/// Names of interfaces in the program; where there are more, statements with `on` are not compared.
const MAX_INTERFACES: usize = 120;

/// A product of sets.
#[derive(Clone, Debug)]
struct Piece {
    /// A bit for each.
    protocols: u8,
    first: u128,
    last: u128,
    /// Whether the destination is one of this machine's addresses: a bit for yes, a bit for no.
    locality: u8,
    ports: (u16, u16),
    /// A bit for each interface that anyone names, for all others, and for connections that this machine opens.
    arrivals: u128,
    /// Ascending and disjoint.
    clients: Rc<[(u128, u128)]>,
}

const OWN: u8 = 1;
const FOREIGN: u8 = 2;

/// The services of which something is to be said, ascending.
pub fn overlaps(config: &Config) -> Vec<(usize, Overlap)> {
    let arrivals = Arrivals::new(config.services());
    let mut steps = MAX_STEPS;
    let mut families = Family::ALL.map(Seen::new);
    let mut told = Vec::new();
    for (number, service) in config.services().iter().enumerate() {
        let mut verdict = Verdict::default();
        for seen in &mut families {
            seen.next(number, service, &arrivals, &mut steps, &mut verdict);
        }
        if steps == 0 {
            break;
        }
        told.extend(verdict.overlap().map(|overlap| (number, overlap)));
    }
    told
}

/// What is found of one service, in both families together.
#[derive(Default)]
struct Verdict {
    is_left: bool,
    takers: Vec<usize>,
    partial: Vec<usize>,
}

impl Verdict {
    fn overlap(mut self) -> Option<Overlap> {
        let list = if self.is_left { &mut self.partial } else { &mut self.takers };
        list.sort_unstable();
        list.dedup();
        match self.is_left {
            false => Some(Overlap::Unreachable(self.takers)),
            true => self.partial.first().map(|first| Overlap::Partial(*first, self.partial.len() - 1)),
        }
    }
}

/// The statements of one family so far.
struct Seen {
    index: Index,
    /// `None` of those that are not compared.
    areas: Vec<Option<Vec<Piece>>>,
    everyone: Rc<[(u128, u128)]>,
}

impl Seen {
    fn new(family: Family) -> Seen {
        Seen { index: Index::new(family), areas: Vec::new(), everyone: Rc::new([(0, last(family))]) }
    }

    fn next(
        &mut self,
        number: usize,
        service: &Service,
        arrivals: &Arrivals,
        steps: &mut usize,
        verdict: &mut Verdict,
    ) {
        if service.body(self.index.family).is_none() {
            return self.areas.push(None);
        }
        let Some(area) = area(service, self.index.family, arrivals, &self.everyone) else {
            verdict.is_left = true;
            return self.areas.push(None);
        };
        let rivals = self.index.rivals(&area, steps);
        let is_left = !area.is_empty();
        match rivals.as_slice() {
            [] => verdict.is_left |= is_left,
            _ => self.compare(&area, &rivals, steps, verdict),
        }
        self.index.add(number as u32, &area);
        self.areas.push(Some(area));
    }

    fn compare(&self, area: &[Piece], rivals: &[u32], steps: &mut usize, verdict: &mut Verdict) {
        let mut left = area.to_vec();
        let (mut takers, mut is_exact) = (Vec::new(), rivals.len() <= MAX_RIVALS);
        for &rival in rivals.iter().take(MAX_RIVALS) {
            let Some(other) = &self.areas[rival as usize] else { continue };
            *steps = steps.saturating_sub(left.len() * other.len());
            let is_met = meet(&left, other);
            if is_met {
                left = without(left, other);
                takers.push(rival as usize);
            }
            // Whose addresses are this machine's is not known: a prefix and `local` are no mistake.
            let (one, two) = (&owned(area, self.index.family), &owned(other, self.index.family));
            if is_met && !is_within(one, two) && !is_within(two, one) {
                verdict.partial.push(rival as usize);
            }
            if left.len() > MAX_LEFT {
                is_exact = false;
                break;
            }
            if left.is_empty() {
                break;
            }
        }
        if left.is_empty() && is_exact {
            verdict.takers.extend(takers);
        } else {
            verdict.is_left = true;
        }
    }
}

/// The pieces as if every address that is written were this machine's. That it has all addresses there are nobody means.
fn owned(area: &[Piece], family: Family) -> Vec<Piece> {
    // Of a shorter prefix than /4 as of `*`.
    let is_any = area.iter().any(|piece| piece.last - piece.first >= last(family) >> 3);
    let locality = |piece: &Piece| if is_any { piece.locality } else { OWN };
    area.iter().map(|piece| Piece { locality: locality(piece), ..piece.clone() }).collect()
}

fn meet(area: &[Piece], other: &[Piece]) -> bool {
    area.iter().any(|one| other.iter().any(|two| one.meets(two)))
}

fn is_within(area: &[Piece], other: &[Piece]) -> bool {
    without(area.to_vec(), other).is_empty()
}

/// What is left of an area, as pieces that may be many more.
fn without(mut left: Vec<Piece>, other: &[Piece]) -> Vec<Piece> {
    for taken in other {
        if left.len() > MAX_LEFT {
            break;
        }
        let mut next = Vec::with_capacity(left.len());
        left.into_iter().for_each(|piece| piece.without(taken, &mut next));
        left = next;
    }
    left
}

impl Piece {
    fn meets(&self, other: &Piece) -> bool {
        self.protocols & other.protocols != 0
            && self.first <= other.last
            && other.first <= self.last
            && self.locality & other.locality != 0
            && self.ports.0 <= other.ports.1
            && other.ports.0 <= self.ports.1
            && self.arrivals & other.arrivals != 0
            && (Rc::ptr_eq(&self.clients, &other.clients) || !common(&self.clients, &other.clients).is_empty())
    }

    /// The parts of it outside `taken`: dimension by dimension what sticks out, and on with what does not.
    fn without(mut self, taken: &Piece, parts: &mut Vec<Piece>) {
        if !self.meets(taken) {
            return parts.push(self);
        }
        let part = |piece: &Piece, change: &dyn Fn(&mut Piece)| {
            let mut part = piece.clone();
            change(&mut part);
            part
        };
        if self.protocols & !taken.protocols != 0 {
            parts.push(part(&self, &|part| part.protocols &= !taken.protocols));
            self.protocols &= taken.protocols;
        }
        if self.first < taken.first {
            parts.push(part(&self, &|part| part.last = taken.first - 1));
            self.first = taken.first;
        }
        if self.last > taken.last {
            parts.push(part(&self, &|part| part.first = taken.last + 1));
            self.last = taken.last;
        }
        if self.locality & !taken.locality != 0 {
            parts.push(part(&self, &|part| part.locality &= !taken.locality));
            self.locality &= taken.locality;
        }
        if self.ports.0 < taken.ports.0 {
            parts.push(part(&self, &|part| part.ports.1 = taken.ports.0 - 1));
            self.ports.0 = taken.ports.0;
        }
        if self.ports.1 > taken.ports.1 {
            parts.push(part(&self, &|part| part.ports.0 = taken.ports.1 + 1));
            self.ports.1 = taken.ports.1;
        }
        if self.arrivals & !taken.arrivals != 0 {
            parts.push(part(&self, &|part| part.arrivals &= !taken.arrivals));
            self.arrivals &= taken.arrivals;
        }
        if !Rc::ptr_eq(&self.clients, &taken.clients) {
            let others = outside(&self.clients, &taken.clients);
            if !others.is_empty() {
                self.clients = others.into();
                parts.push(self);
            }
        }
    }
}

/// What two ascending lists of ranges have in common.
fn common(one: &[(u128, u128)], other: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let (mut list, mut at) = (Vec::new(), 0);
    for &(first, last) in one {
        while other.get(at).is_some_and(|range| range.1 < first) {
            at += 1;
        }
        let over = other[at..].iter().take_while(|range| range.0 <= last);
        list.extend(over.map(|range| (range.0.max(first), range.1.min(last))));
    }
    list
}

/// What an ascending list of ranges has beside another.
fn outside(one: &[(u128, u128)], other: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut list = Vec::new();
    for &(first, last) in one {
        let mut next = Some(first);
        for &(start, end) in other.iter().filter(|range| range.0 <= last && first <= range.1) {
            if let Some(next) = next.filter(|next| *next < start) {
                list.push((next, start - 1));
            }
            next = end.checked_add(1);
        }
        if let Some(next) = next.filter(|next| *next <= last) {
            list.push((next, last));
        }
    }
    list
}

/// Ways to arrive, as bits: one for each set of names that the program cannot tell apart.
struct Arrivals {
    /// A name for each bit.
    names: Vec<String>,
    /// Too many to be told apart.
    is_opaque: bool,
}

impl Arrivals {
    fn new(services: &[Service]) -> Arrivals {
        let mut names: Vec<String> = Vec::new();
        let mut is_opaque = false;
        let mut seen: foldhash::HashSet<&Interface> = foldhash::HashSet::default();
        for interface in services.iter().filter_map(|service| service.on.as_ref()).flat_map(|on| &on.interfaces) {
            if seen.len() > MAX_INTERFACES {
                is_opaque = true;
                break;
            }
            if seen.insert(interface) {
                names.push(match interface {
                    Interface::Exact(name) => name.clone(),
                    // No real name goes on so, and no longer prefix either.
                    Interface::Prefix(start) => format!("{start}\u{1}"),
                });
            }
        }
        names.push("\u{1}".to_owned());
        names.sort();
        names.dedup();
        Arrivals { names, is_opaque }
    }

    fn of(&self, service: &Service) -> Option<u128> {
        let named = match &service.on {
            None => (1 << self.names.len()) - 1,
            Some(_) if self.is_opaque => return None,
            Some(on) => {
                let allowed = self.names.iter().enumerate().filter(|(_, name)| on.allows(name));
                allowed.fold(0, |bits, (bit, _)| bits | 1 << bit)
            }
        };
        Some(named | u128::from(service.output) << self.names.len())
    }
}

/// What a service matches in a family; `None` where that is too much to be compared.
fn area(service: &Service, family: Family, arrivals: &Arrivals, everyone: &Rc<[(u128, u128)]>) -> Option<Vec<Piece>> {
    if Hook::ALL.into_iter().all(|hook| !takes_part(service, family, hook)) {
        return Some(Vec::new());
    }
    let clients = match &service.from {
        // The others are kept out here: they do not get to later statements.
        Some(from) if from.otherwise.is_none() => {
            let nets = from.nets.get(family);
            if nets.len() > MAX_NETS {
                return None;
            }
            let ranges: Vec<(u128, u128)> = nets.iter().map(|net| range(*net)).collect();
            if from.not { outside(everyone, &ranges).into() } else { ranges.into() }
        }
        Some(_) | None => everyone.clone(),
    };
    let arrivals = arrivals.of(service)?;
    let protocols = service.protocols.iter().fold(0, |bits, protocol| bits | bit(*protocol));
    let mut pieces = Vec::with_capacity(1);
    for destination in service.destinations(family) {
        let (ranges, locality) = addresses(destination, family);
        for (first, last, locality) in ranges.into_iter().map(|(first, last)| (first, last, locality)) {
            for ports in &service.ports {
                if pieces.len() == MAX_PIECES {
                    return None;
                }
                let clients = clients.clone();
                let ports = (ports.first(), ports.last());
                pieces.push(Piece { protocols, first, last, locality, ports, arrivals, clients });
            }
        }
        // Loopback addresses belong to every machine.
        if service.loopback && !matches!(destination, Destination::Prefix(_)) {
            let (first, last) = range(loopback(family));
            for ports in &service.ports {
                let (clients, ports) = (clients.clone(), (ports.first(), ports.last()));
                pieces.push(Piece { protocols, first, last, locality: OWN | FOREIGN, ports, arrivals, clients });
            }
        }
    }
    Some(pieces)
}

fn bit(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
        Protocol::Sctp => 4,
    }
}

/// The addresses of a destination, loopback apart where it is no prefix.
fn addresses(destination: Destination, family: Family) -> (Vec<(u128, u128)>, u8) {
    let (net, locality) = match destination {
        Destination::Prefix(net) => return (vec![range(net)], OWN | FOREIGN),
        Destination::Local => (last(family), OWN),
        Destination::Any => (last(family), OWN | FOREIGN),
    };
    let mut none: Vec<(u128, u128)> = vec![range(loopback(family)), range(multicast(family))];
    if family == Family::V4 {
        none.extend([(0, 0), (net, net)]);
    }
    none.sort_unstable();
    (outside(&[(0, net)], &none), locality)
}

/// Listeners by port; those on a range of ports apart.
#[derive(Default)]
struct Ports {
    single: BTreeMap<u16, Vec<u32>>,
    ranges: Vec<(u16, u16, u32)>,
}

impl Ports {
    fn add(&mut self, ports: (u16, u16), service: u32) {
        match ports.0 == ports.1 {
            true => self.single.entry(ports.0).or_default().push(service),
            false => self.ranges.push((ports.0, ports.1, service)),
        }
    }

    fn over(&self, ports: (u16, u16), found: &mut Vec<u32>, steps: &mut usize) {
        let before = found.len();
        found.extend(self.single.range(ports.0..=ports.1).flat_map(|(_, list)| list));
        found.extend(self.ranges.iter().filter(|range| range.0 <= ports.1 && ports.0 <= range.1).map(|range| range.2));
        *steps = steps.saturating_sub(found.len() - before + self.ranges.len());
    }
}

/// Statements by destination and port, so that those that meet are found without looking at the others.
struct Index {
    family: Family,
    /// One address and one port each.
    exact: HashMap<(u16, u128), Vec<u32>>,
    /// The same by port, for wide questions: made when one is asked.
    by_port: BTreeMap<u16, Vec<(u128, u32)>>,
    /// By prefix length, then first address.
    nets: BTreeMap<u8, BTreeMap<u128, Ports>>,
    /// Addresses of this machine, and every address.
    broad: Ports,
}

impl Index {
    fn new(family: Family) -> Index {
        Index {
            family,
            exact: HashMap::new(),
            by_port: BTreeMap::new(),
            nets: BTreeMap::new(),
            broad: Ports::default(),
        }
    }

    fn add(&mut self, service: u32, area: &[Piece]) {
        for piece in area {
            let size = piece.last - piece.first;
            let host_bits = 128 - size.leading_zeros();
            let is_net = size.checked_add(1).is_none_or(u128::is_power_of_two)
                && (host_bits == 128 || piece.first.trailing_zeros() >= host_bits || piece.first == 0);
            if size == 0 && piece.ports.0 == piece.ports.1 {
                self.exact.entry((piece.ports.0, piece.first)).or_default().push(service);
                self.by_port.entry(piece.ports.0).or_default().push((piece.first, service));
            } else if is_net && piece.locality == OWN | FOREIGN {
                let len = (bits(self.family) - host_bits.min(bits(self.family))) as u8;
                self.nets.entry(len).or_default().entry(piece.first).or_default().add(piece.ports, service);
            } else {
                self.broad.add(piece.ports, service);
            }
        }
    }

    /// Earlier statements that meet an area in destination and port, ascending.
    fn rivals(&self, area: &[Piece], steps: &mut usize) -> Vec<u32> {
        let mut found = Vec::new();
        for piece in area {
            if *steps == 0 {
                break;
            }
            self.broad.over(piece.ports, &mut found, steps);
            if piece.first == piece.last && piece.ports.0 == piece.ports.1 {
                found.extend(self.exact.get(&(piece.ports.0, piece.first)).into_iter().flatten());
            } else {
                for list in self.by_port.range(piece.ports.0..=piece.ports.1).map(|(_, list)| list) {
                    *steps = steps.saturating_sub(list.len());
                    let over = list.iter().filter(|(address, _)| (piece.first..=piece.last).contains(address));
                    found.extend(over.map(|(_, service)| *service));
                }
            }
            for (len, nets) in &self.nets {
                let host_bits = bits(self.family) - u32::from(*len);
                let floor = if host_bits == 128 { 0 } else { piece.first >> host_bits << host_bits };
                for (_, ports) in nets.range(floor..=piece.last) {
                    ports.over(piece.ports, &mut found, steps);
                    *steps = steps.saturating_sub(1);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::config;

    fn told(text: &str) -> Vec<(usize, Overlap)> {
        overlaps(&config(text))
    }

    #[test]
    fn several_statements_together_take_everything() {
        let text = "balance tcp 80-90 -> 10.0.0.1\nbalance tcp 91-100 -> 10.0.0.1\nbalance tcp 85-95 -> 10.0.0.1\n";
        assert_eq!(told(text), [(2, Overlap::Unreachable(vec![0, 1]))]);
        let text = "balance tcp 80 as a from 0.0.0.0/1 -> 10.0.0.1\nbalance tcp 80 as b from 128.0.0.0/1 -> 10.0.0.1\n\
                    balance tcp 80 as c on eth0 -> 10.0.0.1\nbalance tcp 80 as d on eth1 output -> 10.0.0.1\n";
        // Connections that this machine opens are left.
        assert_eq!(told(text), [(2, Overlap::Unreachable(vec![0, 1])), (3, Overlap::Partial(0, 1))]);
    }

    #[test]
    fn the_particular_before_the_general_is_no_overlap() {
        for text in [
            "balance tcp 203.0.113.10:80 -> 10.0.0.1\nbalance tcp 203.0.113.0/24:80 -> 10.0.0.1\nbalance tcp *:1-100 -> 10.0.0.1\n",
            "balance tcp 80 on eth0 -> 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n",
            "balance tcp 80 from 10.0.0.0/8 -> 10.0.0.1\nbalance tcp,udp 80 -> 10.0.0.1\n",
            // Whether the address is this machine's is not known.
            "balance tcp 203.0.113.10:80 -> 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n",
            "balance tcp 80 -> 10.0.0.1\nbalance tcp 203.0.113.10:80 -> 10.0.0.1\n",
            "balance tcp 203.0.113.0/24:80 on eth0 -> 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n",
            "balance tcp 80 on eth0 -> 10.0.0.1\nbalance tcp *:80 on eth0 -> 10.0.0.1\n",
            "balance tcp *:80 on eth0 -> 10.0.0.1\nbalance tcp 0.0.0.0/0:80-81 -> 10.0.0.1\n",
            // A service for what two others share comes before both.
            "balance tcp 85-90 -> 10.0.0.3\nbalance tcp 80-90 -> 10.0.0.1\nbalance tcp 85-95 -> 10.0.0.2\n",
            "balance tcp 81 on eth0 as own -> 10.0.0.3\nbalance tcp *:81 on eth0 -> 10.0.0.1\nbalance tcp 81 -> 10.0.0.2\n",
            // Loopback addresses are no part of it.
            "balance tcp *:80 -> 10.0.0.1\nbalance tcp 127.0.0.1:80 -> 10.0.0.1\n",
        ] {
            assert_eq!(told(text), [], "{text}");
        }
    }

    #[test]
    fn a_family_without_backends_takes_nothing() {
        let text = "balance tcp 80 -> 10.0.0.1\nbalance tcp 80-81 as other -> 10.0.0.2, [fd00::1]\n";
        assert_eq!(told(text), []);
        let text = "balance tcp 80-81 -> 10.0.0.1\nbalance tcp 80 as other -> 10.0.0.2, [fd00::1]\n";
        assert_eq!(told(text), []);
        let text = "balance tcp 80-81 -> 10.0.0.1\nbalance tcp 80 as other -> 10.0.0.2\n";
        assert_eq!(told(text), [(1, Overlap::Unreachable(vec![0]))]);
    }

    #[test]
    fn clients_that_are_kept_out_go_no_further() {
        let text = "balance tcp 80-81 from 10.0.0.0/8 else drop -> 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n";
        assert_eq!(told(text), [(1, Overlap::Unreachable(vec![0]))]);
        let text = "balance tcp 80 from fd00::/8 -> 10.0.0.1\n";
        assert_eq!(told(text), [(0, Overlap::Unreachable(vec![]))]);
    }

    #[test]
    fn overlaps_in_part_are_found_in_every_dimension() {
        for (one, other) in [
            ("tcp 80-90", "tcp 85-95"),
            ("tcp,udp 80", "tcp 80-81"),
            ("tcp {203.0.113.1, 203.0.113.2}:80", "tcp {203.0.113.2, 203.0.113.3}:80-81"),
            ("tcp 80 on eth0, eth1", "tcp 80 on eth1, eth2"),
            ("tcp 80 on eth*", "tcp 80 on not eth1"),
            ("tcp 80 from 10.0.0.0/8", "tcp 80 on eth0"),
            ("tcp 203.0.113.0/24:80", "tcp 203.0.113.1:80-81"),
            // What is passed on over eth0, what is for this machine on any interface, and what both match.
            ("tcp *:80 on eth0", "tcp 80"),
            ("tcp 80", "tcp *:80 on eth0"),
            ("tcp 0.0.0.0/0:80 from 10.0.0.0/8", "tcp 80"),
        ] {
            let text = format!("balance {one} as a -> 10.0.0.1\nbalance {other} as b -> 10.0.0.1\n");
            assert_eq!(told(&text), [(1, Overlap::Partial(0, 0))], "{text}");
        }
    }

    #[test]
    fn ten_thousand_statements_on_everything_are_given_up() {
        let mut text = String::new();
        for number in 0..10_000 {
            text.push_str(&format!("balance tcp {}-60000 as s{number} -> 10.0.0.1\n", 1 + number));
        }
        let start = std::time::Instant::now();
        let told = told(&text);
        assert!(!told.is_empty() && start.elapsed().as_secs() < 20, "{} in {:?}", told.len(), start.elapsed());
    }
}
