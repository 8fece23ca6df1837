//! What rules keep of connections: sets and maps of clients, limits.

use super::{name, single};
use crate::ir::Family;
use crate::target::nft::dump::{self, Bound, Expr, Kind};
use crate::target::nft::model::{Memory, Rate, Remember, Remembered, Statement};

pub fn declaration(table: &dump::Table, set: &dump::Set) -> Option<Memory> {
    // The kind of a key does not tell the families apart: the rules that fill it do.
    let rules = table.chains().iter().flat_map(|chain| &chain.rules);
    let family = rules.flat_map(|rule| &rule.statements).find_map(|statement| match statement {
        dump::Statement::Learn { set: filled, key, .. } if **filled == *set.name => source(key),
        _ => None,
    })?;
    let data = match set.data[..] {
        [] => Remembered::Nothing,
        [Kind::Address] => Remembered::Address,
        [Kind::Address, Kind::Number] => Remembered::Endpoint,
        _ => return None,
    };
    Some(Memory { name: name(&set.name)?, family, data, timeout: set.timeout })
}

fn source(key: &Expr) -> Option<Family> {
    match key {
        Expr::Field(dump::Field::Source(family)) => Some(*family),
        _ => None,
    }
}

pub fn remember(
    update: bool,
    set: &str,
    key: &Expr,
    data: Option<&Expr>,
    inner: &[dump::Statement],
) -> Option<Statement> {
    let what = match (update, data, inner) {
        (true, None, []) => Remember::Client,
        (true, Some(Expr::Constant(list, _)), []) => match list[..] {
            [dump::Value::Address(address)] => Remember::Address(address),
            [dump::Value::Address(address), dump::Value::Number(port)] => {
                Remember::Endpoint(address, port.try_into().ok()?)
            }
            _ => return None,
        },
        (_, None, list) => match (update, single(list)?) {
            (true, dump::Statement::Limit { over, bound }) => match limit(*over, bound)? {
                Statement::Limit(rate) => Remember::Limit(rate),
                _ => return None,
            },
            (false, dump::Statement::Limit { over: true, bound: Bound::Connections(count) }) => {
                Remember::CountOver(*count)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Statement::Remember { family: source(key)?, memory: name(set)?, what })
}

pub fn limit(over: bool, bound: &Bound) -> Option<Statement> {
    match bound {
        Bound::Packets { rate, unit, burst } => {
            Some(Statement::Limit(Rate { over, rate: *rate, unit: *unit, burst: *burst }))
        }
        Bound::Connections(count) => over.then_some(Statement::CountOver(*count)),
        Bound::Other(_) => None,
    }
}
