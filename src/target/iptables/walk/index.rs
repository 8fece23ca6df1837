//! Which rules of a chain can match a packet: a chain of ten thousand services need not be tested rule by rule.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use smallvec::SmallVec;

use crate::address::number;
use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::{Asked, Protocols, Side};
use crate::target::iptables::dump::{Chain, Match, Rule, RuleProtocol};
use crate::target::iptables::model::Negatable;

/// The rules of one chain that are for one family, as places in the chain, ascending.
#[derive(Debug)]
pub struct Index {
    all: Places,
    /// Of a chain that is long enough for it.
    by_host: Option<ByHost>,
}

/// Places in a chain.
#[derive(Debug)]
enum Places {
    /// The first so many, as with most chains: all there are.
    First(u32),
    Some(Vec<u32>),
}

impl Places {
    /// The first one from a place on.
    fn next(&self, from: u32) -> Option<u32> {
        match self {
            Places::First(count) => (from < *count).then_some(from),
            Places::Some(list) => next(list, from),
        }
    }
}

#[derive(Debug)]
struct ByHost {
    /// Rules whose `-d` or `--ctreplsrc` is one address and not negated, by its number.
    hosts: HashMap<u128, Rules>,
    others: Rules,
    /// The keys of `hosts`, ascending.
    sorted: Vec<u128>,
}

/// Rules that differ in what else they match.
#[derive(Debug)]
enum Rules {
    Few(SmallVec<[u32; 2]>),
    Many(Box<ByPort>),
}

#[derive(Debug)]
struct ByPort {
    /// Rules for one protocol and one port.
    ports: HashMap<(Protocol, u16), OfPort>,
    /// Those that ask conntrack where a connection went first, say.
    others: OfPort,
    /// The keys of `ports`, ascending.
    sorted: Vec<(Protocol, u16)>,
}

/// Rules for one protocol and port: those that filter what was redirected there ask where it went before.
#[derive(Debug)]
enum OfPort {
    Few(Vec<u32>),
    Many(Box<ByOriginal>),
}

#[derive(Debug, Default)]
struct ByOriginal {
    /// Rules whose `--ctorigdst` is one address and not negated.
    hosts: HashMap<IpAddr, Vec<u32>>,
    others: Vec<u32>,
    /// The keys of `hosts` as numbers, ascending.
    sorted: Vec<u128>,
}

/// What of a packet an index looks at. No destination is any.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub protocol: Protocol,
    pub destination: Option<IpAddr>,
    /// The destination before it was translated.
    pub original: IpAddr,
    pub port: u16,
    /// Whether the port moves with the packet's own.
    pub follows: bool,
}

/// Fewer rules are as fast to test as to look up.
const SHORT: usize = 16;

impl Index {
    pub fn new(chain: &Chain<'_>, family: Family) -> Index {
        let own = (0u32..).zip(&chain.rules).filter(|(_, rule)| rule.is_for(family));
        let count = own.clone().count();
        let all = match count == chain.rules.len() {
            true => Places::First(count as u32),
            false => Places::Some(own.clone().map(|(place, _)| place).collect()),
        };
        let by_host = (count > SHORT).then(|| {
            let (mut hosts, mut others): (HashMap<u128, SmallVec<_>>, _) = (HashMap::new(), SmallVec::new());
            for (place, rule) in own {
                match host(rule) {
                    Some(address) => hosts.entry(number(address)).or_default().push(place),
                    None => others.push(place),
                }
            }
            let mut sorted: Vec<u128> = hosts.keys().copied().collect();
            sorted.sort_unstable();
            let hosts = hosts.into_iter().map(|(address, list)| (address, Rules::new(list, chain))).collect();
            ByHost { hosts, others: Rules::new(others, chain), sorted }
        });
        Index { all, by_host }
    }

    /// The first rule from a place on.
    pub fn next(&self, from: u32) -> Option<u32> {
        self.all.next(from)
    }

    /// The first rule from a place on that can match one of the packets.
    pub fn next_for(&self, from: u32, packets: impl Iterator<Item = Key>) -> Option<u32> {
        let Some(by_host) = &self.by_host else { return self.next(from) };
        let mut best = None;
        for key in packets {
            let host = match key.destination {
                Some(destination) => by_host.hosts.get(&number(destination)).and_then(|rules| rules.next(from, key)),
                None if by_host.hosts.is_empty() => None,
                None => return self.next(from),
            };
            best = nearer(best, nearer(host, by_host.others.next(from, key)));
        }
        best
    }

    /// Notes that rules are looked up for this packet.
    pub fn ask(&self, key: Key, asked: &Asked) {
        let Some(by_host) = &self.by_host else { return };
        by_host.others.ask(key, asked);
        if !by_host.hosts.is_empty() || matches!(by_host.others, Rules::Many(_)) {
            asked.backend();
        }
        // Where it is not known, all rules are asked one by one.
        let Some(destination) = key.destination else { return };
        let at = number(destination);
        let next = by_host.sorted.partition_point(|host| *host <= at);
        let rules = by_host.hosts.get(&at);
        asked.hosts(destination, rules.is_some(), by_host.sorted.get(next).copied());
        rules.into_iter().for_each(|rules| rules.ask(key, asked));
    }
}

impl Rules {
    fn new(places: SmallVec<[u32; 2]>, chain: &Chain<'_>) -> Rules {
        if places.len() <= SHORT {
            return Rules::Few(places);
        }
        let (mut ports, mut others): (HashMap<_, Vec<u32>>, _) = (HashMap::new(), Vec::new());
        for place in places {
            match port(&chain.rules[place as usize]) {
                Some(key) => ports.entry(key).or_default().push(place),
                None => others.push(place),
            }
        }
        let mut sorted: Vec<(Protocol, u16)> = ports.keys().copied().collect();
        sorted.sort_unstable();
        let ports = ports.into_iter().map(|(key, list)| (key, OfPort::new(list, chain))).collect();
        Rules::Many(Box::new(ByPort { ports, others: OfPort::new(others, chain), sorted }))
    }

    fn next(&self, from: u32, key: Key) -> Option<u32> {
        match self {
            Rules::Few(list) => next(list, from),
            Rules::Many(by_port) => {
                let own = by_port.ports.get(&(key.protocol, key.port)).and_then(|rules| rules.next(from, key));
                nearer(own, by_port.others.next(from, key))
            }
        }
    }

    fn ask(&self, key: Key, asked: &Asked) {
        let Rules::Many(by_port) = self else { return };
        if let OfPort::Many(by_original) = &by_port.others {
            by_original.ask(key, asked);
        }
        if by_port.ports.is_empty() {
            return;
        }
        asked.protocols(Protocols::ALL);
        if let Some(OfPort::Many(by_original)) = by_port.ports.get(&(key.protocol, key.port)) {
            by_original.ask(key, asked);
        }
        if !key.follows {
            return;
        }
        let ask = |port| asked.port(key.port, port, port);
        if by_port.ports.contains_key(&(key.protocol, key.port)) {
            ask(key.port);
        }
        let above = by_port.sorted.partition_point(|own| *own <= (key.protocol, key.port));
        if let Some((_, port)) = by_port.sorted.get(above).filter(|(protocol, _)| *protocol == key.protocol) {
            ask(*port);
        }
    }
}

impl OfPort {
    fn new(list: Vec<u32>, chain: &Chain<'_>) -> OfPort {
        if list.len() <= SHORT {
            return OfPort::Few(list);
        }
        let mut by_original = ByOriginal::default();
        for place in list {
            match original(&chain.rules[place as usize]) {
                Some(host) => by_original.hosts.entry(host).or_default().push(place),
                None => by_original.others.push(place),
            }
        }
        by_original.sorted = by_original.hosts.keys().map(|host| number(*host)).collect();
        by_original.sorted.sort_unstable();
        OfPort::Many(Box::new(by_original))
    }

    fn next(&self, from: u32, key: Key) -> Option<u32> {
        match self {
            OfPort::Few(list) => next(list, from),
            OfPort::Many(by_original) => {
                let own = by_original.hosts.get(&key.original).and_then(|list| next(list, from));
                nearer(own, next(&by_original.others, from))
            }
        }
    }
}

impl ByOriginal {
    fn ask(&self, key: Key, asked: &Asked) {
        let above = self.sorted.partition_point(|host| *host <= number(key.original));
        asked.hosts(key.original, self.hosts.contains_key(&key.original), self.sorted.get(above).copied());
    }
}

fn nearer(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The one destination that a rule can match: its own, or that of the answers' source, which is the same.
fn host(rule: &Rule<'_>) -> Option<IpAddr> {
    let own = rule.destination.as_ref().filter(|destination| !destination.not);
    own.and_then(|own| own.value.host()).or_else(|| {
        rule.matches.iter().find_map(|one| match one {
            Match::ReplyAddress { not: false, side: Side::Source, net } => net.host(),
            _ => None,
        })
    })
}

/// The one original destination that a rule can match.
fn original(rule: &Rule<'_>) -> Option<IpAddr> {
    rule.matches.iter().find_map(|one| match one {
        Match::OriginalAddress { not: false, side: Side::Destination, net } => net.host(),
        _ => None,
    })
}

/// The one protocol and port that a rule can match.
fn port(rule: &Rule<'_>) -> Option<(Protocol, u16)> {
    let Some(Negatable { not: false, value: RuleProtocol::One(protocol) }) = rule.protocol else { return None };
    rule.matches.iter().find_map(|one| match one {
        Match::Port { not: false, side: Side::Destination, ports } if ports.first == ports.last => {
            Some((protocol, ports.first))
        }
        _ => None,
    })
}

fn next(list: &[u32], from: u32) -> Option<u32> {
    list.get(list.partition_point(|place| *place < from)).copied()
}
