//! The proof of a text: every program passes it as text and as JSON, and no broken ruleset does.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{LAYOUTS, difference, overlap, writable};
use crate::endpoint::PortRange;
use crate::generated::{NAMES, config, program};
use crate::ir::{Config, Interface};
use crate::statement::balance::Protocol;
use crate::target::nft::model::{
    AddressType, Choice, Destination, Element, Field, NewPort, Numbers, Pick, Reject, Seat, Statement, Value, Verdict,
    VerdictMap,
};
use crate::target::nft::{Dump, Evaluator, Format, Ruleset, lower, prove_json, prove_text};
use crate::target::{Layout, Options};
use crate::validate::tests::{Dice, check_horizon};
use crate::validate::{Coverage, Flaw};

pub fn text(ruleset: &Ruleset) -> String {
    let mut text = Vec::new();
    ruleset.print_text(&mut text).expect("a vector takes everything");
    String::from_utf8(text).expect("text")
}

pub fn json(ruleset: &Ruleset) -> String {
    let mut json = Vec::new();
    ruleset.print_json(&mut json).expect("a vector takes everything");
    String::from_utf8(json).expect("text")
}

fn lowered(config: &Config) -> Ruleset {
    lowered_as(config, Layout::Linear)
}

fn lowered_as(config: &Config, layout: Layout) -> Ruleset {
    lower(config, &Options { layout, ..Options::default() }, Format::Text).expect("a correct program")
}

fn prove_both(config: &Config, ruleset: &Ruleset) -> Result<Coverage, Flaw> {
    prove_json(config, &json(ruleset))?;
    prove_text(config, &text(ruleset))
}

/// Programs whose services stand in each other's way, and what they are about.
const PROGRAMS: [(&str, &str); 7] = [
    ("first", include_str!("../../../../tests/examples/first.lb")),
    ("shop", include_str!("../../../../tests/examples/shop.lb")),
    ("dns", include_str!("../../../../tests/examples/dns.lb")),
    ("canary", include_str!("../../../../tests/examples/canary.lb")),
    ("port-forward", include_str!("../../../../tests/examples/port-forward.lb")),
    ("local-ports", include_str!("../../../../tests/examples/local-ports.lb")),
    ("mutated", MUTATED),
];

#[test]
fn every_example_is_proven() {
    for (name, source) in PROGRAMS {
        let config = config(source);
        for layout in LAYOUTS {
            let ruleset = lowered_as(&config, layout);
            let coverage = prove_both(&config, &ruleset).unwrap_or_else(|flaw| panic!("{name}: {flaw:#?}"));
            assert!(coverage.packets > 25, "{name}: {coverage:?}");
        }
    }
}

#[test]
fn every_bucket_of_the_largest_hash_is_proven() {
    let config =
        config("balance tcp 80 by source-hash buckets 343 -> 10.9.1.11, 10.9.1.12 weight 2, [fd09::1], [fd09::2]\n");
    for layout in LAYOUTS {
        prove_both(&config, &lowered_as(&config, layout)).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    }
}

/// Hosts of their own, one after the other or apart, and as many on one address.
#[test]
fn the_questions_are_as_many_as_the_services() {
    let hosts = |count: u32, step: u32| -> String {
        let one = |nth: u32| format!("balance tcp {}:80 -> 10.0.0.1:8080\n", Ipv4Addr::from(0x0a64_0000 + nth * step));
        (0..count).map(one).collect()
    };
    for step in [1, 7] {
        let packets = |count: u32| {
            let config = config(&hosts(count, step));
            prove_text(&config, &text(&lowered(&config))).unwrap_or_else(|flaw| panic!("{flaw:#?}")).packets
        };
        let (few, many) = (packets(100), packets(800));
        assert!(many < 9 * few, "{step}: {few} {many}");
    }
    let ports: String = (1..=300u16).map(|port| format!("balance tcp 10.0.0.9:{} -> 10.0.0.1\n", 2 * port)).collect();
    let config = config(&ports);
    let coverage = prove_text(&config, &text(&lowered(&config))).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    assert!(coverage.packets < 3000, "{coverage:?}");
    let own: String = (1..=300u16).map(|port| format!("balance tcp {} -> 10.0.0.1\n", 2 * port)).collect();
    let config = super::config(&own);
    let coverage = prove_text(&config, &text(&lowered(&config))).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    assert!(coverage.cost < 1_000_000, "{coverage:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..crate::generated::regressions() })]

    #[test]
    fn answers_hold_as_far_as_they_say(
        statements in proptest::collection::vec(writable(), 1..5),
        dice in proptest::collection::vec(any::<Dice>(), 40),
    ) {
        let Some((source, config)) = program(NAMES, &statements) else { return Ok(()) };
        for layout in LAYOUTS {
            let options = Options { layout, ..Options::default() };
            let Ok(ruleset) = lower(&config, &options, Format::Text) else { return Ok(()) };
            let text = text(&ruleset);
            let dump = Dump::read_text(&text).expect("own rules");
            let rules = Evaluator::new(&dump);
            for dice in &dice {
                if let Err(difference) = check_horizon(&rules, dice) {
                    return Err(TestCaseError::fail(format!("{difference}\n{source}\n{text}")));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..crate::generated::regressions() })]

    #[test]
    fn every_random_program_is_proven(statements in proptest::collection::vec(writable(), 1..4)) {
        let Some((source, config)) = program(NAMES, &statements) else { return Ok(()) };
        for layout in LAYOUTS {
            let ruleset = lowered_as(&config, layout);
            match prove_both(&config, &ruleset) {
                Ok(_) | Err(Flaw::TooLarge) => {}
                Err(flaw) => return Err(TestCaseError::fail(format!("{flaw:#?}\n{source}\n{}", text(&ruleset)))),
            }
        }
    }

    #[test]
    fn a_random_change_of_a_random_program_is_seen_or_changes_nothing(
        statements in proptest::collection::vec(writable(), 1..3),
        choice in any::<prop::sample::Index>(),
        layout in prop::sample::select(&LAYOUTS[..]),
    ) {
        let Some((source, config)) = program(NAMES, &statements) else { return Ok(()) };
        let ruleset = lowered_as(&config, layout);
        let mutants = mutants(&ruleset);
        let (what, mutant) = &mutants[choice.index(mutants.len())];
        if prove_text(&config, &text(mutant)).is_ok()
            && let Some(difference) = difference(&config, mutant)
        {
            let text = text(mutant);
            return Err(TestCaseError::fail(format!("{what} was not caught\n{difference}\n{source}\n{text}")));
        }
    }
}

/// A program in which every rule matters.
const MUTATED: &str = "\
host a = 192.168.1.10, fd00::10
host b = 192.168.1.11, fd00::11
host c = 192.168.1.12, fd00::12
balance tcp 80 -> a:8080 weight 2, b:8080, c:8080
balance tcp 203.0.113.0/24:443 from 10.0.0.0/8, 172.16.0.0/12 else reject -> a, b weight 3
balance tcp 203.0.113.7:80 -> b:9
balance udp [2001:db8::/48]:8000-8010 by round-robin on eth0 -> a, b weight 2
balance udp 53 by source-hash buckets 7 output -> a, b
balance tcp 81 -> a weight 0
balance tcp 82 from not 192.0.2.0/24 else drop -> a:9000, b:9000
balance tcp *:90-93 on wg* -> a:9090-9093, b:7
balance udp *:90 -> :9091, b
";

/// As [`MUTATED`], for the shape of large programs.
const MUTATED_LARGE: &str = "\
host a = 192.168.1.10, fd00::10
host b = 192.168.1.11, fd00::11
host c = 192.168.1.12
balance tcp,udp {203.0.113.9, [2001:db8::9]}:80 -> a weight 2, b:8081, c:8081
balance tcp 203.0.113.9:82 by source-hash buckets 7 -> b, c:1
balance tcp,udp 203.0.113.9:84 by round-robin -> b:1 weight 3, c:1 weight 2
balance tcp 203.0.113.10:80 -> c
balance udp 203.0.113.10:80 from 10.0.0.0/8, 192.0.2.7 -> a weight 2, c
balance tcp 203.0.113.10:8000-8003 on eth0, wg* -> a:9000-9003, c:7
";

/// Rulesets that differ in one thing, with what was done.
fn mutants(ruleset: &Ruleset) -> Vec<(String, Ruleset)> {
    let mut all = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Ruleset)| {
        let mut mutant = ruleset.clone();
        change(&mut mutant);
        // The kernel refuses elements that overlap.
        if mutant != *ruleset && !mutant.maps.iter().any(overlaps) {
            all.push((what, mutant));
        }
    };
    for (at, map) in ruleset.turns.iter().enumerate() {
        for (turn, old) in map.turns.iter().enumerate() {
            for new in map.turns.iter().chain([&Verdict::Drop]).filter(|new| *new != old) {
                let what = format!("turn {turn} of {} leads elsewhere", map.name);
                add(what, &|mutant| mutant.turns[at].turns[turn] = new.clone());
            }
        }
    }
    for (at, map) in ruleset.maps.iter().enumerate() {
        for nth in 0..map.elements.len() {
            let name = &map.name;
            if map.elements.len() > 1 {
                add(format!("{name} without element {nth}"), &|mutant| {
                    mutant.maps[at].elements.remove(nth);
                });
                let other = (nth + 1) % map.elements.len();
                add(format!("{name}: verdicts of {nth} and {other} swapped"), &|mutant| {
                    let elements = &mut mutant.maps[at].elements;
                    let verdict = elements[nth].verdict.clone();
                    elements[nth].verdict = std::mem::replace(&mut elements[other].verdict, verdict);
                });
            }
            for verdict in [Verdict::Drop, Verdict::Return] {
                add(format!("{name}: element {nth} is {verdict:?}"), &|mutant| {
                    mutant.maps[at].elements[nth].verdict = verdict.clone();
                });
            }
            for part in 0..map.key.len() {
                for value in others(&map.elements[nth].key[part]) {
                    add(format!("{name}: element {nth} has {value:?}"), &|mutant| {
                        mutant.maps[at].elements[nth].key[part] = value.clone();
                        mutant.maps[at].interval = true;
                    });
                }
            }
        }
    }
    for (at, map) in ruleset.servers.iter().enumerate() {
        for nth in 0..map.elements.len() {
            let name = &map.name;
            if map.elements.len() > 1 {
                add(format!("{name} without server {nth}"), &|mutant| {
                    mutant.servers[at].elements.remove(nth);
                });
                let other = (nth + 1) % map.elements.len();
                add(format!("{name}: servers {nth} and {other} swapped"), &|mutant| {
                    let elements = &mut mutant.servers[at].elements;
                    let to = elements[nth].to;
                    elements[nth].to = std::mem::replace(&mut elements[other].to, to);
                });
            }
            add(format!("{name}: server {nth} has another address"), &|mutant| {
                let to = &mut mutant.servers[at].elements[nth].to;
                *to = match *to {
                    Seat::Endpoint(address, port) => Seat::Endpoint(next(address), port),
                    Seat::Address(address) => Seat::Address(next(address)),
                    Seat::Port(port) => Seat::Port(port),
                };
            });
            add(format!("{name}: server {nth} has another port"), &|mutant| {
                let to = &mut mutant.servers[at].elements[nth].to;
                *to = match *to {
                    Seat::Endpoint(address, port) => Seat::Endpoint(address, port ^ 1),
                    Seat::Address(address) => Seat::Address(address),
                    Seat::Port(port) => Seat::Port(port ^ 1),
                };
            });
            add(format!("{name}: server {nth} is for another listener"), &|mutant| {
                mutant.servers[at].elements[nth].port ^= 1;
            });
        }
    }
    for (at, set) in ruleset.sets.iter().enumerate() {
        for nth in 0..set.elements.len() {
            let name = &set.name;
            if set.elements.len() > 1 {
                add(format!("{name} without element {nth}"), &|mutant| {
                    mutant.sets[at].elements.remove(nth);
                });
            }
            for value in others(&set.elements[nth][0]) {
                add(format!("{name}: element {nth} has {value:?}"), &|mutant| {
                    mutant.sets[at].elements[nth][0] = value.clone();
                    mutant.sets[at].interval = true;
                });
            }
        }
    }
    for (at, map) in ruleset.ports.iter().enumerate() {
        for nth in 0..map.ports.len() {
            add(format!("{}: port {nth} is another", map.name), &|mutant| mutant.ports[at].ports[nth].1 ^= 1);
        }
    }
    for (at, chain) in ruleset.chains.iter().enumerate() {
        for (nth, rule) in chain.rules.iter().enumerate() {
            let name = format!("{} rule {nth}", chain.name);
            add(format!("{name} gone"), &|mutant| {
                mutant.chains[at].rules.remove(nth);
            });
            if nth + 1 < chain.rules.len() {
                add(format!("{name} swapped with the next"), &|mutant| mutant.chains[at].rules.swap(nth, nth + 1));
            }
            for (step, statement) in rule.statements.iter().enumerate() {
                if rule.statements.len() > 1 && step + 1 < rule.statements.len() {
                    add(format!("{name} without statement {step}"), &|mutant| {
                        mutant.chains[at].rules[nth].statements.remove(step);
                    });
                }
                for other in changed(statement) {
                    add(format!("{name}: {statement:?} is {other:?}"), &|mutant| {
                        mutant.chains[at].rules[nth].statements[step] = other.clone();
                    });
                }
            }
        }
    }
    all
}

fn overlaps(map: &VerdictMap) -> bool {
    let both = |one: &Element, other: &Element| one.key.iter().zip(&other.key).all(|(one, other)| overlap(one, other));
    map.elements.iter().enumerate().any(|(place, one)| map.elements[..place].iter().any(|other| both(one, other)))
}

/// Values that differ a little.
fn others(value: &Value) -> Vec<Value> {
    let mut list = near(value);
    list.retain(|other| other != value);
    list
}

fn near(value: &Value) -> Vec<Value> {
    let range = |first, last| PortRange::new(first, last).map(Value::Ports);
    match value {
        Value::Ports(ports) => {
            let (first, last) = (ports.first(), ports.last());
            let wider =
                [first.checked_sub(1).and_then(|first| range(first, last)), range(first, last.saturating_add(1))];
            let narrower = [range(first + u16::from(first < last), last), range(first, last - u16::from(first < last))];
            wider.into_iter().chain(narrower).flatten().collect()
        }
        Value::Net(net) => {
            let around = |length: Option<u8>| IpNet::new(net.addr(), length?).ok().map(|net| Value::Net(net.trunc()));
            [around(net.prefix_len().checked_sub(1)), around(net.prefix_len().checked_add(1))]
                .into_iter()
                .flatten()
                .collect()
        }
        Value::Address(address) => vec![Value::Address(next(*address)), Value::Addresses(*address, next(*address))],
        Value::Addresses(first, last) => {
            vec![Value::Addresses(next(*first), *last), Value::Addresses(*first, next(*last))]
        }
        Value::Protocol(one) => Protocol::ALL.into_iter().filter(|other| other != one).map(Value::Protocol).collect(),
        Value::Interface(Interface::Exact(name)) => vec![
            Value::Interface(Interface::Prefix(name.clone())),
            Value::Interface(Interface::Exact(format!("{name}9"))),
        ],
        Value::Interface(Interface::Prefix(name)) => vec![Value::Interface(Interface::Exact(name.clone()))],
        Value::AddressType(AddressType::Local) => vec![Value::AddressType(AddressType::Broadcast)],
        Value::AddressType(AddressType::Broadcast) => vec![Value::AddressType(AddressType::Local)],
        // What never holds decides nothing.
        Value::Family(_) | Value::Invalid | Value::Reply | Value::Translated => Vec::new(),
    }
}

pub fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).wrapping_add(1)).into(),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address).wrapping_add(1)).into()),
    }
}

/// Statements that differ in one value.
fn changed(statement: &Statement) -> Vec<Statement> {
    match statement {
        Statement::Match { field: Field::ConnectionState | Field::ConnectionDirection | Field::Family, .. } => {
            Vec::new()
        }
        Statement::Match { field, negated, values } => {
            let field = *field;
            let mut list = vec![Statement::Match { field, negated: !negated, values: values.clone() }];
            for at in 0..values.len() {
                for other in others(&values[at]) {
                    let mut values = values.clone();
                    values[at] = other;
                    list.push(Statement::Match { field, negated: *negated, values });
                }
                if values.len() > 1 {
                    let mut values = values.clone();
                    values.remove(at);
                    list.push(Statement::Match { field, negated: *negated, values });
                }
            }
            list
        }
        // What becomes of the source is not proven here, nor what is kept of connections.
        Statement::Lookup { .. }
        | Statement::TakeTurn { .. }
        | Statement::Tuple { .. }
        | Statement::Remember { .. }
        | Statement::Limit(_)
        | Statement::CountOver(_)
        | Statement::Counter(_)
        | Statement::Log(_)
        | Statement::Masquerade
        | Statement::Snat(_) => Vec::new(),
        Statement::Member { key, negated, set } => {
            vec![Statement::Member { key: key.clone(), negated: !negated, set: set.clone() }]
        }
        Statement::Drawn { pick, numbers } => {
            let Numbers { first, last } = *numbers;
            let changed = [(first, last + 1), (first + 1, last + 1), (first, last.saturating_sub(1).max(first))];
            let with = |(first, last)| Statement::Drawn { pick: *pick, numbers: Numbers { first, last } };
            changed
                .into_iter()
                .map(with)
                .chain([Statement::Drawn { pick: other_pick(*pick), numbers: *numbers }])
                .collect()
        }
        Statement::Branch(choice) => {
            let to = |_: &Verdict| Verdict::Drop;
            choices(choice, to).into_iter().map(Statement::Branch).collect()
        }
        Statement::Dnat { family, to } => {
            let family = *family;
            destinations(to).into_iter().map(|to| Statement::Dnat { family, to }).collect()
        }
        Statement::Redirect(port) => ports(port).into_iter().map(Statement::Redirect).collect(),
        Statement::Reject(Reject::TcpReset | Reject::PortUnreachable) => vec![Statement::Verdict(Verdict::Drop)],
        Statement::Verdict(verdict) => [Verdict::Drop, Verdict::Return]
            .into_iter()
            .filter(|other| other != verdict)
            .map(Statement::Verdict)
            .collect(),
    }
}

fn ports(port: &NewPort) -> Vec<NewPort> {
    match port {
        NewPort::Kept => vec![NewPort::Fixed(4711)],
        NewPort::Fixed(port) => vec![NewPort::Fixed(port ^ 1)],
        NewPort::Mapped { field, ports } => {
            let with = |ports: Vec<(u16, u16)>| NewPort::Mapped { field: *field, ports };
            let mut list = Vec::new();
            for at in 0..ports.len() {
                let mut other = ports.clone();
                other[at].1 ^= 1;
                list.push(with(other));
                if ports.len() > 1 {
                    let mut other = ports.clone();
                    other.remove(at);
                    list.push(with(other));
                }
            }
            list
        }
        NewPort::Listed { .. } => vec![NewPort::Kept],
    }
}

fn destinations(to: &Destination) -> Vec<Destination> {
    match to {
        Destination::One(address, port) => {
            let mut list = vec![Destination::One(next(*address), port.clone())];
            list.extend(ports(port).into_iter().map(|port| Destination::One(*address, port)));
            list
        }
        Destination::Addresses(choice) => {
            choices(choice, |address| next(*address)).into_iter().map(Destination::Addresses).collect()
        }
        Destination::Endpoints(choice) => {
            let addresses = choices(choice, |(address, port)| (next(*address), *port));
            let ports = choices(choice, |(address, port)| (*address, port ^ 1));
            addresses.into_iter().chain(ports).map(Destination::Endpoints).collect()
        }
        Destination::Listed { .. } | Destination::Remembered { .. } => Vec::new(),
    }
}

/// Another target, a number more or less, an element fewer, another way to draw.
fn choices<T: Clone>(choice: &Choice<T>, other: impl Fn(&T) -> T) -> Vec<Choice<T>> {
    let Choice { pick, elements } = choice;
    let with = |elements: Vec<(Numbers, T)>| Choice { pick: *pick, elements };
    let mut list = Vec::new();
    for at in 0..elements.len() {
        let mut changed = elements.clone();
        changed[at].1 = other(&changed[at].1);
        list.push(with(changed));
        let mut fewer = elements.clone();
        fewer.remove(at);
        if !fewer.is_empty() {
            list.push(with(fewer));
        }
        if at + 1 < elements.len() {
            let mut moved = elements.clone();
            if moved[at].0.first < moved[at].0.last {
                moved[at].0.last -= 1;
                moved[at + 1].0.first -= 1;
            } else {
                let to = moved[at].1.clone();
                moved[at].1 = std::mem::replace(&mut moved[at + 1].1, to);
            }
            list.push(with(moved));
        }
    }
    list.push(Choice { pick: other_pick(*pick), elements: elements.clone() });
    list
}

/// Another way to draw.
fn other_pick(pick: Pick) -> Pick {
    match pick {
        Pick::Random { modulus } => Pick::Random { modulus: modulus + 1 },
        Pick::InTurn { modulus } => Pick::InTurn { modulus: modulus + 1 },
        Pick::SourceHash { family, modulus, seed } => Pick::SourceHash { family, modulus, seed: seed ^ 1 },
    }
}

#[test]
fn every_mutant_is_caught_or_does_the_same() {
    every_mutant_of(MUTATED, Layout::Linear);
}

#[test]
fn every_mutant_of_the_large_shape_is_caught_or_does_the_same() {
    every_mutant_of(MUTATED_LARGE, Layout::Tree);
}

fn every_mutant_of(program: &str, layout: Layout) {
    let config = config(program);
    let ruleset = lowered_as(&config, layout);
    prove_both(&config, &ruleset).expect("the ruleset itself is right");
    let mutants = mutants(&ruleset);
    let mut same = Vec::new();
    for (what, mutant) in &mutants {
        if prove_text(&config, &text(mutant)).is_ok() {
            let difference = difference(&config, mutant);
            assert_eq!(difference, None, "{what} was not caught\n{}", text(mutant));
            same.push(what);
        }
    }
    // Rules for packets that another rule keeps away, tests made twice, backends with the same weight.
    assert!(mutants.len() > 200 && same.len() * 6 < mutants.len(), "{} of {}:\n{same:#?}", same.len(), mutants.len());
}

/// The list of mutants is no proof by itself: a proof that sees nothing misses them all.
#[test]
fn changes_that_mean_nothing_are_not_caught() {
    let config = config(MUTATED);
    let ruleset = lowered(&config);
    for change in [
        (|mutant: &mut Ruleset| {
            mutant.chains.iter_mut().flat_map(|chain| &mut chain.rules).for_each(|rule| rule.comment = None)
        }) as fn(&mut Ruleset),
        |mutant| mutant.maps.reverse(),
        |mutant| mutant.maps.iter_mut().for_each(|map| map.elements.reverse()),
        |mutant| mutant.chains.reverse(),
    ] {
        let mut mutant = ruleset.clone();
        change(&mut mutant);
        assert_ne!(mutant, ruleset);
        prove_both(&config, &mutant).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{}", text(&mutant)));
    }
}

#[test]
fn what_cannot_be_told_is_not_proven() {
    let config = config("balance tcp 10.0.0.9:80 -> 10.0.0.1\n");
    let json = json(&lowered(&config));
    prove_json(&config, &json).expect("the ruleset itself is right");
    let rule = |expr: &str| {
        format!(r#"{{"add":{{"rule":{{"family":"inet","table":"lbc","chain":"prerouting","expr":[{expr}]}}}}}},"#)
    };
    let first = json.find(r#"{"add":{"rule""#).expect("a rule");
    for (expr, is_right) in [
        (r#"{"counter":null}"#, true),
        (r#"{"xt":null},{"drop":null}"#, false),
        (r#"{"masquerade":null}"#, false),
        (r#"{"match":{"op":"==","left":{"meta":{"key":"cgroup"}},"right":1}},{"accept":null}"#, false),
        (
            r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"sport"}},"right":1}},{"drop":null}"#,
            false,
        ),
        (
            r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"10.7.7.7"}},{"drop":null}"#,
            false,
        ),
        (
            r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":65535}},{"drop":null}"#,
            false,
        ),
        (
            r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip6","field":"saddr"}},"right":"ffff::7"}},{"drop":null}"#,
            false,
        ),
        (r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"x7"}},{"drop":null}"#, false),
    ] {
        let longer = format!("{}{}{}", &json[..first], rule(expr), &json[first..]);
        let found = prove_json(&config, &longer);
        assert_eq!(found.is_ok(), is_right, "{expr}: {found:?}");
    }
}

/// Buckets are tried wherever their clients lie, however narrow `from` is.
#[test]
fn a_backend_behind_a_hash_that_takes_no_connection_is_seen() {
    for (source, places) in [
        (
            "host a = 10.9.1.11\nhost b = 10.9.1.12\nbalance tcp 203.0.113.10:80-90 by source-hash buckets 343 \
             from not 10.20.0.0/16, fd20::/16 else reject on not eth0 -> a:8080 weight 2, b:8080\n",
            2,
        ),
        ("balance tcp 80 by source-hash seed 7 buckets 7 from 10.20.0.0/16, fd20::/64 -> :9050, :9051\n", 4),
        ("balance tcp 80 by source-hash from 10.20.0.64/26 -> 10.9.1.11:81, 10.9.1.12:81, :9050\n", 3),
    ] {
        let config = config(source);
        let right = text(&lowered(&config));
        let chains: Vec<usize> = right
            .match_indices("meta l4proto tcp ")
            .filter(|(at, _)| {
                ["dnat ", "redirect "].iter().any(|what| right[at + "meta l4proto tcp ".len()..].starts_with(what))
            })
            .map(|(at, _)| at)
            .collect();
        assert!(chains.len() >= places, "{right}");
        for at in chains {
            let wrong = format!("{}meta l4proto != tcp {}", &right[..at], &right[at + "meta l4proto tcp ".len()..]);
            let proven = prove_text(&config, &wrong);
            assert!(matches!(proven, Err(Flaw::Differs(_))), "{proven:?}\n{wrong}");
        }
    }
}
