//! `by random` and `by round-robin`: shares and sequences.

use lbc::ir::{Body, Family};
use lbc::meaning::{Action, action, sequence};

use crate::case::{check, compiled, failures, with_hosts};
use crate::lab;
use crate::model::{Attempt, Model};
use crate::net::{Host, vip};
use crate::traffic::Proto;

#[test]
fn random_shares_are_the_weights() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp vip:80 -> b1:8080 weight 3, b2:8080 weight 2, b3:8080\n\
         balance tcp,udp 443 -> b1, b2, b3\n\
         balance tcp *:8000 on cl0 by random -> b1 weight 40000, b1:8080 weight 20000, :9050 weight 60000\n",
        "tcp,udp client > LOCAL:80 = shares 900 b1:8080=3 b2:8080=2 b3:8080=1
         sctp client > LOCAL:80 = shares 300 b1:8080=3 b2:8080=2 b3:8080=1
         tcp,udp client2 > OTHER:443 = shares 600 b1:443=1 b2:443=1 b3:443=1
         tcp client > LOCAL:8000 = shares 600 b1:8000=2 b1:8080=1 lb:9050=3",
    );
}

#[test]
fn a_dozen_backends_get_the_same() {
    let Some(lab) = lab!() else { return };
    let backends: Vec<String> =
        (1..=3).flat_map(|host| [8000, 8001, 8002, 8003].map(|port| format!("b{host}:{port}"))).collect();
    let shares: String = backends.iter().map(|backend| format!(" {backend}=1")).collect();
    check(
        &lab,
        &format!("balance tcp,udp vip:80 -> {}\n", backends.join(", ")),
        &format!("tcp client > LOCAL:80 = shares 1200{shares}\n udp client > LOCAL:80 = shares 1200{shares}"),
    );
}

#[test]
fn shares_of_nested_pools_multiply() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "pool inner = b1, b2 weight 3\n\
         pool outer = inner weight 2, b3\n\
         balance tcp,udp vip:80 -> outer:8080 weight 5, :9050\n\
         pool half = 10.9.1.11, b2\n\
         balance tcp vip:443 -> half, b3\n\
         pool lone = 10.9.1.11\n\
         balance tcp vip:81 -> lone weight 7, b2 weight 2, b3:8080\n",
        "tcp,udp client > LOCAL:80 = shares 1200 b1:8080=5 b2:8080=15 b3:8080=10 lb:9050=6
         tcp client > LOCAL4:443 = shares 600 b1:443=1 b2:443=1 b3:443=2
         tcp client > LOCAL6:443 = shares 600 b2:443=1 b3:443=1
         tcp client > LOCAL4:81 = shares 600 b1:81=7 b2:81=2 b3:8080=1
         tcp client > LOCAL6:81 = shares 600 b2:81=2 b3:8080=1",
    );
}

#[test]
fn weight_zero_gets_nothing_and_backups_wait_for_it() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "pool spare = b2, b3:8080 weight 3\n\
         pool dead = b1 weight 0, b2 weight 0\n\
         balance tcp,udp vip:80 -> b1 weight 0, b2:8080 weight 1, b3 weight 2\n\
         balance tcp vip:443 -> b1, b2 backup, spare backup\n\
         balance tcp vip:81 -> b1 weight 0, b2 backup, b3:8080 weight 3 backup\n\
         balance tcp vip:8000 -> dead weight 9, spare backup\n\
         balance tcp vip:8001 -> dead weight 9, b3\n\
         balance tcp vip:8002 -> 10.9.1.11, b2 backup\n",
        "tcp,udp client > LOCAL:80 = shares 600 b2:8080=1 b3:80=2
         tcp client > LOCAL:443 = b1:443
         tcp client > LOCAL:81 = shares 600 b2:81=1 b3:8080=3
         tcp client > LOCAL:8000 = shares 600 b2:8000=1 b3:8080=3
         tcp client > LOCAL:8001 = b3:8001
         tcp client > LOCAL4:8002 = b1:8002
         tcp client > LOCAL6:8002 = b2:8002",
    );
}

#[test]
fn round_robin_is_one_sequence_over_protocols_and_ports_from_slot_zero() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp vip:80,81 by round-robin -> b1:8080 weight 3, b2:8080 weight 2, b3:8080\n\
         balance tcp,udp {other, routed}:8000-8003 by round-robin -> b1, b2:8080, :9050\n",
        "tcp client > LOCAL:80 = seq b1:8080 b2:8080
         udp client > LOCAL:81 = seq b1:8080 b3:8080
         sctp client > LOCAL:80 = seq b2:8080
         tcp client2 > LOCAL:81 = seq b1:8080 b1:8080
         udp client > LOCAL:80 = seq b2:8080
         sctp client > LOCAL:81 = seq b1:8080 b3:8080 b2:8080 b1:8080 b1:8080
         tcp client > OTHER:8000 = seq b1:8000
         udp client > ROUTED:8003 = seq b2:8080
         tcp client2 > OTHER:8001 = seq lb:9050 b1:8001
         tcp client > ROUTED:8002 = seq b2:8080 lb:9050 b1:8002",
    );
}

#[test]
fn round_robin_is_one_sequence_over_interfaces_hooks_and_sources() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp {transit, vip}:80 by round-robin output -> b1, b2, b2:8080\n\
         balance tcp 443 on cl0, cl1 by round-robin -> b1, b2, b3\n\
         balance tcp 81 from 10.20.0.0/24, 10.21.0.0/24, fd20::/64, fd21::/64 else reject by round-robin -> b1, b2, b3\n",
        "tcp client > TRANSIT:80 = seq b1:80
         tcp lb > TRANSIT:80 = seq b2:80
         udp client > LOCAL:80 = seq b2:8080 b1:80
         udp lb > LOCAL:80 = seq b2:80
         tcp client2 > TRANSIT:80 = seq b2:8080
         tcp client > LOCAL:443 = seq b1:443 b2:443
         tcp client2 > LB:443 = seq b3:443 b1:443
         tcp client > OTHER:443 = seq b2:443
         tcp client@20.1 > LOCAL:81 = seq b1:81
         tcp client > LOCAL:81 = refused
         tcp client2@21.1 > LOCAL:81 = seq b2:81
         tcp client2 > LOCAL:81 = refused
         tcp client@20.2 > LOCAL:81 = seq b3:81 b1:81",
    );
}

/// Two rounds of each sequence are what the meaning says, for weights that are not easily counted by hand.
#[test]
fn round_robin_follows_the_meaning() {
    let Some(lab) = lab!() else { return };
    let programs = [
        "balance tcp 80 by round-robin -> b1 weight 5, b2, b3\n",
        "balance tcp 80 by round-robin -> b1:8000 weight 7, b2:8001 weight 5, b3:8002 weight 3, :9050 weight 2\n",
        "pool a = b1, b2 weight 2\npool b = b3 weight 3, a, b1:8080\n\
         balance tcp 80 by round-robin -> b weight 3, a, b2:8081 weight 0\n",
        "balance tcp 80 by round-robin -> b1 weight 65535, b2 weight 65535\n",
        "balance tcp 80 by round-robin -> b1 weight 30, b2 weight 1, b3 weight 32, 10.9.1.11:8080\n",
        "balance tcp 80 by round-robin -> b1\n",
    ];
    for program in programs {
        let program = with_hosts(program);
        let model = Model::of(&program);
        for rules in compiled(&lab, &program) {
            lab.check_fixpoint(&rules).expect("rules survive a reboot");
            for (family, to) in Family::ALL.into_iter().zip([vip::LOCAL.to_owned(), format!("[{}]", vip::LOCAL6)]) {
                let Some(Body::Balance(group)) = model.config.services()[0].body(family) else {
                    panic!("both families have backends");
                };
                let expected: Vec<String> = sequence(group, 140)
                    .into_iter()
                    .map(|index| match action(group.backends[index as usize], 80) {
                        Action::Dnat(address, port) => {
                            let host = [1, 2, 3].map(Host::Backend).into_iter();
                            let mut host = host.filter(|host| host.address(family == Family::V6) == address);
                            format!("{}:{port}", host.next().expect("a backend").name())
                        }
                        Action::Redirect(port) => format!("lb:{port}"),
                        other => panic!("no backend does {other:?}"),
                    })
                    .collect();
                let servers = lab.probe(Proto::Tcp, &format!("{to}:80")).count(140).servers();
                assert_eq!(servers, expected, "{} {family:?}\n{program}", rules.target);
                let to = format!("{to}:80").parse().expect("an address and a port");
                let attempt = Attempt { proto: Proto::Tcp, from: Host::Client, source: None, to };
                let said = lab.loaded(rules.target).sequence(&attempt, 140);
                assert_eq!(said.as_ref(), Some(&servers), "{} {family:?}\n{program}", rules.target);
            }
        }
    }
}

#[test]
fn services_with_the_same_backends_have_sequences_of_their_own() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "pool web = b1, b2, b3\n\
         balance tcp vip:80 by round-robin -> web\n\
         balance tcp vip:81 by round-robin -> web\n\
         balance udp vip:80 by round-robin -> web\n",
        "tcp client > LOCAL:80 = seq b1:80
         tcp client > LOCAL:81 = seq b1:81 b2:81
         udp client > LOCAL:80 = seq b1:80
         tcp client > LOCAL:80 = seq b2:80 b3:80
         udp client > LOCAL:80 = seq b2:80
         tcp client > LOCAL:81 = seq b3:81",
    );
}

#[test]
fn a_wrong_line_of_a_table_is_found() {
    let Some(lab) = lab!() else { return };
    let Some(target) = lab.targets().next() else { return };
    let program = "balance tcp vip:80 by round-robin -> b1, b2\n";
    lab.install(target, &with_hosts(program)).expect("a correct program");
    assert_eq!(failures(&lab, target, program, "tcp client > LOCAL:80 = seq b1:80 b2:80"), "");
    for wrong in ["seq b2:80", "b1:80", "any b1:80 b2:80 b3:80", "shares 400 b1:80=2 b2:80=1", "refused", "nowhere"] {
        let found = failures(&lab, target, program, &format!("tcp client > LOCAL4:80 = {wrong}"));
        assert!(!found.is_empty(), "`{wrong}` is taken for the truth");
    }
}
