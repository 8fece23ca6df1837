//! The proof of a text: every program passes it, and no broken text does.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::generated::{NAMES, PARTS, config, program, statement};
use crate::ir::hash::Hash6;
use crate::ir::{Config, Family};
use crate::survey::Survey;
use crate::target::Options;
use crate::target::iptables::{Evaluator, Families, Hooks, lower, print_restore, prove, read};
use crate::validate::tests::{Dice, check_horizon};
use crate::validate::{Flaw, Reference};

fn text(config: &Config) -> String {
    let rules = lower(config, &Options::default()).expect("every option here is lowered");
    let mut text = Vec::new();
    print_restore(&rules, Families::Both, Hooks::Include, &mut text).expect("memory takes every write");
    String::from_utf8(text).expect("UTF-8")
}

const EXAMPLES: [(&str, &str); 6] = [
    ("first", include_str!("../../../../tests/examples/first.lb")),
    ("shop", include_str!("../../../../tests/examples/shop.lb")),
    ("dns", include_str!("../../../../tests/examples/dns.lb")),
    ("canary", include_str!("../../../../tests/examples/canary.lb")),
    ("port-forward", include_str!("../../../../tests/examples/port-forward.lb")),
    ("local-ports", include_str!("../../../../tests/examples/local-ports.lb")),
];

#[test]
fn every_example_is_proven() {
    for (name, source) in EXAMPLES {
        let config = config(source);
        let coverage =
            prove(&config, &text(&config), Families::Both).unwrap_or_else(|flaw| panic!("{name}: {flaw:#?}"));
        assert!(coverage.packets > 25, "{name}: {coverage:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..crate::generated::regressions() })]

    #[test]
    fn every_random_program_is_proven(statements in proptest::collection::vec(statement(&PARTS), 1..4)) {
        let Some((source, config)) = program(NAMES, &statements) else { return Ok(()) };
        // Hashes of many buckets beside many listeners take a minute without optimisation.
        if source.contains("buckets 343") || source.matches("source-hash").count() > 1 {
            return Ok(());
        }
        match prove(&config, &text(&config), Families::Both) {
            // A hash beside a wide range of ports.
            Ok(_) | Err(Flaw::TooLarge) => {}
            Err(flaw) => return Err(TestCaseError::fail(format!("{flaw:#?}\n{source}\n{}", text(&config)))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..crate::generated::regressions() })]

    #[test]
    fn answers_hold_as_far_as_they_say(
        statements in proptest::collection::vec(statement(&PARTS), 1..5),
        dice in proptest::collection::vec(any::<Dice>(), 40),
    ) {
        let Some((source, config)) = program(NAMES, &statements) else { return Ok(()) };
        let text = text(&config);
        let dump = read(&text, Families::Both).expect("own rules");
        let reference = Reference::new(&config, Hash6::Bpf);
        let rules = Family::ALL.map(|family| Evaluator::new(&dump, family));
        let strict = Family::ALL.map(|family| Evaluator::new(&dump, family).strict());
        for dice in &dice {
            for party in [&reference as &dyn Survey, &rules[0], &rules[1], &strict[0], &strict[1]] {
                if let Err(difference) = check_horizon(party, dice) {
                    return Err(TestCaseError::fail(format!("{difference}\n{source}\n{text}")));
                }
            }
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
balance udp [2001:db8::/48]:8000-8010 by round-robin on eth0 -> a, b weight 2
balance udp 53 by source-hash buckets 7 output -> a, b
balance tcp 81 -> a weight 0
balance tcp 82 from not 192.0.2.0/24 else drop -> a:9000, b:9000
";

/// Texts that differ in one rule, with what was done.
fn mutants(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let with = |at: usize, line: Option<String>| {
        let mut list: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        match line {
            Some(line) => list[at] = line,
            None => {
                list.remove(at);
            }
        }
        list.join("\n") + "\n"
    };
    let chain = |line: &str| line.split_once("-A ").map(|(_, rest)| rest.split(' ').next().unwrap_or("").to_owned());
    let mut all = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(own) = chain(line) else { continue };
        all.push((format!("without `{line}`"), with(at, None)));
        for (what, from, to) in [
            ("probability", "--probability 0.5", "--probability 0.500001"),
            ("probability", "--probability 0.333", "--probability 0.334"),
            ("probability", "--probability 0.25", "--probability 0.26"),
            ("every", "--every 3", "--every 4"),
            ("nodes", "nodemask 0x000000", "nodemask 0x000000"),
            ("port", "--dport 80 ", "--dport 80:81 "),
            ("port", "--dport 443 ", "--dport 442:443 "),
            ("port", "--dport 8000:8010", "--dport 8000:8011"),
            ("port", "--dport 8000:8010", "--dport 8001:8010"),
            ("prefix", "203.0.113.0/24", "203.0.112.0/23"),
            ("prefix", "2001:db8::/48", "2001:db8::/47"),
            ("client", "-s 10.0.0.0/8", "-s 10.0.0.0/9"),
            ("client", "-s 172.16.0.0/12", "-s 172.16.0.0/11"),
            ("client", "! -s 192.0.2.0/24", "-s 192.0.2.0/24"),
            ("interface", "-i eth0", "-i eth+"),
            ("protocol", "-p udp -m udp --dport 53", "-p tcp -m tcp --dport 53"),
            ("backend", "192.168.1.10", "192.168.1.13"),
            ("backend", "8080", "8081"),
            ("local", " -m addrtype --dst-type LOCAL", ""),
            ("loopback", "! -d 127.0.0.0/8 ", ""),
            ("sink", "--to-ports 9", "--to-ports 10"),
            ("sink", "-j REJECT", "-j DROP"),
            ("sink", "-j DROP", "-j ACCEPT"),
        ] {
            // A comment holds the same words, and means nothing. What filter asks of a connection that only we send to a
            // sink may be wider than it need be.
            let (rule, comment) = line.split_once(" -m comment").unwrap_or((line, ""));
            if what == "prefix" && own == "LBC-INPUT" {
                continue;
            }
            let after = comment.split_once(" -j ").map_or("", |(_, after)| after);
            let mutant = match rule.contains(from) {
                true => line.replacen(from, to, 1),
                false => line.replace(after, &after.replacen(from, to, 1)),
            };
            if mutant != **line && !after.is_empty() | rule.contains(from) {
                all.push((format!("{what} of `{line}`"), with(at, Some(mutant))));
            }
        }
        // Rules of the dispatch that match different packets may change places.
        let next = lines.get(at + 1).copied().unwrap_or("");
        if own.contains("SVC") && chain(next).as_ref() == Some(&own) && line[..3] == next[..3] {
            let mut list: Vec<&str> = lines.clone();
            list.swap(at, at + 1);
            all.push((format!("swapped `{line}` and the next"), list.join("\n") + "\n"));
        }
    }
    all
}

#[test]
fn every_bucket_of_the_largest_hash_is_proven() {
    let config =
        config("balance tcp 80 by source-hash buckets 343 -> 10.9.1.11, 10.9.1.12 weight 2, [fd09::1], [fd09::2]\n");
    prove(&config, &text(&config), Families::Both).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
}

#[test]
fn every_mutant_is_caught() {
    let config = config(MUTATED);
    let text = text(&config);
    prove(&config, &text, Families::Both).expect("the text itself is right");
    let mutants = mutants(&text);
    assert!(mutants.len() > 100, "{}", mutants.len());
    let missed: Vec<&str> = mutants
        .iter()
        .filter(|(_, mutant)| prove(&config, mutant, Families::Both).is_ok())
        .map(|(what, _)| what.as_str())
        .collect();
    // Gates of `from` list disjoint nets before one and the same target: their order means nothing.
    let missed: Vec<&&str> =
        missed.iter().filter(|what| !(what.contains("swapped") && what.contains("/from"))).collect();
    assert!(missed.is_empty(), "{} of {} were not caught:\n{missed:#?}\n{text}", missed.len(), mutants.len());
}

/// Chains that are long enough to be looked up by host, by port and by original destination.
#[test]
fn long_chains_are_proven_and_a_wrong_line_of_them_is_found() {
    let services = |count: u32| -> String {
        let one = |nth| match nth % 4 {
            0 => format!("balance tcp 203.0.113.{nth}:80 from 10.0.0.0/8 else reject -> 10.9.1.11\n"),
            1 => format!("balance tcp {} -> 10.9.1.12:{}\n", 1000 + nth, 2000 + nth),
            2 => format!("balance udp 203.0.113.1:{} -> 10.9.1.13\n", 3000 + nth),
            _ => format!("balance tcp 203.0.113.{nth}:80-81 output -> 10.9.1.14 weight 0\n"),
        };
        (1..=count).map(one).collect()
    };
    let config = config(&services(100));
    let text = text(&config);
    prove(&config, &text, Families::Both).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{text}"));
    let lines: Vec<&str> = text.lines().collect();
    let mut seen = 0;
    for (nth, line) in lines.iter().enumerate().filter(|(nth, line)| line.contains("-A ") && nth % 9 == 0) {
        let without = [&lines[..nth], &lines[nth + 1..]].concat().join("\n");
        assert!(matches!(prove(&config, &without, Families::Both), Err(Flaw::Differs(_))), "{line}");
        for (from, to) in [("-d 203.0.1", "-d 203.0.2"), ("dst 203.0.1", "dst 203.0.2"), ("port 1", "port 2")] {
            if line.contains(from) {
                let line = line.replace(from, to);
                let changed = [&lines[..nth], &[line.as_str()], &lines[nth + 1..]].concat();
                let proof = prove(&config, &changed.join("\n"), Families::Both);
                assert!(matches!(proof, Err(Flaw::Differs(_))), "{line}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "{seen}");
    let dump = read(&text, Families::Both).expect("own rules");
    let rules = Evaluator::new(&dump, Family::V4);
    for nth in 0..4000u32 {
        let dice: Dice = std::array::from_fn(|place| nth.wrapping_mul(2_654_435_761).rotate_left(4 * place as u32));
        check_horizon(&rules, &dice).unwrap_or_else(|difference| panic!("{difference}"));
    }
}
