//! Weights as the targets need them: whole numbers, slots, probabilities. Both targets use this file and no other.
//!
//! The reference meaning has arithmetic of its own ([`crate::ir::share`]); a test holds the two together.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{One, ToPrimitive, Zero};

use crate::ir::{Member, Node};

/// A probability as the kernel stores it: `0..=2^31` over `2^31`.
///
/// xt_statistic compares 31 random bits with this number, so 2^31 matches always and 0 never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probability(u32);

/// 1 as a [`Probability`].
pub const ALWAYS: u32 = 1 << 31;

impl Probability {
    /// From the kernel's integer; `None` above 2^31.
    pub fn from_raw(raw: u32) -> Option<Probability> {
        (raw <= ALWAYS).then_some(Probability(raw))
    }

    /// The nearest representable value of `part / of`, ties upwards. `of` must be positive and not below `part`.
    fn nearest(part: u128, of: u128) -> Probability {
        debug_assert!(part <= of && of > 0);
        Probability((((part << 32) + of) / (of << 1)) as u32)
    }

    /// The kernel's integer.
    pub fn raw(self) -> u32 {
        self.0
    }

    /// The probability times 10^11, rounded: what stands behind the point where iptables-save prints it.
    pub fn digits(self) -> u64 {
        // 10^11 / 2^31 is 5^11 / 2^20, and 2^31 * 5^11 is below 2^57.
        let scaled = u64::from(self.0) * 5u64.pow(11);
        let (whole, rest) = (scaled >> 20, scaled & 0xf_ffff);
        // Half to even, as printf rounds an exactly representable double.
        let up = rest > 0x8_0000 || (rest == 0x8_0000 && whole % 2 == 1);
        whole + u64::from(up)
    }
}

impl std::fmt::Display for Probability {
    /// With 11 decimals, as iptables-save prints it; `lround` of that text gives the same integer again.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SCALE: u64 = 100_000_000_000;
        write!(f, "{}.{:011}", self.digits() / SCALE, self.digits() % SCALE)
    }
}

/// The backends with a positive share, as indices, with whole-number weights divided by their gcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Indices into the group's backends, in source order.
    pub backends: Vec<u32>,
    /// One weight for each, at least 1.
    pub weights: Vec<u64>,
    /// False where the exact weights need more than 62 bits in all and were scaled down to fit.
    pub exact: bool,
}

impl Weights {
    /// The sum of the weights; below 2^63.
    pub fn total(&self) -> u64 {
        self.weights.iter().sum()
    }
}

/// A share that no whole number of the allowed size can hold: the index of its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vanishes(pub u32);

/// Flattens a tree of weights. `max` bounds the sum; larger sums are scaled to it by largest remainder.
pub fn weights(members: &[Member], max: u64) -> Result<Weights, Vanishes> {
    if members.iter().any(|member| matches!(member.node, Node::Pool(_))) {
        return nested(members, max);
    }
    let mut backends = Vec::with_capacity(members.len());
    let mut weights = Vec::with_capacity(members.len());
    // Most weights are small, and most often one of them is 1.
    let mut divisor = 0u16;
    for member in members.iter().filter(|member| member.weight > 0) {
        if let Node::Backend(index) = member.node {
            backends.push(index);
            weights.push(u64::from(member.weight));
            divisor = if divisor == 1 { 1 } else { divisor.gcd(&member.weight) };
        }
    }
    for weight in weights.iter_mut().filter(|_| divisor > 1) {
        *weight /= u64::from(divisor);
    }
    Ok(Weights { backends, weights, exact: true })
}

/// As [`weights`], for a tree with pools in it.
fn nested(members: &[Member], max: u64) -> Result<Weights, Vanishes> {
    let mut big = Vec::new();
    flatten(members, &BigUint::one(), &scale(members), &mut big);
    let divisor = big.iter().fold(BigUint::zero(), |divisor, (_, weight)| divisor.gcd(weight));
    let sum: BigUint = big.iter().map(|(_, weight)| weight / &divisor).sum();
    if sum > BigUint::from(max) {
        return scaled(big, max);
    }
    let small = |weight: BigUint| (weight / &divisor).to_u64().expect("the sum fits into 64 bits");
    let (backends, weights) = big.into_iter().map(|(index, weight)| (index, small(weight))).unzip();
    Ok(Weights { backends, weights, exact: true })
}

/// The least number that every product of sums along the tree divides: a leaf's weight is that times its share.
fn scale(members: &[Member]) -> BigUint {
    let inner = members
        .iter()
        .filter(|member| member.weight > 0)
        .filter_map(|member| match &member.node {
            Node::Pool(members) => Some(scale(members)),
            Node::Backend(_) => None,
        })
        .fold(BigUint::one(), |scale, inner| scale.lcm(&inner));
    inner * sum(members)
}

fn sum(members: &[Member]) -> u64 {
    members.iter().map(|member| u64::from(member.weight)).sum()
}

/// Appends every leaf with `whole * numerator * weight / sum`, where `whole` is divisible.
fn flatten(members: &[Member], numerator: &BigUint, whole: &BigUint, list: &mut Vec<(u32, BigUint)>) {
    let sum = sum(members);
    let part = whole / sum;
    for member in members.iter().filter(|member| member.weight > 0) {
        match &member.node {
            Node::Backend(index) => list.push((*index, numerator * member.weight * &part)),
            Node::Pool(members) => flatten(members, &(numerator * member.weight), &part, list),
        }
    }
}

fn scaled(big: Vec<(u32, BigUint)>, max: u64) -> Result<Weights, Vanishes> {
    let sum: BigUint = big.iter().map(|(_, weight)| weight).sum();
    let parts: Vec<(BigUint, BigUint)> = big.iter().map(|(_, weight)| (weight * max).div_rem(&sum)).collect();
    let mut weights: Vec<u64> =
        parts.iter().map(|(part, _)| part.to_u64().expect("a part is at most the maximum")).collect();
    let missing = (max - weights.iter().sum::<u64>()) as usize;
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| parts[b].1.cmp(&parts[a].1).then(a.cmp(&b)));
    for &index in order.iter().take(missing) {
        weights[index] += 1;
    }
    match weights.iter().position(|weight| *weight == 0) {
        Some(index) => Err(Vanishes(big[index].0)),
        None => Ok(Weights { backends: big.into_iter().map(|(index, _)| index).collect(), weights, exact: false }),
    }
}

/// The probabilities of a cascade of rules: rule `i` takes its share of what the rules before it left.
///
/// The last rule has none: it takes the rest. Each decision is off by at most 2^-32.
pub fn cascade(weights: &Weights) -> Result<Vec<Probability>, Vanishes> {
    let mut left = u128::from(weights.total());
    let mut list = Vec::with_capacity(weights.weights.len());
    for (&weight, &index) in weights.weights.iter().zip(&weights.backends) {
        let last = list.len() + 1 == weights.weights.len();
        if last {
            break;
        }
        let probability = Probability::nearest(u128::from(weight), left);
        if probability.raw() == 0 {
            return Err(Vanishes(index));
        }
        if probability.raw() == ALWAYS {
            return Err(Vanishes(weights.backends[list.len() + 1]));
        }
        list.push(probability);
        left -= u128::from(weight);
    }
    Ok(list)
}

/// How a random pick is decided: all at once, or part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draw {
    /// A cascade over these backends, with its probabilities.
    Cascade(Weights, Vec<Probability>),
    /// A cascade over parts, at least two.
    Parts(Vec<Draw>, Vec<Probability>),
}

impl Draw {
    /// The sum of the weights.
    pub fn total(&self) -> u64 {
        match self {
            Draw::Cascade(weights, _) => weights.total(),
            Draw::Parts(parts, _) => parts.iter().map(Draw::total).sum(),
        }
    }
}

/// Cuts the weights into parts of at most `most` backends, `ways` parts at a time; both are at least 2. Parts lie
/// `log(backends / most)` to the base of `ways` deep.
pub fn draw(weights: Weights, most: usize, ways: usize) -> Result<Draw, Vanishes> {
    let count = weights.backends.len();
    if count <= most {
        let probabilities = cascade(&weights)?;
        return Ok(Draw::Cascade(weights, probabilities));
    }
    let here = ways.min(count.div_ceil(most));
    let mut parts = Vec::with_capacity(here);
    let mut whole = Weights { backends: Vec::new(), weights: Vec::new(), exact: weights.exact };
    for nth in 0..here {
        let range = count * nth / here..count * (nth + 1) / here;
        let part = Weights {
            backends: weights.backends[range.clone()].to_vec(),
            weights: weights.weights[range].to_vec(),
            exact: weights.exact,
        };
        // A part whose share rounds to nothing is named by its first backend.
        whole.backends.push(part.backends[0]);
        whole.weights.push(part.total());
        parts.push(draw(part, most, ways)?);
    }
    let probabilities = cascade(&whole)?;
    Ok(Draw::Parts(parts, probabilities))
}

/// One of the rules in a row: it takes `part` of `of` of what those before it have left, and the last takes all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub part: u64,
    pub of: u64,
}

impl Taken {
    pub fn is_all(self) -> bool {
        self.part == self.of
    }
}

/// Parts of these weights as rules in a row. Chance may draw for lowest terms; a counter goes through all of its places.
pub fn in_a_row<T>(parts: Vec<(u64, T)>, lowest: bool) -> Vec<(Taken, T)> {
    let mut left: u64 = parts.iter().map(|(weight, _)| weight).sum();
    let taken = |(weight, part): (u64, T)| {
        let divisor = if lowest { weight.gcd(&left) } else { 1 };
        let taken = Taken { part: weight / divisor, of: left / divisor };
        left -= weight;
        (taken, part)
    };
    parts.into_iter().map(taken).collect()
}

/// Parts side by side in groups of up to `size`, each of the weight of all in it.
pub fn in_groups<T>(parts: Vec<(u64, T)>, size: usize) -> Vec<(u64, Vec<(u64, T)>)> {
    let mut groups: Vec<(u64, Vec<(u64, T)>)> = Vec::with_capacity(parts.len().div_ceil(size.max(1)));
    for part in parts {
        match groups.last_mut().filter(|(_, group)| group.len() < size) {
            Some((weight, group)) => {
                *weight += part.0;
                group.push(part);
            }
            None => groups.push((part.0, vec![part])),
        }
    }
    groups
}

/// The slots of a round robin: nginx's smooth weighted round robin, ties in source order.
///
/// Returns indices into the group's backends, `total` of them. Any `total` neighbours hold each backend exactly as
/// often as its weight says.
pub fn slots(weights: &Weights) -> Vec<u32> {
    let total = weights.total() as i64;
    let mut credit = vec![0i64; weights.weights.len()];
    (0..total)
        .map(|_| {
            for (credit, weight) in credit.iter_mut().zip(&weights.weights) {
                *credit += *weight as i64;
            }
            let best = (0..credit.len()).rev().max_by_key(|&index| credit[index]).expect("at least one backend");
            credit[best] -= total;
            weights.backends[best]
        })
        .collect()
}

/// How turns are counted: in one cascade of counters, or part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Slots in their order.
    Cascade(Vec<u32>),
    /// The first connection goes to the first part, the next to the second, and so on from the start.
    Parts(Vec<Turns>),
}

/// The most parts that turns are cut into at a time: a power of 2 or 3 in as few levels as that takes.
const MOST_PARTS: usize = 9;

/// Cuts slots into parts by factors of their number, until none has more than `most` or their number has no factor left
/// that helps.
pub fn turns(slots: &[u32], most: usize) -> Turns {
    let count = slots.len();
    if slots.iter().all(|slot| *slot == slots[0]) {
        return Turns::Cascade(slots[..1].to_vec());
    }
    let is_factor = |factor: &usize| count.is_multiple_of(*factor);
    let few = (2..=MOST_PARTS.min(count - 1)).rev().find(is_factor);
    // A larger one is the least, so that it is prime.
    let ways = few.or_else(|| (2..).take_while(|factor| factor * factor <= count).find(is_factor));
    match ways {
        Some(ways) if count > most => {
            let part = |first: usize| slots[first..].iter().copied().step_by(ways).collect::<Vec<u32>>();
            Turns::Parts((0..ways).map(|first| turns(&part(first), most)).collect())
        }
        Some(_) | None => Turns::Cascade(slots.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::share::{ratio, shares};

    fn leaf(weight: u16, index: u32) -> Member {
        Member { weight, node: Node::Backend(index) }
    }

    fn flat(list: &[u16]) -> Weights {
        let members: Vec<Member> = list.iter().enumerate().map(|(index, &weight)| leaf(weight, index as u32)).collect();
        weights(&members, u64::MAX >> 1).expect("small weights")
    }

    #[test]
    fn three_equal_backends_are_a_third_a_half_and_the_rest() {
        let probabilities = cascade(&flat(&[5, 5, 5])).expect("representable");
        assert_eq!(probabilities.iter().map(|p| p.raw()).collect::<Vec<_>>(), [715_827_883, 1 << 30]);
        assert_eq!(
            probabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["0.33333333349", "0.50000000000"]
        );
    }

    #[test]
    fn two_thirds_print_as_the_kernel_stores_them() {
        let probabilities = cascade(&flat(&[2, 1])).expect("representable");
        assert_eq!(probabilities[0].to_string(), "0.66666666651");
        assert_eq!(Probability(ALWAYS).to_string(), "1.00000000000");
        assert_eq!(Probability(1).to_string(), "0.00000000047");
    }

    #[test]
    fn printed_probabilities_read_back_as_the_same_integer() {
        for raw in (0..=ALWAYS).step_by(104_729).chain([1, 2, 3, ALWAYS - 1, ALWAYS]) {
            let read: f64 = Probability(raw).to_string().parse().expect("a number");
            assert_eq!((read * f64::from(ALWAYS)).round() as u32, raw);
            assert_eq!(Probability(raw).to_string(), format!("{:.11}", f64::from(raw) / f64::from(ALWAYS)));
        }
    }

    #[test]
    fn slots_are_smooth_and_ties_fall_in_source_order() {
        assert_eq!(slots(&flat(&[3, 2, 1])), [0, 1, 0, 2, 1, 0]);
        assert_eq!(slots(&flat(&[1, 1, 1])), [0, 1, 2]);
        assert_eq!(slots(&flat(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(slots(&flat(&[0, 50, 50])), [1, 2]);
    }

    #[test]
    fn turns_in_parts_keep_their_order() {
        fn next(turns: &Turns, state: &mut Vec<(usize, usize)>, at: usize) -> u32 {
            // The state of a node: how often it was asked, by its place in a list of all.
            let asked = match state.iter_mut().find(|(place, _)| *place == at) {
                Some((_, asked)) => {
                    *asked += 1;
                    *asked - 1
                }
                None => {
                    state.push((at, 1));
                    0
                }
            };
            match turns {
                Turns::Cascade(slots) => slots[asked % slots.len()],
                Turns::Parts(parts) => next(&parts[asked % parts.len()], state, at * 64 + 1 + asked % parts.len()),
            }
        }
        for weights in [vec![3, 2, 1], vec![5, 4, 3], vec![9, 7, 8, 6, 15], vec![1; 12], vec![8, 8, 7]] {
            let slots = slots(&flat(&weights));
            let turns = turns(&slots, 2);
            let mut state = Vec::new();
            let done: Vec<u32> = (0..3 * slots.len()).map(|_| next(&turns, &mut state, 0)).collect();
            assert_eq!(done, slots.repeat(3), "{weights:?}");
        }
    }

    #[test]
    fn flattened_weights_agree_with_the_meaning() {
        let members = vec![
            Member { weight: 90, node: Node::Pool(vec![leaf(2, 0), leaf(1, 1), leaf(0, 2)]) },
            Member {
                weight: 10,
                node: Node::Pool(vec![leaf(7, 3), Member { weight: 4, node: Node::Pool(vec![leaf(1, 4)]) }]),
            },
            leaf(3, 5),
        ];
        let split = weights(&members, u64::MAX >> 1).expect("small weights");
        let exact = ratio(&shares(&members, 6));
        let mut all = [0u64; 6];
        for (&index, &weight) in split.backends.iter().zip(&split.weights) {
            all[index as usize] = weight;
        }
        assert_eq!(all.map(BigUint::from).to_vec(), exact);
    }

    #[test]
    fn sums_over_the_limit_are_scaled_and_say_so() {
        let mut members = vec![leaf(65_535, 0), leaf(65_534, 1)];
        for depth in 0..4 {
            members =
                vec![Member { weight: 65_521, node: Node::Pool(members) }, leaf(65_519 - depth, 2 + u32::from(depth))];
        }
        let split = weights(&members, u64::from(u32::MAX)).expect("no share is tiny");
        assert!(!split.exact);
        assert_eq!(split.total(), u64::from(u32::MAX));
    }

    #[test]
    fn a_pick_in_parts_gives_what_a_cascade_gives() {
        let weights = flat(&[5, 1, 3, 3, 7, 2, 9, 4, 4, 1, 1]);
        let mut found: Vec<(u32, f64)> = Vec::new();
        fn walk(draw: &Draw, share: f64, found: &mut Vec<(u32, f64)>) {
            let (count, probabilities) = match draw {
                Draw::Cascade(weights, probabilities) => (weights.backends.len(), probabilities),
                Draw::Parts(parts, probabilities) => (parts.len(), probabilities),
            };
            assert!((2..=3).contains(&count), "{draw:?}");
            assert_eq!(probabilities.len() + 1, count);
            let mut left = share;
            for nth in 0..count {
                let part = probabilities.get(nth).map_or(1.0, |p| f64::from(p.raw()) / f64::from(ALWAYS));
                match draw {
                    Draw::Cascade(weights, _) => found.push((weights.backends[nth], left * part)),
                    Draw::Parts(parts, _) => walk(&parts[nth], left * part, found),
                }
                left *= 1.0 - part;
            }
        }
        walk(&draw(weights.clone(), 3, 3).expect("representable"), 1.0, &mut found);
        assert_eq!(found.iter().map(|(index, _)| *index).collect::<Vec<_>>(), weights.backends);
        for ((_, share), weight) in found.iter().zip(&weights.weights) {
            assert!((share - *weight as f64 / 40.0).abs() < 1e-8, "{found:?}");
        }
    }

    #[test]
    fn shares_that_round_to_nothing_are_refused() {
        let tiny = Weights { backends: vec![0, 1], weights: vec![1, 10_000_000_000], exact: true };
        assert_eq!(cascade(&tiny), Err(Vanishes(0)));
        let tiny = Weights { backends: vec![0, 1], weights: vec![10_000_000_000, 1], exact: true };
        assert_eq!(cascade(&tiny), Err(Vanishes(1)));
    }
}
