//! The proof of who the servers see: no text that changes another source passes it.

use crate::generated::config;
use crate::ir::Config;
use crate::target::Options;
use crate::target::iptables::{Families, Hooks, lower, print_restore, prove};
use crate::validate::Flaw;
use crate::validate::tests::SOURCES;

fn text(config: &Config) -> String {
    let rules = lower(config, &Options::default()).expect("every option here is lowered");
    let mut text = Vec::new();
    print_restore(&rules, Families::Both, Hooks::Include, &mut text).expect("memory takes every write");
    String::from_utf8(text).expect("UTF-8")
}

/// Whether the proof finds that a server sees another source.
fn is_caught(config: &Config, text: &str) -> bool {
    match prove(config, text, Families::Both) {
        Err(Flaw::Differs(difference)) => difference.seen.is_some(),
        Err(Flaw::Unreadable(_) | Flaw::TooLarge) | Ok(_) => false,
    }
}

#[test]
fn every_change_of_who_is_masqueraded_is_caught() {
    let config = config(SOURCES);
    let text = text(&config);
    prove(&config, &text, Families::Both).unwrap_or_else(|flaw| panic!("{flaw:#?}\n{text}"));
    let lines: Vec<&str> = text.lines().collect();
    let (mut missed, mut count) = (Vec::new(), 0);
    let mut check = |what: String, changed: Vec<&str>| {
        count += 1;
        if !is_caught(&config, &(changed.join("\n") + "\n")) {
            missed.push(what);
        }
    };
    for (at, line) in lines.iter().enumerate() {
        let behind = ["-A LBC-POSTROUTING", "/hp ", "/src ", "-I POSTROUTING"];
        if !line.contains("-A ") && !line.contains("-I POST") || !behind.iter().any(|chain| line.contains(chain)) {
            continue;
        }
        check(format!("without `{line}`"), [&lines[..at], &lines[at + 1..]].concat());
        for (from, to) in [
            ("-j MASQUERADE", "-j SNAT --to-source ADDRESS"),
            ("-j MASQUERADE", "-j ACCEPT"),
            ("-j RETURN", "-j MASQUERADE"),
            ("192.0.2.9", "192.0.2.10"),
            ("2001:db8:9::9", "2001:db8:9::a"),
            ("--ctorigdst 203.0.113.10 --ctorigdstport 80", "--ctorigdstport 80:81"),
            ("--ctorigdstport 82", "--ctorigdstport 8200"),
            ("--ctorigdstport 8000:8003", "--ctorigdstport 8000:8002"),
            ("10.9.1.0/24", "10.9.0.0/23"),
            ("fd09:1::/64", "fd09:1::/63"),
            ("-s 10.0.0.0/8", "-s 10.0.0.0/9"),
            ("--ctorigsrc 10.0.0.0/8", "--ctorigsrc 10.0.0.0/9"),
            ("-p tcp", "-p sctp"),
        ] {
            let (rule, rest) = line.split_once(" -m comment").unwrap_or((line, ""));
            let to = to.replace("ADDRESS", if line.starts_with("-6") { "fd00::1" } else { "192.0.2.1" });
            let comment = if rest.is_empty() { "" } else { " -m comment" };
            let changed = match (rule.contains(from), rest.contains(from)) {
                (true, _) => format!("{}{comment}{rest}", rule.replacen(from, &to, 1)),
                (false, true) => format!("{rule}{comment}{}", rest.replacen(from, &to, 1)),
                (false, false) => continue,
            };
            check(format!("{to} of `{line}`"), [&lines[..at], &[changed.as_str()], &lines[at + 1..]].concat());
        }
    }
    let jump = lines.iter().position(|line| line.contains("-I POSTROUTING")).expect("a jump");
    for stray in [
        "-A LBC-POSTROUTING -j MASQUERADE",
        "-A POSTROUTING -p udp -m udp --dport 9999 -j MASQUERADE",
        "-A POSTROUTING -s 198.51.100.7 -j MASQUERADE",
        "-A POSTROUTING -m conntrack --ctstate DNAT -j SNAT --to-source 192.0.2.7",
    ] {
        let stray = if stray.contains(" 1") { format!("-4 {stray}") } else { stray.to_owned() };
        check(stray.clone(), [&lines[..jump], &[stray.as_str()], &lines[jump..]].concat());
    }
    assert!(missed.is_empty(), "{} of {count} were not caught:\n{missed:#?}\n{text}", missed.len());
    assert!(count > 40, "{count}");
}

#[test]
fn a_stray_masquerade_is_caught_where_no_service_has_any() {
    let config = config("balance tcp 203.0.113.10:80 -> 10.9.1.11, 10.9.1.12\nbalance udp 53 output -> :5353\n");
    let text = text(&config);
    prove(&config, &text, Families::Both).expect("the text itself is right");
    for stray in ["", "-p tcp -m tcp --dport 80 ", "-d 10.9.1.12 -m conntrack --ctstate DNAT ", "-s 10.0.0.7 "] {
        let changed = text.replace("-I PREROUTING", &format!("-A POSTROUTING {stray}-j MASQUERADE\n-I PREROUTING"));
        assert!(is_caught(&config, &changed), "{stray}");
    }
    let harmless = text.replace("-I PREROUTING", "-A POSTROUTING -j RETURN\n-I PREROUTING");
    prove(&config, &harmless, Families::Both).expect("nothing is changed");
}

/// What asks each of many servers alone may not cost what all of them cost together.
#[test]
fn many_nets_and_backends_are_proven_in_as_many_steps() {
    let cost = |count: u32| {
        let nets: String =
            (0..count).map(|nth| format!("net n{nth} = 10.{}.{}.0/24\n", nth / 200, nth % 200)).collect();
        let backends: Vec<String> = (0..count).map(|nth| format!("10.{}.{}.5", nth / 200, nth % 200)).collect();
        let config = config(&format!("{nets}balance tcp 80 masquerade hairpin -> {}\n", backends.join(", ")));
        prove(&config, &text(&config), Families::Both).expect("the text is right").cost
    };
    let (few, many) = (cost(20), cost(80));
    assert!(many < 6 * few, "{few} {many}");
}
