//! Gathers what there is to tell of the listeners of one family.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::cli::rules::Searched;
use crate::cli::show::{Row, first_connections, foreign_rows};
use crate::ir::Family;
use crate::ir::share::Share;
use crate::listeners::{Arrival, Case, Fate, Found, Goal, Listener, MAX_COST, Place, Places, find};
use crate::meaning::Action;
use crate::survey::BITS;
use crate::trace::{Machine, Outcome, Packet, Source, Trace, Unknown, Walk};

use super::filters::{Filtered, Refused, cut_at, filtered};
use super::service::Filter;
use super::words::title;

/// All that is told of one family.
pub struct Told {
    pub family: Family,
    /// Whether anyone said which addresses are this machine's.
    pub is_said: bool,
    pub arrivals: Vec<Arrival>,
    pub listeners: Vec<(Listener, Vec<Fated>)>,
    pub unknown: Vec<Unknown>,
    /// What was not looked at, and what there is to say of the file.
    pub notes: Vec<String>,
}

/// What a case gets, for its first port.
#[derive(Default)]
pub struct Fated {
    pub rows: Vec<Row>,
    /// What passes although other connections of the case are translated.
    pub unbalanced: Share,
    /// Shares take counters for independent that are not.
    pub loose: bool,
    /// The clients that were counted, where a hash decides.
    pub clients: Option<usize>,
    /// Whether those are neighbours, of which bits decide.
    pub by_bits: bool,
    pub sequence: Option<Vec<String>>,
    /// What filters keep from their goal, by clients.
    pub refused: Vec<Refused>,
    /// What there are too many rules for, and why.
    pub untold: Option<String>,
}

/// Rules that are tested again to tell comments, filters and first connections.
const MAX_TOLD: u64 = 10_000_000;

/// Clients that are tried where bits of their addresses decide: the lowest eight in every way.
const NEIGHBOURS: usize = 256;

/// Clients that are tried for all hashes together.
const CLIENTS: usize = 1 << 18;

impl Told {
    /// Searches the rules of a family; `local` are addresses of this machine, and `only` is the listener that is wanted.
    pub fn of(family: Family, searched: &Searched<'_>, local: &[IpNet], only: Option<&Filter>) -> Told {
        let mut notes = searched.notes.clone();
        let mut unknown = searched.unknown.clone();
        let mut seen: BTreeSet<Unknown> = unknown.iter().cloned().collect();
        // Who names none of a family leaves that one open.
        let machine = Machine { local: local.to_vec(), ..Machine::default() };
        let said = Some(&machine).filter(|_| local.iter().any(|net| Family::of_net(*net) == family));
        let found = find(searched.translating, family, said, MAX_COST).unwrap_or_else(|_| {
            notes.push("too many rules to look for listeners: ask `lbc trace --rules` about one packet".to_owned());
            Found::default()
        });
        if let Some(first) = found.unseen {
            notes.push(format!("too many rules: destinations from {first} on were not looked at"));
            let scattered = searched.scattered.iter();
            notes.extend(
                scattered.map(|rule| format!("`{rule}`: its mask takes addresses that lie apart, too many to look at")),
            );
        }
        if found.unseen_local {
            notes.push("too many rules: addresses of this machine were not looked at".to_owned());
        }
        let listeners: Vec<Listener> = found
            .listeners
            .into_iter()
            .filter(|one| only.is_none_or(|only| only.takes(family, one, said.is_some())))
            .collect();
        let cases = listeners.iter().flat_map(|listener| &listener.cases);
        let hashed = cases.filter(|case| matches!(case.fate, Fate::Hashed(_))).count();
        let clients = (CLIENTS / hashed.max(1)).clamp(16, 1024);
        let mut note = |list: &[Unknown]| {
            for one in list {
                if seen.insert(one.clone()) {
                    unknown.push(one.clone());
                }
            }
        };
        note(&found.unknown.iter().filter(|one| matters(one)).cloned().collect::<Vec<_>>());
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
        Told { family, is_said: said.is_some(), arrivals: found.arrivals, listeners, unknown, notes }
    }

    /// Whether it matters to what is told that nobody said which addresses are this machine's.
    pub fn assumes(&self) -> bool {
        let own = |place: &Place| matches!(place, Place::OwnRange(..) | Place::Local);
        let asks = |(listener, fated): &(Listener, Vec<Fated>)| {
            let (Places::These(places) | Places::AllBut(places)) = &listener.places;
            places.iter().any(own) || fated.iter().any(|fated| !fated.refused.is_empty())
        };
        !self.is_said && self.listeners.iter().any(asks)
    }
}

impl Fated {
    /// What is known without another look at the rules.
    fn brief(case: &Case) -> Fated {
        let shares = match &case.fate {
            Fate::Shares(shares) | Fate::InStep(_, shares) => shares,
            Fate::Hashed(_) => return Fated { clients: Some(0), ..Fated::default() },
            Fate::Untold => {
                return Fated { untold: Some("cannot be told: too many rules".to_owned()), ..Fated::default() };
            }
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
        Fated { unbalanced: unbalanced(&rows), rows, loose, ..Fated::default() }
    }

    fn of(case: &Case, searched: &Searched<'_>, clients: usize, note: &mut impl FnMut(&[Unknown])) -> Fated {
        let translating = match case.fate {
            Fate::Shares(_) | Fate::InStep(..) => searched.translating.walk(&case.packet, &case.machine, false),
            Fate::Hashed(asker) if asker & BITS != 0 => {
                counted(&case.neighbours(NEIGHBOURS.min(clients)), case, searched.translating)
            }
            Fate::Hashed(_) => counted(&case.clients(clients), case, searched.translating),
            Fate::Untold => {
                let mut trace = searched.translating.walk(&case.packet, &case.machine, false);
                let untold = Some(format!("cannot be told: {}", cut_at(&mut trace.unknown)));
                note(&trace.unknown);
                return Fated { untold, ..Fated::default() };
            }
        };
        note(&translating.unknown);
        let rows = foreign_rows(&translating);
        let Filtered { refused, unknown, untold, loose } = match (case.fate.translates(), searched.all) {
            (true, Some(all)) => filtered(case, &translating, all),
            (_, _) => Filtered::default(),
        };
        note(&unknown);
        let hashed = matches!(case.fate, Fate::Hashed(_));
        let by_bits = matches!(case.fate, Fate::Hashed(asker) if asker & BITS != 0);
        let clients = if by_bits { NEIGHBOURS.min(clients) } else { clients };
        let sequence = first_connections(searched.translating, &case.packet, &case.machine, &translating);
        Fated {
            unbalanced: unbalanced(&rows),
            rows,
            loose: translating.loose || loose,
            clients: hashed.then_some(clients),
            by_bits,
            sequence: sequence.filter(|_| !hashed),
            refused,
            untold,
        }
    }
}

/// Whether it may be of any weight for where connections go: not behind their way, nor for whose they seem.
fn matters(unknown: &Unknown) -> bool {
    let masks = ["MASQUERADE", "SNAT", "masquerade", "snat"];
    !unknown.rule.starts_with("-A POSTROUTING ") && !unknown.rule.split(' ').any(|word| masks.contains(&word))
}

/// What passes although other connections are translated.
fn unbalanced(rows: &[Row]) -> Share {
    let moves = rows.iter().any(|row| matches!(row.action, Action::Dnat(..) | Action::Redirect(_)));
    rows.iter().filter(|row| moves && row.action == Action::Pass).map(|row| row.share.clone()).sum()
}

/// What so many clients get, together.
fn counted(packets: &[Packet], case: &Case, rules: &dyn Walk) -> Trace {
    let part = Share::new(1u32.into(), packets.len().into());
    let mut sum = Trace::default();
    for packet in packets {
        let trace = rules.walk(packet, &case.machine, false);
        for outcome in trace.outcomes {
            let share = &outcome.share * &part;
            match sum.outcomes.iter_mut().find(|own| own.action == outcome.action && own.comment == outcome.comment) {
                Some(own) => own.share += share,
                None => sum.outcomes.push(Outcome { share, ..outcome }),
            }
        }
        sum.loose |= trace.loose;
        sum.unknown.extend(trace.unknown.into_iter().filter(|one| !sum.unknown.contains(one)).collect::<Vec<_>>());
    }
    sum.outcomes.sort_unstable();
    sum
}
