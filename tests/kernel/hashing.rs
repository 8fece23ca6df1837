//! `by source-hash`: every client goes where the library says, on every target.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lbc::ir::hash::fnv1a_32;

use crate::case::{address, compiled, with_hosts};
use crate::evaluator::servers;
use crate::lab;
use crate::model::{Attempt, Model};
use crate::net::{Host, Lab};
use crate::stats::tally;
use crate::target::Target;
use crate::traffic::Proto;

/// Clients of each family in a comparison.
const CLIENTS: u32 = 200;

/// Scattered addresses of the client: neighbours, and ones that differ in every byte.
fn clients(ipv6: bool) -> Vec<IpAddr> {
    let hash = |nth: u32, salt: u8| fnv1a_32(nth.to_le_bytes().into_iter().chain([salt]));
    (0..CLIENTS)
        .map(|nth| {
            let (low, high) = match nth % 2 {
                0 => (nth, 0),
                _ => (hash(nth, 1), hash(nth, 2)),
            };
            match ipv6 {
                false => Ipv4Addr::from(0x0a14_0000 | (low & 0xffff)).into(),
                true => Ipv6Addr::from((0xfd20 << 112) | (u128::from(high) << 32) | u128::from(low)).into(),
            }
        })
        .collect()
}

/// Sends every client to a port and compares; returns where they went.
fn compare(lab: &Lab, target: Target, model: &Model, proto: Proto, name: &str, port: u16, ipv6: bool) -> Vec<String> {
    let to = SocketAddr::new(address(name, ipv6).expect("a name for both families"), port);
    let clients = clients(ipv6);
    let expected: Vec<String> = clients
        .iter()
        .map(|&client| {
            let attempt = Attempt { proto, from: Host::Client, source: Some(client), to };
            match model.servers(&attempt, target).as_slice() {
                [(server, _)] => server.clone(),
                several => panic!("the hash leaves several ways: {several:?}"),
            }
        })
        .collect();
    let said: Vec<Vec<String>> = lab.loaded(target).look(ipv6, |rules| {
        let attempts = clients.iter().map(|&client| Attempt { proto, from: Host::Client, source: Some(client), to });
        attempts.map(|attempt| servers(rules, &attempt).into_iter().map(|(server, _)| server).collect()).collect()
    });
    let meant: Vec<Vec<String>> = expected.iter().map(|server| vec![server.clone()]).collect();
    assert_eq!(said, meant, "{target} {proto:?} {to}: the evaluator and the meaning differ");
    let servers = lab.probe(proto, &to.to_string()).sources(clients.iter().copied()).window(32).servers();
    let wrong: Vec<_> =
        clients.iter().zip(servers.iter().zip(&expected)).filter(|(_, (is, should))| is != should).collect();
    assert!(
        wrong.is_empty(),
        "{target} {proto:?} {to}: {} clients are elsewhere, such as (got, meant) {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    servers
}

const PROGRAM: &str = "\
pool web = b1 weight 3, b2 weight 2, b3
balance tcp,udp,sctp vip:80 by source-hash -> web:8080
balance tcp vip:443 by source-hash -> web:8081
balance tcp vip:81 by source-hash buckets 7 -> b1, b2, b3
balance tcp vip:8000 by source-hash buckets 343 -> web
balance tcp vip:8001 by source-hash seed 12345 -> web
balance udp vip:8002 by source-hash seed 4294967295 buckets 343 -> b1:9000, b1:9001, b2:9000 weight 3, :9050 weight 2, b3
balance tcp,udp *:8003 on cl0 by source-hash -> b1 weight 0, b2:8080 weight 5, b3 weight 3
";

#[test]
fn every_client_goes_where_the_library_says() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts(PROGRAM);
    let model = Model::of(&program);
    let mut ipv4: Vec<Vec<String>> = Vec::new();
    for rules in compiled(&lab, &program) {
        let target = rules.target;
        lab.check_fixpoint(&rules).expect("rules survive a reboot");
        for ipv6 in [false, true] {
            let compare = |proto, name, port| compare(&lab, target, &model, proto, name, port, ipv6);
            let tcp = compare(Proto::Tcp, "LOCAL", 80);
            assert_eq!(tcp, compare(Proto::Udp, "LOCAL", 80), "{target}: the protocols agree");
            let tls = compare(Proto::Tcp, "LOCAL", 443);
            let hosts = |servers: &[String]| -> Vec<String> { servers.iter().map(|s| s[..2].to_owned()).collect() };
            assert_eq!(hosts(&tcp), hosts(&tls), "{target}: ports 80 and 443 agree");
            let seven = compare(Proto::Tcp, "LOCAL", 81);
            let many = compare(Proto::Tcp, "LOCAL", 8000);
            let seeded = compare(Proto::Tcp, "LOCAL", 8001);
            assert_ne!(hosts(&tcp), hosts(&seeded), "{target}: a seed deals anew");
            let mixed = compare(Proto::Udp, "LOCAL", 8002);
            let rest = compare(Proto::Udp, "TRANSIT", 8003);
            for (servers, all) in [(&tcp, 3), (&seven, 3), (&many, 3), (&seeded, 3), (&mixed, 5), (&rest, 2)] {
                let different: BTreeSet<&String> = servers.iter().collect();
                assert_eq!(different.len(), all, "{target}: every backend has clients: {:?}", tally(servers));
            }
            if !ipv6 {
                ipv4.push([tcp, seven, many, seeded, mixed, rest].concat());
            }
        }
        compare(&lab, target, &model, Proto::Sctp, "LOCAL", 80, false);
        compare(&lab, target, &model, Proto::Sctp, "LOCAL", 80, true);
    }
    assert!(ipv4.windows(2).all(|pair| pair[0] == pair[1]), "the targets agree over IPv4");
}

#[test]
fn what_this_machine_opens_is_hashed_by_its_own_address() {
    let Some(lab) = lab!() else { return };
    let program = with_hosts("balance tcp,udp {vip, transit}:80 by source-hash output -> b1, b2\n");
    let model = Model::of(&program);
    for rules in compiled(&lab, &program) {
        lab.check_fixpoint(&rules).expect("rules survive a reboot");
        for ipv6 in [false, true] {
            for (proto, name) in [(Proto::Tcp, "LOCAL"), (Proto::Udp, "LOCAL"), (Proto::Tcp, "TRANSIT")] {
                for source in ["LOCAL", "OTHER", "LB"] {
                    let source = address(source, ipv6);
                    let to = SocketAddr::new(address(name, ipv6).expect("a name for both families"), 80);
                    let attempt = Attempt { proto, from: Host::Balancer, source, to };
                    let meant = model.servers(&attempt, rules.target);
                    let probe = lab.probe(proto, &to.to_string()).from(Host::Balancer).sources(source);
                    assert_eq!(probe.servers(), [meant[0].0.as_str()], "{} {attempt:?}", rules.target);
                }
            }
        }
    }
}
