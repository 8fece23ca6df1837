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
