//! `sticky`: who stays where, for how long, and what becomes of turns.

use std::net::IpAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::case::with_hosts;
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::{Rules, Target};
use crate::traffic::{Outcome, Proto};

/// Both addresses of the balancer that services listen on.
fn vips(port: u16) -> [String; 2] {
    [format!("203.0.113.10:{port}"), format!("[2001:db8:ffff::10]:{port}")]
}

fn clients(ipv6: bool, count: u8) -> Vec<IpAddr> {
    let text = |nth: u8| if ipv6 { format!("fd20::{nth:x}") } else { format!("10.20.0.{nth}") };
    (1..=count).map(|nth| text(nth).parse().expect("an address")).collect()
}

/// What one client reaches.
fn reach(lab: &Lab, to: &str, client: IpAddr) -> String {
    lab.probe(Proto::Tcp, to).sources([client]).one().server().to_owned()
}

#[test]
fn clients_are_forgotten_when_they_stay_away_and_not_before() {
    const PAUSE: Duration = Duration::from_secs(4);
    let Some(lab) = lab!() else { return };
    let program = with_hosts("balance tcp,udp vip:80 by round-robin sticky 6s -> b1:8080, b2:8080, b3:8080\n");
    for target in lab.targets() {
        lab.install(target, &program).expect("a correct program");
        let pairs = [false, true].map(|ipv6| clients(ipv6, 2));
        let both = |nth: usize| [0, 1].map(|family| reach(&lab, &vips(80)[family], pairs[family][nth]));
        assert_eq!(both(0), ["b1:8080"; 2], "{target}");
        for _ in 0..2 {
            thread::sleep(PAUSE);
            assert_eq!(both(0), ["b1:8080"; 2], "{target}: every connection starts the time anew");
        }
        assert_eq!(both(1), ["b2:8080"; 2], "{target}: who is known takes no turn");
        thread::sleep(2 * PAUSE);
        assert_eq!(both(0), ["b3:8080"; 2], "{target}: who was away picks again");
    }
}

/// Backends in every form that is remembered in its own way.
const FORMS: [&str; 7] = [
    "b1:8080, b2:8080 weight 3, b3:8080",
    "b1, b2 weight 3, b3",
    "b1:8080, b2:8081, b3:8082",
    "b1:8080, b2, b3:8082",
    ":9050, :9051, b1:8080",
    "b1:8080 weight 2, b2:8080 weight 0, b3:8080 backup, b1:8081",
    "b1:8080, b1:8081, b1:8082",
];

#[test]
fn a_client_stays_with_every_form_of_backends_over_all_protocols_and_hooks() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        for by in ["", "by round-robin ", "counter "] {
            for form in FORMS {
                let program = with_hosts(&format!("balance tcp,udp,sctp vip:80 {by}sticky 10m output -> {form}\n"));
                lab.install(target, &program).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
                for ipv6 in [false, true] {
                    let to = &vips(80)[usize::from(ipv6)];
                    let probe = |proto, count| lab.probe(proto, to).sources(clients(ipv6, count)).servers();
                    // Of two thirds and one third, all are equal once in 10¹⁴ times.
                    let first = probe(Proto::Tcp, 80);
                    assert!(first.iter().any(|server| *server != first[0]), "{target} {by}{form}: {first:?}");
                    for proto in [Proto::Udp, Proto::Sctp, Proto::Tcp] {
                        assert_eq!(probe(proto, 10), first[..10], "{target} {by}{form} {proto:?} {to}");
                    }
                    let own = lab.probe(Proto::Tcp, to).from(Host::Balancer).count(4).servers();
                    assert!(
                        own.iter().all(|server| *server == own[0] && server.contains(':')),
                        "{target} {form} {own:?}"
                    );
                }
            }
        }
    }
}

/// Turns are those of new clients alone, in their order.
#[test]
fn new_clients_take_the_turns_whatever_known_ones_do() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        for form in ["b1:8080, b2:8080, b3:8080", "b1:8080, b2:8081, b3"] {
            let program = with_hosts(&format!("balance tcp,udp vip:80 by round-robin sticky 10m -> {form}\n"));
            lab.install(target, &program).expect("a correct program");
            for ipv6 in [false, true] {
                let to = &vips(80)[usize::from(ipv6)];
                let mut seen: Vec<String> = Vec::new();
                for (nth, client) in clients(ipv6, 7).into_iter().enumerate() {
                    seen.push(reach(&lab, to, client));
                    let known = clients(ipv6, 7)[nth / 2];
                    assert_eq!(reach(&lab, to, known), seen[nth / 2], "{target} {form}");
                }
                let hosts: Vec<&str> = seen.iter().map(|server| &server[..2]).collect();
                assert_eq!(hosts, ["b1", "b2", "b3", "b1", "b2", "b3", "b1"], "{target} {form} {to}");
            }
        }
    }
}

/// Smaller sets and maps, so that they can be full.
fn shrunk(rules: &Rules) -> Rules {
    let text = rules.text.replace("size 65535", "size 4").replace("\"size\":65535", "\"size\":4");
    assert_ne!(text, rules.text);
    Rules { text, ..rules.clone() }
}

#[test]
fn a_full_table_loses_stickiness_and_no_connection() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets().filter(|target| !target.is_iptables()) {
        for by in ["", "by round-robin "] {
            for form in ["b1:8080, b2:8080", "b1:8080, b2:8081", "b1, b2:8080"] {
                let program = with_hosts(&format!("balance tcp,udp vip:80 {by}sticky 10m -> {form}\n"));
                let rules = shrunk(&target.compile(&program, &[]).expect("a correct program"));
                lab.clear().expect("the balancer can be emptied");
                lab.load(&rules).expect("small tables load");
                for ipv6 in [false, true] {
                    let to = &vips(80)[usize::from(ipv6)];
                    let known = clients(ipv6, 3);
                    let first = lab.probe(Proto::Tcp, to).sources(known.clone()).servers();
                    for proto in [Proto::Tcp, Proto::Udp] {
                        let all = lab.probe(proto, to).sources(clients(ipv6, 40)).servers();
                        assert!(all.iter().all(|server| server.starts_with('b')), "{target} {by}{form}: {all:?}");
                        assert_eq!(all[..3], first, "{target} {by}{form}: those in the table stay");
                    }
                    let mut changed = false;
                    for _ in 0..3 {
                        let (one, other) = (clients(ipv6, 40), lab.probe(Proto::Tcp, to));
                        let pass = other.sources(one).servers();
                        changed |= pass[20..].iter().zip(&pass[21..]).any(|(one, other)| one != other);
                    }
                    assert!(changed, "{target} {by}{form}: the others are balanced");
                }
            }
        }
    }
}

/// What was learned is listed, and rules with it in them load again.
#[test]
fn listings_with_clients_in_them_load_again() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts(
        "balance tcp vip:80 sticky 10m -> b1:8080, b2:8081\n\
         balance tcp vip:81 by round-robin sticky 1d limit 9/second per source max-connections 9 per source -> b1, b2\n",
    );
    for target in lab.targets().filter(|target| !target.is_iptables()) {
        lab.install(target, &program).expect("a correct program");
        for port in [80, 81] {
            for (family, to) in vips(port).iter().enumerate() {
                let outcomes = lab.probe(Proto::Tcp, to).sources(clients(family == 1, 4)).send();
                assert!(
                    outcomes.iter().all(|outcome| matches!(outcome, Outcome::Reached { .. })),
                    "{target} {outcomes:?}"
                );
            }
        }
        let listing = lab.listing(target, &[]).expect("a listing");
        assert!(listing.contains("10.20.0.1") && listing.contains("fd20::1"), "{listing}");
        // The evaluator reads it too, and knows who is known.
        for (family, to) in vips(80).iter().enumerate() {
            let client = clients(family == 1, 1)[0];
            let server = reach(&lab, to, client);
            let attempt = crate::model::Attempt {
                proto: Proto::Tcp,
                from: Host::Client,
                source: Some(client),
                to: to.parse().expect("an address and a port"),
            };
            let said: Vec<String> =
                lab.loaded(target).servers(&attempt).into_iter().map(|(server, _)| server).collect();
            assert_eq!(said, [server], "{target} {to}");
        }
        lab.clear().expect("the balancer can be emptied");
        lab.load(&Rules { target: Target::Nft, text: listing }).expect("a listing loads again");
    }
}

/// The servers of many clients, who all open one connection from each of two processors at once.
fn from_two_processors(lab: &Lab, to: &str, clients: &[IpAddr]) -> [Vec<String>; 2] {
    let barrier = Barrier::new(2);
    let from = |processor: usize| {
        let mut own = CpuSet::new();
        own.set(processor).expect("a processor's number");
        // On a machine with one processor both run there: then nothing races, and nothing is lost.
        let _ = sched_setaffinity(Pid::from_raw(0), &own);
        let probe = lab.probe(Proto::Udp, to).sources(clients.to_vec()).window(16);
        barrier.wait();
        probe.servers()
    };
    thread::scope(|scope| {
        let threads = [0, 1].map(|processor| scope.spawn(move || from(processor)));
        threads.map(|thread| thread.join().expect("a thread that makes connections"))
    })
}

#[test]
fn two_processors_at_once_split_no_client_of_a_map_and_none_for_long_elsewhere() {
    let Some(lab) = lab!() else { return };
    // One port: what nft's text remembers in a map, and the others in lists and sets.
    let program = with_hosts("balance tcp,udp vip:80 sticky 10m -> b1:8080, b2:8080, b3:8080\n");
    for target in lab.targets() {
        let rules = lab.install(target, &program).expect("a correct program");
        let is_map = rules.text.contains("\tmap tcp_udp-vip-80-ip4-sticky {");
        assert_eq!(is_map, target == Target::Nft, "{target}\n{}", rules.text);
        for ipv6 in [false, true] {
            let to = &vips(80)[usize::from(ipv6)];
            // The lists of `recent` hold a hundred for each backend.
            let clients = clients(ipv6, 200);
            let [one, other] = from_two_processors(&lab, to, &clients);
            let split = one.iter().zip(&other).filter(|(one, other)| one != other).count();
            assert!(!is_map || split == 0, "{target}: {split} clients saw two backends");
            let settled = lab.probe(Proto::Tcp, to).sources(clients.clone()).servers();
            for _ in 0..2 {
                let [one, other] = from_two_processors(&lab, to, &clients);
                assert_eq!((&one, &other), (&settled, &settled), "{target}: {split} clients were split at first");
            }
        }
    }
}
