//! The parity test: what a program means, what its iptables rules do and what its nft rules do is one and the same, in
//! thousands of random programs a run.
//!
//! Each program is lowered with random options, printed, read back and walked for a few connections. The targets have tests
//! of their own that ask fewer programs about many more connections, and about all of them by proof.

use std::net::IpAddr;

use num_traits::ToPrimitive;
use proptest::prelude::*;

use crate::generated::{NAMES, PARTS, config, local, packet, program, regressions, statement, wrong_source};
use crate::ir::hash::Hash6;
use crate::ir::{Config, Family};
use crate::meaning::{Action, Connection, Direction, outcome};
use crate::statement::balance::Protocol;
use crate::target::{Layout, Options, iptables, nft};
use crate::trace::{Machine, Walk};

/// A random address, mostly of those that statements are about or next to them.
fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => prop_oneof![
            4 => any::<u8>().prop_map(|host| IpAddr::from([203, 0, 113, host])),
            2 => (0..4u8).prop_map(|host| IpAddr::from([203, 0, 113, 9 + host])),
            2 => (prop::sample::select(vec![9, 20, 21]), any::<[u8; 2]>())
                .prop_map(|(net, [one, other])| IpAddr::from([10, net, one % 2, other % 16])),
            1 => prop::sample::select(vec![[127, 0, 0, 1], [192, 0, 2, 8], [198, 51, 100, 7], [224, 0, 0, 5]])
                .prop_map(IpAddr::from),
            1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        ]
        .boxed(),
        Family::V6 => {
            let within = |net: [u16; 3]| {
                (0..24u16).prop_map(move |host| IpAddr::from([net[0], net[1], net[2], 0, 0, 0, 0, host]))
            };
            prop_oneof![
                4 => within([0x2001, 0xdb8, 0]),
                1 => within([0x2001, 0xdb8, 2]),
                1 => within([0xfd00, 0, 0]),
                1 => within([0xfd09, 1, 0]),
                2 => within([0xfd20, 0, 0]),
                1 => within([0, 0, 0]),
                1 => any::<[u8; 16]>().prop_map(IpAddr::from),
            ]
            .boxed()
        }
    }
}

fn connection() -> impl Strategy<Value = Connection> {
    let ends = prop::sample::select(&Family::ALL[..]).prop_flat_map(|family| (address(family), address(family)));
    let ports = prop_oneof![
        4 => prop::sample::select(vec![79, 80, 81, 84, 85, 90, 91, 443, 7999, 8000, 8003, 8004]),
        1 => 1..=u16::MAX,
    ];
    let directions = prop::sample::select(vec!["eth0", "eth1", "wg0", "wg", "lo", ""]);
    (ends, ports, prop::sample::select(&Protocol::ALL[..]), directions).prop_map(
        |((source, destination), port, protocol, arrives)| {
            let direction = if arrives.is_empty() { Direction::Out } else { Direction::In(arrives.to_owned()) };
            Connection { protocol, source, destination, port, direction }
        },
    )
}

/// What a connection is to get, or gets: each action with its share.
type Shares = Vec<(Action, f64)>;

fn meant(config: &Config, connection: &Connection, hash6: Hash6) -> Shares {
    let shares = outcome(config, connection, &local(), hash6).shares;
    shares.into_iter().map(|(action, share)| (action, share.to_f64().expect("a share"))).collect()
}

/// The walk of a connection is held against the meaning: shares up to `far`, and who the servers see.
fn hold(config: &Config, connection: &Connection, hash6: Hash6, rules: &dyn Walk, far: f64) -> Result<(), String> {
    let trace = rules.walk(&packet(connection), &Machine { local: local().to_vec(), ..Machine::default() }, false);
    if let Some(wrong) = wrong_source(config, connection, &local(), &trace) {
        return Err(wrong);
    }
    let meant = meant(config, connection, hash6);
    let done: Shares =
        trace.actions().into_iter().map(|(action, share)| (action, share.to_f64().expect("a share"))).collect();
    let same =
        |((action, share), (own, part)): (&(Action, f64), &(Action, f64))| action == own && (share - part).abs() <= far;
    if meant.len() == done.len() && meant.iter().zip(&done).all(same) && trace.unknown.is_empty() {
        return Ok(());
    }
    Err(format!("{connection:?}\n  means {meant:?}\n  gives {done:?}\n  unknown {:?}", trace.unknown))
}

/// Rules of a program are held against what a program means: the same one, but for a test of this test.
fn hold_iptables(
    meaning: &Config,
    lowered: &Config,
    options: &Options,
    connections: &[Connection],
) -> Result<(), String> {
    let Ok(rules) = iptables::lower(lowered, options) else { return Ok(()) };
    let mut text = Vec::new();
    iptables::print_restore(&rules, iptables::Families::Both, iptables::Hooks::Include, &mut text)
        .expect("a vector takes everything");
    let text = String::from_utf8(text).expect("text");
    let dump = iptables::read(&text, iptables::Families::Both).map_err(|errors| format!("{errors:#?}\n{text}"))?;
    let [v4, v6] = Family::ALL.map(|family| iptables::Evaluator::new(&dump, family));
    // The kernel stores 31 bits of each probability on the way.
    let far = 16.0 / f64::from(u32::MAX);
    connections.iter().try_for_each(|connection| {
        let rules = if Family::of(connection.destination) == Family::V4 { &v4 } else { &v6 };
        hold(meaning, connection, Hash6::Bpf, rules, far).map_err(|difference| format!("{difference}\n{text}"))
    })
}

/// As [`hold_iptables`].
fn hold_nft(
    meaning: &Config,
    lowered: &Config,
    options: &Options,
    format: nft::Format,
    connections: &[Connection],
) -> Result<(), String> {
    let rules = nft::lower(lowered, options, format).map_err(|errors| format!("{errors:#?}"))?;
    let mut text = Vec::new();
    match format {
        nft::Format::Text => rules.print_text(&mut text),
        nft::Format::Json => rules.print_json(&mut text),
    }
    .expect("a vector takes everything");
    let text = String::from_utf8(text).expect("text");
    let dump = match format {
        nft::Format::Text => nft::Dump::read_text(&text),
        nft::Format::Json => nft::Dump::read_json(&text),
    };
    let dump = dump.map_err(|error| format!("{error}\n{text}"))?;
    let rules = nft::Evaluator::new(&dump);
    // A sum of floats.
    connections.iter().try_for_each(|connection| {
        hold(meaning, connection, Hash6::Jhash, &rules, 1e-12).map_err(|difference| format!("{difference}\n{text}"))
    })
}

/// A way from a program to what it does.
type Route = fn(&Config, &Config, &Options, &[Connection]) -> Result<(), String>;

const ROUTES: [Route; 3] = [
    hold_iptables,
    |meaning, lowered, options, connections| hold_nft(meaning, lowered, options, nft::Format::Text, connections),
    |meaning, lowered, options, connections| hold_nft(meaning, lowered, options, nft::Format::Json, connections),
];

#[test]
fn rules_of_another_program_are_seen() {
    let with = |statement: &str| config(&format!("{NAMES}balance tcp 80 -> a:8080 weight 2, b:8080\n{statement}\n"));
    let meaning = with("balance tcp 203.0.113.11:81 from 10.20.0.0/16 masquerade -> a, b");
    let to = |source: [u8; 4], destination: [u8; 4], port: u16| Connection {
        protocol: Protocol::Tcp,
        source: source.into(),
        destination: destination.into(),
        port,
        direction: Direction::In("eth0".to_owned()),
    };
    let connections = [to([10, 20, 0, 1], [203, 0, 113, 11], 81), to([10, 21, 0, 1], [203, 0, 113, 11], 81)];
    for wrong in [
        "balance tcp 203.0.113.11:81 from 10.20.0.0/16 masquerade -> a, b weight 2",
        "balance tcp 203.0.113.11:81 from 10.20.0.0/16 -> a, b",
        "balance tcp 203.0.113.11:81 from 10.20.0.0/15 masquerade -> a, b",
        "balance tcp 203.0.113.11:81 from 10.20.0.0/16 else drop masquerade -> a, b",
        "balance tcp 203.0.113.11:81 from 10.20.0.0/16 masquerade -> a, b:82",
    ] {
        for hold in ROUTES {
            let options = Options::default();
            assert_eq!(hold(&meaning, &meaning, &options, &connections), Ok(()));
            assert!(hold(&meaning, &with(wrong), &options, &connections).is_err(), "{wrong} was not seen");
        }
    }
}

/// Programs a run; `PROPTEST_CASES` asks for more.
fn programs() -> u32 {
    ProptestConfig::default().cases.max(5000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: programs(), ..regressions() })]

    #[test]
    fn the_meaning_is_what_iptables_and_nft_do(
        statements in proptest::collection::vec(statement(&PARTS), 1..6),
        layout in prop::sample::select(vec![Layout::Auto, Layout::Linear, Layout::Tree]),
        connections in proptest::collection::vec(connection(), 12),
    ) {
        // nft cannot write `$` in a log prefix.
        let statements: Vec<String> = statements.into_iter().map(|statement| statement.replace('$', "")).collect();
        let Some((text, config)) = program(NAMES, &statements) else { return Ok(()) };
        let options = Options { layout, ..Options::default() };
        let all = ROUTES.iter().try_for_each(|hold| hold(&config, &config, &options, &connections));
        if let Err(difference) = all {
            return Err(TestCaseError::fail(format!("{difference}\n{text}")));
        }
    }
}
