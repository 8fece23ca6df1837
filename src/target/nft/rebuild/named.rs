//! Sets and maps that the ruleset itself fills, beside those from keys to verdicts.

use super::{comment, fields, name, pair, value};
use crate::ir::Family;
use crate::target::nft::dump::{self, Data, Elements, Operand};
use crate::target::nft::model::{Held, PortMap, Seat, Server, ServerMap, Value, ValueSet};

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
