//! Thousands of services: they load, list and load again, and each has its own backends.

use std::fmt::Write;

use crate::case::with_hosts;
use crate::lab;
use crate::stats::check_shares;
use crate::traffic::Proto;

/// The ports of services that are probed, and those of all.
const FIRST: u16 = 10_000;
const SERVICES: u16 = 2_000;

/// The backends of a service, with their weights.
fn backends(nth: u16) -> Vec<(String, u64)> {
    let ports = [80, 443, 8080, 8081, 8082, 9000];
    let backend = |place: u16| {
        // One port for all, or one for each.
        let port = ports[usize::from((nth / 3 + place * (nth % 2)) % 6)];
        (format!("b{}:{port}", 1 + (nth + place) % 3), u64::from(1 + (nth / 7 * (place + 1)) % 4))
    };
    (0..2 + nth % 4).map(backend).collect()
}

/// Services of every kind on ports and addresses of their own.
fn program() -> String {
    let mut program = String::from("net some = 10.20.0.0/16, 10.21.0.0/16, fd20::/16, fd21::/16\n");
    for nth in 0..SERVICES {
        let port = FIRST + nth;
        let options = match nth % 20 {
            0..12 => "",
            12..15 => "by round-robin ",
            15..17 => "by source-hash ",
            17 => "from some counter masquerade ",
            18 => "from some else reject ",
            _ => "sticky 10m ",
        };
        let listener = if nth % 50 == 7 { format!("203.0.113.0/24:{port}") } else { format!("vip:{port}") };
        let _ = write!(program, "balance tcp,udp {listener} as s{nth} {options}-> ");
        let list: Vec<String> = backends(nth).iter().map(|(to, weight)| format!("{to} weight {weight}")).collect();
        let _ = writeln!(program, "{}", list.join(", "));
    }
    program
}

/// Whether a service takes its backends at random, for every client.
fn is_random(nth: u16) -> bool {
    nth % 20 < 12 || nth % 20 == 17
}

#[test]
fn two_thousand_services_load_list_and_reload_and_each_has_its_own_backends() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts(&program());
    for target in lab.targets() {
        let rules = target.compile(&program, &[]).expect("a correct program");
        let mark = if target.is_iptables() { "LBC-AT-" } else { "at-0-ip6" };
        assert!(rules.text.contains(mark), "{target}: the shape of large programs");
        lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
        for probe in 0..60u16 {
            let nth = probe.wrapping_mul(7919) % SERVICES;
            let (port, own) = (FIRST + nth, backends(nth));
            for (vip, source) in [("203.0.113.10", "10.20.0.7"), ("[2001:db8:ffff::10]", "fd20::7")] {
                if nth % 50 == 7 && vip.starts_with('[') {
                    continue;
                }
                for proto in [Proto::Tcp, Proto::Udp] {
                    let source = source.parse().expect("an address");
                    let probe = lab.probe(proto, &format!("{vip}:{port}")).sources([source]);
                    let found = probe.one().server().to_owned();
                    assert!(
                        own.iter().any(|(to, _)| *to == found),
                        "{target} {vip}:{port} came to {found}, not {own:?}"
                    );
                }
            }
        }
        for nth in (0..SERVICES).filter(|nth| is_random(*nth) && nth % 50 != 7).step_by(401) {
            let mut weights: Vec<(String, u64)> = Vec::new();
            for (to, weight) in backends(nth) {
                match weights.iter_mut().find(|(other, _)| *other == to) {
                    Some((_, sum)) => *sum += weight,
                    None => weights.push((to, weight)),
                }
            }
            let wanted: Vec<(&str, u64)> = weights.iter().map(|(to, weight)| (to.as_str(), *weight)).collect();
            let source = "10.20.0.7".parse().expect("an address");
            let probe = lab.probe(Proto::Udp, &format!("203.0.113.10:{}", FIRST + nth)).sources([source]);
            let servers = probe.count(600).servers();
            check_shares(&servers, &wanted).unwrap_or_else(|trouble| panic!("{target}: service {nth}: {trouble}"));
        }
    }
}

/// Round robin by rules in a row gives the same sequence as by one map, over both protocols.
#[test]
fn turns_by_rules_in_a_row_follow_the_slots() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts("balance tcp,udp vip:80 by round-robin -> b1 weight 3, b2 weight 2, b3\n");
    for target in lab.targets().filter(|target| !target.is_iptables()) {
        lab.clear().expect("the balancer can be emptied");
        lab.load(&target.compile(&program, &["--layout", "tree"]).expect("a correct program")).expect("rules load");
        let probe = |nth: usize| {
            let proto = [Proto::Tcp, Proto::Udp][nth % 2];
            lab.probe(proto, "203.0.113.10:80").one().server().to_owned()
        };
        let found: Vec<String> = (0..12).map(probe).collect();
        let slots = ["b1:80", "b2:80", "b1:80", "b3:80", "b2:80", "b1:80"];
        assert_eq!(found, [slots, slots].concat(), "{target}");
    }
}
