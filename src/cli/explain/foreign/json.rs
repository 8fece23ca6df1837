//! The listeners for programs.

use ipnet::IpNet;
use serde::Serialize;

use crate::cli::rules::Target;
use crate::cli::show::{JsonOutcome, JsonUnknown, Row, action_name, exact};
use crate::ir::Family;
use crate::listeners::{Case, Listener, Place, Places};
use crate::statement::net::show;

use super::filters::Refused;
use super::gather::{Fated, Told};
use super::words::{clients, condition, places, ports};

#[derive(Serialize)]
pub struct Json<'a> {
    format_version: &'static str,
    target: &'static str,
    /// The addresses that were said to be this machine's.
    local: Vec<String>,
    listeners: Vec<JsonListener>,
    unknown: Vec<JsonUnknown<'a>>,
    /// What there was no patience for, and what there is to say of the file.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct JsonListener {
    family: &'static str,
    protocols: Vec<&'static str>,
    /// Addresses, prefixes, ranges, `local` for this machine's own, `*` for all but `except`.
    destinations: Vec<String>,
    /// Whether the destinations are addresses of this machine; where `local` is empty, what holds if they are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    except: Vec<String>,
    ports: Vec<String>,
    cases: Vec<JsonCase>,
}

#[derive(Serialize)]
struct JsonCase {
    /// `null` where it does not matter how a connection begins.
    condition: Option<String>,
    /// One of its packets: the outcomes are those of its port.
    packet: String,
    outcomes: Vec<JsonOutcome>,
    /// Counters in step decide, and the shares take them for independent of each other, because more could not be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    counters_taken_for_independent: bool,
    /// The share that passes although others are translated.
    unbalanced: String,
    /// The clients that were counted, where a hash decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<Vec<String>>,
    /// By clients, where filters tell them apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<JsonRefused>,
    /// What there are too many rules for, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    untold: Option<String>,
}

#[derive(Serialize)]
struct JsonRefused {
    action: &'static str,
    share: String,
    /// The match that is not known, where it hangs on one.
    unless: Option<String>,
    /// `null` for all clients of the case.
    clients: Option<String>,
}

/// What was gathered, as it is printed.
pub fn json<'a>(families: &'a [Told], target: Target, local: &[IpNet]) -> Json<'a> {
    let unknown = families.iter().flat_map(|told| &told.unknown);
    let listeners = families.iter().flat_map(|told| told.listeners.iter().map(move |one| json_listener(told, one)));
    Json {
        format_version: "1.0",
        target: target.name(),
        local: local.iter().map(|net| show(*net)).collect(),
        listeners: listeners.collect(),
        unknown: unknown.map(JsonUnknown::of).collect(),
        notes: families.iter().flat_map(|told| told.notes.iter().cloned()).collect(),
    }
}

fn json_listener(told: &Told, (listener, fated): &(Listener, Vec<Fated>)) -> JsonListener {
    let family = told.family;
    let (destinations, except) = match &listener.places {
        Places::These(list) => (places(family, list), Vec::new()),
        Places::AllBut(but) => (vec!["*".to_owned()], places(family, but)),
    };
    let case = |(case, fated): (&Case, &Fated)| JsonCase {
        condition: condition(family, &told.arrivals, case),
        packet: case.packet.to_string(),
        outcomes: fated.rows.iter().map(Row::json).collect(),
        counters_taken_for_independent: fated.loose,
        unbalanced: exact(&fated.unbalanced),
        clients: fated.clients,
        sequence: fated.sequence.clone(),
        refused: fated.refused.iter().map(|one| refused(family, one)).collect(),
        untold: fated.untold.clone(),
    };
    JsonListener {
        family: match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        protocols: listener.protocols.iter().map(|protocol| protocol.name()).collect(),
        own: matches!(&listener.places, Places::These(list) if list.iter().any(|place| matches!(place, Place::OwnRange(..)))),
        destinations,
        except,
        ports: ports(&listener.ports),
        cases: listener.cases.iter().zip(fated).map(case).collect(),
    }
}

fn refused(family: Family, refused: &Refused) -> JsonRefused {
    JsonRefused {
        action: action_name(&refused.action),
        share: exact(&refused.share),
        unless: refused.unless.clone(),
        clients: refused.clients.as_ref().map(|list| clients(family, list)),
    }
}
