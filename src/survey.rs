//! How far an answer holds: the idea behind checking a compiled program for every packet there is.
//!
//! Whoever answers for one packet also says up to where the answer stays the same: no test that was asked on the way
//! changes below the [`Horizon`]. Packet after packet, each at the horizon of the one before, covers the whole space
//! with finitely many questions, cut at every literal that either side ever asks about.

mod amount;
mod asked;
mod protocols;

use crate::ir::share::Share;
use crate::meaning::Action;
use crate::trace::{Known, Machine, Packet, Source, Unknown};

pub use amount::{Amount, Bounds};
pub use asked::{Asked, Side};
pub use protocols::Protocols;

/// The first values above the packet's own at which some test that was asked may answer otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// An address as a number in host order; `None` where nothing changes up to the last address.
    pub destination: Option<u128>,
    /// 65,536 where nothing changes up to the last port.
    pub port: u32,
    /// As `destination`.
    pub source: Option<u128>,
}

impl Horizon {
    /// Nothing was asked.
    pub const FAR: Horizon = Horizon { destination: None, port: 65_536, source: None };

    /// A test whether the destination lies in a range was asked.
    pub fn ask_destination(&mut self, at: u128, first: u128, last: u128) {
        nearer(&mut self.destination, change(at, first, last));
    }

    /// A test whether the source lies in a range was asked.
    pub fn ask_source(&mut self, at: u128, first: u128, last: u128) {
        nearer(&mut self.source, change(at, first, last));
    }

    /// A test whether the destination port lies in a range was asked.
    pub fn ask_port(&mut self, at: u16, first: u16, last: u16) {
        let (at, first, last) = (u32::from(at), u32::from(first), u32::from(last));
        let change = if at < first {
            first
        } else if at <= last {
            last + 1
        } else {
            65_536
        };
        self.port = self.port.min(change);
    }

    /// The nearer of each.
    pub fn join(&mut self, other: Horizon) {
        nearer(&mut self.destination, other.destination);
        nearer(&mut self.source, other.source);
        self.port = self.port.min(other.port);
    }
}

/// Where the answer to "is it in `first..=last`" changes next, above `at`.
fn change(at: u128, first: u128, last: u128) -> Option<u128> {
    if at < first {
        Some(first)
    } else if at <= last {
        last.checked_add(1)
    } else {
        None
    }
}

fn nearer(old: &mut Option<u128>, new: Option<u128>) {
    *old = match (*old, new) {
        (Some(old), Some(new)) => Some(old.min(new)),
        (None, one) | (one, None) => one,
    };
}

/// What else of a packet some test asked about: of what no test asked, every other value gives the same answer.
///
/// The direction is not among them: it decides where the walk starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    pub protocols: Protocols,
    /// The name of the interface that the packet arrives on.
    pub interface: bool,
    /// Whether the packet's own destination is this machine's.
    pub local: bool,
    /// Which other addresses are.
    pub others: bool,
}

impl Facets {
    pub const NONE: Facets = Facets { protocols: Protocols::NONE, interface: false, local: false, others: false };

    /// Whatever either asked about.
    pub fn join(&mut self, other: Facets) {
        self.protocols = self.protocols.and(other.protocols);
        self.interface |= other.interface;
        self.local |= other.local;
        self.others |= other.others;
    }
}

/// An answer, and how far it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<S = Share> {
    /// Distinct, ascending; positive shares that sum to 1. Up to the horizon they differ in nothing but ports that are
    /// kept or shifted. Empty where it cannot be told, which agrees with nothing.
    pub actions: Vec<(Action, S)>,
    pub horizon: Horizon,
    pub facets: Facets,
    pub hashed: Hashed,
    pub in_step: InStep,
    /// The tests that were asked, as a measure of the work.
    pub cost: u64,
    /// Whether there were more rules, or more ways through them, than are followed: then the actions are not the whole
    /// answer.
    pub cut: bool,
    /// What is not known of the rules on the way, as a [trace](crate::trace::Trace) has it.
    pub unknown: Vec<Unknown>,
}

/// What tells askers for bits of the source from those for a hash of it.
pub const BITS: u64 = 1 << 63;

/// Who asked for a hash of the source first, where anyone did: then the answer holds for this very source alone, and the
/// horizon says how far the other tests go. The number tells the askers of one party apart.
pub type Hashed = Option<u64>;

/// A number for the way through the rules, where counters run in step on it: shares then take them for independent, which
/// they are not, and mean something only beside others of the same number. A proof does without.
pub type InStep = Option<u64>;

/// What has become of a connection when its source may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// `Dnat`, `Redirect` or `Pass`.
    pub action: Action,
    /// Whether the port is the packet's own or moves with it.
    pub follows: bool,
}

/// Who a server takes for the client, and how far that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `None` where it cannot be told, or where the connection goes nowhere.
    pub source: Option<Source>,
    pub horizon: Horizon,
    pub facets: Facets,
    /// Whether anything asked where the connection was sent, beyond whether that is this machine. Else every other backend
    /// has the same answer that is no destination up to the horizon, no special address, and this machine's or not alike.
    pub asks_backend: bool,
    /// As [`Answer::cost`].
    pub cost: u64,
}

/// Who answers for packets.
///
/// A proof asks first what becomes of a packet, and then for each outcome by itself who the server sees: a list of
/// clients near one of a thousand servers says nothing about the others.
pub trait Survey: Sync {
    fn answer(&self, packet: &Packet, machine: &Machine) -> Answer;

    /// As [`Survey::answer`], with shares that cost less. It may ask more.
    fn estimate(&self, packet: &Packet, machine: &Machine) -> Answer<Amount> {
        self.estimate_below(packet, machine, Horizon::FAR.port)
    }

    /// Who the server sees of a connection to which this has happened.
    fn source(&self, packet: &Packet, machine: &Machine, translated: &Translated) -> Seen {
        self.source_below(packet, machine, translated, Horizon::FAR.port)
    }

    /// As [`Survey::estimate`], for ports below `end` alone: how far the answer holds for other destinations counts for
    /// those ports, and the horizon of the port is at most `end`.
    fn estimate_below(&self, packet: &Packet, machine: &Machine, end: u32) -> Answer<Amount>;

    /// As [`Survey::source`], for ports below `end` alone.
    fn source_below(&self, packet: &Packet, machine: &Machine, translated: &Translated, end: u32) -> Seen;

    /// What each thing that may happen to a connection leaves behind of its client, ascending; `None` where that cannot be
    /// told.
    fn remembered(&self, packet: &Packet, machine: &Machine) -> Option<Vec<Known>>;

    /// Whether there is anything that may change the source of a connection.
    fn changes_sources(&self) -> bool;

    /// The interfaces that tests name: exact names, and prefixes.
    fn interfaces(&self) -> Vec<crate::ir::Interface>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_changes_where_it_starts_and_behind_its_end() {
        assert_eq!(change(0, 5, 9), Some(5));
        assert_eq!(change(5, 5, 9), Some(10));
        assert_eq!(change(9, 5, 9), Some(10));
        assert_eq!(change(10, 5, 9), None);
        assert_eq!(change(5, 5, u128::MAX), None);
        let mut horizon = Horizon::FAR;
        horizon.ask_port(80, 1, 65_535);
        assert_eq!(horizon.port, 65_536);
        horizon.ask_port(80, 443, 443);
        horizon.ask_port(80, 90, 443);
        assert_eq!(horizon.port, 90);
        horizon.ask_port(80, 80, 80);
        assert_eq!(horizon.port, 81);
    }
}
