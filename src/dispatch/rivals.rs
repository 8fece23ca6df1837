//! Pairs of services that could both have a connection, found without holding each against all others.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use foldhash::HashMap;
use ipnet::IpNet;

use crate::address::range;
use crate::endpoint::PortRange;
use crate::ir::{Destination, Family, Service};
use crate::statement::balance::Protocol;

/// Visits pairs whose protocols, ports and destinations meet, by their indices: the earlier first, those of a later one
/// in a row and ascending.
pub fn rivals(services: &[&Service], family: Family, mut visit: impl FnMut(u32, u32) -> ControlFlow<()>) {
    let mut known = Known::default();
    let mut earlier = Vec::new();
    for (later, service) in (0u32..).zip(services) {
        let listeners = listeners(service, family);
        earlier.clear();
        listeners.iter().for_each(|listener| known.meet(listener, &mut earlier));
        earlier.sort_unstable();
        earlier.dedup();
        for &earlier in &earlier {
            if visit(earlier, later).is_break() {
                return;
            }
        }
        listeners.iter().for_each(|listener| known.add(listener, later));
    }
}

struct Listener {
    protocol: Protocol,
    ports: PortRange,
    /// `None` is any.
    net: Option<IpNet>,
}

fn listeners(service: &Service, family: Family) -> Vec<Listener> {
    let nets: Vec<Option<IpNet>> = service.destinations(family).map(Destination::prefix).collect();
    let mut list = Vec::with_capacity(nets.len() * service.ports.len() * service.protocols.len());
    for &protocol in &service.protocols {
        for &ports in &service.ports {
            list.extend(nets.iter().map(|&net| Listener { protocol, ports, net }));
        }
    }
    list
}

/// The services of one destination, by port.
#[derive(Default)]
struct Ports {
    single: BTreeMap<(Protocol, u16), Vec<u32>>,
    ranges: Vec<(Protocol, PortRange, u32)>,
}

impl Ports {
    fn add(&mut self, listener: &Listener, index: u32) {
        match listener.ports.is_single() {
            true => self.single.entry((listener.protocol, listener.ports.first())).or_default().push(index),
            false => self.ranges.push((listener.protocol, listener.ports, index)),
        }
    }

    fn meet(&self, listener: &Listener, found: &mut Vec<u32>) {
        let Listener { protocol, ports, .. } = *listener;
        let single = self.single.range((protocol, ports.first())..=(protocol, ports.last()));
        found.extend(single.flat_map(|(_, list)| list));
        let meets = |(other, range, _): &&(Protocol, PortRange, u32)| *other == protocol && range.overlaps(ports);
        found.extend(self.ranges.iter().filter(meets).map(|(.., index)| *index));
    }
}

/// Services by the first and the last address of a prefix.
type ByAddress = BTreeMap<u128, Vec<(u128, u32)>>;

#[derive(Default)]
struct Known {
    /// On any destination.
    broad: Ports,
    /// By the length of a prefix, then its first address.
    nets: BTreeMap<u8, HashMap<u128, Ports>>,
    /// Those on one port.
    single: BTreeMap<(Protocol, u16), ByAddress>,
    ranges: ByAddress,
    /// Everyone, by port.
    all: Ports,
}

impl Known {
    fn add(&mut self, listener: &Listener, index: u32) {
        self.all.add(listener, index);
        let Some(net) = listener.net else { return self.broad.add(listener, index) };
        let (first, last) = range(net);
        let nets = self.nets.entry(net.prefix_len()).or_default();
        nets.entry(first).or_default().add(listener, index);
        let by_address = match listener.ports.is_single() {
            true => self.single.entry((listener.protocol, listener.ports.first())).or_default(),
            false => &mut self.ranges,
        };
        by_address.entry(first).or_default().push((last, index));
    }

    /// Those that share protocol, port and destination with a listener; of prefixes inside of it some that share no port.
    fn meet(&self, listener: &Listener, found: &mut Vec<u32>) {
        let Some(net) = listener.net else { return self.all.meet(listener, found) };
        self.broad.meet(listener, found);
        let (first, last) = range(net);
        for (&length, nets) in self.nets.range(..=net.prefix_len()) {
            let around = IpNet::new(net.addr(), length).expect("no longer than the prefix").trunc();
            if let Some(ports) = nets.get(&range(around).0) {
                ports.meet(listener, found);
            }
        }
        if first == last {
            return;
        }
        let mut inside = |by_address: &ByAddress| {
            let list = by_address.range(first..=last).flat_map(|(_, list)| list);
            found.extend(list.filter(|(end, _)| *end <= last).map(|(_, index)| *index));
        };
        let Listener { protocol, ports, .. } = *listener;
        self.single.range((protocol, ports.first())..=(protocol, ports.last())).for_each(|(_, one)| inside(one));
        inside(&self.ranges);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_that_shares_a_connection_is_visited_once() {
        let places = ["10.1.2.3", "10.1.0.0/16", "10.1.2.0/24", "10.0.0.0/8", "local", "*", "10.1.2.4", "0.0.0.0/0"];
        let ports = ["80", "80-90", "81", "1-65535", "443,80", "85-443"];
        let protocols = ["tcp", "udp", "tcp,udp"];
        let mut text = String::from("host a = 10.9.9.9\n");
        for nth in 0..120 {
            // Places, ports and protocols go round at different speeds.
            let (place, ports, protocol) = (places[nth * 5 % 8], ports[nth / 8 % 6], protocols[nth / 3 % 3]);
            text.push_str(&format!("balance {protocol} {place}:{ports} from 192.0.2.{nth} -> a:1\n"));
        }
        let config = crate::generated::config(&text);
        let services: Vec<&Service> = config.services().iter().collect();
        let meets = |one: &Service, other: &Service| {
            listeners(one, Family::V4).iter().any(|one| {
                listeners(other, Family::V4).iter().any(|other| {
                    let touch = match (one.net, other.net) {
                        (Some(one), Some(other)) => one.contains(&other) || other.contains(&one),
                        (None, _) | (_, None) => true,
                    };
                    one.protocol == other.protocol && one.ports.overlaps(other.ports) && touch
                })
            })
        };
        let mut found = Vec::new();
        rivals(&services, Family::V4, |earlier, later| {
            found.push((later, earlier));
            ControlFlow::Continue(())
        });
        assert!(found.is_sorted_by(|one, next| one < next));
        let all = (0..services.len()).flat_map(|later| (0..later).map(move |earlier| (later, earlier)));
        let wanted: Vec<(u32, u32)> = all
            .filter(|&(later, earlier)| meets(services[earlier], services[later]))
            .map(|(later, earlier)| (later as u32, earlier as u32))
            .collect();
        found.retain(|&(later, earlier)| meets(services[earlier as usize], services[later as usize]));
        assert_eq!(found, wanted);
        assert!(wanted.len() > 1_000 && wanted.len() < 120 * 119 / 2);
    }
}
