//! The typed rule model: tables, chains, rules. Printers and evaluators read it; only `lower` builds it.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::dispatch::Hook;
use crate::endpoint::PortRange;
use crate::ir::Family;
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
    /// PREROUTING, OUTPUT or INPUT.
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
    /// `-m conntrack --ctstate DNAT`, with the original destination.
    Translated { destination: Option<IpNet>, port: PortRange },
}

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
