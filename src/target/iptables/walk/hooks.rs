//! The order of tables and chains on the way of a connection's first packet.

use std::net::{IpAddr, Ipv4Addr};

use crate::meaning::Direction;
use crate::survey::Side;
use crate::target::iptables::dump::TableName::{self, Filter, Mangle, Nat, Raw, Security};

use super::test::{At, Place};
use super::{Flows, Run};

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
        let (here, on) = self.routed(flows);
        let mut here = self.chains("INPUT", &[Mangle, Filter, Security, Nat], before, here);
        let on = self.chains("FORWARD", &[Mangle, Filter, Security], (input, Place::Unknown), on);
        // Older kernels show no input interface here, later ones do.
        here.extend(self.chains("POSTROUTING", &[Mangle, Nat], (Place::Unknown, Place::Unknown), on));
        here
    }

    fn leaving(&mut self, flows: Flows<'d>) -> Flows<'d> {
        // The first route is that of the address as the program wrote it.
        let (here, on) = self.routed(flows);
        let mut flows = Vec::new();
        for (output, part) in [(LOOPBACK, here), (Place::Unknown, on)] {
            flows.extend(self.chains("OUTPUT", &[Raw, Mangle, Nat], (Place::Nothing, output), part));
        }
        let (here, on) = self.routed(flows);
        let mut ends = Vec::new();
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
            flows.iter().for_each(|(flow, _)| asked.special(Side::Destination, flow.destination));
        }
        let here = |address: IpAddr| {
            self.machine.is_local(address) || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
        };
        flows.into_iter().partition(|(flow, _)| flow.destination.is_none_or(here))
    }
}

const LOOPBACK: Place<'static> = Place::Named("lo");
