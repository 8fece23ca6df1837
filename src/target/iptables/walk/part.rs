//! A part of all connections, as a fraction that stays cheap: long cascades make denominators of thousands of bits,
//! but nearly all of them are powers of two.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{One, Zero};

use crate::ir::share::Share;

/// `odd * 2^exponent / below`, in lowest terms, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
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

impl Part {
    pub fn zero() -> Part {
        Part { odd: BigUint::zero(), exponent: 0, below: None }
    }

    pub fn one() -> Part {
        Part { odd: BigUint::one(), exponent: 0, below: None }
    }

    pub fn is_zero(&self) -> bool {
        self.odd.is_zero()
    }

    /// How many 64-bit words it holds.
    pub fn words(&self) -> u64 {
        (self.odd.bits() + self.below.as_ref().map_or(0, BigUint::bits)) / 64 + 2
    }

    pub fn times(&self, chance: Chance) -> Part {
        if chance.part == 0 || self.is_zero() {
            return Part::zero();
        }
        // Both fractions are in lowest terms crosswise, so the product is too.
        let common = chance.part.gcd(&chance.of);
        let (part, of) = (chance.part / common, chance.of / common);
        let (part_twos, of_twos) = (part.trailing_zeros(), of.trailing_zeros());
        let (part, of) = (part >> part_twos, of >> of_twos);
        let down = self.below.as_ref().map_or(1, |below| gcd(below, part));
        let up = gcd(&self.odd, of);
        Part {
            odd: divided(&self.odd, up) * (part / down),
            exponent: self.exponent + i64::from(part_twos) - i64::from(of_twos),
            below: match (&self.below, of / up) {
                (None, 1) => None,
                (None, of) => Some(of.into()),
                (Some(below), of) => above_one(divided(below, down) * of),
            },
        }
    }

    pub fn add(&mut self, other: &Part) {
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
        *self = Part { odd, exponent: exponent + twos as i64, below };
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
        let third = Part::one().times(chance(2, 6));
        let rest = Part::one().times(chance(2, 6).rest());
        assert_eq!(third.share(), Share::new(1u32.into(), 3u32.into()));
        let quarter = rest.times(chance(3, 8));
        assert_eq!(quarter.share(), Share::new_raw(1u32.into(), 4u32.into()));
        let mut sum = quarter.clone();
        sum.add(&rest.times(chance(5, 8)));
        sum.add(&third);
        assert_eq!(sum, Part::one());
        assert!(Part::one().times(chance(0, 5)).is_zero());
    }
}
