//! What expressions of a rule are for one connection: exact, with shares where a number is drawn.

use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use foldhash::HashMap;
use foldhash::fast::FixedState;
use smallvec::{SmallVec, smallvec};

use crate::address::number;
use crate::ir::Family;
use crate::jhash::{jhash, reciprocal_scale};
use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::survey::Side;
use crate::trace::{Machine, Packet, Source};
use crate::turns::{Turns, Visits};

use super::dump::{Bits, Data, Elements, Expr, Field, Table, Value};
use super::index::Index;
use super::kind::SYN;
use super::lookup::Hit;
use super::portion::Portion;
use super::value::{Atom, Blame, Notes, Origin, Part, Parts, protocol_number};

/// What has become of a connection so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<'a> {
    /// `None` for an address of this machine that is not known: what `redirect` chooses.
    pub destination: Option<IpAddr>,
    pub port: u16,
    /// Whether NAT has given the port: then it does not move with the packet's own.
    pub new_port: bool,
    pub source: Source,
    /// `None` where it is not known.
    pub mark: Option<u32>,
    pub connection_mark: Option<u32>,
    /// What destination NAT has done.
    pub nat: Option<Action>,
    /// A nat chain of this hook has decided.
    pub decided: bool,
    /// Of the last rule or element with a comment that led here.
    pub via: Option<&'a str>,
    /// Of the rule or element that chose the action.
    pub comment: Option<&'a str>,
    /// What rules of this walk have put into dynamic sets.
    pub learned: Vec<Learned<'a>>,
    /// Where counters stand; `None` where each may be at any place, whatever the others are at.
    pub turns: Option<Rc<Turns>>,
}

/// An element that a rule has put into a dynamic set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learned<'a> {
    pub set: &'a str,
    /// With what of the packet each part is.
    pub key: SmallVec<[(Atom<'a>, Origin); 3]>,
    pub data: Atoms<'a>,
    /// Whether it is there to limit.
    pub counts: bool,
    /// Whether it is from before, and was not put there again.
    pub is_old: bool,
}

pub type Atoms<'a> = SmallVec<[Atom<'a>; 3]>;

/// One thing that may be, and the part of all connections that it is for.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    /// Shared: flows are divided and handed on far more often than they change.
    pub state: Rc<State<'a>>,
    pub share: Portion,
}

impl<'a> Flow<'a> {
    /// The state, to be changed.
    pub fn change(&mut self) -> &mut State<'a> {
        Rc::make_mut(&mut self.state)
    }
}

/// Bits of `ct state`.
const INVALID: u32 = 1;
const NEW: u32 = 8;

/// What is the same for a whole hook.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub packet: &'a Packet,
    pub machine: &'a Machine,
    /// The kernel takes a missing interface for one with an empty name (net/netfilter/nft_meta.c).
    pub in_interface: &'a str,
    pub out_interface: Option<&'a str>,
    /// Whether conntrack has not seen the packet yet: it has no connection.
    pub early: bool,
    pub table: &'a Table,
    /// Of large sets, by where their elements are.
    pub indices: &'a HashMap<usize, Index<'a>>,
    pub notes: Notes<'a>,
}

/// What an expression gives.
#[derive(Clone, Debug)]
pub enum Got<'a> {
    Parts(Parts<'a>),
    /// The packet does not have it, or a map has no element: the rule does not match.
    Missing,
    /// Cannot be told; the text that is to blame.
    Unknown(Blame),
}

/// All that an expression may be.
pub type Gots<'a> = SmallVec<[(Portion, Got<'a>); 1]>;

/// What it costs and changes to evaluate.
pub struct Meter {
    /// What may still be done: one for each element looked at and each way followed.
    pub budget: u64,
    /// Those of the connection that is evaluated, as [`State::turns`]: its counters go on.
    pub turns: Option<Rc<Turns>>,
    /// The counters that were asked while each may be at any place, where anyone wants to know.
    pub visits: Option<Visits>,
    /// A number for all that rules did so far; kept beside `visits`.
    pub way: u64,
    /// The rule that is evaluated.
    pub at: (usize, usize, usize),
}

impl Meter {
    /// Pays; `false` where nothing is left.
    pub fn pay(&mut self, price: u64) -> bool {
        self.budget = self.budget.saturating_sub(price);
        self.budget > 0
    }

    /// Notes something that tells this way through the rules from others.
    pub fn note(&mut self, what: impl Hash) {
        if self.visits.is_some() {
            self.way = FixedState::default().hash_one((self.way, what));
        }
    }

    /// A number for the rule that is evaluated.
    fn rule(&self) -> u64 {
        let (table, chain, rule) = self.at;
        (table as u64) << 56 ^ (chain as u64) << 28 ^ rule as u64
    }
}

/// The blame where [`Meter::budget`] is at its end.
pub const TOO_MANY: &str = "too many ways through the rules";

impl<'a> Scene<'a> {
    fn family(&self) -> Family {
        Family::of(self.packet.destination)
    }

    /// All that an expression may be; the shares sum to 1.
    pub fn evaluate(&self, expr: &'a Expr, state: &State<'a>, meter: &mut Meter) -> Gots<'a> {
        match expr {
            Expr::Map(key, map) => {
                let room = match map {
                    Elements::Anonymous(elements) if matches!(**key, Expr::Numgen { .. }) => elements.len(),
                    Elements::Anonymous(_) | Elements::Named(_) => 1,
                };
                let mut list = Gots::with_capacity(room);
                for (share, got) in self.evaluate(key, state, meter) {
                    match got {
                        Got::Parts(parts) => self.look_up(&parts, map, state, meter, |part, data| {
                            list.push((share.times(&part), data.map_or(Got::Missing, data_of)));
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
            | Expr::Unknown(_) => smallvec![(Portion::ONE, self.simple(expr, state, meter))],
        }
    }

    /// An expression without a map in it.
    fn simple(&self, expr: &'a Expr, state: &State<'a>, meter: &mut Meter) -> Got<'a> {
        let unknown = || Got::Unknown(expr.to_string().into());
        match expr {
            Expr::Field(field) => self.field(*field, state),
            Expr::Constant(list, _) => constant(list),
            Expr::Concat(list) => {
                let mut parts = Parts::new();
                for part in list {
                    match self.simple(part, state, meter) {
                        Got::Parts(more) => parts.extend(more),
                        other @ (Got::Missing | Got::Unknown(_)) => return other,
                    }
                }
                Got::Parts(parts)
            }
            Expr::Numgen { random, modulus, offset } => {
                let counter = (!random).then(|| std::ptr::from_ref(expr).addr());
                Got::Parts(smallvec![draw(counter, *modulus, *offset, meter)])
            }
            Expr::Jhash { of, modulus, seed: Some(seed), offset } => match self.simple(of, state, meter) {
                Got::Parts(parts) => match &parts[..] {
                    [part @ Part::Known(Atom::Address(address), origin)] => {
                        match (origin, self.notes.0) {
                            (Origin::Source, Some(asked)) => asked.hash_source(meter.rule()),
                            (Origin::Fixed | Origin::Destination | Origin::Protocol | Origin::Port, _) | (_, None) => {
                                self.notes.pin(part);
                            }
                        }
                        let hash = match address {
                            IpAddr::V4(address) => jhash(&address.octets(), *seed),
                            IpAddr::V6(address) => jhash(&address.octets(), *seed),
                        };
                        fixed(Atom::Number(offset.wrapping_add(reciprocal_scale(hash, *modulus))))
                    }
                    _ => unknown(),
                },
                other @ (Got::Missing | Got::Unknown(_)) => other,
            },
            Expr::Bits(bits, left, right) => {
                match (self.simple(left, state, meter), self.simple(right, state, meter)) {
                    (Got::Parts(left), Got::Parts(right)) => match (&left[..], &right[..]) {
                        ([one @ Part::Known(left, _)], [other @ Part::Known(right, _)]) => {
                            self.notes.pin(one);
                            self.notes.pin(other);
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
    fn field(&self, field: Field, state: &State<'a>) -> Got<'a> {
        let number = |number: u32| fixed(Atom::Number(number));
        let of_family = |family, got: Got<'a>| if family == self.family() { got } else { Got::Missing };
        let of_protocol = |wanted: Option<Protocol>, got: Got<'a>| {
            let Some(protocol) = wanted else { return got };
            self.notes.0.inspect(|asked| asked.protocol(protocol));
            if protocol == self.packet.protocol { got } else { Got::Missing }
        };
        let protocol = || known(Atom::Number(protocol_number(self.packet.protocol)), Origin::Protocol);
        let unknown = || Got::Unknown(field.to_string().into());
        let or_unknown = |value: Option<u32>| value.map_or_else(unknown, number);
        let source_port = || or_unknown(self.packet.source_port.map(u32::from));
        let packet = self.packet;
        if self.early && field.is_of_connection() {
            // A packet without a connection has no state but this one (net/netfilter/nft_ct.c).
            return if field == Field::State { number(INVALID) } else { Got::Missing };
        }
        match field {
            Field::Family => number(match self.family() {
                Family::V4 => 2,
                Family::V6 => 10,
            }),
            Field::Protocol => protocol(),
            Field::NextHeader(family) => of_family(family, protocol()),
            Field::InInterface => {
                self.notes.0.inspect(|asked| asked.interface());
                fixed(Atom::Name(self.in_interface))
            }
            Field::OutInterface => self.out_interface.map_or_else(unknown, |name| fixed(Atom::Name(name))),
            Field::Mark => or_unknown(state.mark),
            Field::ConnectionMark => or_unknown(state.connection_mark),
            // Source NAT is the last thing done; its rules see the old address.
            Field::Source(family) | Field::OriginalSource(family) => {
                of_family(family, known(Atom::Address(packet.source), Origin::Source))
            }
            Field::Destination(family) => {
                self.ask_backend(state);
                let own = |address: IpAddr| match address == packet.destination {
                    true => Origin::Destination,
                    false => Origin::Fixed,
                };
                let got = state.destination.map(|address| known(Atom::Address(address), own(address)));
                of_family(family, got.unwrap_or_else(unknown))
            }
            Field::OriginalDestination(family) => {
                of_family(family, known(Atom::Address(packet.destination), Origin::Destination))
            }
            Field::SourcePort(wanted) => of_protocol(wanted, source_port()),
            Field::OriginalSourcePort => source_port(),
            Field::Port(wanted) => {
                self.ask_backend(state);
                let origin = if state.new_port { Origin::Fixed } else { Origin::Port };
                of_protocol(wanted, known(Atom::Number(state.port.into()), origin))
            }
            Field::TcpFlags => of_protocol(Some(Protocol::Tcp), number(SYN)),
            Field::OriginalPort => known(Atom::Number(packet.port.into()), Origin::Port),
            Field::SourceType => number(match state.source {
                Source::Kept => self.address_type(packet.source, Side::Source),
                Source::Masquerade => LOCAL,
                Source::Address(address) => self.address_type(address, Side::Source),
            }),
            Field::DestinationType => {
                self.ask_backend(state);
                number(match state.destination {
                    None => LOCAL,
                    Some(address) => self.address_type(address, Side::Destination),
                })
            }
            Field::State => number(NEW),
            Field::Direction => number(0),
            Field::Status => number(self.status(state)),
        }
    }

    /// Where the connection goes by now was asked.
    fn ask_backend(&self, state: &State<'_>) {
        if state.nat.is_some() {
            self.notes.0.inspect(|asked| asked.backend());
        }
    }

    /// The routing type of an address, as `fib` has it. Broadcast addresses of networks are not known.
    pub fn address_type(&self, address: IpAddr, side: Side) -> u32 {
        if let Some(asked) = self.notes.0 {
            asked.local(address);
            asked.special(side, Some(address));
        }
        match address {
            // The kernel asks for these first (__inet_dev_addr_type).
            IpAddr::V4(Ipv4Addr::BROADCAST | Ipv4Addr::UNSPECIFIED) => BROADCAST,
            _ if address.is_multicast() => MULTICAST,
            _ if self.machine.is_local(address) => LOCAL,
            IpAddr::V4(_) | IpAddr::V6(_) => UNICAST,
        }
    }

    /// Whether a packet to an address goes to this machine's input.
    pub fn is_for_us(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.address_type(address, Side::Destination) != UNICAST)
    }

    /// The bits `snat` and `dnat` of `ct status`: set where NAT has changed something.
    fn status(&self, state: &State<'_>) -> u32 {
        let packet = self.packet;
        let dnat = match (&state.nat, state.destination) {
            (None, _) => 0,
            (Some(_), Some(destination)) => {
                let (new, old) = (number(destination), number(packet.destination));
                self.notes.range(Origin::Destination, new, new);
                let same_port = || {
                    if !state.new_port {
                        return true;
                    }
                    let port = u128::from(state.port);
                    self.notes.range(Origin::Port, port, port);
                    state.port == packet.port
                };
                if new == old && same_port() { 0 } else { DNAT }
            }
            // `redirect`, to an address that is not known.
            (Some(_), None) => DNAT,
        };
        match state.source {
            Source::Kept => dnat,
            Source::Masquerade | Source::Address(_) => dnat | SNAT,
        }
    }
}

/// IPS_SRC_NAT and IPS_DST_NAT: include/uapi/linux/netfilter/nf_conntrack_common.h.
const SNAT: u32 = 16;
const DNAT: u32 = 32;

fn data_of<'a>(hit: Result<Hit<'_, 'a>, Blame>) -> Got<'a> {
    match hit {
        Ok(Hit::Element(element)) => match &element.data {
            Data::Values(list) => constant(list),
            Data::None => Got::Missing,
            Data::Verdict(verdict) => Got::Unknown(verdict.to_string().into()),
            Data::Other(text) => Got::Unknown(text.clone()),
        },
        Ok(Hit::Learned(list)) => Got::Parts(list.iter().map(|atom| Part::Known(*atom, Origin::Fixed)).collect()),
        Err(what) => Got::Unknown(what),
    }
}

fn known(atom: Atom<'_>, origin: Origin) -> Got<'_> {
    Got::Parts(smallvec![Part::Known(atom, origin)])
}

fn fixed(atom: Atom<'_>) -> Got<'_> {
    known(atom, Origin::Fixed)
}

fn constant(list: &[Value]) -> Got<'_> {
    let mut parts = Parts::new();
    for value in list {
        let atom = match value {
            Value::Number(number) => Atom::Number(*number),
            Value::Address(address) => Atom::Address(*address),
            Value::Name(name) => Atom::Name(name),
            Value::Other(text) => return Got::Unknown(text.clone()),
            Value::Numbers(first, last) => return Got::Unknown(format!("{first}-{last}").into()),
            Value::Addresses(first, last) => return Got::Unknown(format!("{first}-{last}").into()),
            Value::Net(net) => return Got::Unknown(net.to_string().into()),
            Value::NamePrefix(prefix) => return Got::Unknown(format!("{prefix}*").into()),
            Value::Rest => return Got::Unknown("*".into()),
        };
        parts.push(Part::Known(atom, Origin::Fixed));
    }
    Got::Parts(parts)
}

/// A number that is drawn, or that a counter gives.
fn draw(counter: Option<usize>, modulus: u32, offset: u32, meter: &mut Meter) -> Part<'static> {
    if modulus == 1 {
        return Part::Known(Atom::Number(offset), Origin::Fixed);
    }
    let Some(counter) = counter else { return Part::Drawn { first: offset, count: modulus } };
    if let Some(turns) = &mut meter.turns {
        let number = Rc::make_mut(turns).take(counter, modulus);
        return Part::Known(Atom::Number(offset.wrapping_add(number)), Origin::Fixed);
    }
    if let Some(visits) = &mut meter.visits {
        visits.note(counter);
    }
    Part::Drawn { first: offset, count: modulus }
}

fn combine<'a>(bits: Bits, left: &Atom<'a>, right: &Atom<'a>) -> Option<Got<'a>> {
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
    Some(fixed(atom))
}

/// Routing types: include/uapi/linux/rtnetlink.h.
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
const BROADCAST: u32 = 3;
const MULTICAST: u32 = 5;

/// The direction's interface; a connection of this machine has none.
pub fn in_interface(packet: &Packet) -> &str {
    match &packet.direction {
        Direction::In(name) => name,
        Direction::Out => "",
    }
}
