//! A part of all connections: exact, as a fraction that stays cheap, or between two bounds.
//!
//! Long cascades make denominators of thousands of bits, but nearly all of them are powers of two.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{One, Zero};

use crate::ir::share::Share;
use crate::survey::{Amount, Bounds};

/// From 0 to 1. The parts of one walk are all of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Boxed, because walks of many packets have no use for it.
    Exact(Box<Fraction>),
    Between(Bounds),
}

/// How the parts of a walk are reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reckoning {
    Exact,
    Bounds,
}

impl Part {
    /// All connections.
    pub fn one(reckoning: Reckoning) -> Part {
        match reckoning {
            Reckoning::Exact => Part::Exact(Box::new(Fraction::one())),
            Reckoning::Bounds => Part::Between(Bounds::ONE),
        }
    }

    pub fn is_zero(&self) -> bool {
        match self {
            Part::Exact(part) => part.is_zero(),
            Part::Between(bounds) => bounds.is_zero(),
        }
    }

    /// How many 64-bit words it holds.
    pub fn words(&self) -> u64 {
        match self {
            Part::Exact(part) => part.words(),
            Part::Between(_) => 2,
        }
    }

    #[inline]
    pub fn times(&self, chance: Chance) -> Part {
        match self {
            Part::Exact(part) => Part::Exact(Box::new(part.times(chance))),
            Part::Between(bounds) => Part::Between(bounds.times(chance.part, chance.of)),
        }
    }

    /// This part of another one.
    pub fn of(&self, whole: &Part) -> Part {
        match (self, whole) {
            (Part::Exact(own), Part::Exact(whole)) => Part::Exact(Box::new(own.of(whole))),
            (Part::Between(own), Part::Between(whole)) => Part::Between(own.product(*whole)),
            (Part::Exact(_), Part::Between(_)) | (Part::Between(_), Part::Exact(_)) => {
                unreachable!("the parts of one walk are of one kind")
            }
        }
    }

    pub fn add(&mut self, other: &Part) {
        match (self, other) {
            (Part::Exact(own), Part::Exact(other)) => own.add(other),
            (Part::Between(own), Part::Between(other)) => *own = own.plus(*other),
            (Part::Exact(_), Part::Between(_)) | (Part::Between(_), Part::Exact(_)) => {
                unreachable!("the parts of one walk are of one kind")
            }
        }
    }

    /// Of what is exact.
    pub fn share(&self) -> Share {
        match self {
            Part::Exact(part) => part.share(),
            Part::Between(_) => unreachable!("who asks for shares reckons exactly"),
        }
    }

    pub fn amount(&self) -> Amount {
        match self {
            Part::Exact(part) => Amount::of_share(&part.share()),
            Part::Between(bounds) => Amount::Between(*bounds),
        }
    }
}

/// `odd * 2^exponent / below`, in lowest terms, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// Odd, but for 0, which has exponent 0.
    odd: BigUint,
    exponent: i64,
    /// Odd and above 1; `None` where it is 1, as with most.
    below: Option<BigUint>,
}

/// What a chance takes: `part / of`, `part <= of`, `of > 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    pub part: u64,
    pub of: u64,
}

impl Chance {
    /// What the chance leaves.
    pub fn rest(self) -> Chance {
        Chance { part: self.of - self.part, of: self.of }
    }
}

impl Fraction {
    pub fn zero() -> Fraction {
        Fraction { odd: BigUint::zero(), exponent: 0, below: None }
    }

    pub fn one() -> Fraction {
        Fraction { odd: BigUint::one(), exponent: 0, below: None }
    }

    pub fn is_zero(&self) -> bool {
        self.odd.is_zero()
    }

    /// How many 64-bit words it holds.
    pub fn words(&self) -> u64 {
        (self.odd.bits() + self.below.as_ref().map_or(0, BigUint::bits)) / 64 + 2
    }

    pub fn times(&self, chance: Chance) -> Fraction {
        if chance.part == 0 || self.is_zero() {
            return Fraction::zero();
        }
        // Both fractions are in lowest terms crosswise, so the product is too.
        let common = chance.part.gcd(&chance.of);
        let (part, of) = (chance.part / common, chance.of / common);
        let (part_twos, of_twos) = (part.trailing_zeros(), of.trailing_zeros());
        let (part, of) = (part >> part_twos, of >> of_twos);
        let down = self.below.as_ref().map_or(1, |below| gcd(below, part));
        let up = gcd(&self.odd, of);
        Fraction {
            odd: divided(&self.odd, up) * (part / down),
            exponent: self.exponent + i64::from(part_twos) - i64::from(of_twos),
            below: match (&self.below, of / up) {
                (None, 1) => None,
                (None, of) => Some(of.into()),
                (Some(below), of) => above_one(divided(below, down) * of),
            },
        }
    }

    /// This fraction of another one.
    pub fn of(&self, whole: &Fraction) -> Fraction {
        if self.is_zero() || whole.is_zero() {
            return Fraction::zero();
        }
        let (odd, exponent) = (&self.odd * &whole.odd, self.exponent + whole.exponent);
        if self.below.is_none() && whole.below.is_none() {
            return Fraction { odd, exponent, below: None };
        }
        let below = self.below() * whole.below();
        let common = odd.gcd(&below);
        Fraction { odd: odd / &common, exponent, below: above_one(below / common) }
    }

    pub fn add(&mut self, other: &Fraction) {
        if self.is_zero() {
            *self = other.clone();
            return;
        }
        if other.is_zero() {
            return;
        }
        let exponent = self.exponent.min(other.exponent);
        let mut a = &self.odd << (self.exponent - exponent).unsigned_abs();
        let mut b = &other.odd << (other.exponent - exponent).unsigned_abs();
        let mut below = self.below.clone();
        if self.below != other.below {
            let (own, others) = (self.below(), other.below());
            let both = own.lcm(&others);
            a *= &both / &own;
            b *= &both / &others;
            below = above_one(both);
        }
        let mut odd = a + b;
        let twos = odd.trailing_zeros().unwrap_or(0);
        odd >>= twos;
        if let Some(all) = below {
            let common = odd.gcd(&all);
            odd /= &common;
            below = above_one(all / &common);
        }
        *self = Fraction { odd, exponent: exponent + twos as i64, below };
    }

    fn below(&self) -> BigUint {
        self.below.clone().unwrap_or_else(BigUint::one)
    }

    pub fn share(&self) -> Share {
        let shift = self.exponent.unsigned_abs();
        match self.exponent < 0 {
            true => Share::new_raw(self.odd.clone(), self.below() << shift),
            false => Share::new_raw(&self.odd << shift, self.below()),
        }
    }
}

fn above_one(number: BigUint) -> Option<BigUint> {
    (!number.is_one()).then_some(number)
}

/// `small` is positive.
fn gcd(large: &BigUint, small: u64) -> u64 {
    if small == 1 {
        return 1;
    }
    let rest = u64::try_from(large % small).expect("a remainder is below its divisor");
    small.gcd(&rest)
}

fn divided(number: &BigUint, by: u64) -> BigUint {
    if by == 1 { number.clone() } else { number / by }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_in_lowest_terms() {
        let chance = |part, of| Chance { part, of };
        let third = Fraction::one().times(chance(2, 6));
        let rest = Fraction::one().times(chance(2, 6).rest());
        assert_eq!(third.share(), Share::new(1u32.into(), 3u32.into()));
        let quarter = rest.times(chance(3, 8));
        assert_eq!(quarter.share(), Share::new_raw(1u32.into(), 4u32.into()));
        let mut sum = quarter.clone();
        sum.add(&rest.times(chance(5, 8)));
        sum.add(&third);
        assert_eq!(sum, Fraction::one());
        assert!(Fraction::one().times(chance(0, 5)).is_zero());
        for other in [&third, &rest, &quarter, &Fraction::zero(), &Fraction::one()] {
            assert_eq!(quarter.of(other).share().reduced(), quarter.share() * other.share());
            assert_eq!(other.of(&quarter), quarter.of(other));
        }
    }

    #[test]
    fn bounds_are_near_what_is_exact() {
        let (mut exact, mut bounds) = (Part::one(Reckoning::Exact), Part::one(Reckoning::Bounds));
        for (part, of) in [(93_368_854, 1 << 31), (1, 3), (2_040_109_466, 1 << 31), (5, 7)] {
            let chance = Chance { part, of };
            for whole in [&mut exact, &mut bounds] {
                let mut sum = whole.times(chance);
                sum.add(&whole.times(chance.rest()).times(chance));
                *whole = sum;
            }
            assert!(exact.amount().is_surely_near(bounds.amount(), 1), "{exact:?} {bounds:?}");
        }
    }
}
