//! Lists of addresses that `-m recent` keeps, for a client that none of them holds: what the packet itself puts in is
//! found behind that.

use std::net::IpAddr;
use std::rc::Rc;

use crate::meaning::Action;
use crate::survey::Side;
use crate::target::iptables::dump::{Recent, RecentVerb};
use crate::trace::Source;

use super::Flow;
use super::test::At;

/// What the packet has put into lists, and not taken out again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lists<'d>(Vec<Entry<'d>>);

/// An address in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry<'d> {
    list: &'d str,
    side: Side,
    /// `None` for one that is not known.
    address: Option<IpAddr>,
    /// How often it was put in, each time by this packet; `None` where that is not known.
    hits: Option<u32>,
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
    let holds = match (ask.verb, &found) {
        (RecentVerb::Set, _) => true,
        (_, Found::Nothing) => false,
        (_, Found::Unclear) => return None,
        (RecentVerb::Remove, Found::At(_)) => true,
        // Which TTL the packet has where is not known.
        (RecentVerb::Check | RecentVerb::Update, Found::At(_)) if ask.ttl => return None,
        // However long ago it may be: this packet was now.
        (RecentVerb::Check | RecentVerb::Update, Found::At(_)) if ask.hits <= 1 => true,
        (RecentVerb::Check | RecentVerb::Update, Found::At(place)) => known(*place)? >= ask.hits,
    };
    let holds = holds != not;
    let mut change = |change: &dyn Fn(&mut Vec<Entry<'d>>)| {
        change(&mut Rc::make_mut(flow.memory.lists.get_or_insert_default()).0);
    };
    match (ask.verb, found) {
        (RecentVerb::Set, Found::Nothing) => {
            change(&|entries| entries.push(Entry { list: &ask.list, side: ask.side, address, hits: Some(1) }));
        }
        (RecentVerb::Set, Found::Unclear) => {
            change(&|entries| entries.push(Entry { list: &ask.list, side: ask.side, address, hits: None }));
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
