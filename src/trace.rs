//! What the evaluators of all targets speak: a packet goes in, and what the rules do to it comes out, exactly.
//!
//! An evaluator walks rules as they were read back from text, not the program that they were made from: it knows
//! neither the IR nor the lowering, so that the two can be held against each other. Probabilities are exact: a
//! random match of `k / 2^31` is just that fraction, and a counter that takes every third connection takes a third.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::ir::share::Share;
use crate::meaning::{Action, Direction};
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
