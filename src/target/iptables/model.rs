//! The typed rule model: tables, chains, rules. Printers and evaluators read it; only `lower` builds it.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::dispatch::Hook;
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::ir::options::LogPrefix;
use crate::option::limit::Unit;
use crate::statement::balance::Protocol;
use crate::target::split::Probability;

/// Everything for both families. A family that the program does not use has empty chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// The families that have rules.
    pub families: Vec<Family>,
    /// `LBC` or `LBC-NAME`: what every own chain starts with, a `-` behind it.
    pub prefix: String,
    /// Whether any rule sends a connection to another machine, so that it has to be forwarded.
    pub forwards: bool,
    /// In the order in which they are committed: additions to filter before nat uses them.
    pub tables: Vec<Table>,
    /// The sets that rules name.
    pub sets: Vec<ClientSet>,
    pub comments: Vec<Comment>,
}

impl Ruleset {
    pub fn comment(&self, id: CommentId) -> &Comment {
        &self.comments[id.0 as usize]
    }
}

/// One table with its own chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: TableName,
    /// Own chains, each before the first rule that names it is printed.
    pub chains: Vec<Chain>,
    /// Jumps from built-in chains into own ones.
    pub hooks: Vec<HookJump>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableName {
    Filter,
    Nat,
}

impl TableName {
    pub fn as_str(self) -> &'static str {
        match self {
            TableName::Filter => "filter",
            TableName::Nat => "nat",
        }
    }
}

/// `-I CHAIN 1 -j OWN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookJump {
    /// PREROUTING, OUTPUT, POSTROUTING, INPUT or FORWARD.
    pub built_in: &'static str,
    pub chain: ChainId,
}

/// A chain's place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u32);

/// An own chain: the same name in both families, with rules for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: ChainName,
    pub v4: Vec<Rule>,
    pub v6: Vec<Rule>,
}

impl Chain {
    pub fn rules(&self, family: Family) -> &[Rule] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub fn rules_mut(&mut self, family: Family) -> &mut Vec<Rule> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// A chain's name: 1 to 28 bytes of printable ASCII (XT_EXTENSION_MAXNAMELEN - 1), no quotes, not starting with `-` or `!`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(String);

/// The longest chain name in bytes.
pub const MAX_CHAIN_NAME: usize = 28;

impl ChainName {
    pub fn new(name: String) -> Option<ChainName> {
        let fits = (1..=MAX_CHAIN_NAME).contains(&name.len());
        let clean = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\'');
        (fits && clean && !name.starts_with(['-', '!'])).then_some(ChainName(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A comment's place in its ruleset: the rules of a service share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommentId(pub u32);

/// A rule's comment: at most 255 bytes (iptables cuts a longer one in silence), no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    text: String,
    /// Whether the text can stand in double quotes as it is.
    plain: bool,
}

/// The longest comment in bytes: XT_MAX_COMMENT_LEN - 1.
pub const MAX_COMMENT: usize = 255;

impl Comment {
    /// Cuts the text in front, where the path stands, and replaces control characters.
    pub fn new(text: String) -> Comment {
        let clean = text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
        let mut text = match clean {
            true => text,
            false => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        };
        if text.len() > MAX_COMMENT {
            text = crate::target::cut_front(&text, MAX_COMMENT).into_owned();
        }
        let plain = !text.bytes().any(|byte| matches!(byte, b'"' | b'\\'));
        Comment { text, plain }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the text can stand in double quotes as it is.
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

/// One rule: all of its matches have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub source: Option<Negatable<IpNet>>,
    pub destination: Option<Negatable<IpNet>>,
    /// Boxed, because few rules have one and there may be a million rules.
    pub interface: Option<Box<Negatable<Interface>>>,
    pub protocol: Option<Protocol>,
    pub matches: Matches,
    pub comment: Option<CommentId>,
    pub target: Target,
}

impl Rule {
    /// Matches everything, and returns.
    pub const EMPTY: Rule = Rule {
        source: None,
        destination: None,
        interface: None,
        protocol: None,
        matches: Matches::new_const(),
        comment: None,
        target: Target::Return,
    };
}

/// The matches of a rule: most have at most one, and there may be a million rules.
pub type Matches = SmallVec<[Match; 1]>;

/// A match that `!` may stand before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negatable<T> {
    pub not: bool,
    pub value: T,
}

/// `-i`: a name, or with `prefix` the start of one (printed with a `+`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub prefix: bool,
}

/// An extension's match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `-m tcp --dport`; the rule has a protocol.
    Port(PortRange),
    /// `-m multiport --dports`: at most 15, where a range counts as two; the rule has a protocol.
    Multiport(Vec<PortRange>),
    /// `-m addrtype`
    DestinationType(DestinationType),
    /// `-m statistic --mode random`
    Random(Probability),
    /// `-m statistic --mode nth`: every `every`-th connection that the rule sees, from the first on.
    Nth { every: u32 },
    /// `-m cluster` over seven nodes: the client's hash falls on a node of the mask (bit 0 is node 1).
    Cluster { mask: ClusterMask, seed: u32 },
    /// `-m bpf --bytecode`
    Bpf(BpfProgram),
    /// `-m conntrack --ctstate DNAT`, with what the connection was and has become.
    Translated(Box<Translated>),
    /// `-m hashlimit --hashlimit-above`: the connection is one too many for its bucket.
    RateAbove(Box<RateAbove>),
    /// `-m connlimit --connlimit-above`: more than `count` connections at a time passed this rule, those of one client
    /// (`Some` with the length of a whole address) or all of them.
    CountAbove { count: u32, client: Option<Family> },
    /// `-m limit`: at most one a second, ten at once. For the log.
    LogRate,
    /// `-m recent`: `--rcheck` with seconds, or `--set`.
    Recent(Box<Recent>),
    /// `-m set --match-set NAME src`
    InSet(SetName),
}

/// A connection whose destination was translated. Every field that is given has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Of the connection: `--ctproto`. An ICMP error about it has that too, and another protocol of its own.
    pub protocol: Option<Protocol>,
    /// As the client sent it: `--ctorigdst`.
    pub destination: Option<IpNet>,
    /// As the client sent it: `--ctorigdstport`.
    pub port: Option<PortRange>,
    /// `--ctorigsrc`
    pub client: Option<Negatable<IpNet>>,
    /// Who answers: `--ctreplsrc`, `--ctreplsrcport`.
    pub backend: Option<(IpAddr, PortRange)>,
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateAbove {
    /// Connections per unit, 1 to [`MAX_RATE`] a second.
    pub rate: u32,
    pub unit: Unit,
    /// 1 to [`MAX_BURST`].
    pub burst: u32,
    /// `--hashlimit-mode srcip`: a bucket for each client, at most 65,536 of them.
    pub per_source: bool,
    /// Milliseconds after which an unused bucket is forgotten.
    pub expire: u32,
    /// Rules of one family with one name share their buckets.
    pub name: String,
}

/// The highest rate in connections a second: XT_HASHLIMIT_SCALE_v2.
pub const MAX_RATE: u64 = 1_000_000;

/// The largest burst of `hashlimit` (iptables' `--hashlimit-burst`).
pub const MAX_BURST: u32 = 1_000_000;

/// What is asked of a list of clients, or done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// `None` is `--set`; else whether the client was seen in so many seconds, at least 1.
    pub seconds: Option<u32>,
    pub name: String,
    /// Whole addresses of this family.
    pub family: Family,
}

/// The name of an ipset: 1 to 31 bytes (IPSET_MAXNAMELEN - 1), no blanks or quotes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(String);

impl SetName {
    pub fn new(name: String) -> Option<SetName> {
        let fits = (1..=31).contains(&name.len());
        let clean = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\'');
        (fits && clean && !name.starts_with(['-', '!'])).then_some(SetName(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An ipset of clients, which has to be there before the rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientSet {
    pub name: SetName,
    pub family: Family,
    /// Seconds, 1 to [`MAX_SET_TIMEOUT`].
    pub timeout: u32,
}

/// The longest timeout of an ipset in seconds: `UINT_MAX / 2000` (IPSET_MAX_TIMEOUT).
pub const MAX_SET_TIMEOUT: u32 = 2_147_483;

/// What `-m addrtype` asks of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationType {
    /// `--dst-type LOCAL`
    Local,
    /// `! --dst-type BROADCAST,MULTICAST` (IPv4)
    NotBroadcastNorMulticast,
    /// `! --dst-type MULTICAST` (IPv6)
    NotMulticast,
}

/// Nodes of seven, as bits: a subset of the first five, or the sixth alone.
///
/// iptables 1.8.9 refuses masks over 32 although it saves them, so a saved rule with one could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterMask(u8);

impl ClusterMask {
    pub fn new(bits: u8) -> Option<ClusterMask> {
        (1..=32).contains(&bits).then_some(ClusterMask(bits))
    }

    pub fn bits(self) -> u8 {
        self.0
    }
}

/// A classic BPF program of at most 64 instructions (XT_BPF_MAX_NUM_INSTR).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfProgram(Vec<BpfInstruction>);

/// `code jt jf k`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub k: u32,
}

/// The most instructions of a program.
pub const MAX_BPF_INSTRUCTIONS: usize = 64;

impl BpfProgram {
    pub fn new(instructions: Vec<BpfInstruction>) -> Option<BpfProgram> {
        (1..=MAX_BPF_INSTRUCTIONS).contains(&instructions.len()).then_some(BpfProgram(instructions))
    }

    pub fn instructions(&self) -> &[BpfInstruction] {
        &self.0
    }
}

/// Where a connection goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    Jump(ChainId),
    Goto(ChainId),
    #[default]
    Return,
    Dnat(IpAddr, DnatPort),
    /// To a port of this machine.
    Redirect(u16),
    /// TCP reset for tcp, else port unreachable.
    Reject,
    Drop,
    /// No target: the rule counts, and the packet goes on.
    Count,
    /// A line in the log with this in front, and the packet goes on.
    Log(Box<LogPrefix>),
    Accept,
    Masquerade,
    Snat(IpAddr),
    /// `-j SET --add-set NAME src --exist`: the client is in the set from now on, for the set's timeout.
    Remember(Box<SetName>),
}

/// The port of a DNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnatPort {
    Kept,
    Fixed(u16),
    /// `:first-last/base`: port `base + n` becomes `first + n`.
    Shifted {
        first: u16,
        last: u16,
        base: u16,
    },
}

/// The built-in chain of a hook in the nat table.
pub fn built_in(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Output => "OUTPUT",
    }
}
