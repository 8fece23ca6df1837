//! Lists of backends become trees of weights, one for each family.
//!
//! The recursion is bounded: only lists of a sound [`Shape`](super::nesting::Shape) are expanded.

use crate::diagnostic::{Code, Diagnostic, at};
use crate::endpoint::PortRange;
use crate::ir::{Backend, BackendPort, Body, Family, Group, Member, Node};
use crate::source::{Loc, SourceId};
use crate::statement::backends::{self, Backends, MAX_BACKENDS, Server};

use super::Context;
use super::names::Declaration;
use super::nesting::Shape;

/// The most ports of a shifted range (language section 6).
const MAX_SHIFTED_PORTS: u32 = 4_096;
/// The most backends of a whole program: what a machine of 4 GB can hold.
const MAX_TOTAL_BACKENDS: u64 = 1 << 22;

/// The listener that a list of backends serves.
#[derive(Clone, Copy)]
pub struct Listener<'a> {
    pub ports: &'a [PortRange],
    /// Whether it listens on addresses of this machine.
    pub local: bool,
    pub loc: Loc,
}

/// A port that a pool's reference gives to its members: `web:8080`.
#[derive(Clone, Copy)]
struct Override {
    ports: PortRange,
    loc: Loc,
}

/// One family's tree while it grows.
struct Growth {
    family: Family,
    backends: Vec<Backend>,
    /// An error was recorded; what follows is still checked.
    failed: bool,
}

impl Growth {
    fn leaf(&mut self, backend: Backend, weight: u16) -> Member {
        self.backends.push(backend);
        Member { weight, node: Node::Backend(self.backends.len() as u32 - 1) }
    }
}

impl Context<'_> {
    /// Checks the names of a list, whether or not a service reaches it.
    pub fn check_backends(&mut self, source: SourceId, list: &Backends) {
        for backend in &list.list {
            let Server::Name(span) = backend.server else { continue };
            let (loc, name) = (at(source, span), self.text(source, span));
            match self.names.get(name).cloned() {
                Some((_, Declaration::Host(host))) => self.check_host(&host),
                Some((_, Declaration::Pool(..))) => {
                    let Some(port) = backend.port else { continue };
                    if let Some(inner) = self.shapes.get(name).and_then(|shape| shape.port) {
                        self.error(
                            Diagnostic::error(
                                Code::ContradictoryOptions,
                                at(source, port.span),
                                format!("the pool `{name}` names ports of its own, so none can be given here"),
                            )
                            .here("this port")
                            .label(inner, "a member with a port")
                            .help("leave the port out here, or take the ports out of the pool"),
                        );
                    }
                }
                Some((declared, Declaration::Net(..))) => self.error(
                    Diagnostic::error(
                        Code::UnknownName,
                        loc,
                        format!("`{name}` is a net; a host or a pool is needed here"),
                    )
                    .label(declared, "declared here")
                    .help("a net is a set of clients; list its hosts in a `pool`"),
                ),
                None => {
                    let is_server = |declaration: &Declaration<'_>| !matches!(declaration, Declaration::Net(..));
                    let error = self.unknown_name(loc, "the host or pool", is_server);
                    self.error(error);
                }
            }
        }
    }

    /// Whether a list can be expanded: not too many backends, in it and in all lists together, and no circle.
    pub fn expandable(&mut self, source: SourceId, list: &Backends, shape: &Shape) -> bool {
        if !shape.sound {
            return false;
        }
        self.backends = self.backends.saturating_add(shape.backends);
        let (message, help) = if shape.backends > MAX_BACKENDS as u64 {
            let help = "a pool counts as often as it is listed, at any depth";
            match shape.backends {
                // The sum stopped there.
                u64::MAX => (format!("more than {MAX_BACKENDS} backends in one service"), help),
                sum => (format!("{sum} backends in one service; {MAX_BACKENDS} are the most"), help),
            }
        } else if self.backends > MAX_TOTAL_BACKENDS {
            (
                format!("more than {MAX_TOTAL_BACKENDS} backends in all services together"),
                "compile the services in several programs, each with an `--instance` of its own",
            )
        } else {
            return true;
        };
        self.error(Diagnostic::error(Code::PoolNesting, at(source, list.span), message).help(help));
        false
    }

    /// What a service does in a family. `Err` where an error was recorded; `Ok(None)` where no backend has an address.
    ///
    /// The list is [`Context::expandable`].
    pub fn body(
        &mut self,
        source: SourceId,
        list: &Backends,
        family: Family,
        listener: Listener<'_>,
    ) -> Result<Option<Body>, ()> {
        let mut growth = Growth { family, backends: Vec::with_capacity(list.list.len()), failed: false };
        let members = self.expand(source, list, None, listener, &mut growth);
        if growth.failed {
            return Err(());
        }
        if growth.backends.is_empty() {
            return Ok(None);
        }
        Ok(Some(match members.iter().any(|member| member.weight > 0) {
            true => Body::Balance(Group { backends: growth.backends, members, buckets: Vec::new() }),
            false => Body::Drained(growth.backends),
        }))
    }

    fn expand(
        &mut self,
        source: SourceId,
        list: &Backends,
        port: Option<Override>,
        listener: Listener<'_>,
        growth: &mut Growth,
    ) -> Vec<Member> {
        let mut members = Vec::with_capacity(list.list.len());
        let mut backup = Vec::new();
        let any_backup = list.list.iter().any(|backend| backend.backup);
        for backend in &list.list {
            if let Some(member) = self.member(source, backend, port, listener, growth) {
                members.push(member);
                if any_backup {
                    backup.push(backend.backup);
                }
            }
        }
        // A backup waits while anything beside it that is none still has weight.
        let primary = members.iter().zip(&backup).any(|(member, backup)| !backup && member.weight > 0);
        for (member, backup) in members.iter_mut().zip(backup) {
            if backup && primary {
                member.weight = 0;
            }
        }
        members
    }

    fn member(
        &mut self,
        source: SourceId,
        backend: &backends::Backend,
        port: Option<Override>,
        listener: Listener<'_>,
        growth: &mut Growth,
    ) -> Option<Member> {
        let mut weight = backend.weight.map_or(1, |weight| weight.value);
        let own = backend.port.map(|port| Override { ports: port.value, loc: at(source, port.span) });
        let port = own.or(port);
        let address = match backend.server {
            Server::Address(address, _) => (Family::of(address) == growth.family).then_some(address),
            Server::Local => {
                let port = own.expect("the parser reads `:` only with a port");
                let port = self.port(port, listener, true, growth)?;
                return Some(growth.leaf(Backend::Local(port), weight));
            }
            Server::Name(span) => {
                let name = self.text(source, span);
                weight = self.weights.get(name).copied().unwrap_or(weight);
                match self.names.get(name).cloned() {
                    Some((_, Declaration::Host(host))) => *host.addresses.get(growth.family),
                    Some((declared, Declaration::Pool(_, pool))) => {
                        let members = self.expand(declared.source, &pool.backends, port, listener, growth);
                        if members.is_empty() {
                            return None;
                        }
                        let drained = members.iter().all(|member| member.weight == 0);
                        return Some(Member { weight: if drained { 0 } else { weight }, node: Node::Pool(members) });
                    }
                    Some((_, Declaration::Net(..))) | None => {
                        // Recorded by `check_backends`. Whatever the name should be, its port has to fit.
                        growth.failed = true;
                        if let Some(port) = port {
                            self.port(port, listener, false, growth);
                        }
                        return None;
                    }
                }
            }
        };
        let port = match port {
            Some(port) => self.port(port, listener, false, growth)?,
            None => BackendPort::Kept,
        };
        address.map(|address| growth.leaf(Backend::Server(address, port), weight))
    }

    /// The port that a connection gets, checked against the ports of the listener.
    fn port(
        &mut self,
        written: Override,
        listener: Listener<'_>,
        local: bool,
        growth: &mut Growth,
    ) -> Option<BackendPort> {
        let range = written.ports;
        let same = listener.ports.len() == 1 && listener.ports[0] == range;
        let error = if same && local && listener.local {
            let ports = if range.is_single() { "port" } else { "ports" };
            Diagnostic::error(
                Code::KeptOwnPort,
                written.loc,
                format!("this machine listens on {ports} {range} and would redirect to the very same {ports}"),
            )
            .here(format!("the {ports} that it listens on"))
            .label(listener.loc, "the listener")
            .help("redirect to another port of this machine, or list its address as the destination of the listener")
        } else if range.is_single() {
            return Some(BackendPort::Fixed(range.first()));
        } else if listener.ports.len() != 1 || listener.ports[0].count() != range.count() {
            let listed: Vec<String> = listener.ports.iter().map(PortRange::to_string).collect();
            Diagnostic::error(
                Code::InvalidRange,
                written.loc,
                format!("the backend's range `{range}` has {} ports, and does not fit the listener's", range.count()),
            )
            .here("this range")
            .label(listener.loc, format!("listens on `{}`", listed.join(",")))
            .help("a range is shifted port by port: both need the same number of ports, and the listener no other")
        } else if same && !local {
            return Some(BackendPort::Kept);
        } else if range.count() > MAX_SHIFTED_PORTS {
            Diagnostic::error(
                Code::InvalidRange,
                written.loc,
                format!("a shifted range of {} ports; {MAX_SHIFTED_PORTS} are the most", range.count()),
            )
            .help(match local {
                true => "split the range, and make a statement of each part",
                false => "keep the ports (leave the backend's out), or split the range",
            })
        } else {
            let (listen, first) = (listener.ports[0].first(), range.first());
            return Some(BackendPort::Shifted { listen, first, count: range.count() as u16 });
        };
        self.error(error);
        growth.failed = true;
        None
    }
}
