//! Counters (`nth`, `numgen inc`) that the same connections pass: where they stand, and where they stand in the long run.
//!
//! Each counter alone gives every place in its turn the same share. Where one connection passes several of them, or one
//! of them twice, they run in step, and products of such shares say nothing: what counts is how often each joint state
//! is found. Where every counter is asked once, and for one kind of flow, products are right: those that reach it are
//! a sequence of connections of their own, and of these each place in its turn takes its part.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashMapExt, HashSet};
use num_traits::{One, Zero};

use crate::ir::share::Share;

/// Where counters stand.
///
/// A counter goes by the address of what asks it; those at their start are left out, so that equal states are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turns(BTreeMap<usize, u32>);

impl Turns {
    /// The number that a counter below `modulus` gives, which goes on to the next one.
    pub fn take(&mut self, counter: usize, modulus: u32) -> u32 {
        let number = self.0.remove(&counter).unwrap_or(0);
        let next = number + 1;
        if next < modulus {
            self.0.insert(counter, next);
        }
        number
    }

    /// How many counters are under way.
    pub fn under_way(&self) -> usize {
        self.0.len()
    }
}

/// How often counters were asked while one connection was followed on all of its ways at once.
#[derive(Debug, Default)]
pub struct Visits {
    seen: HashSet<usize>,
    again: bool,
    /// How often any was asked.
    count: u64,
}

impl Visits {
    pub fn note(&mut self, counter: usize) {
        self.again |= !self.seen.insert(counter);
        self.count += 1;
    }

    /// How often counters were asked.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Counters that were asked are asked again.
    pub fn note_again(&mut self) {
        self.again = true;
    }

    /// Whether one was asked more than once: only then do products of shares say nothing.
    pub fn in_step(&self) -> bool {
        self.again
    }
}

/// Joint states that are looked at.
const MAX_STATES: usize = 1 << 16;

/// The tests that following counters may cost, for all questions to one set of rules together: some seconds.
#[derive(Debug)]
pub struct Patience(AtomicU64);

impl Default for Patience {
    fn default() -> Patience {
        Patience(AtomicU64::new(1 << 25))
    }
}

impl Patience {
    /// Pays; `false` where nothing is left.
    pub fn pay(&self, price: u64) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(price), Ordering::Relaxed);
        left > price
    }

    /// What is left.
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The joint states that connections find in the long run, each as often as every other, where counters start anew.
///
/// `next` says where a connection that finds a state leaves the counters, with shares that sum to 1. `None` where it
/// does, where there are too many states, or where some are found more often than others.
///
/// Of one random draw, what a connection that asks each counter at most once does to the state can be undone: it is a
/// permutation. So states lead into each other as often as they are left, and those that can be reached are found alike.
/// Where one asks a counter twice, that need not be so, and is looked at.
pub fn long_run(mut next: impl FnMut(&Turns) -> Option<Vec<(Turns, Share)>>) -> Option<Vec<Turns>> {
    let mut states = vec![Turns::default()];
    let mut places: HashMap<Turns, usize> = HashMap::new();
    places.insert(Turns::default(), 0);
    let mut edges: Vec<Vec<(usize, Share)>> = Vec::new();
    while edges.len() < states.len() {
        let mut list = Vec::new();
        for (state, share) in next(&states[edges.len()])? {
            let place = *places.entry(state).or_insert_with_key(|state| {
                states.push(state.clone());
                states.len() - 1
            });
            list.push((place, share));
        }
        if states.len() > MAX_STATES {
            return None;
        }
        edges.push(list);
    }
    let recurs = recurring(&edges)?;
    Some(states.into_iter().zip(recurs).filter(|(_, recurs)| *recurs).map(|(state, _)| state).collect())
}

/// Which of the places that can be reached from the first are found again and again; `None` unless all of them are found
/// equally often.
fn recurring(edges: &[Vec<(usize, Share)>]) -> Option<Vec<bool>> {
    let mut from = vec![0usize; edges.len()];
    edges.iter().flatten().for_each(|(to, _)| from[*to] += 1);
    let mut recurs = vec![true; edges.len()];
    // What nothing leads to is never found again.
    let mut lost: Vec<usize> = (0..edges.len()).filter(|place| from[*place] == 0).collect();
    while let Some(place) = lost.pop() {
        recurs[place] = false;
        for (to, _) in &edges[place] {
            from[*to] -= 1;
            if from[*to] == 0 {
                lost.push(*to);
            }
        }
    }
    let mut flow = vec![Share::zero(); edges.len()];
    for (list, _) in edges.iter().zip(&recurs).filter(|(_, recurs)| **recurs) {
        list.iter().for_each(|(to, share)| flow[*to] += share);
    }
    if flow.iter().zip(&recurs).any(|(flow, recurs)| *recurs && !flow.is_one()) {
        return None;
    }
    // All that is left is found alike where it is one circle, which it is if it holds the start.
    let first = recurs.iter().position(|recurs| *recurs)?;
    if first > 0 && reached(edges, first) != recurs {
        return None;
    }
    Some(recurs)
}

fn reached(edges: &[Vec<(usize, Share)>], first: usize) -> Vec<bool> {
    let mut seen = vec![false; edges.len()];
    let mut next = vec![first];
    while let Some(place) = next.pop() {
        if !std::mem::replace(&mut seen[place], true) {
            next.extend(edges[place].iter().map(|(to, _)| *to).filter(|to| !seen[*to]));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: u32, of: u32) -> Share {
        Share::new(part.into(), of.into())
    }

    fn after(state: &Turns, counters: &[(usize, u32)]) -> Turns {
        let mut state = state.clone();
        counters.iter().for_each(|(counter, modulus)| {
            state.take(*counter, *modulus);
        });
        state
    }

    #[test]
    fn a_counter_that_comes_round_is_a_counter_that_never_ran() {
        let mut turns = Turns::default();
        let numbers: Vec<u32> = (0..7).map(|_| turns.take(1, 3)).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 2, 0]);
        turns.take(1, 3);
        turns.take(1, 3);
        assert_eq!(turns, Turns::default());
    }

    #[test]
    fn counters_in_step_have_as_many_states_as_their_periods_have_in_common() {
        let states = |one, other| {
            long_run(|state| Some(vec![(after(state, &[(1, one), (2, other)]), Share::one())])).map(|list| list.len())
        };
        assert_eq!(states(2, 2), Some(2));
        assert_eq!(states(4, 6), Some(12));
        assert_eq!(states(251, 257), Some(64_507));
        assert_eq!(states(257, 263), None, "67,591 states are too many");
    }

    #[test]
    fn what_happens_once_is_not_counted() {
        // From the start, once, into a circle of three.
        let next = [1, 2, 3, 1];
        let edges: Vec<Vec<(usize, Share)>> = next.iter().map(|to| vec![(*to, Share::one())]).collect();
        assert_eq!(recurring(&edges), Some(vec![false, true, true, true]));
    }

    #[test]
    fn chance_that_moves_counters_one_by_one_finds_all_states_alike() {
        let states = long_run(|state| {
            let both = after(state, &[(1, 2), (2, 3)]);
            Some(vec![(both, part(1, 3)), (after(state, &[(2, 3)]), part(2, 3))])
        });
        assert_eq!(states.map(|list| list.len()), Some(6));
    }

    #[test]
    fn states_that_are_not_found_alike_are_not_told() {
        // To and fro, and now and then to rest.
        let uneven = [vec![(1, Share::one())], vec![(0, part(1, 2)), (1, part(1, 2))]];
        assert_eq!(recurring(&uneven), None);
        // Into one of two circles, by chance.
        let two = [vec![(1, part(1, 3)), (2, part(2, 3))], vec![(1, Share::one())], vec![(2, Share::one())]];
        assert_eq!(recurring(&two), None);
    }
}
