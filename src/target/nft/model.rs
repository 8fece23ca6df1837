//! The typed model of a ruleset: one table with its verdict maps and chains. The printers and evaluators only read it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dispatch::Hook;
use crate::endpoint::PortRange;
use crate::ir::{Family, Interface};
use crate::statement::balance::Protocol;

pub use super::words::{BadName, Comment, Name};

/// One table of the `inet` family and everything in it.
///
/// Every chain and map that a rule or an element names is part of the ruleset, under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub table: Name,
    pub maps: Vec<VerdictMap>,
    /// Base chains first, then those that they lead to.
    pub chains: Vec<Chain>,
}

/// A named map from concatenated keys to verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictMap {
    pub name: Name,
    /// What the key is made of, at least two fields.
    pub key: Vec<Field>,
    /// Whether elements may be ranges. Ranges of one map must not overlap: the kernel refuses them.
    pub interval: bool,
    /// At least one; keys differ.
    pub elements: Vec<Element>,
}

/// One key of a [`VerdictMap`] and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// One value for each field of the map's key.
    pub key: Vec<Value>,
    pub verdict: Verdict,
    pub comment: Option<Comment>,
}

/// A chain; with a hook it is a base chain: `type nat`, priority [`PRIORITY`], policy accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: Name,
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// The priority of destination NAT, as a number: nft 1.0.6 refuses the name `dstnat` in the output hook.
pub const PRIORITY: i32 = -100;

/// Statements in order: tests first, what happens last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub statements: Vec<Statement>,
    pub comment: Option<Comment>,
}

/// What a rule reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `meta nfproto`
    Family,
    /// `ip saddr`, `ip6 saddr`
    Source(Family),
    /// `ip daddr`, `ip6 daddr`
    Destination(Family),
    /// `meta l4proto`
    Protocol,
    /// `tcp dport` and its like; a packet of another protocol does not match.
    Port(Protocol),
    /// `th dport`: right only together with a test of the protocol.
    AnyPort,
    /// `iifname`
    Interface,
    /// `fib daddr type`
    DestinationType,
    /// `ct state`
    ConnectionState,
    ConnectionDirection,
}

/// One value, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Family(Family),
    Address(IpAddr),
    /// Shorter than a single address.
    Net(IpNet),
    /// From the first to the last, both of one family.
    Addresses(IpAddr, IpAddr),
    Protocol(Protocol),
    Ports(PortRange),
    Interface(Interface),
    AddressType(AddressType),
    /// `invalid`
    Invalid,
    /// `reply`
    Reply,
}

impl Value {
    /// Whether a map needs `flags interval` to hold the value.
    pub fn is_range(&self) -> bool {
        match self {
            Value::Net(_) | Value::Addresses(..) | Value::Interface(Interface::Prefix(_)) => true,
            Value::Ports(ports) => !ports.is_single(),
            Value::Family(_)
            | Value::Address(_)
            | Value::Protocol(_)
            | Value::Interface(Interface::Exact(_))
            | Value::AddressType(_)
            | Value::Invalid
            | Value::Reply => false,
        }
    }
}

/// What the routing table says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressType {
    Local,
    Broadcast,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Goes on where the field has one of the values (`negated`: none of them). One value is written without braces.
    Match {
        field: Field,
        negated: bool,
        values: Vec<Value>,
    },
    /// `KEY vmap @MAP`: goes on where no element matches.
    Lookup {
        key: Vec<Field>,
        map: Name,
    },
    /// `PICK vmap { … }`
    Branch(Choice<Verdict>),
    Dnat {
        family: Family,
        to: Destination,
    },
    /// The new port; never [`NewPort::Kept`].
    Redirect(NewPort),
    Reject(Reject),
    Verdict(Verdict),
}

/// The end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Return,
    Goto(Name),
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    TcpReset,
    PortUnreachable,
}

/// Where destination NAT leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    One(IpAddr, NewPort),
    /// Addresses alone: the port is kept.
    Addresses(Choice<IpAddr>),
    Endpoints(Choice<(IpAddr, u16)>),
}

/// The port of a connection after NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPort {
    Kept,
    Fixed(u16),
    /// `FIELD map { listen : to, … }`, ascending by the old port. Another port does not match.
    Mapped {
        field: Field,
        ports: Vec<(u16, u16)>,
    },
}

/// A number drawn by [`Pick`], and what each number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<T> {
    pub pick: Pick,
    /// Ascending, disjoint, covering `0..modulus` exactly.
    pub elements: Vec<(Numbers, T)>,
}

/// From the first to the last number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numbers {
    pub first: u32,
    pub last: u32,
}

impl Numbers {
    pub fn one(number: u32) -> Numbers {
        Numbers { first: number, last: number }
    }
}

/// How a number below the modulus (at least 2) is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// `numgen random mod N`: `(random32 * N) >> 32`.
    Random { modulus: u32 },
    /// `numgen inc mod N`: from 0, one more for each connection that reaches the rule.
    InTurn { modulus: u32 },
    /// `jhash SADDR mod N seed S`: `(jhash(address, S) * N) >> 32`.
    SourceHash { family: Family, modulus: u32, seed: u32 },
}

impl Pick {
    pub fn modulus(self) -> u32 {
        match self {
            Pick::Random { modulus } | Pick::InTurn { modulus } | Pick::SourceHash { modulus, .. } => modulus,
        }
    }
}

/// `ip4` or `ip6`, for names.
pub fn short(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    }
}
