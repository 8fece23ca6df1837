//! What options become: the order in a service's chain, the forms of sticky, names, source NAT, and what nft cannot say.

use super::{check_form, config, errors, json, lower, packet, ruleset, text};
use crate::meaning::{Action, Connection, Direction};
use crate::statement::balance::Protocol;
use crate::target::Options;
use crate::target::nft::model::{Remembered, Ruleset};
use crate::target::nft::{Dump, Evaluator, Format};
use crate::trace::{Machine, Walk};

/// The lines of a chain.
fn chain(text: &str, name: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.trim() != format!("chain {name} {{")).skip(1);
    let own = lines.take_while(|line| line.trim() != "}");
    own.map(|line| line.trim().split(" comment \"").next().unwrap_or_default().to_owned()).collect()
}

const HOSTS: &str = "host a = 10.0.0.1, fd00::1\nhost b = 10.0.0.2, fd00::2\n";

#[test]
fn options_stand_in_their_order_before_the_pick() {
    let text = text(
        "balance tcp,udp 192.0.2.1:80 as web from 10.0.0.0/8 else reject limit 5/second per source log \"w: \" \
         max-connections 7 else reject counter by round-robin sticky 10m -> 10.0.0.1:80, 10.0.0.2:81\n",
    );
    let expected = [
        "ip saddr != 10.0.0.0/8 goto refuse",
        "counter name \"web-ip4\"",
        "limit rate 1/second burst 10 packets log prefix \"w: \"",
        "update @web-ip4-limit { ip saddr limit rate over 5/second burst 5 packets } drop",
        "ct count over 7 goto refuse",
        "ip saddr @web-ip4-sticky/10.0.0.1-80 goto svc-web-ip4-b1",
        "ip saddr @web-ip4-sticky/10.0.0.2-81 goto svc-web-ip4-b2",
        "numgen inc mod 2 vmap { 0 : goto svc-web-ip4-b1, 1 : goto svc-web-ip4-b2 }",
    ];
    assert_eq!(chain(&text, "svc-web-ip4"), expected, "{text}");
    let backend = [
        "update @web-ip4-sticky/10.0.0.2-81 { ip saddr }",
        "meta l4proto { tcp, udp } counter name \"web-ip4/10.0.0.2-81\" dnat ip to 10.0.0.2:81",
    ];
    assert_eq!(chain(&text, "svc-web-ip4-b2"), backend, "{text}");
}

#[test]
fn a_map_remembers_clients_and_a_set_beside_it_who_takes_no_turn() {
    let random = text("balance tcp 192.0.2.1:80 as s sticky 1h30m -> 10.0.0.1:80, 10.0.0.2:80 weight 2\n");
    assert!(random.contains("\tmap s-ip4-sticky {\n\t\ttype ipv4_addr : ipv4_addr\n\t\tsize 65535\n"), "{random}");
    assert!(random.contains("\t\tflags dynamic,timeout\n\t\ttimeout 1h30m\n"), "{random}");
    assert_eq!(
        chain(&random, "svc-s-ip4-b2"),
        [
            "meta l4proto tcp update @s-ip4-sticky { ip saddr : 10.0.0.2 } dnat ip to ip saddr map @s-ip4-sticky:80",
            "meta l4proto tcp dnat ip to 10.0.0.2:80",
        ]
    );
    let turns = text("balance tcp 192.0.2.1:80 as s by round-robin sticky 1d -> 10.0.0.1, 10.0.0.2\n");
    assert_eq!(
        chain(&turns, "svc-s-ip4"),
        [
            "ip saddr @s-ip4-known update @s-ip4-known { ip saddr } update @s-ip4-sticky { ip saddr : 10.0.0.1 } \
             dnat ip to ip saddr map @s-ip4-sticky",
            "numgen inc mod 2 vmap { 0 : goto svc-s-ip4-b1, 1 : goto svc-s-ip4-b2 }",
        ]
    );
}

/// What is remembered in each family; two sets for the set of each backend.
fn forms(options: &str, backends: &str, format: Format) -> Vec<Remembered> {
    let ruleset = ruleset(&format!("{HOSTS}balance tcp 80 as s sticky 1m {options} -> {backends}\n"), format);
    check_form(&ruleset);
    ruleset.memories.iter().map(|memory| memory.data).collect()
}

#[test]
fn what_a_map_cannot_say_has_a_set_for_each_backend() {
    use Remembered::{Address, Endpoint, Nothing};
    let text = |options, backends| forms(options, backends, Format::Text);
    assert_eq!(text("", "a:80, b:80"), [Address, Address]);
    assert_eq!(text("", "a, b"), [Address, Address]);
    assert_eq!(text("", "a:80, b:81"), [Endpoint, Nothing, Nothing]);
    assert_eq!(text("", "a:80, b"), [Nothing; 4]);
    assert_eq!(text("", ":81, :82"), [Nothing; 4]);
    assert_eq!(text("counter", "a:80, b:80"), [Nothing; 4]);
    assert_eq!(text("by round-robin", "a:80, b:80"), [Address, Nothing, Address, Nothing]);
    assert_eq!(forms("", "a:80, b:80", Format::Json), [Nothing; 4]);
    // Where there is no choice nothing is remembered.
    assert_eq!(text("", "a:80, b:80 weight 0"), []);
    assert_eq!(text("", "a:80 weight 0"), []);
}

#[test]
fn turns_are_followed_past_what_is_remembered() {
    let program = "balance tcp 192.0.2.1:80 by round-robin sticky 1m limit 9/second -> 10.0.0.1, 10.0.0.2, 10.0.0.3\n";
    let connection = Connection {
        protocol: Protocol::Tcp,
        source: "198.51.100.7".parse().expect("an address"),
        destination: "192.0.2.1".parse().expect("an address"),
        port: 80,
        direction: Direction::In("eth0".to_owned()),
    };
    let server = |last: u8| Action::Dnat([10, 0, 0, last].into(), 80);
    for dump in [Dump::read_text(&text(program)), Dump::read_json(&json(program))] {
        let dump = dump.expect("our own text");
        let sequence = Evaluator::new(&dump).sequence(&packet(&connection), &Machine::default(), 4);
        assert_eq!(sequence, Some(vec![server(1), server(2), server(3), server(1)]));
    }
}

#[test]
fn counters_have_names_of_their_own() {
    let all = "[2001:db8::1:80], [2001:db8::1]:80, [2001:db8::1]:81, 10.0.0.1, 10.0.0.1:80, :9050, 10.0.0.2 weight 0";
    let names = |ruleset: Ruleset| -> Vec<String> { ruleset.counters.iter().map(ToString::to_string).collect() };
    let expected = [
        "web-ip4",
        "web-ip4/10.0.0.1",
        "web-ip4/10.0.0.1-80",
        "web-ip4/local-9050",
        "web-ip6",
        "web-ip6/2001-db8--1-80",
        "web-ip6/2001-db8--1-80_2",
        "web-ip6/2001-db8--1-81",
        "web-ip6/local-9050",
    ];
    for format in [Format::Text, Format::Json] {
        let ruleset = ruleset(&format!("balance tcp 8080 as web counter -> {all}\n"), format);
        check_form(&ruleset);
        assert_eq!(names(ruleset), expected);
    }
    // A drained service counts whom it rejects.
    assert_eq!(names(ruleset("balance tcp 80 as web counter -> 10.0.0.1 weight 0\n", Format::Text)), ["web-ip4"]);
    // Nobody is let in: there is nobody to count.
    assert!(names(ruleset("balance tcp 80 counter from fd00::/8 else drop -> 10.0.0.1\n", Format::Text)).is_empty());
}

#[test]
fn sources_are_changed_behind_the_translation_for_those_who_asked() {
    let program = "\
        net lan = 10.0.0.0/24\n\
        balance tcp 192.0.2.1:80 as a masquerade -> 10.0.0.1:8080\n\
        balance tcp,udp 192.0.2.0/24:80 as b from 10.1.0.0/16 -> 10.0.0.1\n\
        balance tcp 192.0.2.0/24:80-81 as c from not 10.9.0.0/16 snat 192.0.2.9 -> 10.0.0.2:80\n\
        balance tcp 8000-8001 as d masquerade hairpin -> 10.0.0.1:9000-9001, 10.0.0.2:8000, 10.3.0.1:8000\n";
    let made = text(program);
    assert_eq!(
        chain(&made, "postrouting"),
        [
            "type nat hook postrouting priority 100; policy accept;",
            "meta nfproto ipv4 ct status dnat goto source-nat-ip4",
        ]
    );
    assert_eq!(
        chain(&made, "source-nat-ip4"),
        [
            "meta l4proto tcp ct original ip daddr 192.0.2.1 ct original proto-dst 80 masquerade",
            "meta l4proto tcp ct original ip daddr 192.0.2.0/24 ct original proto-dst 80 ip saddr 10.1.0.0/16 return",
            "meta l4proto udp ct original ip daddr 192.0.2.0/24 ct original proto-dst 80 ip saddr 10.1.0.0/16 return",
            "meta l4proto tcp ct original ip daddr 192.0.2.0/24 ct original proto-dst 80-81 ip saddr != 10.9.0.0/16 \
             snat ip to 192.0.2.9",
            "ip daddr . tcp dport { 10.0.0.2 . 8000, 10.3.0.1 . 8000 } ct original proto-dst 8000-8001 \
             goto svc-d-ip4-hairpin",
            "ip daddr 10.0.0.1 tcp dport 9000-9001 ct original proto-dst 8000-8001 goto svc-d-ip4-hairpin",
        ],
        "{made}"
    );
    assert_eq!(
        chain(&made, "svc-d-ip4-hairpin"),
        [
            "ip saddr 10.0.0.0/24 ip daddr { 10.0.0.1, 10.0.0.2 } masquerade",
            "ip daddr . ip saddr { 10.3.0.1 . 10.3.0.1 } masquerade",
        ],
        "{made}"
    );
    for format in [Format::Text, Format::Json] {
        check_form(&ruleset(program, format));
    }
    assert!(!text("balance tcp 80 -> 10.0.0.1\n").contains("postrouting"));
}

#[test]
fn what_nft_cannot_say_is_an_error_with_the_way_out() {
    let only = |program: &str, format| {
        let mut errors = errors(program, format);
        assert_eq!(errors.len(), 1, "{errors:#?}");
        let (code, message) = errors.remove(0);
        assert_eq!(code, "LB019");
        message
    };
    let both = [Format::Text, Format::Json];
    for format in both {
        assert!(only("balance tcp 80 log \"a$b\" -> 10.0.0.1\n", format).contains("takes `$` for a variable"));
        let slow = only("balance tcp 80 limit 1/hour burst 600000 -> 10.0.0.1\n", format);
        assert!(slow.contains("burst of 600000 at 1/hour"), "{slow}");
    }
    let short = "balance tcp 80 sticky 1500ms -> 10.0.0.1, 10.0.0.2\n";
    assert!(only(short, Format::Json).contains("`sticky 1500ms`"));
    assert!(text(short).contains("timeout 1s500ms\n"));
}

#[test]
fn accept_is_an_error_that_says_what_to_write() {
    let help = |program: &str| -> Vec<String> {
        let errors = lower(&config(program), &Options::default(), Format::Text).expect_err("nft has no accept");
        let help = errors.into_iter().next().and_then(|error| error.help).expect("the way out");
        help.lines().map(str::to_owned).collect()
    };
    let own = help("balance tcp 203.0.113.10:80 accept -> 10.0.0.1:8080\n");
    assert_eq!(
        own[1..],
        [
            "ct status dnat meta l4proto tcp ct original ip daddr 203.0.113.10 ct original proto-dst 80 accept",
            "ct state related ct status dnat meta l4proto icmp ct original ip daddr 203.0.113.10 accept",
        ]
    );
    let local =
        help("balance udp 53 accept from 10.0.0.0/8 -> [fd00::1]:5353, 10.0.0.1:5353, 10.0.0.2:5353, 10.0.0.3\n");
    let start = "ct status dnat meta l4proto udp ct original proto-dst 53 ct original ip saddr { 10.0.0.0/8 } ct reply";
    assert_eq!(
        local[1..],
        [
            format!("{start} ip saddr {{ 10.0.0.3 }} ct reply proto-src 53 accept"),
            format!("{start} ip saddr {{ 10.0.0.1, 10.0.0.2 }} ct reply proto-src 5353 accept"),
            "ct state related ct status dnat meta l4proto icmp ct original ip saddr { 10.0.0.0/8 } ct reply ip saddr \
             { 10.0.0.1, 10.0.0.2, 10.0.0.3 } accept"
                .to_owned(),
        ]
    );
    let shared = help(
        "balance tcp 192.0.2.1:80 as no from 10.0.0.0/8 -> 10.0.0.1\nbalance tcp 192.0.2.1:80 as yes accept -> 10.0.0.1\n",
    );
    assert!(shared[0].contains("a chain of your own that your forward chain jumps to"), "{shared:#?}");
    assert!(shared[1].ends_with("ct original ip saddr { 10.0.0.0/8 } return") && shared[2].ends_with(" accept"));
    assert_eq!(help("balance tcp 80 accept -> :8080\n").len(), 1);
}

#[test]
fn many_claims_are_looked_up() {
    let mut program = String::from("balance tcp 192.0.2.99:80 as early from 10.0.0.0/8 -> 10.0.0.9\n");
    for n in 0..12 {
        let option = ["masquerade", "snat 10.99.0.1, fd99::1", "masquerade hairpin", "masquerade"][n % 4];
        let protocols = ["tcp", "tcp,udp"][n / 9];
        program += &format!(
            "balance {protocols} {{192.0.2.{n}, [2001:db8::{n}]}}:80 as s{n} {option} -> 10.0.0.{n}, [fd00::{n}]:80\n"
        );
    }
    program += "balance tcp 192.0.2.0/24:80 as rest -> 10.0.0.1\n";
    let made = text(&program);
    let rules = chain(&made, "source-nat-ip4");
    let lookup =
        "meta l4proto { tcp, udp } ct original ip daddr . meta l4proto . ct original proto-dst vmap @claims-1-ip4";
    assert!(rules.contains(&lookup.to_owned()), "{rules:#?}");
    assert_eq!(chain(&made, "masquerade-ip4"), ["masquerade"]);
    assert_eq!(chain(&made, "snat-fd99--1"), ["snat ip6 to fd99::1"]);
    assert!(
        made.contains("\t\t\t192.0.2.2 . tcp . 80 comment \"test.lb:4 s2\" : goto svc-s2-ip4-hairpin,\n"),
        "{made}"
    );
    super::compare(&config(&program)).unwrap_or_else(|difference| panic!("{difference}\n{made}"));
}
