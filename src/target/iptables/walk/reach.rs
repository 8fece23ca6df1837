//! Which packets a chain can do anything to: for all others it need not be walked.
//!
//! A rule can match only where its tests of the destination, the port and the protocol allow it. Where no rule of a chain
//! can match, nor one of the chains that it leads to, a packet falls off its end as it was. What else the rules ask for
//! does not matter there, so that a proof is not cut where those for other ports are.

use std::net::IpAddr;
use std::sync::OnceLock;

use smallvec::{SmallVec, smallvec};

use crate::address::{last, number};
use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::{Asked, Protocols, Side};
use crate::target::iptables::dump::{Chain, ChainId, Match, Net, Ports, Rule, RuleProtocol, Table, Target};
use crate::target::iptables::model::Negatable;
use crate::target::plane::{Area, Plane};
use crate::trace::Packet;

use super::flow::Flow;
use super::part::Part;
use super::run::{Frame, Run};

/// Chains below each other that are looked into; what lies deeper may do anything.
const MAX_DEPTH: usize = 64;

/// What a packet has in common with the one that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Its destination and port.
    Own,
    /// What connection tracking says of the first packet.
    Original,
}

/// What is reached through a chain, once it is asked.
#[derive(Debug, Default)]
pub struct Reach {
    views: [OnceLock<Option<Reached>>; 2],
}

/// Where something may happen to packets.
#[derive(Debug)]
struct Reached {
    /// By protocol.
    planes: [Plane; Protocol::ALL.len()],
    /// Those that are told apart.
    protocols: Protocols,
}

/// For each chain of a table what it reaches, where it is worth asking: where a jump leads that asks nothing about
/// destinations and ports.
pub fn of_table(table: &Table<'_>, family: Family) -> Vec<Option<Reach>> {
    let mut list: Vec<Option<Reach>> = table.chains.iter().map(|_| None).collect();
    let everything = Guard::everything(family);
    let is_neutral = |rule: &Rule<'_>| {
        [View::Own, View::Original].iter().all(|view| everything.within(rule, *view).as_ref() == Some(&everything))
    };
    let is_worth = |chain: &Chain<'_>| {
        // Most are the chains of services, which do something to whatever reaches them.
        let mut own = chain.rules.iter().filter(|rule| rule.is_for(family));
        own.next().is_some_and(|rule| !is_neutral(rule))
    };
    let jumps = table.chains.iter().flat_map(|chain| &chain.rules).filter_map(|rule| match rule.target {
        Target::Jump(to) if rule.is_for(family) => Some((rule, to.0 as usize)),
        _ => None,
    });
    for (rule, to) in jumps {
        if list[to].is_none() && is_worth(&table.chains[to]) && is_neutral(rule) {
            list[to] = Some(Reach::default());
        }
    }
    list
}

impl Reach {
    /// Whether a chain leaves a packet alone that comes to its start. Notes how far that holds.
    pub fn misses(
        &self,
        (table, chain): (&Table<'_>, ChainId),
        (packet, view): (&Packet, View),
        asked: &Asked,
    ) -> bool {
        let family = Family::of(packet.destination);
        let reached = self.views[view as usize].get_or_init(|| Reached::of(table, chain, family, view));
        let Some(Reached { planes, protocols }) = reached else { return false };
        let plane = &planes[packet.protocol as usize];
        let (inside, horizon) = plane.around(number(packet.destination), packet.port, asked.horizon().port);
        if !inside {
            asked.protocols(*protocols);
            asked.area(horizon);
        }
        !inside
    }
}

impl<'d> Run<'_, 'd, '_> {
    /// Whether a chain leaves alone what comes to its start.
    pub(super) fn passes_by(&self, table: usize, frame: &Frame<'d>) -> bool {
        let Some(asked) = self.asked.filter(|_| self.rules.is_for(self.packet)) else { return false };
        let own = self.rules.reaches.get(table).and_then(|reaches| reaches[frame.chain.0 as usize].as_ref());
        let Some(reach) = own else { return false };
        let Packet { destination, port, .. } = *self.packet;
        let is_own = |(flow, _): &(Flow<'_>, Part)| {
            flow.destination == Some(destination) && flow.port == port && flow.port_follows
        };
        let view = if frame.live.iter().all(is_own) { View::Own } else { View::Original };
        reach.misses((&self.rules.dump.tables[table], frame.chain), (self.packet, view), asked)
    }
}

impl Reached {
    /// `None` for a chain that may do something to anything, or that leads to too much.
    fn of(table: &Table<'_>, chain: ChainId, family: Family, view: View) -> Option<Reached> {
        let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
        let mut gather = Gather { table, family, view, found: Vec::new(), left: 2 * rules + MAX_DEPTH };
        if gather.chain(chain, &Guard::everything(family), 0)? {
            return None;
        }
        let told = gather.found.iter().filter_map(|guard| guard.protocol).map(Protocols::one);
        let protocols = told.fold(Protocols::NONE, Protocols::and);
        let planes = Protocol::ALL.map(|protocol| {
            let own = gather.found.iter().filter(|guard| guard.protocol.is_none_or(|own| own == protocol));
            Plane::new(own.flat_map(Guard::areas).collect())
        });
        Some(Reached { planes, protocols })
    }
}

/// What a packet has to be so that rules on the way may match it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guard {
    family: Family,
    protocol: Option<Protocol>,
    destinations: (u128, u128),
    ports: SmallVec<[(u16, u16); 1]>,
}

impl Guard {
    fn everything(family: Family) -> Guard {
        Guard { family, protocol: None, destinations: (0, last(family)), ports: smallvec![(0, u16::MAX)] }
    }

    fn areas(&self) -> impl Iterator<Item = Area> {
        self.ports.iter().map(|ports| Area { destinations: self.destinations, ports: *ports })
    }

    /// Those of them that a rule may match. `None` for none.
    fn within(&self, rule: &Rule<'_>, view: View) -> Option<Guard> {
        let is_own = view == View::Own;
        let mut own = self.clone();
        if let Some(Negatable { not: false, value: RuleProtocol::One(protocol) }) = rule.protocol {
            own.speak(protocol)?;
        }
        if let Some(Negatable { not: false, value }) = rule.destination.as_ref().filter(|_| is_own) {
            own.go_to(value)?;
        }
        for one in &rule.matches {
            match one {
                // These remember what they saw, whatever the matches behind them say.
                Match::Recent { .. } | Match::Nth { .. } => break,
                Match::Port { not: false, side: Side::Destination, ports } if is_own => {
                    own.come_to(std::slice::from_ref(ports))?;
                }
                Match::Multiport { not: false, side: Some(Side::Destination), ports } if is_own => {
                    own.come_to(ports)?;
                }
                Match::Range { not: false, side: Side::Destination, first, last } if is_own => {
                    own.lie_in(*first, *last)?;
                }
                Match::OriginalAddress { not: false, side: Side::Destination, net } => own.go_to(net)?,
                Match::OriginalPort { not: false, side: Side::Destination, ports } => {
                    own.come_to(std::slice::from_ref(ports))?;
                }
                _ => {}
            }
        }
        Some(own)
    }

    fn speak(&mut self, protocol: Protocol) -> Option<()> {
        let is_other = self.protocol.is_some_and(|own| own != protocol);
        self.protocol = Some(protocol);
        (!is_other).then_some(())
    }

    fn go_to(&mut self, net: &Net) -> Option<()> {
        match net.range() {
            Some((first, last)) => self.lie_in(first, last),
            // A mask with holes may be met anywhere.
            None => Some(()),
        }
    }

    fn lie_in(&mut self, first: IpAddr, last: IpAddr) -> Option<()> {
        if Family::of(first) == self.family && Family::of(last) == self.family {
            let own = &mut self.destinations;
            *own = (own.0.max(number(first)), own.1.min(number(last)));
        }
        (self.destinations.0 <= self.destinations.1).then_some(())
    }

    fn come_to(&mut self, wanted: &[Ports]) -> Option<()> {
        let both = |own: &(u16, u16)| {
            let own = *own;
            wanted.iter().map(move |ports| (own.0.max(ports.first), own.1.min(ports.last)))
        };
        self.ports = self.ports.iter().flat_map(both).filter(|(first, last)| first <= last).collect();
        (!self.ports.is_empty()).then_some(())
    }
}

/// Looks for the rules that do something.
struct Gather<'a, 'd> {
    table: &'a Table<'d>,
    family: Family,
    view: View,
    found: Vec<Guard>,
    /// Rules that may still be looked at.
    left: usize,
}

impl Gather<'_, '_> {
    /// Whether a chain may do something to all packets that are let in. `None` where there is too much to look at.
    fn chain(&mut self, chain: ChainId, around: &Guard, depth: usize) -> Option<bool> {
        let (table, family) = (self.table, self.family);
        for rule in table.chains[chain.0 as usize].rules.iter().filter(|rule| rule.is_for(family)) {
            self.left = self.left.checked_sub(1)?;
            if is_idle(rule) {
                continue;
            }
            let Some(own) = around.within(rule, self.view) else { continue };
            let is_whole = own == *around;
            let does_all = match rule.target {
                Target::Jump(to) | Target::Goto(to) if depth < MAX_DEPTH => self.chain(to, &own, depth + 1)?,
                _ => {
                    self.found.push(own);
                    true
                }
            };
            if does_all && is_whole {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// Whether a rule does nothing, whatever the packet is.
fn is_idle(rule: &Rule<'_>) -> bool {
    let asks = rule.source.is_some() || rule.destination.is_some() || rule.input.is_some() || rule.output.is_some();
    matches!(rule.target, Target::Next | Target::Return) && rule.matches.is_empty() && !asks
}
