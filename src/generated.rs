//! Programs for tests: compiled from text, or made of random statements that may overlap, with connections that tell
//! them apart.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::FileFailurePersistence;

use crate::dispatch::owners::{self, Effect};
use crate::ir::hash::Hash6;
use crate::ir::{Config, Family};
use crate::meaning::{self, Connection, Direction};
use crate::program::Program;
use crate::source::Source;
use crate::statement::balance::Protocol;
use crate::trace::{Packet, Trace};
use crate::{file, resolve};

/// Seeds of programs that were wrong once are kept with the tests.
pub fn regressions() -> ProptestConfig {
    let seeds = FileFailurePersistence::SourceParallel("tests/regressions");
    ProptestConfig { failure_persistence: Some(Box::new(seeds)), ..ProptestConfig::default() }
}

/// A text as far as its statements. The error lists what is no statement.
pub fn parse(text: &str) -> Result<Program, String> {
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
    Ok(program)
}

pub fn try_config(text: &str) -> Result<Config, String> {
    resolve::resolve(&parse(text)?).map_err(|errors| format!("{errors:#?}\n{text}"))
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

/// Addresses of the machine that [`connections`] are for.
pub fn local() -> [IpNet; 4] {
    let net = |text: &str| text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().expect("an address")));
    ["203.0.113.10", "203.0.113.64/28", "2001:db8::10", "fd00::/64"].map(net)
}

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

/// The packet that opens a connection.
pub fn packet(connection: &Connection) -> Packet {
    Packet {
        protocol: connection.protocol,
        source: connection.source,
        source_port: None,
        destination: connection.destination,
        port: connection.port,
        direction: connection.direction.clone(),
    }
}

/// Alternatives, each with its weight.
pub type Choice = &'static [(u32, &'static str)];

/// What the parts of a random statement are chosen from. Options start with the blank before them.
pub struct Parts {
    pub protocols: Choice,
    /// With the colon behind.
    pub destinations: Choice,
    pub ports: Choice,
    pub by: Choice,
    pub from: Choice,
    pub on: Choice,
    pub output: Choice,
    pub effects: Choice,
    pub backends: Choice,
}

/// Every part of a statement that a target knows; hosts and pools are those of [`NAMES`].
pub const PARTS: Parts = Parts {
    protocols: &[(1, "tcp"), (1, "udp"), (1, "tcp,udp"), (1, "tcp,udp,sctp")],
    destinations: &[
        (3, ""),
        (1, "local:"),
        (2, "*:"),
        (2, "203.0.113.10:"),
        (1, "203.0.113.0/24:"),
        (1, "203.0.113.64/26:"),
        (1, "0.0.0.0/0:"),
        (1, "127.0.0.1:"),
        (1, "{203.0.113.10, 203.0.113.11, [2001:db8::10]}:"),
        (1, "{203.0.113.0/25, [2001:db8::]/32, local}:"),
        (1, "[2001:db8::10]:"),
        (1, "{[::]/0}:"),
    ],
    ports: &[(3, "80"), (1, "80,443"), (1, "80-90"), (1, "85-91,443"), (2, "8000-8003"), (1, "11-65535")],
    by: &[
        (4, ""),
        (1, " by round-robin"),
        (1, " by source-hash"),
        (1, " by source-hash seed 7 buckets 7"),
        (1, " by source-hash buckets 343"),
    ],
    from: &[
        (5, ""),
        (1, " from 10.20.0.0/16, fd20::/64"),
        (1, " from not 10.20.0.0/16"),
        (1, " from fd20::/64, 198.51.100.7"),
        (1, " from 10.0.0.0/8 else drop"),
        (1, " from not 10.20.0.0/16, fd20::/16 else reject"),
    ],
    on: &[(5, ""), (1, " on eth0"), (1, " on eth1, wg*"), (1, " on not eth0"), (1, " on not wg*, wg0, lo")],
    output: &[(2, ""), (1, " output")],
    effects: &[
        (6, ""),
        (2, " masquerade"),
        (2, " masquerade hairpin"),
        (1, " snat 192.0.2.9, 2001:db8:9::9"),
        (1, " snat 192.0.2.8"),
        (2, " sticky 10m"),
        (1, " limit 5/second"),
        (1, " limit 2/minute burst 9 per source else reject"),
        (1, " max-connections 4 per source"),
        (1, " max-connections 1000 else reject"),
        (1, " counter"),
        (1, " log \"x'y: \""),
        (1, " log \"\""),
        (1, " sticky 1h30s masquerade counter limit 3/hour per source max-connections 7 log"),
        (1, " sticky 5s snat 192.0.2.9 limit 100/second burst 7 else reject counter"),
    ],
    backends: &[
        (2, "a:8080 weight 2, b:8080"),
        (1, "a, b weight 3, c"),
        (1, "a:81"),
        (1, "both weight 0"),
        (1, "a:1, b, :9050 weight 2"),
        (1, ":9050"),
        (1, ":9050, :9051"),
        (1, "a:9000-9003, b:7000-7003 weight 2, c:1"),
        (1, "nested weight 9, b:82 weight 0, c:83 backup"),
        (1, "c:80, d:80 weight 0"),
    ],
};

/// What [`PARTS`] name.
pub const NAMES: &str = "host a = 10.9.1.11, fd09:1::11\nhost b = 10.9.1.12, fd09:1::12\nhost c = 10.9.1.13\n\
                         host d = fd09:1::14\nnet near = 10.20.0.0/16, 10.9.1.0/24, fd09:1::/64\npool both = a:8080, b:8081 weight 2\npool nested = both weight 5, d:90\n";

/// One statement that may overlap with any other.
pub fn statement(parts: &Parts) -> impl Strategy<Value = String> + use<> {
    let one =
        |choice: Choice| Union::new_weighted(choice.iter().map(|(weight, part)| (*weight, Just(*part))).collect());
    let listen = (one(parts.protocols), one(parts.destinations), one(parts.ports));
    let options = (one(parts.by), one(parts.from), one(parts.on), one(parts.output), one(parts.effects));
    (listen, options, one(parts.backends)).prop_map(
        |((protocols, destination, ports), (by, from, on, output, effects), backends)| {
            format!("balance {protocols} {destination}{ports}{by}{from}{on}{output}{effects} -> {backends}\n")
        },
    )
}

/// A program of `names` and of the statements that can stand together, called `s0`, `s1` and so on; `None` where none can.
pub fn program(names: &str, statements: &[String]) -> Option<(String, Config)> {
    let mut text = names.to_owned();
    let mut config = None;
    for (index, statement) in statements.iter().enumerate() {
        let (head, tail) = statement.split_once(" ->").expect("every statement has an arrow");
        let longer = format!("{text}{head} as s{index} ->{tail}");
        let parsed = parse(&longer).unwrap_or_else(|errors| panic!("{errors}"));
        // Statements that repeat a listener are errors of the program; those before them are a program all the same.
        let told = |config: &Config| {
            let told = |family| owners::claims(config, family, Effect::SourceNat, "any").is_ok();
            Family::ALL.into_iter().all(told)
        };
        // Nor can services whose connections no target can tell apart.
        if let Ok(right) = resolve::resolve(&parsed)
            && told(&right)
        {
            text = longer;
            config = Some(right);
        }
    }
    config.map(|config| (text, config))
}

/// What a trace says of who the backends see, where that is not what the program means.
pub fn wrong_source(config: &Config, connection: &Connection, local: &[IpNet], trace: &Trace) -> Option<String> {
    // Which service decides does not hang on how it picks.
    let service = meaning::outcome(config, connection, local, Hash6::Jhash).service?;
    let service = &config.services()[service];
    trace.outcomes.iter().find_map(|outcome| {
        let meant = meaning::source(service, connection, &outcome.action, local);
        let differs = meant != outcome.source;
        differs.then(|| format!("{connection:?}\n  {:?}: {:?} instead of {meant:?}", outcome.action, outcome.source))
    })
}

/// Services of which most have an address each, some a prefix around others with a port of its own from a first one on, and
/// some 1,500 ports from 8000 on. Of every kind of choice, some for a few clients.
pub fn nested(services: u32, port: u32) -> String {
    let address = |number: u32| std::net::Ipv4Addr::from(number).to_string();
    let mut program = String::new();
    for nth in 0..services {
        let own = 0x0a64_0000 + nth;
        let listener = match nth % 10 {
            4 => {
                let length = 12 + nth / 10 % 16;
                let net = own >> (32 - length) << (32 - length);
                format!("{}/{length}:{}", address(net), port + nth)
            }
            9 => format!("{}:{}-{}", address(own), 8000 + nth % 1000, 9500 + nth % 1000),
            _ => format!("{}:80", address(own)),
        };
        let options = match nth % 20 {
            0..12 => "",
            12..15 => " by round-robin",
            15..18 => " by source-hash",
            _ => " from 192.0.2.0/24, 198.51.100.0/24 masquerade",
        };
        let backends: Vec<String> = (0..3)
            .map(|place| format!("{}:8080 weight {}", address(0xac10_0000 + 3 * nth + place), 1 + place))
            .collect();
        program.push_str(&format!("balance tcp {listener} as s{nth}{options} -> {}\n", backends.join(", ")));
    }
    program
}
