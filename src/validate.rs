//! Translation validation: the rules that were read back do what the program means, for every packet.
//!
//! Two parties that share no code answer for the same packets: the reference meaning, and the evaluator of a target's
//! text. Both say how far their answer holds ([`survey`](crate::survey)), so that a rule that matches too much is seen
//! as surely as one that matches too little.

mod clients;
mod local;
mod reference;
mod sweep;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use num_traits::ToPrimitive;

use crate::address::last;
use crate::ir::share::Share;
use crate::ir::{Family, Interface};
use crate::meaning::{Action, Direction};
use crate::survey::{Amount, Survey};
use crate::trace::{Machine, Packet, Source};

pub use reference::Reference;
use sweep::Sweep;

/// A packet to which the two parties answer differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub packet: Packet,
    /// The addresses of this machine.
    pub machine: Machine,
    /// What the program means.
    pub wanted: Vec<(Action, Share)>,
    /// What the rules do.
    pub found: Vec<(Action, Share)>,
    /// Where they differ in who a server sees alone: which server, and who it sees by the program and by the rules.
    pub seen: Option<(Action, Source, Option<Source>)>,
}

/// How much shares may differ: each backend's by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tolerance {
    Exact,
    /// `2^-32` for each decision on the way, as iptables' 31-bit probabilities allow.
    Rounded,
}

/// How many questions were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub packets: u64,
    /// The tests that were asked.
    pub cost: u64,
}

/// Why a comparison ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Differs(Box<Difference>),
    /// More than [`MAX_COST`] tests would have to be asked.
    TooLarge,
}

/// Why a text is not what its program means.
#[derive(Debug)]
pub enum Flaw {
    /// It cannot be read back.
    Unreadable(String),
    Differs(Box<Difference>),
    /// Nothing was found so far, and there is too much to compare.
    TooLarge,
}

impl From<Stop> for Flaw {
    fn from(stop: Stop) -> Flaw {
        match stop {
            Stop::Differs(difference) => Flaw::Differs(difference),
            Stop::TooLarge => Flaw::TooLarge,
        }
    }
}

/// The tests of one comparison: a few seconds.
pub const MAX_COST: u64 = 30_000_000;

/// Compares the two for every packet of the families. The error is the first packet where they differ, or that there is too much to compare.
pub fn validate(
    reference: &Reference<'_>,
    rules: &dyn Survey,
    families: &[Family],
    tolerance: &Tolerance,
) -> Result<Coverage, Stop> {
    let interfaces = representatives(reference.interfaces().into_iter().chain(rules.interfaces()));
    let directions: Vec<Direction> = interfaces.into_iter().map(Direction::In).chain([Direction::Out]).collect();
    let cost = AtomicU64::new(0);
    let mut coverage = Coverage::default();
    for &family in families {
        let sweep = |(first, end)| {
            let mut sweep = Sweep::new((reference, rules), tolerance, family, &cost);
            let (arriving, leaving) = directions.split_at(directions.len() - 1);
            sweep.destinations(arriving, first, end)?;
            sweep.destinations(leaving, first, end)?;
            Ok(sweep.coverage)
        };
        let parts = parts(reference.starts(family), last(family));
        let results: Vec<Result<Coverage, Stop>> = match parts.as_slice() {
            [only] => vec![sweep(*only)],
            parts => std::thread::scope(|scope| {
                let threads: Vec<_> = parts.iter().map(|&part| scope.spawn(move || sweep(part))).collect();
                threads.into_iter().map(|thread| thread.join().expect("a sweep does not panic")).collect()
            }),
        };
        // A difference says more than that there was too much to look for others.
        let differs = |result: &&Result<Coverage, Stop>| matches!(result, Err(Stop::Differs(_)));
        if let Some(Err(stop)) = results.iter().find(differs) {
            return Err(stop.clone());
        }
        for result in results {
            let part = result?;
            coverage.packets += part.packets;
            coverage.cost += part.cost;
        }
    }
    Ok(coverage)
}

/// Threads of one comparison.
const THREADS: usize = 2;

/// Fewer stretches of destinations are not worth a thread.
const MIN_STRETCHES: usize = 256;

/// Cuts the destinations into parts with as many stretches each; both ends are included.
fn parts(starts: &[u128], last: u128) -> Vec<(u128, u128)> {
    let count = if starts.len() < MIN_STRETCHES { 1 } else { THREADS };
    let start = |part: usize| starts[part * starts.len() / count];
    (0..count).map(|part| (start(part), if part + 1 < count { start(part + 1) - 1 } else { last })).collect()
}

/// Names of interfaces such that every test answers for each as for one of these.
fn representatives(interfaces: impl Iterator<Item = Interface>) -> BTreeSet<String> {
    // Neither is the start of a real name that a test may be about.
    let mut names = BTreeSet::from(["\u{1}".to_owned()]);
    for interface in interfaces {
        match interface {
            Interface::Exact(name) => {
                names.insert(name);
            }
            Interface::Prefix(start) => {
                names.insert(format!("{start}\u{1}"));
                names.insert(start);
            }
        }
    }
    names
}

/// Whether two distributions are one for certain, up to the tolerance.
fn surely_agree(wanted: &[(Action, Amount)], found: &[(Action, Amount)], tolerance: &Tolerance) -> bool {
    let is_same = |wanted: Amount, found: Amount, parts| match tolerance {
        Tolerance::Exact => wanted.surely_is(found),
        Tolerance::Rounded => wanted.is_surely_near(found, parts),
    };
    wanted.len() == found.len()
        && wanted.iter().zip(found).all(|((wanted_action, own), (action, share))| {
            wanted_action == action && is_same(*own, *share, wanted.len())
        })
}

/// Whether two distributions are one, up to the tolerance.
fn agree(wanted: &[(Action, Share)], found: &[(Action, Share)], tolerance: &Tolerance) -> bool {
    wanted.len() == found.len()
        && wanted.iter().zip(found).all(|((wanted_action, wanted_share), (action, share))| {
            wanted_action == action
                && match tolerance {
                    // Comparing fractions as such divides again and again.
                    Tolerance::Exact => {
                        (wanted_share.numer(), wanted_share.denom()) == (share.numer(), share.denom())
                            || wanted_share.numer() * share.denom() == share.numer() * wanted_share.denom()
                    }
                    Tolerance::Rounded => is_near(wanted_share, share, wanted.len()),
                }
        })
}

/// `|a/b - c/d| <= n / 2^32`, exactly.
fn is_near(one: &Share, other: &Share, n: usize) -> bool {
    // A ratio of two doubles is off by less than this, which settles all but the nearest cases.
    const DOUBT: f64 = 1e-14;
    let value = |share: &Share| {
        let (numerator, denominator) = (share.numer().to_f64()?, share.denom().to_f64()?);
        denominator.is_finite().then(|| numerator / denominator)
    };
    let limit = n as f64 / 4_294_967_296.0;
    if let (Some(one), Some(other)) = (value(one), value(other)) {
        let apart = (one - other).abs();
        if apart + DOUBT < limit {
            return true;
        }
        if apart > limit + DOUBT {
            return false;
        }
    }
    // Without bringing anything to lowest terms.
    let (one_part, other_part) = (one.numer() * other.denom(), other.numer() * one.denom());
    let apart = if one_part > other_part { one_part - other_part } else { other_part - one_part };
    (apart << 32u32) <= one.denom() * other.denom() * n
}

#[cfg(test)]
pub(crate) mod tests;
