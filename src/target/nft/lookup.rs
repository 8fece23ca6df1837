//! Keys in sets and maps.

use super::dump::{Element, Elements, Value};
use super::evaluate::{Meter, Scene, State, TOO_MANY};
use super::index::Found;
use super::portion::Portion;
use super::value::{Atom, Blame, Part, Weight, settled, weigh};

/// What a key has found.
pub enum Hit<'s, 'a> {
    Element(&'a Element),
    /// The data of what an earlier rule has put in.
    Learned(&'s [Atom<'a>]),
}

impl<'a> Scene<'a> {
    /// Gives every element that the key may hit with its part, then what is left with `None`.
    pub fn look_up(
        &self,
        key: &[Part<'a>],
        elements: &'a Elements,
        state: &State<'a>,
        meter: &mut Meter,
        mut give: impl FnMut(Portion, Option<Result<Hit<'_, 'a>, Blame>>),
    ) {
        let list = match elements {
            Elements::Anonymous(list) => list.as_slice(),
            Elements::Named(name) => match self.table.set(name) {
                Some(set) => set.elements.as_slice(),
                None => return give(Portion::ONE, Some(Err(format!("@{name}").into()))),
            },
        };
        if let Elements::Named(name) = elements
            && state.learned.iter().any(|(set, ..)| *set == &**name)
        {
            // That a key was not learned holds for this one alone.
            key.iter().for_each(|part| self.notes.pin(part));
        }
        if let Elements::Named(name) = elements
            && let Some((_, _, data)) = state.learned.iter().find(|(set, old, _)| *set == &**name && is_same(old, key))
        {
            return give(Portion::ONE, Some(Ok(Hit::Learned(data))));
        }
        if let Some(index) = self.indices.get(&list.as_ptr().addr()) {
            let mut cost = 1;
            let found = index.find(key, self.notes, &mut cost);
            if !meter.pay(cost) {
                return give(Portion::ONE, Some(Err(TOO_MANY.into())));
            }
            match found {
                Found::Element(element) => return give(Portion::ONE, Some(Ok(Hit::Element(element)))),
                Found::Nothing => return give(Portion::ONE, None),
                Found::Unclear(what) => return give(Portion::ONE, Some(Err(what))),
                Found::Unknown => {}
            }
        }
        self.try_all(key, list, meter, give);
    }

    /// As [`Self::look_up`], one element after the other.
    fn try_all(
        &self,
        key: &[Part<'a>],
        list: &'a [Element],
        meter: &mut Meter,
        mut give: impl FnMut(Portion, Option<Result<Hit<'_, 'a>, Blame>>),
    ) {
        if !meter.pay(list.len() as u64 + 1) {
            return give(Portion::ONE, Some(Err(TOO_MANY.into())));
        }
        if let [Part::Drawn { first, count }] = *key
            && let Some(left) = deal(first, count, list, meter, &mut give)
        {
            if !left.is_zero() {
                give(left, None);
            }
            return;
        }
        let mut left = Portion::ONE;
        let mut rest = None;
        for element in list {
            if left.is_zero() {
                return;
            }
            if matches!(element.key[..], [Value::Rest]) {
                rest = Some(element);
                continue;
            }
            match weigh(key, &element.key, self.notes) {
                Ok(Weight::None) => {}
                Ok(Weight::All) => {
                    let share = std::mem::replace(&mut left, Portion::ZERO);
                    give(share, Some(Ok(Hit::Element(element))));
                }
                Ok(Weight::Part(share)) => {
                    meter.divided = true;
                    // The kernel refuses elements that overlap; what was read may have them.
                    let share = share.min(&left);
                    left = left.minus(&share);
                    give(share, Some(Ok(Hit::Element(element))));
                }
                Err(what) => {
                    let share = std::mem::replace(&mut left, Portion::ZERO);
                    give(share, Some(Err(what)));
                }
            }
        }
        if !left.is_zero() {
            give(left, rest.map(|element| Ok(Hit::Element(element))));
        }
    }
}

/// Gives each element the numbers of a draw that it holds, and returns the part that none does. `None`, and nothing
/// given, where they are no ascending ranges of numbers: then they may overlap, or not be told.
fn deal<'a>(
    first: u32,
    count: u32,
    list: &'a [Element],
    meter: &mut Meter,
    give: &mut impl FnMut(Portion, Option<Result<Hit<'_, 'a>, Blame>>),
) -> Option<Portion> {
    let span = |element: &Element| match element.key[..] {
        [Value::Number(number)] => Some((number, number)),
        [Value::Numbers(first, last)] if first <= last => Some((first, last)),
        _ => None,
    };
    let mut next = 0;
    for element in list {
        let (from, to) = span(element)?;
        if u64::from(from) < next {
            return None;
        }
        next = u64::from(to) + 1;
    }
    let (begin, end) = (u64::from(first), u64::from(first) + u64::from(count));
    let mut left = u64::from(count);
    for element in list {
        let (from, to) = span(element)?;
        let held = (u64::from(to) + 1).min(end).saturating_sub(u64::from(from).max(begin));
        if held > 0 {
            left -= held;
            meter.divided |= held < u64::from(count);
            give(Portion::new(held, count.into()), Some(Ok(Hit::Element(element))));
        }
    }
    Some(Portion::new(left, count.into()))
}

fn is_same(atoms: &[Atom<'_>], parts: &[Part<'_>]) -> bool {
    settled(parts).is_some_and(|parts| *parts == *atoms)
}
