//! Shares as a survey reckons them: in machine words, exact where they fit and between two bounds where they do not.
//!
//! Bounds only ever acquit: where they leave anything open, the exact shares decide.

use num_integer::gcd;

use crate::ir::share::{Fraction, Share};

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// `part / of`, not always in lowest terms; `of` is positive.
    Exact {
        part: u64,
        of: u64,
    },
    Between(Bounds),
}

/// Two numbers that a share lies between, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In units of `2^-63`.
    low: u64,
    /// In units of `2^-63`; 0 for what is exactly 0 and no other.
    high: u64,
}

/// 1, in units of [`Bounds`].
const UNIT: u32 = 63;

impl Bounds {
    pub const ZERO: Bounds = Bounds { low: 0, high: 0 };
    pub const ONE: Bounds = Bounds { low: 1 << UNIT, high: 1 << UNIT };

    /// Exact: only what is 0 has an upper bound of 0.
    pub fn is_zero(self) -> bool {
        self.high == 0
    }

    /// `part / of` of it; `part <= of`, `of > 0`.
    #[inline]
    pub fn times(self, part: u64, of: u64) -> Bounds {
        let (low, high) = (u128::from(self.low) * u128::from(part), u128::from(self.high) * u128::from(part));
        // Most probabilities are parts of 2^31.
        if of.is_power_of_two() {
            let bits = of.trailing_zeros();
            let up = u128::from(of - 1);
            return Bounds { low: (low >> bits) as u64, high: ((high + up) >> bits) as u64 };
        }
        let of = u128::from(of);
        Bounds { low: (low / of) as u64, high: high.div_ceil(of) as u64 }
    }

    #[inline]
    pub fn plus(self, other: Bounds) -> Bounds {
        // No sum of parts is above 1, so its lower bound fits; twice as much is an upper bound of every sum.
        Bounds { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high) }
    }

    pub fn product(self, other: Bounds) -> Bounds {
        let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
        let high = product(self.high, other.high).div_ceil(1 << UNIT);
        Bounds { low: (product(self.low, other.low) >> UNIT) as u64, high: u64::try_from(high).unwrap_or(u64::MAX) }
    }
}

impl Amount {
    pub const ONE: Amount = Amount::Exact { part: 1, of: 1 };

    pub fn of_share(share: &Share) -> Amount {
        match (share.numer().try_into(), share.denom().try_into()) {
            (Ok(part), Ok(of)) => Amount::Exact { part, of },
            _ => {
                let low = (share.numer() << UNIT) / share.denom();
                let low = u64::try_from(&low).expect("a share is at most 1");
                // Below 1, because it is no ratio of words.
                Amount::Between(Bounds { low, high: low + 1 })
            }
        }
    }

    #[inline]
    fn bounds(self) -> Bounds {
        match self {
            Amount::Exact { part, of } => Bounds::ONE.times(part, of),
            Amount::Between(bounds) => bounds,
        }
    }

    /// Whether two are equal for certain.
    #[inline]
    pub fn surely_is(self, other: Amount) -> bool {
        match (self, other) {
            (Amount::Exact { part: a, of: b }, Amount::Exact { part: c, of: d }) => {
                u128::from(a) * u128::from(d) == u128::from(c) * u128::from(b)
            }
            (Amount::Exact { .. } | Amount::Between(_), Amount::Exact { .. } | Amount::Between(_)) => false,
        }
    }

    /// Whether two differ by at most `parts / 2^32` for certain.
    #[inline]
    pub fn is_surely_near(self, other: Amount, parts: usize) -> bool {
        let (one, other) = (self.bounds(), other.bounds());
        let apart = one.high.saturating_sub(other.low).max(other.high.saturating_sub(one.low));
        u128::from(apart) <= (parts as u128) << (UNIT - 32)
    }

    /// In words, if the numbers fit; else in lowest terms, if those do.
    fn exact(part: Option<u128>, of: Option<u128>) -> Option<Amount> {
        let (part, of) = (part?, of?);
        let small = |part: u128, of: u128| Some(Amount::Exact { part: part.try_into().ok()?, of: of.try_into().ok()? });
        small(part, of).or_else(|| {
            let common = gcd(part, of);
            small(part / common, of / common)
        })
    }
}

impl Fraction for Amount {
    fn none() -> Amount {
        Amount::Exact { part: 0, of: 1 }
    }

    fn all() -> Amount {
        Amount::ONE
    }

    fn ratio(part: u64, of: u64) -> Amount {
        Amount::Exact { part, of }
    }

    fn is_none(&self) -> bool {
        match self {
            Amount::Exact { part, .. } => *part == 0,
            Amount::Between(bounds) => bounds.is_zero(),
        }
    }

    fn times(&self, other: &Amount) -> Amount {
        if let (&Amount::Exact { part: a, of: b }, &Amount::Exact { part: c, of: d }) = (self, other) {
            let product = |one: u64, other: u64| u128::from(one).checked_mul(u128::from(other));
            if let Some(exact) = Amount::exact(product(a, c), product(b, d)) {
                return exact;
            }
        }
        Amount::Between(self.bounds().product(other.bounds()))
    }

    fn plus(&self, other: &Amount) -> Amount {
        if let (&Amount::Exact { part: a, of: b }, &Amount::Exact { part: c, of: d }) = (self, other) {
            let [a, b, c, d] = [a, b, c, d].map(u128::from);
            let sum = if b == d {
                Amount::exact(Some(a + c), Some(b))
            } else {
                Amount::exact((a * d).checked_add(c * b), Some(b * d))
            };
            if let Some(exact) = sum {
                return exact;
            }
        }
        Amount::Between(self.bounds().plus(other.bounds()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratio() -> impl Strategy<Value = (u64, u64)> {
        let of = prop_oneof![1..100u64, Just(1 << 31), any::<u64>().prop_map(|of| of.max(1))];
        of.prop_flat_map(|of| (0..=of, Just(of)))
    }

    /// Whether an amount is a share, as far as it says.
    fn holds(amount: Amount, share: &Share) -> bool {
        let unit = Share::from_integer((1u64 << UNIT).into());
        let bounds = amount.bounds();
        let exact = match amount {
            Amount::Exact { part, of } => Share::new(part.into(), of.into()) == *share,
            Amount::Between(_) => true,
        };
        let scaled = share * unit;
        exact
            && Share::from_integer(bounds.low.into()) <= scaled
            && scaled <= Share::from_integer(bounds.high.into())
            && bounds.is_zero() == share.is_none()
    }

    proptest! {
        #![proptest_config(crate::generated::regressions())]

        #[test]
        fn bounds_hold_what_they_are_about(ratios in proptest::collection::vec(ratio(), 1..12)) {
            let (mut exact, mut amount, mut bounds) = (Share::all(), Amount::ONE, Bounds::ONE);
            for (part, of) in ratios {
                let (one, rest) = (Share::ratio(part, of), Share::ratio(of - part, of));
                let halves = [Share::ratio(1, 2), Share::ratio(1, 2)];
                // A sum of two parts of it, and then a part of it.
                let sum = exact.times(&one).times(&halves[0]).plus(&exact.times(&rest).times(&halves[1]));
                let half = Amount::ratio(1, 2);
                let both = amount
                    .times(&Amount::ratio(part, of))
                    .times(&half)
                    .plus(&amount.times(&Amount::ratio(of - part, of)).times(&half));
                prop_assert!(holds(both, &sum), "{both:?} {sum}");
                exact = exact.times(&one);
                amount = amount.times(&Amount::ratio(part, of));
                bounds = bounds.times(part, of);
                prop_assert!(holds(amount, &exact) && holds(Amount::of_share(&exact), &exact), "{amount:?} {exact}");
                prop_assert!(holds(Amount::Between(bounds), &exact), "{bounds:?} {exact}");
            }
        }
    }

    #[test]
    fn what_is_certain_is_so() {
        let near = |one: Amount, other| one.is_surely_near(other, 1);
        let (half, more) = (Amount::ratio(1, 2), Amount::ratio((1 << 31) + 1, 1 << 32));
        assert!(half.surely_is(Amount::ratio(7, 14)) && !half.surely_is(more));
        assert!(near(half, more) && near(more, half) && !near(half, Amount::ratio((1 << 32) + 3, 1 << 33)));
        let bounds = Amount::Between(Bounds::ONE.times(1, 2));
        assert!(!bounds.surely_is(half) && near(bounds, half));
    }
}
