//! `accept`: what goes to backends gets through a FORWARD chain that drops everything else.

use crate::case::{failures, with_hosts};
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::{Rules, Target};
use crate::traffic::{Outcome, Proto};

fn iptables(lab: &Lab) -> impl Iterator<Item = Target> + use<> {
    lab.targets().filter(|target| target.is_iptables())
}

/// An administrator's default.
fn drop_what_is_forwarded(lab: &Lab, target: Target) {
    for ipv6 in [false, true] {
        lab.iptables(target, ipv6, &["-w", "5", "-P", "FORWARD", "DROP"]).expect("a policy");
    }
}

fn accept_all_again(lab: &Lab, target: Target) {
    for ipv6 in [false, true] {
        lab.iptables(target, ipv6, &["-w", "5", "-P", "FORWARD", "ACCEPT"]).expect("a policy");
    }
}

/// Loads a program, and then drops what it does not accept.
fn install(lab: &Lab, target: Target, program: &str) {
    lab.install(target, &with_hosts(program)).expect("a correct program");
    drop_what_is_forwarded(lab, target);
}

const SERVICES: &str = "\
balance tcp,udp,sctp vip:80 as exact accept -> b1:8080
balance tcp,udp vip:81 as closed -> b1:8080
balance tcp,udp 443,8000-8003 as own accept from 10.20.0.0/16, 10.9.0.0/24, fd20::/64, fd09:0::/64 -> b2
balance tcp routed:80 as some from not 10.20.0.0/25, 10.20.1.0/24, fd20::/80, fd20:0:0:0:1::/80 accept -> b3
balance tcp routed:80 as others -> b3:8080
balance tcp *:8001 as everywhere on cl1 accept -> b3
";

#[test]
fn accept_lets_its_own_service_through_and_no_other() {
    let Some(lab) = lab!() else { return };
    for target in iptables(&lab) {
        install(&lab, target, SERVICES);
        let failures = failures(
            &lab,
            target,
            SERVICES,
            "tcp,udp,sctp client > LOCAL:80 = b1:8080
             tcp,udp client@20.1 > LOCAL:443,8000,8003 = b2:=
             tcp client@20.200 > ROUTED4:80 = b3:80
             tcp client2@21.7 > ROUTED:80 = b3:80
             tcp client2 > LOCAL:8001 = b3:8001",
        );
        assert!(failures.is_empty(), "{target}\n{failures}");
        for (proto, to, source) in [
            (Proto::Tcp, "203.0.113.10:81", "10.9.0.2"),
            (Proto::Udp, "[2001:db8:ffff::10]:81", "fd20::7"),
            // Of `others`, which says nothing of `accept` and differs in its clients alone.
            (Proto::Tcp, "203.0.113.20:80", "10.20.1.7"),
            (Proto::Tcp, "[2001:db8:ffff::20]:80", "fd20::5"),
            // What the balancer would forward as a router.
            (Proto::Tcp, "203.0.113.30:80", "10.9.0.2"),
        ] {
            let outcome = lab.probe(proto, to).source(source).expecting_silence().one();
            assert!(matches!(outcome, Outcome::TimedOut), "{target}: {to} from {source}: {outcome}");
        }
        accept_all_again(&lab, target);
        lab.clear().expect("the balancer can be emptied");
    }
}

#[test]
fn drained_backends_keep_the_connections_that_they_have() {
    let Some(lab) = lab!() else { return };
    let services = "balance tcp,udp vip:80 accept -> b1\nbalance tcp,udp 443 accept -> b2\n";
    let drained = services.replace("-> b1", "-> b1 weight 0").replace("-> b2", "-> b2 weight 0");
    for target in iptables(&lab) {
        for ipv6 in [false, true] {
            install(&lab, target, services);
            let vip = if ipv6 { "[2001:db8:ffff::10]" } else { "203.0.113.10" };
            let old: Vec<_> = [80, 443]
                .into_iter()
                .map(|port| {
                    let probe = lab.probe(Proto::Udp, &format!("{vip}:{port}")).source_port(40_000 + port);
                    assert!(matches!(probe.one(), Outcome::Reached { .. }), "{target}");
                    probe
                })
                .collect();
            lab.replace(target, &with_hosts(&drained)).expect("a correct program");
            for (probe, server) in old.iter().zip(["b1:80", "b2:443"]) {
                assert_eq!(probe.one().server(), server, "{target}: the old flow goes on");
            }
            for port in [80, 443] {
                let new = lab.probe(Proto::Tcp, &format!("{vip}:{port}")).one();
                assert!(matches!(new, Outcome::Refused), "{target}: {new}");
            }
            accept_all_again(&lab, target);
        }
    }
    lab.clear().expect("the balancer can be emptied");
}

#[test]
fn connections_of_the_balancer_itself_need_no_accept() {
    let Some(lab) = lab!() else { return };
    let services = "balance tcp vip:80 output accept -> b1\n";
    for target in iptables(&lab) {
        install(&lab, target, services);
        let outcome = lab.probe(Proto::Tcp, "203.0.113.10:80").from(Host::Balancer).one();
        assert_eq!(outcome.server(), "b1:80", "{target}");
        accept_all_again(&lab, target);
    }
    lab.clear().expect("the balancer can be emptied");
}

/// A closed port of a backend, and one that no service asks about: clients are told at once, by an ICMP error that the
/// balancer forwards.
#[test]
fn icmp_errors_of_backends_get_through_to_the_client() {
    let Some(lab) = lab!() else { return };
    let services = "balance tcp,udp vip:80 as shut accept -> b1:7777\n\
                    balance udp 443 as own from 10.20.0.0/16, 10.9.0.0/24, fd20::/64, fd09:0::/64 accept -> b2:7778\n";
    for target in lab.targets().filter(|target| *target != Target::NftJson) {
        if target.is_iptables() {
            install(&lab, target, services);
        } else {
            let trouble = target.compile(&with_hosts(services), &[]).expect_err("nft has no accept");
            let lines = trouble.0.lines().map(str::trim).filter(|line| line.starts_with("ct st"));
            let own: Vec<&str> = lines.collect();
            let chain = format!(
                "table inet mine {{\n\tchain forward {{\n\t\ttype filter hook forward priority 0; policy drop;\n\t\t{}\n\t}}\n}}\n",
                own.join("\n\t\t")
            );
            let program = with_hosts(&services.replace(" accept", ""));
            lab.load(&target.compile(&program, &[]).expect("a correct program")).expect("rules load");
            lab.load(&Rules { target: Target::Nft, text: chain }).expect("the rules that the error prints load");
        }
        for vip in ["203.0.113.10", "[2001:db8:ffff::10]"] {
            for (proto, port) in [(Proto::Udp, 80), (Proto::Udp, 443), (Proto::Tcp, 80)] {
                let outcome = lab.probe(proto, &format!("{vip}:{port}")).one();
                assert!(matches!(outcome, Outcome::Refused), "{target}: {proto:?} {vip}:{port}: {outcome}");
            }
        }
        if target.is_iptables() {
            accept_all_again(&lab, target);
        }
        lab.clear().expect("the balancer can be emptied");
    }
}

/// The rules that the error prints, in a forward chain that drops everything else.
#[test]
fn the_rules_that_nft_asks_for_let_the_service_through_and_no_other() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets().filter(|target| !target.is_iptables()) {
        let trouble = target.compile(&with_hosts(SERVICES), &[]).expect_err("nft has no accept");
        let rules: Vec<&str> = trouble.0.lines().map(str::trim).filter(|line| line.starts_with("ct st")).collect();
        assert!(rules.len() > 10, "{trouble}");
        let chain = format!(
            "table inet mine {{\n\tchain own {{\n\t\t{}\n\t}}\n\tchain forward {{\n\t\t\
             type filter hook forward priority 0; policy drop;\n\t\tjump own\n\t}}\n}}\n",
            rules.join("\n\t\t")
        );
        lab.check_fixpoint(&Rules { target: Target::Nft, text: chain.clone() })
            .unwrap_or_else(|trouble| panic!("{trouble}"));
        lab.clear().expect("the balancer can be emptied");
        lab.load(&Rules { target: Target::Nft, text: chain }).expect("the rules that the error prints load");
        let program = with_hosts(&SERVICES.replace(" accept", ""));
        lab.load(&target.compile(&program, &[]).expect("a correct program")).expect("rules load");
        for ipv6 in [false, true] {
            let at = |port: u16, routed: bool| match (ipv6, routed) {
                (false, false) => format!("203.0.113.10:{port}"),
                (false, true) => format!("203.0.113.20:{port}"),
                (true, false) => format!("[2001:db8:ffff::10]:{port}"),
                (true, true) => format!("[2001:db8:ffff::20]:{port}"),
            };
            let net = |second: &str, last: &str| match ipv6 {
                false => format!("10.{second}.0.{last}"),
                true => format!("fd{second}::{last}"),
            };
            let reached = [
                (Proto::Tcp, at(80, false), net("20", "9"), "b1:8080"),
                (Proto::Udp, at(80, false), net("20", "9"), "b1:8080"),
                (Proto::Tcp, at(443, false), net("20", "9"), "b2:443"),
                (Proto::Udp, at(8003, false), net("20", "9"), "b2:8003"),
            ];
            for (proto, to, source, server) in reached {
                let outcome = lab.probe(proto, &to).source(&source).one();
                assert_eq!(outcome.server(), server, "{target} {proto:?} {to} from {source}: {outcome}");
            }
            let outcome = lab.probe(Proto::Tcp, &at(80, true)).from(Host::Client2).source(&net("21", "7")).one();
            assert_eq!(outcome.server(), "b3:80", "{target}");
            let outcome = lab.probe(Proto::Tcp, &at(8001, false)).from(Host::Client2).one();
            assert_eq!(outcome.server(), "b3:8001", "{target}");
            for to in [at(81, false), at(80, true)] {
                // Of services that say nothing of `accept`.
                let outcome = lab.probe(Proto::Tcp, &to).source(&net("20", "5")).expecting_silence().one();
                assert!(matches!(outcome, Outcome::TimedOut), "{target} {to}: {outcome}");
            }
        }
    }
    lab.clear().expect("the balancer can be emptied");
}
