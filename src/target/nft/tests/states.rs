//! The proof where the machine remembers something: limits that are reached, clients that are known.

use crate::generated::config;
use crate::option::limit::Unit;
use crate::target::Options;
use crate::target::nft::model::{Memory, Rate, Reject, Remember, Statement, Verdict};
use crate::target::nft::{Dump, Format, Ruleset, lower, prove_json, prove_text};
use crate::validate::tests::STATEFUL;

use super::proof::{json, text};

/// Rulesets that differ in one thing which remembers, with what was done.
fn mutants(ruleset: &Ruleset) -> Vec<(String, Ruleset)> {
    let mut all = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Ruleset)| {
        let mut mutant = ruleset.clone();
        change(&mut mutant);
        if mutant != *ruleset {
            all.push((what, mutant));
        }
    };
    for (at, memory) in ruleset.memories.iter().enumerate().filter(|(_, memory)| is_sticky(memory)) {
        for by in [-2_000, 2_000] {
            add(format!("{} lasts {by} ms more", memory.name), &|mutant| {
                let timeout = &mut mutant.memories[at].timeout;
                *timeout = timeout.and_then(|timeout| timeout.checked_add_signed(by));
            });
        }
    }
    for (at, chain) in ruleset.chains.iter().enumerate() {
        for (nth, rule) in chain.rules.iter().enumerate() {
            let name = format!("{} rule {nth}", chain.name);
            let asks = |one: &Statement| {
                matches!(
                    one,
                    Statement::Limit(Rate { over: true, .. }) | Statement::CountOver(_) | Statement::Remember { .. }
                ) || matches!(one, Statement::Member { set, .. } if ruleset.memories.iter().any(|own| own.name == *set))
            };
            if !rule.statements.iter().any(asks) {
                continue;
            }
            add(format!("{name} gone"), &|mutant| {
                mutant.chains[at].rules.remove(nth);
            });
            for (step, statement) in rule.statements.iter().enumerate() {
                for other in changed(statement, ruleset) {
                    add(format!("{name}: {statement:?} is {other:?}"), &|mutant| {
                        mutant.chains[at].rules[nth].statements[step] = other.clone();
                    });
                }
            }
        }
    }
    all
}

/// Whether a memory is of clients that stay.
fn is_sticky(memory: &Memory) -> bool {
    memory.name.as_str().contains("-sticky")
}

fn changed(statement: &Statement, ruleset: &Ruleset) -> Vec<Statement> {
    let rates = |rate: Rate| {
        let (unit, more) = (if rate.unit == Unit::Hour { Unit::Minute } else { Unit::Hour }, rate.rate + 1);
        [Rate { rate: more, ..rate }, Rate { unit, ..rate }, Rate { burst: rate.burst + 1, ..rate }]
    };
    match statement {
        Statement::Limit(rate) => rates(*rate).map(Statement::Limit).to_vec(),
        Statement::CountOver(count) => vec![Statement::CountOver(count + 1)],
        Statement::Verdict(Verdict::Drop) => vec![Statement::Reject(Reject::PortUnreachable)],
        Statement::Verdict(Verdict::Goto(_) | Verdict::Jump(_)) => vec![Statement::Verdict(Verdict::Drop)],
        Statement::Member { key, negated, set } => {
            vec![Statement::Member { key: key.clone(), negated: !negated, set: set.clone() }]
        }
        Statement::Remember { family, memory, what } => {
            let with = |what| Statement::Remember { family: *family, memory: memory.clone(), what };
            match what {
                Remember::Client => {
                    let others = ruleset.memories.iter().filter(|other| {
                        other.name != *memory
                            && other.family == *family
                            && is_sticky(other)
                            && other.data == memory_of(ruleset, memory).data
                    });
                    let other = |other: &Memory| Statement::Remember {
                        family: *family,
                        memory: other.name.clone(),
                        what: *what,
                    };
                    others.map(other).collect()
                }
                Remember::Address(address) => vec![with(Remember::Address(super::proof::next(*address)))],
                Remember::Endpoint(address, port) => {
                    vec![
                        with(Remember::Endpoint(*address, port ^ 1)),
                        with(Remember::Endpoint(super::proof::next(*address), *port)),
                    ]
                }
                Remember::Limit(rate) => rates(*rate).map(|rate| with(Remember::Limit(rate))).to_vec(),
                Remember::CountOver(count) => vec![with(Remember::CountOver(count + 1))],
            }
        }
        _ => Vec::new(),
    }
}

fn memory_of<'r>(ruleset: &'r Ruleset, name: &crate::target::nft::model::Name) -> &'r Memory {
    ruleset.memories.iter().find(|own| own.name == *name).expect("every memory is declared")
}

#[test]
fn what_remembers_is_proven_and_every_change_of_it_is_seen() {
    let config = config(STATEFUL);
    for format in [Format::Text, Format::Json] {
        let ruleset = lower(&config, &Options::default(), format).expect("every option here is lowered");
        let prove = |ruleset: &Ruleset| match format {
            Format::Text => prove_text(&config, &text(ruleset)),
            Format::Json => prove_json(&config, &json(ruleset)),
        };
        prove(&ruleset).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{}", text(&ruleset)));
        let mutants = mutants(&ruleset);
        assert!(mutants.len() > 60, "{}", mutants.len());
        let missed = mutants.iter().filter(|(_, mutant)| prove(mutant).is_ok()).map(|(what, _)| what);
        // That a known client takes no slot is nothing that one connection shows, and the backend that is named there counts
        // only where the map was full.
        let is_shown = |what: &&String| !what.starts_with("svc-turns-") || !what.contains("rule 0");
        let missed: Vec<&String> = missed.filter(is_shown).collect();
        assert!(
            missed.is_empty(),
            "{} of {} were not caught:\n{missed:#?}\n{}",
            missed.len(),
            mutants.len(),
            text(&ruleset)
        );
    }
}

/// A map that takes no more clients loses stickiness, and no connection.
#[test]
fn what_follows_a_full_map_is_proven() {
    let config = config("balance tcp 80 as one sticky 10m -> 10.0.0.1, 10.0.0.2\n");
    let ruleset = lower(&config, &Options::default(), Format::Text).expect("lowered");
    let text = text(&ruleset);
    prove_text(&config, &text).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{text}"));
    let behind: Vec<&str> = text.lines().filter(|line| line.contains("dnat") && !line.contains("map @")).collect();
    assert!(!behind.is_empty(), "{text}");
    for line in behind {
        prove_text(&config, &text.replacen(line, "", 1)).expect_err(line);
    }
    assert!(Dump::read_text(&text).is_ok());
}
