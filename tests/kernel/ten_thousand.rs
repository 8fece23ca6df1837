//! Ten thousand services of ten backends: they load, list and load again, and 20,000 connections find their servers.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::available::tool;
use crate::datagram::{receive, tell_destination};
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::Target;

const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 10;
const CONNECTIONS: u32 = 20_000;
/// None of the laboratory's own servers listens there.
const PORT: u16 = 7080;
/// How many are on their way at a time: fewer than a socket holds.
const AT_ONCE: u32 = 50;

/// A listener in one family, and its servers.
struct Listener {
    first: u128,
    last: u128,
    ports: (u16, u16),
    servers: Vec<IpAddr>,
}

fn v4(number: u32) -> IpAddr {
    Ipv4Addr::from(number).into()
}

fn v6(number: u128) -> IpAddr {
    Ipv6Addr::from(number).into()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The first address of services, and that of their servers; IPv6 has few servers, which all share.
const AT: u32 = 0x0a64_0000;
const AT6: u128 = 0x2001_0db8_0005 << 80;
const TO: u32 = 0xac10_0000;
const TO6: u128 = 0xfd17 << 112;

/// The program, and what it says: every listener in order, of IPv4 and of IPv6.
fn program() -> (String, [Vec<Listener>; 2]) {
    let mut text = String::new();
    let mut listeners = [Vec::new(), Vec::new()];
    for nth in 0..SERVICES {
        let servers: Vec<IpAddr> = (0..BACKENDS).map(|place| v4(TO + nth * BACKENDS + place)).collect();
        let options = match nth % 40 {
            0..34 => "",
            34 | 35 => "by round-robin ",
            36 => "by source-hash ",
            _ => "from 10.9.0.0/24, 10.21.0.0/16 masquerade counter ",
        };
        let own = AT + nth;
        let both = nth % 8 == 0;
        let (listen, first, last, ports) = match nth % 40 {
            // Nets in nets, each with a port of its own.
            4 => {
                let length = 12 + nth / 40 % 16;
                let mask = u32::MAX << (32 - length);
                let port = 1_000 + nth as u16;
                (format!("{}/{length}:{port}", v4(own & mask)), own & mask, own | !mask, (port, port))
            }
            // Ranges of ports across them.
            19 | 39 => {
                let ports = (8_000 + (nth % 1_000) as u16, 9_500 + (nth % 1_000) as u16);
                (format!("{}:{}-{}", v4(own), ports.0, ports.1), own, own, ports)
            }
            _ if both => {
                let _ = writeln!(text, "host v{nth} = {}, {}", v4(own), v6(AT6 + u128::from(nth)));
                (format!("v{nth}:80"), own, own, (80, 80))
            }
            _ => (format!("{}:80", v4(own)), own, own, (80, 80)),
        };
        let mut list: Vec<String> = Vec::new();
        for (place, server) in servers.iter().enumerate() {
            list.push(format!("{server}:{PORT} weight {}", 1 + (nth as usize + place) % 9));
        }
        if listen.starts_with('v') {
            let servers = [v6(TO6 + 1), v6(TO6 + 2)];
            list.extend(servers.iter().map(|server| format!("[{server}]:{PORT}")));
            let at = AT6 + u128::from(nth);
            listeners[1].push(Listener { first: at, last: at, ports, servers: servers.to_vec() });
        }
        let _ = writeln!(text, "balance udp {listen} as s{nth} {options}-> {}", list.join(", "));
        listeners[0].push(Listener { first: first.into(), last: last.into(), ports, servers });
    }
    (text, listeners)
}

/// Where the services' and the servers' addresses lead.
fn routes(lab: &Lab) {
    let add = |host, route: &str| {
        let words = ["route", "add"].into_iter().chain(route.split(' '));
        lab.run_ok(host, tool("ip").args(words), "").expect("a route");
    };
    let server = Host::Backend(1);
    for (net, via) in [("172.16.0.0/12", server.address(false)), ("fd17::/64", server.address(true))] {
        add(server, &format!("local {net} dev lo"));
        add(Host::Balancer, &format!("{net} via {via}"));
    }
}

/// Sends a datagram to each place; who got it, in the order of the places.
fn send(lab: &Lab, places: &[SocketAddr]) -> Vec<Option<IpAddr>> {
    let is_six = places[0].is_ipv6();
    let any: IpAddr = if is_six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let server = lab.enter(Host::Backend(1), || UdpSocket::bind((any, PORT))).expect("a free port");
    let server = OwnedFd::from(server);
    tell_destination(&server, is_six).expect("an option of sockets");
    let client = lab.enter(Host::Client, || UdpSocket::bind((any, lab.fresh_port(Host::Client)))).expect("a free port");
    let mut found = vec![None; places.len()];
    for start in (0..places.len()).step_by(AT_ONCE as usize) {
        let batch = start..(start + AT_ONCE as usize).min(places.len());
        for at in batch.clone() {
            client.send_to(&(at as u32).to_be_bytes(), places[at]).expect("a route to every service");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut missing = batch.len();
        while missing > 0 && Instant::now() < deadline {
            let mut bytes = [0; 4];
            match receive(&server, &mut bytes) {
                Ok(one) => {
                    found[u32::from_be_bytes(bytes) as usize] = Some(one.local);
                    missing -= 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    found
}

/// Numbers that look random, the same in every run.
fn mixed(number: u32) -> u32 {
    let number = (number ^ 61 ^ (number >> 16)).wrapping_mul(9);
    let number = (number ^ (number >> 4)).wrapping_mul(0x27d4_eb2d);
    number ^ (number >> 15)
}

fn check(lab: &Lab, target: Target, listeners: &[Listener], connections: u32) {
    let places: Vec<SocketAddr> = (0..connections)
        .map(|nth| {
            let one = &listeners[mixed(nth) as usize % listeners.len()];
            let port = one.ports.0 + (mixed(nth + 7) % (u32::from(one.ports.1 - one.ports.0) + 1)) as u16;
            // Of a net, an address near its beginning.
            let address = one.first + u128::from(mixed(nth + 11)) % (one.last - one.first + 1).min(1 << 16);
            let address = if one.first <= u128::from(u32::MAX) { v4(address as u32) } else { v6(address) };
            SocketAddr::new(address, port)
        })
        .collect();
    let found = send(lab, &places);
    // Most are found by their address and port alone; an earlier one that is wider gets the connection.
    let key =
        |one: &Listener| (one.first == one.last && one.ports.0 == one.ports.1).then_some((one.first, one.ports.0));
    let exact: HashMap<(u128, u16), usize> =
        listeners.iter().enumerate().filter_map(|(nth, one)| Some((key(one)?, nth))).collect();
    let wide: Vec<usize> = (0..listeners.len()).filter(|&nth| key(&listeners[nth]).is_none()).collect();
    for (place, found) in places.iter().zip(found) {
        let (address, port) = (number(place.ip()), place.port());
        let holds =
            |one: &Listener| one.first <= address && address <= one.last && one.ports.0 <= port && port <= one.ports.1;
        let wide = wide.iter().copied().find(|&nth| holds(&listeners[nth]));
        let first = wide.into_iter().chain(exact.get(&(address, port)).copied()).min();
        let own = &listeners[first.expect("a place of a service")];
        assert!(found.is_some_and(|server| own.servers.contains(&server)), "{target}: {place} came to {found:?}");
    }
}

#[test]
fn twenty_thousand_connections_to_ten_thousand_services_find_their_servers() {
    let Some(lab) = lab!() else { return };
    let (program, [four, six]) = program();
    routes(&lab);
    // JSON says the same as nft's text, which takes a fraction of the time to read.
    for target in lab.targets().filter(|target| *target != Target::NftJson) {
        let rules = target.compile(&program, &["--output-format", "concise"]).expect("a correct program");
        lab.check_fixpoint_at_boot(&rules).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
        check(&lab, target, &four, CONNECTIONS);
        check(&lab, target, &six, CONNECTIONS / 10);
    }
}
