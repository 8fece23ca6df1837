//! What the text of `iptables-save` can hold: tables, chains and rules, each match typed or kept as written.
//!
//! This is wider than the [`model`](super::model), which only holds what we write ourselves: here stands any rule that
//! anyone may have loaded. It borrows from the text that it was read from.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::Side;

use super::model::{BpfProgram, DnatPort, Negatable, SetName};

/// The tables of a text, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump<'t> {
    /// In the order of their first `*table` line.
    pub tables: Vec<Table<'t>>,
}

impl<'t> Dump<'t> {
    pub fn table(&self, name: TableName) -> Option<&Table<'t>> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Every rule, table after table and chain after chain.
    pub fn rules(&self) -> impl Iterator<Item = &Rule<'t>> {
        self.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules)
    }
}

/// The tables of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    Raw,
    Mangle,
    Nat,
    Filter,
    Security,
}

impl TableName {
    pub const ALL: [TableName; 5] =
        [TableName::Raw, TableName::Mangle, TableName::Nat, TableName::Filter, TableName::Security];

    pub fn as_str(self) -> &'static str {
        match self {
            TableName::Raw => "raw",
            TableName::Mangle => "mangle",
            TableName::Nat => "nat",
            TableName::Filter => "filter",
            TableName::Security => "security",
        }
    }

    /// The chains that the kernel itself walks.
    pub fn built_in(self) -> &'static [&'static str] {
        match self {
            TableName::Raw => &["PREROUTING", "OUTPUT"],
            TableName::Mangle => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            TableName::Nat => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
            TableName::Filter | TableName::Security => &["INPUT", "FORWARD", "OUTPUT"],
        }
    }
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<'t> {
    pub name: TableName,
    /// In the order in which the text first names them; names are unique. No chain leads back to itself.
    pub chains: Vec<Chain<'t>>,
}

impl<'t> Table<'t> {
    pub fn chain(&self, name: &str) -> Option<(ChainId, &Chain<'t>)> {
        (0u32..).zip(&self.chains).find(|(_, chain)| chain.name == name).map(|(id, chain)| (ChainId(id), chain))
    }
}

/// A chain's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u32);

/// One chain with its rules in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'t> {
    pub name: &'t str,
    /// What becomes of a packet at the end of a built-in chain; `None` for chains that rules lead to.
    pub policy: Option<Policy>,
    pub rules: Vec<Rule<'t>>,
}

/// The end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Accept,
    Drop,
}

/// One rule. The kernel tests the fields in this order, and the matches as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'t> {
    /// The line of the text, from 1.
    pub line: u32,
    /// The rule as written, without counters in front.
    pub text: &'t str,
    /// `None` where it is for both.
    pub family: Option<Family>,
    pub source: Option<Negatable<Net>>,
    pub destination: Option<Negatable<Net>>,
    pub input: Option<Negatable<Interface<'t>>>,
    pub output: Option<Negatable<Interface<'t>>>,
    pub protocol: Option<Negatable<RuleProtocol>>,
    pub matches: Vec<Match<'t>>,
    pub comment: Option<Cow<'t, str>>,
    pub target: Target<'t>,
}

impl<'t> Rule<'t> {
    /// Matches everything, and lets it go on.
    pub fn new(line: u32, text: &'t str, family: Option<Family>) -> Rule<'t> {
        Rule {
            line,
            text,
            family,
            source: None,
            destination: None,
            input: None,
            output: None,
            protocol: None,
            matches: Vec::new(),
            comment: None,
            target: Target::Next,
        }
    }

    pub fn is_for(&self, family: Family) -> bool {
        self.family.is_none_or(|own| own == family)
    }
}

/// An address and a mask of the same family. The mask may have holes: `0.0.0.3/0.0.0.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// Without bits outside the mask.
    address: IpAddr,
    mask: IpAddr,
}

impl Net {
    /// `None` where the families differ.
    pub fn new(address: IpAddr, mask: IpAddr) -> Option<Net> {
        let address = match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => IpAddr::V4(address & mask),
            (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        Some(Net { address, mask })
    }

    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (address, self.address, self.mask) {
            (IpAddr::V4(address), IpAddr::V4(own), IpAddr::V4(mask)) => address & mask == own,
            (IpAddr::V6(address), IpAddr::V6(own), IpAddr::V6(mask)) => address & mask == own,
            (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => false,
        }
    }

    /// The one address that it contains, where it is one.
    pub fn host(&self) -> Option<IpAddr> {
        let whole = match self.mask {
            IpAddr::V4(mask) => mask == Ipv4Addr::BROADCAST,
            IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
        };
        whole.then_some(self.address)
    }

    /// As a prefix, where the mask has no holes.
    pub fn prefix(&self) -> Option<ipnet::IpNet> {
        ipnet::IpNet::new(self.address, self.mask_bits()?).ok()
    }

    /// The first and the last address, where the mask has no holes.
    pub fn range(&self) -> Option<(IpAddr, IpAddr)> {
        // The bits outside such a mask are one less than a power of two.
        match (self.address, self.mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => {
                let free = !u32::from(mask);
                (free & free.wrapping_add(1) == 0)
                    .then(|| (address.into(), Ipv4Addr::from(u32::from(address) | free).into()))
            }
            (IpAddr::V6(address), IpAddr::V6(mask)) => {
                let free = !u128::from(mask);
                (free & free.wrapping_add(1) == 0)
                    .then(|| (address.into(), Ipv6Addr::from(u128::from(address) | free).into()))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The last address from this one on up to which all are in it, or none is.
    pub fn alike_up_to(&self, address: IpAddr) -> IpAddr {
        match (address, self.address, self.mask) {
            (IpAddr::V4(at), IpAddr::V4(own), IpAddr::V4(mask)) => {
                let last = alike_up_to(at.to_bits().into(), own.to_bits().into(), mask.to_bits().into(), 32);
                Ipv4Addr::from_bits(last as u32).into()
            }
            (IpAddr::V6(at), IpAddr::V6(own), IpAddr::V6(mask)) => {
                Ipv6Addr::from_bits(alike_up_to(at.to_bits(), own.to_bits(), mask.to_bits(), 128)).into()
            }
            (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => address,
        }
    }

    /// Whether it is stretches of addresses far more than anyone asks about one by one.
    pub fn is_scattered(&self) -> bool {
        const MANY: u32 = 12;
        let holes = match self.mask {
            IpAddr::V4(mask) => mask.to_bits().count_zeros() - mask.to_bits().trailing_zeros(),
            IpAddr::V6(mask) => mask.to_bits().count_zeros() - mask.to_bits().trailing_zeros(),
        };
        holes > MANY
    }

    fn mask_bits(&self) -> Option<u8> {
        ipnet::ip_mask_to_prefix(self.mask).ok()
    }
}

/// The last number from `at` on, below `2^width`, up to which all have the bits `own` under a mask, or none has.
fn alike_up_to(at: u128, own: u128, mask: u128, width: u32) -> u128 {
    let end = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    if at & mask == own {
        // The lowest bit of the mask is as it has to be, and is another one behind the free bits below it.
        let free = if mask == 0 { end } else { (1u128 << mask.trailing_zeros()) - 1 };
        return at | free;
    }
    let wrong = 127 - ((at ^ own) & mask).leading_zeros();
    // Where the highest bit that is wrong has to be set, it is; else some free bit above it is the next to be.
    let free = !mask & !at & end;
    let above = if wrong == 127 { 0 } else { free >> (wrong + 1) << (wrong + 1) };
    let place = if own >> wrong & 1 == 1 {
        wrong
    } else if above == 0 {
        return end;
    } else {
        above.trailing_zeros()
    };
    let below = (1u128 << place) - 1;
    ((at & !below) | 1 << place | own & below) - 1
}

/// `-i` and `-o`: a name, or with `prefix` the start of one (a `+` stands behind it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface<'t> {
    pub name: Cow<'t, str>,
    pub prefix: bool,
}

impl Interface<'_> {
    pub fn is(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&*self.name) } else { self.name == name }
    }
}

/// `-p`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleProtocol {
    One(Protocol),
    /// A protocol that no load balancer speaks: ICMP and the like.
    Other,
}

impl RuleProtocol {
    pub fn is(self, protocol: Protocol) -> bool {
        match self {
            RuleProtocol::One(own) => own == protocol,
            RuleProtocol::Other => false,
        }
    }
}

/// Ports, both ends included. `first > last` is what no port is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// What an extension asks. All of a rule's matches have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match<'t> {
    /// `-m tcp --dport` and its like
    Port { not: bool, side: Side, ports: Ports },
    /// `-m multiport`; no side is either of the two
    Multiport { not: bool, side: Option<Side>, ports: Vec<Ports> },
    /// `-m tcp --tcp-flags MASK SET`, bits as in the header
    TcpFlags { not: bool, mask: u8, set: u8 },
    /// `-f`: a later fragment; connection tracking has put fragments together before any rule sees them
    Fragment { not: bool },
    /// `-m addrtype`
    AddressType { not: bool, side: Side, types: AddressTypes },
    /// `-m statistic --mode random`: `k / 2^31`, `k` up to 2^31
    Random { not: bool, k: u32 },
    /// `-m statistic --mode nth`: `packet < every`
    Nth { not: bool, every: u32, packet: u32 },
    /// `-m conntrack --ctstate`, `-m state`
    State { not: bool, states: States },
    /// `-m conntrack --ctdir`
    Reply(bool),
    /// `-m conntrack --ctproto`
    TrackedProtocol { not: bool, protocol: RuleProtocol },
    /// `-m conntrack --ctorigsrc`, `--ctorigdst`
    OriginalAddress { not: bool, side: Side, net: Net },
    /// `-m conntrack --ctorigsrcport`, `--ctorigdstport`
    OriginalPort { not: bool, side: Side, ports: Ports },
    /// `-m conntrack --ctreplsrc`, `--ctrepldst`: who answers, and to whom
    ReplyAddress { not: bool, side: Side, net: Net },
    /// `-m conntrack --ctreplsrcport`, `--ctrepldstport`
    ReplyPort { not: bool, side: Side, ports: Ports },
    /// `-m mark`, `-m connmark`: the mark (of the connection) under the mask is the value
    Mark { not: bool, connection: bool, value: u32, mask: u32 },
    /// A match that asks what the machine remembers (`limit`, `hashlimit`, `connlimit`), and its answer for a client
    /// that is under every limit
    Remembered(bool),
    /// As [`Match::Remembered`], in a form of our own: a rate, a count, the rate of the log, or a set of known clients
    Stateful(Box<super::model::Match>),
    /// `-m recent`
    Recent { not: bool, ask: Box<Recent<'t>> },
    /// `-m cluster`: bit `n` of `nodes` is node `n + 1`
    Cluster { not: bool, total: u32, nodes: u32, seed: u32 },
    /// `-m bpf --bytecode`
    Bpf(BpfProgram),
    /// `-m iprange`, both ends included and of one family
    Range { not: bool, side: Side, first: IpAddr, last: IpAddr },
    /// Anything else, as written
    Unknown(&'t str),
}

/// What `-m recent` asks of a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent<'t> {
    pub verb: RecentVerb,
    pub list: Cow<'t, str>,
    pub side: Side,
    /// `--seconds`: how long ago that may be at most
    pub seconds: Option<u32>,
    /// `--reap`: what is older leaves the list
    pub reap: bool,
    /// `--hitcount`: so many packets are in the list; 0 where it does not matter
    pub hits: u32,
    /// `--rttl`: they had this packet's TTL
    pub ttl: bool,
    /// `--mask`
    pub mask: Option<IpAddr>,
    /// Whether any rule asks the list under a mask with holes or bits left out: then another address may be the same.
    pub masked: bool,
}

/// What is done with the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecentVerb {
    Set,
    /// `--rcheck`
    Check,
    Update,
    Remove,
}

/// A set of address types, as `-m addrtype` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressTypes {
    pub unicast: bool,
    pub local: bool,
    pub broadcast: bool,
    pub multicast: bool,
}

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    pub new: bool,
    pub untracked: bool,
    pub snat: bool,
    pub dnat: bool,
    /// What a packet is before conntrack has seen it, and the first of a connection never later.
    pub invalid: bool,
    /// ESTABLISHED or RELATED: what the first packet of a connection never is.
    pub later: bool,
}

impl Target<'_> {
    /// Whether a packet goes on behind the rule, and nothing is remembered of it.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Target::Next | Target::Aside(_))
    }
}

/// What becomes of a packet that a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'t> {
    /// No target.
    Next,
    /// One that lets the packet go on behind the rule: `LOG`, `NFLOG`, `TCPMSS` and the like. The prefix of a `LOG` that
    /// has no other option.
    Aside(Option<Cow<'t, str>>),
    /// `-j SET --add-set NAME src --exist`
    Remember(SetName),
    Accept,
    Drop,
    Reject,
    Return,
    Jump(ChainId),
    Goto(ChainId),
    /// No address keeps the address.
    Dnat {
        address: Option<IpAddr>,
        port: DnatPort,
    },
    /// `Kept` or `Fixed`.
    Redirect(DnatPort),
    Masquerade,
    /// No address keeps the address.
    Snat(Option<IpAddr>),
    /// The mark (of the connection) becomes `(mark & !mask) ^ value`.
    Mark {
        connection: bool,
        value: u32,
        mask: u32,
    },
    /// `-j CONNMARK --save-mark`
    SaveMark {
        packet: u32,
        connection: u32,
    },
    /// `-j CONNMARK --restore-mark`
    RestoreMark {
        packet: u32,
        connection: u32,
    },
    /// `-j HMARK` over addresses alone: of each the mask, under which it is hashed; a mask of no bits leaves it out
    Hmark {
        source: Prefix,
        destination: Prefix,
        modulus: u32,
        offset: u32,
        seed: u32,
    },
    /// `-j NOTRACK`, `-j CT --notrack`
    NoTrack,
    /// Anything else, as written: the packet goes on behind the rule, and the trace says so.
    Unknown(&'t str),
}

/// The length of a prefix, at most that of an address of either family: more bits than it has are all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(u8);

impl Prefix {
    pub const NONE: Prefix = Prefix(0);
    pub const ALL: Prefix = Prefix(128);

    /// `None` for more bits than an IPv6 address has.
    pub fn new(length: u8) -> Option<Prefix> {
        (length <= 128).then_some(Prefix(length))
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The addresses that are the same as one.
    pub fn around(self, address: IpAddr) -> ipnet::IpNet {
        let whole = ipnet::IpNet::from(address);
        ipnet::IpNet::new(address, self.0.min(whole.max_prefix_len())).unwrap_or(whole)
    }

    /// What is left of an address.
    pub fn of(self, address: IpAddr) -> IpAddr {
        self.around(address).network()
    }
}
