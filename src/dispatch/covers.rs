//! Whether an earlier statement is for all connections of a later one: one question for each of its options.

use std::net::{IpAddr, Ipv4Addr};

use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;

use crate::ir::{Destination, Family, From, Interface, On, Service};

use super::{Hook, loopback, multicast, takes_part};

/// Services that never get a connection of a family, because an earlier one takes each of theirs.
pub struct Shadows<'c> {
    services: &'c [Service],
    family: Family,
    /// Those that were asked for.
    known: HashMap<u32, bool>,
}

impl<'c> Shadows<'c> {
    pub fn new(services: &'c [Service], family: Family) -> Shadows<'c> {
        Shadows { services, family, known: HashMap::new() }
    }

    /// Whether a service was asked for and is one of them.
    pub fn is_hidden(&self, index: u32) -> bool {
        self.known.get(&index) == Some(&true)
    }

    /// Whether a service is one of them.
    pub fn hide(&mut self, index: u32) -> bool {
        let (services, family) = (self.services, self.family);
        *self.known.entry(index).or_insert_with(|| {
            let later = &services[index as usize];
            let above = || services[..index as usize].iter().filter(|one| is_for_all_of(one, later, family));
            let mut parts = later.protocols.iter().flat_map(|&protocol| {
                let of = move |place| later.ports.iter().map(move |&ports| (protocol, place, ports));
                later.destinations(family).flat_map(of)
            });
            parts.all(|(protocol, place, ports)| {
                above().any(|one| {
                    one.protocols.contains(&protocol)
                        && one.destinations(family).any(|own| holds(own, place))
                        && one.ports.iter().any(|own| own.first() <= ports.first() && ports.last() <= own.last())
                })
            })
        })
    }
}

/// Whether every interface, client and direction of the later service is one of the earlier.
fn is_for_all_of(earlier: &Service, later: &Service, family: Family) -> bool {
    takes_part(earlier, family, Hook::Prerouting)
        && (earlier.output || !later.output)
        && on_holds(earlier.on.as_ref(), later.on.as_ref())
        && from_holds(earlier.from.as_ref(), later.from.as_ref(), family)
}

/// Whether one destination holds every address of the other. Neither is for loopback.
pub fn holds(one: Destination, other: Destination) -> bool {
    match (one, other) {
        (Destination::Prefix(one), _) if one.prefix_len() == 0 => true,
        (Destination::Prefix(one), Destination::Prefix(other)) => one.contains(&other),
        (Destination::Prefix(_), Destination::Local | Destination::Any) => false,
        (Destination::Local, Destination::Local) => true,
        (Destination::Local, Destination::Prefix(_) | Destination::Any) => false,
        (Destination::Any, Destination::Local | Destination::Any) => true,
        (Destination::Any, Destination::Prefix(other)) => {
            let family = Family::of_net(other);
            let apart = |special: IpNet| !special.contains(&other) && !other.contains(&special);
            let broadcast = [IpAddr::V4(Ipv4Addr::BROADCAST), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            apart(loopback(family)) && apart(multicast(family)) && !broadcast.iter().any(|own| other.contains(own))
        }
    }
}

/// Whether every interface of the other is one of the first's; `None` is all of them.
pub fn on_holds(one: Option<&On>, other: Option<&On>) -> bool {
    let Some(one) = one else { return true };
    let within = |part: &Interface, whole: &Interface| match (part, whole) {
        (Interface::Exact(part), Interface::Exact(whole)) => part == whole,
        (Interface::Exact(part) | Interface::Prefix(part), Interface::Prefix(whole)) => {
            part.starts_with(whole.as_str())
        }
        (Interface::Prefix(_), Interface::Exact(_)) => false,
    };
    let apart = |one: &Interface, other: &Interface| !within(one, other) && !within(other, one);
    let all = |one: &Interface| within(&Interface::Prefix(String::new()), one);
    match other {
        None => !one.not && one.interfaces.iter().any(all),
        Some(other) => match (one.not, other.not) {
            (false, false) => other.interfaces.iter().all(|part| one.interfaces.iter().any(|own| within(part, own))),
            (false, true) => one.interfaces.iter().any(all),
            (true, false) => other.interfaces.iter().all(|part| one.interfaces.iter().all(|own| apart(part, own))),
            (true, true) => one.interfaces.iter().all(|own| other.interfaces.iter().any(|part| within(own, part))),
        },
    }
}

/// Whether the first is for every client of the other; `else` is for all.
fn from_holds(one: Option<&From>, other: Option<&From>, family: Family) -> bool {
    let Some(one) = one.filter(|from| from.otherwise.is_none() && !from.allows_all(family)) else { return true };
    let Some(other) = other.filter(|from| from.otherwise.is_none()) else { return false };
    let (own, nets) = (one.nets.get(family), other.nets.get(family));
    let inside = |net: &IpNet, all: &[IpNet]| holder(all, net).is_some_and(|whole| whole.contains(net));
    let touches = |net: &IpNet| holder(own, net).is_some_and(|own| own.contains(net) || net.contains(own));
    match (one.not, other.not) {
        (false, false) => nets.iter().all(|net| inside(net, own)),
        (false, true) => false,
        (true, false) => !nets.iter().any(touches),
        (true, true) => own.iter().all(|net| inside(net, nets)),
    }
}

/// Of ascending and disjoint nets, the last that begins where `net` ends or before: the only one that may hold it, and
/// one that touches it if any does.
pub fn holder<'n>(nets: &'n [IpNet], net: &IpNet) -> Option<&'n IpNet> {
    let behind = nets.partition_point(|other| other.network() <= net.broadcast());
    behind.checked_sub(1).map(|place| &nets[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_disjoint_nets_one_can_hold_or_touch_another() {
        let nets: Vec<IpNet> =
            ["10.0.0.0/16", "10.2.0.0/24", "10.2.1.0/24"].map(|net| net.parse().expect("a prefix")).to_vec();
        let touches = |text: &str| {
            let net: IpNet = text.parse().expect("a prefix");
            holder(&nets, &net).is_some_and(|other| other.contains(&net) || net.contains(other))
        };
        for (text, does) in [
            ("10.0.3.0/24", true),
            ("10.1.0.0/16", false),
            ("10.2.0.0/16", true),
            ("10.0.0.0/8", true),
            ("9.0.0.0/8", false),
            ("10.2.1.7/32", true),
            ("10.2.2.0/24", false),
        ] {
            assert_eq!(touches(text), does, "{text}");
        }
    }
}
