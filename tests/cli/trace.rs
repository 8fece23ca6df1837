//! `lbc trace`

use super::harness::Test;

fn run(test: &Test, name: &str, args: &[&str]) -> String {
    let run = test.run_args(args);
    super::harness::assert_snapshot(name, &format!("$ lbc {}\n{}", args.join(" "), run.show()));
    run.clean().to_owned()
}

#[test]
fn every_rule_that_is_tested_is_shown_with_what_it_takes() {
    let test = Test::web().unicode();
    for (name, target) in [("trace-iptables", "iptables"), ("trace-nft", "nft"), ("trace-nft-json", "nft-json")] {
        let text = run(
            &test,
            name,
            &["trace", "web.lb", "tcp 198.51.100.7:40000 -> 203.0.113.10:80 in eth0", "--target", target],
        );
        assert!(text.contains("2/3") && text.contains("dnat to 192.168.1.10:8080"), "{text}");
    }
}

#[test]
fn json_has_the_exact_share_and_what_the_rules_give() {
    let test = Test::web();
    let args = ["trace", "web.lb", "tcp 198.51.100.7 -> 203.0.113.10:80", "--output-format", "json"];
    let text = run(&test, "trace-json", &args);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["outcomes"][0]["share"], "2/3");
    assert_eq!(value["outcomes"][0]["probability"], 0.6666666665114462);
    assert_eq!(value["unknown"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_round_robin_shows_its_first_connections() {
    let test = Test::new().file("rr.lb", "balance tcp 80 by round-robin -> 10.0.0.1 weight 2, 10.0.0.2\n").unicode();
    for target in ["iptables", "nft"] {
        let args =
            ["trace", "rr.lb", "tcp 192.0.2.1 -> 203.0.113.1:80", "--target", target, "--output-format", "json-lines"];
        let run = test.run_args(args);
        let value: serde_json::Value = serde_json::from_str(run.clean()).expect("JSON");
        let sequence: Vec<&str> =
            value["sequence"].as_array().expect("a list").iter().filter_map(|to| to.as_str()).collect();
        assert_eq!(&sequence[..4], ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"]);
        assert_eq!(sequence.len(), 16);
    }
}

#[test]
fn what_is_not_for_this_machine_passes_and_refusals_are_seen() {
    let test = Test::new().file("a.lb", "balance tcp 80 from 10.0.0.0/8 else reject -> 10.9.0.1\n");
    for (packet, local, action) in [
        ("tcp 10.1.1.1 -> 203.0.113.1:80", None, "dnat"),
        ("tcp 11.1.1.1 -> 203.0.113.1:80", None, "reject"),
        ("tcp 11.1.1.1 -> 203.0.113.1:80", Some("192.0.2.1"), "pass"),
        ("tcp 11.1.1.1 -> 203.0.113.1:80 out", None, "pass"),
        ("udp 11.1.1.1 -> 203.0.113.1:80", None, "pass"),
    ] {
        for target in ["iptables", "nft", "nft-json"] {
            let mut args = vec!["trace", "a.lb", packet, "--target", target, "--output-format", "json"];
            args.extend(local.into_iter().flat_map(|local| ["--local", local]));
            let run = test.run_args(&args);
            let value: serde_json::Value = serde_json::from_str(run.clean()).expect("JSON");
            assert_eq!(value["outcomes"][0]["action"], action, "{args:?}");
        }
    }
}

/// The mistakes that the field is known for.
#[test]
fn classic_mistakes_in_rules_of_others() {
    let rule = |matches: &str, to: u8| format!("-A PREROUTING -p tcp --dport 80 {matches} -j DNAT --to 10.0.0.{to}\n");
    let table = |rules: Vec<String>| format!("*nat\n:PREROUTING ACCEPT [0:0]\n{}COMMIT\n", rules.concat());
    let thirds = (1..=3).map(|to| rule("-m statistic --mode random --probability .33", to)).collect();
    let nth = (0..3).map(|n| rule(&format!("-m statistic --mode nth --every 3 --packet {n}"), n + 1)).collect();
    let test = Test::new().file("thirds.rules", &table(thirds)).file("nth.rules", &table(nth)).unicode();
    let packet = "tcp 198.51.100.7 -> 203.0.113.10:80";
    let text = run(&test, "trace-thirds", &["trace", "--rules", "thirds.rules", packet]);
    assert!(text.contains("30.08 %"), "{text}");
    let text = run(&test, "trace-nth", &["trace", "--rules", "nth.rules", packet]);
    for share in ["1/3", "2/9", "4/27", "8/27"] {
        assert!(text.contains(share), "{text}");
    }
}

#[test]
fn what_is_not_known_is_listed_and_not_guessed() {
    let rules = "*nat\n-A PREROUTING -p tcp -m set --match-set bad src -j DROP\n\
                 -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1\nCOMMIT\n";
    let test = Test::new().file("set.rules", rules).unicode();
    let text = run(&test, "trace-unknown", &["trace", "--rules", "set.rules", "tcp 192.0.2.1 -> 203.0.113.1:80"]);
    assert!(text.contains("--match-set bad src"), "{text}");
}

#[test]
fn wrong_packets_and_rules_are_usage_errors() {
    let test = Test::web().file("x.rules", "hello\n").file("y.rules", "*nat\n-A NOWHERE -j\nCOMMIT\n");
    for (args, message) in [
        (vec!["trace", "web.lb"], "expected `->`"),
        (vec!["trace", "web.lb", "tcp 1.2.3.4 -> 1.2.3.4"], "needs a port"),
        (vec!["trace", "tcp 1.2.3.4 -> 1.2.3.4:5"], "needs a PATH"),
        (vec!["trace", "--rules", "x.rules", "web.lb", "tcp 1.2.3.4 -> 1.2.3.4:5"], "in the place of PATH"),
        (vec!["trace", "--rules", "x.rules", "tcp 1.2.3.4 -> 1.2.3.4:5"], "neither an iptables-save dump"),
        (vec!["trace", "--rules", "y.rules", "tcp 1.2.3.4 -> 1.2.3.4:5"], "y.rules:2"),
        (vec!["trace", "--rules", "no.rules", "tcp 1.2.3.4 -> 1.2.3.4:5"], "cannot read"),
        (vec!["trace", "web.lb", "--local", "x", "tcp 1.2.3.4 -> 1.2.3.4:5"], "--local"),
    ] {
        test.run_args(&args).fails(2, message);
    }
}
