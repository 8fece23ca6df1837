//! The cost model: which shape a program's rules get, decided from counts alone.
//!
//! The figures are nanoseconds for each new connection beyond what connection tracking costs (1,200 to 1,350), with ten
//! backends a service, measured on Linux 6.18 with iptables 1.8.9 on two x86-64 processors; `cargo bench --bench packets`
//! measures them anew. What matters is their ratio:
//!
//! | | iptables-legacy | iptables-nft |
//! | --- | --- | --- |
//! | a rule whose `-d` does not match | 4.4 | 24 |
//! | a rule with `-m statistic` that does not match | 20 | 24 |
//! | a rule that goes to another chain | 15 | 40 |
//!
//! A list of n rules costs n/2 of the first kind, a tree with eight ways at each node 4.5 of them and a step for each of
//! its log₈(n/4) levels: they meet near 16 rules. A cascade of n backends costs n/2 of the second kind, a tree with four
//! ways 2.25 and a step for each of its log₄(n/6) levels and 3.5 in its leaf: they meet near 8 backends.

use super::Layout;

/// Rules for listeners up to which they are a list.
pub const LIST: usize = 16;

/// Backends up to which a random pick is one cascade of rules, and the most in a part of a larger one.
pub const CASCADE: usize = 6;

/// Parts at a node of a random pick, where no more than [`LEVELS`] of them lie above each other.
const WAYS: usize = 4;

/// Nodes of a random pick above each other: chains may not be too deep ([`MAX_DEPTH`]).
const LEVELS: u32 = 3;

/// Slots of a round robin up to which it is one cascade of counters. A cascade of n slots costs n/2 rules, parts by a
/// factor f of n (f + 1)/2 and what is left to do among n/f.
pub const TURNS: usize = 12;

/// Ways at a node that looks for a destination.
pub const FAN_OUT: usize = 8;

/// Rules in a leaf that looks for a destination.
pub const LEAF: usize = 4;

/// Rules in a leaf that looks for prefixes and ranges of ports that overlap: they stand in every leaf that they meet.
pub const BOXES: usize = 16;

/// How deep chains may lie below a built-in one: the kernel's NFT_JUMP_STACK_SIZE less one. iptables-legacy has no limit.
pub const MAX_DEPTH: usize = 15;

/// Whether so many rules for listeners are found by a tree.
pub fn looks_up(layout: Layout, rules: usize) -> bool {
    match layout {
        Layout::Auto => rules > LIST,
        Layout::Linear => false,
        Layout::Tree => rules > 1,
    }
}

/// The most backends of one cascade; with more there is a tree of them.
pub fn cascade(layout: Layout) -> usize {
    match layout {
        Layout::Auto => CASCADE,
        Layout::Linear => usize::MAX,
        Layout::Tree => 2,
    }
}

/// The parts at each node of a random pick among so many backends.
pub fn ways(layout: Layout, backends: usize) -> usize {
    let most = cascade(layout);
    (WAYS..).find(|ways| most.saturating_mul(ways.pow(LEVELS)) >= backends).unwrap_or(usize::MAX)
}

/// The most slots of one cascade of counters, if their number has factors.
pub fn turns(layout: Layout) -> usize {
    match layout {
        Layout::Auto => TURNS,
        Layout::Linear => usize::MAX,
        Layout::Tree => 2,
    }
}
