//! The survey itself: a program is held against another one, which stands in for rules.

use super::local::Local;
use super::*;
use crate::address::{address, number};
use crate::ir::Config;
use crate::ir::hash::Hash6;
use crate::statement::balance::Protocol;

fn config(text: &str) -> Config {
    crate::generated::config(&format!("host a = 192.168.1.10, fd00::10\nhost b = 192.168.1.11, fd00::11\n{text}\n"))
}

fn compare(program: &str, rules: &str) -> Result<Coverage, Stop> {
    let (program, rules) = (config(program), config(rules));
    let reference = Reference::new(&program, Hash6::Jhash);
    validate(&reference, &Reference::new(&rules, Hash6::Jhash), &Family::ALL, &Tolerance::Exact)
}

const PROGRAMS: &[&str] = &[
    "balance tcp 80 -> a:8080 weight 2, b:8080",
    "balance tcp,udp {203.0.113.10, [2001:db8::1]}:8000-8010 from 10.0.0.0/8, 2001:db8::/32 -> a, b",
    "balance tcp *:80 on eth0 from not 10.1.0.0/16 else reject -> a\nbalance tcp 80 output -> b:1",
    "balance tcp 10.0.0.0/8:1-1000 -> a:2001-3000\nbalance tcp 10.1.0.0/16:500 by source-hash buckets 7 -> a, b",
    "balance sctp [2001:db8::/48]:9 on not eth* -> b:9 weight 0\nbalance sctp *:9 -> a",
    "balance tcp 80 output -> :8080\nbalance udp local:53 from 192.0.2.1 else drop -> a",
];

#[test]
fn a_program_is_what_it_means() {
    for program in PROGRAMS {
        let coverage = compare(program, program).unwrap_or_else(|difference| panic!("{program}\n{difference:?}"));
        assert!(coverage.packets > 20, "{program}: {coverage:?}");
    }
}

#[test]
fn every_change_of_a_program_is_seen() {
    for (program, change, to) in [
        (0, "weight 2", "weight 3"),
        (0, "tcp 80", "tcp 81"),
        (0, "tcp 80", "tcp,udp 80"),
        (0, "tcp 80", "tcp *:80"),
        (0, "tcp 80", "tcp 80 output"),
        (0, "tcp 80", "tcp 80-81"),
        (0, "tcp 80", "tcp 80 on eth0"),
        (0, "tcp 80", "tcp 80 from not 255.255.255.255"),
        (0, "tcp 80", "tcp 80 from not fd00::ffff"),
        (0, "a:8080 weight", "a:8081 weight"),
        (1, "203.0.113.10", "203.0.113.10/31"),
        (1, "[2001:db8::1]", "[2001:db8::1], [2001:db8::2]"),
        (1, "8000-8010", "8000-8009"),
        (1, "8000-8010", "7999-8010"),
        (1, "10.0.0.0/8", "10.0.0.0/9"),
        (1, ", 2001:db8::/32", ""),
        (1, "10.0.0.0/8, 2001:db8::/32", "10.0.0.0/8, 2001:db8::/33"),
        (2, "else reject", "else drop"),
        (2, " else reject", ""),
        (2, "on eth0", "on eth*"),
        (2, "output -> b:1", "-> b:1"),
        (3, "2001-3000", "2001"),
        (3, "a:2001-3000", "a"),
        (4, "eth*", "eth0"),
        (4, "b:9 weight 0", "b:9"),
        (5, "-> :8080", "-> :8081"),
        (5, "80 output", "127.0.0.1:80 output"),
        (5, "192.0.2.1 else", "192.0.2.0/31 else"),
    ] {
        let program = PROGRAMS[program];
        let changed = program.replacen(change, to, 1);
        assert_ne!(program, changed);
        assert!(compare(program, &changed).is_err(), "{program}\n{changed}");
    }
}

#[test]
fn swapped_buckets_of_a_hash_are_seen() {
    let program = "balance tcp 80 by source-hash -> a, b";
    assert!(compare(program, "balance tcp 80 by source-hash seed 1 -> a, b").is_err());
    assert!(compare(program, "balance tcp 80 -> a, b").is_err());
    compare(program, program).expect("one program");
}

#[test]
fn shares_that_outgrow_words_are_decided_exactly() {
    let program = "pool p = a:1 weight 65521, b:1\npool q = p weight 65519, b:2\npool r = q weight 65497, b:3\n\
                   pool s = r weight 65479, b:4\nbalance tcp 80 -> s weight 65449, b:5";
    compare(program, program).expect("one program");
    for (change, to) in [("65521", "65520"), ("65449", "65450"), ("b:3", "b:3 weight 2")] {
        assert!(compare(program, &program.replace(change, to)).is_err(), "{to}");
    }
}

/// Numbers that choose a packet, and another one that has to get the same answer.
pub type Dice = [u32; 8];

/// Holds an answer to what it says of itself: another packet that differs in nothing which was asked gets the same.
pub fn check_horizon(rules: &dyn Survey, dice: &Dice) -> Result<(), String> {
    let pick = |nth: usize, count: usize| dice[nth] as usize % count;
    let connections = crate::generated::connections();
    let packet = crate::generated::packet(&connections[pick(0, connections.len())]);
    let family = Family::of(packet.destination);
    let local = Local::ALL[pick(1, 3)];
    let mut answer = rules.answer(&packet, &local.machine(packet.destination));
    // What is asked about a part of the ports holds for these.
    let port = u32::from(packet.port);
    let end = [65_536, 65_536, port + 1, (port + 1 + dice[0] / 7 % 2000).min(65_536)][pick(2, 4)];
    let below = rules.estimate_below(&packet, &local.machine(packet.destination), end);
    if below.horizon.port > end {
        return Err(format!("{packet}\n{below:#?}\nis about ports from {end} on"));
    }
    if end < 65_536 || pick(3, 2) == 0 {
        (answer.horizon, answer.facets, answer.hashed) = (below.horizon, below.facets, below.hashed);
    }
    // The first, the last or one between.
    let within = |nth: usize, first: u128, end: Option<u128>| {
        let end = end.unwrap_or(last(family));
        match pick(nth, 3) {
            0 => first,
            1 => end.max(first + 1) - 1,
            _ => first + (end.max(first + 1) - 1 - first) / 2,
        }
    };
    let mut other = packet.clone();
    let horizon = answer.horizon;
    other.destination = address(family, within(2, number(packet.destination), horizon.destination));
    if answer.hashed.is_none() {
        other.source = address(family, within(3, number(packet.source), horizon.source));
    }
    other.port = within(4, packet.port.into(), Some(horizon.port.into())) as u16;
    let protocol = Protocol::ALL[pick(5, 3)];
    if !answer.facets.protocols.tell_apart(packet.protocol, protocol) {
        other.protocol = protocol;
    }
    if let (Direction::In(name), false) = (&mut other.direction, answer.facets.interface) {
        *name = ["eth0", "eth1", "wg0", "wg1", "lo", "other"][pick(6, 6)].to_owned();
    }
    let told = |one: &Local| one.as_told(answer.facets) == local.as_told(answer.facets);
    let others: Vec<Local> = Local::ALL.into_iter().filter(told).collect();
    let other_local = others[pick(7, others.len())];
    let same = rules.answer(&other, &other_local.machine(other.destination)).actions;
    let shifted = |action: &Action| match action {
        Action::Dnat(to, port) => Action::Dnat(*to, port.wrapping_add(other.port.wrapping_sub(packet.port))),
        Action::Redirect(port) => Action::Redirect(port.wrapping_add(other.port.wrapping_sub(packet.port))),
        Action::Pass | Action::Drop | Action::Reject => action.clone(),
    };
    let kept = |(action, share): &(Action, Share)| {
        same.iter().any(|(own, part)| share == part && (own == action || *own == shifted(action)))
    };
    match answer.actions.len() == same.len() && answer.actions.iter().all(kept) {
        true => Ok(()),
        false => Err(format!("{packet}\n{answer:#?}\nbut {other}\n{same:#?}")),
    }
}

/// A program of everything that changes who a server sees, for proofs of the targets' texts.
pub const SOURCES: &str = "\
host a = 10.9.1.11, fd09:1::11
host b = 10.9.1.12, fd09:1::12
net servers = 10.9.1.0/24, fd09:1::/64
balance tcp 203.0.113.10:80 as masked masquerade -> a:8080, b
balance tcp 203.0.113.10:81 as plain -> a:8080
balance tcp,udp {203.0.113.11, [2001:db8::1]}:443 as fixed snat 192.0.2.9, 2001:db8:9::9 -> a, b
balance tcp {203.0.113.10, [2001:db8::1]}:82 as hashed by source-hash buckets 7 masquerade hairpin -> a, b
balance udp 53 as near masquerade hairpin -> a, b
balance tcp 8000-8003 as some from 10.0.0.0/8, 172.16.0.0/12, fd20::/64 masquerade -> a:9000-9003, b:9000-9003
balance tcp 203.0.113.0/24:443 as kept from 10.0.0.0/8 -> a
balance tcp 203.0.113.0/24:443 as rest masquerade -> a
";

/// Every option that remembers, in one program.
pub const STATEFUL: &str = "\
host a = 10.9.1.11, fd09:1::11
host b = 10.9.1.12, fd09:1::12
host c = 10.9.1.13
balance tcp 80 as limited limit 5/second burst 7 else reject -> a:8080, b
balance tcp 81 as capped max-connections 9 -> a, b
balance tcp,udp 82 as both limit 5/minute per source max-connections 3 per source else reject sticky 10m -> a:1, b:2 weight 2
balance udp 83 as turns by round-robin sticky 1m output -> a:5, b:5
balance tcp 84 as kept from 10.0.0.0/8 else drop sticky 1h counter -> a, b, c
balance tcp 85 as plain -> a
balance tcp 86 as here sticky 90s -> :9000, :9001
";

#[test]
fn another_source_is_seen() {
    let program = "net near = 192.168.1.0/24\nbalance tcp 80 masquerade hairpin -> a:1, b:2";
    compare(program, program).expect("one program");
    for (change, to) in
        [("/24", "/25"), (" hairpin", ""), ("masquerade hairpin", "snat 192.0.2.1"), ("masquerade hairpin", "")]
    {
        assert!(compare(program, &program.replacen(change, to, 1)).is_err(), "{to}");
    }
}

#[test]
fn another_memory_is_seen() {
    // `a` and `b` are declared already.
    let (_, rest) = STATEFUL.split_once("host c").expect("a third host");
    let stateful = format!("host c{rest}");
    compare(&stateful, &stateful).expect("one program");
    for (change, to) in [
        ("limit 5/second", "limit 5/minute"),
        ("burst 7 else reject", "burst 7 else drop"),
        ("burst 7", "burst 8"),
        ("max-connections 9", "max-connections 8"),
        ("max-connections 9", ""),
        ("limit 5/minute per source", "limit 5/minute"),
        ("per source else reject", "per source else drop"),
        ("sticky 10m ", ""),
        ("sticky 1m ", ""),
        ("-> a\n", "limit 1/hour -> a\n"),
        ("counter -> a", "limit 1/hour -> a"),
    ] {
        let changed = stateful.replacen(change, to, 1);
        assert_ne!(changed, stateful, "{change}");
        assert!(compare(&stateful, &changed).is_err(), "{change} as {to}");
    }
}
