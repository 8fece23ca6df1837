//! What rules keep of connections: counters, sets and maps of clients, limits.
//!
//! nft 1.0.6 refuses the flag `dynamic` in JSON, and sets it by itself where a rule fills a set. It does not know the
//! statement `map`, which fills maps; nft 1.1.1 does.

use std::net::IpAddr;

use nftables::expr::Expression;
use nftables::stmt;
use serde_json::{Value as Json, json};

use crate::ir::options::LogPrefix;
use crate::target::nft::model::{MEMORY_SIZE, Memory, Name, Rate, Remember, Remembered};
use crate::target::nft::text::address_type;

pub fn counter(table: &Name, name: &Name) -> Json {
    json!({"add": {"counter": {"family": "inet", "table": table.as_str(), "name": name.as_str()}}})
}

/// The declaration of a set or map. Its time is in whole seconds: nft passes over anything else in silence.
pub fn declaration(table: &Name, memory: &Memory) -> Json {
    let kind = address_type(memory.family);
    let mut object = json!({
        "family": "inet", "table": table.as_str(), "name": memory.name.as_str(), "type": kind, "size": MEMORY_SIZE,
    });
    if let Some(timeout) = memory.timeout {
        object["flags"] = json!(["timeout"]);
        object["timeout"] = json!(timeout.div_ceil(1000));
    }
    let word = match memory.data {
        Remembered::Nothing => "set",
        Remembered::Address => {
            object["map"] = json!(kind);
            "map"
        }
        Remembered::Endpoint => {
            object["map"] = json!([kind, "inet_service"]);
            "map"
        }
    };
    json!({"add": {word: object}})
}

/// `key` is the client's address.
pub fn remember(key: Expression<'_>, memory: &Name, what: Remember) -> Json {
    let to = |data: Json| json!({"map": {"op": "update", "elem": key, "data": data, "map": format!("@{memory}")}});
    let asking = |op: &str, question: stmt::Statement<'_>| json!({"set": {"op": op, "elem": key, "set": format!("@{memory}"), "stmt": [question]}});
    match what {
        Remember::Client => json!({"set": {"op": "update", "elem": key, "set": format!("@{memory}")}}),
        Remember::Address(address) => to(json!(shown(address))),
        Remember::Endpoint(address, port) => to(json!({"concat": [shown(address), port]})),
        Remember::Limit(one) => asking("update", stmt::Statement::Limit(rate(one))),
        Remember::CountOver(count) => asking("add", stmt::Statement::CTCount(count_over(count))),
    }
}

fn shown(address: IpAddr) -> String {
    address.to_string()
}

pub fn rate(rate: Rate) -> stmt::Limit<'static> {
    stmt::Limit {
        rate: rate.rate,
        rate_unit: None,
        per: Some(rate.unit.name().into()),
        burst: Some(rate.burst),
        burst_unit: None,
        inv: rate.over.then_some(true),
    }
}

pub fn count_over(count: u32) -> stmt::CTCount<'static> {
    stmt::CTCount { val: Expression::Number(count), inv: Some(true) }
}

pub fn log(prefix: &LogPrefix) -> stmt::Log<'_> {
    stmt::Log {
        prefix: Some(prefix.as_str().into()),
        group: None,
        snaplen: None,
        queue_threshold: None,
        level: None,
        flags: None,
    }
}
