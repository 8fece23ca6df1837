//! What expressions of a rule are for one connection: exact, with shares where a number is drawn.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use num_traits::{One, Zero};

use crate::ir::Family;
use crate::ir::share::Share;
use crate::jhash::{jhash, reciprocal_scale};
use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::trace::{Machine, Packet, Source};

use super::dump::{Bits, Data, Element, Elements, Expr, Field, Table, Value};

/// What has become of a connection so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// `None` for an address of this machine that is not known: what `redirect` chooses.
    pub destination: Option<IpAddr>,
    pub port: u16,
    pub source: Source,
    /// `None` where it is not known.
    pub mark: Option<u32>,
    pub connection_mark: Option<u32>,
    /// What destination NAT has done.
    pub nat: Option<Action>,
    /// A nat chain of this hook has decided.
    pub decided: bool,
    /// Of the last rule or element with a comment that led here.
    pub via: Option<Box<str>>,
    /// Of the rule or element that chose the action.
    pub comment: Option<Box<str>>,
    /// What rules of this walk have put into dynamic sets: set, key, data.
    pub learned: Vec<(Box<str>, Vec<Atom>, Vec<Value>)>,
}

/// One thing that may be, and the part of all connections that it is for.
#[derive(Clone, Debug)]
pub struct Flow {
    pub state: State,
    pub share: Share,
}

/// What is the same for a whole hook.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub packet: &'a Packet,
    pub machine: &'a Machine,
    /// The kernel takes a missing interface for one with an empty name (net/netfilter/nft_meta.c).
    pub in_interface: &'a str,
    pub out_interface: Option<&'a str>,
    pub table: &'a Table,
}

/// A value that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Atom {
    Number(u32),
    Address(IpAddr),
    Name(Box<str>),
}

/// One part of what an expression gives.
#[derive(Clone, Debug)]
pub enum Part {
    Known(Atom),
    /// Each of `count` numbers from `first` on with the same share.
    Drawn {
        first: u32,
        count: u32,
    },
}

/// What an expression gives.
#[derive(Clone, Debug)]
pub enum Got {
    Parts(Vec<Part>),
    /// The packet does not have it, or a map has no element: the rule does not match.
    Missing,
    /// Cannot be told; the text that is to blame.
    Unknown(Box<str>),
}

/// How many of a draw's numbers are meant.
pub enum Weight {
    None,
    All,
    Part(Share),
}

/// The counters of `numgen inc`, by table, chain, rule and place in the rule.
pub type Counters = HashMap<(usize, usize, usize, u32), u32>;

/// What it costs and changes to evaluate.
pub struct Meter {
    /// What may still be done: one for each element looked at and each way followed.
    pub budget: u64,
    /// The counters, where a sequence is followed.
    pub counters: Option<Counters>,
    /// The rule that is evaluated, and how many numbers it has drawn.
    pub at: (usize, usize, usize),
    pub nth: u32,
    /// A random number has divided the connections.
    pub divided: bool,
    /// A counter was asked for a part of the connections only: there is no one sequence.
    pub unclear: bool,
}

impl Meter {
    /// Pays; `false` where nothing is left.
    pub fn pay(&mut self, price: u64) -> bool {
        self.budget = self.budget.saturating_sub(price);
        self.budget > 0
    }
}

/// The blame where [`Meter::budget`] is at its end.
pub const TOO_MANY: &str = "too many ways through the rules";

impl Scene<'_> {
    fn family(&self) -> Family {
        Family::of(self.packet.destination)
    }

    /// All that an expression may be; the shares sum to 1.
    pub fn evaluate(&self, expr: &Expr, state: &State, meter: &mut Meter) -> Vec<(Share, Got)> {
        match expr {
            Expr::Map(key, map) => {
                let mut list = Vec::new();
                for (share, got) in self.evaluate(key, state, meter) {
                    match got {
                        Got::Parts(parts) => self.look_up(&parts, map, state, meter, |part, data| {
                            list.push((&share * part, data.map_or(Got::Missing, data_of)));
                        }),
                        Got::Missing => list.push((share, Got::Missing)),
                        Got::Unknown(what) => list.push((share, Got::Unknown(what))),
                    }
                }
                list
            }
            Expr::Field(_)
            | Expr::Constant(..)
            | Expr::Concat(_)
            | Expr::Numgen { .. }
            | Expr::Jhash { .. }
            | Expr::Bits(..)
            | Expr::Unknown(_) => vec![(Share::one(), self.simple(expr, state, meter))],
        }
    }

    /// An expression without a map in it.
    fn simple(&self, expr: &Expr, state: &State, meter: &mut Meter) -> Got {
        let unknown = || Got::Unknown(expr.to_string().into());
        match expr {
            Expr::Field(field) => self.field(*field, state),
            Expr::Constant(list, _) => constant(list),
            Expr::Concat(list) => {
                let mut parts = Vec::with_capacity(list.len());
                for part in list {
                    match self.simple(part, state, meter) {
                        Got::Parts(more) => parts.extend(more),
                        other @ (Got::Missing | Got::Unknown(_)) => return other,
                    }
                }
                Got::Parts(parts)
            }
            Expr::Numgen { random, modulus, offset } => Got::Parts(vec![draw(*random, *modulus, *offset, meter)]),
            Expr::Jhash { of, modulus, seed: Some(seed), offset } => match self.simple(of, state, meter) {
                Got::Parts(parts) => match &parts[..] {
                    [Part::Known(Atom::Address(address))] => {
                        let hash = match address {
                            IpAddr::V4(address) => jhash(&address.octets(), *seed),
                            IpAddr::V6(address) => jhash(&address.octets(), *seed),
                        };
                        known(Atom::Number(offset.wrapping_add(reciprocal_scale(hash, *modulus))))
                    }
                    _ => unknown(),
                },
                other @ (Got::Missing | Got::Unknown(_)) => other,
            },
            Expr::Bits(bits, left, right) => {
                match (self.simple(left, state, meter), self.simple(right, state, meter)) {
                    (Got::Parts(left), Got::Parts(right)) => match (&left[..], &right[..]) {
                        ([Part::Known(left)], [Part::Known(right)]) => {
                            combine(*bits, left, right).unwrap_or_else(unknown)
                        }
                        _ => unknown(),
                    },
                    (Got::Unknown(what), _) | (_, Got::Unknown(what)) => Got::Unknown(what),
                    (Got::Missing, _) | (_, Got::Missing) => Got::Missing,
                }
            }
            // A seed that the kernel draws, and a map where nft allows none.
            Expr::Jhash { seed: None, .. } | Expr::Map(..) | Expr::Unknown(_) => unknown(),
        }
    }

    /// What a packet has for a field.
    fn field(&self, field: Field, state: &State) -> Got {
        let number = |number: u32| known(Atom::Number(number));
        let of_family = |family, got: Got| if family == self.family() { got } else { Got::Missing };
        let of_protocol = |wanted: Option<Protocol>, got: Got| match wanted {
            Some(protocol) if protocol != self.packet.protocol => Got::Missing,
            Some(_) | None => got,
        };
        let unknown = || Got::Unknown(field.to_string().into());
        let or_unknown = |value: Option<u32>| value.map_or_else(unknown, number);
        let source_port = || or_unknown(self.packet.source_port.map(u32::from));
        match field {
            Field::Family => number(match self.family() {
                Family::V4 => 2,
                Family::V6 => 10,
            }),
            Field::Protocol => number(protocol(self.packet.protocol)),
            Field::NextHeader(family) => of_family(family, number(protocol(self.packet.protocol))),
            Field::InInterface => known(Atom::Name(self.in_interface.into())),
            Field::OutInterface => self.out_interface.map_or_else(unknown, |name| known(Atom::Name(name.into()))),
            Field::Mark => or_unknown(state.mark),
            Field::ConnectionMark => or_unknown(state.connection_mark),
            // Source NAT is the last thing done; its rules see the old address.
            Field::Source(family) | Field::OriginalSource(family) => {
                of_family(family, known(Atom::Address(self.packet.source)))
            }
            Field::Destination(family) => {
                let address = state.destination.map_or_else(unknown, |address| known(Atom::Address(address)));
                of_family(family, address)
            }
            Field::OriginalDestination(family) => of_family(family, known(Atom::Address(self.packet.destination))),
            Field::SourcePort(wanted) => of_protocol(wanted, source_port()),
            Field::OriginalSourcePort => source_port(),
            Field::Port(wanted) => of_protocol(wanted, number(u32::from(state.port))),
            Field::OriginalPort => number(u32::from(self.packet.port)),
            Field::DestinationType => number(match state.destination {
                None => 2,
                Some(address) => address_type(address, self.machine),
            }),
            Field::State => number(8),
            Field::Direction => number(0),
            Field::Status => number(self.status(state)),
        }
    }

    /// The bits `snat` and `dnat` of `ct status`: set where NAT has changed something.
    fn status(&self, state: &State) -> u32 {
        let unchanged = state.destination == Some(self.packet.destination) && state.port == self.packet.port;
        let dnat = if unchanged { 0 } else { 32 };
        match state.source {
            Source::Kept => dnat,
            Source::Masquerade | Source::Address(_) => dnat | 16,
        }
    }

    /// Gives every element that the key may hit with its part, then what is left with `None`.
    pub fn look_up(
        &self,
        key: &[Part],
        elements: &Elements,
        state: &State,
        meter: &mut Meter,
        mut give: impl FnMut(Share, Option<Result<Hit<'_>, Box<str>>>),
    ) {
        let list = match elements {
            Elements::Anonymous(list) => list.as_slice(),
            Elements::Named(name) => match self.table.set(name) {
                Some(set) => set.elements.as_slice(),
                None => return give(Share::one(), Some(Err(format!("@{name}").into()))),
            },
        };
        if let Elements::Named(name) = elements
            && let Some((_, _, data)) = state.learned.iter().find(|(set, old, _)| set == name && is_same(old, key))
        {
            return give(Share::one(), Some(Ok(Hit::Learned(data))));
        }
        if !meter.pay(list.len() as u64 + 1) {
            return give(Share::one(), Some(Err(TOO_MANY.into())));
        }
        let mut left = Share::one();
        let mut rest = None;
        for element in list {
            if left.is_zero() {
                return;
            }
            if matches!(element.key[..], [Value::Rest]) {
                rest = Some(element);
                continue;
            }
            match weigh(key, &element.key) {
                Ok(Weight::None) => {}
                Ok(Weight::All) => {
                    let share = std::mem::replace(&mut left, Share::zero());
                    give(share, Some(Ok(Hit::Element(element))));
                }
                Ok(Weight::Part(share)) => {
                    meter.divided = true;
                    // The kernel refuses elements that overlap; what was read may have them.
                    let share = share.min(left.clone());
                    left -= &share;
                    give(share, Some(Ok(Hit::Element(element))));
                }
                Err(what) => {
                    let share = std::mem::replace(&mut left, Share::zero());
                    give(share, Some(Err(what)));
                }
            }
        }
        if !left.is_zero() {
            give(left, rest.map(|element| Ok(Hit::Element(element))));
        }
    }
}

/// What a key has found.
pub enum Hit<'a> {
    Element(&'a Element),
    /// The data of what an earlier rule has put in.
    Learned(&'a [Value]),
}

fn data_of(hit: Result<Hit<'_>, Box<str>>) -> Got {
    match hit {
        Ok(Hit::Element(element)) => match &element.data {
            Data::Values(list) => constant(list),
            Data::None => Got::Missing,
            Data::Verdict(verdict) => Got::Unknown(verdict.to_string().into()),
            Data::Other(text) => Got::Unknown(text.clone()),
        },
        Ok(Hit::Learned(list)) => constant(list),
        Err(what) => Got::Unknown(what),
    }
}

fn known(atom: Atom) -> Got {
    Got::Parts(vec![Part::Known(atom)])
}

fn constant(list: &[Value]) -> Got {
    let parts = list.iter().map(|value| match value {
        Value::Number(number) => Ok(Part::Known(Atom::Number(*number))),
        Value::Address(address) => Ok(Part::Known(Atom::Address(*address))),
        Value::Name(name) => Ok(Part::Known(Atom::Name(name.clone()))),
        Value::Other(text) => Err(text.clone()),
        Value::Numbers(first, last) => Err(format!("{first}-{last}").into()),
        Value::Addresses(first, last) => Err(format!("{first}-{last}").into()),
        Value::Net(net) => Err(net.to_string().into()),
        Value::NamePrefix(prefix) => Err(format!("{prefix}*").into()),
        Value::Rest => Err("*".into()),
    });
    match parts.collect::<Result<Vec<Part>, Box<str>>>() {
        Ok(parts) => Got::Parts(parts),
        Err(what) => Got::Unknown(what),
    }
}

/// The values that were computed, as elements hold them; `None` where they are not known.
pub fn settled(parts: &[Part]) -> Option<Vec<Atom>> {
    let atoms = parts.iter().map(|part| match part {
        Part::Known(atom) => Some(atom.clone()),
        Part::Drawn { .. } => None,
    });
    atoms.collect()
}

fn is_same(atoms: &[Atom], parts: &[Part]) -> bool {
    atoms.len() == parts.len()
        && atoms.iter().zip(parts).all(|(atom, part)| matches!(part, Part::Known(other) if other == atom))
}

fn draw(random: bool, modulus: u32, offset: u32, meter: &mut Meter) -> Part {
    let place = (meter.at.0, meter.at.1, meter.at.2, meter.nth);
    meter.nth += 1;
    if modulus == 1 {
        return Part::Known(Atom::Number(offset));
    }
    let divided = meter.divided;
    match &mut meter.counters {
        Some(counters) if !random => {
            meter.unclear |= divided;
            let counter = counters.entry(place).or_default();
            let number = *counter;
            *counter = (number + 1) % modulus;
            Part::Known(Atom::Number(offset.wrapping_add(number)))
        }
        Some(_) | None => Part::Drawn { first: offset, count: modulus },
    }
}

fn combine(bits: Bits, left: &Atom, right: &Atom) -> Option<Got> {
    let apply = |left: u128, right: u128| match bits {
        Bits::And => left & right,
        Bits::Or => left | right,
        Bits::Xor => left ^ right,
    };
    let atom = match (left, right) {
        (Atom::Number(left), Atom::Number(right)) => Atom::Number(apply((*left).into(), (*right).into()) as u32),
        (Atom::Address(IpAddr::V4(left)), Atom::Address(IpAddr::V4(right))) => {
            let bits = apply(left.to_bits().into(), right.to_bits().into()) as u32;
            Atom::Address(IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        (Atom::Address(IpAddr::V6(left)), Atom::Address(IpAddr::V6(right))) => {
            Atom::Address(IpAddr::V6(apply(left.to_bits(), right.to_bits()).into()))
        }
        _ => return None,
    };
    Some(known(atom))
}

/// The IP protocol's number.
fn protocol(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The routing type of an address, as `fib` has it. Broadcast addresses of networks are not known.
fn address_type(address: IpAddr, machine: &Machine) -> u32 {
    const UNICAST: u32 = 1;
    const LOCAL: u32 = 2;
    const BROADCAST: u32 = 3;
    const MULTICAST: u32 = 5;
    match address {
        _ if machine.is_local(address) => LOCAL,
        _ if address.is_multicast() => MULTICAST,
        IpAddr::V4(Ipv4Addr::BROADCAST) => BROADCAST,
        IpAddr::V4(_) | IpAddr::V6(_) => UNICAST,
    }
}

/// Whether a packet to an address goes to this machine's input.
pub fn is_for_us(address: Option<IpAddr>, machine: &Machine) -> bool {
    address.is_none_or(|address| address_type(address, machine) != 1)
}

/// The part of a key that an element's key holds; the error is what cannot be told.
pub fn weigh(parts: &[Part], values: &[Value]) -> Result<Weight, Box<str>> {
    if parts.len() != values.len() {
        return Err(format!("a key of {} parts for {}", parts.len(), values.len()).into());
    }
    let mut whole = Weight::All;
    let mut blame = None;
    for (part, value) in parts.iter().zip(values) {
        match one(part, value) {
            Ok(Weight::None) => return Ok(Weight::None),
            Ok(Weight::All) => {}
            Ok(Weight::Part(share)) => {
                whole = match whole {
                    Weight::Part(other) => Weight::Part(other * share),
                    Weight::All | Weight::None => Weight::Part(share),
                }
            }
            Err(what) => blame = Some(what),
        }
    }
    blame.map_or(Ok(whole), Err)
}

fn certain(yes: bool) -> Weight {
    if yes { Weight::All } else { Weight::None }
}

fn one(part: &Part, value: &Value) -> Result<Weight, Box<str>> {
    match (part, value) {
        (Part::Known(Atom::Number(number)), Value::Number(one)) => Ok(certain(number == one)),
        (Part::Known(Atom::Number(number)), Value::Numbers(first, last)) => {
            Ok(certain((first..=last).contains(&number)))
        }
        (Part::Drawn { first, count }, Value::Number(number)) => Ok(overlap(*first, *count, *number, *number)),
        (Part::Drawn { first, count }, Value::Numbers(from, to)) => Ok(overlap(*first, *count, *from, *to)),
        (Part::Known(Atom::Address(address)), Value::Address(one)) => Ok(certain(address == one)),
        (Part::Known(Atom::Address(address)), Value::Net(net)) => Ok(certain(net.contains(address))),
        (Part::Known(Atom::Address(address)), Value::Addresses(first, last)) => {
            let same = Family::of(*address) == Family::of(*first);
            Ok(certain(same && (first..=last).contains(&address)))
        }
        (Part::Known(Atom::Name(name)), Value::Name(one)) => Ok(certain(name == one)),
        (Part::Known(Atom::Name(name)), Value::NamePrefix(prefix)) => Ok(certain(name.starts_with(&**prefix))),
        (_, Value::Rest) => Ok(Weight::All),
        (_, Value::Other(text)) => Err(text.clone()),
        (Part::Known(_) | Part::Drawn { .. }, other) => Err(format!("{other:?}").into()),
    }
}

/// The part of the numbers drawn that lies in a range.
pub fn overlap(first: u32, count: u32, from: u32, to: u32) -> Weight {
    let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
    let from = u64::from(from).max(first);
    let to = (u64::from(to) + 1).min(end);
    match to.saturating_sub(from) {
        0 => Weight::None,
        all if all == u64::from(count) => Weight::All,
        some => Weight::Part(Share::new(some.into(), count.into())),
    }
}

/// The direction's interface; a connection of this machine has none.
pub fn in_interface(packet: &Packet) -> &str {
    match &packet.direction {
        Direction::In(name) => name,
        Direction::Out => "",
    }
}
