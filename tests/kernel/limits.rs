//! `limit` and `max-connections`: how many get through, and what becomes of the others.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::case::with_hosts;
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::Target;
use crate::traffic::{Outcome, Probe, Proto};

const VIPS: [&str; 2] = ["203.0.113.10:80", "[2001:db8:ffff::10]:80"];

fn install(lab: &Lab, target: Target, program: &str) {
    lab.install(target, &with_hosts(program)).unwrap_or_else(|trouble| panic!("{target}: {trouble}"));
}

/// How many connections reached a backend; all others must have fared alike.
#[track_caller]
fn passed(probe: &Probe<'_>, surplus: &Outcome) -> usize {
    let probe = if *surplus == Outcome::TimedOut { probe.clone().expecting_silence() } else { probe.clone() };
    let outcomes = probe.send();
    let kept_out = outcomes.iter().filter(|outcome| outcome.peer().is_none());
    kept_out.clone().for_each(|outcome| assert_eq!(outcome, surplus));
    outcomes.len() - kept_out.count()
}

fn client(ipv6: bool, nth: u8) -> IpAddr {
    let text = if ipv6 { format!("fd20::{nth:x}") } else { format!("10.20.0.{nth}") };
    text.parse().expect("an address")
}

#[test]
fn a_burst_passes_at_once_and_comes_back_with_time() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        for (otherwise, surplus) in [("", Outcome::TimedOut), ("else reject ", Outcome::Refused)] {
            install(&lab, target, &format!("balance tcp,udp vip:80 limit 3/second burst 3 {otherwise}-> b1, b2\n"));
            for to in VIPS {
                // One comes back every third of a second: some may do so while the test runs.
                let tcp = passed(&lab.probe(Proto::Tcp, to).count(24), &surplus);
                assert!((3..=6).contains(&tcp), "{target} {otherwise}{to}: {tcp}");
                thread::sleep(Duration::from_millis(1500));
                let udp = passed(&lab.probe(Proto::Udp, to).count(24), &surplus);
                assert!((3..=6).contains(&udp), "{target} {otherwise}{to}: {udp}");
            }
        }
    }
}

#[test]
fn each_client_has_a_bucket_of_its_own() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        install(
            &lab,
            target,
            "balance tcp,udp vip:80 by round-robin limit 5/hour burst 4 per source else reject output -> b1, b2\n",
        );
        for (ipv6, to) in [false, true].into_iter().zip(VIPS) {
            for nth in [1, 2, 3] {
                let from = |proto, count| lab.probe(proto, to).sources([client(ipv6, nth)]).count(count);
                assert_eq!(passed(&from(Proto::Tcp, 3), &Outcome::Refused), 3, "{target} {to}");
                assert_eq!(passed(&from(Proto::Udp, 6), &Outcome::Refused), 1, "{target} {to}: protocols share it");
            }
            let own = lab.probe(Proto::Tcp, to).from(Host::Balancer).count(8);
            assert_eq!(passed(&own, &Outcome::Refused), 4, "{target} {to}");
        }
    }
}

#[test]
fn only_so_many_at_a_time() {
    let Some(lab) = lab!() else { return };
    for target in lab.targets() {
        for (per, otherwise) in [("", ""), ("", "else reject "), ("per source ", "else reject "), ("per source ", "")] {
            let surplus = if otherwise.is_empty() { Outcome::TimedOut } else { Outcome::Refused };
            install(
                &lab,
                target,
                &format!("balance tcp vip:80 max-connections 5 {per}{otherwise}-> b1:8080, b2:8080\n"),
            );
            for (ipv6, to) in [false, true].into_iter().zip(VIPS) {
                let from = |nth| lab.probe(Proto::Tcp, to).sources([client(ipv6, nth)]);
                let held = from(1).count(5).hold();
                assert!(held.outcomes.iter().all(|outcome| outcome.peer().is_some()), "{target} {per}{otherwise}{to}");
                assert_eq!(passed(&from(1).count(3), &surplus), 0, "{target} {per}{otherwise}{to}");
                let other = passed(&from(2), &surplus);
                assert_eq!(other, usize::from(!per.is_empty()), "{target} {per}{otherwise}{to}: another client");
                drop(held);
                // The kernel forgets what has ended in its own time; what it turns away does not count.
                let deadline = Instant::now() + Duration::from_secs(20);
                let mut comes_back = false;
                while !comes_back && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(300));
                    comes_back = passed(&from(1).count(1), &surplus) == 1;
                }
                assert!(comes_back, "{target} {per}{otherwise}{to}: once they are gone");
            }
        }
    }
}

/// As large as the language has them, and as small.
#[test]
fn extremes_load_list_and_let_connections_through() {
    let Some(lab) = lab!() else { return };
    let programs = [
        "balance tcp,udp vip:80 max-connections 4294967295 -> b1\n",
        "balance tcp,udp vip:80 max-connections 4294967295 per source else reject -> b1, b2\n",
        "balance tcp,udp vip:80 limit 1000000/second burst 1 -> b1\n",
        "balance tcp,udp vip:80 limit 1/second burst 86400 per source -> b1\n",
        "balance tcp,udp vip:80 limit 1/hour burst 20 per source max-connections 1000 -> b1\n",
        "balance tcp,udp vip:80 limit 1000/hour burst 1000 -> b1\n",
    ];
    for target in lab.targets() {
        for program in programs {
            let rules = target.compile(&with_hosts(program), &[]).expect("a correct program");
            lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}:\n{trouble}"));
            for to in VIPS {
                for proto in [Proto::Tcp, Proto::Udp] {
                    let outcome = lab.probe(proto, to).one();
                    assert!(outcome.peer().is_some(), "{target} {proto:?} {to}: {outcome}\n{program}");
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
    let wide = [
        "balance tcp vip:80 limit 4294967295/second burst 4294967295 -> b1\n",
        "balance tcp vip:80 limit 2/minute burst 70000000 per source -> b1\n",
    ];
    for target in lab.targets().filter(|target| !target.is_iptables()) {
        for program in wide {
            let rules = target.compile(&with_hosts(program), &[]).expect("a correct program");
            lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{target}:\n{trouble}"));
            assert_eq!(
                passed(&lab.probe(Proto::Tcp, VIPS[0]).count(20), &Outcome::TimedOut),
                20,
                "{target}: {program}"
            );
        }
        target
            .compile(&with_hosts("balance tcp vip:80 limit 1/hour burst 4294967295 -> b1\n"), &[])
            .expect_err("a bucket that takes ages to fill");
    }
}
