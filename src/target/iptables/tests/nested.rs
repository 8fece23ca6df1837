//! The proof of many services whose prefixes and ports overlap.

use crate::generated::{config, nested};
use crate::ir::{Config, Family};
use crate::target::iptables::{Families, Hooks, lower, print_restore, prove};
use crate::target::{Layout, Options};
use crate::validate::Flaw;

fn text(config: &Config) -> String {
    let rules = lower(config, &Options { layout: Layout::Tree, ..Options::default() }).expect("a correct program");
    let mut text = Vec::new();
    print_restore(&rules, Families::One(Family::V4), Hooks::Include, &mut text).expect("memory takes every write");
    String::from_utf8(text).expect("UTF-8")
}

fn proven(config: &Config, text: &str) -> Result<u64, Flaw> {
    prove(config, text, Families::One(Family::V4)).map(|coverage| coverage.cost)
}

#[test]
fn a_listener_costs_much_the_same_among_few_and_among_many() {
    let cost = |services: u32| {
        let config = config(&nested(services, 1000));
        proven(&config, &text(&config)).unwrap_or_else(|flaw| panic!("{flaw:#?}")) / u64::from(services)
    };
    let (few, many) = (cost(50), cost(200));
    assert!(many < 3 * few, "{few} {many}");
}

/// The rules of a chain of listeners: the line, its destination, the first port and the last.
fn leaves(lines: &[String]) -> Vec<(usize, ipnet::Ipv4Net, u16, u16)> {
    let leaf = |(at, line): (usize, &String)| {
        let words: Vec<&str> = line.split(' ').collect();
        let behind = |word: &str| words.iter().position(|own| *own == word).map(|place| words[place + 1]);
        let led = behind("-g").or(behind("-j")).is_some_and(|to| to.starts_with("LBC-SVC-"));
        let ports =
            behind("--dport").filter(|_| led && behind("-A").is_some_and(|from| from.starts_with("LBC-AT-")))?;
        let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
        Some((at, behind("-d")?.parse().ok()?, first.parse().ok()?, last.parse().ok()?))
    };
    lines.iter().enumerate().filter_map(leaf).collect()
}

#[test]
fn a_wrong_listener_is_seen() {
    let config = config(&nested(120, 8000));
    let right: Vec<String> = text(&config).lines().map(str::to_owned).collect();
    let proven = |lines: &[String]| proven(&config, &(lines.join("\n") + "\n"));
    proven(&right).expect("the text itself is right");
    let leaves = leaves(&right);
    let chain = |at: usize| right[at].split("-A ").nth(1).and_then(|rest| rest.split(' ').next());
    let (mut wider, mut shorter, mut dropped, mut swapped) = (0, 0, 0, 0);
    for (nth, &(at, net, first, last)) in leaves.iter().enumerate() {
        let differs = |change: &dyn Fn(&mut Vec<String>)| {
            let mut wrong = right.clone();
            change(&mut wrong);
            assert_ne!(wrong, right);
            matches!(proven(&wrong), Err(Flaw::Differs(_)))
        };
        if nth % 29 == 0 {
            assert!(differs(&|wrong| drop(wrong.remove(at))), "{}", right[at]);
            dropped += 1;
        }
        if first == last && net.prefix_len() == 32 && nth % 11 == 0 {
            let ports = format!("--dport {first} ");
            assert!(differs(&|wrong| wrong[at] = right[at].replace(&ports, &format!("--dport {first}:{} ", last + 1))));
            wider += 1;
        }
        if net.prefix_len() < 32 && nth % 5 == 0 {
            let shorter_net = format!("-d {}/{} ", net.network(), net.prefix_len() - 1);
            let own = format!("-d {net} ");
            assert!(differs(&|wrong| wrong[at] = right[at].replace(&own, &shorter_net)), "{}", right[at]);
            shorter += 1;
        }
        let overlaps = |&&(next, other, low, high): &&(usize, ipnet::Ipv4Net, u16, u16)| {
            let same_net = net.contains(&other) || other.contains(&net);
            next == at + 1 && same_net && low <= last && first <= high && chain(at) == chain(next)
        };
        if nth % 3 == 0 && leaves.get(nth + 1).filter(overlaps).is_some() {
            assert!(differs(&|wrong| wrong.swap(at, at + 1)), "{}\n{}", right[at], right[at + 1]);
            swapped += 1;
        }
    }
    assert!(wider > 3 && shorter > 1 && dropped > 3 && swapped > 1, "{wider} {shorter} {dropped} {swapped}");
}
