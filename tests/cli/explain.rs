//! `lbc explain` and `lbc which`

use super::harness::Test;

const ALGORITHMS: &str = "\
host a = 192.168.1.10, 2001:db8::10
host b = 192.168.1.11
host c = 192.168.1.12

balance tcp 80 -> a:8080, b:8080, c:8080
balance tcp 81 by round-robin on not eth1 -> a weight 3, b weight 2, c
balance udp 53 by source-hash buckets 7 from 10.0.0.0/8 else reject -> a, b weight 2
balance tcp {203.0.113.10, [2001:db8::1]}:443 as shop output -> a weight 0, b weight 65535, c backup
balance tcp,udp 9000-9010 from 2001:db8::/32 else drop -> 192.168.1.10:9100-9110
";

#[test]
fn explain_says_why_the_second_of_three_rules_has_a_half() {
    let test = Test::new().file("web.lb", ALGORITHMS).unicode();
    let text = test.snapshot("explain-iptables", "explain web.lb").clean().to_owned();
    assert!(text.contains("1073741824 / 2^31") && text.contains("1/2 of what is left"), "{text}");
}

#[test]
fn explain_knows_the_numbers_of_nft() {
    Test::new().file("web.lb", ALGORITHMS).unicode().snapshot("explain-nft", "explain web.lb --target nft").clean();
}

#[test]
fn explain_as_json() {
    let test = Test::new().file("web.lb", ALGORITHMS);
    let text = test.snapshot("explain-json", "explain web.lb --service tcp-80 --output-format json").clean().to_owned();
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let backends = &value["services"][0]["families"][0]["backends"];
    let sum: f64 = (0..3).map(|index| backends[index]["probability"].as_f64().expect("a number")).sum();
    assert!((sum - 1.0).abs() < 1e-15);
}

#[test]
fn explain_in_ascii_and_for_a_service_that_is_not_there() {
    let test = Test::web();
    assert!(test.run("explain web.lb").clean().is_ascii());
    test.snapshot("explain-no-service", "explain web.lb --service tcp-8");
}

#[test]
fn which_tells_clients_and_prefixes() {
    let test = Test::new().file("web.lb", ALGORITHMS).unicode();
    let args = "which web.lb --from 10.1.2.3 --from 192.0.2.1,2001:db8::7 10.0.0.0/16 0.0.0.0/0 10.0.0.0/7";
    test.snapshot("which", args).clean();
    test.snapshot("which-json", "which web.lb --from 10.1.2.3 --output-format json").clean();
}

#[test]
fn which_says_who_the_backend_sees() {
    let text = "host a = 10.9.1.11\nnet near = 10.9.1.0/24\n\
                balance tcp 80 as h by source-hash masquerade hairpin -> a:1, 10.9.1.12:1\n\
                balance tcp 81 as fixed by source-hash snat 10.9.1.1 -> a:1\n\
                balance tcp 82 as m by source-hash masquerade from 10.0.0.0/8 else reject -> a:1\n\
                balance tcp 83 as k by source-hash -> a:1, 10.9.1.12:1\n";
    let test = Test::new().file("web.lb", text);
    let sources = |args: &str| -> Vec<(String, f64)> {
        let run = test.run(&format!("which web.lb --output-format json {args}"));
        let value: serde_json::Value = serde_json::from_str(run.clean()).expect("JSON");
        let outcomes = value["clients"][0]["outcomes"].as_array().expect("a list").clone();
        let one = |one: &serde_json::Value| (one["source"].as_str().map(str::to_owned), one["probability"].as_f64());
        outcomes.iter().map(one).map(|(source, share)| (source.expect("text"), share.expect("a number"))).collect()
    };
    let all = |source: &str| vec![(source.to_owned(), 1.0)];
    assert_eq!(sources("--service h --from 10.9.1.12"), all("masquerade"));
    assert_eq!(sources("--service h --from 10.9.2.12"), all("kept"));
    assert_eq!(sources("--service fixed --from 10.9.1.12"), all("10.9.1.1"));
    assert_eq!(sources("--service m --from 10.9.1.12"), all("masquerade"));
    assert_eq!(sources("--service m --from 192.0.2.1"), all("kept"));
    assert_eq!(sources("--service k --from 10.9.1.12"), all("kept"));
    // Of a prefix those near the backend, and the others: counted, and by buckets.
    for (prefix, part) in [("10.9.0.0/23", 0.5), ("10.0.0.0/11", 1.0 / 8192.0)] {
        let found = sources(&format!("--service h --from {prefix}"));
        let near: f64 = found.iter().filter(|(source, _)| source == "masquerade").map(|(_, share)| share).sum();
        let sum: f64 = found.iter().map(|(_, share)| share).sum();
        assert!((near - part).abs() < 1e-9 && (sum - 1.0).abs() < 1e-9, "{prefix}: {found:?}");
    }
    let people = test.run("which web.lb --service fixed --from 10.9.1.12");
    assert!(
        people.clean().contains("10.9.1.11:1  (bucket ") && people.stdout.contains(")  as 10.9.1.1\n"),
        "{}",
        people.show()
    );
}

#[test]
fn which_is_exact_for_a_prefix() {
    let test = Test::new().file("web.lb", ALGORITHMS);
    let text = test.run("which web.lb --from 10.1.0.0/22 --output-format json").clean().to_owned();
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // Counted client by client: as many answers as there are addresses.
    let list: Vec<String> = (0..1024).map(|n| format!("10.1.{}.{}", n / 256, n % 256)).collect();
    let single = test.run(&format!("which web.lb --output-format json --from {}", list.join(",")));
    let clients: serde_json::Value = serde_json::from_str(single.clean()).expect("JSON");
    let clients = clients["clients"].as_array().expect("a list");
    assert_eq!(clients.len(), 1024);
    for outcome in value["clients"][0]["outcomes"].as_array().expect("a list") {
        let count = clients.iter().filter(|client| client["outcomes"][0]["to"] == outcome["to"]).count();
        let share = outcome["probability"].as_f64().expect("a number");
        assert_eq!((share * 1024.0).round() as usize, count);
    }
}

#[test]
fn which_needs_a_service_that_hashes_and_a_client() {
    let test = Test::new().file("web.lb", ALGORITHMS);
    test.snapshot("which-not-hashed", "which web.lb --from 10.0.0.1 --service tcp-80");
    test.snapshot("which-no-client", "which web.lb --from 10.0.0 10.0.0.1/8");
    assert_eq!(Test::web().run("which web.lb --from 10.0.0.1").code, Some(2));
}

/// A directory with a dump of others.
fn dump(text: &str) -> Test {
    Test::new().bytes("dump.rules", text.as_bytes()).unicode()
}

const KUBE_PROXY: [&str; 2] =
    [include_str!("../dumps/kube-proxy-legacy.rules"), include_str!("../dumps/kube-proxy-nft.rules")];
const DOCKER: [&str; 3] = [
    include_str!("../dumps/docker-legacy.rules"),
    include_str!("../dumps/docker-legacy-counters.rules"),
    include_str!("../dumps/docker-nft.rules"),
];
const HAND_MADE: [&str; 3] = [
    include_str!("../dumps/hand-made-as-written.rules"),
    include_str!("../dumps/hand-made-legacy-counters.rules"),
    include_str!("../dumps/hand-made-nft-counters.rules"),
];
const RULES: &str = "explain --rules dump.rules";

/// What is above the list of rules that are not known: that depends on how they are written.
fn told(text: &str) -> &str {
    text.split("\nnot known").next().expect("one part at least")
}

#[test]
fn rules_of_others_tell_their_listeners() {
    for (name, texts) in [
        ("explain-kube-proxy", &KUBE_PROXY[..]),
        ("explain-docker", &DOCKER[..]),
        ("explain-hand-made", &HAND_MADE[..]),
    ] {
        let run = dump(texts[0]).snapshot(name, RULES);
        for text in texts {
            assert_eq!(told(dump(text).run(RULES).clean()), told(run.clean()), "{name}");
        }
    }
    dump(include_str!("../dumps/hand-made-ipv6-nft.rules")).snapshot("explain-hand-made-ipv6", RULES).clean();
    let kube = dump(KUBE_PROXY[0]).snapshot("explain-kube-proxy-json", &format!("{RULES} --output-format json"));
    let json: serde_json::Value = serde_json::from_str(kube.clean()).expect("JSON");
    for listener in json["listeners"].as_array().expect("a list") {
        let outcomes = listener["cases"][0]["outcomes"].as_array().expect("a list");
        let sum: f64 = outcomes.iter().map(|one| one["probability"].as_f64().expect("a number")).sum();
        assert!((sum - 1.0).abs() < 1e-12 && matches!(outcomes.len(), 1 | 3), "{listener:#}");
    }
}

/// The mistakes that the field is known for, without a packet to ask about.
#[test]
fn classic_mistakes_are_found_in_rules_of_others() {
    let thirds = dump(include_str!("../dumps/three-thirds.rules")).snapshot("explain-thirds", RULES);
    assert!(thirds.clean().contains("passes unbalanced 30.08 %"));
    let nth: String = (0..3)
        .map(|n| {
            let every = format!("-m statistic --mode nth --every 3 --packet {n}");
            format!("-A PREROUTING -p tcp --dport 80 {every} -j DNAT --to-destination 10.0.0.{n}:8080\n")
        })
        .collect();
    let test = Test::new().file("dump.rules", &format!("*nat\n{nth}COMMIT\n")).unicode();
    let people = test.snapshot("explain-nth", RULES);
    assert!(people.clean().contains("passes unbalanced 29.63 %"));
    let run = test.run(&format!("{RULES} --output-format json"));
    let json: serde_json::Value = serde_json::from_str(run.clean()).expect("JSON");
    let case = &json["listeners"][0]["cases"][0];
    let shares: Vec<&str> =
        case["outcomes"].as_array().expect("a list").iter().filter_map(|one| one["share"].as_str()).collect();
    assert_eq!((shares, case["unbalanced"].as_str()), (vec!["1/3", "2/9", "4/27", "8/27"], Some("8/27")));
    assert_eq!(case["sequence"].as_array().map(Vec::len), Some(16));
}

/// The rules of a program tell what the program says, on every target.
#[test]
fn own_rules_tell_their_listeners_on_every_target() {
    let test = Test::new().file("web.lb", include_str!("../examples/canary.lb")).unicode();
    for target in ["iptables", "nft", "nft-json"] {
        test.run(&format!("compile web.lb --target {target} -o rules")).clean();
        let text = test.run("explain --rules rules").clean().to_owned();
        for line in ["tcp 203.0.113.20:443\n", "  3/5  60.00 %", " 3/10  30.00 %", " 1/20   5.00 %", "100 %"] {
            assert!(text.contains(line) || (target == "iptables" && line.contains('/')), "{target} {line}\n{text}");
        }
        assert!(text.contains("reject") && !text.contains("too many"), "{target}\n{text}");
    }
}

#[test]
fn rules_of_nft_tell_their_listeners() {
    dump(include_str!("../dumps/hand-made-nft.json")).snapshot("explain-hand-made-nft", RULES).clean();
}

#[test]
fn a_translation_of_the_port_alone_names_no_address() {
    let test = dump("*nat\n-A PREROUTING -p tcp --dport 84 -j DNAT --to-destination :8080\nCOMMIT\n");
    let text = test.run(RULES).clean().to_owned();
    assert!(text.contains("shown for one address; each connection keeps its own"), "{text}");
}

/// What is not understood is listed wherever it stands, and elements that expire are there until then.
#[test]
fn rules_of_nft_with_unknown_parts_and_timeouts() {
    let set = r#"{"set": {"family": "ip", "name": "bad", "table": "t", "type": "ipv4_addr", "flags": ["timeout"],
        "elem": [{"elem": {"val": "198.51.100.7", "timeout": 3600, "expires": 3599}}]}}"#;
    let chain = r#"{"chain": {"family": "ip", "table": "t", "name": "p", "type": "nat", "hook": "prerouting", "prio": -100,
        "policy": "accept"}}"#;
    let dropped = r#"{"rule": {"family": "ip", "table": "t", "chain": "p", "expr": [{"match": {"op": "==", "left":
        {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@bad"}}, {"drop": null}]}}"#;
    let window = r#"{"rule": {"family": "ip", "table": "t", "chain": "p", "expr": [{"match": {"op": "==", "left": {"&": [
        {"payload": {"protocol": "tcp", "field": "window"}}, 255]}, "right": 5}}, {"drop": null}]}}"#;
    let table = r#"{"table": {"family": "ip", "name": "t"}}"#;
    let text = format!("{{\"nftables\": [{table}, {set}, {chain}, {dropped}, {window}]}}");
    let test = dump(&text);
    let text = test.run(RULES).clean().to_owned();
    assert!(text.contains("not known to lbc") && text.contains("window"), "{text}");
    let packet = "tcp 198.51.100.7 -> 203.0.113.1:80 in eth0";
    let text = test.run_args(["trace", "--rules", "dump.rules", packet]).clean().to_owned();
    assert!(text.contains("drop") && text.contains("100 %"), "{text}");
}

#[test]
fn one_listener_of_rules_of_others() {
    let test = dump(KUBE_PROXY[0]);
    for (service, titles) in [
        ("10.96.7.7:80", &["tcp 10.96.7.7:80"][..]),
        ("udp/10.96.0.10:53", &["udp 10.96.0.10:53"][..]),
        ("local:30080", &["tcp local:30080"][..]),
    ] {
        let run = test.run(&format!("{RULES} --service {service}"));
        let found: Vec<&str> = run.clean().lines().filter(|line| line.starts_with(['t', 'u', 's'])).collect();
        assert_eq!(found, titles);
    }
    for (service, message) in [
        ("tcp/10.96.0.10:53", "the rules do nothing to `tcp/10.96.0.10:53`"),
        ("*:80", "the rules do nothing to `*:80`"),
        ("tcp-80", "expected `[PROTO/]ADDR:PORT`"),
        ("ftp/10.96.0.10:53", "expected `[PROTO/]ADDR:PORT`"),
        ("2001:db8::1:80", "expected `[PROTO/]ADDR:PORT`"),
        ("10.96.0.10:0", "expected `[PROTO/]ADDR:PORT`"),
    ] {
        test.run(&format!("{RULES} --service {service}")).fails(2, message);
    }
    let stdin = Test::new().stdin(KUBE_PROXY[0]).unicode();
    assert_eq!(stdin.run("explain --rules -").clean(), test.run(RULES).clean());
}

#[test]
fn clients_interfaces_and_filters_are_told_apart() {
    let rules = "*nat\n-A PREROUTING -i eth0 -s 10.0.0.0/8 -p tcp --dport 80 -j DNAT --to-destination 10.9.0.1\n\
                 -A PREROUTING -i eth+ -p tcp --dport 80 -j REDIRECT --to-ports 9\n\
                 -A PREROUTING -d 10.1.0.0/16 -p tcp --dport 8000:8010 -j DNAT --to-destination 10.9.0.2\n\
                 -A PREROUTING -p udp -m set --match-set bad src -j RETURN\n\
                 -A PREROUTING -p udp --dport 53 -j DNAT --to-destination 10.9.0.3\nCOMMIT\n\
                 *filter\n-A INPUT -p tcp --dport 9 -j REJECT\nCOMMIT\n";
    let test = Test::new().file("dump.rules", rules).unicode();
    let text = test.snapshot("explain-cases", RULES).clean().to_owned();
    assert!(text.contains("filters then reject 100 %") && text.contains("--match-set bad src"), "{text}");
    assert!(Test::new().bytes("dump.rules", rules.as_bytes()).run(RULES).clean().is_ascii());
}

#[test]
fn rules_of_a_thousand_services_are_told() {
    let mut rules = String::from("*nat\n:SVC - [0:0]\n-A PREROUTING -j SVC\n-A OUTPUT -j SVC\n");
    for n in 0..1000 {
        let (ip, to) = (format!("10.96.{}.{}", n / 250, n % 250), format!("10.244.{}.{}", n / 250, n % 250));
        rules += &format!(
            "-A SVC -d {ip}/32 -p tcp -m tcp --dport 80 -m statistic --mode random --probability 0.5 -j DNAT --to-destination {to}:8080\n"
        );
        rules += &format!("-A SVC -d {ip}/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination {to}:8081\n");
    }
    let run = dump(&(rules + "COMMIT\n")).run(&format!("{RULES} --output-format json-lines"));
    let json: serde_json::Value = serde_json::from_str(run.clean()).expect("JSON");
    assert_eq!(json["listeners"].as_array().map(Vec::len), Some(1000));
    assert_eq!(json["notes"].as_array().map(Vec::len), Some(0));
}

#[test]
fn rules_of_others_stand_alone() {
    let test = Test::web().bytes("dump.rules", HAND_MADE[0].as_bytes());
    test.run("explain --rules dump.rules web.lb").fails(2, "cannot be used with");
    test.run("explain --rules dump.rules --target nft").fails(2, "cannot be used with");
    test.run("explain --rules dump.rules -D a=10.0.0.1").fails(2, "cannot be used with");
    test.run("trace --rules dump.rules --set a=1 tcp,203.0.113.1:80").fails(2, "cannot be used with");
    test.run("explain").fails(2, "required");
    test.run("explain --rules web.lb").fails(2, "neither an iptables-save dump");
}

const IN_STEP: &str = "\
*mangle
-A PREROUTING -p tcp -m conntrack --ctstate NEW -m statistic --mode nth --every 2 --packet 0 -j MARK --set-mark 1
COMMIT
*nat
-A PREROUTING -p tcp --dport 80 -m statistic --mode nth --every 2 --packet 1 -m mark --mark 1 -j DNAT --to-destination 10.9.1.11
-A PREROUTING -p tcp --dport 80 -m mark --mark 1 -j DNAT --to-destination 10.9.1.12
-A PREROUTING -p tcp --dport 81 -m statistic --mode nth --every 65537 --packet 0 -m mark --mark 1 -j DNAT --to-destination 10.9.1.13
COMMIT
";

#[test]
fn shares_of_counters_in_step_are_right_or_said_to_be_loose() {
    let test = dump(IN_STEP).snapshot("explain-in-step", RULES);
    assert!(!test.clean().contains("10.9.1.11"), "the first rule never sees a mark");
    let packet = |port: u16| format!("tcp 198.51.100.7 -> 203.0.113.10:{port}");
    let trace = |port, format: &str| {
        let (packet, format) = (packet(port), format!("--output-format={format}"));
        dump(IN_STEP).run_args(["trace", "--rules", "dump.rules", &packet, &format]).clean().to_owned()
    };
    assert!(trace(81, "full").contains("the shares take them for independent"));
    for (port, loose) in [(80, serde_json::Value::Null), (81, serde_json::Value::Bool(true))] {
        let json: serde_json::Value = serde_json::from_str(&trace(port, "json")).expect("JSON");
        assert_eq!(json["counters_taken_for_independent"], loose);
    }
    let json = dump(IN_STEP).run(&format!("{RULES} --service 203.0.113.10:81 --output-format json")).clean().to_owned();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["listeners"][0]["cases"][0]["counters_taken_for_independent"], true);
}

#[test]
fn values_that_iptables_would_refuse_and_scripts_of_others_are_named() {
    let rule = |test: &str| {
        format!("*nat\n-A PREROUTING -p tcp -m statistic --mode {test} -j DNAT --to-destination 10.9.1.11\nCOMMIT\n")
    };
    for (test, named) in [("random --probability 1.5", "--probability 1.5"), ("nth --every 0 --packet 0", "--every 0")]
    {
        let text = dump(&rule(test)).run(RULES).clean().to_owned();
        assert!(text.contains(&format!("\n  {named}  in  -A")), "{text}");
        assert!(!text.contains("\n  --mode"), "{text}");
    }
    let native = "table ip nat {\n\tchain pre {\n\t\ttype nat hook prerouting priority dstnat;\n\t}\n}\n";
    dump(native).run(RULES).fails(2, "nft -j list ruleset");
    dump(native)
        .run_args(["trace", "--rules", "dump.rules", "tcp 1.2.3.4 -> 1.2.3.5:80"])
        .fails(2, "nft -j list ruleset");
}
