//! What the tests on the way of a packet asked about it: how far their answers hold.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use crate::address::number;
use crate::survey::{Facets, Hashed, Horizon};
use crate::target::iptables::dump::{Net, Ports, Side};
use crate::trace::Packet;

/// Gathers the questions of one walk.
///
/// What was translated to a fixed address or port does not depend on the packet's own.
#[derive(Debug)]
pub struct Asked {
    source: IpAddr,
    destination: IpAddr,
    horizon: Cell<Horizon>,
    facets: Cell<Facets>,
    hashed: Cell<Hashed>,
}

impl Asked {
    pub fn new(packet: &Packet) -> Asked {
        let Packet { source, destination, .. } = *packet;
        Asked {
            source,
            destination,
            horizon: Cell::new(Horizon::FAR),
            facets: Cell::new(Facets::NONE),
            hashed: Cell::new(None),
        }
    }

    pub fn facets(&self) -> Facets {
        self.facets.get()
    }

    pub fn protocol(&self) {
        self.facets.set(Facets { protocol: true, ..self.facets.get() });
    }

    /// The interface that the packet arrives on.
    pub fn interface(&self) {
        self.facets.set(Facets { interface: true, ..self.facets.get() });
    }

    /// Whether this machine has an address.
    pub fn local(&self) {
        self.facets.set(Facets { local: true, ..self.facets.get() });
    }

    pub fn horizon(&self) -> Horizon {
        self.horizon.get()
    }

    pub fn hashed(&self) -> Hashed {
        self.hashed.get()
    }

    /// A hash of the source, in a rule on this line of the text.
    pub fn hash(&self, line: u32) {
        self.hashed.set(self.hashed.get().or(Some(u64::from(line))));
    }

    /// Whether an address lies in a net.
    pub fn net(&self, side: Side, address: Option<IpAddr>, net: &Net) {
        match (net.prefix(), address) {
            (Some(prefix), _) => self.range(side, address, prefix.network(), prefix.broadcast()),
            // A mask with holes may answer otherwise at the very next address.
            (None, Some(address)) => self.range(side, Some(address), address, address),
            (None, None) => {}
        }
    }

    /// Whether an address lies between two others of its family.
    pub fn range(&self, side: Side, address: Option<IpAddr>, first: IpAddr, last: IpAddr) {
        let own = match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        };
        let Some(at) = address.filter(|address| *address == own) else { return };
        let (at, first, last) = (number(at), number(first), number(last));
        self.change(|horizon| match side {
            Side::Source => horizon.ask_source(at, first, last),
            Side::Destination => horizon.ask_destination(at, first, last),
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

    /// Whether the destination port, `own` where the packet had `original`, lies in a range.
    pub fn port(&self, original: u16, own: u16, ports: Ports) {
        if ports.first > ports.last {
            return;
        }
        // In terms of the port that the packet had; a shifted port moves the range with it.
        let back = |port: u16| i32::from(port) - i32::from(own) + i32::from(original);
        let (first, last) = (back(ports.first).max(0), back(ports.last).min(i32::from(u16::MAX)));
        if let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(last))
            && first <= last
        {
            self.change(|horizon| horizon.ask_port(original, first, last));
        }
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

    fn change(&self, change: impl FnOnce(&mut Horizon)) {
        let mut horizon = self.horizon.get();
        change(&mut horizon);
        self.horizon.set(horizon);
    }
}
