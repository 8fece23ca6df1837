//! The statements of one rule for one connection.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use smallvec::{SmallVec, smallvec};

use crate::ir::Family;
use crate::meaning::{Action, Direction};
use crate::trace::{Count, Rate, Source};

use super::dump::{
    Bound, Data, Element, Elements, Expr, Field, Nat, Operand, Operator, Rule, Statement, TableFamily, Value, Verdict,
};
use super::evaluate::{Flow, Got, Gots, Learned, Meter, Scene, State, TOO_MANY};
use super::lookup::Hit;
use super::portion::Portion;
use super::value::{Atom, Blame, Origin, Part, Parts, Weight, compare, settled, weigh};

/// What a rule does to a part of the connections.
#[derive(Clone, Debug)]
pub enum End<'a> {
    /// A match does not hold.
    No,
    /// A match or statement is unknown: it is to blame.
    CannotTell(Blame),
    Verdict(&'a Verdict),
    Reject,
}

/// A connection on its way through a rule.
struct Way<'a> {
    flow: Flow<'a>,
    /// A match that cannot be told, while the matches behind it may still fail for sure.
    doubt: Option<Blame>,
    /// The comment of the last element found.
    found: Option<&'a str>,
}

impl<'a> Way<'a> {
    fn part(&self, share: &Portion) -> Way<'a> {
        let share = if share.is_one() { self.flow.share.clone() } else { self.flow.share.times(share) };
        let flow = Flow { state: self.flow.state.clone(), share };
        Way { flow, doubt: self.doubt.clone(), found: self.found }
    }
}

/// All that an expression may be for a way, whose counters go on with it; behind a match that cannot be told they stay.
fn evaluate<'a>(scene: &Scene<'a>, expr: &'a Expr, way: &mut Way<'a>, meter: &mut Meter) -> Gots<'a> {
    let Some(turns) = way.flow.state.turns.clone() else { return scene.evaluate(expr, &way.flow.state, meter) };
    meter.turns = Some(turns.clone());
    let gots = scene.evaluate(expr, &way.flow.state, meter);
    let after = meter.turns.take();
    if way.doubt.is_none() && after.as_ref().is_some_and(|after| !Rc::ptr_eq(after, &turns)) {
        way.flow.change().turns = after;
    }
    gots
}

/// What a statement does to a way.
enum Next<'a> {
    On(Way<'a>),
    End(Flow<'a>, End<'a>),
}

fn end<'a>(way: Way<'a>, end: End<'a>) -> Next<'a> {
    Next::End(way.flow, end)
}

fn blame(way: Way<'_>, what: impl Into<Blame>) -> Next<'_> {
    end(way, End::CannotTell(what.into()))
}

/// Evaluates a rule; the shares of the ends sum to the flow's.
pub fn run<'a>(
    scene: &Scene<'a>,
    rule: &'a Rule,
    flow: Flow<'a>,
    meter: &mut Meter,
    ends: &mut Vec<(Flow<'a>, End<'a>)>,
) {
    let mut ways: SmallVec<[Way<'a>; 1]> = SmallVec::new();
    ways.push(Way { flow, doubt: None, found: None });
    for statement in &rule.statements {
        let mut on = SmallVec::with_capacity(ways.len());
        for way in ways {
            let left = match (way.doubt.clone(), statement) {
                (Some(_), Statement::Match { .. }) | (None, _) => {
                    let mut next = Nexts::new();
                    step(scene, statement, rule, way, meter, &mut next);
                    next
                }
                (Some(what), _) => smallvec![blame(way, what)],
            };
            if !meter.pay(left.len() as u64) {
                ends.extend(left.into_iter().map(|next| match next {
                    Next::On(way) => (way.flow, End::CannotTell(TOO_MANY.into())),
                    Next::End(flow, end) => (flow, end),
                }));
                continue;
            }
            ends.reserve(left.len());
            for next in left {
                match next {
                    Next::On(way) => on.push(way),
                    Next::End(flow, end) => ends.push((flow, end)),
                }
            }
        }
        ways = on;
    }
    ends.extend(ways.into_iter().map(|way| match way.doubt {
        Some(what) => (way.flow, End::CannotTell(what)),
        None => (way.flow, End::Verdict(&Verdict::Continue)),
    }));
}

/// What may become of a way.
type Nexts<'a> = SmallVec<[Next<'a>; 1]>;

fn step<'a>(
    scene: &Scene<'a>,
    statement: &'a Statement,
    rule: &'a Rule,
    way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    match statement {
        Statement::Match { left, operator, right } => matching(scene, (left, *operator, right), way, meter, next),
        Statement::Lookup { key, map } => lookup(scene, (key, map), rule, way, meter, next),
        Statement::Verdict(verdict) => next.push(decide(way, rule, End::Verdict(verdict))),
        Statement::Nat { nat, family, address, port } => {
            let family = family.or(match scene.table.family {
                TableFamily::Ip => Some(Family::V4),
                TableFamily::Ip6 => Some(Family::V6),
                TableFamily::Inet => None,
            });
            // The kernel lets a rule of the other family do nothing (nft_nat_inet_eval).
            if family.is_some_and(|family| family != Family::of(scene.packet.destination)) {
                return next.push(end(way, End::No));
            }
            translate(scene, *nat, (address.as_ref(), port.as_ref()), rule, way, meter, next);
        }
        Statement::Reject(_) => next.push(decide(way, rule, End::Reject)),
        Statement::Mark { field, value } => mark(scene, *field, value, way, meter, next),
        Statement::Learn { update, set, key, data, inner } => {
            learn(scene, (*update, set, key, data.as_ref(), inner), way, meter, next);
        }
        Statement::Limit { over, bound } if *over != is_over(scene, bound, false) => next.push(end(way, End::No)),
        Statement::Limit { .. } | Statement::Quiet(_) => next.push(Next::On(way)),
        Statement::Unknown(what) => {
            let mut way = way;
            if may_mark(what) {
                let state = way.flow.change();
                (state.mark, state.connection_mark) = (None, None);
            }
            next.push(blame(way, what.clone()));
        }
    }
}

/// Whether what is not understood may set a mark: of native statements every one that does is, a target of iptables is
/// listed with no more than its name, if that.
fn may_mark(what: &str) -> bool {
    let harmless =
        ["type:match", "name:LOG", "name:NFLOG", "name:TCPMSS", "name:TOS", "name:DSCP", "name:TTL", "name:HL"];
    what.starts_with("{xt:") && !harmless.iter().any(|one| what.contains(one))
}

/// Numbers of one draw that a mark is followed with.
const MAX_MARKS: u32 = 256;

fn mark<'a>(
    scene: &Scene<'a>,
    field: Field,
    value: &'a Expr,
    mut way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    for (share, got) in evaluate(scene, value, &mut way, meter) {
        let mut set = |share: &Portion, mark: Option<u32>| {
            let mut way = way.part(share);
            match field {
                Field::ConnectionMark if scene.early => {}
                Field::ConnectionMark => way.flow.change().connection_mark = mark,
                _ => way.flow.change().mark = mark,
            }
            next.push(Next::On(way));
        };
        match &got {
            Got::Missing => next.push(end(way.part(&share), End::No)),
            Got::Unknown(_) => set(&share, None),
            Got::Parts(parts) => match &parts[..] {
                [part @ Part::Known(Atom::Number(number), _)] => {
                    scene.notes.pin(part);
                    set(&share, Some(*number));
                }
                [Part::Drawn { first, count }] if *count <= MAX_MARKS => {
                    let one = share.times(&Portion::new(1, (*count).into()));
                    (*first..first.saturating_add(*count)).for_each(|number| set(&one, Some(number)));
                }
                _ => set(&share, None),
            },
        }
    }
}

/// A verdict falls: its comment is the rule's, or the element's, or that of what led here.
fn decide<'a>(mut way: Way<'a>, rule: &'a Rule, what: End<'a>) -> Next<'a> {
    if let Some(comment) = rule.comment.as_deref().or(way.found) {
        way.flow.change().via = Some(comment);
    }
    end(way, what)
}

fn matching<'a>(
    scene: &Scene<'a>,
    (left, operator, right): (&'a Expr, Operator, &'a Operand),
    mut way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    for (share, got) in evaluate(scene, left, &mut way, meter) {
        let way = way.part(&share);
        let parts = match got {
            Got::Parts(parts) => parts,
            Got::Missing => {
                next.push(end(way, End::No));
                continue;
            }
            Got::Unknown(what) => {
                next.push(Next::On(Way { doubt: way.doubt.clone().or(Some(what)), ..way }));
                continue;
            }
        };
        match holds(scene, &parts, operator, right, &way.flow.state, meter) {
            Ok(Weight::None) => next.push(end(way, End::No)),
            Ok(Weight::All) => next.push(Next::On(way)),
            Ok(Weight::Part(share)) => {
                next.push(end(way.part(&Portion::ONE.minus(&share)), End::No));
                next.push(Next::On(way.part(&share)));
            }
            Err(what) => next.push(Next::On(Way { doubt: way.doubt.clone().or(Some(what)), ..way })),
        }
    }
}

/// The part for which a comparison is true.
fn holds<'a>(
    scene: &Scene<'a>,
    parts: &[Part<'a>],
    operator: Operator,
    right: &'a Operand,
    state: &State<'a>,
    meter: &mut Meter,
) -> Result<Weight, Blame> {
    let equal = match (operator, right) {
        (_, Operand::Unknown(what)) => return Err(what.clone()),
        (Operator::Equal | Operator::NotEqual, Operand::Values(values)) => weigh(parts, values, scene.notes)?,
        (Operator::Equal | Operator::NotEqual | Operator::In | Operator::NotIn, Operand::Elements(elements)) => {
            within(scene, parts, elements, state, meter)?
        }
        (Operator::In | Operator::NotIn, Operand::Values(values)) => match (parts, &values[..]) {
            ([part @ Part::Known(Atom::Number(bits), _)], [Value::Number(wanted)]) => {
                scene.notes.pin(part);
                Weight::certain(bits & wanted != 0)
            }
            _ => weigh(parts, values, scene.notes)?,
        },
        (order, Operand::Values(values)) => return compare(parts, order, values, scene.notes),
        (_, Operand::Elements(_)) => return Err("an order among the elements of a set".into()),
    };
    let not = matches!(operator, Operator::NotEqual | Operator::NotIn);
    Ok(if not { equal.not() } else { equal })
}

/// The part of a key that is in a set.
fn within<'a>(
    scene: &Scene<'a>,
    parts: &[Part<'a>],
    elements: &'a Elements,
    state: &State<'a>,
    meter: &mut Meter,
) -> Result<Weight, Blame> {
    let mut sum = Portion::ZERO;
    let mut blame = None;
    scene.look_up(parts, elements, state, meter, |share, hit| match hit {
        Some(Ok(_)) => sum = sum.plus(&share),
        Some(Err(what)) => blame = Some(what),
        None => {}
    });
    match blame {
        Some(what) => Err(what),
        None => Ok(Weight::of(sum)),
    }
}

fn lookup<'a>(
    scene: &Scene<'a>,
    (key, map): (&'a Expr, &'a Elements),
    rule: &'a Rule,
    mut way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    for (share, got) in evaluate(scene, key, &mut way, meter) {
        let way = way.part(&share);
        let parts = match got {
            Got::Parts(parts) => parts,
            Got::Missing => {
                next.push(end(way, End::No));
                continue;
            }
            Got::Unknown(what) => {
                next.push(blame(way, what));
                continue;
            }
        };
        scene.look_up(&parts, map, &way.flow.state, meter, |share, hit| {
            let mut part = way.part(&share);
            next.push(match hit {
                None => end(part, End::No),
                Some(Err(what)) => blame(part, what),
                Some(Ok(Hit::Element(Element { data: Data::Verdict(verdict), comment, .. }))) => {
                    part.found = comment.as_deref();
                    match verdict {
                        Verdict::Continue => Next::On(part),
                        Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Jump(_) | Verdict::Goto(_) => {
                            decide(part, rule, End::Verdict(verdict))
                        }
                    }
                }
                Some(Ok(Hit::Element(_) | Hit::Learned(_))) => blame(part, "no verdict in the map"),
            });
        });
    }
}

/// NAT: an address and a port, from wherever they come.
fn translate<'a>(
    scene: &Scene<'a>,
    nat: Nat,
    (address, port): (Option<&'a Expr>, Option<&'a Expr>),
    rule: &'a Rule,
    mut way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    let none = || -> Gots<'a> { smallvec![(Portion::ONE, Got::Parts(Parts::new()))] };
    // What source NAT does to ports is of no interest.
    let port = match nat {
        Nat::Dnat | Nat::Redirect => port,
        Nat::Snat | Nat::Masquerade => None,
    };
    let addresses = address.map_or_else(none, |expr| evaluate(scene, expr, &mut way, meter));
    next.reserve(addresses.len());
    for (share, address) in addresses {
        let mut own;
        let (way, ports) = match port {
            None => (&way, none()),
            Some(expr) => {
                own = way.part(&Portion::ONE);
                let ports = evaluate(scene, expr, &mut own, meter);
                (&own, ports)
            }
        };
        for (part, port) in ports {
            let way = way.part(&if part.is_one() { share.clone() } else { share.times(&part) });
            next.push(match (&address, port) {
                (Got::Missing, _) | (_, Got::Missing) => end(way, End::No),
                (Got::Unknown(what), _) => blame(way, what.clone()),
                (_, Got::Unknown(what)) => blame(way, what),
                (Got::Parts(address), Got::Parts(port)) => {
                    let parts: Parts<'a> = address.iter().copied().chain(port).collect();
                    translated(scene, nat, &parts, rule, way)
                }
            });
        }
    }
}

fn translated<'a>(scene: &Scene<'a>, nat: Nat, parts: &[Part<'a>], rule: &'a Rule, mut way: Way<'a>) -> Next<'a> {
    parts.iter().for_each(|part| scene.notes.pin(part));
    let atoms = settled(parts).unwrap_or_default();
    let mut address = None;
    let mut port = None;
    for atom in atoms.iter() {
        match atom {
            Atom::Address(one) if address.is_none() && port.is_none() => address = Some(*one),
            Atom::Number(number) if port.is_none() && u16::try_from(*number).is_ok() => port = Some(*number as u16),
            Atom::Address(_) | Atom::Number(_) | Atom::Name(_) => return blame(way, format!("NAT to {atoms:?}")),
        }
    }
    if atoms.len() != parts.len() {
        return blame(way, "NAT to a number that is drawn");
    }
    let comment = rule.comment.as_deref().or(way.found).or(way.flow.state.via);
    let state = way.flow.change();
    state.decided = true;
    match nat {
        Nat::Dnat => {
            if address.is_none() {
                // The new destination is the packet's own.
                let own = Atom::Address(scene.packet.destination);
                scene.notes.pin(&Part::Known(own, Origin::Destination));
            }
            state.destination = address.or(state.destination);
            state.port = port.unwrap_or(state.port);
            state.new_port |= port.is_some();
            let Some(to) = state.destination else { return blame(way, "dnat behind a redirect") };
            state.nat = Some(Action::Dnat(to, state.port));
            state.comment = comment;
        }
        Nat::Redirect => {
            // Whoever opened the connection here is led to the loopback address; who comes from elsewhere to one of the
            // interface, which is not known (nf_nat_redirect_ipv4).
            state.destination = match (&scene.packet.direction, Family::of(scene.packet.destination)) {
                (Direction::In(_), _) => None,
                (Direction::Out, Family::V4) => Some(Ipv4Addr::LOCALHOST.into()),
                (Direction::Out, Family::V6) => Some(Ipv6Addr::LOCALHOST.into()),
            };
            state.port = port.unwrap_or(state.port);
            state.new_port |= port.is_some();
            state.nat = Some(Action::Redirect(state.port));
            state.comment = comment;
        }
        Nat::Masquerade => state.source = Source::Masquerade,
        Nat::Snat => match address {
            Some(address) => state.source = Source::Address(address),
            None => return blame(way, "snat without an address"),
        },
    }
    end(way, End::Verdict(&Verdict::Accept))
}

/// Whether a limit is reached, as the machine remembers it.
fn is_over(scene: &Scene<'_>, bound: &Bound, per_source: bool) -> bool {
    let memory = &scene.machine.memory;
    match *bound {
        Bound::Connections(count) => memory.over_count.holds(Some(Count { count, per_source })),
        Bound::Packets { rate, unit, burst } => memory.over_rate.holds(Some(Rate { rate, unit, burst, per_source })),
        Bound::Other(_) => memory.over_rate.holds(None),
    }
}

/// `update @set { key : data }`: the kernel keeps what it knows of a key already.
fn learn<'a>(
    scene: &Scene<'a>,
    (update, set, key, data, inner): (bool, &'a str, &'a Expr, Option<&'a Expr>, &'a [Statement]),
    mut way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    let single = |mut list: Gots<'a>| match (list.pop(), list.is_empty()) {
        (Some((_, got)), true) => got,
        _ => Got::Unknown(set.into()),
    };
    let key = match single(evaluate(scene, key, &mut way, meter)) {
        Got::Parts(parts) => known(&parts),
        Got::Missing => return next.push(end(way, End::No)),
        Got::Unknown(what) => return next.push(blame(way, what)),
    };
    let data = match data.map(|data| single(evaluate(scene, data, &mut way, meter))) {
        None => Some(SmallVec::new()),
        Some(Got::Parts(parts)) => {
            parts.iter().for_each(|part| scene.notes.pin(part));
            settled(&parts)
        }
        Some(Got::Missing) => return next.push(end(way, End::No)),
        Some(Got::Unknown(what)) => return next.push(blame(way, what)),
    };
    let (Some(key), Some(data)) = (key, data) else { return next.push(blame(way, format!("@{set}"))) };
    let parts: Parts<'a> = key.iter().map(|(atom, origin)| Part::Known(*atom, *origin)).collect();
    let listed = scene.table.set(set).is_some_and(|set| {
        meter.pay(set.elements.len() as u64);
        set.elements.iter().any(|element| weigh(&parts, &element.key, scene.notes) == Ok(Weight::All))
    });
    let is_client = matches!(key[..], [(Atom::Address(_), Origin::Source)]);
    let held = scene.learned(set, &parts, &way.flow.state);
    if update && held.is_some_and(|one| one.is_old) {
        let own = |one: &&mut Learned<'a>| one.set == set && one.key == key;
        way.flow.change().learned.iter_mut().filter(own).for_each(|one| one.is_old = false);
    } else if !listed && held.is_none() {
        // The kernel leaves a rule whose set takes no more (nft_dynset_eval).
        if scene.machine.memory.full {
            return next.push(end(way, End::No));
        }
        way.flow.change().learned.push(Learned { set, key, data, counts: !inner.is_empty(), is_old: false });
    }
    let passes = inner.iter().all(|one| match one {
        Statement::Limit { over, bound } => *over == is_over(scene, bound, is_client),
        _ => true,
    });
    let unknown = inner.iter().find(|one| matches!(one, Statement::Unknown(_)));
    next.push(match (unknown, passes) {
        (Some(unknown), _) => blame(way, unknown.to_string()),
        (None, true) => Next::On(way),
        (None, false) => end(way, End::No),
    });
}

/// The values that were computed, with what they are of the packet; `None` where one is drawn.
fn known<'a>(parts: &[Part<'a>]) -> Option<SmallVec<[(Atom<'a>, Origin); 3]>> {
    let known = parts.iter().map(|part| match part {
        Part::Known(atom, origin) => Some((*atom, *origin)),
        Part::Drawn { .. } => None,
    });
    known.collect()
}
