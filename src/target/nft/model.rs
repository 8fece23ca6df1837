//! The typed model of a ruleset: one table with its verdict maps and chains. The printers and evaluators only read it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dispatch;
use crate::endpoint::PortRange;
use crate::ir::options::LogPrefix;
use crate::ir::{Family, Interface};
use crate::option::limit::Unit;
use crate::statement::balance::Protocol;

pub use super::words::{BadName, Comment, Name};

/// One table of the `inet` family and everything in it.
///
/// Every chain, map, set and counter that a rule or an element names is part of the ruleset, under a name of its own;
/// counters have names apart from those of maps and sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub table: Name,
    pub counters: Vec<Name>,
    pub memories: Vec<Memory>,
    pub sets: Vec<ValueSet>,
    pub ports: Vec<PortMap>,
    pub maps: Vec<VerdictMap>,
    /// Of text alone: nft 1.0.6 lists them as JSON, and does not read that.
    pub turns: Vec<TurnMap>,
    pub servers: Vec<ServerMap>,
    /// Base chains first, then those that they lead to.
    pub chains: Vec<Chain>,
}

/// A named map from keys to verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictMap {
    pub name: Name,
    /// What the key is made of, at least one field.
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

/// A named set of values that several rules ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSet {
    pub name: Name,
    /// What the values are of.
    pub key: Vec<Field>,
    /// Whether values may be ranges. They must not overlap.
    pub interval: bool,
    /// At least one; each with a value for each field.
    pub elements: Vec<Vec<Value>>,
}

/// A named map from ports to ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMap {
    pub name: Name,
    /// Old and new ports, ascending by the old one; at least one.
    pub ports: Vec<(u16, u16)>,
}

/// A named map from the turns of a round robin to where each leads. Services whose turns are alike share it, and each has
/// a rule of its own that counts: [`Statement::TakeTurn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnMap {
    pub name: Name,
    /// For each turn from 0 on; at least two.
    pub turns: Vec<Verdict>,
}

/// A named map from `DESTINATION . PROTOCOL . PORT` of many services to the server that each has at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMap {
    pub name: Name,
    pub family: Family,
    pub data: Held,
    /// At least one; what they are for differs. All have data of one kind.
    pub elements: Vec<Server>,
}

/// What a [`ServerMap`] knows of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    Endpoints,
    Addresses,
    Ports,
}

impl ServerMap {
    /// The fields of a key.
    pub fn key(family: Family) -> [Field; 3] {
        [Field::Destination(family), Field::Protocol, Field::AnyPort]
    }
}

/// One listener of a service, and where its connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
    pub to: Seat,
    pub comment: Option<Comment>,
}

/// A server, or what a map holds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    Endpoint(IpAddr, u16),
    Address(IpAddr),
    Port(u16),
}

/// A set of clients, or a map from them, that rules fill: [`Statement::Remember`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    pub name: Name,
    /// Of the clients' addresses.
    pub family: Family,
    pub data: Remembered,
    /// Milliseconds after which a client is forgotten, at least 1; `None` where the kernel knows by itself.
    pub timeout: Option<u64>,
}

/// How many clients a [`Memory`] holds; rules do not match where they would have to add one more.
pub const MEMORY_SIZE: u32 = 65_535;

/// What a [`Memory`] knows of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// That it is there: a set.
    Nothing,
    /// The address of its backend.
    Address,
    /// Address and port; nft 1.0.6 breaks on IPv6.
    Endpoint,
}

/// A chain; with a hook it is a base chain: `type nat`, policy accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: Name,
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where the kernel asks a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Output,
    Postrouting,
}

impl Hook {
    pub const ALL: [Hook; 3] = [Hook::Prerouting, Hook::Output, Hook::Postrouting];

    pub fn of(hook: dispatch::Hook) -> Hook {
        match hook {
            dispatch::Hook::Prerouting => Hook::Prerouting,
            dispatch::Hook::Output => Hook::Output,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }

    /// The priority of NAT, as a number: nft 1.0.6 refuses the name `dstnat` in the output hook.
    pub fn priority(self) -> i32 {
        match self {
            Hook::Prerouting | Hook::Output => -100,
            Hook::Postrouting => 100,
        }
    }
}

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
    /// `ct status`
    ConnectionStatus,
    /// `ct original ip daddr`, `ct original ip6 daddr`: as the client opened the connection.
    OriginalDestination(Family),
    /// `ct original proto-dst`: nft knows what it is only behind a test of the protocol or of a port.
    OriginalPort,
}

/// One value, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// `dnat`
    Translated,
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
            | Value::Reply
            | Value::Translated => false,
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
    /// `KEY { A . B, … }`: goes on where the fields, at least two, have the values of one of the tuples.
    Tuple {
        key: Vec<Field>,
        values: Vec<Vec<Value>>,
    },
    /// `KEY @SET`: goes on for what is in a set, or (`negated`) for what is not. The set may be one that rules fill.
    Member {
        key: Vec<Field>,
        negated: bool,
        set: Name,
    },
    /// `PICK NUMBERS`: goes on where the number drawn is one of these.
    Drawn {
        pick: Pick,
        numbers: Numbers,
    },
    /// `update @SET { ip saddr … }`: remembers the client. Does not match where the memory is full.
    Remember {
        family: Family,
        memory: Name,
        what: Remember,
    },
    Limit(Rate),
    /// `ct count over N`: goes on for connections beyond so many at a time.
    CountOver(u32),
    Counter(Name),
    Log(LogPrefix),
    /// `KEY vmap @MAP`: goes on where no element matches.
    Lookup {
        key: Vec<Field>,
        map: Name,
    },
    /// `numgen inc mod N vmap @MAP`: a [`TurnMap`] of as many turns.
    TakeTurn {
        modulus: u32,
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
    Masquerade,
    /// `snat ip to ADDRESS`
    Snat(IpAddr),
    Reject(Reject),
    Verdict(Verdict),
}

/// What [`Statement::Remember`] keeps, or asks of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// `update`: its time starts anew.
    Client,
    /// `update`: the address of its backend, where there is none yet; its time starts anew.
    Address(IpAddr),
    /// As `Address`, with the port.
    Endpoint(IpAddr, u16),
    /// `update`: goes on for connections beyond the client's own rate, which is `over`.
    Limit(Rate),
    /// `add`: goes on for connections beyond so many of the client at a time.
    CountOver(u32),
}

/// `limit rate N/UNIT burst N packets`: a token bucket, full at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Goes on for those beyond the rate, rather than for those within it.
    pub over: bool,
    /// At least 1.
    pub rate: u32,
    pub unit: Unit,
    /// At least 1.
    pub burst: u32,
}

/// The end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Return,
    Goto(Name),
    /// Comes back with what the chain leaves alone.
    Jump(Name),
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
    /// What a [`ServerMap`] has for the packet's destination, protocol and port. Another packet does not match. The ports
    /// stand in a map of their own where the first has addresses alone.
    Listed {
        map: Name,
        ports: Option<Name>,
    },
    /// What a map remembers of the client: `ip saddr map @MAP`. The port stands behind it where all have the same.
    Remembered {
        family: Family,
        map: Name,
        port: NewPort,
    },
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
    /// As `Mapped`, by a [`PortMap`].
    Listed {
        field: Field,
        map: Name,
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
