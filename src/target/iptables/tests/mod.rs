//! The reader and the evaluator, held against rules of all kinds.

mod again;
mod depth;
mod dumps;
mod habits;
mod hooks;
mod memory;
mod nested;
mod parity;
mod proof;
mod scattered;
mod seen;
mod shapes;
mod states;
mod steps;

use std::net::IpAddr;

use crate::ir::Family;
use crate::meaning::Direction;
use crate::statement::balance::Protocol;
use crate::trace::{Machine, Packet, Source, Trace, Walk};

use super::ReadError;
use super::dump::{Dump, Rule};
use super::read::{read as read_text, read_by_words};
use super::restore::Families;
use super::walk::Evaluator;

/// Plain rules are read in one go, and no otherwise than word by word.
fn read(text: &str, families: Families) -> Result<Dump<'_>, Vec<ReadError>> {
    let dump = read_text(text, families);
    assert_eq!(dump, read_by_words(text, families), "{text}");
    dump
}

fn dump(text: &str) -> Dump<'_> {
    read(text, Families::Both).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

fn errors(text: &str) -> Vec<ReadError> {
    read(text, Families::Both).expect_err("not to be read")
}

/// The one rule `-A INPUT` and what follows.
fn rule(text: &str) -> String {
    format!("*filter\n-A INPUT {text}\nCOMMIT\n")
}

fn only<'d>(dump: &'d Dump<'d>) -> &'d Rule<'d> {
    let mut rules = dump.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let rule = rules.next().expect("a rule");
    assert!(rules.next().is_none(), "more than one rule");
    rule
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A TCP connection from a client on `eth0`.
fn to(destination: &str, port: u16) -> Packet {
    let destination = address(destination);
    let source = match destination {
        IpAddr::V4(_) => "198.51.100.7",
        IpAddr::V6(_) => "2001:db8:c::7",
    };
    Packet {
        protocol: Protocol::Tcp,
        source: address(source),
        source_port: None,
        destination,
        port,
        direction: Direction::In("eth0".to_owned()),
    }
}

fn out(packet: Packet) -> Packet {
    Packet { direction: Direction::Out, ..packet }
}

fn machine(local: &[&str]) -> Machine {
    Machine { local: local.iter().map(|text| address(text).into()).collect(), ..Machine::default() }
}

fn trace(text: &str, packet: &Packet, machine: &Machine) -> Trace {
    let dump = dump(text);
    let evaluator = Evaluator::new(&dump, Family::of(packet.destination));
    let quick = evaluator.walk(packet, machine, false);
    let slow = evaluator.walk(packet, machine, true);
    assert_eq!(
        (&quick.outcomes, &quick.unknown, quick.loose),
        (&slow.outcomes, &slow.unknown, slow.loose),
        "steps change nothing"
    );
    slow
}

/// One line for each outcome: `ACTION SOURCE SHARE (COMMENT)`, the usual source left out.
fn outcomes(trace: &Trace) -> Vec<String> {
    trace
        .outcomes
        .iter()
        .map(|outcome| {
            let source = match outcome.source {
                Source::Kept => String::new(),
                Source::Masquerade => " masquerade".to_owned(),
                Source::Address(address) => format!(" from {address}"),
            };
            let comment = outcome.comment.as_ref().map_or_else(String::new, |comment| format!(" ({comment})"));
            format!("{:?}{source} {}{comment}", outcome.action, outcome.share)
        })
        .collect()
}
