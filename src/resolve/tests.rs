//! What lists of backends mean, in both families.

use num_traits::Zero;

use super::resolve;
use crate::generated::{config, parse};
use crate::ir::share::shares;
use crate::ir::{Body, Destination, Family, Service};

/// `BACKEND SHARE` of each backend with a share; `drained`, `closed` or `none` where there is no group.
fn outcome(service: &Service, family: Family) -> String {
    match service.body(family) {
        None => "none".to_owned(),
        Some(Body::Closed) => "closed".to_owned(),
        Some(Body::Drained(_)) => "drained".to_owned(),
        Some(Body::Balance(group)) => {
            let shares = shares(&group.members, group.backends.len());
            let pairs = group.backends.iter().zip(shares).filter(|(_, share)| !share.is_zero());
            pairs.map(|(backend, share)| format!("{backend} {share}")).collect::<Vec<_>>().join(", ")
        }
    }
}

const HOSTS: &str =
    "host a = 10.0.0.1, 2001:db8::1\nhost b = 10.0.0.2, 2001:db8::2\nhost c = 10.0.0.3\nhost d = 2001:db8::4\n";

/// Both families of `balance tcp 80 -> LIST`, with hosts `a` and `b` of both, `c` of IPv4 and `d` of IPv6.
#[track_caller]
fn means(pools: &str, list: &str, v4: &str, v6: &str) {
    means_with(&[], pools, list, v4, v6);
}

#[track_caller]
fn means_with(weights: &[(&str, u16)], pools: &str, list: &str, v4: &str, v6: &str) {
    let text = format!("{HOSTS}{pools}\nbalance tcp 80 -> {list}\n");
    let mut program = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    program.weights = weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
    let config = resolve(&program).expect("a program without errors");
    let service = &config.services()[0];
    assert_eq!([outcome(service, Family::V4), outcome(service, Family::V6)], [v4, v6], "{pools} -> {list}");
}

#[test]
fn a_family_lacks_the_backends_that_lack_its_addresses() {
    means("", "a weight 2, b", "10.0.0.1 2/3, 10.0.0.2 1/3", "[2001:db8::1] 2/3, [2001:db8::2] 1/3");
    means("", "a, c", "10.0.0.1 1/2, 10.0.0.3 1/2", "[2001:db8::1] 1");
    means("", "c", "10.0.0.3 1", "none");
    means("", "c, d weight 7", "10.0.0.3 1", "[2001:db8::4] 1");
    means("", ":9050, c", ":9050 1/2, 10.0.0.3 1/2", ":9050 1");
}

#[test]
fn a_pool_keeps_its_weight_while_it_has_a_member_and_vanishes_without() {
    let pools = "pool p = a, c\npool q = c";
    means(
        pools,
        "p weight 9, b",
        "10.0.0.1 9/20, 10.0.0.3 9/20, 10.0.0.2 1/10",
        "[2001:db8::1] 9/10, [2001:db8::2] 1/10",
    );
    means(pools, "q weight 9, b", "10.0.0.3 9/10, 10.0.0.2 1/10", "[2001:db8::2] 1");
    means("pool q = c\npool r = q weight 3", "r, q", "10.0.0.3 1/2, 10.0.0.3 1/2", "none");
}

#[test]
fn nested_pools_multiply() {
    let pools = "pool blue = a weight 2, b\npool green = c\npool both = blue weight 90, green weight 10";
    means(pools, "both weight 5", "10.0.0.1 3/5, 10.0.0.2 3/10, 10.0.0.3 1/10", "[2001:db8::1] 2/3, [2001:db8::2] 1/3");
    means(
        pools,
        "both, d",
        "10.0.0.1 3/5, 10.0.0.2 3/10, 10.0.0.3 1/10",
        "[2001:db8::1] 1/3, [2001:db8::2] 1/6, [2001:db8::4] 1/2",
    );
}

#[test]
fn all_weights_zero_is_drained_and_not_gone() {
    means("", "a weight 0, b weight 0", "drained", "drained");
    means("", "a weight 0, c", "10.0.0.3 1", "drained");
    means("pool p = a weight 0, b weight 0", "p weight 9, c", "10.0.0.3 1", "drained");
    means("pool p = a weight 0\npool q = p weight 5, p", "q", "drained", "drained");
    means("pool p = a weight 0, c", "p", "10.0.0.3 1", "drained");
}

#[test]
fn a_backup_waits_for_all_beside_it() {
    means("", "a, c backup", "10.0.0.1 1", "[2001:db8::1] 1");
    means("", "c, b backup", "10.0.0.3 1", "[2001:db8::2] 1");
    means("", "a weight 0, c backup weight 3, b backup", "10.0.0.3 3/4, 10.0.0.2 1/4", "[2001:db8::2] 1");
    means("", "a weight 0, b backup weight 0", "drained", "drained");
    means("", "a backup", "10.0.0.1 1", "[2001:db8::1] 1");
    // A drained pool has weight 0 beside its siblings.
    means("pool p = a weight 0, b weight 0", "p weight 9, c backup", "10.0.0.3 1", "drained");
    // Its own list is what a backup waits for: not what stands beside the pool.
    means("pool p = a weight 0, b backup", "p, c", "10.0.0.2 1/2, 10.0.0.3 1/2", "[2001:db8::2] 1");
    means("pool p = a, b backup", "p weight 0, c", "10.0.0.3 1", "drained");
    means("pool p = a, b", "c, p backup", "10.0.0.3 1", "[2001:db8::1] 1/2, [2001:db8::2] 1/2");
    means("pool p = a weight 0, c", "p, b backup", "10.0.0.3 1", "[2001:db8::2] 1");
}

#[test]
fn the_command_line_overrides_weights_wherever_a_name_stands() {
    means_with(&[("a", 0)], "", "a weight 5, b", "10.0.0.2 1", "[2001:db8::2] 1");
    means_with(&[("a", 3)], "", "a weight 0, b", "10.0.0.1 3/4, 10.0.0.2 1/4", "[2001:db8::1] 3/4, [2001:db8::2] 1/4");
    means_with(&[("a", 0)], "pool p = a, c", "p weight 5, b", "10.0.0.3 5/6, 10.0.0.2 1/6", "[2001:db8::2] 1");
    means_with(&[("p", 0)], "pool p = a, c\npool q = p, b", "q", "10.0.0.2 1", "[2001:db8::2] 1");
    means_with(&[("p", 0)], "pool p = a, c", "p", "drained", "drained");
    means_with(&[("a", 0)], "", "a, b backup", "10.0.0.2 1", "[2001:db8::2] 1");
    means_with(&[("b", 4)], "", "a, b backup", "10.0.0.1 1", "[2001:db8::1] 1");
}

#[test]
fn a_pool_gives_its_port_to_members_at_any_depth() {
    let pools = "pool p = c, 10.0.0.9\npool q = p, c";
    means(pools, "q:8080 weight 2", "10.0.0.3:8080 1/4, 10.0.0.9:8080 1/4, 10.0.0.3:8080 1/2", "none");
    means(
        "pool p = c, 10.0.0.9\npool q = p:8080, c:8081",
        "q",
        "10.0.0.3:8080 1/4, 10.0.0.9:8080 1/4, 10.0.0.3:8081 1/2",
        "none",
    );
    means("pool p = c", "p:80", "10.0.0.3:80 1", "none");
}

#[test]
fn a_range_is_shifted_or_kept() {
    let text = "balance tcp 8000-8009 -> 10.0.0.1:9000-9009, 10.0.0.2:8000-8009, 10.0.0.3, 10.0.0.4:80\n";
    let config = config(text);
    let Some(Body::Balance(group)) = config.services()[0].body(Family::V4) else { panic!("a group") };
    let ports: Vec<u16> = group
        .backends
        .iter()
        .map(|backend| match backend {
            crate::ir::Backend::Server(_, port) | crate::ir::Backend::Local(port) => port.apply(8004),
        })
        .collect();
    assert_eq!(ports, [9004, 8004, 8004, 80]);
}

#[test]
fn else_makes_a_statement_total_in_both_families() {
    let text = "balance tcp 80 from 10.0.0.0/8 else drop -> 10.0.0.1\nbalance tcp 81 from 10.0.0.0/8 -> 10.0.0.1\n\
                balance tcp 203.0.113.1:82 from 10.0.0.0/8 else drop -> 10.0.0.1\n";
    let config = config(text);
    let both = |index: usize| Family::ALL.map(|family| outcome(&config.services()[index], family));
    assert_eq!(both(0), ["10.0.0.1 1", "closed"]);
    assert_eq!(both(1), ["10.0.0.1 1", "none"]);
    // An IPv4 destination has no part in IPv6.
    assert_eq!(both(2), ["10.0.0.1 1", "none"]);
}

#[test]
fn defaults_begin_where_they_stand_and_give_way() {
    let text = "balance tcp 80 -> 10.0.0.1\ndefault by round-robin on eth0\nbalance tcp 81 -> 10.0.0.1\n\
                default on eth1 output\nbalance tcp 82 by random -> 10.0.0.1\n";
    let config = config(text);
    let services = config.services();
    let on = |service: &Service| service.on.as_ref().map(|on| on.allows("eth0"));
    let algorithm = |service: &Service| format!("{:?}", service.algorithm);
    assert_eq!([on(&services[0]), on(&services[1]), on(&services[2])], [None, Some(true), Some(false)]);
    assert_eq!(
        [algorithm(&services[0]), algorithm(&services[1]), algorithm(&services[2])],
        ["Random", "RoundRobin", "Random"]
    );
    assert_eq!([services[0].output, services[1].output, services[2].output], [false, false, true]);
}

#[test]
fn names_are_made_of_protocol_and_listen_part() {
    let name = |statement: &str| {
        config(&format!("{HOSTS}{statement} -> 10.0.0.1, 2001:db8::9\n").replace("2001:db8::9", "[2001:db8::9]"))
            .services()[0]
            .name
            .clone()
    };
    assert_eq!(name("balance tcp 80"), "tcp-80");
    assert_eq!(name("balance tcp,udp 53,5353"), "tcp_udp-53_5353");
    assert_eq!(name("balance tcp 203.0.113.10:443"), "tcp-203.0.113.10-443");
    assert_eq!(name("balance udp *:8000-8010 on eth0"), "udp-any-8000-8010");
    assert_eq!(name("balance tcp local:80"), "tcp-local-80");
    assert_eq!(name("balance tcp a:80"), "tcp-a-80");
    assert_eq!(name("balance tcp {10.9.0.0/16, [2001:db8::/32]}:80"), "tcp-10.9.0.0/16_2001:db8::/32-80");
    assert_eq!(name("balance tcp 80 as web"), "web");
    let long = name(&format!("balance tcp {}", (1..40).map(|port| port.to_string()).collect::<Vec<_>>().join(",")));
    assert!(long.len() <= 63 && long.starts_with("tcp-1_2_3_4"), "{long}");
}

#[test]
fn equal_automatic_names_get_their_interface() {
    let text = "balance tcp 80 on eth0 -> 10.0.0.1\nbalance tcp 80 on not eth1, wg* -> 10.0.0.2\nbalance tcp 80 -> 10.0.0.3\n\
                balance tcp 81 on eth0 -> 10.0.0.1\n";
    let names: Vec<String> = config(text).services().iter().map(|service| service.name.clone()).collect();
    assert_eq!(names, ["tcp-80-on-eth0", "tcp-80-on-not-eth1_wg", "tcp-80", "tcp-81"]);
}

#[test]
fn a_net_listens_on_its_prefixes() {
    let text = "net vips = 203.0.113.0/29, 203.0.113.8/29, more\nnet more = 2001:db8::/64, h\nhost h = 192.0.2.1\n\
                balance tcp vips:80 -> :8080\n";
    let config = config(text);
    let shown: Vec<String> = config.services()[0]
        .destinations
        .iter()
        .map(|destination| match destination {
            Destination::Prefix(net) => net.to_string(),
            Destination::Local | Destination::Any => "none".to_owned(),
        })
        .collect();
    assert_eq!(shown, ["192.0.2.1/32", "203.0.113.0/28", "2001:db8::/64"]);
}

#[test]
fn only_a_local_forwarder_has_loopback_addresses() {
    let loopback = |statement: &str| config(&format!("pool own = :9050\n{statement}\n")).services()[0].loopback;
    assert!(loopback("balance tcp 80 output -> :9050"));
    assert!(loopback("balance tcp 80 output -> own, :9051"));
    assert!(loopback("balance tcp 80 output -> :9050 weight 0"));
    assert!(!loopback("balance tcp 80 -> :9050"));
    assert!(!loopback("balance tcp 80 output -> :9050, 10.0.0.1"));
}
