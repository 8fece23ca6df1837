//! `lbc trace`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::ir::hash::Hash6;
use crate::ir::{Algorithm, Config, Family};
use crate::meaning::{self, Connection, Direction};
use crate::packet;
use crate::resolve::{self, sort};
use crate::target::Options;
use crate::trace::{Hit, Machine, Packet, Step, Trace as Walked};

use super::input::Input;
use super::render::{Stream, printable, report};
use super::rules::{self, Target};
use super::show::{
    Ink, JsonOutcome, JsonUnknown, LOOSE, Look, Row, action_text, exact, first_connections, foreign_rows, own_rows,
    percent, print_json, table, unknown_text, wants_json,
};
use super::subject::Subject;
use super::{Exit, Failure, Global};

/// Follow one new connection through the rules, and say what comes out
#[derive(Debug, Args)]
pub struct Trace {
    /// Files and directories, then the packet: "tcp 198.51.100.7:40000 -> 203.0.113.10:80 in eth0"
    #[arg(required = true, value_name = "PATH... PACKET", num_args = 1..)]
    arguments: Vec<String>,
    #[command(flatten)]
    subject: Subject,
}

impl Trace {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let (packet, paths) = self.split()?;
        let machine = self.machine(&packet)?;
        let family = Family::of(packet.destination);
        if let Some(file) = &self.subject.rules {
            let (shown, target) = rules::file(file, family, |rules, target, notes| {
                let walked = rules.walk(&packet, &machine, true);
                let sequence = first_connections(rules, &packet, &machine, &walked);
                (Shown { rows: foreign_rows(&walked), walked, sequence, notes }, target)
            })?;
            return shown.print(global, &packet, target);
        }
        let input = Input { paths, stdin_filename: self.subject.stdin_filename.clone() };
        let (program, syntax) = input.program(&self.subject.declarations)?;
        let target = self.subject.target();
        let found = resolve::check(&program, syntax).and_then(|config| {
            rules::compiled(&config, target, &Options::default(), family, |rules| {
                let walked = rules.walk(&packet, &machine, true);
                let (rows, in_turn) = meant(&config, &packet, &machine, target, &walked);
                let sequence = if in_turn { first_connections(rules, &packet, &machine, &walked) } else { None };
                Shown { rows, walked, sequence, notes: Vec::new() }
            })
        });
        match found {
            Ok(shown) => shown.print(global, &packet, target),
            Err(errors) => {
                report(global, Stream::Err, &program.sources, &sort(&program, errors))?;
                Ok(Exit::Findings)
            }
        }
    }

    /// The packet is the last argument; without `--rules` there are paths before it.
    fn split(&self) -> Result<(Packet, Vec<PathBuf>), Failure> {
        let (last, paths) = self.arguments.split_last().expect("at least one argument is required");
        let packet = packet::parse(last).map_err(|error| {
            let (message, help) = error.split_once('\n').unwrap_or((&error, ""));
            Failure { messages: vec![message.to_owned(), help.trim_start_matches("help: ").to_owned()] }
        })?;
        match (&self.subject.rules, paths) {
            (Some(_), [extra, ..]) => {
                Err(Failure::new(format!("--rules stands in the place of PATH, found `{extra}`")))
            }
            (None, []) => Err(Failure::new("trace needs a PATH before the packet, or --rules FILE")),
            (Some(_), []) | (None, [_, ..]) => Ok((packet, paths.iter().map(PathBuf::from).collect())),
        }
    }

    fn machine(&self, packet: &Packet) -> Result<Machine, Failure> {
        let mut local = self.subject.local()?;
        let arrives = matches!(packet.direction, Direction::In(_));
        if local.is_empty() && arrives && !packet.destination.is_multicast() {
            local.push(packet.destination.into());
        }
        Ok(Machine { local, ..Machine::default() })
    }
}

/// What the program means for the packet, beside what its rules do; and whether a round robin decides.
fn meant(config: &Config, packet: &Packet, machine: &Machine, target: Target, walked: &Walked) -> (Vec<Row>, bool) {
    let hash6 = match target {
        Target::Iptables => Hash6::Bpf,
        Target::Nft | Target::NftJson => Hash6::Jhash,
    };
    let connection = Connection {
        protocol: packet.protocol,
        source: packet.source,
        destination: packet.destination,
        port: packet.port,
        direction: packet.direction.clone(),
    };
    let meaning = meaning::outcome(config, &connection, &machine.local, hash6);
    let algorithm = meaning.service.map(|index| config.services()[index].algorithm);
    (own_rows(config, &meaning, walked), algorithm == Some(Algorithm::RoundRobin))
}

#[derive(Serialize)]
struct Json<'a> {
    format_version: &'static str,
    packet: JsonPacket<'a>,
    target: &'static str,
    outcomes: Vec<JsonOutcome>,
    /// Counters in step decide, and all shares take them for independent of each other, because more could not be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    counters_taken_for_independent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<&'a [String]>,
    steps: Vec<JsonStep<'a>>,
    unknown: Vec<JsonUnknown<'a>>,
    /// What else has to be known of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'a str>,
}

/// What is said of a walk that was left.
const CUT: &str = "too many rules on the way, or shares of too many digits: the walk was left there, and what was left of the connections counts as passing the rest";

/// What is said of steps that are left out.
const UNLISTED: &str = "more rules were tested than are listed; they count all the same";

#[derive(Serialize)]
struct JsonPacket<'a> {
    protocol: &'static str,
    source: String,
    source_port: Option<u16>,
    destination: String,
    destination_port: u16,
    /// `null` where the packet names none, or goes out.
    interface: Option<&'a str>,
    direction: &'static str,
}

#[derive(Serialize)]
struct JsonStep<'a> {
    table: &'a str,
    chain: &'a str,
    rule: &'a str,
    matched: bool,
    /// The part of all such connections that gets to the rule, and the part that it takes.
    reached: String,
    taken: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unknown: bool,
}

/// What is printed of a walk.
struct Shown {
    rows: Vec<Row>,
    walked: Walked,
    sequence: Option<Vec<String>>,
    /// What there is to say of the file.
    notes: Vec<String>,
}

impl Shown {
    /// What else has to be known of the answer.
    fn notes(&self) -> impl Iterator<Item = &str> {
        let own = self.walked.unlisted.then_some(UNLISTED).into_iter().chain(self.walked.cut.then_some(CUT));
        self.notes.iter().map(String::as_str).chain(own)
    }

    fn print(self, global: &Global, packet: &Packet, target: Target) -> Result<Exit, Failure> {
        match wants_json(global) {
            true => print_json(global, &json(packet, target, &self))?,
            false => people(&Look::new(global), packet, target, &self)?,
        }
        Ok(Exit::Clean)
    }
}

fn json<'a>(packet: &'a Packet, target: Target, shown: &'a Shown) -> Json<'a> {
    let Shown { rows, walked, sequence, .. } = shown;
    let (interface, direction) = match &packet.direction {
        Direction::In(interface) => (Some(interface.as_str()).filter(|interface| !interface.is_empty()), "in"),
        Direction::Out => (None, "out"),
    };
    let step = |step: &'a Step| JsonStep {
        table: &step.table,
        chain: &step.chain,
        rule: &step.rule,
        matched: step.hit == Hit::Yes,
        reached: exact(&step.reached),
        taken: exact(&step.taken),
        unknown: step.hit == Hit::CannotTell,
    };
    Json {
        format_version: "1.0",
        packet: JsonPacket {
            protocol: packet.protocol.name(),
            source: packet.source.to_string(),
            source_port: packet.source_port,
            destination: packet.destination.to_string(),
            destination_port: packet.port,
            interface,
            direction,
        },
        target: target.name(),
        outcomes: rows.iter().map(Row::json).collect(),
        counters_taken_for_independent: walked.loose,
        sequence: sequence.as_deref(),
        steps: walked.steps.iter().map(step).collect(),
        unknown: walked.unknown.iter().map(JsonUnknown::of).collect(),
        notes: shown.notes().collect(),
    }
}

fn people(look: &Look, packet: &Packet, target: Target, shown: &Shown) -> Result<(), Failure> {
    let Shown { rows, walked, sequence, .. } = shown;
    let mut text = format!("{}  ({})\n", look.ink(Ink::Bold, &packet.to_string()), target.name());
    let mut place = None;
    for step in &walked.steps {
        if place != Some((&step.table, &step.chain)) {
            text.push_str(&format!("\n{} {}\n", step.table, look.ink(Ink::Bold, &printable(&step.chain))));
            place = Some((&step.table, &step.chain));
        }
        let (word, ink) = match step.hit {
            Hit::Yes => ("hit ", Ink::Good),
            Hit::No => ("miss", Ink::Dim),
            Hit::CannotTell => ("?   ", Ink::Bad),
        };
        // A rule that takes only a part of what reaches it says how much of everything that is.
        let part = match step.hit == Hit::Yes && step.taken != step.reached {
            true => format!("  takes {}", percent(&step.taken)),
            false => String::new(),
        };
        let rule = printable(&step.rule);
        text.push_str(&format!("  {:>8}  {}  {rule}{part}\n", percent(&step.reached), look.ink(ink, word)));
    }
    text.push_str("\noutcome\n");
    text.push_str(&table(look, rows));
    if walked.loose {
        text.push_str(&format!("  {}\n", look.ink(Ink::Bad, LOOSE)));
    }
    if rows.iter().any(|row| row.share != row.real) {
        text.push_str("\nwhat the rules give, exactly\n");
        for row in rows {
            text.push_str(&format!("  {}  {}\n", exact(&row.real), action_text(&row.action)));
        }
    }
    if let Some(sequence) = sequence {
        text.push_str("\nthe first connections\n");
        for (index, to) in sequence.iter().enumerate() {
            text.push_str(&format!("  {:>2}  {to}\n", index + 1));
        }
    }
    text.push_str(&unknown_text(&walked.unknown));
    for note in shown.notes() {
        text.push_str(&format!("\n{}\n", look.ink(Ink::Bad, note)));
    }
    look.print(&text)
}
