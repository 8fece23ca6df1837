//! What the tests on the way of a packet asked about it: how far their answers hold.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use crate::survey::Horizon;
use crate::target::iptables::dump::{Net, Ports, Side};
use crate::trace::Packet;

/// Gathers the questions of one walk.
///
/// What was translated to a fixed address does not depend on the packet's own. A port that was translated is asked about
/// as if it were shifted: where it is fixed, that only makes the horizon nearer.
#[derive(Debug)]
pub struct Asked {
    source: IpAddr,
    destination: IpAddr,
    horizon: Cell<Horizon>,
    hashed: Cell<bool>,
}

impl Asked {
    pub fn new(packet: &Packet) -> Asked {
        let Packet { source, destination, .. } = *packet;
        Asked { source, destination, horizon: Cell::new(Horizon::FAR), hashed: Cell::new(false) }
    }

    pub fn horizon(&self) -> Horizon {
        self.horizon.get()
    }

    pub fn hashed(&self) -> bool {
        self.hashed.get()
    }

    /// A hash of the source.
    pub fn hash(&self) {
        self.hashed.set(true);
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
        let net = |net: &str| net.parse::<ipnet::IpNet>().expect("a prefix");
        let nets: &[&str] = match address {
            Some(IpAddr::V4(_)) => &["127.0.0.0/8", "224.0.0.0/4"],
            Some(IpAddr::V6(_)) => &["::1/128", "ff00::/8", "::/128"],
            None => &[],
        };
        for prefix in nets.iter().map(|text| net(text)) {
            self.range(side, address, prefix.network(), prefix.broadcast());
        }
        if let Some(IpAddr::V4(_)) = address {
            for one in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
                self.range(side, address, one.into(), one.into());
            }
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

/// An address as a number in host order.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}
