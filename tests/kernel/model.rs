//! What the reference meaning says that a probe must see: `lbc::meaning`, translated to the laboratory.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use lbc::diagnostic::Diagnostic;
use lbc::ir::Config;
use lbc::ir::hash::Hash6;
use lbc::ir::share::Share;
use lbc::meaning::{Action, Connection, Direction, outcome};
use lbc::program::Program;
use lbc::source::Source;
use lbc::statement::balance::Protocol;
use lbc::trace::Packet;

use crate::net::{Host, PORTS, vip};
use crate::target::Target;
use crate::traffic::{Outcome, Proto};

/// Without a way on: silence or an ICMP error, as the kernel's rate limits have it.
pub const NOWHERE: &str = "(nowhere)";
pub const REFUSED: &str = "(refused)";
pub const DROPPED: &str = "(timed out)";

/// A checked program.
pub struct Model {
    pub config: Config,
}

/// One new connection of the laboratory, before it has a protocol.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    pub proto: Proto,
    pub from: Host,
    /// Where it is bound, if anywhere.
    pub source: Option<IpAddr>,
    pub to: SocketAddr,
}

impl Model {
    /// Reads and checks a program of one file.
    pub fn of(text: &str) -> Self {
        Self::try_of(text).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
    }

    /// As [`Model::of`], for programs that may be wrong.
    pub fn try_of(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut program = Program::default();
        let id = program.sources.add(Source::new("test.lb", "test.lb", text));
        let (file, errors) = lbc::file::parse(program.sources.get(id), id);
        if !errors.is_empty() {
            return Err(errors);
        }
        let items = file.items.len();
        program.files.push(file);
        (0..items).for_each(|index| program.push_order(id, index));
        lbc::resolve::resolve(&program).map(|config| Self { config })
    }

    /// Everything that may become of a connection, with its share.
    pub fn servers(&self, attempt: &Attempt, target: Target) -> Vec<(String, Share)> {
        let connection = Connection {
            protocol: protocol(attempt.proto),
            source: attempt.source(),
            destination: attempt.to.ip(),
            port: attempt.to.port(),
            direction: direction(attempt.from),
        };
        let outcome = outcome(&self.config, &connection, &local_addresses(), hash6(target));
        named(attempt, outcome.shares)
    }
}

/// What actions come to for a connection, with the sum of their shares.
pub fn named(attempt: &Attempt, actions: impl IntoIterator<Item = (Action, Share)>) -> Vec<(String, Share)> {
    let mut servers: Vec<(String, Share)> = Vec::new();
    for (action, share) in actions {
        let server = match action {
            Action::Dnat(address, port) => delivered(attempt.proto, SocketAddr::new(address, port)),
            Action::Redirect(port) => delivered(attempt.proto, SocketAddr::new(lb_address(attempt.to), port)),
            Action::Pass => delivered(attempt.proto, attempt.to),
            Action::Drop => DROPPED.to_owned(),
            Action::Reject => REFUSED.to_owned(),
        };
        match servers.iter_mut().find(|(known, _)| *known == server) {
            Some((_, sum)) => *sum += share,
            None => servers.push((server, share)),
        }
    }
    servers
}

impl Attempt {
    /// The source address that the connection has.
    pub fn source(&self) -> IpAddr {
        let to = self.to.ip();
        let local = local_addresses().iter().any(|net| net.contains(&to)) || to.is_loopback();
        match (self.source, self.from) {
            (Some(source), _) => source,
            (None, Host::Balancer) if local => to,
            (None, from) => from.address(to.is_ipv6()),
        }
    }

    /// Its first packet.
    pub fn packet(&self) -> Packet {
        Packet {
            protocol: protocol(self.proto),
            source: self.source(),
            source_port: None,
            destination: self.to.ip(),
            port: self.to.port(),
            direction: direction(self.from),
        }
    }

    /// Whether an outcome is the expected one, written as [`Model::servers`] writes it.
    pub fn accepts(&self, expected: &str, outcome: &Outcome) -> bool {
        // A sender hears at once that its own output hook has stopped a datagram or a raw packet.
        let not_permitted =
            self.from == Host::Balancer && self.proto != Proto::Tcp && outcome.server() == "(not permitted)";
        match expected {
            NOWHERE => matches!(outcome, Outcome::TimedOut | Outcome::Unreachable(_)),
            REFUSED | DROPPED => outcome.server() == expected || not_permitted,
            server => outcome.server() == server,
        }
    }
}

/// Whether nothing is expected to come back.
pub fn is_silent(expected: &str) -> bool {
    expected == NOWHERE || expected == DROPPED
}

/// How a target hashes IPv6 clients.
pub fn hash6(target: Target) -> Hash6 {
    if target.is_iptables() { Hash6::Bpf } else { Hash6::Jhash }
}

fn protocol(proto: Proto) -> Protocol {
    match proto {
        Proto::Tcp => Protocol::Tcp,
        Proto::Udp => Protocol::Udp,
        Proto::Sctp => Protocol::Sctp,
    }
}

fn direction(from: Host) -> Direction {
    match from {
        Host::Client => Direction::In("cl0".to_owned()),
        Host::Client2 => Direction::In("cl1".to_owned()),
        Host::Backend(_) => Direction::In("be0".to_owned()),
        Host::Balancer => Direction::Out,
    }
}

/// The addresses of the balancer beside loopback.
pub fn local_addresses() -> Vec<IpNet> {
    let vips = [vip::LOCAL, vip::LOCAL6, vip::OTHER_LOCAL, vip::OTHER_LOCAL6];
    let own = ["10.9.0.1", "10.9.1.1", "10.9.2.1", "fd09::1", "fd09:1::1", "fd09:2::1"];
    vips.iter().chain(&own).map(|text| IpNet::from(text.parse::<IpAddr>().expect("an address"))).collect()
}

fn lb_address(to: SocketAddr) -> IpAddr {
    Host::Balancer.address(to.is_ipv6())
}

/// Where routing takes a connection, and whether it is served there.
fn delivered(proto: Proto, to: SocketAddr) -> String {
    let ip = to.ip();
    let is = |text: &str| text.parse() == Ok(ip);
    let backend = (1..=3).map(Host::Backend).find(|host| host.address(ip.is_ipv6()) == ip);
    let host = match backend {
        Some(host) => host,
        None if is(vip::TRANSIT) || is(vip::TRANSIT6) => Host::Backend(3),
        None if is(vip::ROUTED) || is(vip::ROUTED6) => return NOWHERE.to_owned(),
        None if ip.is_loopback() || local_addresses().iter().any(|net| net.contains(&ip)) => Host::Balancer,
        None => panic!("nobody in the laboratory is {ip}"),
    };
    // A raw socket hears every INIT, whatever its port.
    let served = PORTS.contains(&to.port()) || proto == Proto::Sctp;
    if served { format!("{}:{}", host.name(), to.port()) } else { REFUSED.to_owned() }
}
