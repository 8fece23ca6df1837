//! The listeners that rules name which nobody compiled: what to look at in a dump of ten thousand rules.
//!
//! The space of new connections is cut where the rules themselves cut it: each [answer](crate::survey) says how far it
//! holds, so that packet after packet covers all of it. What is answered alike is one listener.
//!
//! Which addresses belong to the machine is not in its rules. Where nobody says so, an address that they name is taken
//! for one of another machine, and beside those there is one of this machine that they do not name; where there are few
//! enough, the named ones are asked about as the machine's own, too. Loopback addresses are only asked about for connections that the
//! machine opens.

mod merge;
mod sweep;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::address::{address, last, range};
use crate::ir::share::Share;
use crate::ir::{Family, Interface};
use crate::meaning::{Action, Direction};
use crate::statement::balance::Protocol;
use crate::survey::Survey;
use crate::trace::{Machine, Packet, Unknown};

use sweep::{Ask, Row, Sweep};

/// The tests that one search may ask: a few seconds.
pub const MAX_COST: u64 = 80_000_000;

/// The rules would need more than [`MAX_COST`] tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Connections that the rules treat alike, with what they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub protocols: Vec<Protocol>,
    pub places: Places,
    /// First and last, ascending.
    pub ports: Vec<(u16, u16)>,
    /// At least one; what does something comes first.
    pub cases: Vec<Case>,
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Places {
    These(Vec<Place>),
    /// Every address but these.
    AllBut(Vec<Place>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Both ends belong to it. It is another machine's.
    Range(u128, u128),
    /// A range that belongs to this machine; where nobody said so, what becomes of it if it does.
    OwnRange(u128, u128),
    /// An address of this machine that no rule names.
    Local,
}

/// How a connection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// On an interface that no rule names.
    Other,
    On(Interface),
    /// This machine opens it.
    Out,
}

impl Arrival {
    fn direction(&self) -> Direction {
        match self {
            Arrival::Other => Direction::In(String::new()),
            Arrival::On(Interface::Exact(name)) => Direction::In(name.clone()),
            // No real name goes on so, and no longer prefix either.
            Arrival::On(Interface::Prefix(start)) => Direction::In(format!("{start}\u{1}")),
            Arrival::Out => Direction::Out,
        }
    }
}

/// What a part of a listener's connections gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Some of [`Found::arrivals`].
    pub arrivals: Vec<u32>,
    /// Clients, first and last, ascending; `None` where it does not matter who they are.
    pub sources: Option<Vec<(u128, u128)>>,
    pub fate: Fate,
    /// One of its packets, to the first of the ports.
    pub packet: Packet,
    /// The machine at which it arrives.
    pub machine: Machine,
}

/// What becomes of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Distinct, with positive shares that sum to 1.
    Shares(Vec<(Goal, Share)>),
    /// Counters in step decide, and the shares take them for independent, which they are not: a walk says what becomes of
    /// any of the packets. The number tells ways through the rules apart.
    InStep(u64, Vec<(Goal, Share)>),
    /// A hash of the client decides; the number tells hashes apart.
    Hashed(u64),
    /// There are more rules, or more ways through them, than are followed.
    Untold,
}

impl Case {
    /// So many of its packets, a power of two, from clients next to each other, so that each of their low bits is as often
    /// set as not; as many as there are.
    pub fn neighbours(&self, count: usize) -> Vec<Packet> {
        let family = Family::of(self.packet.destination);
        let all = [(0, last(family))];
        let sources = self.sources.as_deref().unwrap_or(&all);
        let (first, end) = sources.iter().copied().max_by_key(|(first, end)| end - first).unwrap_or(all[0]);
        let low = count.next_power_of_two() as u128 - 1;
        let start = (first + (end - first) / 2) & !low;
        let start = if start < first { first } else { start };
        let clients = start..=(start | low).min(end);
        clients.map(|client| Packet { source: address(family, client), ..self.packet.clone() }).collect()
    }

    /// Some of its packets, from clients all over its sources.
    pub fn clients(&self, count: usize) -> Vec<Packet> {
        let family = Family::of(self.packet.destination);
        let all = [(0, last(family))];
        let sources = self.sources.as_deref().unwrap_or(&all);
        let each = (count / sources.len()).max(1) as u128;
        let clients = sources.iter().flat_map(|(first, last)| sweep::spread(*first, *last, each)).take(count);
        clients.map(|client| Packet { source: address(family, client), ..self.packet.clone() }).collect()
    }
}

impl Goal {
    /// What happens to a packet; of ports that [vary](ToPort::Varied) that is said of the first alone.
    pub fn action(&self, packet: &Packet) -> Action {
        let port = |port: &ToPort| match port {
            ToPort::Fixed(port) | ToPort::Varied(port) => *port,
            // Moved ports were ports.
            ToPort::Moved(by) => (i32::from(packet.port) + by) as u16,
        };
        match self {
            Goal::To(to, at) => Action::Dnat(to.unwrap_or(packet.destination), port(at)),
            Goal::Here(at) => Action::Redirect(port(at)),
            Goal::Pass => Action::Pass,
            Goal::Drop => Action::Drop,
            Goal::Reject => Action::Reject,
        }
    }
}

impl Hash for Fate {
    /// A fraction's own hash divides, over and over: of a cascade of thousands of rules that takes minutes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (goal, share) in self.shares().unwrap_or_default() {
            (goal, share.numer(), share.denom()).hash(state);
        }
        match self {
            Fate::Shares(_) | Fate::Untold => {}
            Fate::Hashed(asker) | Fate::InStep(asker, _) => asker.hash(state),
        }
    }
}

impl Fate {
    /// What may happen; `None` where that depends on the client, or is not told.
    pub fn shares(&self) -> Option<&[(Goal, Share)]> {
        match self {
            Fate::Shares(shares) | Fate::InStep(_, shares) => Some(shares),
            Fate::Hashed(_) | Fate::Untold => None,
        }
    }

    /// Whether all connections pass.
    pub fn is_pass(&self) -> bool {
        self.shares().is_some_and(|shares| shares.iter().all(|(goal, _)| *goal == Goal::Pass))
    }

    /// Whether any connection gets a new destination, as far as is known without a client.
    pub fn translates(&self) -> bool {
        let moves = |(goal, _): &(Goal, Share)| matches!(goal, Goal::To(..) | Goal::Here(_));
        match self {
            Fate::Shares(shares) | Fate::InStep(_, shares) => shares.iter().any(moves),
            Fate::Hashed(_) => true,
            Fate::Untold => false,
        }
    }
}

/// What happens to a connection, told for all ports of a stretch at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// `None` keeps the address.
    To(Option<IpAddr>, ToPort),
    /// To this machine.
    Here(ToPort),
    Pass,
    Drop,
    Reject,
}

/// The port that a connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToPort {
    Fixed(u16),
    /// The port that it had, and so much more.
    Moved(i32),
    /// Another one for each port of the stretch; this one is for the first.
    Varied(u16),
}

/// All that was found in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Every way to begin that the rules tell apart: first any other interface, last [`Arrival::Out`].
    pub arrivals: Vec<Arrival>,
    /// Ascending by destination; then those of this machine, then those of every address.
    pub listeners: Vec<Listener>,
    /// The first destination that there was no patience for; `None` where all were asked about.
    pub unseen: Option<IpAddr>,
    /// Whether there was no patience for this machine's own addresses.
    pub unseen_local: bool,
    /// The same for those among them that rules name.
    pub unseen_own: bool,
    /// What is not known of the rules on the way.
    pub unknown: Vec<Unknown>,
}

/// Finds the connections of a family that `survey` does not let pass, whoever opens them.
///
/// `local` says which addresses are this machine's, where anyone knows. At most `limit` tests are asked, as in [`MAX_COST`]; the error is that not even one destination is told by those.
/// Multicast and broadcast are left out.
pub fn find(survey: &dyn Survey, family: Family, local: Option<&Machine>, limit: u64) -> Result<Found, TooLarge> {
    let mut named = survey.interfaces();
    // A prefix of no letters is every interface.
    named.retain(|interface| *interface != Interface::Prefix(String::new()));
    named.sort();
    named.dedup();
    let arrivals: Vec<Arrival> =
        [Arrival::Other].into_iter().chain(named.into_iter().map(Arrival::On)).chain([Arrival::Out]).collect();
    let known = Known::new(family, local);
    // A part is kept for this machine's own addresses.
    let mut sweep = Sweep::new(survey, family, &arrivals, &known, limit / 4 * 3);
    let (mut stretches, unseen) = sweep.stretches(&known);
    sweep.limit = limit / 8 * 7;
    let is_cut = known.is_said || (unseen.is_none() && sweep.cut(&mut stretches));
    sweep.limit = limit;
    // The widest stretch is what no rule names.
    let usual = stretches.iter().filter(|one| !is_loopback(family, one));
    let Some(usual) = usual.max_by_key(|one| (!known.is_own(one.first), one.last - one.first)).cloned() else {
        return Err(TooLarge);
    };
    let own = usual.middle();
    let (owned, local) = match local {
        Some(_) => (Owned::default(), None),
        None => {
            let local = sweep.row(own, &machine(family, own), Ask { keeps: Some(own), ..Ask::default() });
            let local = local.ok().map(|(row, _)| row);
            (local.as_ref().map_or_else(Owned::default, |local| owned(&mut sweep, &stretches, &usual, local)), local)
        }
    };
    let unseen_local = local.is_none() && !known.is_said;
    let local = local.unwrap_or_else(|| usual.row.clone());
    let opened = sweep.opened(&local);
    sweep.reconsider(&mut stretches, &usual.row, |_| known.machine.clone());
    let rows = merge::Rows {
        family,
        own,
        usual: &usual.row,
        local: &local,
        opened: &opened,
        known: &known,
        is_whole: unseen.is_none(),
    };
    let listeners = merge::listeners(&sweep, &rows, &stretches, &owned.stretches);
    let unknown = sweep.unknown.into_iter().collect();
    Ok(Found { arrivals, listeners, unseen, unseen_local, unseen_own: owned.unseen || !is_cut, unknown })
}

/// Stretches as if they were this machine's.
#[derive(Default)]
struct Owned {
    stretches: Vec<Stretch>,
    /// Whether there was no patience for all of them.
    unseen: bool,
}

/// What a rule does to a named address of this machine; `local` is what becomes of one that no rule names.
fn owned(sweep: &mut Sweep<'_>, stretches: &[Stretch], usual: &Stretch, local: &Row) -> Owned {
    let family = sweep.family;
    let mut owned = Owned::default();
    for stretch in stretches.iter().filter(|one| !is_loopback(family, one) && one.first != usual.first) {
        let own = stretch.middle();
        let ask = Ask { keeps: (stretch.last > stretch.first).then_some(own), ..Ask::default() };
        let Ok((row, _)) = sweep.row(own, &machine(family, own), ask) else {
            owned.unseen = true;
            break;
        };
        owned.stretches.push(Stretch { row, ..*stretch });
    }
    sweep.reconsider(&mut owned.stretches, local, |first| machine(family, first));
    owned
}

/// Destinations next to each other that are treated alike.
#[derive(Clone)]
struct Stretch {
    first: u128,
    last: u128,
    row: Row,
}

impl Stretch {
    /// An address that no rule starts at, where there is one.
    fn middle(&self) -> u128 {
        self.first + (self.last - self.first) / 2
    }
}

/// What is known of the machine's addresses.
struct Known {
    /// Without any where nobody knows.
    machine: Machine,
    /// In one family, first and last.
    own: Vec<(u128, u128)>,
    is_said: bool,
}

impl Known {
    fn new(family: Family, local: Option<&Machine>) -> Known {
        let machine = local.cloned().unwrap_or_default();
        let own = machine.local.iter().filter(|net| Family::of_net(**net) == family).map(|net| range(*net)).collect();
        Known { machine, own, is_said: local.is_some() }
    }

    fn is_own(&self, at: u128) -> bool {
        self.own.iter().any(|(first, last)| (*first..=*last).contains(&at))
    }

    /// The last address up to `end` that is the machine's own or not, as the first one is.
    fn end(&self, first: u128, end: u128) -> u128 {
        let change = |(start, last): &(u128, u128)| match () {
            () if first < *start => start - 1,
            () if first <= *last => *last,
            () => end,
        };
        self.own.iter().map(change).fold(end, u128::min)
    }
}

/// A machine with one address.
fn machine(family: Family, own: u128) -> Machine {
    Machine { local: vec![address(family, own).into()], ..Machine::default() }
}

fn is_loopback(family: Family, stretch: &Stretch) -> bool {
    address(family, stretch.first).is_loopback()
}

/// Tells an action at the first port of a stretch for all of its ports, by what it is at `others`. `keeps` says that the
/// packet's own address is one that is kept.
fn goal(packet: &Packet, action: &Action, others: &[(u16, &Action)], keeps: bool) -> Goal {
    let port_of = |action: &Action| match action {
        Action::Dnat(_, port) | Action::Redirect(port) => Some(*port),
        Action::Pass | Action::Drop | Action::Reject => None,
    };
    let port = |own: u16| {
        let moved = i32::from(own) - i32::from(packet.port);
        let is = |wanted: &dyn Fn(u16) -> i32| {
            others.iter().all(|(at, action)| port_of(action).map(i32::from) == Some(wanted(*at)))
        };
        match () {
            () if (!others.is_empty() || moved == 0) && is(&|at| i32::from(at) + moved) => ToPort::Moved(moved),
            () if is(&|_| i32::from(own)) => ToPort::Fixed(own),
            () => ToPort::Varied(own),
        }
    };
    match action {
        Action::Dnat(address, own) => {
            let kept = keeps && *address == packet.destination;
            Goal::To(Some(*address).filter(|_| !kept), port(*own))
        }
        Action::Redirect(own) => Goal::Here(port(*own)),
        Action::Pass => Goal::Pass,
        Action::Drop => Goal::Drop,
        Action::Reject => Goal::Reject,
    }
}
