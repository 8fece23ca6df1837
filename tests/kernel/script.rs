//! `--format script`: install, replace, remove, and nothing else.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::available::{has, tool};
use crate::case::{failures, with_hosts};
use crate::lab;
use crate::net::{Host, Lab};
use crate::sharing::loaded;
use crate::target::{Rules, Target};
use crate::traffic::Proto;

const FIRST: &str = "\
balance tcp,udp vip:80 as kept by round-robin output -> b1, b2
balance tcp vip:81 as going -> b1 weight 0
balance tcp,udp 8000-8003 as gate from 10.20.0.0/16, 10.9.0.0/24, fd20::/64 else drop -> b1:9000-9003, b2
balance tcp 443 as hash by source-hash -> b1, b2, b3
";

const SECOND: &str = "\
balance tcp,udp vip:80 as kept by round-robin -> b1, b3:8080
balance tcp vip:443 as coming -> b3
";

fn script(target: Target, program: &str, arguments: &[&str]) -> Rules {
    target.compile_script(&with_hosts(program), arguments).expect("a correct program")
}

fn run(lab: &Lab, script: &Rules, arguments: &[&str]) {
    lab.run_script(script, arguments).unwrap_or_else(|trouble| panic!("{}: {trouble}", script.target));
}

/// A rule of the administrator's in every built-in chain that we hook, and a chain with a name like ours.
fn foreign(lab: &Lab, target: Target) {
    for ipv6 in [false, true] {
        for rule in [
            "-t nat -N LBC-MINE",
            "-t nat -A LBC-MINE -p tcp --dport 4 -j ACCEPT",
            "-t nat -A PREROUTING -p tcp --dport 1 -j ACCEPT",
            "-t nat -A PREROUTING -j LBC-MINE",
            "-t nat -A OUTPUT -p tcp --dport 2 -j ACCEPT",
            "-t filter -A INPUT -p tcp --dport 3 -j ACCEPT",
        ] {
            let arguments: Vec<&str> = ["-w", "5"].into_iter().chain(rule.split(' ')).collect();
            lab.iptables(target, ipv6, &arguments).expect("a rule of the administrator's");
        }
    }
}

fn iptables(lab: &Lab) -> impl Iterator<Item = Target> + use<> {
    lab.targets().filter(|target| target.is_iptables())
}

#[test]
fn installing_twice_is_installing_once_and_removing_leaves_what_was_there() {
    let Some(lab) = lab!() else { return };
    for target in iptables(&lab) {
        lab.clear().expect("the balancer can be emptied");
        foreign(&lab, target);
        let before = loaded(&lab, target);
        let script = script(target, FIRST, &[]);
        run(&lab, &script, &[]);
        let once = loaded(&lab, target);
        run(&lab, &script, &["install"]);
        assert_eq!(loaded(&lab, target), once, "{target}");
        let failures = failures(
            &lab,
            target,
            FIRST,
            "tcp client > LOCAL:80 = seq b1:80 b2:80
             tcp lb > LOCAL:80 = seq b1:80
             tcp client > LOCAL:81 = refused
             tcp client > LOCAL4:8001 = any b1:9001 b2:8001
             tcp client > LOCAL6:8001 = dropped
             tcp client@20.1 > LOCAL6:8001 = any b1:9001 b2:8001",
        );
        assert!(failures.is_empty(), "\n{failures}");
        run(&lab, &script, &["remove"]);
        assert_eq!(loaded(&lab, target), before, "{target}");
        run(&lab, &script, &["remove"]);
        assert_eq!(loaded(&lab, target), before, "{target}");
    }
}

/// Rules of the administrator's that jump into our chains: with a condition, from a chain of his, in both tables.
const INTO_OURS: [&str; 4] = [
    "-t nat -A LBC-MINE -s 192.0.2.0/24 -j LBC-SVC-kept",
    "-t nat -A PREROUTING -i cl1 -m comment --comment why -j LBC-PREROUTING",
    "-t nat -A PREROUTING -p tcp -m comment --comment \"no -j LBC-SVC-hash\" -j ACCEPT",
    "-t filter -A FORWARD -i cl1 -g LBC-INPUT",
];

fn own_chains(lab: &Lab, target: Target) -> Vec<String> {
    let lines = loaded(lab, target);
    let chains = lines.iter().filter_map(|line| line.strip_prefix(':')?.split(' ').next().map(str::to_owned));
    chains.filter(|chain| chain.starts_with("LBC-") && chain != "LBC-MINE").collect()
}

#[test]
fn chains_that_foreign_rules_refer_to_are_emptied_and_named_and_the_others_go() {
    let Some(lab) = lab!() else { return };
    for target in iptables(&lab) {
        lab.clear().expect("the balancer can be emptied");
        foreign(&lab, target);
        let before = loaded(&lab, target);
        let first = script(target, FIRST, &[]);
        run(&lab, &first, &[]);
        let change = |verb: &str| {
            for rule in INTO_OURS {
                let rule = rule.replace(" -A ", &format!(" {verb} "));
                let (rule, quoted) =
                    rule.split_once('"').map_or((rule.as_str(), None), |(rule, rest)| (rule, rest.split_once('"')));
                let mut arguments: Vec<&str> = rule.split_whitespace().collect();
                if let Some((comment, rest)) = quoted {
                    arguments.push(comment);
                    arguments.extend(rest.split_whitespace());
                }
                lab.iptables(target, false, &arguments).expect("a rule of the administrator's");
            }
        };
        change("-A");
        let trouble = lab.run_script(&first, &["remove"]).expect_err("three chains have to stay").to_string();
        for named in [
            "iptables -t nat: LBC-SVC-kept is empty now but stays",
            "refers to it: -A LBC-MINE -s 192.0.2.0/24 -j LBC-SVC-kept",
            "refers to it: -A PREROUTING -i cl1 -m comment --comment why -j LBC-PREROUTING",
            "refers to it: -A FORWARD -i cl1 -g LBC-INPUT",
        ] {
            assert!(trouble.contains(named), "{target}: `{named}` is missing:\n{trouble}");
        }
        assert!(!trouble.contains("ip6tables"), "{target}: nothing is wrong there:\n{trouble}");
        assert_eq!(own_chains(&lab, target), ["LBC-INPUT", "LBC-PREROUTING", "LBC-SVC-kept"], "{target}");
        let rules = loaded(&lab, target);
        let full = rules.iter().find(|line| line.starts_with("-A LBC-") && !line.starts_with("-A LBC-MINE"));
        assert_eq!(full, None, "{target}");
        // A new version is installed all the same, and says what stays of the old one.
        run(&lab, &first, &[]);
        let second = script(target, SECOND, &[]);
        let trouble = lab.run_script(&second, &[]).expect_err("the sink stays").to_string();
        assert!(trouble.contains("refers to it: -A FORWARD -i cl1 -g LBC-INPUT"), "{target}: {trouble}");
        let failures = failures(&lab, target, SECOND, "tcp client > LOCAL:80 = seq b1:80 b3:8080");
        assert!(failures.is_empty(), "\n{failures}");
        // Without those rules everything goes.
        change("-D");
        run(&lab, &second, &["remove"]);
        assert_eq!(loaded(&lab, target), before, "{target}");
    }
}

#[test]
fn checking_changes_nothing() {
    let Some(lab) = lab!() else { return };
    for target in iptables(&lab) {
        lab.clear().expect("the balancer can be emptied");
        foreign(&lab, target);
        let before = loaded(&lab, target);
        run(&lab, &script(target, FIRST, &[]), &["check"]);
        assert_eq!(loaded(&lab, target), before, "{target}");
        assert!(lab.run_script(&script(target, FIRST, &[]), &["nonsense"]).is_err(), "{target}");
        assert_eq!(loaded(&lab, target), before, "{target}");
    }
}

#[test]
fn a_changed_program_leaves_nothing_of_the_old_one() {
    let Some(lab) = lab!() else { return };
    for target in iptables(&lab) {
        for (old, new) in [(FIRST, SECOND), (SECOND, FIRST), (FIRST, "balance udp 203.0.113.10:53 -> b1\n")] {
            lab.clear().expect("the balancer can be emptied");
            foreign(&lab, target);
            run(&lab, &script(target, new, &[]), &[]);
            let fresh = loaded(&lab, target);
            lab.clear().expect("the balancer can be emptied");
            foreign(&lab, target);
            run(&lab, &script(target, old, &[]), &[]);
            run(&lab, &script(target, new, &[]), &[]);
            assert_eq!(loaded(&lab, target), fresh, "{target}\n{old}\n{new}");
        }
        lab.clear().expect("the balancer can be emptied");
        run(&lab, &script(target, FIRST, &[]), &[]);
        run(&lab, &script(target, SECOND, &[]), &[]);
        let failures = failures(
            &lab,
            target,
            SECOND,
            "tcp client > LOCAL:80 = seq b1:80 b3:8080
             tcp client > LOCAL:443 = b3:443
             tcp client > LOCAL:81 OTHER:443 LOCAL:8000 = lb:=
             tcp lb > LOCAL:80 = lb:80",
        );
        assert!(failures.is_empty(), "\n{failures}");
    }
}

/// While rules are replaced, nobody who is kept out gets to what listens on this machine's port that refusals go by.
#[test]
fn what_is_kept_out_stays_out_while_rules_are_replaced() {
    let Some(mut lab) = lab!() else { return };
    lab.serve(Host::Balancer, &[9, 10]).expect("free ports");
    let one = "balance tcp,udp vip:81 as refused from 10.1.0.0/16 else reject -> b1:8080\n\
               balance tcp,udp vip:83 as dropped from 10.1.0.0/16 else drop -> b1:8080\n";
    // Ports that backends have are no way out: others are taken. One service less is kept out.
    let other = "balance tcp,udp vip:81 as refused from 10.1.0.0/16 else reject -> b1:8080, b2:9, b3:10\n\
                 balance tcp,udp vip:84 as dropped from 10.1.0.0/16 else drop -> b1:8080\n";
    for target in iptables(&lab) {
        lab.clear().expect("the balancer can be emptied");
        foreign(&lab, target);
        let [one, other] = [one, other].map(|program| script(target, program, &[]));
        run(&lab, &one, &[]);
        for next in [&other, &one, &other] {
            let done = AtomicBool::new(false);
            let seen = std::thread::scope(|scope| {
                let probe = scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    while !done.load(Ordering::Relaxed) {
                        for port in [81, 83] {
                            let to = format!("203.0.113.10:{port}");
                            let found = lab.probe(Proto::Tcp, &to).count(8).window(8).expecting_silence().servers();
                            seen.extend(found.into_iter().map(|server| (port, server)));
                        }
                    }
                    seen
                });
                let result = lab.run_script_slowly(next, Duration::from_millis(400));
                done.store(true, Ordering::Relaxed);
                result.unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
                probe.join().expect("the probe does not panic")
            });
            let answered: Vec<_> =
                seen.iter().filter(|(_, server)| server.contains(":9") || server.contains(":10")).collect();
            assert!(answered.is_empty() && !seen.is_empty(), "{target}: {seen:?}");
            let loaded = loaded(&lab, target);
            assert!(!loaded.iter().any(|line| line.contains("-OLD-")), "{target}: {loaded:#?}");
        }
    }
}

#[test]
fn instances_leave_each_other_alone() {
    let Some(lab) = lab!() else { return };
    let other = "balance tcp other:80 by round-robin output -> b2, b1:8080\nbalance tcp other:81 -> b1 weight 0\n";
    let flows_of_other = "tcp client > OTHER:80 = seq b2:80 b1:8080\n tcp client > OTHER:81 = refused";
    for target in iptables(&lab) {
        lab.clear().expect("the balancer can be emptied");
        foreign(&lab, target);
        let nothing = loaded(&lab, target);
        let default = script(target, FIRST, &[]);
        let named = script(target, other, &["--instance", "a"]);
        run(&lab, &named, &[]);
        let only_named = loaded(&lab, target);
        run(&lab, &default, &[]);
        run(&lab, &named, &[]);
        let found = failures(&lab, target, other, flows_of_other);
        assert!(found.is_empty(), "\n{found}");
        let found =
            failures(&lab, target, FIRST, "tcp client > LOCAL:80 = seq b1:80\n tcp client > LOCAL:81 = refused");
        assert!(found.is_empty(), "\n{found}");
        run(&lab, &default, &["remove"]);
        assert_eq!(loaded(&lab, target), only_named, "{target}");
        let found = failures(&lab, target, other, "tcp client > OTHER:81 = refused");
        assert!(found.is_empty(), "\n{found}");
        run(&lab, &default, &[]);
        run(&lab, &named, &["remove"]);
        let found = failures(&lab, target, FIRST, "tcp client > LOCAL:81 = refused");
        assert!(found.is_empty(), "\n{found}");
        run(&lab, &default, &["remove"]);
        assert_eq!(loaded(&lab, target), nothing, "{target}");
    }
}

/// The servers of the same clients, one connection each.
fn servers(lab: &Lab, ipv6: bool) -> Vec<String> {
    let clients = (0..400u16).map(|nth| {
        let text = match ipv6 {
            true => format!("fd20::{:x}:{:x}", nth % 7, nth + 1),
            false => format!("10.20.{}.{}", nth / 100, nth % 100 + 1),
        };
        text.parse().expect("an address")
    });
    let vip = if ipv6 { "[2001:db8:ffff::10]:80" } else { "203.0.113.10:80" };
    lab.probe(Proto::Tcp, vip).sources(clients).window(32).servers()
}

#[test]
fn sticky_clients_in_an_ipset_are_more_than_a_hundred_and_outlive_a_new_program() {
    let Some(lab) = lab!() else { return };
    if !has("ipset", "sticky clients in an ipset") {
        return;
    }
    let store = ["--sticky-store", "ipset"];
    let program = "balance tcp,udp vip:80 as kept sticky 5m -> b1, b2, b3:8080\n";
    let drained = program.replace("b2,", "b2 weight 0,");
    for target in iptables(&lab) {
        lab.clear().expect("the balancer can be emptied");
        foreign(&lab, target);
        let nothing = loaded(&lab, target);
        let sets = || lab.run_ok(Host::Balancer, tool("ipset").args(["list", "-n"]), "").expect("the sets");
        run(&lab, &script(target, program, &store), &[]);
        run(&lab, &script(target, program, &store), &[]);
        assert_eq!(sets().lines().count(), 6, "{target}: one for each backend and family");
        for ipv6 in [false, true] {
            let first = servers(&lab, ipv6);
            for server in ["b1:80", "b2:80", "b3:8080"] {
                assert!(first.iter().filter(|own| *own == server).count() > 100, "{target}: {server}");
            }
            assert_eq!(servers(&lab, ipv6), first, "{target}: everyone stays");
            run(&lab, &script(target, &drained, &store), &[]);
            let second = servers(&lab, ipv6);
            for (old, new) in first.iter().zip(&second) {
                assert!(if old == "b2:80" { new != "b2:80" } else { new == old }, "{target}: from {old} to {new}");
            }
            run(&lab, &script(target, program, &store), &[]);
        }
        run(&lab, &script(target, &drained, &store), &[]);
        assert_eq!(sets().lines().count(), 4, "{target}: those of the drained backend are gone");
        run(&lab, &script(target, &drained, &store), &["remove"]);
        assert_eq!(sets(), "", "{target}");
        assert_eq!(loaded(&lab, target), nothing, "{target}");
    }
}
