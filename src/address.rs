//! Addresses as numbers: both families in one type, so that ranges of either are compared and counted alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::ir::Family;

/// An address as a number in host order.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address that a number in host order is, at most [`last`] of the family.
pub fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(number as u32).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

/// The last address of a family.
pub fn last(family: Family) -> u128 {
    match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    }
}

/// The first and the last address of a prefix.
pub fn range(net: IpNet) -> (u128, u128) {
    (number(net.network()), number(net.broadcast()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_addresses_and_back() {
        for text in ["0.0.0.0", "203.0.113.10", "255.255.255.255", "::", "2001:db8::10"] {
            let own: IpAddr = text.parse().expect("an address");
            assert_eq!(address(Family::of(own), number(own)), own);
        }
        assert_eq!(range("10.0.0.0/8".parse().expect("a prefix")), (10 << 24, (11 << 24) - 1));
        for (all, family) in [("0.0.0.0/0", Family::V4), ("::/0", Family::V6)] {
            assert_eq!(range(all.parse().expect("a prefix")), (0, last(family)));
        }
    }
}
