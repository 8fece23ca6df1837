//! What is special about nftables: connection tracking, transactions, listings, and tables side by side.

use std::fmt::Write;

use crate::available::tool;
use crate::case::{check_bytecode, with_hosts};
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::{Rules, Target};
use crate::traffic::{Outcome, Proto};

const TARGETS: [Target; 2] = [Target::Nft, Target::NftJson];

/// The ways into nft that this machine has.
fn targets(lab: &Lab) -> Vec<Target> {
    lab.targets().filter(|target| TARGETS.contains(target)).collect()
}

fn compiled(target: Target, program: &str, arguments: &[&str]) -> Rules {
    target.compile(&with_hosts(program), arguments).expect("a correct program")
}

fn load(lab: &Lab, rules: &Rules) {
    lab.load(rules).expect("compiled rules load");
}

fn reached(lab: &Lab, proto: Proto, to: &str) -> String {
    lab.probe(proto, to).one().server().to_owned()
}

/// In a fresh namespace nothing tracks connections, and the kernel walks no `nat` chain before something wants to.
#[test]
fn drained_services_refuse_where_nothing_else_tracks_connections() {
    let Some(lab) = lab!() else { return };
    let drained = [
        ("balance tcp,udp 203.0.113.10:80 -> 10.9.1.11 weight 0\n", ["203.0.113.10:80"].as_slice()),
        ("balance tcp,udp [2001:db8:ffff::10]:80 -> [fd09:1::11]:80 weight 0\n", &["[2001:db8:ffff::10]:80"]),
        ("balance tcp,udp transit:80 output -> b1 weight 0\n", &["203.0.113.30:80", "[2001:db8:ffff::30]:80"]),
        ("balance tcp,udp vip:80 from 192.0.2.1 else reject -> b1\n", &["203.0.113.10:80", "[2001:db8:ffff::10]:80"]),
        ("balance tcp 81 -> 10.9.1.11\nbalance tcp,udp 80 -> [fd09:1::11]:80 weight 0\n", &["[2001:db8:ffff::10]:80"]),
        ("balance tcp,udp 80 -> 10.9.1.11 weight 0\nbalance tcp 81 -> [fd09:1::11]:80\n", &["203.0.113.10:80"]),
        (
            "balance tcp 203.0.113.10:81 -> :80\nbalance tcp,udp 80 -> [fd09:1::11]:80 weight 0\n",
            &["[2001:db8:ffff::10]:80"],
        ),
    ];
    for target in targets(&lab) {
        for (program, addresses) in drained {
            lab.clear().expect("the balancer can be emptied");
            let rules = compiled(target, program, &[]);
            // One of the two is enough for both families.
            let asks = [rules.text.contains("invalid"), rules.text.contains("reply")];
            assert!(asks != [true, true], "{target}: two rules that make the kernel track connections:\n{program}");
            load(&lab, &rules);
            for to in addresses {
                for proto in [Proto::Tcp, Proto::Udp] {
                    assert_eq!(lab.probe(proto, to).one(), Outcome::Refused, "{target} {proto:?} {to}:\n{program}");
                }
            }
        }
    }
}

#[test]
fn a_new_version_replaces_the_old_one_and_nothing_else() {
    let Some(lab) = lab!() else { return };
    let foreign = "table ip mine {\n\tset kept {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1 }\n\t}\n}\n";
    for target in targets(&lab) {
        lab.clear().expect("the balancer can be emptied");
        load(&lab, &Rules { target: Target::Nft, text: foreign.to_owned() });
        let old =
            compiled(target, "balance tcp 80,8000-8003 by source-hash -> b1:8080, b2\nbalance udp *:53 -> b3\n", &[]);
        let new = compiled(target, "balance tcp 80 -> b3:8080\n", &[]);
        load(&lab, &new);
        let once = lab.listing(target, &[]).expect("a listing");
        assert!(once.contains("table inet lbc {") && once.contains("table ip mine {"), "{once}");
        for rules in [&new, &old, &old, &new] {
            load(&lab, rules);
        }
        // The order of tables is that of their making.
        let sorted = |text: &str| {
            let mut tables: Vec<String> = text.split("table ").map(str::to_owned).collect();
            tables.sort();
            tables
        };
        assert_eq!(sorted(&lab.listing(target, &[]).expect("a listing")), sorted(&once), "{target}");
        assert_eq!(reached(&lab, Proto::Tcp, "203.0.113.10:80"), "b3:8080");
        assert_eq!(reached(&lab, Proto::Tcp, "203.0.113.10:8000"), "lb:8000");
    }
}

/// What the other tests rest on: nft 1.0.6 reports success for broken JSON that comes from a pipe.
#[test]
fn broken_json_is_not_loaded_in_silence() {
    let Some(lab) = lab!() else { return };
    if targets(&lab).contains(&Target::NftJson) {
        let mut broken = compiled(Target::NftJson, "balance tcp 80 -> b1:8080\n", &[]);
        broken.text.truncate(broken.text.len() / 2);
        lab.load(&broken).expect_err("half of a text");
    }
}

/// An error anywhere leaves the old version in force.
#[test]
fn a_version_that_does_not_load_changes_nothing() {
    let Some(lab) = lab!() else { return };
    if !targets(&lab).contains(&Target::Nft) {
        return;
    }
    lab.clear().expect("the balancer can be emptied");
    load(&lab, &compiled(Target::Nft, "balance tcp 80 -> b1:8080\n", &[]));
    let mut broken = compiled(Target::Nft, "balance tcp 80 -> b2:8080\n", &[]);
    broken.text = broken.text.replace("dnat ip6 to [fd09:1::12]:8080", "dnat ip6 to 10.9.1.12:8080");
    lab.load(&broken).expect_err("an address of the wrong family");
    for to in ["203.0.113.10:80", "[2001:db8:ffff::10]:80"] {
        assert_eq!(reached(&lab, Proto::Tcp, to), "b1:8080");
    }
}

#[test]
fn instances_stand_side_by_side() {
    let Some(lab) = lab!() else { return };
    for target in targets(&lab) {
        lab.clear().expect("the balancer can be emptied");
        load(&lab, &compiled(target, "balance tcp 80 -> b1:8080\n", &[]));
        let edge = ["--instance", "edge"];
        load(&lab, &compiled(target, "balance tcp 443 -> b2:8080\n", &edge));
        let both = |lab: &Lab| {
            ["203.0.113.10:80", "203.0.113.10:443", "[2001:db8:ffff::10]:443"].map(|to| reached(lab, Proto::Tcp, to))
        };
        assert_eq!(both(&lab), ["b1:8080", "b2:8080", "b2:8080"], "{target}");
        load(&lab, &compiled(target, "balance tcp 443 -> b3:8080\n", &edge));
        assert_eq!(both(&lab), ["b1:8080", "b3:8080", "b3:8080"], "{target}");
        lab.run_ok(Host::Balancer, tool("nft").args(["delete", "table", "inet", "lbc-edge"]), "").expect("one table");
        assert_eq!(both(&lab), ["b1:8080", "lb:443", "lb:443"], "{target}");
    }
}

/// Programs that make every shape of map, rule and chain.
fn shapes() -> Vec<String> {
    let mut hundred = String::from("balance tcp 84 -> 10.9.2.1:80 weight 3");
    let mut hashed = String::from("balance tcp,udp 85 by source-hash buckets 343 -> 10.9.2.1");
    for n in 2..=100 {
        let _ = write!(hundred, ", 10.9.2.{n}:{} weight {}", 8000 + n, n % 5);
        let _ = write!(hashed, ", 10.9.2.{n}");
    }
    let mut crossed = String::new();
    for n in 0..12 {
        let (net, first, last) = (24 - n / 2, 79 + n % 5, 90 + n * 7);
        let _ = writeln!(crossed, "balance tcp 203.0.0.0/{net}:{first}-{last} as n{n} on eth{n} output -> b1");
    }
    let mut masked = String::from("default masquerade\n");
    for n in 1..20 {
        let option = ["snat 10.9.0.1, fd09::1", "counter", "masquerade hairpin"][n % 3];
        let _ = writeln!(masked, "balance tcp,udp {{203.0.113.{n}, [2001:db8::{n}]}}:80 as m{n} {option} -> b1, b2");
    }
    [
        "balance tcp *:80 on eth0, wg* as a -> b1\nbalance tcp *:80 on eth1 as b -> b2\nbalance tcp *:70-90 as c -> b3\n",
        "balance tcp *:70-90 on eth0 as a -> b1\nbalance tcp 75-95 on eth1, eth2 as b -> b2\nbalance tcp 80 as c -> b3\n",
        "balance udp 53 on not eth0, wg* as a from not 10.0.0.0/8, fd00::/8 -> b1\nbalance udp *:53 as b from 10.1.0.0/16 -> b2\n",
        "balance tcp {0.0.0.0/0, [::]/0}:1-65535 as a -> b1\nbalance tcp *:80 as b -> b2\n",
        "balance sctp,tcp,udp {203.0.113.0/24, [2001:db8::]/32}:80-81,90 as a from 10.0.0.0/8 -> b1\nbalance tcp 80 as b -> b2\n",
        "balance tcp 9050 output as a -> :9051\nbalance tcp 9052-9055 output as b -> :9062-9065\nbalance tcp *:99 output as c -> :1, :2\n",
        "balance tcp 8000-8003 as a -> b1:9000-9003\nbalance tcp,udp 8010-8020 as b -> b1:9010-9020, b2 weight 2, :80\n",
        "balance tcp vip:80 as a from 10.0.0.0/8, fd00::/8, 192.0.2.1 else drop -> b1\nbalance tcp *:81 as b from not fd00::/8 else reject -> b2\n",
        "balance tcp 10.9.0.1:80 as a from 192.0.2.1 -> b1\nbalance tcp {10.9.0.0/25, local}:80 as b -> b2\nbalance tcp *:80 as c -> b3\n",
        "balance tcp 82 by source-hash seed 4294967295 buckets 7 -> b1, b2:81\nbalance tcp 83 by round-robin -> b1 weight 100, b2 weight 3\n",
        "pool in1 = b1 weight 65535, b2 weight 65534\npool in2 = in1 weight 65521, b3 weight 65519\nbalance tcp 80 as a -> in2 weight 9, b1\n",
        "balance tcp,udp vip:80 as a counter log limit 9/minute burst 4 per source else reject -> b1\nbalance tcp 81 as b counter limit 5/second else reject -> b1 weight 0\n",
        "balance tcp,udp,sctp 80 as a counter max-connections 4294967295 per source -> b1:81, b2\n",
        "balance tcp 80 as a counter by source-hash buckets 343 max-connections 9 else reject limit 1/hour -> b1, b2:81, :82\n",
        "balance tcp,udp 80 as a sticky 1h30m counter -> b1, b2:81\nbalance tcp *:81 as b by round-robin sticky 1s -> :82, b1:83\n",
        "net near = 10.9.1.0/24, fd09:1::/64\nbalance tcp,udp 80,443 as a masquerade hairpin -> b1, b2:81, 10.3.0.1\nbalance tcp vip:80 as b from 10.0.0.0/8, fd00::/8 snat 10.9.0.1 -> b3\n",
        "balance tcp,udp {203.0.113.0/24, [2001:db8::]/32, local}:80-90 as a masquerade -> b1:180-190, b2\n",
        "balance tcp vip:80 as a from not 10.9.0.0/24, 10.1.0.0/16, fd09::/64 masquerade output -> b1\nbalance tcp vip:80 as b output -> b1, b2\n",
        &hundred,
        &hashed,
        &crossed,
        &masked,
        "",
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn every_shape_loads_lists_and_reloads_and_json_is_the_same() {
    let Some(lab) = lab!() else { return };
    for shape in shapes() {
        for layout in ["linear", "tree"] {
            let arguments = ["--layout", layout];
            let rules: Vec<Rules> =
                targets(&lab).into_iter().map(|target| compiled(target, &shape, &arguments)).collect();
            for rules in &rules {
                lab.check_fixpoint(rules).unwrap_or_else(|trouble| panic!("{}:\n{trouble}", rules.target));
                let listing = lab.listing(rules.target, &[]).expect("a listing");
                assert!(
                    listing.contains("chain prerouting"),
                    "nft loads broken JSON from a pipe without a word:\n{listing}"
                );
            }
            lab.clear().expect("the balancer can be emptied");
            check_bytecode(&lab, &rules);
        }
    }
}

/// Maps of sticky clients, which nft 1.0.6 can fill from text alone.
#[test]
fn every_form_of_sticky_loads_lists_and_reloads() {
    let Some(lab) = lab!() else { return };
    for by in ["", "by round-robin "] {
        for backends in ["b1:80, b2:80", "b1, b2 weight 2", "b1:81, b2:82", "b1:81, b2", ":9050, b1:80", "b1:1, b1:2"] {
            for sticky in ["1s", "1h30m", "49d"] {
                let program = format!("balance tcp,udp vip:80 {by}sticky {sticky} output -> {backends}\n");
                for target in targets(&lab) {
                    let rules = compiled(target, &program, &[]);
                    lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}:\n{trouble}"));
                }
            }
        }
    }
    if targets(&lab).contains(&Target::Nft) {
        let rules = compiled(Target::Nft, "balance tcp vip:80 sticky 1500ms -> b1, b2\n", &[]);
        lab.check_fixpoint(&rules).expect("text has milliseconds");
    }
    let refused = Target::NftJson.compile(&with_hosts("balance tcp vip:80 sticky 1500ms -> b1, b2\n"), &[]);
    refused.expect_err("JSON has whole seconds");
}

/// One sequence for the service's protocols, ports and hooks; a family has its own.
#[test]
fn a_round_robin_is_shared_by_protocols_ports_and_hooks() {
    let Some(lab) = lab!() else { return };
    for target in targets(&lab) {
        lab.clear().expect("the balancer can be emptied");
        let program = "balance tcp,udp vip:80,443,8000-8001 by round-robin output -> b1:8080, b2:8080, b3:8080\n";
        load(&lab, &compiled(target, program, &[]));
        for vip in ["203.0.113.10", "[2001:db8:ffff::10]"] {
            let ways = [(Proto::Tcp, 80), (Proto::Udp, 443), (Proto::Tcp, 8001), (Proto::Udp, 80), (Proto::Tcp, 443)];
            let mut servers: Vec<String> =
                ways.iter().map(|(proto, port)| reached(&lab, *proto, &format!("{vip}:{port}"))).collect();
            let own = lab.probe(Proto::Tcp, &format!("{vip}:8000")).from(Host::Balancer).one();
            servers.push(own.server().to_owned());
            assert_eq!(servers, ["b1:8080", "b2:8080", "b3:8080", "b1:8080", "b2:8080", "b3:8080"], "{target} {vip}");
        }
    }
}
