//! What a service does beside picking a backend, for people and for programs.

use serde::Serialize;

use crate::ir::options::{Limit, MaxConnections, Near, Options, SourceNat};
use crate::ir::{Family, Service};
use crate::option::Else;
use crate::option::limit::Unit;
use crate::statement::net::show;

/// Backends that are listed with the clients near them, of each family.
const MAX_NEAR: usize = 8;

/// A line for each option that says something.
pub fn lines(service: &Service) -> Vec<String> {
    let Options { source_nat, sticky, limit, max_connections, counter, log, accept, places: _ } = &service.options;
    let mut list = Vec::new();
    if *counter {
        list.push("new connections are counted, for the service and for each backend".to_owned());
    }
    if let Some(prefix) = log {
        list.push(format!("new connections are logged as `{}`, ten at once and then one a second", prefix.as_str()));
    }
    if let Some(Limit { rate, unit, burst, per_source, otherwise }) = limit {
        let whom = if *per_source { " from each client" } else { "" };
        list.push(format!(
            "at most {rate} new connections {} {}{whom}, {burst} at once; {}",
            if *unit == Unit::Hour { "an" } else { "a" },
            unit.name(),
            surplus(*otherwise)
        ));
    }
    if let Some(MaxConnections { count, per_source, otherwise }) = max_connections {
        let whom = if *per_source { " from each client" } else { "" };
        list.push(format!("at most {count} connections at a time{whom}; {}", surplus(*otherwise)));
    }
    if let Some(millis) = sticky {
        list.push(format!(
            "sticky: a client stays on its backend until it has opened no connection for {}",
            duration(*millis)
        ));
    }
    match source_nat {
        SourceNat::Kept => {}
        SourceNat::Masquerade => list.push("backends see this machine as the client".to_owned()),
        SourceNat::Hairpin(near) => {
            list.push("backends see this machine as the client, where that is".to_owned());
            for family in Family::ALL {
                let near = near.get(family);
                list.extend(near.iter().take(MAX_NEAR).map(|near| format!("  {}", beside(near))));
                if near.len() > MAX_NEAR {
                    list.push(format!("  and so on, {} backends in all", near.len()));
                }
            }
        }
        SourceNat::Address(addresses) => {
            let both = [addresses.v4, addresses.v6].into_iter().flatten();
            let both: Vec<String> = both.map(|address| address.to_string()).collect();
            list.push(format!("backends see {} as the client", both.join(", ")));
        }
    }
    if *accept {
        list.push("what is forwarded to the backends is accepted in filter's FORWARD".to_owned());
    }
    list
}

fn beside(near: &Near) -> String {
    if near.clients == [near.backend.into()] {
        return format!("the backend {} itself", near.backend);
    }
    let clients: Vec<String> = near.clients.iter().map(|net| show(*net)).collect();
    format!("{} and the backend {}", clients.join(", "), near.backend)
}

fn surplus(otherwise: Else) -> &'static str {
    match otherwise {
        Else::Drop => "the surplus is dropped",
        Else::Reject => "the surplus is rejected",
    }
}

/// As in a `.lb` file: `1h30m`, `500ms`.
pub fn duration(millis: u32) -> String {
    let mut rest = millis;
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// The options of a service in JSON; what is not written is left out.
#[derive(Serialize)]
pub struct JsonOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<JsonSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky_milliseconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<JsonLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<JsonCount>,
    counter: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    accept: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum JsonSource {
    Masquerade,
    Hairpin(Vec<JsonNear>),
    Address(Vec<String>),
}

#[derive(Serialize)]
struct JsonNear {
    backend: String,
    clients: Vec<String>,
}

#[derive(Serialize)]
struct JsonLimit {
    rate: u32,
    unit: &'static str,
    burst: u32,
    per_source: bool,
    surplus: &'static str,
}

#[derive(Serialize)]
struct JsonCount {
    count: u32,
    per_source: bool,
    surplus: &'static str,
}

pub fn json(service: &Service) -> JsonOptions {
    let options = &service.options;
    let name = |otherwise| match otherwise {
        Else::Drop => "drop",
        Else::Reject => "reject",
    };
    let near = |near: &Near| JsonNear {
        backend: near.backend.to_string(),
        clients: near.clients.iter().map(|net| show(*net)).collect(),
    };
    JsonOptions {
        source: match &options.source_nat {
            SourceNat::Kept => None,
            SourceNat::Masquerade => Some(JsonSource::Masquerade),
            SourceNat::Hairpin(both) => Some(JsonSource::Hairpin(both.v4.iter().chain(&both.v6).map(near).collect())),
            SourceNat::Address(both) => {
                let both = [both.v4, both.v6].into_iter().flatten();
                Some(JsonSource::Address(both.map(|address| address.to_string()).collect()))
            }
        },
        sticky_milliseconds: options.sticky,
        limit: options.limit.map(|limit| JsonLimit {
            rate: limit.rate,
            unit: limit.unit.name(),
            burst: limit.burst,
            per_source: limit.per_source,
            surplus: name(limit.otherwise),
        }),
        max_connections: options.max_connections.map(|most| JsonCount {
            count: most.count,
            per_source: most.per_source,
            surplus: name(most.otherwise),
        }),
        counter: options.counter,
        log: options.log.as_ref().map(|prefix| prefix.as_str().to_owned()),
        accept: options.accept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_a_file() {
        assert_eq!(duration(5_400_000), "1h30m");
        assert_eq!(duration(86_400_500), "1d500ms");
        assert_eq!(duration(1), "1ms");
    }
}
