//! The proof where the machine remembers something: limits that are reached, clients that are known.

use crate::generated::config;
use crate::ir::Config;
use crate::target::iptables::{Families, Hooks, lower, print_restore, prove};
use crate::target::{Options, StickyStore};
use crate::validate::tests::STATEFUL;

fn text(config: &Config, sticky_store: StickyStore) -> String {
    let options = Options { sticky_store, ..Options::default() };
    let rules = lower(config, &options).expect("every option here is lowered");
    let mut text = Vec::new();
    print_restore(&rules, Families::Both, Hooks::Include, &mut text).expect("memory takes every write");
    String::from_utf8(text).expect("UTF-8")
}

/// Another word in a rule that remembers.
const CHANGES: &[(&str, &str)] = &[
    ("-g LBC-REJECT", "-g LBC-DROP"),
    ("-g LBC-DROP", "-g LBC-REJECT"),
    ("above 5/sec", "above 6/sec"),
    ("above 5/sec", "above 5/min"),
    ("above 5/min", "above 5/hour"),
    ("--hashlimit-burst 7", "--hashlimit-burst 8"),
    (" --hashlimit-mode srcip", ""),
    ("--connlimit-above 9", "--connlimit-above 8"),
    ("--connlimit-mask 32", "--connlimit-mask 0"),
    ("--connlimit-mask 128", "--connlimit-mask 64"),
    ("--seconds 600", "--seconds 599"),
    ("--seconds 600", "--seconds 602"),
    ("--seconds 60 ", "--seconds 600 "),
    (":1 --mask", ":2 --mask"),
    ("10.9.1.11:5 --mask", "10.9.1.12:5 --mask"),
    (" --name LBC:both:", " --name LBC:turns:"),
    ("-g LBC-SVC-both/b1", "-g LBC-SVC-both/b2"),
    ("-g LBC-SVC-kept/b3", "-g LBC-SVC-kept/b1"),
    ("-g LBC-SVC-turns/b2", "-g LBC-SVC-turns/b1"),
    ("--match-set", "! --match-set"),
];

#[test]
fn what_remembers_is_proven_and_every_change_of_it_is_seen() {
    let config = config(STATEFUL);
    for store in [StickyStore::Recent, StickyStore::Ipset] {
        let text = text(&config, store);
        prove(&config, &text, Families::Both).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{text}"));
        let lines: Vec<&str> = text.lines().collect();
        let with = |at: usize, line: Option<String>| -> String {
            let before = lines[..at].iter().map(|line| (*line).to_owned());
            let after = lines[at + 1..].iter().map(|line| (*line).to_owned());
            before.chain(line).chain(after).map(|line| line + "\n").collect()
        };
        let remembers = ["-m recent", "-m hashlimit", "-m connlimit", "--match-set", "-j SET"];
        let mut mutants = Vec::new();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| remembers.iter().any(|one| line.contains(one))) {
            mutants.push((format!("without `{line}`"), with(at, None)));
            for (from, to) in CHANGES {
                if line.contains(from) {
                    mutants
                        .push((format!("`{from}` is `{to}` in `{line}`"), with(at, Some(line.replacen(from, to, 1)))));
                }
            }
            if line.contains("hashlimit") {
                let (start, end) = line.split_once(" -g ").expect("a limit goes somewhere");
                let back = format!("{start} -j {}", end.split(' ').next().expect("a chain"));
                // What is over the limit comes back behind a jump, and a sink takes it all the same: both mean one thing.
                prove(&config, &with(at, Some(back)), Families::Both).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
            }
        }
        // The limits ask in this order: of what is over both the first decides.
        let at = lines.iter().position(|line| line.contains("-A LBC-SVC-both -m hashlimit")).expect("the limit");
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        mutants.push(("limits swapped".to_owned(), swapped.join("\n") + "\n"));
        assert!(mutants.len() > 60, "{}", mutants.len());
        let missed: Vec<&String> = mutants
            .iter()
            .filter(|(_, mutant)| prove(&config, mutant, Families::Both).is_ok())
            .map(|(what, _)| what)
            .collect();
        assert!(missed.is_empty(), "{} of {} were not caught:\n{missed:#?}\n{text}", missed.len(), mutants.len());
    }
}

#[test]
fn one_list_of_two_services_is_seen() {
    let config = config(
        "balance tcp 80 as one sticky 10m -> 10.0.0.1, 10.0.0.2\nbalance tcp 81 as two sticky 10m -> 10.0.0.1, 10.0.0.3\n",
    );
    let text = text(&config, StickyStore::Recent);
    prove(&config, &text, Families::Both).unwrap_or_else(|flaw| panic!("{flaw:#?}"));
    let shared = text.replace("LBC:two:10.0.0.1", "LBC:one:10.0.0.1");
    assert_ne!(shared, text);
    prove(&config, &shared, Families::Both).expect_err("clients of one service are known to the other");
}
