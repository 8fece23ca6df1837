//! The statements of one rule for one connection.

use smallvec::{SmallVec, smallvec};

use crate::ir::Family;
use crate::meaning::Action;
use crate::trace::Source;

use super::dump::{
    Data, Element, Elements, Expr, Field, Nat, Operand, Operator, Rule, Statement, TableFamily, Value, Verdict,
};
use super::evaluate::{Flow, Got, Gots, Meter, Scene, State, TOO_MANY};
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
        Statement::Lookup { key, map } => lookup(scene, (key, map), rule, &way, meter, next),
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
            translate(scene, *nat, (address.as_ref(), port.as_ref()), rule, &way, meter, next);
        }
        Statement::Reject(_) => next.push(decide(way, rule, End::Reject)),
        Statement::Mark { field, value } => {
            for (share, got) in scene.evaluate(value, &way.flow.state, meter) {
                let mut way = way.part(&share);
                let mark = match &got {
                    Got::Parts(parts) => match &parts[..] {
                        [part @ Part::Known(Atom::Number(number), _)] => {
                            scene.notes.pin(part);
                            Some(*number)
                        }
                        _ => None,
                    },
                    Got::Missing => {
                        next.push(end(way, End::No));
                        continue;
                    }
                    Got::Unknown(_) => None,
                };
                match field {
                    Field::ConnectionMark => way.flow.change().connection_mark = mark,
                    _ => way.flow.change().mark = mark,
                }
                next.push(Next::On(way));
            }
        }
        Statement::Learn { set, key, data, inner, .. } => {
            learn(scene, (set, key, data.as_ref(), inner), way, meter, next);
        }
        // A client under its limits.
        Statement::Limit { over: true, .. } => next.push(end(way, End::No)),
        Statement::Limit { over: false, .. } | Statement::Quiet(_) => next.push(Next::On(way)),
        Statement::Unknown(what) => next.push(blame(way, what.clone())),
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
    way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    for (share, got) in scene.evaluate(left, &way.flow.state, meter) {
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
                meter.divided = true;
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
        (Operator::Equal | Operator::NotEqual | Operator::In, Operand::Elements(elements)) => {
            within(scene, parts, elements, state, meter)?
        }
        (Operator::In, Operand::Values(values)) => match (parts, &values[..]) {
            ([part @ Part::Known(Atom::Number(bits), _)], [Value::Number(wanted)]) => {
                scene.notes.pin(part);
                Weight::certain(bits & wanted != 0)
            }
            _ => weigh(parts, values, scene.notes)?,
        },
        (order, Operand::Values(values)) => return compare(parts, order, values, scene.notes),
        (_, Operand::Elements(_)) => return Err("an order among the elements of a set".into()),
    };
    Ok(if operator == Operator::NotEqual { equal.not() } else { equal })
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
    way: &Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    for (share, got) in scene.evaluate(key, &way.flow.state, meter) {
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
    way: &Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    let none = || -> Gots<'a> { smallvec![(Portion::ONE, Got::Parts(Parts::new()))] };
    // What source NAT does to ports is of no interest.
    let port = match nat {
        Nat::Dnat | Nat::Redirect => port,
        Nat::Snat | Nat::Masquerade => None,
    };
    let addresses = address.map_or_else(none, |expr| scene.evaluate(expr, &way.flow.state, meter));
    next.reserve(addresses.len());
    for (share, address) in addresses {
        let ports = port.map_or_else(none, |expr| scene.evaluate(expr, &way.flow.state, meter));
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
            let Some(to) = state.destination else { return blame(way, "dnat behind a redirect") };
            state.nat = Some(Action::Dnat(to, state.port));
            state.comment = comment;
        }
        Nat::Redirect => {
            state.destination = None;
            state.port = port.unwrap_or(state.port);
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

/// `update @set { key : data }`: the kernel keeps what it knows of a key already.
fn learn<'a>(
    scene: &Scene<'a>,
    (set, key, data, inner): (&'a str, &'a Expr, Option<&'a Expr>, &'a [Statement]),
    mut way: Way<'a>,
    meter: &mut Meter,
    next: &mut Nexts<'a>,
) {
    let single = |mut list: Gots<'a>| match (list.pop(), list.is_empty()) {
        (Some((_, got)), true) => {
            if let Got::Parts(parts) = &got {
                parts.iter().for_each(|part| scene.notes.pin(part));
            }
            got
        }
        _ => Got::Unknown(set.into()),
    };
    let key = match single(scene.evaluate(key, &way.flow.state, meter)) {
        Got::Parts(parts) => settled(&parts),
        Got::Missing => return next.push(end(way, End::No)),
        Got::Unknown(what) => return next.push(blame(way, what)),
    };
    let data = match data.map(|data| single(scene.evaluate(data, &way.flow.state, meter))) {
        None => Some(SmallVec::new()),
        Some(Got::Parts(parts)) => settled(&parts),
        Some(Got::Missing) => return next.push(end(way, End::No)),
        Some(Got::Unknown(what)) => return next.push(blame(way, what)),
    };
    let (Some(key), Some(data)) = (key, data) else { return next.push(blame(way, format!("@{set}"))) };
    let learned = &mut way.flow.change().learned;
    if !learned.iter().any(|(name, old, _)| *name == set && *old == key) {
        learned.push((set, key, data));
    }
    let passes = inner.iter().all(|one| !matches!(one, Statement::Limit { over: true, .. }));
    let unknown = inner.iter().find(|one| matches!(one, Statement::Unknown(_)));
    next.push(match (unknown, passes) {
        (Some(unknown), _) => blame(way, unknown.to_string()),
        (None, true) => Next::On(way),
        (None, false) => end(way, End::No),
    });
}
