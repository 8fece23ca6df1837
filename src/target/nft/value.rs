//! Values that a rule computes, and how they compare with the values that it holds.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::{Asked, Protocols, Side};
use crate::target::plane::Plane;

use super::dump::{Operator, Value};
use super::portion::Portion;

/// A value that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Atom<'a> {
    Number(u32),
    Address(IpAddr),
    Name(&'a str),
}

/// What of the packet a value is, where it is just that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It is the same whatever the packet's addresses and ports are.
    Fixed,
    Source,
    Destination,
    Protocol,
    Port,
}

/// One part of what an expression gives.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    Known(Atom<'a>, Origin),
    /// Each of `count` numbers from `first` on with the same share.
    Drawn {
        first: u32,
        count: u32,
    },
}

pub type Parts<'a> = SmallVec<[Part<'a>; 3]>;

/// How many of a draw's numbers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weight {
    None,
    All,
    Part(Portion),
}

impl Weight {
    pub fn certain(yes: bool) -> Weight {
        if yes { Weight::All } else { Weight::None }
    }

    pub fn of(portion: Portion) -> Weight {
        match (portion.is_zero(), portion.is_one()) {
            (true, _) => Weight::None,
            (_, true) => Weight::All,
            (false, false) => Weight::Part(portion),
        }
    }

    pub fn not(self) -> Weight {
        match self {
            Weight::None => Weight::All,
            Weight::All => Weight::None,
            Weight::Part(portion) => Weight::Part(Portion::ONE.minus(&portion)),
        }
    }
}

/// Why something cannot be told: the text that is to blame.
pub type Blame = Box<str>;

/// Notes what is asked of values, where anyone wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes<'a>(pub Option<&'a Asked>);

impl Notes<'_> {
    /// Whether a value of the packet lies in a range was asked.
    pub fn range(self, origin: Origin, first: u128, last: u128) {
        let Some(asked) = self.0 else { return };
        match origin {
            Origin::Fixed => {}
            Origin::Source => asked.stretch(Side::Source, first, last),
            Origin::Destination => asked.stretch(Side::Destination, first, last),
            Origin::Protocol => {
                asked.protocols(Protocols::those(|one| (first..=last).contains(&u128::from(protocol_number(one)))))
            }
            Origin::Port => {
                // Beyond the last port the answer stays what it is there.
                if let Ok(first) = u16::try_from(first) {
                    asked.port_in(first, u16::try_from(last).unwrap_or(u16::MAX));
                }
            }
        }
    }

    /// Looks up the packet's own destination and port together: up to where nothing changes. False, and nothing noted,
    /// where these are other values.
    pub fn area(self, plane: &Plane, address: &Part<'_>, port: Option<&Part<'_>>) -> bool {
        let (Some(asked), Part::Known(address, Origin::Destination), Some(Part::Known(port, Origin::Port))) =
            (self.0, address, port)
        else {
            return false;
        };
        let (Some(at), Some(Ok(port))) = (address.number(), port.number().map(u16::try_from)) else { return false };
        if asked.is_first(std::ptr::from_ref(plane).addr()) {
            asked.area(plane.around(at, port, asked.horizon().port).1);
        }
        true
    }

    /// Something was made of a value that no range describes: it holds for this value alone.
    pub fn pin(self, part: &Part<'_>) {
        if let Part::Known(atom, origin) = part
            && let Some(number) = atom.number()
        {
            self.range(*origin, number, number);
        }
    }
}

impl Atom<'_> {
    /// In host order; `None` for a name.
    pub fn number(&self) -> Option<u128> {
        match self {
            Atom::Number(number) => Some(u128::from(*number)),
            Atom::Address(address) => Some(crate::address::number(*address)),
            Atom::Name(_) => None,
        }
    }
}

/// The IP protocol's number.
pub fn protocol_number(protocol: Protocol) -> u32 {
    protocol.number().into()
}

/// What a value holds, as a range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    Numbers(u128, u128),
    /// The first and the last address of a family, in host order.
    Addresses(Family, u128, u128),
    Name(&'a str),
    Prefix(&'a str),
}

impl Value {
    /// `None` for what is no range: `*`, and what was not understood.
    pub fn span(&self) -> Option<Span<'_>> {
        let addresses = |first: IpAddr, last: IpAddr| {
            let (family, of_last) = (Family::of(first), Family::of(last));
            (family == of_last)
                .then(|| Span::Addresses(family, crate::address::number(first), crate::address::number(last)))
        };
        match self {
            Value::Number(number) => Some(Span::Numbers((*number).into(), (*number).into())),
            Value::Numbers(first, last) => Some(Span::Numbers((*first).into(), (*last).into())),
            Value::Address(address) => addresses(*address, *address),
            Value::Net(net) => addresses(net.network(), net.broadcast()),
            Value::Addresses(first, last) => addresses(*first, *last),
            Value::Name(name) => Some(Span::Name(name)),
            Value::NamePrefix(prefix) => Some(Span::Prefix(prefix)),
            Value::Rest | Value::Other(_) => None,
        }
    }
}

/// The part of a key that an element's key holds; the error is what cannot be told.
pub fn weigh(parts: &[Part<'_>], values: &[Value], notes: Notes<'_>) -> Result<Weight, Blame> {
    if parts.len() != values.len() {
        return Err(format!("a key of {} parts for {}", parts.len(), values.len()).into());
    }
    let mut whole = Weight::All;
    let mut blame = None;
    for (part, value) in parts.iter().zip(values) {
        match one(part, value, notes) {
            Ok(Weight::None) => return Ok(Weight::None),
            Ok(Weight::All) => {}
            Ok(Weight::Part(portion)) => {
                whole = match whole {
                    Weight::Part(other) => Weight::Part(other.times(&portion)),
                    Weight::All | Weight::None => Weight::Part(portion),
                }
            }
            Err(what) => blame = Some(what),
        }
    }
    blame.map_or(Ok(whole), Err)
}

fn one(part: &Part<'_>, value: &Value, notes: Notes<'_>) -> Result<Weight, Blame> {
    let span = match value {
        Value::Rest => return Ok(Weight::All),
        Value::Other(text) => return Err(text.clone()),
        other => other.span().ok_or_else(|| Blame::from(format!("{other:?}")))?,
    };
    let holds = |number: u128, origin: Origin, first: u128, last: u128| {
        notes.range(origin, first, last);
        Ok(Weight::certain((first..=last).contains(&number)))
    };
    match (part, span) {
        (Part::Known(Atom::Number(number), origin), Span::Numbers(first, last)) => {
            holds((*number).into(), *origin, first, last)
        }
        (Part::Drawn { first, count }, Span::Numbers(from, to)) => Ok(overlap(*first, *count, from, to)),
        (Part::Known(Atom::Address(address), origin), Span::Addresses(family, first, last)) => {
            match Family::of(*address) == family {
                true => holds(crate::address::number(*address), *origin, first, last),
                false => Ok(Weight::None),
            }
        }
        (Part::Known(Atom::Name(name), _), Span::Name(one)) => Ok(Weight::certain(*name == one)),
        (Part::Known(Atom::Name(name), _), Span::Prefix(prefix)) => Ok(Weight::certain(name.starts_with(prefix))),
        (Part::Known(..) | Part::Drawn { .. }, _) => Err(format!("{value:?}").into()),
    }
}

/// Less and greater, for one number.
pub fn compare(parts: &[Part<'_>], order: Operator, values: &[Value], notes: Notes<'_>) -> Result<Weight, Blame> {
    let ([part], [Value::Number(limit)]) = (parts, values) else { return Err("an order among these".into()) };
    let (first, last) = match order {
        Operator::Less if *limit == 0 => return Ok(Weight::None),
        Operator::Less => (0, limit - 1),
        Operator::LessOrEqual => (0, *limit),
        Operator::Greater if *limit == u32::MAX => return Ok(Weight::None),
        Operator::Greater => (limit + 1, u32::MAX),
        Operator::GreaterOrEqual => (*limit, u32::MAX),
        Operator::Equal | Operator::NotEqual | Operator::In | Operator::NotIn => (*limit, *limit),
    };
    match part {
        Part::Known(Atom::Number(_), _) | Part::Drawn { .. } => one(part, &Value::Numbers(first, last), notes),
        Part::Known(Atom::Address(_) | Atom::Name(_), _) => Err("an order among these".into()),
    }
}

/// The part of the numbers drawn that lies in a range.
pub fn overlap(first: u32, count: u32, from: u128, to: u128) -> Weight {
    let (first, end) = (u128::from(first), u128::from(first) + u128::from(count));
    let some = to.saturating_add(1).min(end).saturating_sub(from.max(first));
    // At most `count`.
    Weight::of(Portion::new(some as u64, count.into()))
}

/// The values that were computed; `None` where one is drawn.
pub fn settled<'a>(parts: &[Part<'a>]) -> Option<SmallVec<[Atom<'a>; 3]>> {
    let atoms = parts.iter().map(|part| match part {
        Part::Known(atom, _) => Some(*atom),
        Part::Drawn { .. } => None,
    });
    atoms.collect()
}
