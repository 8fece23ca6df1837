//! Which addresses a machine may have, as far as rules can tell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::survey::Facets;
use crate::trace::Machine;

/// What belongs to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Local {
    Nothing,
    /// The packet's destination alone: backends are elsewhere.
    Destination,
    /// Every address, those of the backends too.
    Everything,
}

impl Local {
    pub const ALL: [Local; 3] = [Local::Nothing, Local::Destination, Local::Everything];

    /// The first of these that gives the same answers, where no test asked more than this.
    pub fn as_told(self, asked: Facets) -> Local {
        match (self, asked.local, asked.others) {
            (Local::Nothing, _, _) | (Local::Destination, false, _) | (Local::Everything, false, false) => {
                Local::Nothing
            }
            (Local::Destination, true, _) | (Local::Everything, true, false) => Local::Destination,
            (Local::Everything, _, true) => Local::Everything,
        }
    }

    /// Whether it has an address that is not the packet's destination.
    pub fn has_beside(self, address: IpAddr) -> bool {
        self == Local::Everything && UNICAST.iter().any(|net| net.contains(&address))
    }

    pub fn machine(self, destination: IpAddr) -> Machine {
        let local = match self {
            Local::Nothing => Vec::new(),
            Local::Destination if destination.is_multicast() => Vec::new(),
            Local::Destination => vec![destination.into()],
            Local::Everything => UNICAST.to_vec(),
        };
        Machine { local, ..Machine::default() }
    }
}

/// No machine has a multicast address.
const UNICAST: [IpNet; 11] = {
    const fn v4(first: u8, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(first, 0, 0, 0), length))
    }
    const fn v6(first: u16, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
    }
    [
        v4(0, 1),
        v4(128, 2),
        v4(192, 3),
        v6(0, 1),
        v6(0x8000, 2),
        v6(0xc000, 3),
        v6(0xe000, 4),
        v6(0xf000, 5),
        v6(0xf800, 6),
        v6(0xfc00, 7),
        v6(0xfe00, 8),
    ]
};
