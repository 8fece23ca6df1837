//! What is read back from text and JSON: the same as what was printed, and with the same meaning.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use crate::generated::{config, connections, packet};
use crate::ir::hash::Hash6;
use crate::ir::share::Share;
use crate::meaning::{Action, Connection, Direction, outcome};
use crate::statement::balance::Protocol;
use crate::target::Options;
use crate::target::nft::{Dump, Evaluator, Format, Ruleset, lower};
use crate::trace::{Hit, Machine, Outcome, Packet, Source, Trace, Walk};

/// A ruleset's text and JSON, read.
pub struct Both {
    text: Dump,
    json: Dump,
}

impl Both {
    /// Of a program's rulesets for text and for JSON.
    pub fn of(for_text: &Ruleset, for_json: &Ruleset) -> Result<Both, String> {
        let mut text = Vec::new();
        for_text.print_text(&mut text).expect("a vector takes everything");
        let mut json = Vec::new();
        for_json.print_json(&mut json).expect("a vector takes everything");
        let text = String::from_utf8(text).expect("text");
        let json = String::from_utf8(json).expect("text");
        let read = |dump: Result<Dump, _>| dump.map_err(|error| format!("{error:?}\n{text}"));
        let both = Both { text: read(Dump::read_text(&text))?, json: read(Dump::read_json(&json))? };
        if Ruleset::of_dump(&both.text).as_ref() != Some(for_text) {
            return Err(format!("what is read from the text is not what was printed:\n{text}"));
        }
        let sorted = |mut ruleset: Ruleset| {
            ruleset.maps.iter_mut().for_each(|map| map.elements.sort_by_cached_key(|one| format!("{one:?}")));
            ruleset
        };
        if Ruleset::of_dump(&both.json).map(sorted) != Some(sorted(for_json.clone())) {
            return Err(format!("what is read from the JSON is not what was printed:\n{json}"));
        }
        match for_text != for_json || chains(&both.text) == chains(&both.json) {
            true => Ok(both),
            false => Err(format!("{:#?}\n{:#?}", chains(&both.text), chains(&both.json))),
        }
    }

    pub fn check(&self, connection: &Connection, local: &[IpNet], meant: &[(Action, Share)]) -> Result<Trace, String> {
        let machine = Machine { local: local.to_vec(), ..Machine::default() };
        let packet = packet(connection);
        let text = Evaluator::new(&self.text).walk(&packet, &machine, false);
        let json = Evaluator::new(&self.json).walk(&packet, &machine, false);
        // An element with a server says nothing of its comment, and what most services do has no other.
        let bare = |trace: &Trace| {
            let mut trace = trace.clone();
            trace.outcomes.iter_mut().for_each(|outcome| outcome.comment = None);
            trace
        };
        if bare(&text) != bare(&json) {
            return Err(format!("{connection:?}\n  text {text:?}\n  JSON {json:?}"));
        }
        match text.unknown.is_empty() && text.actions() == meant {
            true => Ok(text),
            false => Err(format!("{connection:?}\n  means {meant:?}\n  walk {text:?}")),
        }
    }
}

/// Everything but the order of a map's elements: JSON has those with `drop` last.
fn chains(dump: &Dump) -> Vec<String> {
    let mut list = Vec::new();
    for table in &dump.tables {
        list.extend(table.chains().iter().map(|chain| format!("{chain:?}")));
        for set in table.sets() {
            let mut elements: Vec<String> = set.elements.iter().map(|one| format!("{} {one:?}", set.name)).collect();
            elements.sort();
            list.extend(elements);
        }
    }
    list
}

/// An example, and what `nft -j list ruleset` says once its text, or its JSON, is loaded.
macro_rules! example {
    ($name:literal) => {
        (
            include_str!(concat!("../../../../tests/examples/", $name, ".lb")),
            include_str!(concat!("../../../../tests/dumps/listed-", $name, ".json")),
            include_str!(concat!("../../../../tests/dumps/listed-", $name, "-from-json.json")),
        )
    };
}

const EXAMPLES: [(&str, &str, &str); 6] = [
    example!("first"),
    example!("canary"),
    example!("local-ports"),
    example!("port-forward"),
    example!("dns"),
    example!("shop"),
];

#[test]
fn examples_mean_the_same_when_read_back() {
    for (program, listed, listed_from_json) in EXAMPLES {
        let name = program.lines().next().unwrap_or_default();
        let config = config(program);
        let [text, json] = [Format::Text, Format::Json].map(|format| {
            lower(&config, &Options::default(), format).unwrap_or_else(|errors| panic!("{name}: {errors:#?}"))
        });
        let both = Both::of(&text, &json).unwrap_or_else(|error| panic!("{name}: {error}"));
        let local: Vec<IpNet> =
            vec!["203.0.113.10/32".parse().expect("a net"), "2001:db8::10/128".parse().expect("a net")];
        let mut hits = 0;
        let listed = [listed, listed_from_json].map(|text| Dump::read_json(text).expect("a listing"));
        let machine = Machine { local: local.clone(), ..Machine::default() };
        for connection in listened(&config).chain(connections()) {
            let meant = outcome(&config, &connection, &local, Hash6::Jhash).shares;
            hits += usize::from(meant[0].0 != Action::Pass);
            both.check(&connection, &local, &meant).unwrap_or_else(|error| panic!("{name}: {error}"));
            let packet = packet(&connection);
            let printed = Evaluator::new(&both.text).walk(&packet, &machine, false);
            for listed in &listed {
                assert_eq!(
                    Evaluator::new(listed).walk(&packet, &machine, false),
                    printed,
                    "{name}, listed: {connection:?}"
                );
            }
        }
        assert!(hits > 0, "{name}: no connection of the test meets a service");
    }
}

/// Connections to the ends of every listener.
pub fn listened(config: &crate::ir::Config) -> impl Iterator<Item = Connection> + use<> {
    use crate::ir::Destination;
    let mut list = Vec::new();
    for service in config.services() {
        for destination in &service.destinations {
            let addresses: Vec<IpAddr> = match destination {
                Destination::Prefix(net) => vec![net.network(), net.broadcast()],
                Destination::Local | Destination::Any => {
                    ["203.0.113.10", "2001:db8::10"].map(|text| text.parse().expect("an address")).to_vec()
                }
            };
            for ports in &service.ports {
                for port in [ports.first(), ports.last()] {
                    for &address in &addresses {
                        for &protocol in &service.protocols {
                            for direction in ["eth0", "wan0", ""] {
                                let source = if address.is_ipv4() { "198.51.100.7" } else { "2001:db8:1::7" };
                                let direction = match direction {
                                    "" => Direction::Out,
                                    name => Direction::In(name.to_owned()),
                                };
                                let source = source.parse().expect("an address");
                                list.push(Connection { protocol, source, destination: address, port, direction });
                            }
                        }
                    }
                }
            }
        }
    }
    list.into_iter()
}

pub fn share(numerator: u32, denominator: u32) -> Share {
    Share::new(numerator.into(), denominator.into())
}

pub fn dnat(address: &str, port: u16) -> Action {
    Action::Dnat(address.parse().expect("an address"), port)
}

pub fn tcp(destination: &str, port: u16) -> Packet {
    let destination: IpAddr = destination.parse().expect("an address");
    let source = if destination.is_ipv4() { "192.0.2.1" } else { "2001:db8:9::1" };
    Packet {
        protocol: Protocol::Tcp,
        source: source.parse().expect("an address"),
        source_port: Some(40_000),
        destination,
        port,
        direction: Direction::In("wan0".to_owned()),
    }
}

pub fn machine() -> Machine {
    Machine { local: vec!["10.0.0.1/32".parse().expect("a net")], ..Machine::default() }
}

fn walk(dump: &str, packet: &Packet) -> Trace {
    Evaluator::new(&Dump::read_json(dump).expect("a listing")).walk(packet, &machine(), true)
}

const KUBE_PROXY: &str = include_str!("../../../../tests/dumps/kube-proxy-nft-shape.json");
const HAND: &str = include_str!("../../../../tests/dumps/hand-written.json");

#[test]
fn a_cluster_ip_of_kube_proxy_goes_to_each_endpoint_with_a_third() {
    let trace = walk(KUBE_PROXY, &tcp("172.30.0.41", 80));
    let third = |address: &str| (dnat(address, 80), share(1, 3));
    assert_eq!(trace.actions(), ["10.180.0.1", "10.180.0.2", "10.180.0.3"].map(third));
    assert!(trace.outcomes.iter().all(|one| one.source == Source::Masquerade), "{trace:#?}");
    assert_eq!(trace.outcomes[0].comment.as_deref(), Some("ns1/svc1:p80"));
    assert_eq!(trace.unknown, []);
}

#[test]
fn a_client_of_the_cluster_keeps_its_address() {
    let packet = Packet { source: "10.1.2.3".parse().expect("an address"), ..tcp("172.30.0.41", 80) };
    let trace = walk(KUBE_PROXY, &packet);
    assert!(trace.outcomes.iter().all(|one| one.source == Source::Kept), "{trace:#?}");
    let sticky = walk(KUBE_PROXY, &tcp("172.30.0.42", 8080));
    assert_eq!(sticky.actions(), [(dnat("10.180.0.4", 8080), share(1, 1))]);
}

#[test]
fn a_service_without_endpoints_is_refused() {
    let trace = walk(KUBE_PROXY, &tcp("172.30.0.43", 80));
    let comment = Some("ns/empty:p80".to_owned());
    let outcome = Outcome { action: Action::Reject, source: Source::Kept, comment, share: share(1, 1) };
    assert_eq!(trace.outcomes, [outcome]);
    let invalid = walk(KUBE_PROXY, &tcp("172.30.0.43", 81));
    assert_eq!(invalid.actions(), [(Action::Pass, share(1, 1))]);
}

#[test]
fn a_number_without_an_element_falls_through() {
    let json = HAND.replace("\"policy\": \"drop\"", "\"policy\": \"accept\"").replace("\"wan*\"", "\"nothing\"");
    let trace = walk(&json, &tcp("10.0.9.1", 80));
    // Of 2, 3, 4, 5 the map has 2 and 3.
    let expected = [(dnat("10.0.1.2", 81), share(1, 2)), (Action::Pass, share(1, 2))];
    assert_eq!(trace.actions(), expected);
    let dump = Dump::read_json(&json).expect("a listing");
    let sequence = Evaluator::new(&dump).sequence(&tcp("10.0.9.1", 80), &machine(), 5);
    let (server, pass) = (dnat("10.0.1.2", 81), Action::Pass);
    assert_eq!(sequence, Some(vec![server.clone(), server.clone(), pass.clone(), pass, server]));
}

#[test]
fn hand_written_rules_do_what_the_kernel_does() {
    let dump = Dump::read_json(&HAND.replace("\"wan*\"", "\"nothing\"")).expect("a listing");
    let walk = |address: &str, port| Evaluator::new(&dump).walk(&tcp(address, port), &machine(), true);
    let one = |action| vec![(action, share(1, 1))];
    assert_eq!(walk("10.0.9.3", 80).actions(), one(dnat("10.9.1.12", 8080)), "a sticky map gives what was put in");
    assert_eq!(walk("10.0.9.4", 80).actions(), one(dnat("10.0.1.4", 8080)));
    let half = |address: &str| (dnat(address, 8080), share(1, 2));
    assert_eq!(walk("10.0.9.5", 80).actions(), ["10.0.1.4", "10.0.1.5"].map(half));
    assert_eq!(walk("10.0.10.7", 80).actions(), one(dnat("10.0.1.1", 80)), "`& 255.255.255.1`");
    assert_eq!(walk("2001:db8::1", 80).actions(), one(dnat("fd00::1", 80)));
    assert_eq!(walk("10.0.77.7", 99).actions(), one(Action::Reject));
    assert_eq!(walk("10.0.77.7", 98).actions(), one(Action::Pass));
    let web = walk("10.0.0.7", 85);
    assert_eq!(web.outcomes.iter().map(|one| one.comment.as_deref()).collect::<Vec<_>>(), [Some("web"); 2]);
    let range = walk("10.0.9.6", 1500);
    assert!(range.unknown.iter().any(|unknown| unknown.what == "10.0.1.1-10.0.1.4"), "{:#?}", range.unknown);
    assert!(range.steps.iter().any(|step| step.hit == Hit::CannotTell));
}

/// As Linux 6.18 treated packets.
#[test]
fn before_conntrack_there_is_no_connection_to_ask() {
    let dropped = |priority: i32, key: &str, test: &str| {
        let json = format!(
            r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t", "handle": 1}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "pre", "handle": 1, "type": "filter", "hook": "prerouting",
              "prio": {priority}, "policy": "accept"}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "pre", "handle": 2, "expr": [
              {{"match": {{{test}, "left": {{"ct": {key}}}}}}}, {{"drop": null}}]}}}}]}}"#
        );
        let trace = walk(&json, &tcp("10.0.9.1", 80));
        assert!(trace.unknown.is_empty(), "{:?}", trace.unknown);
        trace.actions() == [(Action::Drop, share(1, 1))]
    };
    let state = r#"{"key": "state"}"#;
    assert!(dropped(-300, state, r#""op": "in", "right": "invalid""#));
    assert!(!dropped(-300, state, r#""op": "in", "right": "new""#));
    assert!(dropped(-150, state, r#""op": "in", "right": "new""#));
    for (key, test) in [
        (r#"{"key": "mark"}"#, r#""op": "==", "right": 0"#),
        (r#"{"key": "mark"}"#, r#""op": "!=", "right": 1"#),
        (r#"{"key": "direction"}"#, r#""op": "==", "right": "original""#),
        (r#"{"key": "ip daddr", "dir": "original"}"#, r#""op": "==", "right": "10.0.9.1""#),
    ] {
        assert!(!dropped(-300, key, test), "{key}");
        assert!(dropped(-150, key, test), "{key}");
    }
}

#[test]
fn of_chains_with_one_priority_the_newest_is_asked_first() {
    let dump = Dump::read_json(include_str!("../../../../tests/dumps/equal-priorities.json")).expect("a listing");
    let packet = Packet { protocol: Protocol::Udp, direction: Direction::Out, ..tcp("10.0.0.1", 9) };
    let trace = Evaluator::new(&dump).walk(&packet, &machine(), true);
    let asked: Vec<&str> = trace.steps.iter().map(|step| step.chain.as_str()).collect();
    // The counters of the listing say so: 3, 3 and 0 packets.
    assert_eq!(asked[asked.len() - 2..], ["c", "b"]);
    assert_eq!(trace.actions(), [(Action::Drop, share(1, 1))]);
}

#[test]
fn rules_that_lead_in_circles_or_explode_end() {
    let mut objects = vec![r#"{"table":{"family":"ip","name":"t"}}"#.to_owned()];
    let base = r#","type":"nat","hook":"prerouting","prio":-100,"policy":"accept""#;
    let chain =
        |name: usize, base: &str| format!(r#"{{"chain":{{"family":"ip","table":"t","name":"c{name}"{base}}}}}"#);
    objects.extend((0..20).map(|name| chain(name, if name == 0 { base } else { "" })));
    for name in 0..20 {
        for _ in 0..50 {
            let to = (name + 1) % 20;
            objects.push(format!(
                r#"{{"rule":{{"family":"ip","table":"t","chain":"c{name}","expr":[{{"jump":{{"target":"c{to}"}}}}]}}}}"#
            ));
        }
    }
    let trace = walk(&format!(r#"{{"nftables":[{}]}}"#, objects.join(",")), &tcp("10.0.0.1", 80));
    assert_eq!(trace.actions(), [(Action::Pass, share(1, 1))]);
    assert!(trace.unknown.iter().any(|unknown| unknown.what.contains("chains deep")), "{:?}", trace.unknown);
}

#[test]
fn text_that_is_not_ours_is_an_error_with_its_line() {
    let cases = [
        ("table inet lbc\nflush table inet lbc\n", 2, "expected `table`, found `flush`"),
        ("table inet lbc {\n\tchain a {\n\t\tqueue\n\t}\n}\n", 3, "cannot read the statement that starts with `queue`"),
        ("table inet lbc {\n\tchain a {\n", 3, "expected a statement, found the end"),
        ("table inet lbc {\n\tchain a {\n\t\tgoto b comment \"x\n", 3, "expected a comment in quotes, found `\"`"),
    ];
    for (text, line, message) in cases {
        let error = Dump::read_text(text).expect_err(text);
        assert_eq!((error.line, error.message.as_str()), (Some(line), message));
    }
    for text in ["", "{", "[]", "{\"nftables\":[{\"rule\":{}}]}", "{\"nftables\":[1]}"] {
        assert!(Dump::read_json(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broken_text_and_json_are_errors_or_rulesets_but_no_panic(
        at in 0.0..1.0f64,
        length in 0..40usize,
        put in "[ -~\n\té]{0,4}",
    ) {
        let text = super::text(EXAMPLES[0].0);
        let broken = |text: &str| {
            let start = (at * text.len() as f64) as usize;
            let end = (start + length).min(text.len());
            format!("{}{put}{}", String::from_utf8_lossy(&text.as_bytes()[..start]), String::from_utf8_lossy(&text.as_bytes()[end..]))
        };
        for dump in [Dump::read_text(&broken(&text)), Dump::read_json(&broken(HAND))].into_iter().flatten() {
            let rules = Evaluator::new(&dump);
            rules.walk(&tcp("10.0.0.1", 80), &machine(), true);
            let _ = rules.sequence(&tcp("10.0.9.1", 80), &machine(), 3);
        }
    }
}

/// A listing of one base chain with these rules.
fn listed(rules: &[serde_json::Value]) -> String {
    use serde_json::json;
    let base = json!({"family": "ip", "table": "nat", "name": "PREROUTING", "handle": 1, "type": "nat",
        "hook": "prerouting", "prio": -100, "policy": "accept"});
    let mut list = vec![json!({"table": {"family": "ip", "name": "nat"}}), json!({ "chain": base })];
    let rule = |expr: &serde_json::Value| json!({"rule": {"family": "ip", "table": "nat", "chain": "PREROUTING", "handle": 2, "expr": expr}});
    list.extend(rules.iter().map(rule));
    json!({ "nftables": list }).to_string()
}

#[test]
fn the_type_of_a_source_is_known_as_far_as_the_machine_is() {
    use serde_json::json;
    let fib = |flags: serde_json::Value, result: &str, right: &str| json!([{"match": {"op": "==", "left": {"fib": {"result": result, "flags": flags}}, "right": right}}, {"drop": null}]);
    let own = Packet { source: "10.0.0.1".parse().expect("an address"), ..tcp("10.0.0.9", 80) };
    let foreign = tcp("10.0.0.9", 80);
    let actions = |rule: &serde_json::Value, packet: &Packet| {
        let trace = walk(&listed(std::slice::from_ref(rule)), packet);
        (trace.actions()[0].0.clone(), trace.unknown.len())
    };
    for flags in [json!("saddr"), json!(["saddr"])] {
        assert_eq!(actions(&fib(flags.clone(), "type", "local"), &own), (Action::Drop, 0));
        assert_eq!(actions(&fib(flags.clone(), "type", "local"), &foreign), (Action::Pass, 0));
        assert_eq!(actions(&fib(flags, "type", "unicast"), &foreign), (Action::Drop, 0));
    }
    // Routes are not known.
    for (flags, result) in
        [(json!(["saddr", "iif"]), "type"), (json!(["saddr", "iif"]), "oif"), (json!("saddr"), "oif")]
    {
        assert_eq!(actions(&fib(flags, result, "local"), &own), (Action::Pass, 1));
    }
}

#[test]
fn of_what_iptables_listed_only_what_says_something_is_known() {
    use serde_json::json;
    let dnat = |address: &str| json!({"dnat": {"addr": address, "port": 80}});
    let xt = |kind: &str, name: &str| json!({"xt": {"type": kind, "name": name}});
    let known = listed(&[
        json!([xt("target", "LOG")]),
        json!([xt("match", "comment"), {"counter": {"packets": 1, "bytes": 2}}, dnat("10.0.0.2")]),
    ]);
    let trace = walk(&known, &tcp("10.0.0.9", 80));
    assert_eq!((trace.actions(), trace.unknown), (vec![(dnat_to("10.0.0.2"), share(1, 1))], vec![]));
    for one in [
        xt("match", "statistic"),
        xt("target", "DNAT"),
        json!({"xt": null}),
        json!({"xt": "x"}),
        json!({"limit": "named"}),
    ] {
        let trace = walk(&listed(&[json!([one, dnat("10.0.0.2")])]), &tcp("10.0.0.9", 80));
        assert_eq!((trace.actions(), trace.unknown.len()), (vec![(Action::Pass, share(1, 1))], 1), "{one}");
    }
}

fn dnat_to(address: &str) -> Action {
    dnat(address, 80)
}
