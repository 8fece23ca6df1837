//! The comparison of two parties for every packet: what is asked, and in which order.

mod held;
mod states;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::address::{address, last, number};
use crate::ir::Family;
use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Amount, Facets, Hashed, Horizon, Protocols, Survey, Translated};
use crate::trace::{Machine, Packet};

use super::clients::Clients;
use super::local::Local;
use super::{Coverage, Difference, MAX_COST, Reference, Stop, Tolerance, agree, surely_agree};
use held::Held;
use states::Returning;

/// One comparison for a part of the destinations.
pub struct Sweep<'a> {
    reference: &'a Reference<'a>,
    rules: &'a dyn Survey,
    tolerance: &'a Tolerance,
    family: Family,
    pub coverage: Coverage,
    /// Of all sweeps of this comparison.
    cost: &'a AtomicU64,
    /// What was not added to `cost` yet.
    unpaid: u64,
    clients: Clients,
    returning: Returning,
    /// Whether anything may change who a server sees.
    asks_sources: bool,
    /// Whether the ports are looked at from their other end: what goes to a port of its own was looked at.
    is_far_end: bool,
}

/// What questions have in common: how far all their answers hold.
struct Reach {
    horizon: Horizon,
    facets: Facets,
    /// Whether anything is translated, so that the port counts.
    translates: bool,
}

impl Reach {
    /// That of no question, for ports below `end`.
    fn below(end: u32) -> Reach {
        Reach { horizon: Horizon { port: end, ..Horizon::FAR }, facets: Facets::NONE, translates: false }
    }

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
    /// What is wanted.
    actions: Vec<(Action, Amount)>,
}

/// What may become of a connection, and the service that decides.
struct Ways {
    owner: Option<u32>,
    list: Vec<Translated>,
}

/// Clients with the same ways, both ends included.
struct Region {
    first: u128,
    last: u128,
    ways: Ways,
}

/// What a rule may tell a way to a server from others by, without asking which server it is.
#[derive(Clone, Copy)]
struct Kind {
    backend: u128,
    is_local: bool,
    follows: bool,
}

impl Kind {
    /// That of a destination which is none of the connection's. `None` for what goes to no other machine, or to an address
    /// of a special kind.
    fn of(way: &Translated, local: Local) -> Option<Kind> {
        let Action::Dnat(backend, _) = way.action else { return None };
        let is_special = match backend {
            IpAddr::V4(own) => own.is_loopback() || own.is_multicast() || own.is_broadcast() || own.is_unspecified(),
            IpAddr::V6(own) => own.is_loopback() || own.is_multicast() || own.is_unspecified(),
        };
        let is_local = local.has_beside(backend);
        (!is_special).then(|| Kind { backend: number(backend), is_local, follows: way.follows })
    }

    fn is_like(self, other: Kind) -> bool {
        (self.is_local, self.follows) == (other.is_local, other.follows)
    }
}

impl<'a> Sweep<'a> {
    pub fn new(
        (reference, rules): (&'a Reference<'a>, &'a dyn Survey),
        tolerance: &'a Tolerance,
        family: Family,
        cost: &'a AtomicU64,
    ) -> Sweep<'a> {
        Sweep {
            reference,
            rules,
            tolerance,
            family,
            coverage: Coverage::default(),
            cost,
            unpaid: 0,
            clients: Clients::new(family, reference.hash6()),
            returning: Returning::default(),
            asks_sources: reference.changes_sources() || rules.changes_sources(),
            is_far_end: false,
        }
    }

    /// Every packet to the destinations from `first` to `end` that comes in one of these ways, which differ in no more
    /// than the interface. Of what no test asked about, one value stands for all.
    pub fn destinations(&mut self, directions: &[Direction], first: u128, end: u128) -> Result<(), Stop> {
        let mut packet = Packet {
            protocol: Protocol::Tcp,
            source: address(self.family, 0),
            source_port: None,
            destination: address(self.family, first),
            port: 1,
            direction: directions[0].clone(),
        };
        let mut done: SmallVec<[(Protocol, Protocols); 3]> = SmallVec::new();
        for protocol in Protocol::ALL {
            // What asked nothing that tells it from this one has given its answers.
            if done.iter().any(|(other, asked)| !asked.tell_apart(*other, protocol)) {
                continue;
            }
            packet.protocol = protocol;
            let asked = self.plane(&mut packet, directions, first, end)?;
            done.push((protocol, asked));
        }
        Ok(())
    }

    /// Every destination and port of one protocol, and which protocols were told apart.
    ///
    /// An answer holds for ports up to one and for destinations up to another. Where its destinations end, its ports
    /// alone are asked again, and with them those whose answers end at the same destination.
    fn plane(
        &mut self,
        packet: &mut Packet,
        directions: &[Direction],
        first: u128,
        end: u128,
    ) -> Result<Protocols, Stop> {
        let mut asked = Protocols::NONE;
        let mut held = Held::default();
        held.until(first, (1, Horizon::FAR.port));
        while let Some((destination, ports)) = held.next(end) {
            packet.destination = address(self.family, destination);
            let mut port = ports.0;
            while port < ports.1 {
                let reach = self.cell(packet, directions, (port, ports.1))?;
                asked = asked.and(reach.facets.protocols);
                if let Some(next) = reach.horizon.destination {
                    held.until(next, (port, reach.horizon.port));
                }
                port = reach.horizon.port;
            }
        }
        Ok(asked)
    }

    /// One destination and port, for ports below another one.
    fn cell(&mut self, packet: &mut Packet, directions: &[Direction], (port, end): (u32, u32)) -> Result<Reach, Stop> {
        packet.port = port as u16;
        let mut all = self.interfaces(packet, directions, end)?;
        let next = all.horizon.port;
        if all.translates && next > port + 1 {
            // Kept, shifted and fixed ports give the same at one end of a stretch, and not at both.
            packet.port = (next - 1) as u16;
            self.is_far_end = true;
            let other = self.interfaces(packet, directions, next);
            self.is_far_end = false;
            all.join(other?);
        }
        Ok(all)
    }

    fn interfaces(&mut self, packet: &mut Packet, directions: &[Direction], end: u32) -> Result<Reach, Stop> {
        let mut all = Reach::below(end);
        for direction in directions {
            if packet.direction != *direction {
                packet.direction = direction.clone();
            }
            let one = self.machines(packet, all.horizon.port)?;
            let goes_on = one.facets.interface;
            all.join(one);
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    /// Every machine at one destination and port: first where connections go, then who the servers see.
    fn machines(&mut self, packet: &mut Packet, end: u32) -> Result<Reach, Stop> {
        let mut all = Reach::below(end);
        let mut found: SmallVec<[(Local, Vec<Region>); 1]> = SmallVec::new();
        // Whose regions those of each machine are.
        let mut fates = Local::ALL;
        for (nth, local) in Local::ALL.into_iter().enumerate() {
            fates[nth] = local.as_told(all.facets);
            if fates[nth] == local {
                let machine = local.machine(packet.destination);
                let regions = self.sources(packet, &machine, &mut all)?;
                found.push((local, regions));
            }
        }
        if !self.asks_sources {
            return Ok(all);
        }
        let mut asked = Facets::NONE;
        for (local, fate) in Local::ALL.into_iter().zip(fates) {
            // Connections may go where they go on another machine, and servers see others.
            if local.as_told(asked) != local && fate != local {
                continue;
            }
            let Some((_, regions)) = found.iter().rev().find(|(own, _)| *own <= fate) else { continue };
            for region in regions {
                asked.join(self.seen(packet, local, region, &mut all)?);
            }
        }
        all.facets.join(asked);
        Ok(all)
    }

    /// Every source at one destination and port, for ports below the horizon. Gives what may become of whom.
    fn sources(&mut self, packet: &mut Packet, machine: &Machine, all: &mut Reach) -> Result<Vec<Region>, Stop> {
        let mut regions = Vec::new();
        let mut at = Some(0);
        while let Some(source) = at.filter(|at| *at <= last(self.family)) {
            packet.source = address(self.family, source);
            let Compared { mut reach, wanted, found, ways, actions } =
                self.compare(packet, machine, all.horizon.port)?;
            let states = self.states(packet, machine, (ways.owner, &actions), reach.horizon.port)?;
            reach.join(states);
            at = reach.horizon.source.take();
            all.join(reach);
            let end = at.map_or(last(self.family), |next| next - 1);
            if self.asks_sources {
                regions.push(Region { first: source, last: end, ways });
            }
            if wanted.is_some() || found.is_some() {
                let asker = (packet.direction == Direction::Out, wanted, found);
                let hashes = self.reference.hashes(wanted);
                for client in self.clients.of(asker, &hashes, source, end) {
                    packet.source = address(self.family, client);
                    let mut own = self.compare(packet, machine, all.horizon.port)?.reach;
                    own.horizon.source = None;
                    all.join(own);
                }
            }
        }
        Ok(regions)
    }

    /// Who the servers see of some clients' connections, for every destination from the packet's own up to the horizon: each
    /// way is looked at by itself. The horizon of the port may come nearer. Gives what was asked.
    fn seen(&mut self, packet: &Packet, local: Local, region: &Region, all: &mut Reach) -> Result<Facets, Stop> {
        let mut facets = Facets::NONE;
        let first = number(packet.destination);
        let last = all.horizon.destination.map_or(last(self.family), |next| next - 1);
        let mut packet = packet.clone();
        let mut settled: SmallVec<[Kind; 4]> = SmallVec::new();
        for way in &region.ways.list {
            let kind = Kind::of(way, local).filter(|kind| !(first..=last).contains(&kind.backend));
            // What no test asked about is the same for all of a kind.
            if kind.is_some_and(|kind| settled.iter().any(|other| other.is_like(kind))) {
                continue;
            }
            let mut asks_backend = false;
            let mut destinations = Some(first);
            while let Some(destination) = destinations.filter(|at| *at <= last) {
                packet.destination = address(self.family, destination);
                let machine = local.machine(packet.destination);
                let mut next_destination = None;
                let mut sources = Some(region.first);
                while let Some(source) = sources.filter(|at| *at <= region.last) {
                    packet.source = address(self.family, source);
                    let way = (region.ways.owner, way);
                    let (one, asks) = self.compare_sources(&packet, &machine, way, all.horizon.port)?;
                    asks_backend |= asks;
                    sources = one.horizon.source;
                    next_destination = match (next_destination, one.horizon.destination) {
                        (Some(own), Some(other)) => Some(u128::min(own, other)),
                        (own, other) => own.or(other),
                    };
                    facets.join(one.facets);
                    all.horizon.port = all.horizon.port.min(one.horizon.port);
                }
                destinations = next_destination;
            }
            settled.extend(kind.filter(|_| !asks_backend));
        }
        Ok(facets)
    }

    /// How far the answer holds, and whether it is that of this way alone.
    fn compare_sources(
        &mut self,
        packet: &Packet,
        machine: &Machine,
        (owner, way): (Option<u32>, &Translated),
        end: u32,
    ) -> Result<(Reach, bool), Stop> {
        let wanted = self.reference.source_of(owner, packet, machine, &way.action);
        let found = self.rules.source_below(packet, machine, way, end);
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
        Ok((Reach { horizon, facets, translates: false }, wanted.asks_backend || found.asks_backend))
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

    /// One packet, for ports below `end`.
    fn compare(&mut self, packet: &Packet, machine: &Machine, end: u32) -> Result<Compared, Stop> {
        let (wanted, owner) = self.reference.owned_estimate(packet, machine, end);
        let found = self.rules.estimate_below(packet, machine, wanted.horizon.port);
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
                met && goes_out(&way.action) && (way.follows || !self.is_far_end)
            });
            if wanted.actions.iter().any(|(action, _)| *action == Action::Pass) {
                ways.list.push(Translated { action: Action::Pass, follows: true });
            }
        }
        Ok(Compared { reach, wanted: wanted.hashed, found: found.hashed, ways, actions: wanted.actions })
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
