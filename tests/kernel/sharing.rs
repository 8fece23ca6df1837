//! Several programs on one machine, and one program in several versions.

use crate::case::{failures, with_hosts};
use crate::lab;
use crate::net::{Host, Lab};
use crate::stats::tally;
use crate::target::Target;
use crate::traffic::Proto;

const TABLES: [&str; 2] = ["filter", "nat"];

/// What is loaded, in an order that does not tell what was loaded first: by chain, the rules of a chain in their order.
pub fn loaded(lab: &Lab, target: Target) -> Vec<String> {
    let listing = lab.listing(target, &TABLES).expect("a listing");
    let mut lines: Vec<String> = listing.lines().map(str::to_owned).collect();
    if target.is_iptables() {
        let chain = |line: &String| match line.strip_prefix("-A ") {
            Some(rest) => rest.split(' ').next().map(str::to_owned),
            None => None,
        };
        lines.sort_by_key(|line| (chain(line).is_some(), chain(line), chain(line).is_none().then(|| line.clone())));
    }
    lines
}

/// Loads a program beside what is there.
fn add(lab: &Lab, target: Target, program: &str, arguments: &[&str]) {
    let rules = target.compile(&with_hosts(program), arguments).expect("a correct program");
    lab.load(&rules).expect("rules load");
}

#[track_caller]
fn expect(lab: &Lab, target: Target, program: &str, flows: &str) {
    let failures = failures(lab, target, program, flows);
    assert!(failures.is_empty(), "\n{failures}--- program\n{program}");
}

#[test]
fn two_instances_work_side_by_side() {
    let Some(lab) = lab!() else { return };
    let first = "balance tcp,udp vip:80 by round-robin output -> b1, b2\nbalance tcp vip:81 -> b1 weight 0\n\
                 balance tcp 8000 from 10.20.0.0/16, fd20::/64 else drop -> b1\n";
    let second = "balance tcp,udp vip:443 by round-robin -> b3, b2\nbalance tcp other:81 -> b1 weight 0\n\
                  balance tcp,udp vip:80 as shadowed on cl1 -> b3\nbalance tcp *:8001 output -> b2\n";
    let flows_of_first = "tcp client > LOCAL:80 = seq b1:80 b2:80
         udp lb > LOCAL:80 = seq b1:80
         tcp client > LOCAL:81 = refused
         tcp client > LOCAL:8000 = dropped
         tcp client@20.1 > LOCAL:8000 = b1:8000";
    let flows_of_second = "tcp client > LOCAL:443 = seq b3:443 b2:443
         tcp client > OTHER:81 = refused
         tcp client > TRANSIT:8001 = b2:8001
         tcp lb > TRANSIT:8001 = b2:8001";
    for target in lab.targets() {
        lab.clear().expect("the balancer can be emptied");
        add(&lab, target, first, &[]);
        let alone = loaded(&lab, target);
        add(&lab, target, second, &["--instance", "a"]);
        expect(&lab, target, first, flows_of_first);
        expect(&lab, target, second, flows_of_second);
        if !target.is_iptables() {
            // Replacing one leaves the other alone.
            let both = loaded(&lab, target);
            add(&lab, target, second, &["--instance", "a"]);
            assert_eq!(loaded(&lab, target), both, "{target}");
            let mut command = crate::available::tool("nft");
            lab.run_ok(Host::Balancer, command.args(["delete", "table", "inet", "lbc-a"]), "").expect("it is there");
            assert_eq!(loaded(&lab, target), alone, "{target}");
        }
    }
}

#[test]
fn a_new_version_replaces_the_old_one() {
    let Some(lab) = lab!() else { return };
    let versions = [
        (
            "balance tcp,udp vip:80 by round-robin output -> b1, b2, b3\nbalance tcp 81 as old -> b1 weight 0\n",
            "tcp client > LOCAL:80 = seq b1:80 b2:80 b3:80\n tcp client > LOCAL:81 = refused",
        ),
        (
            "balance tcp,udp vip:80 by source-hash -> b3:8080\nbalance tcp 443 as new -> b2\n",
            "tcp client > LOCAL:80 = b3:8080\n tcp client > LOCAL:81 = lb:81\n tcp client > LOCAL:443 = b2:443
             tcp lb > LOCAL:80 = lb:80",
        ),
        (
            "balance udp 53 -> b1:8080\n",
            "tcp client > LOCAL:80,81,443 = lb:=\n udp client > LOCAL:53 = b1:8080\n tcp lb > LOCAL:80,443 = lb:=",
        ),
    ];
    for target in lab.targets() {
        lab.install(target, &with_hosts("balance tcp 1 -> b1\nbalance udp 1 output -> b1 weight 0\n"))
            .expect("a program");
        for (program, flows) in versions {
            lab.replace(target, &with_hosts(program)).expect("rules can be replaced");
            expect(&lab, target, program, flows);
            lab.replace(target, &with_hosts(program)).expect("rules can be replaced");
            expect(&lab, target, program, flows);
        }
    }
}

#[test]
fn a_program_without_services_loads_and_takes_the_place_of_an_earlier_one() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        lab.install(target, &with_hosts("")).expect("nothing");
        lab.install(target, &with_hosts("balance tcp,udp vip:80 output -> b1\nbalance tcp 81 -> b1 weight 0\n"))
            .expect("a program");
        lab.replace(target, &with_hosts("")).expect("rules can be replaced");
        expect(&lab, target, "balance tcp 1 -> b1\n", "tcp client > LOCAL:80,81 = lb:=\n tcp lb > LOCAL:80 = lb:80");
    }
}

#[test]
fn loading_nft_rules_twice_is_loading_them_once() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts("balance tcp,udp vip:80,443 -> b1, b2\nbalance tcp 81 -> b1 weight 0\n");
    for target in lab.targets().filter(|target| !target.is_iptables()) {
        let rules = lab.install(target, &program).expect("a correct program");
        let once = loaded(&lab, target);
        lab.load(&rules).expect("a second time");
        assert_eq!(loaded(&lab, target), once, "{target}");
    }
}

#[test]
fn connections_are_served_while_rules_are_replaced() {
    const TIMES: usize = 6;
    let Some(lab) = lab!() else { return };
    let programs =
        ["balance tcp 203.0.113.10:80 -> b1, b2\n", "balance tcp 203.0.113.10:80 -> b2, b3:8080\n"].map(with_hosts);
    for target in lab.targets() {
        lab.install(target, &programs[0]).expect("a correct program");
        let servers = std::thread::scope(|scope| {
            let client = scope.spawn(|| lab.probe(Proto::Tcp, "203.0.113.10:80").count(600).servers());
            for nth in 1..=TIMES {
                lab.replace(target, &programs[nth % 2]).expect("rules can be replaced");
            }
            client.join().expect("probing does not panic")
        });
        let served = |server: &&String| ["b1:80", "b2:80", "b3:8080"].contains(&server.as_str());
        let lost = servers.iter().filter(|server| !served(server)).count();
        // A whole nft table cannot be replaced without a moment that a connection falls into now and then.
        let most = if target.is_iptables() { 0 } else { TIMES };
        assert!(lost <= most, "{target}: {:?}", tally(&servers));
    }
}

#[test]
fn text_for_one_family_is_for_its_tool_alone() {
    let Some(lab) = lab!() else { return };
    let program = "balance tcp,udp vip:80 -> b1\nbalance tcp 81 output -> b1 weight 0\n";
    for target in lab.targets().filter(|target| target.is_iptables()) {
        for (family, ipv6) in [("ipv4", false), ("ipv6", true)] {
            lab.clear().expect("the balancer can be emptied");
            let rules = target.compile(&with_hosts(program), &["--family", family]).expect("a correct program");
            let marked = rules.text.lines().any(|line| line.starts_with("-4") || line.starts_with("-6"));
            assert!(!marked, "plain rules need no mark:\n{}", rules.text);
            lab.load_family(&rules, ipv6).expect("rules load");
            let (on, off) = if ipv6 { ("6", "4") } else { ("4", "6") };
            expect(
                &lab,
                target,
                program,
                &format!("tcp,udp client > LOCAL{on}:80 = b1:80\n tcp client > LOCAL{on}:81 = refused"),
            );
            expect(&lab, target, "balance tcp 1 -> b1\n", &format!("tcp,udp client > LOCAL{off}:80,81 = lb:="));
        }
    }
}
