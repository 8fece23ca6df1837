//! A part of all connections as a fraction of machine words, while it fits into them.

use num_integer::gcd;
use num_traits::{One, Zero};

use crate::ir::share::Share;
use crate::survey::Amount;

/// From 0 to 1, in lowest terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portion {
    /// `0 / of` for `Small(0, 1)`.
    Small(u64, u64),
    /// Only what does not fit.
    Large(Box<Share>),
}

impl Portion {
    pub const ZERO: Portion = Portion::Small(0, 1);
    pub const ONE: Portion = Portion::Small(1, 1);

    /// `part` of `of`; `of` is positive.
    pub fn new(part: u64, of: u64) -> Portion {
        let common = gcd(part, of);
        Portion::Small(part / common, of / common)
    }

    pub fn is_zero(&self) -> bool {
        *self == Portion::ZERO
    }

    pub fn is_one(&self) -> bool {
        *self == Portion::ONE
    }

    /// The smaller one.
    pub fn min(&self, other: &Portion) -> Portion {
        let is_less = match (self, other) {
            (&Portion::Small(a, b), &Portion::Small(c, d)) => {
                u128::from(a) * u128::from(d) < u128::from(c) * u128::from(b)
            }
            (one, other) => one.share() < other.share(),
        };
        if is_less { self.clone() } else { other.clone() }
    }

    pub fn times(&self, other: &Portion) -> Portion {
        if self.is_one() {
            return other.clone();
        }
        if other.is_one() {
            return self.clone();
        }
        if let (Portion::Small(a, b), Portion::Small(c, d)) = (self, other) {
            // In lowest terms crosswise, so the product is too.
            let (one, two) = (gcd(*a, *d), gcd(*c, *b));
            if let (Some(part), Some(of)) = ((a / one).checked_mul(c / two), (b / two).checked_mul(d / one)) {
                return Portion::Small(part, of);
            }
        }
        Portion::of_share(self.share() * other.share())
    }

    pub fn plus(&self, other: &Portion) -> Portion {
        self.combined(other, u128::checked_add, |one, other| one + other)
    }

    /// What is left without another, which is not more.
    pub fn minus(&self, other: &Portion) -> Portion {
        self.combined(other, u128::checked_sub, |one, other| one - other)
    }

    fn combined(
        &self,
        other: &Portion,
        small: impl Fn(u128, u128) -> Option<u128>,
        large: impl Fn(Share, Share) -> Share,
    ) -> Portion {
        if let (&Portion::Small(a, b), &Portion::Small(c, d)) = (self, other) {
            // Words times words fit into two words.
            let (of, parts) = match b == d {
                true => (u128::from(b), small(a.into(), c.into())),
                false => {
                    let common = gcd(b, d);
                    let (up, down) = (u128::from(d / common), u128::from(b / common));
                    (u128::from(b) * up, small(u128::from(a) * up, u128::from(c) * down))
                }
            };
            if let Some(parts) = parts {
                if let (Ok(part), Ok(of)) = (parts.try_into(), of.try_into()) {
                    return Portion::new(part, of);
                }
                let common = gcd(parts, of);
                if let (Ok(part), Ok(of)) = ((parts / common).try_into(), (of / common).try_into()) {
                    return Portion::Small(part, of);
                }
            }
        }
        Portion::of_share(large(self.share(), other.share()))
    }

    /// The bits of its denominator, as far as they count.
    pub fn bits(&self) -> u64 {
        match self {
            Portion::Small(..) => 64,
            Portion::Large(share) => share.denom().bits(),
        }
    }

    pub fn share(&self) -> Share {
        match self {
            Portion::Small(part, of) => Share::new_raw((*part).into(), (*of).into()),
            Portion::Large(share) => (**share).clone(),
        }
    }

    pub fn amount(&self) -> Amount {
        match self {
            Portion::Small(part, of) => Amount::Exact { part: *part, of: *of },
            Portion::Large(share) => Amount::of_share(share),
        }
    }

    fn of_share(share: Share) -> Portion {
        if share.is_zero() {
            return Portion::ZERO;
        }
        if share.is_one() {
            return Portion::ONE;
        }
        match (share.numer().try_into(), share.denom().try_into()) {
            (Ok(part), Ok(of)) => Portion::Small(part, of),
            _ => Portion::Large(Box::new(share)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_shares() {
        let numbers = [1, 2, 3, 7, 60, (1 << 32) - 1, 1 << 32, u64::MAX - 1, u64::MAX];
        let all: Vec<Portion> = numbers
            .iter()
            .flat_map(|of| numbers.iter().filter(move |part| part <= &of).map(|part| Portion::new(*part, *of)))
            .collect();
        for one in &all {
            assert!(one.minus(one).is_zero());
            for other in &all {
                let half = Portion::new(1, 2);
                assert_eq!(one.times(other).share(), one.share() * other.share());
                assert_eq!(
                    one.times(&half).plus(&other.times(&half)).share(),
                    (one.share() + other.share()) / Share::from_integer(2u32.into())
                );
                if one.share() >= other.share() {
                    assert_eq!(one.minus(other).share(), one.share() - other.share());
                }
            }
        }
    }
}
