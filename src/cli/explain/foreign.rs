//! `lbc explain --rules`: the listeners of rules that lbc did not write.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use num_traits::Zero;
use serde::Serialize;

use crate::address::{address, last, number};
use crate::cli::render::printable;
use crate::cli::rules::{self, Searched, Target};
use crate::cli::show::{
    Ink, JsonOutcome, JsonUnknown, LOOSE, Look, Row, action_name, action_text, exact, first_connections, foreign_rows,
    percent, print_json, table, unknown_text, wants_json,
};
use crate::cli::{Exit, Failure, Global};
use crate::dispatch::AddressRange;
use crate::ir::share::Share;
use crate::ir::{Family, Interface};
use crate::listeners::{Arrival, Case, Fate, Found, Goal, Listener, MAX_COST, Place, Places, ToPort, find};
use crate::meaning::Action;
use crate::statement::balance::Protocol;
use crate::trace::{Source, Trace, Unknown, Walk};

/// Explains a file of rules; `only` is a listener as `[PROTO/]ADDR:PORT`.
pub fn explain(global: &Global, path: &Path, only: Option<&str>) -> Result<Exit, Failure> {
    let only = only.map(Filter::parse).transpose()?;
    let (families, target) = rules::search(path, |family, searched| Told::of(family, searched, only.as_ref()))?;
    let nothing = families.iter().all(|told| told.listeners.is_empty());
    if let (true, Some(only)) = (nothing && families.iter().all(|told| told.notes.is_empty()), &only) {
        return Err(Failure::new(format!("the rules do nothing to `{}`", only.text)));
    }
    match wants_json(global) {
        true => print_json(global, &json(&families, target))?,
        false => people(&Look::new(global), &families, target)?,
    }
    Ok(Exit::Clean)
}

/// What `--service` keeps.
struct Filter {
    text: String,
    protocol: Option<Protocol>,
    place: Wanted,
    port: u16,
}

enum Wanted {
    Address(IpAddr),
    /// `local`
    Local,
    /// `*`
    Any,
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, Failure> {
        let wrong = || {
            Failure {
            messages: vec![
                format!("expected `[PROTO/]ADDR:PORT` behind --service, found `{text}`"),
                "with --rules a service has no name: write `tcp/203.0.113.10:80`, `[2001:db8::10]:80`, `local:80` or `*:80`"
                    .to_owned(),
            ],
        }
        };
        let (protocol, rest) = match text.split_once('/') {
            Some((name, rest)) => {
                let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
                (Some(protocol.ok_or_else(wrong)?), rest)
            }
            None => (None, text),
        };
        let (place, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let place = match place {
            "local" => Wanted::Local,
            "*" => Wanted::Any,
            _ => {
                let inner = place.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
                let address: IpAddr = inner.unwrap_or(place).parse().map_err(|_| wrong())?;
                if address.is_ipv6() != inner.is_some() {
                    return Err(wrong());
                }
                Wanted::Address(address)
            }
        };
        let port = port.parse().ok().filter(|number| *number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()));
        Ok(Filter { text: text.to_owned(), protocol, place, port: port.ok_or_else(wrong)? })
    }

    fn takes(&self, family: Family, listener: &Listener) -> bool {
        let is_in = |places: &[Place]| {
            places.iter().any(|place| match (&self.place, place) {
                (Wanted::Address(wanted), Place::Range(first, last) | Place::OwnRange(first, last)) => {
                    Family::of(*wanted) == family && (*first..=*last).contains(&number(*wanted))
                }
                (Wanted::Local, Place::Local) => true,
                (Wanted::Local | Wanted::Any, _) | (Wanted::Address(_), Place::Local) => false,
            })
        };
        let place = match &listener.places {
            Places::These(places) => is_in(places),
            Places::AllBut(places) => {
                !is_in(places) && !matches!(self.place, Wanted::Address(wanted) if Family::of(wanted) != family)
            }
        };
        place
            && self.protocol.is_none_or(|protocol| listener.protocols.contains(&protocol))
            && listener.ports.iter().any(|(first, last)| (*first..=*last).contains(&self.port))
    }
}

/// All that is told of one family.
struct Told {
    family: Family,
    arrivals: Vec<Arrival>,
    listeners: Vec<(Listener, Vec<Fated>)>,
    unknown: Vec<Unknown>,
    /// What was not looked at.
    notes: Vec<String>,
}

/// What a case gets, for its first port.
struct Fated {
    rows: Vec<Row>,
    /// What passes although other connections of the case are translated.
    unbalanced: Share,
    /// Shares take counters for independent that are not.
    loose: bool,
    /// The clients that were counted, where a hash decides.
    clients: Option<usize>,
    sequence: Option<Vec<String>>,
    refused: Option<Refused>,
}

/// What rules that only filter keep from a translated connection's goal.
struct Refused {
    share: Share,
    action: Action,
    /// The first of the matches that are not known, where it hangs on any.
    unless: Option<String>,
    /// As [`Trace::loose`].
    loose: bool,
}

/// Rules that are tested again to tell comments, filters and first connections.
const MAX_TOLD: u64 = 10_000_000;

/// Clients that are tried for all hashes together.
const CLIENTS: usize = 1 << 18;

impl Told {
    fn of(family: Family, searched: &Searched<'_>, only: Option<&Filter>) -> Told {
        let mut notes = Vec::new();
        let mut unknown = searched.unknown.clone();
        let mut seen: BTreeSet<Unknown> = unknown.iter().cloned().collect();
        let found = find(searched.translating, family, MAX_COST).unwrap_or_else(|_| {
            notes.push("too many rules to look for listeners: ask `lbc trace --rules` about one packet".to_owned());
            Found { arrivals: Vec::new(), listeners: Vec::new(), unseen: None, unseen_local: false }
        });
        if let Some(first) = found.unseen {
            notes.push(format!("too many rules: destinations from {first} on were not looked at"));
        }
        if found.unseen_local {
            notes.push("too many rules: addresses of this machine were not looked at".to_owned());
        }
        let listeners: Vec<Listener> =
            found.listeners.into_iter().filter(|one| only.is_none_or(|only| only.takes(family, one))).collect();
        let cases = listeners.iter().flat_map(|listener| &listener.cases);
        let hashed = cases.filter(|case| matches!(case.fate, Fate::Hashed(_))).count();
        let clients = (CLIENTS / hashed.max(1)).clamp(16, 1024);
        let mut note = |trace: &Trace| {
            for one in &trace.unknown {
                if seen.insert(one.clone()) {
                    unknown.push(one.clone());
                }
            }
        };
        let mut spent = 0u64;
        let mut brief = None;
        let mut told = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let first = &listener.cases[0];
            let cost = searched.translating.answer(&first.packet, &first.machine).cost;
            spent = spent.saturating_add(cost.saturating_mul(listener.cases.len() as u64));
            if spent > MAX_TOLD && brief.is_none() {
                brief = Some(title(family, &listener));
            }
            let fated = |case: &Case| match brief {
                None => Fated::of(case, searched, clients, &mut note),
                Some(_) => Fated::brief(case),
            };
            let fated = listener.cases.iter().map(fated).collect();
            told.push((listener, fated));
        }
        if let Some(first) = brief {
            notes.push(format!("too many rules: `{first}` and what follows have shares, and nothing else"));
        }
        let listeners = told;
        Told { family, arrivals: found.arrivals, listeners, unknown, notes }
    }
}

impl Fated {
    /// What is known without another look at the rules.
    fn brief(case: &Case) -> Fated {
        let Some(shares) = case.fate.shares() else {
            return Fated {
                rows: Vec::new(),
                unbalanced: Share::zero(),
                loose: false,
                clients: Some(0),
                sequence: None,
                refused: None,
            };
        };
        let row = |(goal, share): &(Goal, Share)| Row {
            action: goal.action(&case.packet),
            source: Source::Kept,
            share: share.clone(),
            real: share.clone(),
            service: None,
            origin: None,
            comment: None,
        };
        let rows: Vec<Row> = shares.iter().map(row).collect();
        let loose = matches!(case.fate, Fate::InStep(..));
        Fated { unbalanced: unbalanced(&rows), rows, loose, clients: None, sequence: None, refused: None }
    }

    fn of(case: &Case, searched: &Searched<'_>, clients: usize, note: &mut impl FnMut(&Trace)) -> Fated {
        let translating = match case.fate {
            Fate::Shares(_) | Fate::InStep(..) => searched.translating.walk(&case.packet, &case.machine, false),
            Fate::Hashed(_) => counted(case, searched.translating, clients),
        };
        note(&translating);
        let rows = foreign_rows(&translating);
        let refused = match (case.fate.translates(), searched.all) {
            (true, Some(all)) => refused(case, &translating, all, note),
            (_, _) => None,
        };
        let hashed = matches!(case.fate, Fate::Hashed(_));
        let sequence = first_connections(searched.translating, &case.packet, &case.machine, &translating);
        Fated {
            unbalanced: unbalanced(&rows),
            rows,
            loose: translating.loose || refused.as_ref().is_some_and(|refused| refused.loose),
            clients: hashed.then_some(clients),
            sequence: sequence.filter(|_| !hashed),
            refused,
        }
    }
}

/// What passes although other connections are translated.
fn unbalanced(rows: &[Row]) -> Share {
    let moves = rows.iter().any(|row| matches!(row.action, Action::Dnat(..) | Action::Redirect(_)));
    rows.iter().filter(|row| moves && row.action == Action::Pass).map(|row| row.share.clone()).sum()
}

/// Rows for all clients alike: which of them keep their addresses is not what shares are about.
fn without_sources(rows: &[Row]) -> Vec<Row> {
    let mut list: Vec<Row> = Vec::new();
    for row in rows {
        match list.iter_mut().find(|other| other.action == row.action && other.comment == row.comment) {
            Some(other) => {
                other.share += &row.share;
                other.real += &row.real;
            }
            None => list.push(Row { source: Source::Kept, ..row.clone() }),
        }
    }
    list
}

/// What so many clients get, together.
fn counted(case: &Case, rules: &dyn Walk, count: usize) -> Trace {
    let packets = case.clients(count);
    let part = Share::new(1u32.into(), packets.len().into());
    let mut sum = Trace::default();
    for packet in &packets {
        let trace = rules.walk(packet, &case.machine, false);
        for outcome in trace.outcomes {
            let share = &outcome.share * &part;
            match sum.outcomes.iter_mut().find(|own| own.action == outcome.action && own.comment == outcome.comment) {
                Some(own) => own.share += share,
                None => sum.outcomes.push(crate::trace::Outcome { share, ..outcome }),
            }
        }
        sum.loose |= trace.loose;
        sum.unknown.extend(trace.unknown.into_iter().filter(|one| !sum.unknown.contains(one)).collect::<Vec<_>>());
    }
    sum.outcomes.sort_unstable();
    sum
}

/// What filters take of a case, beyond what those rules take that translate.
fn refused(case: &Case, translating: &Trace, all: &dyn Walk, note: &mut impl FnMut(&Trace)) -> Option<Refused> {
    let trace = all.walk(&case.packet, &case.machine, false);
    let unless = trace.unknown.iter().find(|one| !translating.unknown.contains(one)).map(|one| one.what.clone());
    let of = |trace: &Trace, action: &Action| -> Share {
        trace.outcomes.iter().filter(|one| one.action == *action).map(|one| one.share.clone()).sum()
    };
    let more = [Action::Drop, Action::Reject].into_iter().find_map(|action| {
        let (after, before) = (of(&trace, &action), of(translating, &action));
        (after > before).then(|| Refused { share: after - before, action, unless: unless.clone(), loose: trace.loose })
    });
    if more.is_some() {
        note(&trace);
    }
    more
}

// ---- words ----------------------------------------------------------------------------------------------------------

/// A list for people, cut where it is long.
fn shortened(list: Vec<String>) -> String {
    const MOST: usize = 8;
    match list.len() {
        0..=MOST => list.join(", "),
        len => format!("{} and {} more", list[..MOST].join(", "), len - MOST),
    }
}

/// `10.0.0.0/8`, `10.0.0.1` or `10.0.0.1-10.0.0.9`
fn range(family: Family, first: u128, last: u128) -> String {
    let range = AddressRange { family, first, last };
    match range.as_prefix() {
        Some(net) => crate::statement::net::show(net),
        None => format!("{}-{}", address(family, first), address(family, last)),
    }
}

fn places(family: Family, list: &[Place]) -> Vec<String> {
    list.iter()
        .map(|place| match place {
            Place::Range(first, last) | Place::OwnRange(first, last) => range(family, *first, *last),
            Place::Local => "local".to_owned(),
        })
        .collect()
}

fn ports(list: &[(u16, u16)]) -> Vec<String> {
    let port = |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    list.iter().map(port).collect()
}

/// `tcp,udp 203.0.113.10:80,443`
fn title(family: Family, listener: &Listener) -> String {
    let protocols: Vec<&str> = listener.protocols.iter().map(|protocol| protocol.name()).collect();
    let place = match &listener.places {
        Places::AllBut(_) => "*".to_owned(),
        Places::These(list) => match places(family, list).as_slice() {
            [only] if family == Family::V6 && *list != [Place::Local] => format!("[{only}]"),
            [only] => only.clone(),
            [..] => format!("{{{}}}", shortened(places(family, list))),
        },
    };
    format!("{} {place}:{}", protocols.join(","), shortened(ports(&listener.ports)).replace(", ", ","))
}

/// What the title does not say.
fn remark(family: Family, listener: &Listener) -> Option<String> {
    match &listener.places {
        Places::AllBut(but) if !but.is_empty() => Some(format!("other rules for {}", shortened(places(family, but)))),
        Places::These(list) if list.iter().any(|place| matches!(place, Place::OwnRange(..))) => {
            Some("where that is an address of this machine".to_owned())
        }
        Places::AllBut(_) | Places::These(_) => None,
    }
}

fn interface(interface: &Interface) -> String {
    match interface {
        Interface::Exact(name) => name.clone(),
        Interface::Prefix(start) => format!("{start}+"),
    }
}

/// For which connections of its listener a case is; `None` for all.
fn condition(family: Family, all: &[Arrival], case: &Case) -> Option<String> {
    let has = |index: usize| case.arrivals.contains(&(index as u32));
    let split = |wanted: bool| -> Vec<String> {
        let named = all.iter().enumerate().filter(|(index, _)| has(*index) == wanted);
        named
            .filter_map(|(_, arrival)| if let Arrival::On(one) = arrival { Some(interface(one)) } else { None })
            .collect()
    };
    let (on, not_on) = (split(true), split(false));
    let (other, out) = (has(0), has(all.len() - 1));
    let arriving = match (other, on.is_empty(), not_on.is_empty()) {
        (true, _, true) => Some("arriving on any interface".to_owned()),
        (true, _, false) => Some(format!("arriving on any interface but {}", shortened(not_on))),
        (false, false, _) => Some(format!("arriving on {}", shortened(on))),
        (false, true, _) => None,
    };
    let whole = case.arrivals.len() == all.len();
    let opened = out.then(|| "opened by this machine".to_owned());
    let beginning: Vec<String> = arriving.into_iter().chain(opened).filter(|_| !whole).collect();
    let clients = case.sources.as_ref().map(|sources| {
        // Said by those who are left out, where both ends of the space are in.
        let whole =
            sources.first().is_some_and(|one| one.0 == 0) && sources.last().map(|one| one.1) == Some(last(family));
        let between = sources.windows(2).map(|pair| (pair[0].1 + 1, pair[1].0 - 1)).collect();
        let (not, list): (&str, Vec<(u128, u128)>) = if whole { ("not ", between) } else { ("", sources.clone()) };
        format!("{not}from {}", shortened(list.iter().map(|(first, last)| range(family, *first, *last)).collect()))
    });
    let parts: Vec<String> =
        [beginning.join(", or ")].into_iter().filter(|one| !one.is_empty()).chain(clients).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What stands above the table of a case.
enum Heading {
    None,
    Line(String),
    /// The case need not be shown.
    Hidden,
}

/// For people: a listener is for whatever arrives unless it says otherwise, as a statement of a program is.
fn heading(family: Family, all: &[Arrival], listener: &Listener, case: &Case) -> Heading {
    let usual = match listener.cases.as_slice() {
        [_] => return Heading::Line("also connections that this machine opens".to_owned()),
        [first, second] => {
            let opened = [all.len() as u32 - 1];
            second.fate.is_pass() && second.arrivals == opened && first.sources.is_none() && second.sources.is_none()
        }
        [..] => false,
    };
    match condition(family, all, case) {
        Some(_) if usual && case.fate.is_pass() => Heading::Hidden,
        Some(condition) if !usual => Heading::Line(condition),
        Some(_) | None => Heading::None,
    }
}

/// That the address which is shown is one of many.
fn kept(listener: &Listener, case: &Case) -> Option<&'static str> {
    let shares = case.fate.shares()?;
    let one = matches!(&listener.places, Places::These(places)
        if matches!(places[..], [Place::Range(first, last) | Place::OwnRange(first, last)] if first == last));
    let keeps = shares.iter().any(|(goal, _)| matches!(goal, Goal::To(None, _)));
    (keeps && !one).then_some("shown for one address; each connection keeps its own")
}

/// How the other ports of a stretch go, where the first is not all.
fn moved(listener: &Listener, case: &Case) -> Option<&'static str> {
    let shares = case.fate.shares()?;
    if listener.ports.len() == 1 && listener.ports[0].0 == listener.ports[0].1 {
        return None;
    }
    let to = |(goal, _): &(Goal, Share)| match goal {
        Goal::To(_, port) | Goal::Here(port) => Some(*port),
        Goal::Pass | Goal::Drop | Goal::Reject => None,
    };
    let ports: Vec<ToPort> = shares.iter().filter_map(to).collect();
    if ports.iter().any(|port| matches!(port, ToPort::Varied(_))) {
        Some("shown for the first port; the others get ports of their own")
    } else if ports.iter().any(|port| matches!(port, ToPort::Moved(by) if *by != 0)) {
        Some("shown for the first port; the others are shifted alike")
    } else if ports.contains(&ToPort::Moved(0)) {
        Some("shown for the first port; the others are kept, too")
    } else {
        None
    }
}

// ---- for people -----------------------------------------------------------------------------------------------------

fn people(look: &Look, families: &[Told], target: Target) -> Result<(), Failure> {
    let mut text = String::new();
    for told in families {
        let count = told.listeners.len();
        let head = format!(
            "{}, {}: {count} {}\n",
            target.name(),
            told.family.name(),
            if count == 1 { "listener" } else { "listeners" }
        );
        text.push_str(&look.ink(Ink::Dim, &head));
        for (listener, fated) in &told.listeners {
            text.push_str(&format!("\n{}\n", look.ink(Ink::Bold, &title(told.family, listener))));
            if let Some(remark) = remark(told.family, listener) {
                text.push_str(&format!("  {remark}\n"));
            }
            for (case, fated) in listener.cases.iter().zip(fated) {
                match heading(told.family, &told.arrivals, listener, case) {
                    Heading::Hidden => continue,
                    Heading::Line(line) if case.fate.is_pass() => {
                        text.push_str(&format!("  {}: passes\n", printable(&line)));
                        continue;
                    }
                    Heading::Line(line) => text.push_str(&format!("  {}\n", printable(&line))),
                    Heading::None => {}
                }
                text.push_str(&one(look, listener, case, fated));
            }
        }
        text.push_str(&unknown_text(&told.unknown));
        for note in &told.notes {
            text.push_str(&format!("\n{}\n", look.ink(Ink::Bad, note)));
        }
    }
    look.print(&text)
}

fn one(look: &Look, listener: &Listener, case: &Case, fated: &Fated) -> String {
    let mut text = table(look, &without_sources(&fated.rows));
    if let Some(clients) = fated.clients {
        let counted = if clients > 0 { format!(", counted over {clients} clients") } else { String::new() };
        text.push_str(&format!("  by a hash of the client{counted}\n"));
    }
    if fated.loose {
        text.push_str(&format!("  {}\n", look.ink(Ink::Bad, LOOSE)));
    }
    if !fated.unbalanced.is_zero() {
        let passes = format!("passes unbalanced {}", percent(&fated.unbalanced));
        text.push_str(&format!("  {}\n", look.ink(Ink::Bad, &passes)));
    }
    if let Some(refused) = &fated.refused {
        let unless = refused
            .unless
            .as_ref()
            .map_or_else(String::new, |what| format!(", unless `{}` holds: that cannot be told", printable(what)));
        text.push_str(&format!(
            "  filters then {} {}{unless}\n",
            action_text(&refused.action),
            percent(&refused.share)
        ));
    }
    if let Some(kept) = kept(listener, case) {
        text.push_str(&format!("  {kept}\n"));
    }
    if let Some(moved) = moved(listener, case) {
        text.push_str(&format!("  {moved}\n"));
    }
    if let Some(sequence) = &fated.sequence {
        text.push_str(&format!("  the first connections: {}\n", sequence.join(", ")));
    }
    text.lines().map(|line| format!("  {line}\n")).collect()
}

// ---- for programs ---------------------------------------------------------------------------------------------------

#[derive(Serialize)]
struct Json<'a> {
    format_version: &'static str,
    target: &'static str,
    listeners: Vec<JsonListener>,
    unknown: Vec<JsonUnknown<'a>>,
    /// What there was no patience for.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct JsonListener {
    family: &'static str,
    protocols: Vec<&'static str>,
    /// Addresses, prefixes, ranges, `local` for this machine's own, `*` for all but `except`.
    destinations: Vec<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<JsonRefused>,
}

#[derive(Serialize)]
struct JsonRefused {
    action: &'static str,
    share: String,
    /// The match that is not known, where it hangs on one.
    unless: Option<String>,
}

fn json(families: &[Told], target: Target) -> Json<'_> {
    let unknown = families.iter().flat_map(|told| &told.unknown);
    let listeners = families.iter().flat_map(|told| told.listeners.iter().map(move |one| json_listener(told, one)));
    Json {
        format_version: "1.0",
        target: target.name(),
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
        refused: fated.refused.as_ref().map(|refused| JsonRefused {
            action: action_name(&refused.action),
            share: exact(&refused.share),
            unless: refused.unless.clone(),
        }),
    };
    JsonListener {
        family: match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        protocols: listener.protocols.iter().map(|protocol| protocol.name()).collect(),
        destinations,
        except,
        ports: ports(&listener.ports),
        cases: listener.cases.iter().zip(fated).map(case).collect(),
    }
}
