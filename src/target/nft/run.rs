//! The statements of one rule for one connection.

use num_traits::{One, Zero};

use crate::ir::Family;
use crate::ir::share::Share;
use crate::meaning::Action;
use crate::trace::Source;

use super::dump::{
    Data, Element, Elements, Expr, Field, Nat, Operand, Operator, Rule, Statement, TableFamily, Value, Verdict,
};
use super::evaluate::{self, Atom, Flow, Got, Meter, Part, Scene, State, TOO_MANY, Weight, overlap, settled, weigh};

/// What a rule does to a part of the connections.
#[derive(Clone, Debug)]
pub enum End {
    /// A match does not hold.
    No,
    /// A match or statement is unknown: it is to blame.
    CannotTell(Box<str>),
    Verdict(Verdict),
    Reject,
}

/// A connection on its way through a rule.
struct Way {
    flow: Flow,
    /// A match that cannot be told, while the matches behind it may still fail for sure.
    doubt: Option<Box<str>>,
    /// The comment of the last element found.
    found: Option<Box<str>>,
}

impl Way {
    fn part(&self, share: &Share) -> Way {
        let share = if share.is_one() { self.flow.share.clone() } else { &self.flow.share * share };
        let flow = Flow { state: self.flow.state.clone(), share };
        Way { flow, doubt: self.doubt.clone(), found: self.found.clone() }
    }
}

/// What a statement does to a way.
enum Next {
    On(Way),
    End(Flow, End),
}

fn end(way: Way, end: End) -> Next {
    Next::End(way.flow, end)
}

fn blame(way: Way, what: impl Into<Box<str>>) -> Next {
    end(way, End::CannotTell(what.into()))
}

/// Evaluates a rule; the shares of the ends sum to the flow's.
pub fn run(scene: &Scene<'_>, rule: &Rule, flow: Flow, meter: &mut Meter, ends: &mut Vec<(Flow, End)>) {
    let mut ways = vec![Way { flow, doubt: None, found: None }];
    for statement in &rule.statements {
        let mut on = Vec::with_capacity(ways.len());
        for way in ways {
            let left = match (way.doubt.clone(), statement) {
                (Some(_), Statement::Match { .. }) | (None, _) => {
                    let mut next = Vec::with_capacity(1);
                    step(scene, statement, rule, way, meter, &mut next);
                    next
                }
                (Some(what), _) => vec![blame(way, what)],
            };
            if !meter.pay(left.len() as u64) {
                ends.extend(left.into_iter().map(|next| match next {
                    Next::On(way) => (way.flow, End::CannotTell(TOO_MANY.into())),
                    Next::End(flow, end) => (flow, end),
                }));
                continue;
            }
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
        None => (way.flow, End::Verdict(Verdict::Continue)),
    }));
}

fn step(scene: &Scene<'_>, statement: &Statement, rule: &Rule, way: Way, meter: &mut Meter, next: &mut Vec<Next>) {
    match statement {
        Statement::Match { left, operator, right } => matching(scene, (left, *operator, right), way, meter, next),
        Statement::Lookup { key, map } => lookup(scene, (key, map), rule, &way, meter, next),
        Statement::Verdict(verdict) => next.push(decide(way, rule, End::Verdict(verdict.clone()))),
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
                        [Part::Known(Atom::Number(number))] => Some(*number),
                        _ => None,
                    },
                    Got::Missing => {
                        next.push(end(way, End::No));
                        continue;
                    }
                    Got::Unknown(_) => None,
                };
                match field {
                    Field::ConnectionMark => way.flow.state.connection_mark = mark,
                    _ => way.flow.state.mark = mark,
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
fn decide(mut way: Way, rule: &Rule, what: End) -> Next {
    if let Some(comment) = rule.comment.clone().or(way.found.take()) {
        way.flow.state.via = Some(comment);
    }
    end(way, what)
}

fn matching(
    scene: &Scene<'_>,
    (left, operator, right): (&Expr, Operator, &Operand),
    way: Way,
    meter: &mut Meter,
    next: &mut Vec<Next>,
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
                next.push(end(way.part(&(Share::one() - &share)), End::No));
                next.push(Next::On(way.part(&share)));
            }
            Err(what) => next.push(Next::On(Way { doubt: way.doubt.clone().or(Some(what)), ..way })),
        }
    }
}

/// The part for which a comparison is true.
fn holds(
    scene: &Scene<'_>,
    parts: &[Part],
    operator: Operator,
    right: &Operand,
    state: &State,
    meter: &mut Meter,
) -> Result<Weight, Box<str>> {
    let equal = match (operator, right) {
        (_, Operand::Unknown(what)) => return Err(what.clone()),
        (Operator::Equal | Operator::NotEqual, Operand::Values(values)) => weigh(parts, values)?,
        (Operator::Equal | Operator::NotEqual | Operator::In, Operand::Elements(elements)) => {
            within(scene, parts, elements, state, meter)?
        }
        (Operator::In, Operand::Values(values)) => match (parts, &values[..]) {
            ([Part::Known(Atom::Number(bits))], [Value::Number(wanted)]) => certain(bits & wanted != 0),
            _ => weigh(parts, values)?,
        },
        (order, Operand::Values(values)) => return compare(parts, order, values),
        (_, Operand::Elements(_)) => return Err("an order among the elements of a set".into()),
    };
    Ok(match (operator, equal) {
        (Operator::NotEqual, Weight::None) => Weight::All,
        (Operator::NotEqual, Weight::All) => Weight::None,
        (Operator::NotEqual, Weight::Part(share)) => Weight::Part(Share::one() - share),
        (_, weight) => weight,
    })
}

fn certain(yes: bool) -> Weight {
    if yes { Weight::All } else { Weight::None }
}

/// The part of a key that is in a set.
fn within(
    scene: &Scene<'_>,
    parts: &[Part],
    elements: &Elements,
    state: &State,
    meter: &mut Meter,
) -> Result<Weight, Box<str>> {
    let mut sum = Share::zero();
    let mut blame = None;
    scene.look_up(parts, elements, state, meter, |share, hit| match hit {
        Some(Ok(_)) => sum += share,
        Some(Err(what)) => blame = Some(what),
        None => {}
    });
    match blame {
        Some(what) => Err(what),
        None if sum.is_zero() => Ok(Weight::None),
        None if sum.is_one() => Ok(Weight::All),
        None => Ok(Weight::Part(sum)),
    }
}

/// Less and greater, for one number.
fn compare(parts: &[Part], order: Operator, values: &[Value]) -> Result<Weight, Box<str>> {
    let ([part], [Value::Number(limit)]) = (parts, values) else { return Err("an order among these".into()) };
    let (first, last) = match order {
        Operator::Less if *limit == 0 => return Ok(Weight::None),
        Operator::Less => (0, limit - 1),
        Operator::LessOrEqual => (0, *limit),
        Operator::Greater if *limit == u32::MAX => return Ok(Weight::None),
        Operator::Greater => (limit + 1, u32::MAX),
        Operator::GreaterOrEqual => (*limit, u32::MAX),
        Operator::Equal | Operator::NotEqual | Operator::In => (*limit, *limit),
    };
    match part {
        Part::Known(Atom::Number(number)) => Ok(certain((first..=last).contains(number))),
        Part::Drawn { first: from, count } => Ok(overlap(*from, *count, first, last)),
        Part::Known(Atom::Address(_) | Atom::Name(_)) => Err("an order among these".into()),
    }
}

fn lookup(
    scene: &Scene<'_>,
    (key, map): (&Expr, &Elements),
    rule: &Rule,
    way: &Way,
    meter: &mut Meter,
    next: &mut Vec<Next>,
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
                Some(Ok(evaluate::Hit::Element(Element { data: Data::Verdict(verdict), comment, .. }))) => {
                    part.found.clone_from(comment);
                    match verdict {
                        Verdict::Continue => Next::On(part),
                        Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Jump(_) | Verdict::Goto(_) => {
                            decide(part, rule, End::Verdict(verdict.clone()))
                        }
                    }
                }
                Some(Ok(evaluate::Hit::Element(_) | evaluate::Hit::Learned(_))) => blame(part, "no verdict in the map"),
            });
        });
    }
}

/// NAT: an address and a port, from wherever they come.
fn translate(
    scene: &Scene<'_>,
    nat: Nat,
    (address, port): (Option<&Expr>, Option<&Expr>),
    rule: &Rule,
    way: &Way,
    meter: &mut Meter,
    next: &mut Vec<Next>,
) {
    let none = || vec![(Share::one(), Got::Parts(Vec::new()))];
    // What source NAT does to ports is of no interest.
    let port = match nat {
        Nat::Dnat | Nat::Redirect => port,
        Nat::Snat | Nat::Masquerade => None,
    };
    let addresses = address.map_or_else(none, |expr| scene.evaluate(expr, &way.flow.state, meter));
    for (share, address) in addresses {
        let ports = port.map_or_else(none, |expr| scene.evaluate(expr, &way.flow.state, meter));
        let way = way.part(&share);
        for (share, port) in ports {
            let way = way.part(&share);
            let parts = match (&address, port) {
                (Got::Missing, _) | (_, Got::Missing) => {
                    next.push(end(way, End::No));
                    continue;
                }
                (Got::Unknown(what), _) => {
                    next.push(blame(way, what.clone()));
                    continue;
                }
                (_, Got::Unknown(what)) => {
                    next.push(blame(way, what));
                    continue;
                }
                (Got::Parts(address), Got::Parts(port)) => [&address[..], &port[..]].concat(),
            };
            next.push(translated(nat, &parts, rule, way));
        }
    }
}

fn translated(nat: Nat, parts: &[Part], rule: &Rule, mut way: Way) -> Next {
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
    let comment = rule.comment.clone().or(way.found.take()).or(way.flow.state.via.clone());
    let state = &mut way.flow.state;
    state.decided = true;
    match nat {
        Nat::Dnat => {
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
    end(way, End::Verdict(Verdict::Accept))
}

/// `update @set { key : data }`: the kernel keeps what it knows of a key already.
fn learn(
    scene: &Scene<'_>,
    (set, key, data, inner): (&str, &Expr, Option<&Expr>, &[Statement]),
    mut way: Way,
    meter: &mut Meter,
    next: &mut Vec<Next>,
) {
    let single = |mut list: Vec<(Share, Got)>| match (list.pop(), list.is_empty()) {
        (Some((_, got)), true) => got,
        _ => Got::Unknown(set.into()),
    };
    let key = match single(scene.evaluate(key, &way.flow.state, meter)) {
        Got::Parts(parts) => settled(&parts),
        Got::Missing => return next.push(end(way, End::No)),
        Got::Unknown(what) => return next.push(blame(way, what)),
    };
    let data = match data.map(|data| single(scene.evaluate(data, &way.flow.state, meter))) {
        None => Some(Vec::new()),
        Some(Got::Parts(parts)) => settled(&parts),
        Some(Got::Missing) => return next.push(end(way, End::No)),
        Some(Got::Unknown(what)) => return next.push(blame(way, what)),
    };
    let (Some(key), Some(data)) = (key, data) else { return next.push(blame(way, format!("@{set}"))) };
    let learned = &mut way.flow.state.learned;
    if !learned.iter().any(|(name, old, _)| &**name == set && *old == key) {
        let value = |atom| match atom {
            Atom::Number(number) => Value::Number(number),
            Atom::Address(address) => Value::Address(address),
            Atom::Name(name) => Value::Name(name),
        };
        learned.push((set.into(), key, data.into_iter().map(value).collect()));
    }
    let passes = inner.iter().all(|one| !matches!(one, Statement::Limit { over: true, .. }));
    let unknown = inner.iter().find(|one| matches!(one, Statement::Unknown(_)));
    next.push(match (unknown, passes) {
        (Some(unknown), _) => blame(way, unknown.to_string()),
        (None, true) => Next::On(way),
        (None, false) => end(way, End::No),
    });
}
