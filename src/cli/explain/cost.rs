//! `lbc explain --cost`: what the rules cost each new connection, and the kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use num_traits::ToPrimitive;
use serde::Serialize;

use crate::address::outside;
use crate::cli::render::printable;
use crate::cli::rules::{self, Target};
use crate::cli::show::{Ink, Look, print_json, wants_json};
use crate::cli::{Failure, Global};
use crate::diagnostic::Diagnostic;
use crate::dispatch::{Hook, Listener, listeners};
use crate::ir::{Config, Destination, Family, Interface};
use crate::meaning::Direction;
use crate::target::{Layout, Objects, Options};
use crate::trace::{Machine, Packet, Trace, Walk};

/// Connections that are followed, evenly among the listeners of a family.
const MOST: usize = 400;

/// What a connection passes, on average over chance and turns.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Passed {
    rules_tested: f64,
    /// Sets and maps that were asked.
    lookups: f64,
}

impl Passed {
    fn of(trace: &Trace) -> Passed {
        let mut passed = Passed::default();
        for step in &trace.steps {
            let reached = step.reached.to_f64().unwrap_or(0.0);
            passed.rules_tested += reached;
            passed.lookups += reached * lookups(&step.rule) as f64;
        }
        passed
    }
}

/// How many sets and maps a rule asks, if all of it is looked at.
fn lookups(rule: &str) -> usize {
    let rule = rule.split(" comment \"").next().unwrap_or(rule);
    let named = rule.split(' ').filter(|word| word.starts_with('@') || *word == "--match-set").count();
    named + rule.matches(" { ").count()
}

#[derive(Serialize)]
pub struct Costs {
    format_version: &'static str,
    target: &'static str,
    layout: &'static str,
    objects: Objects,
    /// Of the output, comments and all.
    bytes: usize,
    families: Vec<OfFamily>,
}

#[derive(Serialize)]
struct OfFamily {
    family: &'static str,
    /// Addresses, ports and protocols that services listen on.
    listeners: usize,
    /// How many of them were followed.
    followed: usize,
    mean: Passed,
    most: Passed,
    /// The service that the most expensive connection goes to.
    most_at: String,
    /// A connection that no service wants.
    none: Passed,
}

/// What a program's rules cost. The error is everything that the target cannot do of it.
pub fn costs(config: &Config, target: Target, layout: Layout) -> Result<Costs, Vec<Diagnostic>> {
    let options = Options { layout, ..Options::default() };
    let (objects, bytes) = rules::size(config, target, &options)?;
    let mut families = Vec::new();
    for family in Family::ALL.into_iter().filter(|family| config.uses(*family)) {
        families.extend(rules::compiled(config, target, &options, family, |rules| of(config, family, rules))?);
    }
    let layout = match layout {
        Layout::Auto => "auto",
        Layout::Linear => "linear",
        Layout::Tree => "tree",
    };
    Ok(Costs { format_version: "1.0", target: target.name(), layout, objects, bytes, families })
}

/// What connections of a family cost that arrive; `None` where none is wanted.
fn of(config: &Config, family: Family, rules: &dyn Walk) -> Option<OfFamily> {
    let list = listeners(config, family, Hook::Prerouting);
    let last = list.len().checked_sub(1)?;
    let followed = list.len().min(MOST);
    let mut mean = Passed::default();
    let (mut most, mut most_at) = (Passed::default(), String::new());
    for nth in 0..followed {
        // The first and the last are among them.
        let listener = &list[if followed == 1 { 0 } else { nth * last / (followed - 1) }];
        let service = &config.services()[listener.service as usize];
        let (destination, local) = match listener.destination {
            Destination::Prefix(net) => (net.addr(), false),
            Destination::Local => (here(family), true),
            Destination::Any => (here(family), false),
        };
        let source = match &service.from {
            Some(from) if from.not => outside(family, from.nets.get(family)).first().map(IpNet::addr),
            Some(from) => from.nets.get(family).first().map(IpNet::addr),
            None => None,
        };
        let interface = service.on.as_ref().filter(|on| !on.not).and_then(|on| on.interfaces.first());
        let interface = match interface {
            Some(Interface::Exact(name)) => name.clone(),
            Some(Interface::Prefix(start)) => format!("{start}0"),
            None => ELSEWHERE.to_owned(),
        };
        let packet = Packet {
            protocol: listener.protocol,
            source: source.unwrap_or_else(|| client(family)),
            source_port: Some(40_000),
            destination,
            port: listener.ports.first(),
            direction: Direction::In(interface),
        };
        let machine =
            Machine { local: if local { vec![IpNet::from(destination)] } else { Vec::new() }, ..Machine::default() };
        let passed = Passed::of(&rules.walk(&packet, &machine, true));
        mean.rules_tested += passed.rules_tested / followed as f64;
        mean.lookups += passed.lookups / followed as f64;
        if passed.rules_tested + passed.lookups > most.rules_tested + most.lookups {
            (most, most_at) = (passed, service.name.clone());
        }
    }
    let packet = Packet {
        protocol: list[0].protocol,
        source: client(family),
        source_port: Some(40_000),
        destination: nowhere(family),
        port: free_port(&list),
        direction: Direction::In(ELSEWHERE.to_owned()),
    };
    let none = Passed::of(&rules.walk(&packet, &Machine::default(), true));
    Some(OfFamily { family: family.name(), listeners: list.len(), followed, mean, most, most_at, none })
}

/// An interface that most programs do not name.
const ELSEWHERE: &str = "eth0";

/// An address for listeners that have none (RFC 5737, RFC 3849).
fn here(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, 1].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    }
}

fn client(family: Family) -> IpAddr {
    match family {
        Family::V4 => [198, 51, 100, 7].into(),
        Family::V6 => [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7].into(),
    }
}

/// An address that hardly any service listens on: the last of the documentation's.
fn nowhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => [203, 0, 113, 254].into(),
        Family::V6 => [0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 0xfffe].into(),
    }
}

/// A port on which nothing listens, if there is one.
fn free_port(list: &[Listener]) -> u16 {
    let mut used = vec![false; 1 << 16];
    for listener in list {
        used[usize::from(listener.ports.first())..=usize::from(listener.ports.last())].fill(true);
    }
    (1..=u16::MAX).rev().find(|port| !used[usize::from(*port)]).unwrap_or(u16::MAX)
}

/// Prints the costs for people or as JSON.
pub fn show(global: &Global, costs: &Costs) -> Result<(), Failure> {
    if wants_json(global) {
        return print_json(global, costs);
    }
    let look = Look::new(global);
    let Costs { target, layout, objects, bytes, families, .. } = costs;
    let mut text = look.ink(Ink::Bold, &format!("{target}, layout {layout}"));
    let Objects { chains, rules, named_sets, written_out, elements, counters } = *objects;
    text.push_str(&format!("\n  the kernel holds: {chains} chains, {rules} rules"));
    if named_sets + written_out > 0 {
        text.push_str(&format!(
            ", {} sets and maps ({written_out} of them inside rules) with {elements} elements",
            named_sets + written_out
        ));
    }
    if counters > 0 {
        text.push_str(&format!(", {counters} counters"));
    }
    text.push_str(&format!("\n  the output: {bytes} bytes\n"));
    for OfFamily { family, listeners, followed, mean, most, most_at, none } in families {
        let of = match followed == listeners {
            true => format!("{listeners} listeners"),
            false => format!("{followed} of {listeners} listeners"),
        };
        text.push_str(&format!("  {family}, {of}, for each new connection:\n"));
        let most_at = format!("at most ({})", printable(most_at));
        for (name, passed) in [("on average", mean), (most_at.as_str(), most), ("that none wants", none)] {
            let Passed { rules_tested, lookups } = passed;
            text.push_str(&format!("    {name}: {rules_tested:.1} rules tested, {lookups:.1} sets and maps asked\n"));
        }
    }
    look.print(&text)
}
