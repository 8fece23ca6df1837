//! What the evaluators of all targets speak: a packet goes in, and what the rules do to it comes out, exactly.
//!
//! An evaluator walks rules as they were read back from text, not the program that they were made from: it knows
//! neither the IR nor the lowering, so that the two can be held against each other. Probabilities are exact: a
//! random match of `k / 2^31` is just that fraction, and a counter that takes every third connection takes a third.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::ir::share::Share;
use crate::meaning::{Action, Direction};
use crate::option::limit::Unit;
use crate::statement::balance::Protocol;

/// The first packet of a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub protocol: Protocol,
    pub source: IpAddr,
    /// `None` where it was not said: a rule that asks for it cannot be evaluated.
    pub source_port: Option<u16>,
    /// Of the source's family.
    pub destination: IpAddr,
    pub port: u16,
    pub direction: Direction,
}

/// What has to be known of the machine that holds the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its addresses, loopback left out (that is always its own).
    pub local: Vec<IpNet>,
    /// What it remembers when the connection comes.
    pub memory: Memory,
}

/// What stateful rules find: nothing, where a client is new and under every limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The limits of new connections in a time that are reached.
    pub over_rate: Over<Rate>,
    /// The limits of connections at a time that are reached.
    pub over_count: Over<Count>,
    /// Sets and maps that hold clients take no more of them.
    pub full: bool,
    pub known: Option<Known>,
}

/// Which limits are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over<T> {
    #[default]
    None,
    /// Those of this kind.
    Of(T),
    All,
}

impl<T: PartialEq> Over<T> {
    /// Whether a limit is reached; `None` is one of a kind that is not known.
    pub fn holds(&self, limit: Option<T>) -> bool {
        match self {
            Over::None => false,
            Over::Of(own) => limit.as_ref() == Some(own),
            Over::All => true,
        }
    }
}

/// A limit of new connections in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub rate: u32,
    pub unit: Unit,
    pub burst: u32,
    pub per_source: bool,
}

/// A limit of connections at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub count: u32,
    pub per_source: bool,
}

/// What an earlier connection has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What became of that connection.
    pub action: Action,
    /// What holds its client now.
    pub stores: Vec<Store>,
    /// How long ago that was, in milliseconds.
    pub age: u64,
    /// Whether that is too long ago to count, for stores whose time the rules do not say.
    pub is_stale: bool,
}

/// A list, set or map that holds a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Store {
    pub name: String,
    /// What a map has for the client: an address, and a port where it has one.
    pub data: Option<(IpAddr, Option<u16>)>,
}

impl Machine {
    /// Whether an address belongs to this machine.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local.iter().any(|net| net.contains(&address))
    }
}

/// The client's address as the backend sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Kept,
    /// An address of this machine.
    Masquerade,
    Address(IpAddr),
}

/// One thing that may happen to the connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    pub action: Action,
    pub source: Source,
    /// The comment of the rule (or map element) that decided, where it has one.
    pub comment: Option<String>,
    /// Positive; the shares of all outcomes sum to 1.
    pub share: Share,
}

/// What a rule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Every match held, for this part of the connections.
    Yes,
    No,
    /// A match is unknown; the rule counts as one that does not match.
    CannotTell,
}

/// One rule that was tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub table: String,
    pub chain: String,
    /// The rule as its own tool writes it.
    pub rule: String,
    pub hit: Hit,
    /// The part of all such connections that gets to this rule.
    pub reached: Share,
    /// The part of all such connections that the rule takes: `reached` times its own probability, 0 where it misses.
    pub taken: Share,
}

/// Rules in the order in which they are tested, as far as anyone reads them.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    list: Vec<Step>,
    /// What the list takes when it is written, about.
    bytes: u64,
    full: bool,
}

impl Steps {
    /// Steps of one list.
    const MOST: usize = 100_000;
    /// Rules may be as long as a file, and shares have thousands of digits.
    const MOST_BYTES: u64 = 32 << 20;

    /// Whether no more steps are taken.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Takes no more: from here on rules are passed over.
    pub fn close(&mut self) {
        self.full = true;
    }

    pub fn push(&mut self, step: Step) {
        let digits = |share: &Share| share.denom().bits().min(Self::MOST as u64) / 2;
        let [table, chain, rule] = [&step.table, &step.chain, &step.rule].map(|text| text.len() as u64);
        self.bytes += table + chain + rule + digits(&step.reached) + digits(&step.taken);
        self.full |= self.list.len() >= Self::MOST || self.bytes > Self::MOST_BYTES;
        if !self.full {
            self.list.push(step);
        }
    }

    pub fn into_list(self) -> Vec<Step> {
        self.list
    }
}

/// A match or a target that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// The part of the rule, as written.
    pub what: String,
    /// The whole rule, as written.
    pub rule: String,
}

/// What became of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Distinct in action, source and comment; ascending by action.
    pub outcomes: Vec<Outcome>,
    /// Every rule tested, in order; empty where no one asked for them.
    pub steps: Vec<Step>,
    /// Without repetition, in order.
    pub unknown: Vec<Unknown>,
    /// Whether there were more rules, or more ways through them, than are followed: what was left then passed the rest.
    pub cut: bool,
    /// Whether more rules were tested than `steps` has.
    pub unlisted: bool,
    /// Counters run in step here, and what they do together could not be told: shares take them for independent.
    pub loose: bool,
}

impl Trace {
    /// The actions alone, ascending, with the sum of their shares: what the reference meaning speaks of.
    pub fn actions(&self) -> Vec<(Action, Share)> {
        let mut list: Vec<(Action, Share)> = Vec::new();
        for outcome in &self.outcomes {
            match list.iter_mut().find(|(action, _)| *action == outcome.action) {
                Some((_, share)) => *share += &outcome.share,
                None => list.push((outcome.action.clone(), outcome.share.clone())),
            }
        }
        list.sort();
        list
    }
}

/// Rules that can be walked: what a target's reader makes of its text.
pub trait Walk {
    /// The distribution over what happens to one new connection, in the long run: of rules that only connections like
    /// it pass, from when they were loaded.
    ///
    /// Matches that keep state are those of a client not yet remembered and under its limits. `steps` asks for the
    /// list of the rules that were tested.
    fn walk(&self, packet: &Packet, machine: &Machine, steps: bool) -> Trace;

    /// What happens to the first `count` new connections with freshly loaded rules: counters (`nth`, `numgen inc`) are
    /// followed from their start.
    ///
    /// `None` where a random match decides: then there is no one sequence.
    fn sequence(&self, packet: &Packet, machine: &Machine, count: usize) -> Option<Vec<Action>>;
}
