//! Asks about every stretch of ports and clients at one destination.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use num_traits::One;

use crate::address::{address, last, range};
use crate::dispatch::loopback;
use crate::ir::Family;
use crate::ir::share::Share;
use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::survey::{Answer, Horizon, Survey};
use crate::trace::{Machine, Packet, Unknown};

use super::merge::difference;
use super::{Arrival, Fate, Goal, Known, Stretch, TooLarge, goal};

/// Every port of every protocol at one destination, ascending; neighbours differ.
pub type Row = Vec<Cell>;

/// Ports that are treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
    /// Index of a [`Profile`].
    pub profile: u32,
}

/// For each arrival the last client of each stretch, ascending, and the index of what it gets.
pub type Profile = Vec<Vec<(u128, u32)>>;

/// The profile of connections that all pass.
pub const NOTHING: u32 = 0;

/// Clients of a hash that are asked about, so that what stands behind the hash is seen.
const CLIENTS: u128 = 7;

/// How to ask about a destination.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Only for connections that the machine opens; all others pass.
    pub opened: bool,
    /// The last of its stretch: what goes to the destination itself, and there to that one, keeps the address.
    pub keeps: Option<u128>,
}

/// What was seen, each once.
#[derive(Debug)]
pub struct Interned<T> {
    pub list: Vec<T>,
    places: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn new(first: T) -> Interned<T> {
        let mut own = Interned { list: Vec::new(), places: HashMap::new() };
        own.add(first);
        own
    }

    fn add(&mut self, one: T) -> u32 {
        if let Some(place) = self.places.get(&one) {
            return *place;
        }
        let place = self.list.len() as u32;
        self.list.push(one.clone());
        self.places.insert(one, place);
        place
    }
}

pub struct Sweep<'s> {
    survey: &'s dyn Survey,
    pub family: Family,
    directions: Vec<Direction>,
    pub fates: Interned<Fate>,
    pub profiles: Interned<Profile>,
    /// The tests that were asked.
    pub cost: u64,
    /// The most of them.
    pub limit: u64,
    /// What is not known of the rules that were asked.
    pub unknown: BTreeSet<Unknown>,
    /// Whether it is known of every address whether it is this machine's.
    is_said: bool,
}

/// For each arrival the last client of each stretch, and the answer.
type Seen = Vec<Vec<(u128, Answer)>>;

impl<'s> Sweep<'s> {
    pub fn new(survey: &'s dyn Survey, family: Family, arrivals: &[Arrival], known: &Known, limit: u64) -> Sweep<'s> {
        let pass = Fate::Shares(vec![(Goal::Pass, Share::one())]);
        Sweep {
            survey,
            family,
            directions: arrivals.iter().map(Arrival::direction).collect(),
            fates: Interned::new(pass),
            profiles: Interned::new(vec![vec![(last(family), 0)]; arrivals.len()]),
            cost: 0,
            limit,
            unknown: BTreeSet::new(),
            is_said: known.is_said,
        }
    }

    /// How the packets of an arrival come.
    pub fn direction(&self, arrival: u32) -> Direction {
        self.directions[arrival as usize].clone()
    }

    /// Every destination to which one connection goes, as of another machine where nobody knows better, and the first
    /// one that the limit left out.
    pub fn stretches(&mut self, known: &Known) -> (Vec<Stretch>, Option<IpAddr>) {
        let (first, end) = match self.family {
            // Without the address of none, multicast and what is behind it.
            Family::V4 => (1, 0xdfff_ffff),
            Family::V6 => (1, (0xff << 120) - 1),
        };
        let mut list = Vec::new();
        let mut at = Some(first);
        while let Some(first) = at.filter(|at| *at <= end) {
            let own = address(self.family, first);
            // Loopback is a stretch of its own, whether any rule tells it apart or not.
            let (loopback, behind) = range(loopback(self.family));
            let end = if first < loopback { end.min(loopback - 1) } else { end };
            let end = if (loopback..=behind).contains(&first) { end.min(behind) } else { end };
            let end = known.end(first, end);
            let Ok((last, row)) = self.stretch(first, end, &known.machine) else { return (list, Some(own)) };
            list.push(Stretch { first, last, row });
            at = last.checked_add(1);
        }
        (list, None)
    }

    /// Cuts stretches wherever rules for addresses of this machine ask about one. Whether there was patience for all.
    pub fn cut(&mut self, stretches: &mut Vec<Stretch>) -> bool {
        let everywhere = match self.family {
            Family::V4 => IpNet::V4(Ipv4Net::default()),
            Family::V6 => IpNet::V6(Ipv6Net::default()),
        };
        let machine = Machine { local: vec![everywhere], ..Machine::default() };
        let (own, unseen) = self.stretches(&Known { machine, own: Vec::new(), is_said: false });
        let mut cuts = own.iter().map(|one| one.first).peekable();
        let mut list = Vec::with_capacity(stretches.len());
        for stretch in stretches.drain(..) {
            let mut first = stretch.first;
            while let Some(cut) = cuts.next_if(|cut| *cut <= stretch.last) {
                if cut > first {
                    list.push(Stretch { first, last: cut - 1, row: stretch.row.clone() });
                    first = cut;
                }
            }
            list.push(Stretch { first, ..stretch });
        }
        *stretches = list;
        unseen.is_none()
    }

    /// The last destination that is treated as this one, at most `end`, and their row.
    fn stretch(&mut self, first: u128, end: u128, machine: &Machine) -> Result<(u128, Row), TooLarge> {
        let own = address(self.family, first);
        let ask = Ask { opened: own.is_loopback(), keeps: None };
        let (row, next) = self.row(first, machine, ask)?;
        let last = next.map_or(end, |next| (next - 1).min(end));
        if last > first && self.names(&row, own) {
            return Ok((last, self.row(first, machine, Ask { keeps: Some(last), ..ask })?.0));
        }
        Ok((last, row))
    }

    /// Of a single destination both may be said: that its address is kept, and that it is fixed. Takes what is nearer to
    /// the usual row.
    pub fn reconsider(&mut self, stretches: &mut [Stretch], usual: &Row, machine: impl Fn(u128) -> Machine) {
        for stretch in stretches.iter_mut().filter(|one| one.first == one.last) {
            let own = address(self.family, stretch.first);
            if self.names(&stretch.row, own) {
                let ask = Ask { opened: own.is_loopback(), keeps: Some(stretch.first) };
                if let Ok((row, _)) = self.row(stretch.first, &machine(stretch.first), ask)
                    && difference(&row, usual).len() < difference(&stretch.row, usual).len()
                {
                    stretch.row = row;
                }
            }
        }
    }

    /// A row, for connections that the machine opens: all others pass.
    pub fn opened(&mut self, row: &Row) -> Row {
        let pass = vec![(last(self.family), 0)];
        let cell = |cell: &Cell| {
            let profile = &self.profiles.list[cell.profile as usize];
            let only = |(direction, own): (&Direction, &Vec<(u128, u32)>)| match direction {
                Direction::Out => own.clone(),
                Direction::In(_) => pass.clone(),
            };
            let profile = self.directions.iter().zip(profile).map(only).collect();
            Cell { profile: self.profiles.add(profile), ..*cell }
        };
        row.iter().map(cell).collect()
    }

    /// Whether an address is where anything of a row goes.
    fn names(&self, row: &Row, own: IpAddr) -> bool {
        let profiles = row.iter().map(|cell| &self.profiles.list[cell.profile as usize]);
        let goes = |(goal, _): &(Goal, Share)| matches!(goal, Goal::To(Some(to), _) if *to == own);
        let fates = profiles.flatten().flatten().map(|(_, fate)| &self.fates.list[*fate as usize]);
        fates.filter_map(Fate::shares).flatten().any(goes)
    }

    /// The row of a destination, and the next destination that may have another one.
    pub fn row(&mut self, destination: u128, machine: &Machine, ask: Ask) -> Result<(Row, Option<u128>), TooLarge> {
        let mut row: Row = Vec::new();
        let mut horizon = Horizon::FAR;
        for protocol in Protocol::ALL {
            let mut port = 1u32;
            while let Ok(first) = u16::try_from(port) {
                let mut packet = Packet {
                    protocol,
                    source: address(self.family, 0),
                    source_port: None,
                    destination: address(self.family, destination),
                    port: first,
                    direction: Direction::Out,
                };
                let (seen, near) = self.see(&mut packet, machine, ask.opened)?;
                horizon.join(Horizon { destination: near.destination, ..Horizon::FAR });
                let end = (near.port - 1) as u16;
                let mut others = Vec::new();
                let moves = |(_, answer): &(u128, Answer)| {
                    answer.actions.iter().any(|(action, _)| matches!(action, Action::Dnat(..) | Action::Redirect(_)))
                };
                if end > first && seen.iter().flatten().any(moves) {
                    // The second port tells a fixed port from ports that begin again within the stretch.
                    for other in [end, first + 1].into_iter().take(usize::from(end - first).min(2)) {
                        packet.port = other;
                        let (seen, near) = self.see(&mut packet, machine, ask.opened)?;
                        horizon.join(Horizon { destination: near.destination, ..Horizon::FAR });
                        others.push((other, seen));
                    }
                    packet.port = first;
                }
                let twin = match ask.keeps {
                    None => None,
                    Some(own) if own == destination => Some((packet.destination, seen.clone())),
                    Some(other) => {
                        packet.destination = address(self.family, other);
                        let (seen, _) = self.see(&mut packet, machine, ask.opened)?;
                        let twin = (packet.destination, seen);
                        packet.destination = address(self.family, destination);
                        Some(twin)
                    }
                };
                let profile = self.profile(&packet, &seen, &others, twin.as_ref());
                match row.last_mut() {
                    Some(cell) if cell.protocol == protocol && cell.profile == profile => cell.last = end,
                    Some(_) | None => row.push(Cell { protocol, first, last: end, profile }),
                }
                port = near.port;
            }
        }
        Ok((row, horizon.destination))
    }

    /// Asks for every arrival and client at one destination and port.
    fn see(&mut self, packet: &mut Packet, machine: &Machine, opened: bool) -> Result<(Seen, Horizon), TooLarge> {
        let mut all = Horizon::FAR;
        let own = Known::new(self.family, Some(machine));
        let mut seen = Vec::with_capacity(self.directions.len());
        for index in 0..self.directions.len() {
            packet.direction = self.directions[index].clone();
            let mut stretches: Vec<(u128, Answer)> = Vec::new();
            let mut at = Some(0).filter(|_| !opened || packet.direction == Direction::Out);
            while let Some(source) = at.filter(|at| *at <= last(self.family)) {
                packet.source = address(self.family, source);
                let answer = self.ask(packet, machine)?;
                let end = answer.horizon.source.map_or(last(self.family), |next| next - 1);
                // A client may be this machine itself. Where nobody said which addresses it has, that is not looked for.
                let end = if self.is_said || own.is_own(source) { own.end(source, end) } else { end };
                let next = end.checked_add(1);
                all.join(Horizon { source: None, ..answer.horizon });
                if answer.hashed.is_some() {
                    for client in spread(source, end, CLIENTS) {
                        packet.source = address(self.family, client);
                        all.join(Horizon { source: None, ..self.ask(packet, machine)?.horizon });
                    }
                }
                match stretches.last_mut() {
                    Some((before, own)) if is_alike(own, &answer) => *before = end,
                    Some(_) | None => stretches.push((end, answer)),
                }
                at = next;
            }
            seen.push(stretches);
        }
        Ok((seen, all))
    }

    fn ask(&mut self, packet: &Packet, machine: &Machine) -> Result<Answer, TooLarge> {
        let mut answer = self.survey.answer(packet, machine);
        if answer.cut {
            // The last says where it was left.
            answer.unknown.pop();
        }
        self.cost += answer.unknown.len() as u64;
        self.unknown.extend(answer.unknown.drain(..));
        // A question costs something even where no rule is tested, and so do fractions of thousands of digits.
        let words = |share: &Share| (share.numer().bits() + share.denom().bits()) / 64;
        self.cost += answer.cost + 8 + answer.actions.iter().map(|(_, share)| words(share)).sum::<u64>();
        if self.cost > self.limit { Err(TooLarge) } else { Ok(answer) }
    }

    fn profile(&mut self, packet: &Packet, seen: &Seen, others: &[(u16, Seen)], twin: Option<&(IpAddr, Seen)>) -> u32 {
        let mut profile: Profile = Vec::with_capacity(seen.len());
        for (index, stretches) in seen.iter().enumerate() {
            let mut own: Vec<(u128, u32)> = Vec::with_capacity(stretches.len().max(1));
            for (place, (end, answer)) in stretches.iter().enumerate() {
                let of = |nth: usize| -> Vec<(u16, &Action)> {
                    let answers = others.iter().filter_map(|(port, seen)| Some((*port, &seen[index].get(place)?.1)));
                    answers.filter_map(|(port, answer)| Some((port, &answer.actions.get(nth)?.0))).collect()
                };
                // What goes to the destination itself keeps its address where, to another one, as many go there.
                let keeps = |action: &Action, share: &Share| {
                    let goes = |action: &Action, to: IpAddr| matches!(action, Action::Dnat(own, _) if *own == to);
                    let twin = twin.filter(|_| goes(action, packet.destination));
                    let twin = twin.and_then(|(to, seen)| Some((*to, &seen[index].get(place)?.1.actions)));
                    twin.is_some_and(|(to, actions)| {
                        actions.iter().any(|(action, own)| goes(action, to) && own == share)
                    })
                };
                let shares = answer.actions.iter().enumerate();
                let shares = shares.map(|(nth, (action, share))| {
                    (goal(packet, action, &of(nth), keeps(action, share)), share.clone())
                });
                let fate = match (answer.hashed, answer.in_step) {
                    _ if answer.cut => Fate::Untold,
                    (Some(asker), _) => Fate::Hashed(asker),
                    (None, Some(way)) => Fate::InStep(way, shares.collect()),
                    (None, None) => Fate::Shares(shares.collect()),
                };
                let fate = self.fates.add(fate);
                match own.last_mut() {
                    Some((before, other)) if *other == fate => *before = *end,
                    Some(_) | None => own.push((*end, fate)),
                }
            }
            if own.is_empty() {
                own.push((last(self.family), 0));
            }
            profile.push(own);
        }
        self.profiles.add(profile)
    }
}

/// Whether two answers say the same.
fn is_alike(one: &Answer, other: &Answer) -> bool {
    let of = |answer: &Answer| (answer.hashed, answer.in_step, answer.cut);
    one.actions == other.actions && of(one) == of(other)
}

/// Some numbers of a range, as if drawn, so that no hash falls in step with them.
pub fn spread(first: u128, last: u128, count: u128) -> impl Iterator<Item = u128> {
    let mixed = |nth: u128| {
        let one = (nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let two = (one ^ (one >> 67)).wrapping_mul(0xd6e8_feb8_6659_fd93_ca5a_8263_9512_1157);
        two ^ (two >> 61)
    };
    let size = (last - first).saturating_add(1);
    (0..count.min(size)).map(move |nth| first + mixed(nth) % size)
}
