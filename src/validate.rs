//! Translation validation: the rules that were read back do what the program means, for every packet.
//!
//! Two parties that share no code answer for the same packets: the reference meaning, and the evaluator of a target's
//! text. Both say how far their answer holds ([`survey`](crate::survey)), so that a rule that matches too much is seen
//! as surely as one that matches too little.

mod clients;
mod reference;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use num_traits::ToPrimitive;
use smallvec::SmallVec;

use crate::address::{address, last, number};
use crate::ir::share::Share;
use crate::ir::{Family, Interface};
use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Amount, Facets, Hashed, Horizon, Protocols, Survey, Translated};
use crate::trace::{Machine, Packet, Source};

use clients::Clients;
pub use reference::Reference;

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
    /// Where they differ in who a server sees alone: which server, and who it sees by the program and by the rules.
    pub seen: Option<(Action, Source, Option<Source>)>,
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

/// Compares the two for every packet of the families. The error is the first packet where they differ, or that there is too much to compare.
pub fn validate(
    reference: &Reference<'_>,
    rules: &dyn Survey,
    families: &[Family],
    tolerance: &Tolerance,
) -> Result<Coverage, Stop> {
    let interfaces = representatives(reference.interfaces().into_iter().chain(rules.interfaces()));
    let directions: Vec<Direction> = interfaces.into_iter().map(Direction::In).chain([Direction::Out]).collect();
    let asks_sources = reference.changes_sources() || rules.changes_sources();
    let cost = AtomicU64::new(0);
    let mut coverage = Coverage::default();
    for &family in families {
        let sweep = |(first, end)| {
            let mut sweep = Sweep {
                reference,
                rules,
                tolerance,
                family,
                coverage: Coverage::default(),
                cost: &cost,
                unpaid: 0,
                clients: Clients::new(family, reference.hash6()),
                asks_sources,
            };
            let (arriving, leaving) = directions.split_at(directions.len() - 1);
            sweep.destinations(arriving, first, end)?;
            sweep.destinations(leaving, first, end)?;
            Ok(sweep.coverage)
        };
        let parts = parts(reference.starts(family), last(family));
        let results: Vec<Result<Coverage, Stop>> = match parts.as_slice() {
            [only] => vec![sweep(*only)],
            parts => std::thread::scope(|scope| {
                let threads: Vec<_> = parts.iter().map(|&part| scope.spawn(move || sweep(part))).collect();
                threads.into_iter().map(|thread| thread.join().expect("a sweep does not panic")).collect()
            }),
        };
        // A difference says more than that there was too much to look for others.
        let differs = |result: &&Result<Coverage, Stop>| matches!(result, Err(Stop::Differs(_)));
        if let Some(Err(stop)) = results.iter().find(differs) {
            return Err(stop.clone());
        }
        for result in results {
            let part = result?;
            coverage.packets += part.packets;
            coverage.cost += part.cost;
        }
    }
    Ok(coverage)
}

/// Threads of one comparison.
const THREADS: usize = 2;

/// Fewer stretches of destinations are not worth a thread.
const MIN_STRETCHES: usize = 256;

/// Cuts the destinations into parts with as many stretches each; both ends are included.
fn parts(starts: &[u128], last: u128) -> Vec<(u128, u128)> {
    let count = if starts.len() < MIN_STRETCHES { 1 } else { THREADS };
    let start = |part: usize| starts[part * starts.len() / count];
    (0..count).map(|part| (start(part), if part + 1 < count { start(part + 1) - 1 } else { last })).collect()
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
    const ALL: [Local; 3] = [Local::Nothing, Local::Destination, Local::Everything];

    fn machine(self, destination: IpAddr) -> Machine {
        let local = match self {
            Local::Nothing => Vec::new(),
            Local::Destination if destination.is_multicast() => Vec::new(),
            Local::Destination => vec![destination.into()],
            Local::Everything => UNICAST.to_vec(),
        };
        Machine { local }
    }
}

/// No machine has a multicast address.
const UNICAST: [IpNet; 11] = {
    const fn v4(first: u8, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(first, 0, 0, 0), length))
    }
    const fn v6(first: u16, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
    }
    [
        v4(0, 1),
        v4(128, 2),
        v4(192, 3),
        v6(0, 1),
        v6(0x8000, 2),
        v6(0xc000, 3),
        v6(0xe000, 4),
        v6(0xf000, 5),
        v6(0xf800, 6),
        v6(0xfc00, 7),
        v6(0xfe00, 8),
    ]
};

struct Sweep<'a> {
    reference: &'a Reference<'a>,
    rules: &'a dyn Survey,
    tolerance: &'a Tolerance,
    family: Family,
    coverage: Coverage,
    /// Of all sweeps of this comparison.
    cost: &'a AtomicU64,
    /// What was not added to `cost` yet.
    unpaid: u64,
    clients: Clients,
    /// Whether anything may change who a server sees.
    asks_sources: bool,
}

/// What questions have in common: how far all their answers hold.
struct Reach {
    horizon: Horizon,
    facets: Facets,
    /// Whether anything is translated, so that the port counts.
    translates: bool,
}

impl Reach {
    const FAR: Reach = Reach { horizon: Horizon::FAR, facets: Facets::NONE, translates: false };

    fn join(&mut self, other: Reach) {
        self.horizon.join(other.horizon);
        self.facets.join(other.facets);
        self.translates |= other.translates;
    }
}

/// What a comparison found.
struct Compared {
    reach: Reach,
    wanted: Hashed,
    found: Hashed,
    ways: Ways,
}

/// What may become of a connection, and the service that decides.
struct Ways {
    owner: Option<u32>,
    list: Vec<Translated>,
}

impl Sweep<'_> {
    /// Every destination from `first` to `end`, for packets that come alike but for the interface.
    fn destinations(&mut self, directions: &[Direction], first: u128, end: u128) -> Result<(), Stop> {
        let mut packet = Packet {
            protocol: Protocol::Tcp,
            source: address(self.family, 0),
            source_port: None,
            destination: address(self.family, first),
            port: 1,
            direction: directions[0].clone(),
        };
        let mut at = Some(first);
        while let Some(destination) = at.filter(|at| *at <= end) {
            packet.destination = address(self.family, destination);
            at = self.destination(&mut packet, directions)?.destination;
        }
        Ok(())
    }

    /// Everything else at one destination: the first value of what no test asked about stands for all of them.
    fn destination(&mut self, packet: &mut Packet, directions: &[Direction]) -> Result<Horizon, Stop> {
        let mut all = Reach::FAR;
        let mut done: SmallVec<[(Protocol, Protocols); 3]> = SmallVec::new();
        for protocol in Protocol::ALL {
            // What asked nothing that tells it from this one has given its answers.
            if done.iter().any(|(other, asked)| !asked.tell_apart(*other, protocol)) {
                continue;
            }
            packet.protocol = protocol;
            let one = self.interfaces(packet, directions)?;
            done.push((protocol, one.facets.protocols));
            all.join(one);
        }
        Ok(all.horizon)
    }

    fn interfaces(&mut self, packet: &mut Packet, directions: &[Direction]) -> Result<Reach, Stop> {
        let mut all = Reach::FAR;
        for direction in directions {
            if packet.direction != *direction {
                packet.direction = direction.clone();
            }
            let one = self.machines(packet)?;
            let goes_on = one.facets.interface;
            all.join(one);
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    fn machines(&mut self, packet: &mut Packet) -> Result<Reach, Stop> {
        let mut all = Reach::FAR;
        for local in Local::ALL {
            let one = self.ports(packet, local)?;
            let goes_on = one.facets.local;
            all.join(one);
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    /// Every port at one destination.
    fn ports(&mut self, packet: &mut Packet, local: Local) -> Result<Reach, Stop> {
        let mut all = Reach::FAR;
        let machine = &local.machine(packet.destination);
        let mut port = 1u32;
        while let Ok(number) = u16::try_from(port) {
            packet.port = number;
            let mut one = self.sources(packet, local, machine)?;
            let next = std::mem::replace(&mut one.horizon.port, Horizon::FAR.port);
            if one.translates && next > port + 1 {
                // Kept, shifted and fixed ports give the same at one end of a stretch, and not at both.
                packet.port = (next - 1) as u16;
                let mut other = self.sources(packet, local, machine)?;
                other.horizon.port = Horizon::FAR.port;
                all.join(other);
            }
            all.join(one);
            port = next;
        }
        Ok(all)
    }

    /// Every source at one destination and port. The horizon is that of the destination and the port.
    fn sources(&mut self, packet: &mut Packet, local: Local, machine: &Machine) -> Result<Reach, Stop> {
        let mut all = Reach::FAR;
        let mut at = Some(0);
        while let Some(source) = at.filter(|at| *at <= last(self.family)) {
            packet.source = address(self.family, source);
            let Compared { mut reach, wanted, found, ways } = self.compare(packet, machine)?;
            if self.asks_sources {
                all.join(self.seen(packet, local, ways, reach.horizon)?);
            }
            at = reach.horizon.source.take();
            all.join(reach);
            if wanted.is_some() || found.is_some() {
                let end = at.map_or(last(self.family), |next| next - 1);
                let asker = (packet.direction == Direction::Out, wanted, found);
                let hashes = self.reference.hashes(wanted);
                for client in self.clients.of(asker, &hashes, source, end) {
                    packet.source = address(self.family, client);
                    let mut own = self.compare(packet, machine)?.reach;
                    own.horizon.source = None;
                    all.join(own);
                }
            }
        }
        Ok(all)
    }

    /// Who the servers see, for every destination and source from the packet's own up to a horizon: each way is looked at
    /// by itself. The horizon of the answer is that of the port.
    fn seen(&mut self, packet: &Packet, local: Local, ways: Ways, horizon: Horizon) -> Result<Reach, Stop> {
        let mut all = Reach::FAR;
        let end = |next: Option<u128>| next.map_or(last(self.family), |next| next - 1);
        let (last_destination, last_source) = (end(horizon.destination), end(horizon.source));
        let mut packet = packet.clone();
        let (first_destination, first_source) = (number(packet.destination), number(packet.source));
        for way in &ways.list {
            let mut destinations = Some(first_destination);
            while let Some(destination) = destinations.filter(|at| *at <= last_destination) {
                packet.destination = address(self.family, destination);
                let machine = local.machine(packet.destination);
                let mut next_destination = None;
                let mut sources = Some(first_source);
                while let Some(source) = sources.filter(|at| *at <= last_source) {
                    packet.source = address(self.family, source);
                    let one = self.compare_sources(&packet, &machine, ways.owner, way)?;
                    sources = one.horizon.source;
                    next_destination = match (next_destination, one.horizon.destination) {
                        (Some(own), Some(other)) => Some(u128::min(own, other)),
                        (own, other) => own.or(other),
                    };
                    all.facets.join(one.facets);
                    all.horizon.port = all.horizon.port.min(one.horizon.port);
                }
                destinations = next_destination;
            }
        }
        Ok(all)
    }

    fn compare_sources(
        &mut self,
        packet: &Packet,
        machine: &Machine,
        owner: Option<u32>,
        way: &Translated,
    ) -> Result<Reach, Stop> {
        let wanted = self.reference.source_of(owner, packet, machine, &way.action);
        let found = self.rules.source(packet, machine, way);
        self.pay(wanted.cost + found.cost)?;
        if found.source != wanted.source {
            let wanted = wanted.source.expect("the meaning always tells");
            return Err(Stop::Differs(Box::new(Difference {
                packet: packet.clone(),
                machine: machine.clone(),
                wanted: Vec::new(),
                found: Vec::new(),
                seen: Some((way.action.clone(), wanted, found.source)),
            })));
        }
        let mut horizon = wanted.horizon;
        horizon.join(found.horizon);
        let mut facets = wanted.facets;
        facets.join(found.facets);
        Ok(Reach { horizon, facets, translates: false })
    }

    /// Adds to the cost of all. The error is that there was too much to do.
    fn pay(&mut self, cost: u64) -> Result<(), Stop> {
        const PAYMENT: u64 = 1024;
        self.coverage.cost += cost;
        self.unpaid += cost;
        if self.unpaid >= PAYMENT {
            let paid = std::mem::take(&mut self.unpaid);
            if self.cost.fetch_add(paid, Ordering::Relaxed) > MAX_COST {
                return Err(Stop::TooLarge);
            }
        }
        Ok(())
    }

    fn compare(&mut self, packet: &Packet, machine: &Machine) -> Result<Compared, Stop> {
        let (wanted, owner) = self.reference.owned_estimate(packet, machine);
        let found = self.rules.estimate(packet, machine);
        let mut cost = wanted.cost + found.cost;
        if !surely_agree(&wanted.actions, &found.actions, self.tolerance) {
            cost += self.decide(packet, machine)?;
        }
        self.coverage.packets += 1;
        self.pay(cost)?;
        let mut horizon = wanted.horizon;
        horizon.join(found.horizon);
        let ahead = |next: Option<u128>, at: IpAddr| next.is_none_or(|next| next > number(at));
        assert!(
            horizon.port > u32::from(packet.port)
                && ahead(horizon.destination, packet.destination)
                && ahead(horizon.source, packet.source),
            "a horizon lies ahead: {horizon:?} of {packet}"
        );
        let mut facets = wanted.facets;
        facets.join(found.facets);
        let translates =
            wanted.actions.iter().any(|(action, _)| matches!(action, Action::Dnat(..) | Action::Redirect(_)));
        let reach = Reach { horizon, facets, translates };
        let mut ways = Ways { owner, list: Vec::new() };
        if self.asks_sources {
            let goes_out = |action: &Action| match action {
                Action::Dnat(..) | Action::Pass => true,
                Action::Redirect(_) => packet.direction == Direction::Out,
                Action::Drop | Action::Reject => false,
            };
            // What a hash gives to this client alone, others have too.
            let all = translates.then(|| owner.map(|owner| self.reference.translations(owner, packet))).flatten();
            ways.list = all.unwrap_or_default();
            ways.list.retain(|way| {
                let met = wanted.hashed.is_some() || wanted.actions.iter().any(|(action, _)| *action == way.action);
                met && goes_out(&way.action)
            });
            if wanted.actions.iter().any(|(action, _)| *action == Action::Pass) {
                ways.list.push(Translated { action: Action::Pass, follows: true });
            }
        }
        Ok(Compared { reach, wanted: wanted.hashed, found: found.hashed, ways })
    }

    /// What estimates leave open, exactly. Gives what it cost.
    fn decide(&self, packet: &Packet, machine: &Machine) -> Result<u64, Stop> {
        let wanted = self.reference.answer(packet, machine);
        let found = self.rules.answer(packet, machine);
        match agree(&wanted.actions, &found.actions, self.tolerance) {
            true => Ok(wanted.cost + found.cost),
            false => Err(Stop::Differs(Box::new(Difference {
                packet: packet.clone(),
                machine: machine.clone(),
                wanted: wanted.actions,
                found: found.actions,
                seen: None,
            }))),
        }
    }
}

/// Whether two distributions are one for certain, up to the tolerance.
fn surely_agree(wanted: &[(Action, Amount)], found: &[(Action, Amount)], tolerance: &Tolerance) -> bool {
    let is_same = |wanted: Amount, found: Amount, parts| match tolerance {
        Tolerance::Exact => wanted.surely_is(found),
        Tolerance::Rounded => wanted.is_surely_near(found, parts),
    };
    wanted.len() == found.len()
        && wanted.iter().zip(found).all(|((wanted_action, own), (action, share))| {
            wanted_action == action && is_same(*own, *share, wanted.len())
        })
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
                    Tolerance::Rounded => is_near(wanted_share, share, wanted.len()),
                }
        })
}

/// `|a/b - c/d| <= n / 2^32`, exactly.
fn is_near(one: &Share, other: &Share, n: usize) -> bool {
    // A ratio of two doubles is off by less than this, which settles all but the nearest cases.
    const DOUBT: f64 = 1e-14;
    let value = |share: &Share| {
        let (numerator, denominator) = (share.numer().to_f64()?, share.denom().to_f64()?);
        denominator.is_finite().then(|| numerator / denominator)
    };
    let limit = n as f64 / 4_294_967_296.0;
    if let (Some(one), Some(other)) = (value(one), value(other)) {
        let apart = (one - other).abs();
        if apart + DOUBT < limit {
            return true;
        }
        if apart > limit + DOUBT {
            return false;
        }
    }
    // Without bringing anything to lowest terms.
    let (one_part, other_part) = (one.numer() * other.denom(), other.numer() * one.denom());
    let apart = if one_part > other_part { one_part - other_part } else { other_part - one_part };
    (apart << 32u32) <= one.denom() * other.denom() * n
}

#[cfg(test)]
pub(crate) mod tests;
