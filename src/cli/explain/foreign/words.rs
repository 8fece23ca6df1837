//! Words for listeners, and for the connections that they are about.

use crate::address::{address, last};
use crate::dispatch::AddressRange;
use crate::ir::share::Share;
use crate::ir::{Family, Interface};
use crate::listeners::{Arrival, Case, Goal, Listener, Place, Places, ToPort};

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

/// Each as it is written in LISTEN.
pub fn places(family: Family, list: &[Place]) -> Vec<String> {
    list.iter()
        .map(|place| match place {
            Place::Range(first, last) | Place::OwnRange(first, last) => range(family, *first, *last),
            Place::Local => "local".to_owned(),
        })
        .collect()
}

/// `80` or `8000-8010`
pub fn ports(list: &[(u16, u16)]) -> Vec<String> {
    let port = |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    list.iter().map(port).collect()
}

/// `tcp,udp 203.0.113.10:80,443`
pub fn title(family: Family, listener: &Listener) -> String {
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

/// What the title does not say; `is_said` tells whether anyone said which addresses are this machine's.
pub fn remark(family: Family, listener: &Listener, is_said: bool) -> Option<String> {
    match &listener.places {
        Places::AllBut(but) if !but.is_empty() => Some(format!("other rules for {}", shortened(places(family, but)))),
        Places::These(list) if list.iter().any(|place| matches!(place, Place::OwnRange(..))) => {
            let words = if is_said { "an address of this machine" } else { "if this machine has that address" };
            Some(words.to_owned())
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
pub fn condition(family: Family, all: &[Arrival], case: &Case) -> Option<String> {
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
    let clients = case.sources.as_ref().map(|sources| clients(family, sources));
    let parts: Vec<String> =
        [beginning.join(", or ")].into_iter().filter(|one| !one.is_empty()).chain(clients).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `from 10.0.0.0/8`, or `not from` it
pub fn clients(family: Family, sources: &[(u128, u128)]) -> String {
    // Said by those who are left out, where both ends of the space are in.
    let whole = sources.first().is_some_and(|one| one.0 == 0) && sources.last().map(|one| one.1) == Some(last(family));
    let between = sources.windows(2).map(|pair| (pair[0].1 + 1, pair[1].0 - 1)).collect();
    let (not, list): (&str, Vec<(u128, u128)>) = if whole { ("not ", between) } else { ("", sources.to_vec()) };
    format!("{not}from {}", shortened(list.iter().map(|(first, last)| range(family, *first, *last)).collect()))
}

/// That the address which is shown is one of many.
pub fn kept(listener: &Listener, case: &Case) -> Option<&'static str> {
    let shares = case.fate.shares()?;
    let one = matches!(&listener.places, Places::These(places)
        if matches!(places[..], [Place::Range(first, last) | Place::OwnRange(first, last)] if first == last));
    let keeps = shares.iter().any(|(goal, _)| matches!(goal, Goal::To(None, _)));
    (keeps && !one).then_some("shown for one address; each connection keeps its own")
}

/// How the other ports of a stretch go, where the first is not all.
pub fn moved(listener: &Listener, case: &Case) -> Option<&'static str> {
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
