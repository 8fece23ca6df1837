//! `masquerade`, `masquerade hairpin` and `snat`: who the backends see, and what `lbc trace` says of it.

use std::net::{IpAddr, SocketAddr};

use lbc::ir::Family;
use lbc::trace::{Machine, Source};

use crate::case::{address, with_hosts};
use crate::lab;
use crate::model::{Attempt, local_addresses};
use crate::net::{Host, Lab};
use crate::target::Target;
use crate::traffic::{Outcome, Proto};

/// The client's address as the backend must see it.
#[derive(Clone, Copy)]
enum Seen {
    Client,
    Balancer,
    Fixed,
}

/// The address that `snat` names in these programs: the balancer's own towards the clients.
const FIXED: [&str; 2] = ["10.9.0.1", "fd09::1"];

/// Who connects, to where, and whom the backend sees.
type Way = (Host, &'static str, u16, Seen);

fn check(lab: &Lab, target: Target, program: &str, ways: &[Way]) {
    let rules = target.compile(&with_hosts(program), &[]).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
    lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}:\n{trouble}"));
    let loaded = lab.loaded(target);
    for &(from, name, port, seen) in ways {
        for ipv6 in [false, true] {
            let Some(ip) = address(name, ipv6) else { continue };
            let to = SocketAddr::new(ip, port);
            for proto in [Proto::Tcp, Proto::Udp] {
                let outcome = lab.probe(proto, &to.to_string()).from(from).one();
                let Outcome::Reached { peer, .. } = &outcome else {
                    panic!("{target} {proto:?} {from:?} to {to}: {outcome}\n{program}");
                };
                let fixed: IpAddr = FIXED[usize::from(ipv6)].parse().expect("an address");
                let wanted = match seen {
                    Seen::Client => from.address(ipv6),
                    Seen::Balancer => Host::Balancer.address(ipv6),
                    Seen::Fixed => fixed,
                };
                assert_eq!(peer.ip(), wanted, "{target} {proto:?} {from:?} to {to}: {outcome}\n{program}");
                let attempt = Attempt { proto, from, source: Some(from.address(ipv6)), to };
                let said = loaded.look(ipv6, |rules| {
                    let trace = rules.walk(
                        &attempt.packet(),
                        &Machine { local: local_addresses(), ..Machine::default() },
                        false,
                    );
                    assert!(trace.unknown.is_empty(), "{:#?}", trace.unknown);
                    let sources: Vec<Source> = trace.outcomes.iter().map(|outcome| outcome.source).collect();
                    assert!(sources.iter().all(|source| *source == sources[0]), "{sources:?}");
                    sources[0]
                });
                let source = match seen {
                    Seen::Client => Source::Kept,
                    Seen::Balancer => Source::Masquerade,
                    Seen::Fixed => Source::Address(fixed),
                };
                assert_eq!(said, source, "{target} {proto:?} {from:?} to {to}\n{program}");
                assert_eq!(Family::of(ip), Family::ALL[usize::from(ipv6)]);
            }
        }
    }
}

#[test]
fn each_service_has_its_own_way() {
    let Some(lab) = lab!() else { return };
    let program = "\
        balance tcp,udp vip:80 as masked masquerade -> b1:8080, b2\n\
        balance tcp,udp vip:81 as plain -> b1:8080, b2\n\
        balance tcp,udp vip:443 as fixed snat 10.9.0.1, fd09::1 -> b1, b3\n\
        balance tcp,udp 8000-8003 as shifted masquerade -> b1:9000-9003, b2:8080, b3\n\
        balance tcp,udp routed:80 as half snat 10.9.0.1 -> b2\n\
        balance tcp,udp *:9000-9001 as star on cl1 masquerade by round-robin sticky 1h -> b3\n";
    let ways = [
        (Host::Client, "LOCAL", 80, Seen::Balancer),
        (Host::Client2, "LOCAL", 80, Seen::Balancer),
        (Host::Backend(3), "LOCAL", 80, Seen::Balancer),
        (Host::Client, "LOCAL", 81, Seen::Client),
        (Host::Client, "LOCAL", 443, Seen::Fixed),
        (Host::Client2, "LOCAL", 443, Seen::Fixed),
        (Host::Client, "OTHER", 8000, Seen::Balancer),
        (Host::Client2, "LOCAL", 8003, Seen::Balancer),
        (Host::Client, "ROUTED4", 80, Seen::Fixed),
        (Host::Client, "ROUTED6", 80, Seen::Client),
        (Host::Client2, "ROUTED", 9001, Seen::Balancer),
        // What the balancer forwards as a router is none of its services'.
        (Host::Client, "TRANSIT", 8000, Seen::Client),
        (Host::Client, "B1", 8080, Seen::Client),
    ];
    for target in lab.targets() {
        check(&lab, target, program, &ways);
    }
}

#[test]
fn hairpins_are_for_neighbours_of_their_backends_alone() {
    let Some(lab) = lab!() else { return };
    let program = "\
        net servers = 10.9.1.0/25, fd09:1::/64\n\
        net here = 10.9.2.2, 10.9.1.13, fd09:2::2, fd09:1::13\n\
        balance tcp,udp vip:80 as near masquerade hairpin -> b1:8080, b2:8080\n\
        balance tcp,udp vip:81 as some masquerade hairpin from not b2 -> b3:8080\n\
        balance tcp,udp vip:81 as rest -> b1:8081\n\
        balance tcp,udp 443 as own output masquerade hairpin -> b1\n";
    let ways = [
        (Host::Client, "LOCAL", 80, Seen::Client),
        (Host::Backend(1), "LOCAL", 80, Seen::Balancer),
        (Host::Backend(2), "LOCAL", 80, Seen::Balancer),
        (Host::Backend(3), "LOCAL", 80, Seen::Balancer),
        (Host::Client, "LOCAL", 81, Seen::Client),
        (Host::Client2, "LOCAL", 81, Seen::Balancer),
        (Host::Backend(3), "LOCAL", 81, Seen::Balancer),
        (Host::Client2, "OTHER", 443, Seen::Client),
        (Host::Backend(1), "OTHER", 443, Seen::Balancer),
    ];
    for target in lab.targets() {
        check(&lab, target, program, &ways);
    }
}

/// Without nets a backend has one neighbour: itself.
#[test]
fn a_backend_reaches_itself_through_the_balancer() {
    let Some(lab) = lab!() else { return };
    let program = "balance tcp,udp vip:80 masquerade hairpin -> b1:8080\n";
    let ways = [(Host::Client, "LOCAL", 80, Seen::Client), (Host::Backend(1), "LOCAL", 80, Seen::Balancer)];
    for target in lab.targets() {
        check(&lab, target, program, &ways);
    }
}

/// Services that share a listener behind the translation, and are told apart by clients or backends.
#[test]
fn services_that_look_alike_are_told_apart() {
    let Some(lab) = lab!() else { return };
    let program = "\
        balance tcp,udp vip:80 as one from 10.9.0.0/24, fd09::/64 -> b1:8080\n\
        balance tcp,udp vip:80 as two masquerade -> b1:8080\n\
        balance tcp,udp other:80 as three on cl0 snat 10.9.0.1, fd09::1 -> b2, b3:8080\n\
        balance tcp,udp other:80 as four -> b1\n";
    let ways = [
        (Host::Client, "LOCAL", 80, Seen::Client),
        (Host::Client2, "LOCAL", 80, Seen::Balancer),
        (Host::Client, "OTHER", 80, Seen::Fixed),
        (Host::Client2, "OTHER", 80, Seen::Client),
    ];
    for target in lab.targets() {
        check(&lab, target, program, &ways);
    }
}

/// So many that targets look them up.
#[test]
fn each_of_many_services_has_its_own_way() {
    let Some(lab) = lab!() else { return };
    let filler: String =
        (100..112).map(|n| format!("balance tcp {{203.0.113.{n}, [2001:db8:ffff::{n}]}}:80 as f{n} -> b3\n")).collect();
    let program = format!(
        "{filler}balance tcp,udp vip:80 as masked masquerade -> b1:8080, b2\n\
         balance tcp,udp vip:81 as fixed snat 10.9.0.1, fd09::1 -> b1\n\
         balance tcp,udp other:80 as near masquerade hairpin -> b1:8080\n\
         balance tcp,udp other:81 as plain -> b1:8080\n\
         balance tcp,udp routed:80 as also masquerade -> b1\n"
    );
    let ways = [
        (Host::Client, "LOCAL", 80, Seen::Balancer),
        (Host::Client2, "LOCAL", 81, Seen::Fixed),
        (Host::Client, "OTHER", 80, Seen::Client),
        (Host::Backend(1), "OTHER", 80, Seen::Balancer),
        (Host::Client, "OTHER", 81, Seen::Client),
        (Host::Client, "ROUTED", 80, Seen::Balancer),
    ];
    for target in lab.targets() {
        check(&lab, target, &program, &ways);
    }
}

/// Lists of clients before services without an address of their own: a chain asks for the clients.
#[test]
fn lists_of_clients_stand_before_all_backends_at_once() {
    let Some(lab) = lab!() else { return };
    let program = "\
        balance tcp,udp 80 as others from not 10.9.0.0/24, 10.20.1.0/24, fd09::/64, fd20:1::/64 masquerade -> b1, b2\n\
        balance tcp,udp 80 as listed -> b1, b2\n\
        balance tcp,udp 81 as some from 10.9.2.0/24, 10.20.1.0/24, fd09:2::/64, fd20:1::/64 snat 10.9.0.1, fd09::1 \
            -> b1, b2, b3\n\
        balance tcp,udp 81 as rest masquerade -> b1, b2\n";
    let ways = [
        (Host::Client2, "LOCAL", 80, Seen::Balancer),
        (Host::Client, "LOCAL", 80, Seen::Client),
        (Host::Client2, "OTHER", 81, Seen::Fixed),
        (Host::Client, "OTHER", 81, Seen::Balancer),
    ];
    for target in lab.targets() {
        check(&lab, target, program, &ways);
    }
}
