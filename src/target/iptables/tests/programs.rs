//! Programs to hold the target to: random statements that may overlap, and connections that tell them apart.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::ir::{Config, Family};
use crate::meaning::{Connection, Direction};
use crate::program::Program;
use crate::source::Source;
use crate::statement::balance::Protocol;
use crate::{file, resolve};

pub fn try_config(text: &str) -> Result<Config, String> {
    let mut program = Program::default();
    let id = program.sources.add(Source::new("test.lb", "test.lb", text));
    let (file, errors) = file::parse(program.sources.get(id), id);
    if !errors.is_empty() {
        return Err(format!("{errors:#?}\n{text}"));
    }
    program.files.push(file);
    for index in 0..program.files[0].items.len() {
        program.push_order(id, index);
    }
    resolve::resolve(&program).map_err(|errors| format!("{errors:#?}\n{text}"))
}

pub fn config(text: &str) -> Config {
    try_config(text).unwrap_or_else(|errors| panic!("{errors}"))
}

const SOURCES: [&str; 6] = ["10.20.0.5", "10.21.0.5", "198.51.100.7", "fd20::5", "fd21::5", "2001:db8:1::7"];
const DESTINATIONS: [&str; 14] = [
    "203.0.113.10",
    "203.0.113.11",
    "203.0.113.70",
    "203.0.113.200",
    "192.0.2.1",
    "127.0.0.1",
    "224.0.0.5",
    "255.255.255.255",
    "2001:db8::10",
    "2001:db8::11",
    "2001:db8:2::1",
    "fd00::77",
    "::1",
    "ff02::1",
];
const PORTS: [u16; 9] = [79, 80, 81, 85, 90, 91, 443, 8000, 8003];
const INTERFACES: [&str; 4] = ["eth0", "eth1", "wg0", "lo"];
/// Addresses of the machine in these tests.
pub const LOCAL: [&str; 4] = ["203.0.113.10", "203.0.113.64/28", "2001:db8::10", "fd00::/64"];

pub fn connections() -> Vec<Connection> {
    let address = |text: &&str| text.parse::<IpAddr>().expect("an address");
    let directions = INTERFACES.iter().map(|name| Direction::In((*name).to_owned())).chain([Direction::Out]);
    let directions: Vec<Direction> = directions.collect();
    let mut list = Vec::new();
    for source in SOURCES.iter().map(address) {
        let same = |other: &IpAddr| Family::of(*other) == Family::of(source);
        for destination in DESTINATIONS.iter().map(address).filter(same) {
            for port in PORTS {
                for protocol in Protocol::ALL {
                    for direction in &directions {
                        list.push(Connection { protocol, source, destination, port, direction: direction.clone() });
                    }
                }
            }
        }
    }
    list
}

pub fn statement() -> impl Strategy<Value = String> {
    let protocols = prop_oneof!["tcp", "udp", "tcp,udp", "tcp,udp,sctp"];
    let destination = prop_oneof![
        3 => Just(""),
        1 => Just("local:"),
        2 => Just("*:"),
        2 => Just("203.0.113.10:"),
        1 => Just("203.0.113.0/24:"),
        1 => Just("203.0.113.64/26:"),
        1 => Just("0.0.0.0/0:"),
        1 => Just("127.0.0.1:"),
        1 => Just("{203.0.113.10, 203.0.113.11, [2001:db8::10]}:"),
        1 => Just("{203.0.113.0/25, [2001:db8::]/32, local}:"),
        1 => Just("[2001:db8::10]:"),
        1 => Just("{[::]/0}:"),
    ];
    let ports = prop_oneof![3 => Just("80"), 1 => Just("80,443"), 1 => Just("80-90"), 1 => Just("85-91,443"), 2 => Just("8000-8003"), 1 => Just("11-65535")];
    let by = prop_oneof![
        4 => Just(""),
        1 => Just(" by round-robin"),
        1 => Just(" by source-hash"),
        1 => Just(" by source-hash seed 7 buckets 7"),
        1 => Just(" by source-hash buckets 343"),
    ];
    let from = prop_oneof![
        5 => Just(""),
        1 => Just(" from 10.20.0.0/16, fd20::/64"),
        1 => Just(" from not 10.20.0.0/16"),
        1 => Just(" from fd20::/64, 198.51.100.7"),
        1 => Just(" from 10.0.0.0/8 else drop"),
        1 => Just(" from not 10.20.0.0/16, fd20::/16 else reject"),
    ];
    let on = prop_oneof![5 => Just(""), 1 => Just(" on eth0"), 1 => Just(" on eth1, wg*"), 1 => Just(" on not eth0"), 1 => Just(" on not wg*, wg0, lo")];
    let output = prop_oneof![2 => Just(""), 1 => Just(" output")];
    let backends = prop_oneof![
        2 => Just("a:8080 weight 2, b:8080"),
        1 => Just("a, b weight 3, c"),
        1 => Just("a:81"),
        1 => Just("both weight 0"),
        1 => Just("a:1, b, :9050 weight 2"),
        1 => Just(":9050"),
        1 => Just(":9050, :9051"),
        1 => Just("a:9000-9003, b:7000-7003 weight 2, c:1"),
        1 => Just("nested weight 9, b:82 weight 0, c:83 backup"),
        1 => Just("c:80, d:80 weight 0"),
    ];
    (protocols, destination, ports, by, from, on, output, backends).prop_map(
        |(protocols, destination, ports, by, from, on, output, backends)| {
            format!("balance {protocols} {destination}{ports}{by}{from}{on}{output} -> {backends}\n")
        },
    )
}

const NAMES: &str = "host a = 10.9.1.11, fd09:1::11\nhost b = 10.9.1.12, fd09:1::12\nhost c = 10.9.1.13\n\
                     host d = fd09:1::14\npool both = a:8080, b:8081 weight 2\npool nested = both weight 5, d:90\n";

/// A program of the statements that can stand together.
pub fn program(statements: &[String]) -> Option<(String, Config)> {
    let mut text = NAMES.to_owned();
    let mut config = None;
    for (index, statement) in statements.iter().enumerate() {
        let (head, tail) = statement.split_once(" ->").expect("every statement has an arrow");
        let longer = format!("{text}{head} as s{index} ->{tail}");
        if let Ok(right) = try_config(&longer) {
            text = longer;
            config = Some(right);
        }
    }
    config.map(|config| (text, config))
}
