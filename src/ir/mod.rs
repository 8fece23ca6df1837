//! The checked program: valid by construction, because only [`crate::resolve`] can make a [`Config`].

pub mod deal;
pub mod hash;
pub mod options;
pub mod share;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::endpoint::PortRange;
use crate::option::Else;
use crate::source::Loc;
use crate::statement::balance::Protocol;

/// An address family. Meaning is defined for each on its own (language section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    pub fn of_net(net: IpNet) -> Family {
        Family::of(net.addr())
    }

    /// As people write it: `IPv4`, `IPv6`.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// One value for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<T> {
    pub v4: T,
    pub v6: T,
}

impl<T> PerFamily<T> {
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// A whole program: its services in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    files: Vec<String>,
    services: Vec<Service>,
}

impl Config {
    pub(crate) fn new(files: Vec<String>, services: Vec<Service>) -> Config {
        Config { files, services }
    }

    /// First match wins, in this order.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// `file:line` of a service, for comments. Never an absolute path.
    pub fn origin(&self, service: &Service) -> String {
        format!("{}:{}", self.files[service.origin.file as usize], service.origin.line)
    }

    /// `file:line name` of a service, for comments.
    pub fn label(&self, service: &Service) -> String {
        let (file, line) = (&self.files[service.origin.file as usize], service.origin.line.to_string());
        let mut label = String::with_capacity(file.len() + line.len() + service.name.len() + 2);
        for part in [file, ":", &line, " ", &service.name] {
            label.push_str(part);
        }
        label
    }

    /// Whether any service exists in the family.
    pub fn uses(&self, family: Family) -> bool {
        self.services.iter().any(|service| service.body(family).is_some())
    }
}

/// The place of a statement: an index into the config's files, and a line from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub file: u32,
    pub line: u32,
}

/// One `balance` statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique in the program. Written with `as`, or made from protocol and listen part.
    pub name: String,
    pub origin: Origin,
    /// The statement in its source, for errors of the targets.
    pub loc: Loc,
    /// Where the list of backends stands.
    pub backends_loc: Loc,
    /// In source order, without repetition, at least one.
    pub protocols: Vec<Protocol>,
    /// In source order, without repetition, at least one.
    pub destinations: Vec<Destination>,
    /// In source order, at least one.
    pub ports: Vec<PortRange>,
    pub on: Option<On>,
    pub from: Option<From>,
    /// Also for connections that this machine opens.
    pub output: bool,
    pub algorithm: Algorithm,
    /// Nothing but `:port` backends together with `output`: 127.0.0.0/8 and ::1 belong to `local` and `*`.
    pub loopback: bool,
    /// What else the service does with its connections.
    pub options: options::Options,
    pub(crate) bodies: PerFamily<Option<Body>>,
}

impl Service {
    /// What the service does with a family's connections; `None` where it has no part in the family.
    pub fn body(&self, family: Family) -> Option<&Body> {
        self.bodies.get(family).as_ref()
    }

    /// The destinations that can match in a family.
    pub fn destinations(&self, family: Family) -> impl Iterator<Item = Destination> + '_ {
        self.destinations.iter().copied().filter(move |destination| match destination {
            Destination::Local | Destination::Any => true,
            Destination::Prefix(net) => Family::of_net(*net) == family,
        })
    }
}

/// One destination of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Addresses of this machine; without loopback, unless the service is a local forwarder.
    Local,
    /// Every unicast address; without loopback, unless the service is a local forwarder.
    Any,
    /// Every address of the prefix, without exception.
    Prefix(IpNet),
}

impl Destination {
    /// Where it is one.
    pub fn prefix(self) -> Option<IpNet> {
        match self {
            Destination::Prefix(net) => Some(net),
            Destination::Local | Destination::Any => None,
        }
    }
}

/// Interfaces on which a connection has to arrive, or must not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct On {
    pub not: bool,
    /// Sorted, without repetition, at least one.
    pub interfaces: Vec<Interface>,
}

/// An interface name, or the start of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// 1 to 15 bytes.
    Exact(String),
    /// 0 to 15 bytes that the name starts with; 0 is every interface.
    Prefix(String),
}

impl On {
    /// Whether a connection that arrives on `interface` passes.
    pub fn allows(&self, interface: &str) -> bool {
        let listed = self.interfaces.iter().any(|listed| match listed {
            Interface::Exact(name) => name == interface,
            Interface::Prefix(prefix) => interface.starts_with(prefix.as_str()),
        });
        listed != self.not
    }
}

/// The clients that a service is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    pub not: bool,
    /// Both families; aggregated: ascending and disjoint.
    pub nets: PerFamily<Vec<IpNet>>,
    /// What happens to the others; without it they go on to the next statement.
    pub otherwise: Option<Else>,
}

impl From {
    /// Whether a client passes.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.nets.get(Family::of(client)).iter().any(|net| net.contains(&client)) != self.not
    }

    /// Whether every client of the family passes.
    pub fn allows_all(&self, family: Family) -> bool {
        match self.not {
            true => self.nets.get(family).is_empty(),
            false => self.covers(family),
        }
    }

    /// Whether no client of the family passes.
    pub fn allows_none(&self, family: Family) -> bool {
        match self.not {
            true => self.covers(family),
            false => self.nets.get(family).is_empty(),
        }
    }

    fn covers(&self, family: Family) -> bool {
        self.nets.get(family).iter().any(|net| net.prefix_len() == 0)
    }
}

/// How a new connection picks its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Random,
    RoundRobin,
    SourceHash(hash::SourceHash),
}

/// What a service does in one family with the clients it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The family has no backend, but `from … else` makes the statement total: every client is kept out.
    Closed,
    /// The family has these backends, all of weight 0: new connections are rejected, the old ones go on.
    Drained(Vec<Backend>),
    Balance(Group),
}

impl Body {
    /// Every backend in source order, those without a share included.
    pub fn backends(&self) -> &[Backend] {
        match self {
            Body::Closed => &[],
            Body::Drained(backends) => backends,
            Body::Balance(group) => &group.backends,
        }
    }
}

/// The backends of a service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Every backend in source order, those of share 0 included.
    pub backends: Vec<Backend>,
    /// The tree of weights over them; at least one positive weight.
    pub members: Vec<Member>,
    /// With source-hash: for each bucket the index of its backend; else empty.
    pub buckets: Vec<u32>,
}

/// A backend or a pool with its weight among its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The weight that counts: 0 for a drained member, a waiting backup, and a pool of nothing but zeros.
    pub weight: u16,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An index into [`Group::backends`].
    Backend(u32),
    Pool(Vec<Member>),
}

/// A server that gets connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// DNAT to an address.
    Server(IpAddr, BackendPort),
    /// REDIRECT to a port of this machine.
    Local(BackendPort),
}

/// The port that a connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendPort {
    /// The connection's own port; never with [`Backend::Local`].
    Kept,
    Fixed(u16),
    /// Port `listen + n` becomes `first + n`; both ranges have `count` ports, 2 to 4,096. They differ, but
    /// for [`Backend::Local`], which has no kept port.
    Shifted {
        listen: u16,
        first: u16,
        count: u16,
    },
}

impl BackendPort {
    /// The port at the backend of a connection to `port`.
    pub fn apply(self, port: u16) -> u16 {
        match self {
            BackendPort::Kept => port,
            BackendPort::Fixed(fixed) => fixed,
            BackendPort::Shifted { listen, first, .. } => first + (port - listen),
        }
    }
}

impl std::fmt::Display for Backend {
    /// As in a `.lb` file: `192.168.1.10:8080`, `[2001:db8::1]:8080`, `:9050`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = match self {
            Backend::Server(IpAddr::V4(address), port) => {
                write!(f, "{address}")?;
                port
            }
            Backend::Server(IpAddr::V6(address), port) => {
                write!(f, "[{address}]")?;
                port
            }
            Backend::Local(port) => port,
        };
        match port {
            BackendPort::Kept => Ok(()),
            BackendPort::Fixed(port) => write!(f, ":{port}"),
            BackendPort::Shifted { first, count, .. } => write!(f, ":{first}-{}", first + (count - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_knows_when_it_decides_nothing() {
        let net = |text: &str| vec![text.parse().expect("a prefix")];
        let from = |not, v4| From { not, nets: PerFamily { v4, v6: vec![] }, otherwise: None };
        assert!(from(false, net("0.0.0.0/0")).allows_all(Family::V4));
        assert!(from(false, net("0.0.0.0/0")).allows_none(Family::V6));
        assert!(from(true, net("10.0.0.0/8")).allows_all(Family::V6));
        assert!(!from(true, net("10.0.0.0/8")).allows_all(Family::V4));
        assert!(!from(true, net("10.0.0.0/8")).allows_none(Family::V4));
        assert!(from(true, net("0.0.0.0/0")).allows_none(Family::V4));
        assert!(!from(false, net("10.0.0.0/8")).allows_all(Family::V4));
    }
}
