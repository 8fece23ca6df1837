//! Drained services refuse; they do not fall through to whatever listens.

use crate::case::{check, with_hosts};
use crate::lab;
use crate::net::Host;
use crate::traffic::{Outcome, Proto};

#[test]
fn drained_services_refuse_at_every_kind_of_address() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "pool dead = b1 weight 0, b2 weight 0\n\
         balance tcp,udp,sctp vip:80 -> b1 weight 0\n\
         balance tcp,udp,sctp routed:80 -> b1 weight 0, dead\n\
         balance tcp,udp,sctp transit:80 -> dead weight 3\n\
         balance tcp,udp 443 by round-robin -> b1 weight 0, b2 weight 0 backup\n\
         balance tcp,udp *:8000 on cl0 by source-hash -> dead, b3 weight 0\n\
         balance tcp 8001-8003,9000 -> :9050 weight 0\n\
         balance tcp,udp vip:81 -> 10.9.1.11 weight 0, [fd09:1::11]\n\
         balance tcp *:80,443 as never on cl0 -> b3\n",
        "tcp,udp,sctp client > LOCAL:80 ROUTED:80 TRANSIT:80 = refused
         tcp,udp client > LOCAL:443 OTHER:443 LB:443 = refused
         tcp,udp client > LOCAL:8000 ROUTED:8000 TRANSIT:8000 = refused
         tcp,udp client2 > LOCAL:8000 = lb:8000
         tcp client > LOCAL:8001,8003,9000 = refused
         tcp client > LOCAL:9001 = lb:9001
         tcp,udp client > LOCAL4:81 = refused
         tcp,udp client > LOCAL6:81 = b1:81
         tcp,udp b1 > LOCAL:80 ROUTED:80 = refused
         tcp client2 > OTHER:80 = lb:80",
    );
}

#[test]
fn a_program_with_nothing_but_drained_services_refuses() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp {vip, routed}:80 -> b1 weight 0\n",
        "tcp,udp,sctp client > LOCAL:80 ROUTED:80 = refused\n tcp client > OTHER:80 LOCAL:81 = lb:=",
    );
    check(
        &lab,
        "balance tcp,udp [2001:db8:ffff::20]:80 -> [fd09:1::11] weight 0\n",
        "tcp,udp client > ROUTED6:80 = refused\n tcp client > LOCAL:80 = lb:80",
    );
    check(
        &lab,
        "balance tcp,udp 203.0.113.10:80 -> b1 weight 0\nbalance tcp [2001:db8:ffff::10]:80 -> b1\n",
        "tcp,udp client > LOCAL4:80 = refused\n tcp client > LOCAL6:80 = b1:80",
    );
    check(
        &lab,
        "balance tcp,udp vip:80 from 10.20.0.0/16, fd20::/64 else drop -> b1 weight 0\n",
        "tcp,udp client@20.1 > LOCAL:80 = refused\n tcp,udp client > LOCAL:80 = dropped",
    );
}

/// On nft the reset is made where the connection arrives, and leaves through the output hook as part of it.
#[test]
fn statements_for_output_do_not_take_the_refusals_of_others() {
    let Some(lab) = lab!() else { return };
    let nets = "from 10.20.0.0/25, fd20::/120";
    for (from, others) in [
        (String::new(), "b2:81"),
        (format!("{nets} else drop "), "dropped"),
        (format!("{nets} else reject "), "refused"),
    ] {
        check(
            &lab,
            &format!(
                "balance tcp,udp,sctp {{vip, transit}}:80 -> b1 weight 0\n\
                 balance tcp,udp,sctp *:1-8,11-65535 {from}output -> b2\n"
            ),
            &format!(
                "tcp,udp,sctp client > LOCAL:80 TRANSIT:80 = refused
                 tcp,udp,sctp client@20.200 > LOCAL:80 TRANSIT:80 = refused
                 tcp,udp client@20.5 > OTHER:81 TRANSIT:81 ROUTED:81 = b2:81
                 tcp,udp client > OTHER:81 = {others}"
            ),
        );
    }
}

/// Ports that connections are led to for refusal must stay usable: for what listens there, and for backends.
#[test]
fn the_ports_that_refusals_use_are_not_taken_from_others() {
    let Some(mut lab) = lab!() else { return };
    let ports: Vec<u16> = (7..=20).collect();
    lab.serve(Host::Balancer, &ports).expect("free ports");
    let lab = lab;
    let program = with_hosts(
        "balance tcp,udp vip:80 -> b1 weight 0\n\
         balance tcp,udp vip:81 from 10.20.0.0/16, fd20::/64 else drop -> b1\n\
         balance tcp,udp other:80 -> :9\n\
         balance tcp,udp other:10 -> b1:8080\n",
    );
    for target in lab.targets() {
        let rules = lab.install(target, &program).expect("a correct program");
        lab.check_fixpoint(&rules).expect("rules survive a reboot");
        for proto in [Proto::Tcp, Proto::Udp] {
            let one = |to: &str| lab.probe(proto, to).one();
            for (ipv4, ipv6) in [("203.0.113.10", "[2001:db8:ffff::10]"), ("10.9.0.1", "[fd09::1]")] {
                for port in &ports {
                    for address in [ipv4, ipv6] {
                        let outcome = one(&format!("{address}:{port}"));
                        assert_eq!(outcome.server(), format!("lb:{port}"), "{target} {proto:?} {address}:{port}");
                    }
                }
            }
            for other in ["203.0.113.11", "[2001:db8:ffff::11]"] {
                assert_eq!(one(&format!("{other}:80")).server(), "lb:9", "{target} {proto:?} {other}");
                assert_eq!(one(&format!("{other}:10")).server(), "b1:8080", "{target} {proto:?} {other}");
            }
            for vip in ["203.0.113.10", "[2001:db8:ffff::10]"] {
                assert_eq!(one(&format!("{vip}:80")), Outcome::Refused, "{target} {proto:?} {vip}");
                let silent = lab.probe(proto, &format!("{vip}:81")).expecting_silence().one();
                assert_eq!(silent, Outcome::TimedOut, "{target} {proto:?} {vip}");
            }
        }
    }
}

#[test]
fn draining_leaves_connections_that_exist_alone() {
    let Some(lab) = lab!() else { return };
    let before = with_hosts("balance tcp,udp vip:80 -> b1:8080, b2:8080 weight 0\nbalance udp vip:81 -> b1\n");
    let after = with_hosts("balance tcp,udp vip:80 -> b1:8080 weight 0, b2:8080\nbalance udp vip:81 -> b1 weight 0\n");
    for target in lab.targets() {
        lab.install(target, &before).expect("a correct program");
        for vip in ["203.0.113.10", "[2001:db8:ffff::10]"] {
            let flow = |port: u16| lab.probe(Proto::Udp, &format!("{vip}:{port}")).source_port(5000).one();
            assert_eq!((flow(80).server(), flow(81).server()), ("b1:8080", "b1:81"), "{target} {vip}");
        }
        lab.replace(target, &after).expect("rules can be replaced");
        for vip in ["203.0.113.10", "[2001:db8:ffff::10]"] {
            let flow = |port: u16| lab.probe(Proto::Udp, &format!("{vip}:{port}")).source_port(5000).one();
            assert_eq!((flow(80).server(), flow(81).server()), ("b1:8080", "b1:81"), "{target} {vip}");
            let new = |port: u16| lab.probe(Proto::Udp, &format!("{vip}:{port}")).one();
            assert_eq!((new(80).server(), new(81).server()), ("b2:8080", "(refused)"), "{target} {vip}");
        }
    }
}
