//! A part of all connections, as a fraction that stays cheap: long cascades make denominators of thousands of bits,
//! but nearly all of them are powers of two.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{One, Zero};

use crate::ir::share::Share;

/// `numerator / (odd * 2^twos)`, in lowest terms, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    numerator: BigUint,
    odd: BigUint,
    twos: u64,
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
        Part { numerator: BigUint::zero(), odd: BigUint::one(), twos: 0 }
    }

    pub fn one() -> Part {
        Part { numerator: BigUint::one(), odd: BigUint::one(), twos: 0 }
    }

    pub fn is_zero(&self) -> bool {
        self.numerator.is_zero()
    }

    /// How many 64-bit words it holds.
    pub fn words(&self) -> u64 {
        (self.numerator.bits() + self.odd.bits()) / 64 + 2
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
        let down = gcd(&self.odd, part);
        let up = gcd(&self.numerator, of);
        let numerator = divided(&self.numerator, up) * (part / down);
        let odd = divided(&self.odd, down) * (of / up);
        Part { numerator: numerator << part_twos, odd, twos: self.twos + u64::from(of_twos) }.halved()
    }

    pub fn add(&mut self, other: &Part) {
        if self.is_zero() {
            *self = other.clone();
            return;
        }
        if other.is_zero() {
            return;
        }
        let twos = self.twos.max(other.twos);
        let (mut a, mut b) = (&self.numerator << (twos - self.twos), &other.numerator << (twos - other.twos));
        let mut odd = self.odd.clone();
        if self.odd != other.odd {
            odd = self.odd.lcm(&other.odd);
            a *= &odd / &self.odd;
            b *= &odd / &other.odd;
        }
        let mut sum = a + b;
        if !odd.is_one() {
            let common = sum.gcd(&odd);
            sum /= &common;
            odd /= &common;
        }
        *self = Part { numerator: sum, odd, twos }.halved();
    }

    /// Cancels powers of two.
    fn halved(mut self) -> Part {
        let shift = self.numerator.trailing_zeros().unwrap_or(0).min(self.twos);
        if shift > 0 {
            self.numerator >>= shift;
            self.twos -= shift;
        }
        self
    }

    pub fn share(&self) -> Share {
        Share::new_raw(self.numerator.clone(), &self.odd << self.twos)
    }
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
