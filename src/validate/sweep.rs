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

    fn machines(&mut self, packet: &mut Packet, end: u32) -> Result<Reach, Stop> {
        let mut all = Reach::below(end);
        for local in Local::ALL {
            let machine = &local.machine(packet.destination);
            let one = self.sources(packet, local, machine, all.horizon.port)?;
            let goes_on = one.facets.local;
            all.join(one);
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    /// Every source at one destination and port. The horizon is that of the destination and the port.
    fn sources(&mut self, packet: &mut Packet, local: Local, machine: &Machine, end: u32) -> Result<Reach, Stop> {
        let mut all = Reach::below(end);
        let mut at = Some(0);
        while let Some(source) = at.filter(|at| *at <= last(self.family)) {
            packet.source = address(self.family, source);
            let Compared { mut reach, wanted, found, ways, actions } =
                self.compare(packet, machine, all.horizon.port)?;
            let states = self.states(packet, machine, (ways.owner, &actions), reach.horizon.port)?;
            reach.join(states);
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
                    let mut own = self.compare(packet, machine, all.horizon.port)?.reach;
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
        let mut all = Reach::below(horizon.port);
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
                    let one = self.compare_sources(&packet, &machine, (ways.owner, way), all.horizon.port)?;
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
        (owner, way): (Option<u32>, &Translated),
        end: u32,
    ) -> Result<Reach, Stop> {
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
