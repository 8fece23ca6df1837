//! What the options of a service mean, beside who gets its connections.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::option::Else;
use crate::option::limit::Unit;
use crate::option::log::MAX_PREFIX_BYTES;
use crate::source::Loc;
use crate::trace::{Count, Rate};

use super::PerFamily;

/// The options that hold, each at its default where nothing is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub source_nat: SourceNat,
    /// How long a client stays on its backend after its last new connection: milliseconds, at least 1.
    pub sticky: Option<u32>,
    pub limit: Option<Limit>,
    pub max_connections: Option<MaxConnections>,
    pub counter: bool,
    pub log: Option<LogPrefix>,
    pub accept: bool,
    /// Where those that are written stand, by keyword; a `default` may have written them.
    pub places: Vec<(&'static str, Loc)>,
}

impl Options {
    /// Where an option is written.
    pub fn place(&self, keyword: &str) -> Option<Loc> {
        self.places.iter().find(|(written, _)| *written == keyword).map(|(_, loc)| *loc)
    }

    /// Whether new connections are limited in number.
    pub fn limits(&self) -> bool {
        self.limit.is_some() || self.max_connections.is_some()
    }

    /// What happens to the surplus of each limit.
    pub fn surplus(&self) -> impl Iterator<Item = Else> {
        let limit = self.limit.map(|limit| limit.otherwise);
        limit.into_iter().chain(self.max_connections.map(|most| most.otherwise))
    }
}

/// The client's address as the backends see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceNat {
    #[default]
    Kept,
    /// An address of this machine, for every connection.
    Masquerade,
    /// An address of this machine, for the clients near a backend; by backend address, ascending.
    Hairpin(PerFamily<Vec<Near>>),
    /// This address; a family without one keeps the client's.
    Address(PerFamily<Option<IpAddr>>),
}

/// The clients that reach a backend without passing this machine on the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    pub backend: IpAddr,
    /// The backend itself, and every declared net that holds it; aggregated: ascending and disjoint.
    pub clients: Vec<IpNet>,
}

/// At most so many new connections in a time, as a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Connections per unit, at least 1; the bucket fills at this rate.
    pub rate: u32,
    pub unit: Unit,
    /// The bucket's size, at least 1: as many as `rate` where nothing is written.
    pub burst: u32,
    /// A bucket for each client, rather than one for the service.
    pub per_source: bool,
    pub otherwise: Else,
}

impl Limit {
    /// Which limit it is.
    pub fn rate(&self) -> Rate {
        let Limit { rate, unit, burst, per_source, otherwise: _ } = *self;
        Rate { rate, unit, burst, per_source }
    }

    /// Seconds after which an unused bucket is full again, rounded up.
    pub fn refill_seconds(&self) -> u64 {
        (u64::from(self.burst) * self.unit.seconds()).div_ceil(u64::from(self.rate))
    }
}

/// At most so many connections at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxConnections {
    /// At least 1.
    pub count: u32,
    pub per_source: bool,
    pub otherwise: Else,
}

impl MaxConnections {
    /// Which limit it is.
    pub fn count(&self) -> Count {
        Count { count: self.count, per_source: self.per_source }
    }
}

/// What stands before a line of the log: at most 29 bytes, no quotes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPrefix(String);

impl LogPrefix {
    /// `None` where it is too long, or holds what no string of the language holds.
    pub fn new(text: &str) -> Option<LogPrefix> {
        let fits = text.len() <= MAX_PREFIX_BYTES as usize && !text.contains('"') && !text.contains(char::is_control);
        fits.then(|| LogPrefix(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
