//! Addresses as numbers: both families in one type, so that ranges of either are compared and counted alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

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

/// How many bits an address has.
pub fn bits(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
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

/// The prefix that holds every address of a family.
pub fn everything(family: Family) -> IpNet {
    IpNet::new(address(family, 0), 0).expect("a length of 0")
}

/// The fewest prefixes that hold every address of the family outside `nets`, which are ascending and disjoint.
pub fn outside(family: Family, nets: &[IpNet]) -> Vec<IpNet> {
    let mut list = Vec::new();
    let mut next = Some(0);
    for &net in nets {
        let (first, end) = range(net);
        if let Some(start) = next.filter(|start| *start < first) {
            list.extend(prefixes(family, start, first - 1));
        }
        next = end.checked_add(1);
    }
    if let Some(start) = next.filter(|start| *start <= last(family)) {
        list.extend(prefixes(family, start, last(family)));
    }
    list
}

/// The fewest prefixes that hold a range.
pub fn prefixes(family: Family, first: u128, last: u128) -> Vec<IpNet> {
    match (address(family, first), address(family, last)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("both are of the family"),
    }
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

    #[test]
    fn what_is_outside_is_everything_else() {
        let nets = |text: &str| -> Vec<IpNet> { text.split(' ').map(|net| net.parse().expect("a prefix")).collect() };
        assert_eq!(outside(Family::V4, &nets("0.0.0.0/1 192.0.0.0/2")), nets("128.0.0.0/2"));
        assert_eq!(outside(Family::V4, &nets("10.0.0.1/32")).len(), 32);
        assert_eq!(outside(Family::V6, &nets("::/1 ffff::/16")).len(), 15);
        assert_eq!(outside(Family::V4, &nets("0.0.0.0/0")), []);
        for family in Family::ALL {
            assert_eq!(outside(family, &[]).len(), 1);
        }
        let some = nets("10.0.0.0/8 10.255.0.0/16");
        let mut whole = outside(Family::V4, &some[..1]);
        whole.push(some[0]);
        assert_eq!(IpNet::aggregate(&whole), nets("0.0.0.0/0"));
    }
}
