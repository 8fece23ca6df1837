//! Exact shares: the meaning of weights. The targets have arithmetic of their own, so that each can check the other.

use num_bigint::BigUint;
use num_integer::gcd;
use num_rational::Ratio;
use num_traits::{One, ToPrimitive, Zero};

use super::{Member, Node};

/// An exact share, from 0 to 1.
pub type Share = Ratio<BigUint>;

/// What shares are reckoned in: the exact ones, or what stands in for them where there are very many.
pub trait Fraction: Clone {
    fn none() -> Self;
    fn all() -> Self;
    /// `part / of`, at most 1; `of` is positive.
    fn ratio(part: u64, of: u64) -> Self;
    fn is_none(&self) -> bool;
    fn times(&self, other: &Self) -> Self;
    fn plus(&self, other: &Self) -> Self;
}

impl Fraction for Share {
    fn none() -> Share {
        Share::zero()
    }

    fn all() -> Share {
        Share::one()
    }

    fn ratio(part: u64, of: u64) -> Share {
        // To lowest terms before the numbers are large ones: most of the shares of a program are made here.
        let common = gcd(part, of);
        Share::new_raw(BigUint::from(part / common), BigUint::from(of / common))
    }

    fn is_none(&self) -> bool {
        self.is_zero()
    }

    fn times(&self, other: &Share) -> Share {
        self * other
    }

    fn plus(&self, other: &Share) -> Share {
        self + other
    }
}

/// The share of each of `count` backends: weight over sum, nested pools multiplied. They sum to 1.
pub fn shares(members: &[Member], count: usize) -> Vec<Share> {
    fractions(members, count)
}

/// As [`shares`], in any kind of fraction.
pub fn fractions<F: Fraction>(members: &[Member], count: usize) -> Vec<F> {
    let mut shares = vec![F::none(); count];
    add(members, None, &mut shares);
    shares
}

fn add<F: Fraction>(members: &[Member], of: Option<&F>, shares: &mut [F]) {
    let sum: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    for member in members.iter().filter(|member| member.weight > 0) {
        let own = F::ratio(u64::from(member.weight), sum);
        let share = of.map_or_else(|| own.clone(), |of| of.times(&own));
        match &member.node {
            Node::Backend(index) => shares[*index as usize] = share,
            Node::Pool(members) => add(members, Some(&share), shares),
        }
    }
}

/// The smallest whole numbers in the ratio of the shares.
pub fn ratio(shares: &[Share]) -> Vec<BigUint> {
    let scale = shares.iter().fold(BigUint::one(), |scale, share| num_integer::lcm(scale, share.denom().clone()));
    shares.iter().map(|share| (share * &scale).to_integer()).collect()
}

/// `total` whole parts dealt in the ratio of the shares by largest remainder, ties in source order.
pub fn largest_remainder(shares: &[Share], total: u32) -> Vec<u32> {
    let exact: Vec<Share> = shares.iter().map(|share| share * BigUint::from(total)).collect();
    let mut parts: Vec<u32> = exact.iter().map(|part| small(&part.to_integer())).collect();
    let missing = total - parts.iter().sum::<u32>();
    let mut order: Vec<usize> = (0..shares.len()).filter(|&index| !shares[index].is_zero()).collect();
    order.sort_by(|&a, &b| exact[b].fract().cmp(&exact[a].fract()).then(a.cmp(&b)));
    for &index in order.iter().take(missing as usize) {
        parts[index] += 1;
    }
    parts
}

fn small(number: &BigUint) -> u32 {
    u32::try_from(number).expect("a part is at most the total")
}

/// `66.67 %`; what is not quite nothing and not quite all says so.
pub fn percent(share: &Share) -> String {
    let percent = share.to_f64().unwrap_or(0.0) * 100.0;
    match percent {
        _ if share.is_zero() || share.is_one() => format!("{percent:.0} %"),
        ..0.005 => "< 0.01 %".to_owned(),
        99.995.. => "> 99.99 %".to_owned(),
        _ => format!("{percent:.2} %"),
    }
}

/// A share as a fraction where a person can read it, else in decimals.
pub fn fraction(share: &Share) -> String {
    // 15 digits; what is far longer is not even written to be counted.
    let text = (share.denom().bits() <= 50).then(|| share.to_string()).filter(|text| text.len() <= 15);
    text.unwrap_or_else(|| format!("{:.10}", share.to_f64().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(numerator: u32, denominator: u32) -> Share {
        Share::new(numerator.into(), denominator.into())
    }

    #[test]
    fn nested_pools_multiply() {
        let leaf = |weight, index| Member { weight, node: Node::Backend(index) };
        let members = vec![
            Member { weight: 90, node: Node::Pool(vec![leaf(2, 0), leaf(1, 1)]) },
            Member { weight: 10, node: Node::Pool(vec![leaf(1, 2)]) },
        ];
        let shares = shares(&members, 3);
        assert_eq!(shares, [share(3, 5), share(3, 10), share(1, 10)]);
        assert_eq!(ratio(&shares), [6u32, 3, 1].map(BigUint::from));
    }

    #[test]
    fn the_largest_remainders_get_what_is_left() {
        assert_eq!(largest_remainder(&[share(1, 3), share(1, 3), share(1, 3)], 49), [17, 16, 16]);
        assert_eq!(largest_remainder(&[share(2, 3), share(0, 1), share(1, 3)], 7), [5, 0, 2]);
    }
}
