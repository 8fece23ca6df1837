//! Small hand-written rules for every target, to test the harness without the compiler.
//!
//! Each feature listens on port 80 of one address per family and hooks PREROUTING and OUTPUT.

use serde_json::{Value, json};

use crate::net::{Host, vip};
use crate::target::{Rules, Target};

/// What the rules do with a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// 3:2:1 to port 8080 of b1, b2, b3.
    Random,
    /// [`SLOTS`] in turn, to port 8080.
    RoundRobin,
    /// The client's address picks one of three, to port 8080; IPv4 only, for iptables has no IPv6 twin.
    SourceHash,
    /// To port 9050 of the balancer.
    Redirect,
    /// Reset or port unreachable.
    Refuse,
    /// Swallowed.
    Drop,
}

impl Feature {
    pub const ALL: [Self; 6] =
        [Self::Random, Self::RoundRobin, Self::SourceHash, Self::Redirect, Self::Refuse, Self::Drop];
}

/// 3:2:1 in nginx's smooth order, as numbers of backends.
pub const SLOTS: [u8; 6] = [1, 2, 1, 3, 2, 1];

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The seed of the source hash.
const SEED: u32 = 0xdead_beef;

/// A family, with the words of the targets for it.
struct Family {
    ipv6: bool,
    nft: &'static str,
    flag: &'static str,
}

const FAMILIES: [Family; 2] =
    [Family { ipv6: false, nft: "ip", flag: "-4" }, Family { ipv6: true, nft: "ip6", flag: "-6" }];

impl Family {
    fn backend(&self, number: u8) -> String {
        Host::Backend(number).address(self.ipv6).to_string()
    }

    fn serves(&self, feature: Feature) -> bool {
        !(self.ipv6 && feature == Feature::SourceHash)
    }
}

/// The rules of a feature for [`vip::LOCAL`] and its IPv6 twin.
pub fn rules(target: Target, feature: Feature) -> Rules {
    rules_for(target, feature, [vip::LOCAL, vip::LOCAL6])
}

/// The rules of a feature for one address of each family.
pub fn rules_for(target: Target, feature: Feature, vips: [&str; 2]) -> Rules {
    let text = match target {
        Target::Nft => nft(feature, vips),
        Target::NftJson => nft_json(feature, vips),
        Target::IptablesNft | Target::IptablesLegacy => iptables(feature, vips),
    };
    Rules { target, text }
}

fn iptables(feature: Feature, vips: [&str; 2]) -> String {
    let mut nat = String::from("*nat\n:HT - [0:0]\n-A PREROUTING -j HT\n-A OUTPUT -j HT\n");
    let mut filter = String::from("*filter\n");
    for (family, vip) in FAMILIES.iter().zip(vips).filter(|(family, _)| family.serves(feature)) {
        for protocol in PROTOCOLS {
            let head = format!("{} -A HT -d {vip} -p {protocol} --dport 80", family.flag);
            for (test, target) in iptables_picks(family, feature) {
                nat += &format!("{head} {test} {target}\n");
            }
            let sunk = format!(
                "{} -A INPUT -p {protocol} --dport 9 -m conntrack --ctstate DNAT --ctorigdst {vip}",
                family.flag
            );
            match feature {
                Feature::Refuse => filter += &format!("{sunk} -j REJECT{}\n", reject_with(family, protocol)),
                Feature::Drop => filter += &format!("{sunk} -j DROP\n"),
                Feature::Random | Feature::RoundRobin | Feature::SourceHash | Feature::Redirect => {}
            }
        }
    }
    format!("{filter}COMMIT\n{nat}COMMIT\n")
}

/// The tests and targets of one service, in order.
fn iptables_picks(family: &Family, feature: Feature) -> Vec<(String, String)> {
    let dnat = |number| {
        let address = family.backend(number);
        let address = if family.ipv6 { format!("[{address}]") } else { address };
        format!("-j DNAT --to-destination {address}:8080")
    };
    let random = |probability: &str| format!("-m statistic --mode random --probability {probability}");
    let cluster =
        |node| format!("-m cluster --cluster-total-nodes 3 --cluster-local-node {node} --cluster-hash-seed {SEED:#x}");
    let always = String::new;
    match feature {
        Feature::Random => {
            vec![(random("0.50000000000"), dnat(1)), (random("0.66666666651"), dnat(2)), (always(), dnat(3))]
        }
        Feature::RoundRobin => {
            let slots = SLOTS.into_iter().zip((1..=SLOTS.len()).rev());
            let nth = |left| match left {
                1 => String::new(),
                left => format!("-m statistic --mode nth --every {left} --packet 0"),
            };
            slots.map(|(number, left)| (nth(left), dnat(number))).collect()
        }
        Feature::SourceHash => vec![(cluster(1), dnat(1)), (cluster(2), dnat(2)), (always(), dnat(3))],
        Feature::Redirect => vec![(always(), "-j REDIRECT --to-ports 9050".into())],
        Feature::Refuse | Feature::Drop => vec![(always(), "-j REDIRECT --to-ports 9".into())],
    }
}

fn reject_with(family: &Family, protocol: &str) -> &'static str {
    match (protocol, family.ipv6) {
        ("tcp", _) => " --reject-with tcp-reset",
        (_, false) => " --reject-with icmp-port-unreachable",
        (_, true) => " --reject-with icmp6-port-unreachable",
    }
}

fn nft(feature: Feature, vips: [&str; 2]) -> String {
    let mut service = String::new();
    for (family, vip) in FAMILIES.iter().zip(vips).filter(|(family, _)| family.serves(feature)) {
        let name = family.nft;
        let map = |slots: &[(&str, u8)]| {
            let slots = slots.iter().map(|(slot, number)| format!("{slot} : {} . 8080", family.backend(*number)));
            format!("map {{ {} }}", slots.collect::<Vec<_>>().join(", "))
        };
        let verdict = match feature {
            Feature::Random => format!("dnat {name} to numgen random mod 6 {}", map(&RANDOM)),
            Feature::RoundRobin => format!("dnat {name} to numgen inc mod 6 {}", map(&IN_TURN)),
            Feature::SourceHash => format!("dnat {name} to jhash {name} saddr mod 3 seed {SEED:#x} {}", map(&HASHED)),
            Feature::Redirect => "redirect to :9050".to_owned(),
            Feature::Refuse => "goto refuse".to_owned(),
            Feature::Drop => "drop".to_owned(),
        };
        service += &format!("  {name} daddr {vip} meta l4proto {{ tcp, udp, sctp }} th dport 80 {verdict}\n");
    }
    format!(
        "table inet ht\ndelete table inet ht\ntable inet ht {{\n\
         \x20chain refuse {{\n  meta l4proto tcp reject with tcp reset\n  reject with icmpx type port-unreachable\n }}\n\
         \x20chain service {{\n  ct state invalid drop\n{service} }}\n\
         \x20chain pre {{\n  type nat hook prerouting priority -100; policy accept;\n  jump service\n }}\n\
         \x20chain out {{\n  type nat hook output priority -100; policy accept;\n  jump service\n }}\n}}\n"
    )
}

const RANDOM: [(&str, u8); 3] = [("0-2", 1), ("3-4", 2), ("5", 3)];
const IN_TURN: [(&str, u8); 6] =
    [("0", SLOTS[0]), ("1", SLOTS[1]), ("2", SLOTS[2]), ("3", SLOTS[3]), ("4", SLOTS[4]), ("5", SLOTS[5])];
const HASHED: [(&str, u8); 3] = [("0", 1), ("1", 2), ("2", 3)];

fn nft_json(feature: Feature, vips: [&str; 2]) -> String {
    let table = json!({"family": "inet", "name": "ht"});
    let chain = |name: &str| json!({"family": "inet", "table": "ht", "name": name});
    let base = |name: &str, hook: &str| {
        json!({"family": "inet", "table": "ht", "name": name,
               "type": "nat", "hook": hook, "prio": -100, "policy": "accept"})
    };
    let rule = |chain: &str, expr: Value| json!({"add": {"rule": {"family": "inet", "table": "ht", "chain": chain, "expr": expr}}});
    let is = |left: Value, right: Value| json!({"match": {"op": "==", "left": left, "right": right}});
    let protocol = || json!({"meta": {"key": "l4proto"}});
    let mut commands = vec![
        json!({"add": {"table": table}}),
        json!({"delete": {"table": table}}),
        json!({"add": {"table": table}}),
        json!({"add": {"chain": chain("refuse")}}),
        json!({"add": {"chain": chain("service")}}),
        json!({"add": {"chain": base("pre", "prerouting")}}),
        json!({"add": {"chain": base("out", "output")}}),
        rule("refuse", json!([is(protocol(), json!("tcp")), {"reject": {"type": "tcp reset"}}])),
        rule("refuse", json!([{"reject": {"type": "icmpx", "expr": "port-unreachable"}}])),
        rule(
            "service",
            json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]),
        ),
    ];
    for (family, vip) in FAMILIES.iter().zip(vips).filter(|(family, _)| family.serves(feature)) {
        let expr = json!([
            is(json!({"payload": {"protocol": family.nft, "field": "daddr"}}), json!(vip)),
            is(protocol(), json!({"set": PROTOCOLS})),
            is(json!({"payload": {"protocol": "th", "field": "dport"}}), json!(80)),
            json_verdict(family, feature),
        ]);
        commands.push(rule("service", expr));
    }
    for hook in ["pre", "out"] {
        commands.push(rule(hook, json!([{"jump": {"target": "service"}}])));
    }
    json!({"nftables": commands}).to_string()
}

fn json_verdict(family: &Family, feature: Feature) -> Value {
    let numgen = |mode: &str| json!({"numgen": {"mode": mode, "mod": 6, "offset": 0}});
    let dnat = |key: Value, slots: &[(&str, u8)]| {
        let element = |(slot, number): &(&str, u8)| {
            let number_of = |text: &str| text.parse::<u32>().expect("a slot is a number");
            let slot = match slot.split_once('-') {
                Some((first, last)) => json!({"range": [number_of(first), number_of(last)]}),
                None => json!(number_of(slot)),
            };
            json!([slot, {"concat": [family.backend(*number), 8080]}])
        };
        let data: Vec<Value> = slots.iter().map(element).collect();
        json!({"dnat": {"family": family.nft, "addr": {"map": {"key": key, "data": {"set": data}}}}})
    };
    match feature {
        Feature::Random => dnat(numgen("random"), &RANDOM),
        Feature::RoundRobin => dnat(numgen("inc"), &IN_TURN),
        Feature::SourceHash => {
            let source = json!({"payload": {"protocol": family.nft, "field": "saddr"}});
            dnat(json!({"jhash": {"mod": 3, "seed": SEED, "expr": source}}), &HASHED)
        }
        Feature::Redirect => json!({"redirect": {"port": 9050}}),
        Feature::Refuse => json!({"goto": {"target": "refuse"}}),
        Feature::Drop => json!({"drop": null}),
    }
}
