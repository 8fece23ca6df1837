//! The middle: which statement gets a new connection, cut so that a target may look it up instead of trying rules.
//!
//! A [`Listener`] is the smallest thing that matches: one statement, protocol, destination and range of ports. In
//! source order, [`listeners`] is the program as a flat list: the first that matches wins. [`Table`] says the same as
//! disjoint cells, looked up in the order exact → ranges → linear → loopback → local → any. A cell is complete: it
//! knows in source order every statement that may get its connections, so no later stage has to be asked.

mod boxes;
mod cells;
mod covers;
pub mod owners;
mod rivals;
mod segments;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::endpoint::PortRange;
use crate::ir::{Body, Config, Destination, Family, Service};
use crate::statement::balance::Protocol;

pub use boxes::{Area, boxes};
pub use cells::{AddressRange, Cell, Entry, Place, Test};
pub use segments::{Segment, segments};
pub use table::{Table, exact, table, wide};
pub use tree::{Item, Node, Shape, tree};

/// Where a connection is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Connections that arrive.
    Prerouting,
    /// Connections that this machine opens; interfaces are not tested there.
    Output,
}

impl Hook {
    pub const ALL: [Hook; 2] = [Hook::Prerouting, Hook::Output];
}

/// One statement's match on one protocol, destination and range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Index into the config's services: the source order.
    pub service: u32,
    pub protocol: Protocol,
    pub destination: Destination,
    pub ports: PortRange,
    /// Whether [`Destination::Local`] and [`Destination::Any`] hold loopback addresses.
    pub loopback: bool,
}

/// Whether a service can match anything at all on a hook.
pub fn takes_part(service: &Service, family: Family, hook: Hook) -> bool {
    let closed_to_all = service.from.as_ref().is_some_and(|from| from.otherwise.is_none() && from.allows_none(family));
    let present = match service.body(family) {
        Some(Body::Closed | Body::Drained(_) | Body::Balance(_)) => true,
        None => false,
    };
    present && !closed_to_all && (hook == Hook::Prerouting || service.output)
}

/// Every listener of a family and hook, in source order.
pub fn listeners(config: &Config, family: Family, hook: Hook) -> Vec<Listener> {
    let mut list = Vec::new();
    for (index, service) in config.services().iter().enumerate() {
        if !takes_part(service, family, hook) {
            continue;
        }
        for &protocol in &service.protocols {
            for destination in service.destinations(family) {
                list.extend(service.ports.iter().map(|&ports| Listener {
                    service: index as u32,
                    protocol,
                    destination,
                    ports,
                    loopback: service.loopback,
                }));
            }
        }
    }
    list
}

/// Whether a service tests the interface on a hook.
pub fn tests_interface(service: &Service, hook: Hook) -> bool {
    hook == Hook::Prerouting && service.on.is_some()
}

/// Whether clients that `from` keeps out go on to the next statement.
pub fn falls_through(service: &Service, family: Family) -> bool {
    service.from.as_ref().is_some_and(|from| from.otherwise.is_none() && !from.allows_all(family))
}

/// Loopback addresses: 127.0.0.0/8 or ::1.
pub fn loopback(family: Family) -> IpNet {
    match family {
        Family::V4 => prefix(Ipv4Addr::LOCALHOST.into(), 8),
        Family::V6 => prefix(Ipv6Addr::LOCALHOST.into(), 128),
    }
}

/// Multicast addresses: 224.0.0.0/4 or ff00::/8.
pub fn multicast(family: Family) -> IpNet {
    match family {
        Family::V4 => prefix(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        Family::V6 => prefix(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    }
}

fn prefix(address: IpAddr, len: u8) -> IpNet {
    IpNet::new(address, len).expect("the length is right for the family").trunc()
}
