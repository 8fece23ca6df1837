//! Makes listeners of rows: what is treated alike becomes one.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};

use crate::address::{address, last};
use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::trace::Packet;

use super::sweep::{Cell, NOTHING, Row, Sweep};
use super::{Case, Known, Listener, Place, Places, Stretch, is_loopback, machine};

/// What rows are compared with.
pub struct Rows<'r> {
    pub family: Family,
    /// The address of this machine that no rule names.
    pub own: u128,
    /// Of an address that no rule names.
    pub usual: &'r Row,
    /// Of this machine's own address.
    pub local: &'r Row,
    /// As `local`, for connections that the machine opens.
    pub opened: &'r Row,
    pub known: &'r Known,
    /// Whether all destinations were looked at: then the others are treated as the usual one.
    pub is_whole: bool,
}

/// Ports of one protocol with one profile.
type Key = (Protocol, Vec<(u16, u16)>, u32);

/// Whether the addresses are said to be this machine's: behind a translation that keeps them INPUT follows, else FORWARD.
type Said = bool;

/// What the protocols of a listener have in common: the last is the profile.
type Alike = (Places, Vec<(u16, u16)>, u32);

/// The listeners, ascending by destination; then those of this machine, then those of every address.
pub fn listeners(sweep: &Sweep<'_>, rows: &Rows<'_>, stretches: &[Stretch], owned: &[Stretch]) -> Vec<Listener> {
    let mut usual = Usual::of(rows.usual);
    // Places where an address is treated otherwise than those that no rule names.
    let mut places: Groups<(Key, Said), Place> = Groups::new();
    for stretch in stretches {
        let said = rows.known.is_own(stretch.first);
        let place = match said {
            true => Place::OwnRange(stretch.first, stretch.last),
            false => Place::Range(stretch.first, stretch.last),
        };
        let loopback = is_loopback(rows.family, stretch);
        let changed = difference(&stretch.row, if loopback { rows.opened } else { rows.usual });
        if !loopback {
            usual.except(&changed, place);
        }
        grouped(&changed).into_iter().for_each(|key| places.add((key, said), place));
    }
    for stretch in owned {
        let changed = difference(&stretch.row, rows.local);
        let place = Place::OwnRange(stretch.first, stretch.last);
        let other = stretches.binary_search_by_key(&stretch.first, |other| other.first);
        let other = other.map(|index| &stretches[index].row).expect("named places are among all");
        let changed = grouped(&common(&changed, &difference(&stretch.row, other)));
        changed.into_iter().for_each(|key| places.add((key, false), place));
    }
    let changed = difference(rows.local, rows.usual);
    usual.except(&changed, Place::Local);
    grouped(&changed).into_iter().for_each(|key| places.add((key, false), Place::Local));

    let mut protocols: Groups<Alike, Protocol> = Groups::new();
    for (((protocol, ports, profile), _), mut list) in places.list {
        list.sort_unstable();
        protocols.add((Places::These(joined(list)), ports, profile), protocol);
    }
    for ((protocol, profile, but), ports) in usual.groups() {
        let places = match rows.is_whole {
            true => Places::AllBut(but),
            false => Places::These(seen(rows.family, stretches, &but)),
        };
        if !matches!(&places, Places::These(none) if none.is_empty()) {
            protocols.add((places, ports, profile), protocol);
        }
    }
    let listener = |((places, ports, profile), mut protocols): (Alike, Vec<Protocol>)| {
        protocols.sort_unstable();
        let cases = cases(sweep, rows, protocols[0], &places, ports[0].0, profile);
        Listener { protocols, places, ports, cases }
    };
    let mut list: Vec<Listener> = protocols.list.into_iter().map(listener).collect();
    let order = |listener: &Listener| {
        let place = match &listener.places {
            Places::These(list) => (0, list.first().copied()),
            Places::AllBut(_) => (1, None),
        };
        (place, listener.protocols[0], listener.ports[0])
    };
    list.sort_by_key(order);
    list
}

/// Of destinations that were looked at those that are treated as the usual one.
fn seen(family: Family, stretches: &[Stretch], but: &[Place]) -> Vec<Place> {
    let differs = |one: &&Stretch| {
        but.iter().any(|place| match place {
            Place::Range(first, last) | Place::OwnRange(first, last) => (*first..=*last).contains(&one.first),
            Place::Local => false,
        })
    };
    let alike = stretches.iter().filter(|one| !is_loopback(family, one) && !differs(one));
    joined(alike.map(|one| Place::Range(one.first, one.last)).collect())
}

/// Values by key, in the order in which keys were first seen.
struct Groups<K, V> {
    list: Vec<(K, Vec<V>)>,
    places: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash, V> Groups<K, V> {
    fn new() -> Groups<K, V> {
        Groups { list: Vec::new(), places: HashMap::new() }
    }

    fn add(&mut self, key: K, value: V) {
        match self.places.get(&key) {
            Some(place) => self.list[*place].1.push(value),
            None => {
                self.places.insert(key.clone(), self.list.len());
                self.list.push((key, vec![value]));
            }
        }
    }
}

/// The ports of each protocol and profile; those that all pass are left out.
fn grouped(cells: &[Cell]) -> Vec<Key> {
    let mut groups: Groups<(Protocol, u32), (u16, u16)> = Groups::new();
    for cell in cells.iter().filter(|cell| cell.profile != NOTHING) {
        groups.add((cell.protocol, cell.profile), (cell.first, cell.last));
    }
    groups.list.into_iter().map(|((protocol, profile), ports)| (protocol, ports, profile)).collect()
}

/// The cells of a row where another one differs.
pub fn difference(row: &[Cell], other: &[Cell]) -> Row {
    overlaps(row, other).filter(|(own, other)| own.profile != other.profile).map(|(own, _)| own).fold(
        Vec::new(),
        |mut list: Row, cell| {
            match list.last_mut() {
                Some(before)
                    if before.protocol == cell.protocol
                        && before.profile == cell.profile
                        && before.last.checked_add(1) == Some(cell.first) =>
                {
                    before.last = cell.last;
                }
                Some(_) | None => list.push(cell),
            }
            list
        },
    )
}

/// What two lists of cells of one row share.
fn common(one: &[Cell], other: &[Cell]) -> Row {
    overlaps(one, other).map(|(own, _)| own).collect()
}

/// Pairs of cells, cut to the ports that both have.
fn overlaps(one: &[Cell], other: &[Cell]) -> impl Iterator<Item = (Cell, Cell)> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let (a, b) = (**left.peek()?, **right.peek()?);
            let end = (a.protocol, a.last).min((b.protocol, b.last));
            if (a.protocol, a.last) == end {
                left.next();
            }
            if (b.protocol, b.last) == end {
                right.next();
            }
            let (first, last) = (a.first.max(b.first), a.last.min(b.last));
            if a.protocol == b.protocol && first <= last {
                return Some((Cell { first, last, ..a }, Cell { first, last, ..b }));
            }
        }
    })
}

/// A protocol, a profile and the places that are left out.
type Excepted = (Protocol, u32, Vec<Place>);

/// What is for every address, and the places that are treated otherwise.
struct Usual {
    /// Without those that all pass.
    cells: Vec<Cell>,
    /// Of parts of these cells.
    but: Groups<(Protocol, u16, u16), Place>,
}

impl Usual {
    fn of(row: &Row) -> Usual {
        let cells = row.iter().copied().filter(|cell| cell.profile != NOTHING).collect();
        Usual { cells, but: Groups::new() }
    }

    /// Notes a place at all ports that it changes.
    fn except(&mut self, changed: &[Cell], place: Place) {
        for (cell, _) in overlaps(changed, &self.cells) {
            self.but.add((cell.protocol, cell.first, cell.last), place);
        }
    }

    fn groups(self) -> Vec<(Excepted, Vec<(u16, u16)>)> {
        let mut groups: Groups<Excepted, (u16, u16)> = Groups::new();
        for cell in self.cells {
            let inside = |(protocol, first, last): &(Protocol, u16, u16)| {
                *protocol == cell.protocol && cell.first <= *last && *first <= cell.last
            };
            let but: Vec<_> = self.but.list.iter().filter(|(ports, _)| inside(ports)).collect();
            // Where a part starts, or the one behind it.
            let mut starts: Vec<u16> = vec![cell.first];
            starts.extend(but.iter().map(|((_, first, _), _)| *first));
            starts.extend(but.iter().filter_map(|((_, _, last), _)| last.checked_add(1)));
            starts.retain(|start| (cell.first..=cell.last).contains(start));
            starts.sort_unstable();
            starts.dedup();
            for (nth, &first) in starts.iter().enumerate() {
                let last = starts.get(nth + 1).map_or(cell.last, |next| next - 1);
                let over = but.iter().filter(|((_, start, end), _)| (*start..=*end).contains(&first));
                let mut places: Vec<Place> = over.flat_map(|(_, places)| places.iter().copied()).collect();
                places.sort_unstable();
                groups.add((cell.protocol, cell.profile, joined(places)), (first, last));
            }
        }
        groups.list
    }
}

/// Ranges next to each other become one.
fn joined(list: Vec<Place>) -> Vec<Place> {
    let mut joined: Vec<Place> = Vec::with_capacity(list.len());
    for place in list {
        match (joined.last_mut(), place) {
            (Some(Place::Range(_, end)), Place::Range(first, last))
            | (Some(Place::OwnRange(_, end)), Place::OwnRange(first, last))
                if end.checked_add(1) == Some(first) =>
            {
                *end = last;
            }
            (Some(_) | None, place) => joined.push(place),
        }
    }
    joined
}

/// Who gets what, by what they get.
fn cases(
    sweep: &Sweep<'_>,
    rows: &Rows<'_>,
    protocol: Protocol,
    places: &Places,
    port: u16,
    profile: u32,
) -> Vec<Case> {
    type Sources = Vec<(u128, u128)>;
    let family = rows.family;
    let mut groups: Groups<(u32, Sources), u32> = Groups::new();
    for (arrival, stretches) in (0u32..).zip(&sweep.profiles.list[profile as usize]) {
        let mut by_fate: Groups<u32, (u128, u128)> = Groups::new();
        let mut first = 0;
        for (end, fate) in stretches {
            by_fate.add(*fate, (first, *end));
            first = end.saturating_add(1);
        }
        by_fate.list.into_iter().for_each(|(fate, sources)| groups.add((fate, sources), arrival));
    }
    let (destination, owns) = match places {
        Places::These(list) => match list[0] {
            Place::Range(first, _) => (first, false),
            Place::OwnRange(first, _) if rows.known.is_said => (first, true),
            Place::OwnRange(first, last) => (first + (last - first) / 2, true),
            Place::Local => (rows.own, true),
        },
        Places::AllBut(_) => (rows.own, false),
    };
    let machine = match owns && !rows.known.is_said {
        true => machine(family, destination),
        false => rows.known.machine.clone(),
    };
    let case = |((fate, sources), arrivals): ((u32, Sources), Vec<u32>)| Case {
        packet: Packet {
            protocol,
            source: address(family, representative(family, &sources)),
            source_port: None,
            destination: address(family, destination),
            port,
            direction: sweep.direction(arrivals[0]),
        },
        sources: Some(sources).filter(|sources| *sources != [(0, last(family))]),
        arrivals,
        fate: sweep.fates.list[fate as usize].clone(),
        machine: machine.clone(),
    };
    let mut list: Vec<Case> = groups.list.into_iter().map(case).collect();
    list.sort_by_key(|case| (case.fate.is_pass(), !case.fate.translates()));
    list
}

/// A client of these: an ordinary one where there is any.
fn representative(family: Family, sources: &[(u128, u128)]) -> u128 {
    let usual = match family {
        Family::V4 => 0xc633_6407,                                   // 198.51.100.7
        Family::V6 => 0x2001_0db8_0000_0000_0000_0000_0000_0007u128, // 2001:db8::7
    };
    let widest = sources.iter().max_by_key(|(first, last)| last - first).expect("at least one");
    match sources.iter().any(|(first, last)| (*first..=*last).contains(&usual)) {
        true => usual,
        false => widest.0,
    }
}
