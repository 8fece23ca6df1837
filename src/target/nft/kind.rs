//! What kinds of values there are, and the words for their numbers.

use std::net::IpAddr;

use crate::endpoint::quad;

use super::dump::Value;

/// What the values of a field, or of a part of a set, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Family,
    Protocol,
    Interface,
    Mark,
    Address,
    /// Ports, and the numbers of `numgen` and `jhash`.
    Number,
    AddressType,
    /// Bits.
    State,
    Direction,
    /// Bits.
    Status,
    /// Bits.
    TcpFlags,
    Verdict,
    Unknown,
}

/// The flags of the first packet of a TCP connection.
pub const SYN: u32 = 0x02;

/// The numbers that have names: include/uapi/linux/{netfilter,in,rtnetlink}.h, nf_conntrack_common.h.
const WORDS: &[(Kind, &str, u32)] = &[
    (Kind::Family, "ipv4", 2),
    (Kind::Family, "ipv6", 10),
    (Kind::Protocol, "icmp", 1),
    (Kind::Protocol, "igmp", 2),
    (Kind::Protocol, "tcp", 6),
    (Kind::Protocol, "udp", 17),
    (Kind::Protocol, "dccp", 33),
    (Kind::Protocol, "gre", 47),
    (Kind::Protocol, "esp", 50),
    (Kind::Protocol, "ah", 51),
    (Kind::Protocol, "ipv6-icmp", 58),
    (Kind::Protocol, "icmpv6", 58),
    (Kind::Protocol, "comp", 108),
    (Kind::Protocol, "sctp", 132),
    (Kind::Protocol, "udplite", 136),
    (Kind::AddressType, "unspec", 0),
    (Kind::AddressType, "unicast", 1),
    (Kind::AddressType, "local", 2),
    (Kind::AddressType, "broadcast", 3),
    (Kind::AddressType, "anycast", 4),
    (Kind::AddressType, "multicast", 5),
    (Kind::AddressType, "blackhole", 6),
    (Kind::AddressType, "unreachable", 7),
    (Kind::AddressType, "prohibit", 8),
    (Kind::State, "invalid", 1),
    (Kind::State, "established", 2),
    (Kind::State, "related", 4),
    (Kind::State, "new", 8),
    (Kind::State, "untracked", 64),
    (Kind::Direction, "original", 0),
    (Kind::Direction, "reply", 1),
    (Kind::Status, "expected", 1),
    (Kind::Status, "seen-reply", 2),
    (Kind::Status, "assured", 4),
    (Kind::Status, "confirmed", 8),
    (Kind::Status, "snat", 16),
    (Kind::Status, "dnat", 32),
    (Kind::Status, "dying", 512),
    (Kind::TcpFlags, "fin", 0x01),
    (Kind::TcpFlags, "syn", SYN),
    (Kind::TcpFlags, "rst", 0x04),
    (Kind::TcpFlags, "psh", 0x08),
    (Kind::TcpFlags, "ack", 0x10),
    (Kind::TcpFlags, "urg", 0x20),
    (Kind::TcpFlags, "ecn", 0x40),
    (Kind::TcpFlags, "cwr", 0x80),
];

impl Kind {
    /// The number that a word stands for.
    pub fn number(self, word: &str) -> Option<u32> {
        WORDS.iter().find(|(kind, name, _)| *kind == self && *name == word).map(|(_, _, number)| *number)
    }

    /// The word for a number.
    pub fn word(self, number: u32) -> Option<&'static str> {
        WORDS.iter().find(|(kind, _, value)| *kind == self && *value == number).map(|(_, name, _)| *name)
    }

    pub fn is_bits(self) -> bool {
        matches!(self, Kind::State | Kind::Status | Kind::TcpFlags)
    }

    /// By nft's name for a type of data.
    pub fn of_type(name: &str) -> Kind {
        match name {
            "nf_proto" => Kind::Family,
            "ipv4_addr" | "ipv6_addr" => Kind::Address,
            "inet_proto" => Kind::Protocol,
            "inet_service" | "integer" => Kind::Number,
            "ifname" => Kind::Interface,
            "mark" => Kind::Mark,
            "fib_addrtype" => Kind::AddressType,
            "ct_state" => Kind::State,
            "ct_dir" => Kind::Direction,
            "ct_status" => Kind::Status,
            "tcp_flag" => Kind::TcpFlags,
            "verdict" => Kind::Verdict,
            _ => Kind::Unknown,
        }
    }

    /// One value as nft writes it, without ranges.
    pub fn value(self, word: &str) -> Value {
        let other = || Value::Other(word.into());
        match self {
            Kind::Interface => match word.strip_suffix('*') {
                // `\*` is a star.
                Some(prefix) => match prefix.strip_suffix('\\') {
                    Some(name) => Value::Name(format!("{name}*").into()),
                    None => Value::NamePrefix(prefix.into()),
                },
                None => Value::Name(word.into()),
            },
            Kind::Address => address(word).map_or_else(other, Value::Address),
            // Their numbers have no names.
            Kind::Number | Kind::Mark => number(word).map_or_else(other, Value::Number),
            Kind::Family
            | Kind::Protocol
            | Kind::AddressType
            | Kind::State
            | Kind::Direction
            | Kind::Status
            | Kind::TcpFlags => match self.number(word).or_else(|| number(word)) {
                Some(number) => Value::Number(number),
                None => other(),
            },
            Kind::Verdict | Kind::Unknown => other(),
        }
    }
}

/// An address; most are of IPv4.
pub fn address(word: &str) -> Option<IpAddr> {
    match quad(word.as_bytes()) {
        Some((address, length)) if length == word.len() => Some(address.into()),
        Some(_) | None => word.parse().ok(),
    }
}

/// A decimal or hexadecimal number.
pub fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if word.bytes().all(|byte| byte.is_ascii_digit()) => word.parse().ok(),
        None => None,
    }
}
