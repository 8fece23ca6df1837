//! Tests of the harness itself, with hand-written rules: what the other tests rely on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use nix::errno::Errno;

use crate::handwritten::{Feature, SLOTS, rules, rules_for};
use crate::lab;
use crate::net::{Host, Lab, vip};
use crate::stats::assert_shares;
use crate::target::{Rules, Target};
use crate::traffic::{Outcome, Proto};

/// The service that the hand-written rules serve.
const SERVICE: [&str; 2] = ["203.0.113.10:80", "[2001:db8:ffff::10]:80"];

const PROTOCOLS: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];

fn reload(lab: &Lab, target: Target, feature: Feature) {
    lab.clear().expect("the balancer can be emptied");
    lab.load(&rules(target, feature)).expect("hand-written rules load");
}

fn clients(count: u8) -> [Vec<IpAddr>; 2] {
    let ipv4 = (0..count).map(|host| Ipv4Addr::new(10, 20, host % 7, host).into());
    let ipv6 = (0..u16::from(count)).map(|host| Ipv6Addr::new(0xfd20, 0, 0, 0, 0, 0, host % 7, host).into());
    [ipv4.collect(), ipv6.collect()]
}

#[test]
fn without_rules_every_address_leads_where_the_routes_lead() {
    let Some(mut lab) = lab!() else { return };
    lab.serve(Host::Backend(2), &[7777]).expect("a free port");
    let lab = lab;
    let ways = [
        ("10.9.1.12:7777", "b2:7777"),
        ("[fd09:1::12]:7777", "b2:7777"),
        ("203.0.113.10:80", "lb:80"),
        ("[2001:db8:ffff::10]:80", "lb:80"),
        ("203.0.113.10:7777", "(refused)"),
        ("203.0.113.30:80", "b3:80"),
        ("[2001:db8:ffff::30]:80", "b3:80"),
    ];
    for (to, server) in ways {
        for proto in [Proto::Tcp, Proto::Udp] {
            for from in [Host::Client, Host::Client2] {
                let outcome = lab.probe(proto, to).from(from).one();
                assert_eq!(outcome.server(), server, "{proto:?} from {from:?} to {to}: {outcome}");
            }
        }
    }
    for to in ["203.0.113.20:80", "[2001:db8:ffff::20]:80"] {
        for proto in PROTOCOLS {
            // The kernel limits how often it says that there is no route: silence is as good.
            let outcome = lab.probe(proto, to).expecting_silence().one();
            let nowhere = matches!(outcome, Outcome::TimedOut | Outcome::Unreachable(_));
            assert!(nowhere, "{proto:?} to {to}: {outcome}");
        }
    }
    for proto in PROTOCOLS {
        for (to, source) in [("10.9.1.11:80", "10.20.3.4"), ("[fd09:1::11]:80", "fd20::3:4")] {
            let outcome = lab.probe(proto, to).source(source).source_port(5555).one();
            let Outcome::Reached { server, peer, local } = outcome else {
                panic!("{proto:?} to {to} from {source}: {outcome}");
            };
            assert_eq!((server.as_str(), peer.ip().to_string().as_str()), ("b1:80", source));
            assert_eq!((peer.port(), local.to_string().as_str()), (5555, to));
        }
    }
    assert_eq!(
        lab.probe(Proto::Udp, "203.0.113.30:80").from(Host::Balancer).one().peer(),
        Some(Host::Balancer.address(false))
    );
}

#[test]
fn random_shares_follow_the_weights() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        reload(&lab, target, Feature::Random);
        for to in SERVICE {
            for (proto, count) in [(Proto::Tcp, 1200), (Proto::Udp, 1200), (Proto::Sctp, 300)] {
                let servers = lab.probe(proto, to).count(count).window(16).servers();
                let weights = [("b1:8080", 3), ("b2:8080", 2), ("b3:8080", 1)];
                let context = format!("{target} {proto:?} {to}");
                assert_shares(&context, &servers, &weights);
            }
        }
    }
}

#[test]
fn round_robin_starts_at_slot_zero() {
    let Some(lab) = lab!() else { return };
    let expected: Vec<String> = SLOTS.iter().cycle().take(12).map(|number| format!("b{number}:8080")).collect();
    for target in lab.targets() {
        for proto in PROTOCOLS {
            // The families count apart, the protocols together on nft: hence a reload for each.
            reload(&lab, target, Feature::RoundRobin);
            for to in SERVICE {
                let servers = lab.probe(proto, to).count(12).servers();
                assert_eq!(servers, expected, "{target} {proto:?} {to}");
            }
        }
    }
}

#[test]
fn source_hash_is_the_same_on_all_targets() {
    let Some(lab) = lab!() else { return };
    let [clients, _] = clients(200);
    let mut picks: Vec<Vec<String>> = Vec::new();
    for target in lab.targets() {
        reload(&lab, target, Feature::SourceHash);
        for proto in [Proto::Tcp, Proto::Udp] {
            picks.push(lab.probe(proto, SERVICE[0]).sources(clients.clone()).servers());
        }
    }
    let backends: BTreeSet<&str> = picks[0].iter().map(String::as_str).collect();
    assert_eq!(backends, BTreeSet::from(["b1:8080", "b2:8080", "b3:8080"]));
    assert!(picks.iter().all(|pick| *pick == picks[0]), "the targets disagree: {picks:#?}");
}

#[test]
fn refusal_reaches_the_client_at_every_kind_of_address() {
    let Some(lab) = lab!() else { return };
    let kinds = [[vip::LOCAL, vip::LOCAL6], [vip::ROUTED, vip::ROUTED6], [vip::TRANSIT, vip::TRANSIT6]];
    for target in lab.targets() {
        for vips in kinds {
            lab.clear().expect("the balancer can be emptied");
            lab.load(&rules_for(target, Feature::Refuse, vips)).expect("hand-written rules load");
            for to in [format!("{}:80", vips[0]), format!("[{}]:80", vips[1])] {
                for proto in PROTOCOLS {
                    let outcome = lab.probe(proto, &to).one();
                    assert_eq!(outcome, Outcome::Refused, "{target} {proto:?} {to}");
                }
            }
        }
    }
}

#[test]
fn dropped_connections_time_out() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        reload(&lab, target, Feature::Drop);
        for to in SERVICE {
            for proto in PROTOCOLS {
                let outcomes = lab.probe(proto, to).count(20).expecting_silence().send();
                assert_eq!(outcomes, vec![Outcome::TimedOut; 20], "{target} {proto:?} {to}");
            }
        }
    }
}

#[test]
fn redirects_reach_the_balancer_and_the_output_hook_works() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        reload(&lab, target, Feature::Redirect);
        for to in SERVICE {
            for proto in PROTOCOLS {
                let outcome = lab.probe(proto, to).from(Host::Client2).one();
                assert_eq!(outcome.server(), "lb:9050", "{target} {proto:?} {to}: {outcome}");
            }
            let outcome = lab.probe(Proto::Tcp, to).from(Host::Balancer).one();
            assert_eq!(outcome.server(), "lb:9050", "{target} from the balancer to {to}: {outcome}");
        }
        let outcome = lab.probe(Proto::Tcp, "203.0.113.11:80").one();
        assert_eq!(outcome.server(), "lb:80", "{target}: an address without rules");

        reload(&lab, target, Feature::Random);
        let outcome = lab.probe(Proto::Udp, SERVICE[1]).from(Host::Balancer).one();
        assert!(outcome.server().ends_with(":8080"), "{target} from the balancer: {outcome}");

        lab.clear().expect("the balancer can be emptied");
        lab.load(&rules_for(target, Feature::Refuse, [vip::TRANSIT, vip::TRANSIT6])).expect("rules load");
        let outcome = lab.probe(Proto::Tcp, "203.0.113.30:80").from(Host::Balancer).one();
        assert_eq!(outcome, Outcome::Refused, "{target} from the balancer");
    }
}

#[test]
fn clearing_resets_the_policies_too() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets().filter(|target| target.is_iptables()) {
        lab.clear().expect("the balancer can be emptied");
        lab.load(&Rules { target, text: "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n".into() }).expect("a policy loads");
        for to in ["10.9.1.11:80", "[fd09:1::11]:80"] {
            let dropped = lab.probe(Proto::Tcp, to).expecting_silence().one();
            assert_eq!(dropped, Outcome::TimedOut, "{target} {to}");
        }
        lab.clear().expect("the balancer can be emptied");
        for to in ["10.9.1.11:80", "[fd09:1::11]:80"] {
            assert_eq!(lab.probe(Proto::Tcp, to).one().server(), "b1:80", "{target} {to}");
        }
    }
}

#[test]
fn a_held_connection_outlives_its_rules() {
    let Some(lab) = lab!() else { return };
    let Some(target) = lab.targets().next() else {
        return;
    };
    reload(&lab, target, Feature::Redirect);
    let held = lab.probe(Proto::Tcp, SERVICE[0]).count(5).hold();
    assert!(held.outcomes.iter().all(|outcome| outcome.server() == "lb:9050"));
    let established = |lab: &Lab| {
        let mut command = crate::available::tool("conntrack");
        command.args(["-L", "-p", "tcp", "--state", "ESTABLISHED"]);
        lab.run_ok(Host::Balancer, &mut command, "").expect("conntrack lists").lines().count()
    };
    assert_eq!(established(&lab), 5);
    drop(held);
    assert_eq!(established(&lab), 0);
}

#[test]
fn every_feature_survives_save_and_restore() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        for feature in Feature::ALL {
            lab.check_fixpoint(&rules(target, feature)).unwrap_or_else(|trouble| panic!("{feature:?}: {trouble}"));
            let listing = lab.listing(target, &["nat"]).expect("a listing");
            assert!(listing.contains("203.0.113.10") || listing.contains("2001:db8:ffff::10"), "{listing}");
        }
        lab.clear().expect("the balancer can be emptied");
        let listing = lab.listing(target, &["nat"]).expect("a listing");
        assert!(!listing.contains("203.0.113.10"), "{target} is not cleared:\n{listing}");
    }
}

#[test]
fn nft_text_and_json_are_the_same_bytecode_where_the_rules_are() {
    let Some(lab) = lab!() else { return };
    if ![Target::Nft, Target::NftJson].iter().all(|target| lab.targets().any(|able| able == *target)) {
        return;
    }
    for feature in Feature::ALL {
        lab.check_same_bytecode(&rules(Target::Nft, feature), &rules(Target::NftJson, feature))
            .unwrap_or_else(|trouble| panic!("{feature:?}: {trouble}"));
    }
    let other =
        lab.check_same_bytecode(&rules(Target::Nft, Feature::Random), &rules(Target::NftJson, Feature::RoundRobin));
    assert!(other.is_err(), "random and round robin are not the same");
}

#[test]
fn trouble_shows_the_rules_and_what_the_tool_said() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        let mut wrong = rules(target, Feature::Redirect);
        wrong.text = wrong.text.replace("9050", "nonsense");
        let trouble = lab.load(&wrong).expect_err("nonsense is no port");
        assert!(trouble.0.contains("--- stderr") && trouble.0.contains("nonsense"), "{target}: {trouble}");
        lab.clear().expect("the balancer can be emptied");
    }
}

#[test]
fn a_datagram_that_the_output_hook_drops_is_not_permitted() {
    let Some(lab) = lab!() else { return };
    if !lab.targets().any(|target| target == Target::Nft) {
        return;
    }
    reload(&lab, Target::Nft, Feature::Drop);
    let outcome = lab.probe(Proto::Udp, SERVICE[0]).from(Host::Balancer).one();
    assert_eq!(outcome, Outcome::Unreachable(Errno::EPERM));
}

#[test]
fn settings_of_a_host_can_be_changed_and_read() {
    let Some(lab) = lab!() else { return };
    lab.sysctl(Host::Balancer, &[("ipv4/ip_forward", "0")]);
    let mut command = Command::new("cat");
    let seen = lab.run(Host::Balancer, command.arg("/proc/sys/net/ipv4/ip_forward"), "");
    assert_eq!(seen.expect("cat runs").stdout.trim(), "0");
    let outcome = lab.probe(Proto::Tcp, "10.9.1.11:80").expecting_silence().one();
    assert_ne!(outcome.server(), "b1:80", "the balancer forwards nevertheless");
}
