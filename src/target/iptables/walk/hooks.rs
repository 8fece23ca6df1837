//! The order of tables and chains on the way of a connection's first packet.

use std::net::{IpAddr, Ipv4Addr};

use smallvec::smallvec;

use crate::meaning::{Action, Direction};
use crate::survey::{Asked, Side, Translated};
use crate::target::iptables::dump::TableName::{self, Filter, Mangle, Nat, Raw, Security};
use crate::target::iptables::dump::{Chain, Dump, Policy, Table, Target};
use crate::trace::Source;

use super::flow::Mark;
use super::part::Part;
use super::test::{At, Place};
use super::{Flow, Flows, Run};

/// Which chains have a say beside those of PREROUTING (for what arrives) and OUTPUT (for what leaves).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Nothing,
    /// Those of INPUT.
    Input,
    More,
}

impl Beyond {
    pub fn of(dump: &Dump<'_>) -> Beyond {
        Beyond::but(dump, |_, _| false)
    }

    /// Of what may keep a packet from its way: neither what only changes its source nor what only accepts.
    pub fn of_fates(dump: &Dump<'_>) -> Beyond {
        Beyond::but(dump, |table, chain| match (table.name, chain.name) {
            (Nat, name) => name == "POSTROUTING",
            (Filter, "FORWARD") => chain.policy == Some(Policy::Accept) && accepts_all(table),
            (Filter | Mangle | Raw | Security, _) => false,
        })
    }

    fn but(dump: &Dump<'_>, without: impl Fn(&Table<'_>, &Chain<'_>) -> bool) -> Beyond {
        let mut beyond = Beyond::Nothing;
        for table in &dump.tables {
            for chain in table.chains.iter().filter(|chain| !without(table, chain)) {
                // What leaves for this machine itself meets PREROUTING of these tables.
                let again = chain.name == "PREROUTING" && matches!(table.name, Raw | Mangle);
                match (chain.policy, chain.name) {
                    _ if chain.rules.iter().any(|rule| rule.output.is_some()) => return Beyond::More,
                    (None, _) => {}
                    (Some(Policy::Accept), _) if chain.rules.is_empty() => {}
                    (Some(_), "PREROUTING" | "OUTPUT") if !again => {}
                    (Some(_), "INPUT") if table.name != Nat => beyond = Beyond::Input,
                    (Some(_), _) => return Beyond::More,
                }
            }
        }
        beyond
    }
}

/// Whether nothing that FORWARD leads to does more than to accept.
fn accepts_all(table: &Table<'_>) -> bool {
    let mut seen = vec![false; table.chains.len()];
    let mut ahead: Vec<usize> =
        (0..table.chains.len()).filter(|place| table.chains[*place].name == "FORWARD").collect();
    while let Some(place) = ahead.pop() {
        if std::mem::replace(&mut seen[place], true) {
            continue;
        }
        for rule in &table.chains[place].rules {
            match &rule.target {
                Target::Accept | Target::Return | Target::Next => {}
                Target::Jump(chain) | Target::Goto(chain) => ahead.push(chain.0 as usize),
                _ => return false,
            }
        }
    }
    true
}

impl<'d, 'p> Run<'_, 'd, 'p> {
    /// Who the server sees of a connection to which this has happened; `None` where that cannot be told.
    pub(super) fn seen(&mut self, translated: &Translated) -> Option<Source> {
        self.is_behind = true;
        let mut flow = self.start(None);
        flow.mark = Mark::UNKNOWN;
        flow.connection_mark = Mark::UNKNOWN;
        flow.action = translated.action.clone();
        match translated.action {
            Action::Dnat(address, port) => {
                (flow.destination, flow.port, flow.port_follows) = (Some(address), port, translated.follows);
            }
            Action::Redirect(port) => {
                (flow.destination, flow.port, flow.port_follows) = (self.redirected(), port, translated.follows);
            }
            Action::Pass => {}
            Action::Drop | Action::Reject => return None,
        }
        let destination = flow.destination;
        let arrives = matches!(self.packet.direction, Direction::In(_));
        let whole = Part::one(self.reckoning);
        let output = match (arrives, destination.is_some_and(|address| address.is_loopback())) {
            (false, true) => LOOPBACK,
            (..) => Place::Unknown,
        };
        let input = if arrives { Place::Unknown } else { Place::Nothing };
        let flows = self.chains("POSTROUTING", &[Nat], (input, output), smallvec![(flow.clone(), whole.clone())]);
        let source = self.only(&flows, &flow.action);
        if !arrives || source == Some(Source::Kept) && !self.sources_inside() {
            return source;
        }
        // Where it would change on its way out: is it on one?
        if let Some(asked) = self.asked {
            asked.special(Side::Destination, destination);
            destination.into_iter().for_each(|address| asked.local(address));
        }
        if !self.is_here(destination) {
            return source;
        }
        let Direction::In(name) = &self.packet.direction else { return source };
        self.outcomes.clear();
        let action = flow.action.clone();
        let flows = self.chains("INPUT", &[Nat], (Place::Named(name), Place::Nothing), smallvec![(flow, whole)]);
        self.only(&flows, &action)
    }

    /// Whether nat has anything to say of what stays here.
    fn sources_inside(&self) -> bool {
        self.rules.built_in.iter().any(|(table, name, place, id)| {
            let chain = &self.rules.dump.tables[*place].chains[id.0 as usize];
            (*table, *name) == (Nat, "INPUT") && !chain.rules.is_empty()
        })
    }

    /// The source of all of them, where nothing else has happened.
    fn only(&self, flows: &Flows<'d>, action: &Action) -> Option<Source> {
        let whole = self.unknown.is_empty() && self.outcomes.is_empty() && !self.cut();
        let (first, _) = flows.first().filter(|_| whole)?;
        let alike = |(flow, _): &(Flow<'_>, Part)| flow.translated == first.translated && flow.action == *action;
        flows.iter().all(alike).then_some(first.translated)
    }

    /// From where the packet appears to where it leaves this machine or is delivered on it.
    pub(super) fn hooks(&mut self, flows: Flows<'d>) -> Flows<'d> {
        let packet = self.packet;
        match &packet.direction {
            Direction::In(name) => self.arriving(Place::Named(name), flows),
            Direction::Out => self.leaving(flows),
        }
    }

    fn arriving(&mut self, input: Place<'p>, flows: Flows<'d>) -> Flows<'d> {
        let before = (input, Place::Nothing);
        let flows = self.chains("PREROUTING", &[Raw, Mangle, Nat], before, flows);
        if let Some(asked) = self.asked.filter(|_| self.rules.beyond != Beyond::More) {
            return self.delivered(before, flows, asked);
        }
        let (here, on) = self.routed(flows);
        let mut here = self.chains("INPUT", IN, before, here);
        let on = self.chains("FORWARD", &[Mangle, Filter, Security], (input, Place::Unknown), on);
        // Older kernels show no input interface here, later ones do.
        here.extend(self.chains("POSTROUTING", self.rules.behind(), (Place::Unknown, Place::Unknown), on));
        here
    }

    fn leaving(&mut self, flows: Flows<'d>) -> Flows<'d> {
        if let Some(asked) = self.asked.filter(|_| self.rules.beyond != Beyond::More) {
            let places = (Place::Nothing, Place::Unknown);
            let flows = self.chains("OUTPUT", &[Raw, Mangle, Nat, Filter, Security], places, flows);
            return self.delivered((LOOPBACK, Place::Nothing), flows, asked);
        }
        // The first route is that of the address as the program wrote it.
        let (here, on) = self.routed(flows);
        let mut flows = Flows::new();
        for (output, part) in [(LOOPBACK, here), (Place::Unknown, on)] {
            flows.extend(self.chains("OUTPUT", &[Raw, Mangle, Nat], (Place::Nothing, output), part));
        }
        let (here, on) = self.routed(flows);
        let mut ends = Flows::new();
        for (output, part) in [(LOOPBACK, here), (Place::Unknown, on)] {
            let part = self.chains("OUTPUT", &[Filter, Security], (Place::Nothing, output), part);
            let mut part = self.chains("POSTROUTING", self.rules.behind(), (Place::Nothing, output), part);
            if output == LOOPBACK {
                // The same packet comes back in; its connection has its translation already.
                let input = (LOOPBACK, Place::Nothing);
                part = self.chains("PREROUTING", &[Raw, Mangle], input, part);
                part = self.chains("INPUT", &[Mangle, Filter, Security], input, part);
            }
            ends.extend(part);
        }
        ends
    }

    /// What INPUT makes of those that are for this machine, where nothing else stands in the way of anyone.
    ///
    /// Whether this machine has an address is asked only about what INPUT would not leave alone.
    fn delivered(&mut self, at: (Place<'p>, Place<'p>), flows: Flows<'d>, asked: &Asked) -> Flows<'d> {
        if self.rules.beyond == Beyond::Nothing {
            return flows;
        }
        let mut ends = Flows::new();
        for (flow, part) in flows {
            asked.special(Side::Destination, flow.destination);
            let certain = flow.destination.is_none_or(|address| address.is_loopback() || is_for_all(address));
            if !certain {
                let mut trial = Run::new(self.rules, self.packet, self.machine);
                trial.asked = self.asked;
                trial.reckoning = self.reckoning;
                let whole = Part::one(self.reckoning);
                let passed = trial.chains("INPUT", IN, at, smallvec![(flow.clone(), whole.clone())]);
                let untouched =
                    !trial.cut() && matches!(&passed[..], [(other, all)] if *other == flow && *all == whole);
                self.tests += trial.tests;
                if let (false, Some(address)) = (untouched, flow.destination) {
                    asked.local(address);
                }
                if untouched || !self.is_here(flow.destination) {
                    ends.push((flow, part));
                    continue;
                }
            }
            ends.extend(self.chains("INPUT", IN, at, smallvec![(flow, part)]));
        }
        ends
    }

    fn is_here(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.machine.is_local(address) || is_for_all(address))
    }

    /// The chains of one hook, in the order of the tables.
    fn chains(
        &mut self,
        name: &str,
        tables: &[TableName],
        (input, output): (Place<'p>, Place<'p>),
        mut flows: Flows<'d>,
    ) -> Flows<'d> {
        let at = At {
            packet: self.packet,
            machine: self.machine,
            input,
            output,
            asked: self.asked,
            line: 0,
            samples: !self.rules.strict,
        };
        for table in tables {
            flows = self.chain(*table, name, at, flows);
        }
        flows
    }

    /// Divides flows into those for this machine and those that go on. Broadcast and multicast are for this machine.
    fn routed(&self, flows: Flows<'d>) -> (Flows<'d>, Flows<'d>) {
        if let Some(asked) = self.asked {
            for (flow, _) in &flows {
                asked.special(Side::Destination, flow.destination);
                flow.destination.into_iter().for_each(|address| asked.local(address));
            }
        }
        flows.into_iter().partition(|(flow, _)| self.is_here(flow.destination))
    }
}

/// Whether an address is broadcast or multicast.
fn is_for_all(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The tables of INPUT.
const IN: &[TableName] = &[Mangle, Filter, Security, Nat];

const LOOPBACK: Place<'static> = Place::Named("lo");
