//! Rules as iptables 1.8.9 saved them from a kernel, of both variants.

use super::{dump, machine, out, outcomes, to, trace};
use crate::statement::balance::Protocol;
use crate::target::iptables::dump::{Match, Target};
use crate::trace::Packet;

const KUBE_PROXY: [&str; 2] = [
    include_str!("../../../../tests/dumps/kube-proxy-legacy.rules"),
    include_str!("../../../../tests/dumps/kube-proxy-nft.rules"),
];
const DOCKER: [&str; 3] = [
    include_str!("../../../../tests/dumps/docker-legacy.rules"),
    include_str!("../../../../tests/dumps/docker-legacy-counters.rules"),
    include_str!("../../../../tests/dumps/docker-nft.rules"),
];
const HAND_MADE: [&str; 3] = [
    include_str!("../../../../tests/dumps/hand-made-as-written.rules"),
    include_str!("../../../../tests/dumps/hand-made-legacy-counters.rules"),
    include_str!("../../../../tests/dumps/hand-made-nft-counters.rules"),
];
const HAND_MADE_IPV6: [&str; 2] = [
    include_str!("../../../../tests/dumps/hand-made-ipv6-legacy.rules"),
    include_str!("../../../../tests/dumps/hand-made-ipv6-nft.rules"),
];

#[test]
fn kube_proxy_spreads_a_service_over_its_endpoints() {
    for text in KUBE_PROXY {
        let node = machine(&["192.0.2.10"]);
        let web = ["default/web:http"; 3].map(|comment| format!(" ({comment})"));
        let thirds = ["715827883/2147483648", "1431655765/4294967296", "1431655765/4294967296"];
        let lines = |source: &str| -> Vec<String> {
            (2..5).map(|n| format!("Dnat(10.244.1.{n}, 8080){source} {}{}", thirds[n - 2], web[n - 2])).collect()
        };
        let cluster = to("10.96.7.7", 80);
        assert_eq!(outcomes(&trace(text, &cluster, &node)), lines(" masquerade"));
        let pod = Packet { source: super::address("10.244.3.3"), ..cluster.clone() };
        assert_eq!(outcomes(&trace(text, &pod, &node)), lines(""));
        // A pod that gets to itself is masqueraded.
        let own = Packet { source: super::address("10.244.1.3"), ..cluster.clone() };
        assert_eq!(outcomes(&trace(text, &own, &node))[1], lines(" masquerade")[1]);
        let port = to("192.0.2.10", 30080);
        assert_eq!(outcomes(&trace(text, &port, &node)), lines(" masquerade"));
        assert_eq!(outcomes(&trace(text, &out(port), &node)), lines(" masquerade"));
        let dns = Packet { protocol: Protocol::Udp, ..to("10.96.0.10", 53) };
        assert_eq!(
            outcomes(&trace(text, &dns, &node)),
            ["Dnat(10.244.0.2, 53) masquerade 1 (kube-system/kube-dns:dns)"]
        );
        let empty = trace(text, &to("10.96.9.9", 80), &node);
        assert_eq!(outcomes(&empty), ["Reject 1 (default/empty:http has no endpoints)"]);
        assert_eq!(empty.unknown, []);
    }
}

#[test]
fn docker_publishes_a_port_and_drops_what_no_bridge_is_known_for() {
    for text in DOCKER {
        let host = machine(&["192.0.2.10", "172.17.0.1"]);
        // Which interface a route leads to is not known, so FORWARD's policy decides, and the trace says why.
        let published = trace(text, &to("192.0.2.10", 8080), &host);
        assert_eq!(outcomes(&published), ["Drop 1"]);
        let what: Vec<&str> = published.unknown.iter().map(|unknown| unknown.what.as_str()).collect();
        assert_eq!(what, ["-o docker0"; 1], "{:#?}", published.unknown);
        let own = trace(text, &out(to("192.0.2.10", 8080)), &host);
        assert_eq!(outcomes(&own)[0].split(' ').take(2).collect::<Vec<_>>(), ["Dnat(172.17.0.2,", "80)"]);
        assert_eq!(outcomes(&trace(text, &to("192.0.2.10", 8081), &host)), ["Pass 1"]);
    }
}

#[test]
fn rules_made_by_hand_do_what_they_say() {
    for text in HAND_MADE {
        let lb = machine(&["192.0.2.1", "203.0.113.10"]);
        let at = |packet: &Packet| outcomes(&trace(text, packet, &lb));
        let comment = "(say \"hi\" to c:\\\\)";
        assert_eq!(
            at(&to("203.0.113.10", 80)),
            [
                "Dnat(10.9.1.11, 8080) from 10.9.1.1 177167401/536870912",
                "Dnat(10.9.1.12, 8080) from 10.9.1.1 63727736174444911/288230376151711744",
                "Dnat(10.9.1.13, 8080) from 10.9.1.1 22923090450029542962782521/154742504910672534362390528",
                "Reject 46540819988922209551621831/154742504910672534362390528",
            ]
        );
        assert!(
            dump(text)
                .tables
                .iter()
                .flat_map(|t| &t.chains)
                .flat_map(|c| &c.rules)
                .any(|rule| { rule.comment.as_deref().is_some_and(|own| format!("({own})") == comment) })
        );
        assert_eq!(
            at(&to("203.0.113.10", 25)),
            ["Dnat(10.9.1.11, 25) 1/3", "Dnat(10.9.1.12, 25) 2/9", "Dnat(10.9.1.13, 25) 4/27", "Reject 8/27",]
        );
        let udp = |port| Packet { protocol: Protocol::Udp, ..to("203.0.113.10", port) };
        assert_eq!(at(&udp(8003)), ["Dnat(10.9.1.11, 9003) 1"]);
        assert_eq!(at(&udp(514)), ["Drop 1"]);
        assert_eq!(at(&to("192.0.2.1", 22)), ["Redirect(2222) 1"]);
        let far = Packet { source: super::address("198.51.100.10"), ..to("192.0.2.1", 22) };
        assert_eq!(at(&far), ["Reject 1"]);
        let range = trace(text, &to("203.0.113.10", 5000), &lb);
        assert_eq!(range.unknown[0].what, "-j DNAT --to-destination 10.9.1.11-10.9.1.13");
        let length = trace(text, &to("192.0.2.1", 23), &lb);
        assert_eq!((outcomes(&length), length.unknown.len()), (vec!["Reject 1".to_owned()], 1));
    }
}

#[test]
fn saved_rules_of_ipv6_are_read() {
    for text in HAND_MADE_IPV6 {
        let lb = machine(&["2001:db8::1"]);
        let at = |packet: &Packet| outcomes(&trace(text, packet, &lb));
        assert_eq!(at(&to("2001:db8::10", 80)), ["Dnat(fd09:1::11, 8080) 1/2", "Dnat(fd09:1::12, 8080) 1/2"]);
        let dns = Packet { protocol: Protocol::Udp, ..to("2001:db8::10", 53) };
        assert_eq!(at(&dns), ["Redirect(5353) 1"]);
        let inside = Packet { source: super::address("fd09:1::5"), ..to("2001:db8:9::1", 80) };
        assert_eq!(at(&inside), ["Pass masquerade 1"]);
    }
}

#[test]
fn nothing_in_the_saved_dumps_but_what_is_meant_is_unknown() {
    let texts = KUBE_PROXY.iter().chain(&DOCKER).chain(&HAND_MADE).chain(&HAND_MADE_IPV6);
    for text in texts {
        let dump = dump(text);
        for rule in dump.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules) {
            let unknown = rule.matches.iter().any(|one| matches!(one, Match::Unknown(_)))
                || matches!(rule.target, Target::Unknown(_));
            let meant = rule.text.contains("-m length") || rule.text.contains("10.9.1.11-10.9.1.13");
            assert_eq!(unknown, meant, "{}", rule.text);
        }
    }
}
