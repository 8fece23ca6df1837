//! Which rules of a chain can match a destination: a chain of ten thousand services need not be tested rule by rule.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use crate::ir::Family;
use crate::survey::{Asked, number};
use crate::target::iptables::dump::{Chain, Rule};

/// The rules of one chain that are for one family, as places in the chain, ascending.
#[derive(Debug)]
pub struct Index {
    all: Vec<u32>,
    /// Of a chain that is long enough for it.
    by_host: Option<ByHost>,
}

#[derive(Debug)]
struct ByHost {
    /// Rules whose `-d` is one address and not negated.
    hosts: HashMap<IpAddr, Vec<u32>>,
    others: Vec<u32>,
    /// The keys of `hosts` as numbers, ascending.
    sorted: Vec<u128>,
}

/// Fewer rules are as fast to test as to look up.
const SHORT: usize = 16;

impl Index {
    pub fn new(chain: &Chain<'_>, family: Family) -> Index {
        let all: Vec<u32> =
            (0u32..).zip(&chain.rules).filter(|(_, rule)| rule.is_for(family)).map(|(place, _)| place).collect();
        let by_host = (all.len() > SHORT).then(|| {
            let (mut hosts, mut others): (HashMap<IpAddr, Vec<u32>>, _) = (HashMap::new(), Vec::new());
            for &place in &all {
                match host(&chain.rules[place as usize]) {
                    Some(address) => hosts.entry(address).or_default().push(place),
                    None => others.push(place),
                }
            }
            let mut sorted: Vec<u128> = hosts.keys().map(|address| number(*address)).collect();
            sorted.sort_unstable();
            ByHost { hosts, others, sorted }
        });
        Index { all, by_host }
    }

    /// The first rule from a place on.
    pub fn next(&self, from: u32) -> Option<u32> {
        next(&self.all, from)
    }

    /// The first rule from a place on that can match one of the destinations; `None` among them is any.
    pub fn next_for(&self, from: u32, destinations: impl Iterator<Item = Option<IpAddr>>) -> Option<u32> {
        let Some(by_host) = &self.by_host else { return self.next(from) };
        let mut best = next(&by_host.others, from);
        for destination in destinations {
            let found = match destination {
                Some(address) => by_host.hosts.get(&address).and_then(|list| next(list, from)),
                None => return self.next(from),
            };
            best = match (best, found) {
                (Some(best), Some(found)) => Some(best.min(found)),
                (one, other) => one.or(other),
            };
        }
        best
    }
}

impl Index {
    /// Notes that rules were looked up by this destination.
    pub fn ask(&self, destination: Option<IpAddr>, asked: &Asked) {
        if let (Some(by_host), Some(destination)) = (&self.by_host, destination) {
            let at = number(destination);
            let next = by_host.sorted.partition_point(|host| *host <= at);
            asked.hosts(destination, by_host.hosts.contains_key(&destination), by_host.sorted.get(next).copied());
        }
    }
}

fn host(rule: &Rule<'_>) -> Option<IpAddr> {
    rule.destination.as_ref().filter(|destination| !destination.not)?.value.host()
}

fn next(list: &[u32], from: u32) -> Option<u32> {
    list.get(list.partition_point(|place| *place < from)).copied()
}
