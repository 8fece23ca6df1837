//! Options that meet in one service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::case::{check, with_hosts};
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::Target;
use crate::traffic::{Outcome, Proto};

/// Clients of the client's own nets: 10.20.0.0/16 and fd20::/64.
fn clients(ipv6: bool, count: u16) -> Vec<IpAddr> {
    let text = |nth: u16| match ipv6 {
        true => format!("fd20::{:x}", nth + 1),
        false => format!("10.20.{}.{}", nth / 200, nth % 200 + 1),
    };
    (0..count).map(|nth| text(nth).parse().expect("an address")).collect()
}

fn at(ipv6: bool, port: u16) -> String {
    if ipv6 { format!("[2001:db8:ffff::10]:{port}") } else { format!("203.0.113.10:{port}") }
}

fn install(lab: &Lab, target: Target, program: &str) {
    lab.install(target, &with_hosts(program)).expect("a correct program");
}

/// The address by which a backend knows a client.
#[track_caller]
fn peer(outcome: &Outcome) -> IpAddr {
    outcome.peer().unwrap_or_else(|| panic!("no backend was reached: {outcome}"))
}

#[test]
fn sticky_masqueraded_and_only_for_some() {
    let Some(lab) = lab!() else { return };
    let program = "balance tcp,udp vip:80 by round-robin sticky 10m masquerade counter \
                   from 10.20.0.0/16, fd20::/64 else reject -> b1, b2:8080, b3\n\
                   balance tcp,udp vip:81 as plain -> b1\n";
    for target in lab.targets() {
        for ipv6 in [false, true] {
            install(&lab, target, program);
            let balancer = Host::Balancer.address(ipv6);
            let clients = clients(ipv6, 12);
            let probe = |proto| lab.probe(proto, &at(ipv6, 80)).sources(clients.clone());
            let first = probe(Proto::Tcp).send();
            for (nth, outcome) in first.iter().enumerate() {
                let server = ["b1:80", "b2:8080", "b3:80"][nth % 3];
                assert_eq!(outcome.server(), server, "{target}: client {nth} takes its turn");
                assert_eq!(peer(outcome), balancer, "{target}");
            }
            for proto in [Proto::Udp, Proto::Tcp] {
                let again = probe(proto).send();
                for (old, new) in first.iter().zip(&again) {
                    assert_eq!(old.server(), new.server(), "{target}: a client that is known, over {proto:?}");
                    assert_eq!(peer(new), balancer, "{target}");
                }
            }
            // Known clients took no turn: the next new one gets the first backend.
            let late = if ipv6 { "fd20::ffff" } else { "10.20.9.9" };
            assert_eq!(lab.probe(Proto::Tcp, &at(ipv6, 80)).source(late).one().server(), "b1:80", "{target}");
            for proto in [Proto::Tcp, Proto::Udp] {
                let stranger = lab.probe(proto, &at(ipv6, 80)).one();
                assert!(matches!(stranger, Outcome::Refused), "{target}: {stranger}");
                let plain = lab.probe(proto, &at(ipv6, 81)).one();
                assert_eq!(peer(&plain), Host::Client.address(ipv6), "{target}: the other service is not masqueraded");
            }
        }
    }
}

/// How many connections of a burst go through, and that the others fare as `kept_out` says.
#[track_caller]
fn passed(outcomes: &[Outcome], kept_out: fn(&Outcome) -> bool) -> usize {
    let passed = outcomes.iter().filter(|outcome| outcome.peer().is_some()).count();
    for outcome in outcomes.iter().filter(|outcome| outcome.peer().is_none()) {
        assert!(kept_out(outcome), "{outcome}");
    }
    passed
}

#[test]
fn a_limit_counts_the_balancers_own_connections_too() {
    let Some(lab) = lab!() else { return };
    // Ten an hour: none comes back while the test runs.
    let program = "balance tcp,udp vip:80 by round-robin output limit 5/hour burst 9 else reject -> b1, b2, b3\n";
    for target in lab.targets() {
        for ipv6 in [false, true] {
            install(&lab, target, program);
            let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused | Outcome::Unreachable(_));
            let own = lab.probe(Proto::Tcp, &at(ipv6, 80)).from(Host::Balancer).count(4).send();
            assert_eq!(passed(&own, refused), 4, "{target}");
            let others = lab.probe(Proto::Udp, &at(ipv6, 80)).count(12).send();
            assert_eq!(passed(&others, refused), 5, "{target}: protocols and hooks share one limit");
            let own = lab.probe(Proto::Tcp, &at(ipv6, 80)).from(Host::Balancer).count(3).send();
            assert_eq!(passed(&own, refused), 0, "{target}");
        }
    }
}

#[test]
fn what_a_limit_keeps_out_takes_no_turn_and_reaches_no_listener_of_the_machine() {
    let Some(lab) = lab!() else { return };
    // The balancer itself listens on port 80 and on b1's port.
    let program = "balance tcp,udp 80 by round-robin limit 1/hour burst 4 per source -> b1, b2, b3\n";
    for target in lab.targets() {
        for ipv6 in [false, true] {
            install(&lab, target, program);
            let [one, other] = [clients(ipv6, 2)[0], clients(ipv6, 2)[1]];
            let from = |client, count| lab.probe(Proto::Tcp, &at(ipv6, 80)).sources([client]).count(count);
            let silent = |outcome: &Outcome| matches!(outcome, Outcome::TimedOut);
            let first = from(one, 9).expecting_silence().send();
            assert_eq!(passed(&first, silent), 4, "{target}");
            let second = from(other, 5).expecting_silence().send();
            assert_eq!(passed(&second, silent), 4, "{target}: a client has a bucket of its own");
            let turns: Vec<&str> =
                first.iter().chain(&second).filter(|outcome| outcome.peer().is_some()).map(Outcome::server).collect();
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            turns.iter().for_each(|server| *counts.entry(server).or_default() += 1);
            assert_eq!(counts, BTreeMap::from([("b1:80", 3), ("b2:80", 3), ("b3:80", 2)]), "{target}: {turns:?}");
        }
    }
}

const EVERYTHING: &str = "\
net backends = 10.9.1.0/24, fd09:1::/64
net clients = 10.20.0.0/16, 10.9.0.0/24, fd20::/64, fd09:0::/64
default counter
balance tcp,udp vip:80 as all by round-robin from clients, backends else reject on cl0, be0 masquerade hairpin \
    sticky 10m limit 1000/second burst 500 per source else reject max-connections 1000 log \"all x: \" \
    -> b1:8080, b2:8080
balance tcp,udp,sctp vip:443 as fixed snat 10.9.1.1, fd09:1::1 output max-connections 500 per source -> b3
balance tcp vip:81 as gone log -> b1 weight 0
balance tcp 8000-8003 as hashed by source-hash masquerade -> b1:9000-9003, b2:9000-9003
";

#[test]
fn both_families_with_everything_on() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        let rules = target.compile(&with_hosts(EVERYTHING), &[]).expect("a correct program");
        lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
        for ipv6 in [false, true] {
            let (vip, local) = (|port| at(ipv6, port), Host::Balancer.address(ipv6));
            for proto in [Proto::Tcp, Proto::Udp] {
                let outcome = lab.probe(proto, &vip(80)).one();
                assert!(outcome.server().ends_with(":8080"), "{target}: {outcome}");
                assert_eq!(peer(&outcome), Host::Client.address(ipv6), "{target}: no neighbour of the backends");
                let known = lab.probe(proto, &vip(80)).one();
                assert_eq!(known.server(), outcome.server(), "{target}");
                for backend in 1..=3 {
                    let own = lab.probe(proto, &vip(80)).from(Host::Backend(backend)).one();
                    assert!(own.server().ends_with(":8080"), "{target}: b{backend}: {own}");
                    assert_eq!(peer(&own), local, "{target}: b{backend} shares a net with the backends");
                }
                let stranger = lab.probe(proto, &vip(80)).from(Host::Client2).one();
                // Not on cl1: the balancer's own listener answers.
                assert_eq!(stranger.server(), "lb:80", "{target}");
                let fixed = lab.probe(proto, &vip(443)).one();
                assert_eq!((fixed.server(), peer(&fixed)), ("b3:443", local), "{target}");
            }
            let gone = lab.probe(Proto::Tcp, &vip(81)).one();
            assert!(matches!(gone, Outcome::Refused), "{target}: {gone}");
            let hashed = lab.probe(Proto::Tcp, &vip(8002)).one();
            assert!(hashed.server().ends_with(":9002"), "{target}: {hashed}");
            assert_eq!(peer(&hashed), local, "{target}");
        }
    }
}

/// An example as users have it.
fn example(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples").join(path);
    std::fs::read_to_string(path).expect("an example")
}

#[test]
fn the_example_with_every_option() {
    let Some(lab) = lab!() else { return };
    let flows = "tcp client > LOCAL:443 = any b1:8080 b2:8080 b3:8080
                 tcp client2 > LOCAL:443 = any b1:8080 b2:8080 b3:8080
                 tcp client > LOCAL:53 = seq b1:53 b2:53 b1:53
                 udp client > LOCAL:53 = seq b2:53 b1:53 b2:53
                 tcp client@20.5 > LOCAL4:8000-8003 = b1:+1000
                 tcp client > LOCAL:8000 = refused
                 tcp,udp client2@21.5 > LOCAL:81 = b3:81
                 tcp client@20.5 > LOCAL:81 = lb:81
                 tcp client > OTHER:9000 = b3:9001
                 tcp,udp client > OTHER:80 = refused
                 tcp client > LB:9053 = any lb:9050 lb:9051
                 tcp lb > LB:9053 = any lb:9050 lb:9051";
    check(&lab, &example("everything.lb"), flows);
}

#[test]
fn the_example_that_accepts() {
    let Some(lab) = lab!() else { return };
    let own = example("iptables/accept.lb").replace("include \"../everything.lb\"\n", "");
    let program = format!("{}{own}", example("everything.lb"));
    for target in lab.targets().filter(|target| target.is_iptables()) {
        let rules = target.compile(&with_hosts(&program), &[]).expect("a correct program");
        lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
        for ipv6 in [false, true] {
            lab.iptables(target, ipv6, &["-w", "5", "-P", "FORWARD", "DROP"]).expect("a policy");
            let spare = if ipv6 { "[2001:db8:ffff::11]:443" } else { "203.0.113.11:443" };
            let mail = lab.probe(Proto::Tcp, spare).one();
            assert_eq!((mail.server(), peer(&mail)), ("b2:8081", Host::Balancer.address(ipv6)), "{target}");
            let shop = lab.probe(Proto::Tcp, &at(ipv6, 443)).expecting_silence().one();
            assert!(matches!(shop, Outcome::TimedOut), "{target}: {shop}");
            lab.iptables(target, ipv6, &["-w", "5", "-P", "FORWARD", "ACCEPT"]).expect("a policy");
        }
    }
    lab.clear().expect("the balancer can be emptied");
}

#[test]
fn sctp_has_its_options_too() {
    let Some(lab) = lab!() else { return };
    let program = "balance sctp vip:80 by round-robin sticky 10m masquerade counter log limit 100/second \
                   max-connections 100 -> b1:8080, b2:8080\n\
                   balance sctp vip:81 snat 10.9.0.1, fd09::1 limit 1/hour burst 2 -> b3\n\
                   balance sctp vip:443 as near masquerade hairpin -> b3\n";
    for target in lab.targets() {
        for ipv6 in [false, true] {
            install(&lab, target, program);
            let probe = |port| lab.probe(Proto::Sctp, &at(ipv6, port)).expecting_silence();
            let known = clients(ipv6, 4);
            for _ in 0..2 {
                let outcomes = probe(80).sources(known.clone()).send();
                for (nth, outcome) in outcomes.iter().enumerate() {
                    assert_eq!(outcome.server(), ["b1:8080", "b2:8080"][nth % 2], "{target}: client {nth}");
                    assert_eq!(peer(outcome), Host::Balancer.address(ipv6), "{target}");
                }
            }
            let few = probe(81).count(5).send();
            assert_eq!(passed(&few, |outcome| matches!(outcome, Outcome::TimedOut)), 2, "{target}");
            let fixed: IpAddr = if ipv6 { "fd09::1" } else { "10.9.0.1" }.parse().expect("an address");
            assert_eq!(peer(&few[0]), fixed, "{target}");
            assert_eq!(peer(&probe(443).one()), Host::Client.address(ipv6), "{target}: no neighbour of the backend");
        }
    }
}
