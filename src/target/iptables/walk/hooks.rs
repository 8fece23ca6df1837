//! The order of tables and chains on the way of a connection's first packet.

use std::net::{IpAddr, Ipv4Addr};

use smallvec::smallvec;

use crate::meaning::Direction;
use crate::survey::{Asked, Side};
use crate::target::iptables::dump::TableName::{self, Filter, Mangle, Nat, Raw, Security};
use crate::target::iptables::dump::{Dump, Policy};

use super::part::Part;
use super::test::{At, Place};
use super::{Flows, Run};

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
        let mut beyond = Beyond::Nothing;
        for table in &dump.tables {
            for chain in &table.chains {
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

impl<'d, 'p> Run<'_, 'd, 'p> {
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
        here.extend(self.chains("POSTROUTING", &[Mangle, Nat], (Place::Unknown, Place::Unknown), on));
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
            let mut part = self.chains("POSTROUTING", &[Mangle, Nat], (Place::Nothing, output), part);
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
        let at = At { packet: self.packet, machine: self.machine, input, output, asked: self.asked, line: 0 };
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
