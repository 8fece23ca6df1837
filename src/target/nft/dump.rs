//! What an nftables ruleset holds as far as it decides about NAT, in general: our own output and that of others.
//!
//! Values are numbers, addresses and names; what a number stands for (`tcp`, `new`, `local`) is its [`Kind`]'s.
//! Whatever is not understood is kept as text ([`Expr::Unknown`], [`Statement::Unknown`], [`Value::Other`]), never
//! guessed.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;

use crate::ir::Family;
use crate::option::limit::Unit;
use crate::statement::balance::Protocol;
use crate::trace::Unknown;

pub use super::kind::{Kind, address, number};

/// All tables of a machine that see IP packets. Those of the families `arp`, `bridge` and `netdev` are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// In the order in which they were made.
    pub tables: Vec<Table>,
}

/// The packets that a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableFamily {
    Ip,
    Ip6,
    Inet,
}

impl TableFamily {
    pub fn sees(self, family: Family) -> bool {
        match self {
            TableFamily::Ip => family == Family::V4,
            TableFamily::Ip6 => family == Family::V6,
            TableFamily::Inet => true,
        }
    }
}

/// A table with its chains and sets; their names are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub family: TableFamily,
    pub name: String,
    /// The names of its counters.
    pub counters: Vec<String>,
    chains: Vec<Chain>,
    sets: Vec<Set>,
    chain_of: HashMap<String, usize>,
    set_of: HashMap<String, usize>,
}

impl Table {
    pub fn new(family: TableFamily, name: &str) -> Table {
        Table {
            family,
            name: name.to_owned(),
            counters: Vec::new(),
            chains: Vec::new(),
            sets: Vec::new(),
            chain_of: HashMap::new(),
            set_of: HashMap::new(),
        }
    }

    /// In the order in which they were made.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The index of a chain.
    pub fn chain(&self, name: &str) -> Option<usize> {
        self.chain_of.get(name).copied()
    }

    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        let index = self.chain(name)?;
        self.chains.get_mut(index)
    }

    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.get(*self.set_of.get(name)?)
    }

    pub fn set_mut(&mut self, name: &str) -> Option<&mut Set> {
        self.sets.get_mut(*self.set_of.get(name)?)
    }

    /// Adds a chain; one that is there already stays as it is, as nft has it.
    pub fn add_chain(&mut self, chain: Chain) {
        if !self.chain_of.contains_key(&chain.name) {
            self.chain_of.insert(chain.name.clone(), self.chains.len());
            self.chains.push(chain);
        }
    }

    /// Adds a set or map; one that is there already gets the elements.
    pub fn add_set(&mut self, set: Set) {
        match self.set_mut(&set.name) {
            Some(old) => old.elements.extend(set.elements),
            None => {
                self.set_of.insert(set.name.clone(), self.sets.len());
                self.sets.push(set);
            }
        }
    }
}

impl Dump {
    /// Without the base chains that only filter what was translated already; `None` where there is none.
    pub fn without_filters(&self) -> Option<Dump> {
        let filters = |base: &Base| base.kind == ChainKind::Filter && base.priority > DSTNAT;
        let mut found = false;
        let mut dump = self.clone();
        for chain in dump.tables.iter_mut().flat_map(|table| &mut table.chains) {
            if chain.base.is_some_and(|base| filters(&base)) {
                chain.base = None;
                found = true;
            }
        }
        found.then_some(dump)
    }

    /// What cannot be told of a family's packets, and the rule that it stands in.
    pub fn unknown(&self, family: Family) -> Vec<Unknown> {
        let tables = self.tables.iter().filter(|table| table.family.sees(family));
        let rules = tables.flat_map(Table::chains).flat_map(|chain| &chain.rules);
        let unknown = |statement: &Statement| match statement {
            Statement::Unknown(what) | Statement::Match { right: Operand::Unknown(what), .. } => Some(what.to_string()),
            Statement::Match { left: expr, .. }
            | Statement::Lookup { key: expr, .. }
            | Statement::Mark { value: expr, .. } => expr.unknown(),
            Statement::Nat { address, port, .. } => [address, port].into_iter().flatten().find_map(Expr::unknown),
            Statement::Verdict(_)
            | Statement::Reject(_)
            | Statement::Learn { .. }
            | Statement::Limit { .. }
            | Statement::Quiet(_) => None,
        };
        let of_rule = |rule: &Rule| -> Vec<Unknown> {
            let all = rule.statements.iter().filter_map(unknown);
            all.map(|what| Unknown { what, rule: rule.to_string() }).collect()
        };
        rules.flat_map(of_rule).collect()
    }
}

/// Where nat translates destinations of what arrives (NF_IP_PRI_NAT_DST).
const DSTNAT: i32 = -100;

/// A chain; with a base it is asked by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// How a base chain is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub kind: ChainKind,
    pub hook: HookPoint,
    pub priority: i32,
    /// What happens at the chain's end: drop, else accept.
    pub drops: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Also `route`, which differs for packets of this machine whose mark changes.
    Filter,
    Nat,
}

/// Where the kernel asks base chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    /// `ingress`, which no IP packet of interest is decided at.
    Ingress,
}

/// A named set, map or verdict map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    /// What a key is made of.
    pub key: Vec<Kind>,
    /// What a map's data is made of; empty for sets and verdict maps.
    pub data: Vec<Kind>,
    /// Milliseconds after which elements are gone that rules put in.
    pub timeout: Option<u64>,
    pub elements: Vec<Element>,
}

/// A key of a set, with what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<Value>,
    pub data: Data,
    pub comment: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The element of a set.
    None,
    Values(Vec<Value>),
    Verdict(Verdict),
    Other(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Continue,
    Jump(Box<str>),
    Goto(Box<str>),
}

/// Statements in order, and the comment behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub statements: Vec<Statement>,
    pub comment: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Match {
        left: Expr,
        operator: Operator,
        right: Operand,
    },
    /// A verdict map.
    Lookup {
        key: Expr,
        map: Elements,
    },
    Verdict(Verdict),
    Nat {
        nat: Nat,
        /// `None` where the rule does not say it.
        family: Option<Family>,
        address: Option<Expr>,
        port: Option<Expr>,
    },
    /// What stands behind `reject`, maybe nothing.
    Reject(Box<str>),
    /// `meta mark set`, `ct mark set`.
    Mark {
        field: Field,
        value: Expr,
    },
    /// `add @SET { … }`, `update @SET { … }`: remembers, if what stands inside lets it.
    Learn {
        update: bool,
        set: Box<str>,
        key: Expr,
        data: Option<Expr>,
        inner: Vec<Statement>,
    },
    /// `limit`, `ct count`: passes while the client stays below (`over`: when it is above).
    Limit {
        over: bool,
        bound: Bound,
    },
    /// Decides nothing.
    Quiet(Quiet),
    Unknown(Box<str>),
}

/// What a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `limit rate N/UNIT burst N packets`; in a nat chain a packet is a connection.
    Packets { rate: u32, unit: Unit, burst: u32 },
    /// `ct count N`
    Connections(u32),
    /// The whole statement as nft writes it.
    Other(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// With the name of one that is shared.
    Counter(Option<Box<str>>),
    /// With its prefix.
    Log(Option<Box<str>>),
    /// One of iptables that only says something, as listed.
    Compat(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    Dnat,
    Snat,
    Masquerade,
    Redirect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    /// One of the bits is set.
    In,
    /// None of the bits is set.
    NotIn,
}

/// The right side of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// One value for each part of the left side.
    Values(Vec<Value>),
    Elements(Elements),
    Unknown(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    Named(Box<str>),
    Anonymous(Vec<Element>),
}

/// What a rule computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    Field(Field),
    Constant(Vec<Value>, Kind),
    Concat(Vec<Expr>),
    /// `numgen`; the modulus is at least 1.
    Numgen {
        random: bool,
        modulus: u32,
        offset: u32,
    },
    /// The modulus is at least 1; without a seed the kernel draws one.
    Jhash {
        of: Box<Expr>,
        modulus: u32,
        seed: Option<u32>,
        offset: u32,
    },
    Bits(Bits, Box<Expr>, Box<Expr>),
    Map(Box<Expr>, Elements),
    Unknown(Box<str>),
}

impl Expr {
    /// What of it is not understood.
    fn unknown(&self) -> Option<String> {
        match self {
            Expr::Unknown(what) => Some(what.to_string()),
            Expr::Concat(parts) => parts.iter().find_map(Expr::unknown),
            Expr::Jhash { of, .. } => of.unknown(),
            Expr::Bits(_, one, other) => one.unknown().or_else(|| other.unknown()),
            Expr::Map(key, _) => key.unknown(),
            Expr::Field(_) | Expr::Constant(..) | Expr::Numgen { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    And,
    Or,
    Xor,
}

/// What a rule reads of a packet and its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `meta nfproto`
    Family,
    /// `meta l4proto`
    Protocol,
    /// `ip protocol`, `ip6 nexthdr`
    NextHeader(Family),
    InInterface,
    OutInterface,
    Mark,
    ConnectionMark,
    Source(Family),
    Destination(Family),
    /// `th sport` without a protocol.
    SourcePort(Option<Protocol>),
    Port(Option<Protocol>),
    /// `fib saddr type`
    SourceType,
    /// `fib daddr type`
    DestinationType,
    State,
    Direction,
    Status,
    OriginalSource(Family),
    OriginalDestination(Family),
    OriginalSourcePort,
    OriginalPort,
    TcpFlags,
}

impl Field {
    /// Whether it asks a connection, and not the packet.
    pub fn is_of_connection(self) -> bool {
        match self {
            Field::ConnectionMark
            | Field::State
            | Field::Direction
            | Field::Status
            | Field::OriginalSource(_)
            | Field::OriginalDestination(_)
            | Field::OriginalSourcePort
            | Field::OriginalPort => true,
            Field::Family
            | Field::Protocol
            | Field::NextHeader(_)
            | Field::InInterface
            | Field::OutInterface
            | Field::Mark
            | Field::Source(_)
            | Field::Destination(_)
            | Field::SourcePort(_)
            | Field::Port(_)
            | Field::SourceType
            | Field::DestinationType
            | Field::TcpFlags => false,
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Field::Family => Kind::Family,
            Field::Protocol | Field::NextHeader(_) => Kind::Protocol,
            Field::InInterface | Field::OutInterface => Kind::Interface,
            Field::Mark | Field::ConnectionMark => Kind::Mark,
            Field::Source(_) | Field::Destination(_) | Field::OriginalSource(_) | Field::OriginalDestination(_) => {
                Kind::Address
            }
            Field::SourcePort(_) | Field::Port(_) | Field::OriginalSourcePort | Field::OriginalPort => Kind::Number,
            Field::SourceType | Field::DestinationType => Kind::AddressType,
            Field::State => Kind::State,
            Field::Direction => Kind::Direction,
            Field::Status => Kind::Status,
            Field::TcpFlags => Kind::TcpFlags,
        }
    }
}

/// One value, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Number(u32),
    /// From the first to the last.
    Numbers(u32, u32),
    Address(IpAddr),
    Net(IpNet),
    Addresses(IpAddr, IpAddr),
    Name(Box<str>),
    NamePrefix(Box<str>),
    /// `*`: whatever no other element holds.
    Rest,
    Other(Box<str>),
}

/// A text that is not a ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// From 1.
    pub line: Option<usize>,
    pub message: String,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
