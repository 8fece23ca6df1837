//! Cells: disjoint pieces of the space of new connections.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{address, range};
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::statement::balance::Protocol;

/// A range of addresses of one family; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    pub family: Family,
    /// The first address as a number in host order.
    pub first: u128,
    /// The last address as a number in host order.
    pub last: u128,
}

impl AddressRange {
    pub fn of(net: IpNet) -> AddressRange {
        let (first, last) = range(net);
        AddressRange { family: Family::of_net(net), first, last }
    }

    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    pub fn contains(self, other: AddressRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub fn overlaps(self, other: AddressRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    pub fn first_address(self) -> IpAddr {
        address(self.family, self.first)
    }

    pub fn last_address(self) -> IpAddr {
        address(self.family, self.last)
    }

    /// The range as one prefix, where it is one.
    pub fn as_prefix(self) -> Option<IpNet> {
        let bits = match self.family {
            Family::V4 => 32,
            Family::V6 => 128u32,
        };
        let size = self.last - self.first;
        let host_bits = 128 - size.leading_zeros();
        let mask = if host_bits == 128 { u128::MAX } else { (1u128 << host_bits) - 1 };
        let whole = size == mask && self.first & mask == 0;
        whole.then(|| IpNet::new(self.first_address(), (bits - host_bits) as u8).expect("at most the family's bits"))
    }
}

/// Where the connections of a cell go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Addresses(AddressRange),
    /// Loopback addresses that no cell of addresses holds.
    Loopback,
    /// Addresses of this machine, loopback left out, that no cell of addresses holds.
    Local {
        interface: Option<String>,
    },
    /// Unicast addresses that none of the above holds.
    Any {
        interface: Option<String>,
    },
}

/// One piece of the space, and the statements that may get its connections, in source order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub place: Place,
    pub protocol: Protocol,
    pub ports: PortRange,
    /// At least one. Only the last may match without a condition.
    pub entries: Vec<Entry>,
}

/// A statement in a cell, and what is left to be tested before it gets the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    pub service: u32,
    /// What the cell's place does not decide about the destination.
    pub test: Test,
    /// Whether the statement's `on` is left to be tested.
    pub on: bool,
    /// Whether the statement's `from` (without `else`) is left to be tested: clients that it keeps out go on.
    pub from: bool,
}

impl Entry {
    /// Whether every connection of the cell that gets here ends here.
    pub fn is_final(&self) -> bool {
        self.test == Test::Nothing && !self.on && !self.from
    }
}

/// What is left to be tested about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    Nothing,
    /// It is an address of this machine (loopback and multicast are ruled out already).
    Local,
    /// It is no broadcast address (loopback and multicast are ruled out already).
    NotBroadcast,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::number;

    #[test]
    fn ranges_know_whether_they_are_prefixes() {
        let range = |first: &str, last: &str| AddressRange {
            family: Family::V4,
            first: number(first.parse().expect("an address")),
            last: number(last.parse().expect("an address")),
        };
        assert_eq!(range("10.0.0.0", "10.255.255.255").as_prefix(), Some("10.0.0.0/8".parse().expect("a prefix")));
        assert_eq!(range("10.0.0.1", "10.0.0.2").as_prefix(), None);
        assert_eq!(range("0.0.0.0", "255.255.255.255").as_prefix(), Some("0.0.0.0/0".parse().expect("a prefix")));
        let all6 = AddressRange::of("::/0".parse().expect("a prefix"));
        assert_eq!(all6.as_prefix(), Some("::/0".parse().expect("a prefix")));
    }
}
