//! Lists of addresses that `-m recent` keeps, for a client that none of them holds: what the packet itself puts in is
//! found behind that.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use crate::meaning::Action;
use crate::survey::Side;
use crate::target::iptables::dump::{Recent, RecentVerb};
use crate::trace::{Known, Source, Store};

use super::Flow;
use super::test::At;

/// What the packet has put into lists, and not taken out again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lists<'d>(Vec<Entry<'d>>);

impl<'d> Lists<'d> {
    /// Lists that hold a client from before.
    pub fn holding(client: IpAddr, known: &Known) -> Lists<'d> {
        let entry = |store: &Store| Entry {
            list: store.name.clone().into(),
            side: Side::Source,
            address: Some(client),
            hits: None,
            before: Some(Before { age: known.age, is_stale: known.is_stale }),
        };
        Lists(known.stores.iter().map(entry).collect())
    }

    /// Those into which a client was put just now.
    pub fn of(&self, client: IpAddr) -> Vec<Store> {
        let own = self.0.iter().filter(|entry| entry.address == Some(client) && entry.before.is_none());
        let mut list: Vec<Store> = own.map(|entry| Store { name: entry.list.to_string(), data: None }).collect();
        list.sort_unstable();
        list
    }

    /// Adds a client to a set of `-j SET`.
    pub fn add(&mut self, set: &'d str, client: Option<IpAddr>) {
        match self.0.iter_mut().find(|entry| entry.list == set && entry.address == client) {
            Some(entry) => entry.before = None,
            None => {
                let list = set.into();
                self.0.push(Entry { list, side: Side::Source, address: client, hits: None, before: None });
            }
        }
    }

    /// Whether a set has a client; one that is not known is in none.
    pub fn has(&self, set: &str, client: Option<IpAddr>) -> bool {
        let is_old = |entry: &Entry<'_>| entry.before.is_some_and(|before| before.is_stale);
        self.0.iter().any(|entry| entry.list == set && entry.address == client && !is_old(entry))
    }
}

/// An address in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry<'d> {
    list: Cow<'d, str>,
    side: Side,
    /// `None` for one that is not known.
    address: Option<IpAddr>,
    /// How often it was put in, each time by this packet; `None` where that is not known.
    hits: Option<u32>,
    /// `None` where this packet put it in, or put it in again.
    before: Option<Before>,
}

/// When an earlier connection left an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Before {
    /// In milliseconds.
    age: u64,
    is_stale: bool,
}

/// What a list says of an address.
enum Found {
    Nothing,
    At(usize),
    /// It may be the same as another one.
    Unclear,
}

/// Asks a list, as recent_mt does; `None` is not known.
pub fn ask<'d>(not: bool, ask: &'d Recent<'d>, flow: &mut Flow<'d>, at: At<'_>) -> Option<bool> {
    let address = match ask.side {
        Side::Source => flow.source,
        Side::Destination => flow.destination,
    };
    let lists = flow.memory.lists.clone();
    let entries = lists.as_deref().map_or(&[][..], |lists| &lists.0);
    let translated = flow.action != Action::Pass || flow.translated != Source::Kept;
    let found = find(ask, address, entries, translated, at);
    let known = |place: usize| entries.get(place).and_then(|entry| entry.hits);
    let is_late = |place: usize| {
        let before = entries.get(place).and_then(|entry: &Entry<'_>| entry.before);
        before.zip(ask.seconds).is_some_and(|(before, seconds)| before.age > u64::from(seconds) * 1000)
    };
    let holds = match (ask.verb, &found) {
        (RecentVerb::Set, _) => true,
        (_, Found::Nothing) => false,
        (_, Found::Unclear) => return None,
        (RecentVerb::Remove, Found::At(_)) => true,
        (RecentVerb::Check | RecentVerb::Update, Found::At(place)) if is_late(*place) => false,
        // Which TTL the packet has where is not known.
        (RecentVerb::Check | RecentVerb::Update, Found::At(_)) if ask.ttl => return None,
        (RecentVerb::Check | RecentVerb::Update, Found::At(_)) if ask.hits <= 1 => true,
        (RecentVerb::Check | RecentVerb::Update, Found::At(place)) => known(*place)? >= ask.hits,
    };
    let holds = holds != not;
    let mut change = |change: &dyn Fn(&mut Vec<Entry<'d>>)| {
        change(&mut Rc::make_mut(flow.memory.lists.get_or_insert_default()).0);
    };
    match (ask.verb, found) {
        (RecentVerb::Set, Found::Nothing) => {
            change(&|entries| {
                entries.push(Entry { list: (&*ask.list).into(), side: ask.side, address, hits: Some(1), before: None })
            });
        }
        (RecentVerb::Set, Found::Unclear) => {
            change(&|entries| {
                entries.push(Entry { list: (&*ask.list).into(), side: ask.side, address, hits: None, before: None })
            });
        }
        (RecentVerb::Set, Found::At(place)) => change(&|entries| again(&mut entries[place])),
        (RecentVerb::Update, Found::At(place)) if holds => change(&|entries| again(&mut entries[place])),
        (RecentVerb::Remove, Found::At(place)) => change(&|entries| {
            entries.remove(place);
        }),
        (RecentVerb::Check, _) | (RecentVerb::Update | RecentVerb::Remove, _) => {}
    }
    Some(holds)
}

fn again(entry: &mut Entry<'_>) {
    entry.before = None;
    entry.hits = entry.hits.map(|hits| hits.saturating_add(1));
}

fn find(ask: &Recent<'_>, address: Option<IpAddr>, entries: &[Entry<'_>], translated: bool, at: At<'_>) -> Found {
    let mut unclear = false;
    for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.list == ask.list) {
        match (entry.address, address) {
            (Some(one), Some(other)) => {
                if let Some(asked) = at.asked.filter(|_| translated || one != other || entry.side != ask.side) {
                    // For the next address they may be equal, or not.
                    for (side, own) in [(Side::Source, at.packet.source), (Side::Destination, at.packet.destination)] {
                        asked.range(side, Some(own), own, own);
                    }
                }
                if one == other {
                    return Found::At(place);
                }
                unclear |= ask.masked;
            }
            (None, _) | (_, None) => unclear = true,
        }
    }
    if unclear { Found::Unclear } else { Found::Nothing }
}
