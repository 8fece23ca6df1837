//! What the tests on the way of a packet asked about it: how far their answers hold.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Facets, Hashed, Horizon, Protocols};
use crate::address::number;
use crate::statement::balance::Protocol;
use crate::trace::Packet;

/// Which end of the connection a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Source,
    Destination,
}

/// Gathers the questions of one walk.
///
/// What was translated to a fixed address or port does not depend on the packet's own.
#[derive(Debug)]
pub struct Asked {
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    horizon: Cell<Horizon>,
    facets: Cell<Facets>,
    hashed: Cell<Hashed>,
    /// The last place at which the packet's own destination and port were looked up.
    place: Cell<Option<usize>>,
    backend: Cell<bool>,
}

impl Asked {
    pub fn new(packet: &Packet) -> Asked {
        Asked::below(packet, Horizon::FAR.port)
    }

    /// Questions about ports below `end`, which is above the packet's own.
    pub fn below(packet: &Packet, end: u32) -> Asked {
        let Packet { source, destination, port, .. } = *packet;
        Asked {
            source,
            destination,
            port,
            horizon: Cell::new(Horizon { port: end, ..Horizon::FAR }),
            facets: Cell::new(Facets::NONE),
            hashed: Cell::new(None),
            place: Cell::new(None),
            backend: Cell::new(false),
        }
    }

    pub fn facets(&self) -> Facets {
        self.facets.get()
    }

    /// Which protocol it is, as far as these are told apart.
    pub fn protocols(&self, asked: Protocols) {
        let facets = self.facets.get();
        self.facets.set(Facets { protocols: facets.protocols.and(asked), ..facets });
    }

    /// Whether it is this protocol.
    pub fn protocol(&self, protocol: Protocol) {
        self.protocols(Protocols::one(protocol));
    }

    pub fn horizon(&self) -> Horizon {
        self.horizon.get()
    }

    pub fn hashed(&self) -> Hashed {
        self.hashed.get()
    }

    /// Where a translation has sent the connection, beyond whether that is another place, and this machine.
    pub fn backend(&self) {
        self.backend.set(true);
    }

    pub fn asks_backend(&self) -> bool {
        self.backend.get()
    }

    /// A hash of the source, in a rule that this number tells from others.
    pub fn hash_source(&self, rule: u64) {
        self.hashed.set(self.hashed.get().or(Some(rule)));
    }

    /// Whether an address lies between two others of its family.
    pub fn range(&self, side: Side, address: Option<IpAddr>, first: IpAddr, last: IpAddr) {
        let own = match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        };
        if address == Some(own) {
            self.stretch(side, number(first), number(last));
        }
    }

    /// Whether the packet's own address lies between two others of its family, as numbers.
    pub fn stretch(&self, side: Side, first: u128, last: u128) {
        self.change(|horizon| match side {
            Side::Source => horizon.ask_source(number(self.source), first, last),
            Side::Destination => horizon.ask_destination(number(self.destination), first, last),
        });
    }

    /// What kind of address it is, apart from whether this machine has it.
    pub fn special(&self, side: Side, address: Option<IpAddr>) {
        match address {
            Some(IpAddr::V4(_)) => {
                let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
                for (first, last) in [
                    (v4(0, 0, 0, 0), v4(0, 0, 0, 0)),
                    (v4(127, 0, 0, 0), v4(127, 255, 255, 255)),
                    (v4(224, 0, 0, 0), v4(239, 255, 255, 255)),
                    (v4(255, 255, 255, 255), v4(255, 255, 255, 255)),
                ] {
                    self.range(side, address, first, last);
                }
            }
            Some(IpAddr::V6(_)) => {
                let (multicast, last) = (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), Ipv6Addr::from(u128::MAX));
                for (first, last) in [
                    (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
                    (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
                    (multicast, last),
                ] {
                    self.range(side, address, first.into(), last.into());
                }
            }
            None => {}
        }
    }

    /// Whether the destination port, which is `own` by now, lies in a range.
    pub fn port(&self, own: u16, first: u16, last: u16) {
        if first > last {
            return;
        }
        // In terms of the port that the packet had; a shifted port moves the range with it.
        let back = |port: u16| i32::from(port) - i32::from(own) + i32::from(self.port);
        let (first, last) = (back(first).max(0), back(last).min(i32::from(u16::MAX)));
        if let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(last))
            && first <= last
        {
            self.port_in(first, last);
        }
    }

    /// Whether the packet's own port lies in a range.
    pub fn port_in(&self, first: u16, last: u16) {
        self.change(|horizon| horizon.ask_port(self.port, first, last));
    }

    /// Something was asked that holds for this packet alone.
    pub fn pin(&self) {
        for (side, own) in [(Side::Source, self.source), (Side::Destination, self.destination)] {
            self.stretch(side, number(own), number(own));
        }
        self.port_in(self.port, self.port);
    }

    /// Whether an address is one of this machine's, which may depend on where the packet goes.
    pub fn local(&self, address: IpAddr) {
        let facets = self.facets.get();
        if address == self.destination {
            self.facets.set(Facets { local: true, ..facets });
        } else {
            self.facets.set(Facets { others: true, ..facets });
            self.stretch(Side::Destination, number(address), number(address));
        }
    }

    /// Which addresses this machine has.
    pub fn locals(&self) {
        self.facets.set(Facets { local: true, others: true, ..self.facets.get() });
    }

    /// Where the packet arrives.
    pub fn interface(&self) {
        self.facets.set(Facets { interface: true, ..self.facets.get() });
    }

    /// Where the next host of an index stands.
    pub fn hosts(&self, at: IpAddr, is_host: bool, next: Option<u128>) {
        if at != self.destination {
            return;
        }
        let at = number(at);
        self.change(|horizon| {
            if is_host {
                horizon.ask_destination(at, at, at);
            }
            if let Some(next) = next {
                horizon.ask_destination(at, next, next);
            }
        });
    }

    /// Whether the packet's own destination and port were not last looked up at this place: then all is known.
    pub fn is_first(&self, place: usize) -> bool {
        self.place.replace(Some(place)) != Some(place)
    }

    /// What does not lie among boxes of destinations and ports holds up to here.
    pub fn area(&self, horizon: Horizon) {
        self.change(|own| own.join(horizon));
    }

    fn change(&self, change: impl FnOnce(&mut Horizon)) {
        let mut horizon = self.horizon.get();
        change(&mut horizon);
        self.horizon.set(horizon);
    }
}
