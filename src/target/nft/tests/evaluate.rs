//! One connection through a ruleset, for comparison with the reference meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::dispatch::Hook;
use crate::ir::hash::{DIGITS, Hash6, Levels, SourceHash};
use crate::ir::share::Share;
use crate::ir::{Family, Interface};
use crate::meaning::{Action, Connection, Direction};

use super::super::model::{
    AddressType, Chain, Destination, Field, Name, NewPort, Numbers, Pick, Reject, Ruleset, Statement, Value, Verdict,
};

/// The distribution over what happens, ascending.
pub fn evaluate(ruleset: &Ruleset, connection: &Connection, local: &[IpNet]) -> Vec<(Action, Share)> {
    let hook = match connection.direction {
        Direction::In(_) => Hook::Prerouting,
        Direction::Out => Hook::Output,
    };
    let mut walk = Walk { ruleset, connection, local, shares: BTreeMap::new() };
    let whole = Share::new(1u32.into(), 1u32.into());
    match ruleset.chains.iter().find(|chain| chain.hook == Some(hook)) {
        Some(base) => walk.chain(base, whole, 0),
        None => walk.end(Action::Pass, whole),
    }
    walk.shares.into_iter().collect()
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    connection: &'a Connection,
    local: &'a [IpNet],
    shares: BTreeMap<Action, Share>,
}

impl Walk<'_> {
    fn end(&mut self, action: Action, share: Share) {
        *self.shares.entry(action).or_default() += share;
    }

    /// There is nothing but goto, so the end of any chain is the end of the base chain: accept.
    fn chain(&mut self, chain: &Chain, share: Share, depth: u32) {
        assert!(depth <= 15, "the kernel allows 15 chains below a base chain");
        for rule in &chain.rules {
            if self.rule(&rule.statements, &share, depth) {
                return;
            }
        }
        self.end(Action::Pass, share);
    }

    fn goto(&mut self, verdict: &Verdict, share: Share, depth: u32) {
        match verdict {
            Verdict::Drop => self.end(Action::Drop, share),
            Verdict::Return => self.end(Action::Pass, share),
            Verdict::Goto(name) => {
                let ruleset = self.ruleset;
                self.chain(find(ruleset, name), share, depth + 1);
            }
        }
    }

    /// Whether the rule ends the walk.
    fn rule(&mut self, statements: &[Statement], share: &Share, depth: u32) -> bool {
        for statement in statements {
            match statement {
                Statement::Match { field, negated, values } => {
                    let found = values.iter().any(|value| self.matches(*field, value));
                    if found == *negated {
                        return false;
                    }
                }
                Statement::Lookup { key, map } => {
                    let map = self.ruleset.maps.iter().find(|one| one.name == *map).expect("every map exists");
                    assert_eq!(map.key, *key);
                    let hit = |key: &[Value]| map.key.iter().zip(key).all(|(field, value)| self.matches(*field, value));
                    let hits: Vec<_> = map.elements.iter().filter(|element| hit(&element.key)).collect();
                    assert!(hits.len() <= 1, "elements overlap: {hits:#?}");
                    if let Some(element) = hits.first() {
                        self.goto(&element.verdict, share.clone(), depth);
                        return true;
                    }
                    return false;
                }
                Statement::Branch(choice) => {
                    for (verdict, part) in self.picks(choice.pick, &choice.elements, share) {
                        self.goto(&verdict, part, depth);
                    }
                    return true;
                }
                Statement::Dnat { family, to } => {
                    assert_eq!(*family, Family::of(self.connection.destination), "a chain of the other family");
                    return self.dnat(to, share);
                }
                Statement::Redirect(port) => {
                    let Some(port) = self.new_port(port) else { return false };
                    self.end(Action::Redirect(port), share.clone());
                    return true;
                }
                Statement::Reject(Reject::TcpReset | Reject::PortUnreachable) => {
                    self.end(Action::Reject, share.clone());
                    return true;
                }
                Statement::Verdict(verdict) => {
                    self.goto(verdict, share.clone(), depth);
                    return true;
                }
            }
        }
        panic!("a rule that does nothing: {statements:#?}")
    }

    fn dnat(&mut self, to: &Destination, share: &Share) -> bool {
        let kept = self.connection.port;
        match to {
            Destination::One(address, port) => {
                let Some(port) = self.new_port(port) else { return false };
                self.end(Action::Dnat(*address, port), share.clone());
            }
            Destination::Addresses(choice) => {
                for (address, part) in self.picks(choice.pick, &choice.elements, share) {
                    self.end(Action::Dnat(address, kept), part);
                }
            }
            Destination::Endpoints(choice) => {
                for ((address, port), part) in self.picks(choice.pick, &choice.elements, share) {
                    self.end(Action::Dnat(address, port), part);
                }
            }
        }
        true
    }

    fn new_port(&self, port: &NewPort) -> Option<u16> {
        match port {
            NewPort::Kept => Some(self.connection.port),
            NewPort::Fixed(port) => Some(*port),
            NewPort::Mapped { ports, .. } => {
                ports.iter().find(|(old, _)| *old == self.connection.port).map(|(_, new)| *new)
            }
        }
    }

    /// What is picked with which share; the elements have to cover the modulus exactly.
    fn picks<T: Clone>(&self, pick: Pick, elements: &[(Numbers, T)], share: &Share) -> Vec<(T, Share)> {
        let mut next = 0u64;
        for (numbers, _) in elements {
            assert!(u64::from(numbers.first) == next && numbers.first <= numbers.last, "a gap at {next}");
            next = u64::from(numbers.last) + 1;
        }
        assert_eq!(next, u64::from(pick.modulus()));
        match pick {
            Pick::Random { modulus } | Pick::InTurn { modulus } => {
                let part = |size: u32| share * Share::new(size.into(), modulus.into());
                elements.iter().map(|(n, to)| (to.clone(), part(n.last - n.first + 1))).collect()
            }
            Pick::SourceHash { modulus, seed, .. } => {
                assert_eq!(modulus, DIGITS);
                let digit = digit(self.connection.source, seed);
                let hit = elements.iter().find(|(n, _)| (n.first..=n.last).contains(&digit)).expect("covered");
                vec![(hit.1.clone(), share.clone())]
            }
        }
    }

    fn matches(&self, field: Field, value: &Value) -> bool {
        let connection = self.connection;
        let in_family = |family, address: IpAddr| (Family::of(connection.destination) == family).then_some(address);
        let interface = match &connection.direction {
            Direction::In(name) => Some(name.as_str()),
            Direction::Out => None,
        };
        match (field, value) {
            (Field::Family, Value::Family(family)) => Family::of(connection.destination) == *family,
            (Field::Source(family), value) => in_family(family, connection.source).is_some_and(|a| holds(value, a)),
            (Field::Destination(family), value) => {
                in_family(family, connection.destination).is_some_and(|a| holds(value, a))
            }
            (Field::Protocol, Value::Protocol(protocol)) => connection.protocol == *protocol,
            (Field::Port(protocol), Value::Ports(ports)) => {
                connection.protocol == protocol && ports.contains(connection.port)
            }
            (Field::AnyPort, Value::Ports(ports)) => ports.contains(connection.port),
            (Field::Interface, Value::Interface(Interface::Exact(name))) => interface == Some(name),
            (Field::Interface, Value::Interface(Interface::Prefix(prefix))) => {
                interface.is_some_and(|name| name.starts_with(prefix.as_str()))
            }
            (Field::DestinationType, Value::AddressType(AddressType::Local)) => {
                let address = connection.destination;
                address.is_loopback() || self.local.iter().any(|net| net.contains(&address))
            }
            (Field::DestinationType, Value::AddressType(AddressType::Broadcast)) => {
                [[0; 4], [255; 4]].map(IpAddr::from).contains(&connection.destination)
            }
            (Field::ConnectionState, Value::Invalid) | (Field::ConnectionDirection, Value::Reply) => false,
            (field, value) => panic!("{field:?} is never {value:?}"),
        }
    }
}

fn find<'a>(ruleset: &'a Ruleset, name: &Name) -> &'a Chain {
    ruleset.chains.iter().find(|chain| chain.name == *name).expect("every chain exists")
}

fn holds(value: &Value, address: IpAddr) -> bool {
    match value {
        Value::Address(one) => *one == address,
        Value::Net(net) => net.contains(&address),
        Value::Addresses(first, last) => (*first..=*last).contains(&address),
        other => panic!("{other:?} is no address"),
    }
}

/// The digit that a level's hash gives, by way of the frozen buckets: the tests write seeds below 8.
fn digit(client: IpAddr, level_seed: u32) -> u32 {
    let hashes = (0..8).map(|seed| SourceHash { seed, levels: Levels::Three });
    let mut found = hashes.flat_map(|hash| (0..3).map(move |level| (hash, level)));
    let (hash, level) = found.find(|(hash, level)| hash.level_seed(*level) == level_seed).expect("a written seed");
    hash.bucket(client, Hash6::Jhash) / DIGITS.pow(2 - level) % DIGITS
}
