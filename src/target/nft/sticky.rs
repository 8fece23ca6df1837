//! Clients that stay on their backend.
//!
//! As text, a map from clients to backends does it: `update` keeps what the map has of a client and starts its time
//! anew, so that whatever chain a connection has come to, it goes where the map says. Two first connections of one
//! client, at once on two CPUs, get one backend. With `by round-robin` a set of the same clients beside it says who
//! takes no slot.
//!
//! Where the map cannot say it, each backend has a set of its clients, asked in turn before the pick: a test for each
//! backend, and two first connections at once may get two backends, of which the next connections get the first.
//! That is so in JSON, where nft 1.0.6 cannot fill maps; where a backend is no address with a port that all share (or
//! with one of its own, in IPv4: nft 1.0.6 breaks on the other); and with counters, which have to know the backend.
//!
//! Full sets and maps lose stickiness, never connections.

use crate::ir::{Algorithm, Backend, BackendPort, Family};

use super::Format;
use super::model::{Destination, Field, Memory, Name, NewPort, Remember, Remembered, Rule, Statement};
use super::piece::goto;
use super::service::Maker;

/// How the backends of clients are remembered.
pub enum Sticky {
    Off,
    Map(Map),
    /// A set for each backend.
    Sets,
}

/// A map from clients to backends.
#[derive(Clone)]
pub struct Map {
    name: Name,
    data: Remembered,
    /// Behind the map; [`NewPort::Kept`] where its data has it, or no port changes.
    port: NewPort,
    /// The clients in the map, where one that is known must not take a slot.
    known: Option<Name>,
}

impl Sticky {
    /// For these backends, of which at least two differ.
    pub fn new(maker: &mut Maker<'_>, offered: &[Backend]) -> Sticky {
        let Some(timeout) = maker.service.options.sticky else { return Sticky::Off };
        let data = match (maker.format, maker.service.options.counter) {
            (Format::Text, false) => data(maker.family, offered),
            (Format::Text, true) | (Format::Json, _) => None,
        };
        let Some((data, port)) = data else { return Sticky::Sets };
        let algorithm = maker.service.algorithm;
        let mut memory = |suffix: &str, data| {
            let name = maker.named(suffix);
            let timeout = Some(u64::from(timeout));
            maker.made.memories.push(Memory { name: name.clone(), family: maker.family, data, timeout });
            name
        };
        let name = memory("-sticky", data);
        let known = match algorithm {
            Algorithm::RoundRobin => Some(memory("-known", Remembered::Nothing)),
            Algorithm::Random | Algorithm::SourceHash(_) => None,
        };
        Sticky::Map(Map { name, data, port, known })
    }
}

/// What a map has to hold, and the port behind it; `None` where a map cannot say it.
fn data(family: Family, offered: &[Backend]) -> Option<(Remembered, NewPort)> {
    let ports = offered.iter().map(|backend| match backend {
        Backend::Server(_, port) => Some(*port),
        Backend::Local(_) => None,
    });
    let ports: Vec<BackendPort> = ports.collect::<Option<_>>()?;
    let is_fixed = |port: &BackendPort| matches!(port, BackendPort::Fixed(_));
    match ports[0] {
        first if ports.iter().any(|port| *port != first) => {
            (family == Family::V4 && ports.iter().all(is_fixed)).then_some((Remembered::Endpoint, NewPort::Kept))
        }
        BackendPort::Kept => Some((Remembered::Address, NewPort::Kept)),
        BackendPort::Fixed(port) => Some((Remembered::Address, NewPort::Fixed(port))),
        BackendPort::Shifted { .. } => None,
    }
}

impl Maker<'_> {
    /// The rules for clients that are remembered, before the pick.
    pub fn remembered(&mut self, offered: &[Backend]) -> Vec<Rule> {
        match self.remembers() {
            Sticky::Off | Sticky::Map(Map { known: None, .. }) => Vec::new(),
            Sticky::Map(map @ Map { known: Some(known), .. }) => {
                // The map has the client, so that the backend named here counts only where the map was full.
                let mut statements = self.to_map(map, offered[0]);
                statements.insert(
                    0,
                    Statement::Member { key: vec![Field::Source(self.family)], negated: false, set: known.clone() },
                );
                vec![self.rule(statements)]
            }
            Sticky::Sets => {
                let mut rules = Vec::with_capacity(offered.len());
                let mut seen = std::collections::HashSet::new();
                for &backend in offered.iter().filter(|backend| seen.insert(**backend)) {
                    let set = self.named_for("-sticky", backend);
                    let timeout = self.service.options.sticky.map(u64::from);
                    let (family, data) = (self.family, Remembered::Nothing);
                    self.made.memories.push(Memory { name: set.clone(), family, data, timeout });
                    let chain = self.backend(backend);
                    let known = Statement::Member { key: vec![Field::Source(family)], negated: false, set };
                    rules.push(self.rule(vec![known, goto(chain)]));
                }
                rules
            }
        }
    }

    /// The rules of a backend's chain that remember who came to it.
    pub fn remembering(&mut self, backend: Backend) -> Vec<Rule> {
        match self.remembers() {
            Sticky::Off => Vec::new(),
            Sticky::Map(map) => vec![self.rule(self.to_map(map, backend))],
            Sticky::Sets => {
                let (family, memory) = (self.family, self.named_for("-sticky", backend));
                vec![self.rule(vec![Statement::Remember { family, memory, what: Remember::Client }])]
            }
        }
    }

    /// Remembers a client on a backend, if it is on none yet, and sends the connection where it is. Does nothing where
    /// the map is full.
    fn to_map(&self, map: &Map, backend: Backend) -> Vec<Statement> {
        let family = self.family;
        let what = match (map.data, backend) {
            (Remembered::Endpoint, Backend::Server(address, BackendPort::Fixed(port))) => {
                Remember::Endpoint(address, port)
            }
            (_, Backend::Server(address, _)) => Remember::Address(address),
            (_, Backend::Local(_)) => unreachable!("a map holds servers"),
        };
        let mut statements = Vec::with_capacity(4);
        match (map.data, &map.port) {
            (Remembered::Address, NewPort::Kept) => {}
            _ => statements.push(self.protocols()),
        }
        // First: so nobody is known who is not in the map, but for a full one.
        statements.extend(map.known.iter().map(|known| Statement::Remember {
            family,
            memory: known.clone(),
            what: Remember::Client,
        }));
        statements.push(Statement::Remember { family, memory: map.name.clone(), what });
        let to = Destination::Remembered { family, map: map.name.clone(), port: map.port.clone() };
        statements.push(Statement::Dnat { family, to });
        statements
    }
}
