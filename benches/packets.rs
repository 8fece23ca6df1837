//! What a new connection costs in the kernel, shape by shape: nanoseconds beyond those of connection tracking.
//!
//! `cargo bench --bench packets` (as root) prints a table and writes `benches/results/packets.svg`. Every shape stands in
//! a namespace of its own, with a sender in another. Packets are UDP, and every program and shape is written for UDP;
//! what was translated is dropped on its way through, so that every packet is a new connection, and counted, so that
//! every packet to a service is known to be translated. Samples of all shapes take turns, and medians are told.
//!
//! `-- SIZE…` measures at other numbers of services, `-- quick` up to 1,000.

#![allow(clippy::disallowed_methods, reason = "a benchmark writes its results")]

mod common;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use common::namespace::Namespace;
use common::plot::{Line, plot};
use common::{Random, compile, listener, median, others};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

const BACKENDS: usize = 10;
const ROUNDS: usize = 15;
/// How long a sample lasts, unless it is of too few packets.
const SAMPLE: Duration = Duration::from_millis(40);
const FEWEST: usize = 64;
/// Packets of one system call.
const BATCH: usize = 64;
/// Of kube-proxy's iptables mode, iptables-nft loads no more in a few minutes.
const MOST_FOR_IPTABLES_NFT: usize = 1_000;

/// How rules are loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loader {
    Nft,
    Restore(&'static str),
}

/// The shapes that are compared.
const SHAPES: [(&str, Loader); 10] = [
    ("lbc, iptables-legacy", Loader::Restore("legacy")),
    ("lbc, iptables-nft", Loader::Restore("nft")),
    ("lbc, nft", Loader::Nft),
    ("lbc alike, nft", Loader::Nft),
    ("lbc mixed, iptables-legacy", Loader::Restore("legacy")),
    ("lbc mixed, nft", Loader::Nft),
    ("kube-proxy iptables, legacy", Loader::Restore("legacy")),
    ("kube-proxy iptables, iptables-nft", Loader::Restore("nft")),
    ("kube-proxy nft", Loader::Nft),
    ("flat list, iptables-legacy", Loader::Restore("legacy")),
];

/// The same for another protocol: what is sent is UDP.
fn for_udp(text: String) -> String {
    text.replace("tcp", "udp")
}

fn texts(shape: usize, services: usize, directory: &std::path::Path) -> Vec<String> {
    let target = if SHAPES[shape].1 == Loader::Nft { "nft" } else { "iptables" };
    match shape {
        0..=2 => vec![compile(&for_udp(common::uniform(services, BACKENDS)), directory, &["--target", target])],
        3 => vec![compile(&for_udp(common::alike(services, BACKENDS)), directory, &["--target", target])],
        4 | 5 => vec![compile(&for_udp(common::mixed(services, BACKENDS)), directory, &["--target", target])],
        6 | 7 => vec![for_udp(others::kube_iptables(services, BACKENDS))],
        8 => others::kube_nft(services, BACKENDS).into_iter().map(for_udp).collect(),
        _ => vec![for_udp(others::blog(services, BACKENDS))],
    }
}

/// A balancer with rules, and a socket that sends to it.
struct Lane {
    /// Keeps the rules alive.
    balancer: Namespace,
    socket: OwnedFd,
    /// Packets that were sent.
    sent: u64,
    /// Those to a service's address.
    wanted: u64,
}

/// Connection tracking on, everything dropped on its way through, nothing translated.
const GUARD: &str = "table inet guard {\n  counter translated {}\n  \
                     chain forward { type filter hook forward priority 100; ct status dnat counter name \"translated\"; counter drop; }\n  \
                     chain input { type filter hook input priority 100; counter drop; }\n}\n";
const TRACKED: &str =
    "table inet tracked { chain pre { type nat hook prerouting priority -100; ct state invalid return; }; }\n";

fn tool(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

impl Lane {
    fn new(loader: Loader, texts: &[String]) -> Lane {
        let [balancer, client] =
            ["balancer", "client"].map(|name| Namespace::new(name).expect("root makes namespaces"));
        let ip = |namespace: &Namespace, words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            namespace.run_ok(&mut tool("ip", &words), "").expect("ip works");
        };
        ip(&client, "link set lo up");
        let path = balancer.path();
        ip(&client, &format!("link add c0 type veth peer name b0 netns {path}"));
        ip(&client, "address add 192.0.2.1/24 dev c0");
        ip(&client, "link set c0 up");
        ip(&balancer, "address add 192.0.2.2/24 dev b0");
        ip(&balancer, "link set b0 up");
        ip(&balancer, "link set lo up");
        ip(&balancer, "link add d0 type veth peer name d1");
        ip(&balancer, "link set d1 up");
        ip(&balancer, "link set d0 up");
        ip(&balancer, "route add default dev d0");
        balancer.sysctl(&[("ipv4/ip_forward", "1"), ("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/b0/rp_filter", "0")]);
        let shown = balancer.run_ok(&mut tool("ip", &["-o", "link", "show", "b0"]), "").expect("a link");
        let mac = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("its address");
        ip(&client, &format!("neighbour add 192.0.2.2 lladdr {mac} dev c0 nud permanent"));
        ip(&client, "route add default via 192.0.2.2");
        balancer.run_ok(&mut tool("nft", &["-f", "-"]), GUARD).expect("the guard loads");
        for text in texts {
            let mut command = match loader {
                Loader::Nft => tool("nft", &["-f", "-"]),
                Loader::Restore(variant) => tool(&format!("iptables-{variant}-restore"), &["-w", "5"]),
            };
            balancer.run_ok(&mut command, text).unwrap_or_else(|trouble| {
                let text = trouble.to_string();
                panic!("the rules do not load: {}", &text[..text.len().min(2_000)]);
            });
        }
        let socket = client
            .enter(|| socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None))
            .expect("a socket");
        Lane { balancer, socket, sent: 0, wanted: 0 }
    }

    /// Sends a packet to each of the addresses; the time for one in nanoseconds.
    fn send(&mut self, to: &[Ipv4Addr]) -> f64 {
        let addresses: Vec<libc::sockaddr_in> = to
            .iter()
            .map(|address| libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: 80u16.to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address).to_be() },
                sin_zero: [0; 8],
            })
            .collect();
        let byte = [0u8; 1];
        let mut part = libc::iovec { iov_base: byte.as_ptr().cast_mut().cast(), iov_len: 1 };
        let mut messages: Vec<libc::mmsghdr> = addresses
            .iter()
            .map(|address| {
                // SAFETY: plain old data, for which zeros are a value.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_name = std::ptr::from_ref(address).cast_mut().cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                header.msg_iov = &mut part;
                header.msg_iovlen = 1;
                libc::mmsghdr { msg_hdr: header, msg_len: 0 }
            })
            .collect();
        let start = cpu_time();
        for batch in messages.chunks_mut(BATCH) {
            let mut done = 0;
            while done < batch.len() {
                let rest = &mut batch[done..];
                // SAFETY: the headers, the addresses and the byte that they point to live through the call.
                let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
                assert!(sent > 0, "{}", io::Error::last_os_error());
                done += sent as usize;
            }
        }
        let took = cpu_time() - start;
        self.sent += to.len() as u64;
        took.as_nanos() as f64 / to.len() as f64
    }

    /// Every packet that was sent came to the end of its way: none waits, none was lost. Those to services were translated:
    /// of the mixed program all but the fifth of services that listen on other ports.
    fn check(&self, name: &str, translates: bool) {
        let count = || -> u64 {
            let listed = self.balancer.run_ok(&mut tool("nft", &["list", "table", "inet", "guard"]), "");
            let listed = listed.expect("the guard is there");
            let counts = listed.split("counter packets ").skip(1);
            counts.filter_map(|rest| rest.split(' ').next().and_then(|count| count.parse::<u64>().ok())).sum()
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while count() < self.sent && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(count(), self.sent, "{name}: packets that the balancer saw");
        let listed = self.balancer.run_ok(&mut tool("nft", &["list", "counter", "inet", "guard", "translated"]), "");
        let listed = listed.expect("the counter is there");
        let translated = listed.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        let translated = translated.expect("a number of packets");
        let enough = if name.contains("mixed") { self.wanted * 7 / 10 } else { self.wanted };
        assert!(!translates || translated >= enough, "{name}: {translated} of {} packets were translated", self.wanted);
    }
}

/// What this thread has used of its processor: the kernel handles what is sent between two namespaces right here.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "every thread has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Where packets go.
#[derive(Clone, Copy)]
enum Way {
    /// To the last service but one: the last of the mixed program listens on other ports.
    Hot,
    /// To a random service each.
    Cold,
    /// To addresses that no service has.
    Miss,
}

impl Way {
    const ALL: [(Way, &str); 3] = [(Way::Hot, "hot"), (Way::Cold, "cold"), (Way::Miss, "miss")];

    fn addresses(self, services: usize, count: usize, random: &mut Random) -> Vec<Ipv4Addr> {
        (0..count)
            .map(|_| match self {
                Way::Hot => listener(services.saturating_sub(2)),
                Way::Cold => listener(random.below(services)),
                Way::Miss => Ipv4Addr::from(0x0ac8_0000 + random.below(services) as u32),
            })
            .collect()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = if arguments.iter().any(|argument| argument == "quick") {
            vec![1, 100, 1_000]
        } else {
            vec![1, 100, 1_000, 10_000]
        };
    }
    let mut cpus = CpuSet::new();
    cpus.set(0).expect("the first processor");
    // One processor sends, receives and translates, so that a packet's time is all of its work.
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("this process stays on one processor");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut cold: Vec<Line> =
        SHAPES.iter().map(|(name, _)| Line { name: (*name).to_owned(), points: Vec::new() }).collect();
    println!("| services | shape | hot | cold | miss |\n| --- | --- | --- | --- | --- |");
    for &services in &sizes {
        let mut lanes = vec![(None, Lane::new(Loader::Nft, &[TRACKED.to_owned()]))];
        for (shape, (name, loader)) in SHAPES.iter().enumerate() {
            if *name == "kube-proxy iptables, iptables-nft" && services > MOST_FOR_IPTABLES_NFT {
                continue;
            }
            eprintln!("{services}: {name}");
            lanes.push((Some(shape), Lane::new(*loader, &texts(shape, services, directory.path()))));
        }
        let mut random = Random(services as u64);
        let mut counts = Vec::new();
        for (_, lane) in &mut lanes {
            let first = lane.send(&Way::Cold.addresses(services, FEWEST, &mut random));
            lane.wanted += FEWEST as u64;
            counts.push(((SAMPLE.as_nanos() as f64 / first) as usize).max(FEWEST));
        }
        let mut samples = vec![[const { Vec::new() }; 3]; lanes.len()];
        for _ in 0..ROUNDS {
            for (way, (kind, _)) in Way::ALL.iter().enumerate() {
                for (at, (_, lane)) in lanes.iter_mut().enumerate() {
                    let to = kind.addresses(services, counts[at], &mut random);
                    samples[at][way].push(lane.send(&to));
                    lane.wanted += if matches!(kind, Way::Miss) { 0 } else { to.len() as u64 };
                }
            }
        }
        for (shape, lane) in &lanes {
            lane.check(shape.map_or("the base", |shape| SHAPES[shape].0), shape.is_some());
        }
        let medians: Vec<[f64; 3]> =
            samples.iter_mut().map(|ways| [0, 1, 2].map(|way| median(&mut ways[way]))).collect();
        println!(
            "| {services} | (connection tracking and the sender) | {:.0} | {:.0} | {:.0} |",
            medians[0][0], medians[0][1], medians[0][2]
        );
        for ((shape, _), found) in lanes.iter().zip(&medians).skip(1) {
            let shape = shape.expect("all but the first have a shape");
            let [hot, cold_cost, miss] = [0, 1, 2].map(|way| found[way] - medians[0][way]);
            println!("| {services} | {} | {hot:.0} | {cold_cost:.0} | {miss:.0} |", SHAPES[shape].0);
            cold[shape].points.push((services as f64, cold_cost.max(1.0)));
        }
    }
    let svg = plot("A new connection to a random service", "services", "ns beyond connection tracking", &cold);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/packets.svg");
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results")).expect("a directory");
    std::fs::write(path, svg).expect("room for the plot");
}
