//! What a service's rules hold and why: for every backend the wanted share, the number that goes into the rule, and what
//! the kernel makes of that number.

use std::cmp::Reverse;

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Zero};

use crate::ir::share::{Share, shares};
use crate::ir::{Algorithm, Backend, Group};
use crate::target::nft::{Shape, row_size};
use crate::target::split::{self, ALWAYS, Draw, Probability, Turns, Weights};
use crate::target::{Layout, cost};

/// Whose rules are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Iptables(Layout),
    Nft(Shape),
}

/// One backend of a service in a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub backend: Backend,
    /// The exact share: weight over sum, nested pools multiplied.
    pub share: Share,
    /// What the kernel gives it with the numbers of the rules.
    pub real: Share,
    /// The number that goes into the rule; `None` where the rule has none.
    pub number: Option<String>,
    /// The kernel's own form of the number.
    pub stored: Option<String>,
    /// Where the number comes from.
    pub why: String,
}

impl Line {
    /// How far the real share is from the wanted one; positive where the backend gets more.
    pub fn error(&self) -> BigRational {
        signed(&self.real) - signed(&self.share)
    }
}

/// All that is to be said of a service in a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// In source order, those of share 0 included.
    pub lines: Vec<Line>,
    /// Of a round robin: the backends of one turn, as indices into `lines`.
    pub slots: Option<Vec<u32>>,
}

fn signed(share: &Share) -> BigRational {
    BigRational::new(BigInt::from(share.numer().clone()), BigInt::from(share.denom().clone()))
}

fn fraction(part: u64, of: u64) -> Share {
    Share::new(part.into(), of.into())
}

/// Explains how a group's backends are picked. `None` where the target's arithmetic cannot hold the shares.
pub fn explain(group: &Group, algorithm: Algorithm, form: Form) -> Option<Explained> {
    let wanted = shares(&group.members, group.backends.len());
    let none = |(&backend, share): (&Backend, Share)| Line {
        backend,
        share,
        real: Share::zero(),
        number: None,
        stored: None,
        why: "weight 0 or a waiting backup: no new connections".to_owned(),
    };
    let mut explained = Explained { lines: group.backends.iter().zip(wanted).map(none).collect(), slots: None };
    let max = match form {
        Form::Iptables(_) => u64::MAX >> 1,
        Form::Nft(_) => u64::from(u32::MAX),
    };
    let weights = split::weights(&group.members, max).ok()?;
    match (algorithm, form, weights.backends.as_slice()) {
        (_, _, [only]) => {
            let line = &mut explained.lines[*only as usize];
            line.real = Share::one();
            line.why = "the only one: nothing to pick".to_owned();
        }
        (Algorithm::Random, Form::Iptables(layout), _) => chances(weights, layout, &mut explained.lines)?,
        (Algorithm::Random, Form::Nft(Shape::Map), _) => ranges(&weights, &mut explained.lines),
        (Algorithm::Random, Form::Nft(Shape::Shared), _) => ranges(&sorted(weights), &mut explained.lines),
        (Algorithm::Random, Form::Nft(Shape::Row), _) => draws(&weights, &mut explained.lines),
        (Algorithm::RoundRobin, ..) => {
            let slots = split::slots(&weights);
            turns(&slots, form, &mut explained.lines);
            explained.slots = Some(slots);
        }
        (Algorithm::SourceHash(_), ..) => buckets(group, &mut explained.lines),
    }
    Some(explained)
}

/// iptables: each rule is asked only about what the rules above it left. Of many backends, rules for a part of them each
/// come first.
fn chances(weights: Weights, layout: Layout, lines: &mut [Line]) -> Option<()> {
    let ways = cost::ways(layout, weights.backends.len());
    let draw = split::draw(weights, cost::cascade(layout), ways).ok()?;
    decide(&draw, &[], &Share::one(), lines);
    Some(())
}

/// One step on the way to a backend: the number of its rule, its kernel's form, and where it comes from.
#[derive(Clone)]
struct Step {
    number: Probability,
    why: String,
}

/// Walks through a pick. `before` are the steps that lead here, and `reached` the share that they let through.
fn decide(draw: &Draw, before: &[Step], reached: &Share, lines: &mut [Line]) {
    let (weights, probabilities): (Vec<u64>, _) = match draw {
        Draw::Cascade(weights, probabilities) => (weights.weights.clone(), probabilities),
        Draw::Parts(parts, probabilities) => (parts.iter().map(Draw::total).collect(), probabilities),
    };
    let mut left: u64 = weights.iter().sum();
    let mut reached = reached.clone();
    for (nth, weight) in weights.into_iter().enumerate() {
        let mut steps = before.to_vec();
        let taken = match probabilities.get(nth) {
            Some(&number) => {
                let of = match (before.is_empty(), nth) {
                    (true, 0) => "all",
                    (false, 0) => "those",
                    (_, _) => "what is left",
                };
                steps.push(Step { number, why: format!("{} of {of}", fraction(weight, left)) });
                let part = fraction(u64::from(number.raw()), u64::from(ALWAYS));
                let taken = &reached * &part;
                reached *= Share::one() - part;
                taken
            }
            None => reached.clone(),
        };
        left -= weight;
        match draw {
            Draw::Parts(parts, _) => decide(&parts[nth], &steps, &taken, lines),
            Draw::Cascade(weights, _) => {
                let line = &mut lines[weights.backends[nth] as usize];
                line.real = taken;
                line.why = match (probabilities.get(nth), steps.as_slice()) {
                    (None, []) => "all that is left: no number".to_owned(),
                    (Some(_), steps) => words(steps),
                    (None, steps) => format!("{}, then all that is left", words(steps)),
                };
                if !steps.is_empty() {
                    let list = |text: &dyn Fn(&Step) -> String| steps.iter().map(text).collect::<Vec<_>>().join(", ");
                    line.number = Some(list(&|step| step.number.to_string()));
                    line.stored = Some(list(&|step| format!("{} / 2^31", step.number.raw())));
                }
            }
        }
    }
}

fn words(steps: &[Step]) -> String {
    steps.iter().map(|step| step.why.as_str()).collect::<Vec<_>>().join(", then ")
}

/// nft: one random number below the sum of the weights, and a range of numbers for each backend.
fn ranges(weights: &Weights, lines: &mut [Line]) {
    let total = weights.total();
    // numgen scales 32 random bits: number n is drawn by every x with n <= x * total / 2^32 < n + 1.
    let below = |number: u64| (u128::from(number) << 32).div_ceil(u128::from(total)) as u64;
    let mut first = 0;
    for (&index, &weight) in weights.backends.iter().zip(&weights.weights) {
        let line = &mut lines[index as usize];
        let last = first + weight - 1;
        line.number = Some(if weight == 1 { first.to_string() } else { format!("{first}-{last}") });
        let drawn = below(last + 1) - below(first);
        line.stored = Some(format!("{drawn} / 2^32"));
        line.real = Share::new(drawn.into(), BigUint::one() << 32u32);
        line.why = format!("{weight} of the numbers below {total}");
        first += weight;
    }
}

/// As services share them: the heaviest first.
fn sorted(weights: Weights) -> Weights {
    let mut order: Vec<usize> = (0..weights.weights.len()).collect();
    order.sort_by_key(|&nth| Reverse(weights.weights[nth]));
    Weights {
        backends: order.iter().map(|&nth| weights.backends[nth]).collect(),
        weights: order.iter().map(|&nth| weights.weights[nth]).collect(),
        exact: weights.exact,
    }
}

/// nft without maps: each rule draws for what those before it have left. Of many, rules for some of them each come first.
fn draws(weights: &Weights, lines: &mut [Line]) {
    let parts = weights.weights.iter().copied().zip(weights.backends.iter().copied()).collect();
    for (steps, index) in in_rows(parts, true) {
        let line = &mut lines[index as usize];
        line.real = steps.iter().fold(Share::one(), |real, step| real * &step.real);
        let why: Vec<&str> = steps.iter().map(|step| step.why.as_str()).collect();
        line.why = if why.is_empty() { "all".to_owned() } else { why.join(", then ") };
        let told = |text: fn(&Drawn) -> Option<&str>| {
            let list: Vec<&str> = steps.iter().filter_map(text).collect();
            (!list.is_empty()).then(|| list.join(", "))
        };
        line.number = told(|step| step.number.as_deref());
        line.stored = told(|step| step.stored.as_deref());
    }
}

/// One rule on the way to a backend.
#[derive(Clone)]
struct Drawn {
    /// What it compares; `None` for what is left.
    number: Option<String>,
    stored: Option<String>,
    real: Share,
    why: String,
}

/// The rules on the way to each part.
fn in_rows<T>(parts: Vec<(u64, T)>, lowest: bool) -> Vec<(Vec<Drawn>, T)> {
    let Some(size) = row_size(parts.len()) else {
        return row(parts, lowest).into_iter().map(|(step, part)| (vec![step], part)).collect();
    };
    let below = |(step, group): (Drawn, Vec<(u64, T)>)| {
        let inner = row(group, lowest).into_iter();
        inner.map(move |(own, part)| (vec![step.clone(), own], part)).collect::<Vec<_>>()
    };
    row(split::in_groups(parts, size), lowest).into_iter().flat_map(below).collect()
}

/// Rules in a row, each for its part of what is left; `lowest` where the ratio may be brought to lowest terms.
fn row<T>(parts: Vec<(u64, T)>, lowest: bool) -> Vec<(Drawn, T)> {
    let mut reached = Share::one();
    let mut list = Vec::with_capacity(parts.len());
    for (nth, (taken, part)) in split::in_a_row(parts, lowest).into_iter().enumerate() {
        if taken.is_all() {
            let why = "all that is left".to_owned();
            list.push((Drawn { number: None, stored: None, real: reached.clone(), why }, part));
            continue;
        }
        // See `ranges`.
        let drawn = (u128::from(taken.part) << 32).div_ceil(u128::from(taken.of)) as u64;
        let share = Share::new(drawn.into(), BigUint::one() << 32u32);
        let real = &reached * &share;
        reached *= Share::one() - share;
        let numbers = if taken.part == 1 { "0".to_owned() } else { format!("0-{}", taken.part - 1) };
        let number = Some(format!("{numbers} of {}", taken.of));
        let whose = if nth == 0 { "all" } else { "what is left" };
        let why = format!("{} of {whose}", fraction(taken.part, taken.of));
        list.push((Drawn { number, stored: Some(format!("{drawn} / 2^32")), real, why }, part));
    }
    list
}

/// A round robin: one rule or map element for each slot of a turn.
fn turns(slots: &[u32], form: Form, lines: &mut [Line]) {
    let count = slots.len() as u64;
    let mut numbers: Vec<Vec<String>> = vec![Vec::new(); lines.len()];
    match form {
        Form::Nft(Shape::Map | Shape::Shared) => {
            (0..).zip(slots).for_each(|(nth, slot): (u64, _)| numbers[*slot as usize].push(nth.to_string()));
        }
        Form::Nft(Shape::Row) => {
            let runs = slots.chunk_by(|one, next| one == next).map(|run| (run.len() as u64, run[0]));
            for (steps, slot) in in_rows(runs.collect(), false) {
                let own: Vec<String> =
                    steps.into_iter().map(|step| step.number.unwrap_or_else(|| "(rest)".to_owned())).collect();
                numbers[slot as usize].push(own.join(", "));
            }
        }
        Form::Iptables(layout) => count_off(&split::turns(slots, cost::turns(layout)), "", &mut numbers),
    }
    for (index, (line, numbers)) in lines.iter_mut().zip(&numbers).enumerate() {
        let own = slots.iter().filter(|slot| **slot as usize == index).count() as u64;
        if own > 0 {
            line.real = fraction(own, count);
            line.number = Some(shortened(numbers));
            line.why = format!("{own} of {count} slots");
        }
    }
}

/// The numbers of the rules that lead to each backend, behind those that lead here.
fn count_off(turns: &Turns, before: &str, numbers: &mut [Vec<String>]) {
    let count = match turns {
        Turns::Cascade(slots) => slots.len(),
        Turns::Parts(parts) => parts.len(),
    };
    for nth in 0..count {
        let own = if nth + 1 == count { String::new() } else { format!("1/{}", count - nth) };
        let way = match (before, own.as_str()) {
            ("", own) => own.to_owned(),
            (before, "") => before.to_owned(),
            (before, own) => format!("{before}·{own}"),
        };
        match turns {
            Turns::Parts(parts) => count_off(&parts[nth], &way, numbers),
            Turns::Cascade(slots) => {
                numbers[slots[nth] as usize].push(if way.is_empty() { "(rest)".to_owned() } else { way });
            }
        }
    }
}

/// The first few of a list.
fn shortened(list: &[String]) -> String {
    const MOST: usize = 6;
    match list.get(..MOST) {
        Some(first) if list.len() > MOST => format!("{}, …", first.join(", ")),
        Some(_) | None => list.join(", "),
    }
}

/// A source hash: a fixed number of buckets, dealt at compile time.
fn buckets(group: &Group, lines: &mut [Line]) {
    let count = group.buckets.len() as u64;
    for (index, line) in lines.iter_mut().enumerate() {
        let own = group.buckets.iter().filter(|owner| **owner as usize == index).count() as u64;
        if own > 0 {
            line.real = fraction(own, count);
            line.number = Some(own.to_string());
            line.why = format!("{own} of {count} buckets");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{BackendPort, Member, Node};

    fn group(weights: &[u16]) -> Group {
        let backend = |index: usize| Backend::Server([10, 0, 0, index as u8].into(), BackendPort::Kept);
        Group {
            backends: (0..weights.len()).map(backend).collect(),
            members: weights
                .iter()
                .enumerate()
                .map(|(index, &weight)| Member { weight, node: Node::Backend(index as u32) })
                .collect(),
            buckets: Vec::new(),
        }
    }

    #[test]
    fn of_three_equal_backends_the_second_rule_has_a_half_and_the_third_no_number() {
        let explained =
            explain(&group(&[1, 1, 1]), Algorithm::Random, Form::Iptables(Layout::Auto)).expect("small weights");
        let numbers: Vec<_> = explained.lines.iter().map(|line| line.number.as_deref()).collect();
        assert_eq!(numbers, [Some("0.33333333349"), Some("0.50000000000"), None]);
        assert_eq!(explained.lines[1].why, "1/2 of what is left");
        assert_eq!(explained.lines[0].stored.as_deref(), Some("715827883 / 2^31"));
        let sum: Share = explained.lines.iter().map(|line| line.real.clone()).sum();
        assert!(sum.is_one());
        let limit = BigRational::new(BigInt::one(), BigInt::one() << 31u32);
        assert!(explained.lines.iter().all(|line| line.error() <= limit && -line.error() <= limit));
    }

    #[test]
    fn of_many_backends_every_step_has_its_number() {
        let explained =
            explain(&group(&[1; 7]), Algorithm::Random, Form::Iptables(Layout::Auto)).expect("small weights");
        assert_eq!(explained.lines[0].why, "3/7 of all, then 1/3 of those");
        assert_eq!(explained.lines[0].number.as_deref(), Some("0.42857142864, 0.33333333349"));
        assert_eq!(explained.lines[2].why, "3/7 of all, then all that is left");
        assert_eq!(explained.lines[3].why, "1/4 of all");
        let sum: Share = explained.lines.iter().map(|line| line.real.clone()).sum();
        assert!(sum.is_one());
    }

    #[test]
    fn ranges_of_numgen_cover_all_that_can_be_drawn() {
        let explained = explain(&group(&[2, 0, 1]), Algorithm::Random, Form::Nft(Shape::Map)).expect("small weights");
        let numbers: Vec<_> = explained.lines.iter().map(|line| line.number.as_deref()).collect();
        assert_eq!(numbers, [Some("0-1"), None, Some("2")]);
        assert_eq!(explained.lines[0].stored.as_deref(), Some("2863311531 / 2^32"));
        let sum: Share = explained.lines.iter().map(|line| line.real.clone()).sum();
        assert!(sum.is_one());
    }

    #[test]
    fn in_large_programs_numbers_are_those_of_rows_and_shared_chains() {
        let numbers = |weights: &[u16], algorithm, shape| -> Vec<Option<String>> {
            let explained = explain(&group(weights), algorithm, Form::Nft(shape)).expect("small weights");
            let sum: Share = explained.lines.iter().map(|line| line.real.clone()).sum();
            assert!(sum.is_one());
            let limit = BigRational::new(BigInt::one(), BigInt::one() << 31u32);
            assert!(explained.lines.iter().all(|line| line.error() <= limit && -line.error() <= limit));
            explained.lines.into_iter().map(|line| line.number).collect()
        };
        let told = |list: &[Option<&str>]| list.iter().map(|one| one.map(str::to_owned)).collect::<Vec<_>>();
        let (random, turns) = (Algorithm::Random, Algorithm::RoundRobin);
        let row = [Some("0 of 2"), Some("0-1 of 3"), None];
        assert_eq!(numbers(&[3, 2, 1], random, Shape::Row), told(&row));
        assert_eq!(numbers(&[1, 2, 3], random, Shape::Shared), told(&[Some("5"), Some("3-4"), Some("0-2")]));
        let slots = [Some("0 of 6, 0 of 4, (rest)"), Some("0 of 5, 0 of 2"), Some("0 of 3")];
        assert_eq!(numbers(&[3, 2, 1], turns, Shape::Row), told(&slots));
        let many = numbers(&[1; 20], random, Shape::Row);
        assert_eq!(many[0].as_deref(), Some("0 of 4, 0 of 5"));
        assert_eq!(many[19], None);
    }

    #[test]
    fn every_slot_of_a_turn_has_its_number() {
        let explained =
            explain(&group(&[3, 2, 1]), Algorithm::RoundRobin, Form::Iptables(Layout::Auto)).expect("small weights");
        assert_eq!(explained.slots, Some(vec![0, 1, 0, 2, 1, 0]));
        assert_eq!(explained.lines[0].number.as_deref(), Some("1/6, 1/4, (rest)"));
        assert!(explained.lines.iter().all(|line| line.error().is_zero()));
    }
}
