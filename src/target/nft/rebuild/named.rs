//! Sets and maps that the ruleset itself fills, beside those from keys to verdicts.

use super::{comment, fields, name, pair, value, verdict};
use crate::ir::Family;
use crate::target::nft::dump::{self, Data, Elements, Expr, Operand};
use crate::target::nft::model::{Held, PortMap, Seat, Server, ServerMap, TurnMap, Value, ValueSet, Verdict};

/// The types alone do not tell a source from a destination: the rules that ask say it.
pub fn values(table: &dump::Table, set: &dump::Set) -> Option<ValueSet> {
    let rules = table.chains().iter().flat_map(|chain| &chain.rules);
    let asks = |statement: &dump::Statement| match statement {
        dump::Statement::Match { left, right: Operand::Elements(Elements::Named(name)), .. } if **name == *set.name => {
            fields(left)
        }
        _ => None,
    };
    let key = rules.flat_map(|rule| &rule.statements).find_map(asks)?;
    let element = |one: &dump::Element| {
        one.key.iter().zip(&set.key).map(|(one, kind)| value(one, *kind)).collect::<Option<Vec<_>>>()
    };
    let elements: Vec<Vec<Value>> = set.elements.iter().map(element).collect::<Option<_>>()?;
    let interval = elements.iter().flatten().any(Value::is_range);
    Some(ValueSet { name: name(&set.name)?, key, interval, elements })
}

/// Whether a round robin asks a map.
pub fn is_of_turns(table: &dump::Table, set: &dump::Set) -> bool {
    let asks = |statement: &dump::Statement| {
        let dump::Statement::Lookup { key: Expr::Numgen { .. }, map: Elements::Named(name) } = statement else {
            return false;
        };
        **name == *set.name
    };
    table.chains().iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements).any(asks)
}

/// `None` where turns are missing.
pub fn turns(set: &dump::Set) -> Option<TurnMap> {
    let mut turns: Vec<(u32, Verdict)> = Vec::with_capacity(set.elements.len());
    for one in &set.elements {
        let ([dump::Value::Number(turn)], Data::Verdict(to)) = (&one.key[..], &one.data) else { return None };
        turns.push((*turn, verdict(to)?));
    }
    turns.sort_by_key(|(turn, _)| *turn);
    let whole = turns.iter().zip(0..).all(|((turn, _), place)| *turn == place);
    whole.then_some(TurnMap { name: name(&set.name)?, turns: turns.into_iter().map(|(_, to)| to).collect() })
}

pub fn ports(set: &dump::Set) -> Option<PortMap> {
    Some(PortMap { name: name(&set.name)?, ports: set.elements.iter().map(pair).collect::<Option<_>>()? })
}

pub fn servers(set: &dump::Set) -> Option<ServerMap> {
    let server = |one: &dump::Element| {
        let Data::Values(to) = &one.data else { return None };
        let (&[dump::Value::Address(address), ref protocol, dump::Value::Number(port)], to) = (&one.key[..], &to[..])
        else {
            return None;
        };
        let to = match *to {
            [dump::Value::Address(to), dump::Value::Number(port)] => Seat::Endpoint(to, port.try_into().ok()?),
            [dump::Value::Address(to)] => Seat::Address(to),
            [dump::Value::Number(port)] => Seat::Port(port.try_into().ok()?),
            _ => return None,
        };
        let Value::Protocol(protocol) = value(protocol, set.key[1])? else { return None };
        let (port, comment) = (port.try_into().ok()?, comment(one.comment.as_deref())?);
        Some(Server { address, protocol, port, to, comment })
    };
    let elements: Vec<Server> = set.elements.iter().map(server).collect::<Option<_>>()?;
    let family = Family::of(elements.first()?.address);
    let data = match elements.first()?.to {
        Seat::Endpoint(..) => Held::Endpoints,
        Seat::Address(_) => Held::Addresses,
        Seat::Port(_) => Held::Ports,
    };
    Some(ServerMap { name: name(&set.name)?, family, data, elements })
}
