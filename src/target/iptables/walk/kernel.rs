//! What matches and targets make of the kernel's hash.

use std::net::IpAddr;

use crate::jhash::{jhash_words, reciprocal_scale};

/// Which of `total` nodes xt_cluster gives a client to, from 0.
///
/// Of an IPv6 address it hashes the first 32 bits alone: NF_CT_TUPLE_L3SIZE / sizeof(__u32) is one word.
pub fn cluster_node(source: IpAddr, total: u32, seed: u32) -> u32 {
    let word = match source {
        IpAddr::V4(address) => u32::from_le_bytes(address.octets()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.octets();
            u32::from_le_bytes([a, b, c, d])
        }
    };
    reciprocal_scale(jhash_words([word, 0, 0], 1, seed), total)
}

/// What xt_HMARK makes of addresses, before the offset. A missing one is 0; ports are masked out.
pub fn hmark(source: Option<IpAddr>, destination: Option<IpAddr>, modulus: u32, seed: u32) -> u32 {
    let word = |address: Option<IpAddr>| match address {
        None => 0,
        Some(IpAddr::V4(address)) => u32::from(address),
        Some(IpAddr::V6(address)) => {
            let bits = u128::from(address);
            (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
        }
    };
    let (source, destination) = (word(source), word(destination));
    let (low, high) = (source.min(destination), source.max(destination));
    reciprocal_scale(jhash_words([low, high, 0], 3, seed), modulus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, the number of nodes, a seed, and the node from 0: recorded from a kernel 6.18, where the one of as
    /// many rules that counted a packet tells the node.
    #[rustfmt::skip]
    const CLUSTER: [(&str, u32, u32, u32); 40] = [
        ("10.20.0.5", 2, 0x1, 1),
        ("198.51.100.7", 2, 0x1, 0),
        ("192.0.2.200", 2, 0x1, 0),
        ("1.2.3.4", 2, 0x1, 1),
        ("10.20.0.5", 7, 0x0, 2),
        ("198.51.100.7", 7, 0x0, 3),
        ("192.0.2.200", 7, 0x0, 3),
        ("1.2.3.4", 7, 0x0, 0),
        ("10.20.0.5", 7, 0x1cd246e8, 3),
        ("198.51.100.7", 7, 0x1cd246e8, 2),
        ("192.0.2.200", 7, 0x1cd246e8, 5),
        ("1.2.3.4", 7, 0x1cd246e8, 4),
        ("10.20.0.5", 31, 0x3039, 7),
        ("198.51.100.7", 31, 0x3039, 30),
        ("192.0.2.200", 31, 0x3039, 22),
        ("1.2.3.4", 31, 0x3039, 14),
        ("10.20.0.5", 32, 0xffffffff, 22),
        ("198.51.100.7", 32, 0xffffffff, 22),
        ("192.0.2.200", 32, 0xffffffff, 31),
        ("1.2.3.4", 32, 0xffffffff, 5),
        ("fd20::5", 2, 0x1, 0),
        ("fd20::77", 2, 0x1, 0),
        ("2001:db8:1::7", 2, 0x1, 1),
        ("2001:db9::7", 2, 0x1, 1),
        ("fd20::5", 7, 0x0, 5),
        ("fd20::77", 7, 0x0, 5),
        ("2001:db8:1::7", 7, 0x0, 4),
        ("2001:db9::7", 7, 0x0, 2),
        ("fd20::5", 7, 0x1cd246e8, 3),
        ("fd20::77", 7, 0x1cd246e8, 3),
        ("2001:db8:1::7", 7, 0x1cd246e8, 2),
        ("2001:db9::7", 7, 0x1cd246e8, 2),
        ("fd20::5", 31, 0x3039, 29),
        ("fd20::77", 31, 0x3039, 29),
        ("2001:db8:1::7", 31, 0x3039, 19),
        ("2001:db9::7", 31, 0x3039, 18),
        ("fd20::5", 32, 0xffffffff, 30),
        ("fd20::77", 32, 0xffffffff, 30),
        ("2001:db8:1::7", 32, 0xffffffff, 22),
        ("2001:db9::7", 32, 0xffffffff, 9),
    ];

    /// A client, a destination where it is hashed too, the modulus, a seed, and the mark: recorded in the same way.
    #[rustfmt::skip]
    const HMARK: [(&str, Option<&str>, u32, u32, u32); 12] = [
        ("10.20.0.5", None, 7, 0x5eed, 0),
        ("198.51.100.7", None, 7, 0x5eed, 2),
        ("1.2.3.4", None, 7, 0x5eed, 1),
        ("10.20.0.5", Some("127.0.0.1"), 16, 0xdeadbeef, 4),
        ("198.51.100.7", Some("127.0.0.1"), 16, 0xdeadbeef, 8),
        ("1.2.3.4", Some("127.0.0.1"), 16, 0xdeadbeef, 9),
        ("fd20::5", None, 7, 0x5eed, 4),
        ("2001:db8:1::7", None, 7, 0x5eed, 3),
        ("2001:db9::7", None, 7, 0x5eed, 2),
        ("fd20::5", Some("::1"), 16, 0xdeadbeef, 5),
        ("2001:db8:1::7", Some("::1"), 16, 0xdeadbeef, 15),
        ("2001:db9::7", Some("::1"), 16, 0xdeadbeef, 8),
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn cluster_nodes_are_those_of_a_kernel() {
        for (client, total, seed, node) in CLUSTER {
            assert_eq!(cluster_node(address(client), total, seed), node, "{client} {total} {seed:#x}");
        }
    }

    #[test]
    fn marks_of_hmark_are_those_of_a_kernel() {
        for (client, destination, modulus, seed, mark) in HMARK {
            let found = hmark(Some(address(client)), destination.map(address), modulus, seed);
            assert_eq!(found, mark, "{client} {destination:?} {modulus} {seed:#x}");
        }
    }
}
