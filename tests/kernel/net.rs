//! A laboratory of network namespaces: two clients, a balancer, three backends.
//!
//! ```text
//!  client  ──────── cl0 ┌──────────┐
//!  10.9.0.2             │ balancer │ be0 ──── switch ──┬── b1 10.9.1.11
//!  client2 ──────── cl1 └──────────┘                   ├── b2 10.9.1.12
//!  10.9.2.2                                            └── b3 10.9.1.13
//! ```
//!
//! Everything has an IPv6 twin (`fd09:0::2`, `fd09:1::11`, …). The backends answer through the balancer,
//! which is everyone's default route and forwards. The client also owns all of 10.20.0.0/16 and
//! fd20::/64, client2 all of 10.21.0.0/16 and fd21::/64: any of those may be a source address.
//! The backends hang on a bridge in a namespace of its own, so that no bridge hook runs in the balancer.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use tempfile::TempDir;

use crate::available::{self, Start, tool};
use crate::namespace::{Finished, Namespace, Trouble};
use crate::server::Server;
use crate::sys;
use crate::target::Target;

/// The service addresses. `LOCAL` ones belong to the balancer; `ROUTED` is routed to the balancer, which
/// knows no way on; `TRANSIT` belongs to b3 and is forwarded by the balancer as by any router.
pub mod vip {
    pub const LOCAL: &str = "203.0.113.10";
    pub const LOCAL6: &str = "2001:db8:ffff::10";
    pub const OTHER_LOCAL: &str = "203.0.113.11";
    pub const OTHER_LOCAL6: &str = "2001:db8:ffff::11";
    pub const ROUTED: &str = "203.0.113.20";
    pub const ROUTED6: &str = "2001:db8:ffff::20";
    pub const TRANSIT: &str = "203.0.113.30";
    pub const TRANSIT6: &str = "2001:db8:ffff::30";
}

/// The ports that b1, b2, b3 and the balancer itself serve, over TCP and UDP. All others are closed.
pub const PORTS: [u16; 18] =
    [53, 80, 81, 443, 8000, 8001, 8002, 8003, 8080, 8081, 8082, 8083, 9000, 9001, 9002, 9003, 9050, 9051];

/// Source ports of probes, above all served ports.
const FIRST_SOURCE_PORT: u16 = 10_000;

/// One machine of the laboratory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    Client,
    Client2,
    Balancer,
    /// Backend 1, 2 or 3.
    Backend(u8),
}

/// The laboratory; dropping it (also by a panic) removes all of it.
pub struct Lab {
    /// Dropped first: the servers' threads end before the namespaces go.
    servers: Vec<Server>,
    client: Machine,
    client2: Machine,
    balancer: Machine,
    backends: [Machine; 3],
    _switch: Namespace,
    targets: Vec<Target>,
    /// Whether `clear` has tables of iptables-legacy to empty.
    legacy_used: AtomicBool,
    /// The lock of iptables-legacy and other files of this laboratory alone.
    scratch: TempDir,
}

struct Machine {
    namespace: Namespace,
    /// Counts up, so that a new probe is a new connection to conntrack.
    source_port: AtomicU16,
}

/// Starts a [`Lab`] for the test function around it: `let Some(lab) = lab!() else { return };`.
#[macro_export]
macro_rules! lab {
    () => {{
        fn here() {}
        $crate::net::Lab::start(std::any::type_name_of_val(&here))
    }};
}

impl Lab {
    /// The laboratory for the test whose inner function `here` has this type name; see [`lab!`].
    ///
    /// `None`: there is nothing left to do, because the test was skipped (standard error says why) or has
    /// already run in a process of its own inside a user namespace.
    pub fn start(here: &str) -> Option<Self> {
        let path = here.strip_suffix("::here").expect("called through lab!");
        let (_crate, test) = path.split_once("::").expect("a test function lives in a crate");
        match available::prepare(test) {
            Start::Targets(targets) => match Self::build(targets) {
                Ok(lab) => Some(lab),
                Err(trouble) => panic!("cannot build the laboratory: {trouble}"),
            },
            Start::Nothing => None,
        }
    }

    fn build(targets: Vec<Target>) -> Result<Self, Trouble> {
        let io = |error: io::Error| Trouble(error.to_string());
        sys::raise_open_files().map_err(io)?;
        let machine = |name| {
            let namespace = Namespace::new(name).map_err(io)?;
            namespace.sysctl(&QUIET);
            Ok(Machine { namespace, source_port: AtomicU16::new(FIRST_SOURCE_PORT) })
        };
        let switch = Namespace::new("switch").map_err(io)?;
        switch.sysctl(&[("ipv6/conf/default/disable_ipv6", "1")]);
        let mut lab = Self {
            servers: Vec::new(),
            client: machine("client")?,
            client2: machine("client2")?,
            balancer: machine("balancer")?,
            backends: [machine("b1")?, machine("b2")?, machine("b3")?],
            _switch: switch,
            targets,
            legacy_used: AtomicBool::new(false),
            scratch: TempDir::new().map_err(io)?,
        };
        lab.wire()?;
        for host in Host::SERVING {
            lab.serve(host, &PORTS).map_err(io)?;
        }
        Ok(lab)
    }

    fn wire(&self) -> Result<(), Trouble> {
        ip(
            &self._switch,
            &format!(
                "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
                 link set br0 up\n\
                 link add lb type veth peer name be0 netns {}\n\
                 link add b1 type veth peer name eth0 netns {}\n\
                 link add b2 type veth peer name eth0 netns {}\n\
                 link add b3 type veth peer name eth0 netns {}\n\
                 link set lb master br0 up\n\
                 link set b1 master br0 up\n\
                 link set b2 master br0 up\n\
                 link set b3 master br0 up\n",
                self.balancer.namespace.path(),
                self.backends[0].namespace.path(),
                self.backends[1].namespace.path(),
                self.backends[2].namespace.path(),
            ),
        )?;
        let balancer = &self.balancer.namespace;
        balancer.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
        ip(
            balancer,
            &format!(
                "link set lo up\n\
                 link add cl0 type veth peer name eth0 netns {}\n\
                 link add cl1 type veth peer name eth0 netns {}\n\
                 link set cl0 up\nlink set cl1 up\nlink set be0 up\n\
                 addr add 10.9.0.1/24 dev cl0\naddr add fd09:0::1/64 dev cl0 nodad\n\
                 addr add 10.9.2.1/24 dev cl1\naddr add fd09:2::1/64 dev cl1 nodad\n\
                 addr add 10.9.1.1/24 dev be0\naddr add fd09:1::1/64 dev be0 nodad\n\
                 addr add {local}/32 dev lo\naddr add {local6}/128 dev lo nodad\n\
                 addr add {other}/32 dev lo\naddr add {other6}/128 dev lo nodad\n\
                 route add {transit}/32 via 10.9.1.13\nroute add {transit6}/128 via fd09:1::13\n\
                 route add 10.20.0.0/16 via 10.9.0.2\nroute add fd20::/64 via fd09:0::2\n\
                 route add 10.21.0.0/16 via 10.9.2.2\nroute add fd21::/64 via fd09:2::2\n",
                self.client.namespace.path(),
                self.client2.namespace.path(),
                local = vip::LOCAL,
                local6 = vip::LOCAL6,
                other = vip::OTHER_LOCAL,
                other6 = vip::OTHER_LOCAL6,
                transit = vip::TRANSIT,
                transit6 = vip::TRANSIT6,
            ),
        )?;
        for (machine, net, many) in [(&self.client, 0, 20), (&self.client2, 2, 21)] {
            ip(
                &machine.namespace,
                &format!(
                    "{}route add local 10.{many}.0.0/16 dev lo\nroute add local fd{many}::/64 dev lo\n",
                    member(net, 2)
                ),
            )?;
        }
        for (machine, number) in self.backends.iter().zip(11..) {
            let transit = if number == 13 {
                format!("addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n", vip::TRANSIT, vip::TRANSIT6)
            } else {
                String::new()
            };
            ip(&machine.namespace, &format!("{}{transit}", member(1, number)))?;
        }
        Ok(())
    }

    /// The targets whose tools and kernel parts this machine has.
    pub fn targets(&self) -> impl Iterator<Item = Target> + use<> {
        self.targets.clone().into_iter()
    }

    /// Serves further ports on a host (TCP and UDP, both families) until the laboratory goes.
    pub fn serve(&mut self, host: Host, ports: &[u16]) -> io::Result<()> {
        let server = self.namespace(host).enter(|| Server::bind(host.name(), ports))?;
        self.servers.push(server);
        Ok(())
    }

    /// Runs a job on a thread of its own inside a host.
    pub fn enter<T: Send>(&self, host: Host, job: impl FnOnce() -> T + Send) -> T {
        self.namespace(host).enter(job)
    }

    /// Runs a command inside a host.
    pub fn run(&self, host: Host, command: &mut Command, input: &str) -> Result<Finished, Trouble> {
        self.namespace(host).run(command.env(LOCKFILE, self.lockfile()), input)
    }

    /// Runs a command inside a host; a failure is trouble that shows everything.
    pub fn run_ok(&self, host: Host, command: &mut Command, input: &str) -> Result<String, Trouble> {
        self.namespace(host).run_ok(command.env(LOCKFILE, self.lockfile()), input)
    }

    /// Sets `/proc/sys/net/…` values inside a host, for example `("ipv4/conf/all/route_localnet", "1")`.
    pub fn sysctl(&self, host: Host, settings: &[(&str, &str)]) {
        self.namespace(host).sysctl(settings);
    }

    /// A directory of this laboratory alone, removed with it.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Remembers that a target's rules are about to be loaded.
    pub fn note_use(&self, target: Target) {
        if target == Target::IptablesLegacy {
            self.legacy_used.store(true, Ordering::Relaxed);
        }
    }

    pub fn legacy_was_used(&self) -> bool {
        self.legacy_used.load(Ordering::Relaxed)
    }

    fn lockfile(&self) -> PathBuf {
        self.scratch().join("xtables.lock")
    }

    /// A source port that no probe of this host has used for at least 50,000 probes.
    pub fn fresh_port(&self, host: Host) -> u16 {
        let wrap = |port: u16| {
            if port >= 64_999 { FIRST_SOURCE_PORT } else { port + 1 }
        };
        let counter = &self.machine(host).source_port;
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |port| Some(wrap(port)))
            .expect("the update never declines")
    }

    pub fn namespace(&self, host: Host) -> &Namespace {
        &self.machine(host).namespace
    }

    fn machine(&self, host: Host) -> &Machine {
        match host {
            Host::Client => &self.client,
            Host::Client2 => &self.client2,
            Host::Balancer => &self.balancer,
            Host::Backend(number) => &self.backends[usize::from(number) - 1],
        }
    }
}

/// iptables-legacy locks one file for the whole machine unless told otherwise, and an ordinary user may not.
pub const LOCKFILE: &str = "XTABLES_LOCKFILE";

impl Host {
    /// The hosts that run servers.
    pub const SERVING: [Self; 4] = [Self::Backend(1), Self::Backend(2), Self::Backend(3), Self::Balancer];

    /// The name that a server gives in its answers: `b1`, `lb`, ….
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Client2 => "client2",
            Self::Balancer => "lb",
            Self::Backend(1) => "b1",
            Self::Backend(2) => "b2",
            Self::Backend(3) => "b3",
            Self::Backend(other) => panic!("there is no backend {other}"),
        }
    }

    /// The host's own address in the network that it shares with the balancer (for the balancer: be0's).
    pub fn address(self, ipv6: bool) -> IpAddr {
        let (net, host) = match self {
            Self::Client => (0, "2"),
            Self::Client2 => (2, "2"),
            Self::Balancer => (1, "1"),
            Self::Backend(1) => (1, "11"),
            Self::Backend(2) => (1, "12"),
            Self::Backend(3) => (1, "13"),
            Self::Backend(other) => panic!("there is no backend {other}"),
        };
        let text = if ipv6 { format!("fd09:{net}::{host}") } else { format!("10.9.{net}.{host}") };
        text.parse().expect("a well-formed address")
    }
}

/// Settings that keep the kernel from answering late, differently the second time, or by another way.
const QUIET: [(&str, &str); 18] = [
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    // Each refused probe must get its own answer.
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv4/icmp_msgs_burst", "1000000"),
    ("ipv6/icmp/ratelimit", "0"),
    // Clients use addresses of a whole prefix.
    ("ipv4/ip_nonlocal_bind", "1"),
    ("ipv6/ip_nonlocal_bind", "1"),
];

/// `ip -batch` lines of a machine with one interface in the balancer's network number `net`.
fn member(net: u8, host: u8) -> String {
    format!(
        "link set lo up\nlink set eth0 up\n\
         addr add 10.9.{net}.{host}/24 dev eth0\naddr add fd09:{net}::{host}/64 dev eth0 nodad\n\
         route add default via 10.9.{net}.1\nroute add default via fd09:{net}::1\n"
    )
}

fn ip(namespace: &Namespace, batch: &str) -> Result<(), Trouble> {
    namespace.run_ok(tool("ip").args(["-batch", "-"]), batch).map(drop)
}
