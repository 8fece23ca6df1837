//! What is printed and read again is what was lowered, and does what the program means.

use std::fs;

use num_traits::ToPrimitive;
use proptest::prelude::*;

use super::read;
use crate::generated::{NAMES, PARTS, config, connections, local, packet, program, statement, wrong_source};
use crate::ir::hash::Hash6;
use crate::ir::{Algorithm, Config, Family};
use crate::meaning::{Action, outcome};
use crate::target::iptables::model::{Chain, Rule, Ruleset};
use crate::target::iptables::restore::{Families, Hooks, print};
use crate::target::iptables::{Evaluator, lower, rebuild};
use crate::target::{Layout, Options};
use crate::trace::{Machine, Walk};

fn printed(rules: &Ruleset, families: Families) -> String {
    let mut out = Vec::new();
    print(rules, families, Hooks::Include, &mut out).expect("a vector takes everything");
    String::from_utf8(out).expect("text")
}

const LAYOUTS: [Layout; 2] = [Layout::Linear, Layout::Tree];

/// The part that a random match may be away from its share: half of 2^-31 for each rule on the way.
fn close(meant: f64, done: f64) -> bool {
    (meant - done).abs() <= 16.0 / f64::from(u32::MAX)
}

/// Holds a ruleset, printed and read again, to the meaning of its program.
fn compare(config: &Config, rules: &Ruleset, families: Families) -> Result<(), String> {
    let text = printed(rules, families);
    let dump = read(&text, families).map_err(|errors| format!("{errors:#?}"))?;
    let local = local();
    let machine = Machine { local: local.to_vec(), ..Machine::default() };
    for family in Family::ALL {
        if families != Families::Both && families != Families::One(family) {
            continue;
        }
        let evaluator = Evaluator::new(&dump, family);
        for connection in connections().iter().filter(|one| Family::of(one.destination) == family) {
            let meant: Vec<(Action, f64)> = outcome(config, connection, &local, Hash6::Bpf)
                .shares
                .into_iter()
                .map(|(action, share)| (action, share.to_f64().expect("a share")))
                .collect();
            let trace = evaluator.walk(&packet(connection), &machine, false);
            if let Some(wrong) = wrong_source(config, connection, &local, &trace) {
                return Err(wrong);
            }
            let done: Vec<(Action, f64)> =
                trace.actions().into_iter().map(|(action, share)| (action, share.to_f64().expect("a share"))).collect();
            let same = meant.len() == done.len()
                && meant.iter().zip(&done).all(|(meant, done)| meant.0 == done.0 && close(meant.1, done.1));
            if !same || !trace.unknown.is_empty() {
                let unknown = trace.unknown;
                return Err(format!("{connection:?}\n  means {meant:?}\n  gives {done:?}\n  unknown {unknown:?}"));
            }
        }
    }
    Ok(())
}

/// With comments as their texts, and without what the text cannot say.
fn known(rules: &Ruleset, families: Families) -> Vec<String> {
    let mut list = Vec::new();
    for table in &rules.tables {
        list.push(format!("{:?} {:?}", table.name, table.hooks.iter().map(|hook| hook.built_in).collect::<Vec<_>>()));
        let show = |chain: &Chain, rule: &Rule| {
            let comment = rule.comment.map(|id| rules.comment(id).as_str().to_owned());
            let target = match rule.target {
                crate::target::iptables::model::Target::Jump(to) => {
                    format!("jump {:?}", table.chains[to.0 as usize].name)
                }
                crate::target::iptables::model::Target::Goto(to) => {
                    format!("goto {:?}", table.chains[to.0 as usize].name)
                }
                ref other => format!("{other:?}"),
            };
            let rule = Rule { comment: None, target: Default::default(), ..rule.clone() };
            format!("{:?} {rule:?} {target} {comment:?}", chain.name)
        };
        for chain in &table.chains {
            if families != Families::Both
                && !Family::ALL.iter().any(|f| families == Families::One(*f) && !chain.rules(*f).is_empty())
            {
                continue;
            }
            list.push(format!("{:?}", chain.name));
            for family in
                Family::ALL.into_iter().filter(|f| families == Families::Both || families == Families::One(*f))
            {
                list.extend(chain.rules(family).iter().map(|rule| format!("{family:?} {}", show(chain, rule))));
            }
        }
    }
    list
}

/// Prints, reads and rebuilds.
fn round_trip(rules: &Ruleset, families: Families) -> Result<(), String> {
    // Of a family without services nothing is printed, not even its chains.
    if matches!(families, Families::One(family) if !rules.families.contains(&family)) || rules.families.is_empty() {
        return Ok(());
    }
    let text = printed(rules, families);
    let dump = read(&text, families).map_err(|errors| format!("{errors:#?}\n{text}"))?;
    let again = rebuild(&dump)?;
    if families == Families::Both
        && rules.tables.iter().any(|table| !table.hooks.is_empty())
        && again.prefix != rules.prefix
    {
        return Err(format!("prefix {}", again.prefix));
    }
    let (meant, read) = (known(rules, families), known(&again, families));
    match meant == read {
        true => Ok(()),
        false => Err(format!("{meant:#?}\n{read:#?}\n{text}")),
    }
}

#[test]
fn every_example_reads_back_and_does_what_it_means() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples");
    #[allow(clippy::disallowed_methods, reason = "a test reads its data")]
    let examples = fs::read_dir(directory).expect("the examples").map(|entry| entry.expect("an entry").path());
    let mut count = 0;
    for path in examples.filter(|path| path.extension().is_some_and(|extension| extension == "lb")) {
        #[allow(clippy::disallowed_methods, reason = "a test reads its data")]
        let text = fs::read_to_string(&path).expect("an example");
        let config = config(&text);
        for layout in LAYOUTS {
            let rules = lower(&config, &Options { layout, ..Options::default() }).expect("an example compiles");
            for families in [Families::Both, Families::One(Family::V4), Families::One(Family::V6)] {
                round_trip(&rules, families).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                compare(&config, &rules, families).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
        }
        count += 1;
    }
    assert!(count >= 6, "{count} examples");
}

#[test]
fn round_robin_follows_the_order_that_is_meant() {
    let config = config("balance tcp 80 by round-robin -> 10.0.0.1 weight 3, 10.0.0.2 weight 2, 10.0.0.3\n");
    let rules = lower(&config, &Options::default()).expect("a correct program");
    let text = printed(&rules, Families::Both);
    let dump = read(&text, Families::Both).expect("own rules");
    let evaluator = Evaluator::new(&dump, Family::V4);
    let packet = super::to("192.0.2.1", 80);
    let machine = super::machine(&["192.0.2.1"]);
    let done = evaluator.sequence(&packet, &machine, 14).expect("one sequence");
    let service = &config.services()[0];
    assert_eq!(service.algorithm, Algorithm::RoundRobin);
    let Some(crate::ir::Body::Balance(group)) = service.body(Family::V4) else { panic!("a group") };
    let meant: Vec<Action> = crate::meaning::sequence(group, 14)
        .into_iter()
        .map(|index| crate::meaning::action(group.backends[index as usize], 80))
        .collect();
    assert_eq!(done, meant);
}

#[test]
fn a_random_choice_has_no_one_sequence() {
    let config = config("balance tcp 80 -> 10.0.0.1, 10.0.0.2\n");
    let rules = lower(&config, &Options::default()).expect("a correct program");
    let text = printed(&rules, Families::Both);
    let dump = read(&text, Families::Both).expect("own rules");
    let evaluator = Evaluator::new(&dump, Family::V4);
    let machine = super::machine(&["192.0.2.1"]);
    assert_eq!(evaluator.sequence(&super::to("192.0.2.1", 80), &machine, 4), None);
    let pass = evaluator.sequence(&super::to("192.0.2.1", 81), &machine, 2);
    assert_eq!(pass, Some(vec![Action::Pass; 2]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..crate::generated::regressions() })]

    #[test]
    fn random_programs_read_back_and_do_what_they_mean(
        statements in prop_oneof![
            proptest::collection::vec(statement(&PARTS), 1..8),
            proptest::collection::vec(statement(&PARTS), 16..40),
        ],
        layout in prop::sample::select(LAYOUTS.to_vec()),
    ) {
        let Some((text, config)) = program(NAMES, &statements) else { return Ok(()) };
        let Ok(rules) = lower(&config, &Options { layout, ..Options::default() }) else { return Ok(()) };
        for families in [Families::Both, Families::One(Family::V4)] {
            if let Err(difference) = round_trip(&rules, families) {
                return Err(TestCaseError::fail(format!("{difference}\n{text}")));
            }
        }
        if let Err(difference) = compare(&config, &rules, Families::Both) {
            let rules = printed(&rules, Families::Both);
            return Err(TestCaseError::fail(format!("{difference}\n{text}\n{rules}")));
        }
    }

    #[test]
    fn no_text_makes_the_reader_or_the_walk_panic(lines in proptest::collection::vec(line(), 0..30), words in "[-! \"\\\\a-z0-9:/,.]{0,30}") {
        let text = format!("*nat\n:A - [0:0]\n:B - [0:0]\n{}\n{words}\nCOMMIT\n", lines.join("\n"));
        let lines = format!("*nat\n:A - [0:0]\n:B - [0:0]\n{}\nCOMMIT\n", lines.join("\n"));
        for dump in [&text, &lines].into_iter().filter_map(|text| read(text, Families::Both).ok()) {
            for packet in [super::to("203.0.113.10", 80), super::out(super::to("::1", 80))] {
                let trace = Evaluator::new(&dump, Family::of(packet.destination)).walk(&packet, &Machine::default(), true);
                let sum: f64 = trace.actions().iter().map(|(_, share)| share.to_f64().expect("a share")).sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}\n{lines}");
            }
        }
    }
}

/// A line of a dump, mostly one that can be read.
fn line() -> impl Strategy<Value = String> {
    let chain = prop::sample::select(vec!["A", "B", "PREROUTING", "OUTPUT", "POSTROUTING"]);
    let matches = prop::sample::select(vec![
        "",
        "-p tcp",
        "-p tcp --dport 80",
        "-p tcp ! --sport 1:65535",
        "-s 0/0",
        "! -d 203.0.113.0/24",
        "-m statistic --mode random --probability .7",
        "-m statistic --mode nth --every 7 --packet 3",
        "-m statistic --mode random ! --probability 1",
        "-m mark --mark 0x1/0x1",
        "-m cluster --cluster-total-nodes 32 --cluster-local-node 32 --cluster-hash-seed 1",
        "-m bpf --bytecode \"4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0\"",
        "-m set --match-set x src",
        "-i eth0",
        "-o lo",
        "-m conntrack --ctstate DNAT",
    ]);
    let target = prop::sample::select(vec![
        "",
        "-j A",
        "-g B",
        "-j RETURN",
        "-j ACCEPT",
        "-j DROP",
        "-j REDIRECT",
        "-j REDIRECT --to-ports 9",
        "-j DNAT --to-destination 10.0.0.1",
        "-j DNAT --to-destination [fd00::1]:1-9/80",
        "-j DNAT --to-destination :81",
        "-j MASQUERADE",
        "-j MARK --xor-mark 1",
        "-j CONNMARK --save-mark",
        "-j HMARK --hmark-tuple src,dst --hmark-mod 3 --hmark-rnd 1",
        "-j NOTRACK",
        "-j NOPE --x",
    ]);
    let command = prop::sample::select(vec!["-A", "-I", "-4 -A", "[1:2] -A"]);
    (command, chain, matches, target)
        .prop_map(|(command, chain, matches, target)| format!("{command} {chain} {matches} {target}"))
}
