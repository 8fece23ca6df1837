//! The proof of who the servers see: no script that changes another source passes it.

use crate::generated::config;
use crate::ir::Config;
use crate::target::Options;
use crate::target::nft::{Format, lower, prove_text};
use crate::validate::Flaw;
use crate::validate::tests::SOURCES;

fn text(config: &Config) -> String {
    let ruleset = lower(config, &Options::default(), Format::Text).expect("every option here is lowered");
    let mut text = Vec::new();
    ruleset.print_text(&mut text).expect("memory takes every write");
    String::from_utf8(text).expect("UTF-8")
}

fn is_caught(config: &Config, text: &str) -> bool {
    match prove_text(config, text) {
        Err(Flaw::Differs(difference)) => difference.seen.is_some(),
        Err(Flaw::Unreadable(_) | Flaw::TooLarge) | Ok(_) => false,
    }
}

#[test]
fn every_change_of_who_is_masqueraded_is_caught() {
    let config = config(SOURCES);
    let text = text(&config);
    prove_text(&config, &text).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{text}"));
    let lines: Vec<&str> = text.lines().collect();
    let (mut missed, mut count) = (Vec::new(), 0);
    let mut check = |what: String, changed: Vec<&str>| {
        count += 1;
        if !is_caught(&config, &(changed.join("\n") + "\n")) {
            missed.push(what);
        }
    };
    let mut behind = false;
    for (at, line) in lines.iter().enumerate() {
        if let Some(chain) = line.trim().strip_prefix("chain ") {
            behind = ["postrouting", "source-nat", "masquerade-", "snat-"].iter().any(|name| chain.starts_with(name))
                || chain.contains("-hairpin");
        }
        let ends = ["masquerade", "return", "snat ", "goto"].iter().any(|word| line.contains(word));
        if !behind || !ends || line.contains("chain ") {
            continue;
        }
        check(format!("without `{line}`"), [&lines[..at], &lines[at + 1..]].concat());
        for (from, to) in [
            ("masquerade", "snat ip to 192.0.2.1"),
            (" masquerade", " accept"),
            (" return", " masquerade"),
            ("192.0.2.9", "192.0.2.10"),
            ("2001:db8:9::9", "2001:db8:9::a"),
            ("ct original ip daddr 203.0.113.10 ct original proto-dst 80", "ct original proto-dst 80-81"),
            ("proto-dst 82", "proto-dst 8200"),
            ("proto-dst 8000-8003", "proto-dst 8000-8002"),
            ("10.9.1.0/24", "10.9.0.0/23"),
            ("fd09:1::/64", "fd09:1::/63"),
            ("{ 10.0.0.0/8", "{ 10.0.0.0/9"),
            ("l4proto tcp", "l4proto sctp"),
        ] {
            let (rule, comment) = line.split_once(" comment ").unwrap_or((line, ""));
            if !rule.contains(from) || (to.contains("ip to") && rule.contains("ip6")) {
                continue;
            }
            let comment = if comment.is_empty() { String::new() } else { format!(" comment {comment}") };
            let changed = format!("{}{comment}", rule.replacen(from, to, 1));
            check(format!("{to} of `{line}`"), [&lines[..at], &[changed.as_str()], &lines[at + 1..]].concat());
        }
    }
    let base = lines.iter().position(|line| line.contains("hook postrouting")).expect("a base chain");
    for stray in [
        "\t\tmasquerade",
        "\t\tct status dnat masquerade",
        "\t\tudp dport 9999 masquerade",
        "\t\tip saddr 198.51.100.7 snat ip to 192.0.2.7",
        "\t\tip saddr 198.51.100.7 drop",
    ] {
        check(stray.to_owned(), [&lines[..=base], &[stray], &lines[base + 1..]].concat());
    }
    assert!(missed.is_empty(), "{} of {count} were not caught:\n{missed:#?}\n{text}", missed.len());
    assert!(count > 40, "{count}");
}

#[test]
fn a_stray_masquerade_is_caught_where_no_service_has_any() {
    let config = config("balance tcp 203.0.113.10:80 -> 10.9.1.11, 10.9.1.12\nbalance udp 53 output -> :5353\n");
    let text = text(&config);
    prove_text(&config, &text).expect("the text itself is right");
    let with = |rule: &str| {
        let chain =
            format!("\tchain stray {{\n\t\ttype nat hook postrouting priority 100; policy accept;\n{rule}\t}}\n");
        let end = text.trim_end().strip_suffix('}').expect("a table");
        format!("{end}\n{chain}}}\n")
    };
    for stray in ["masquerade", "tcp dport 80 masquerade", "ip daddr 10.9.1.12 ct status dnat masquerade"] {
        assert!(is_caught(&config, &with(&format!("\t\t{stray}\n"))), "{stray}");
    }
    prove_text(&config, &with("")).expect("nothing is changed");
}

/// What asks each of many servers alone may not cost what all of them cost together.
#[test]
fn many_nets_and_backends_are_proven_in_as_many_steps() {
    let cost = |count: u32| {
        let nets: String =
            (0..count).map(|nth| format!("net n{nth} = 10.{}.{}.0/24\n", nth / 200, nth % 200)).collect();
        let backends: Vec<String> = (0..count).map(|nth| format!("10.{}.{}.5", nth / 200, nth % 200)).collect();
        let config = config(&format!("{nets}balance tcp 80 masquerade hairpin -> {}\n", backends.join(", ")));
        prove_text(&config, &text(&config)).expect("the text is right").cost
    };
    let (few, many) = (cost(20), cost(80));
    assert!(many < 6 * few, "{few} {many}");
}

/// Services that ask for their backends, because `on` is written.
#[test]
fn the_rules_of_many_services_are_looked_up_by_the_address_that_they_ask_for() {
    let cost = |count: u32| {
        let one = |nth| format!("balance tcp 203.0.113.{nth}:80 on eth0 masquerade hairpin -> 10.9.1.1, 10.9.1.2:81\n");
        let config = config(&(1..=count).map(one).collect::<String>());
        prove_text(&config, &text(&config)).expect("the text is right").cost
    };
    let (few, many) = (cost(30), cost(120));
    assert!(many < 6 * few, "{few} {many}");
}
