//! Random small programs: whatever they mean, every target does it.
//!
//! `LBC_SEED=N` repeats a run; the seed is on standard error and in every failure.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::thread;

use crate::case::{address, compiled, with_hosts};
use crate::evaluator::agree;
use crate::lab;
use crate::model::{Attempt, Model, is_silent};
use crate::namespace::numbered;
use crate::net::{Host, Lab, PORTS};
use crate::target::Target;
use crate::traffic::{Outcome, Proto};

const PROGRAMS: usize = 20;
const CONNECTIONS: usize = 30;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// One time in so many.
    fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

const NETS: &str = "\
net near = 10.20.0.0/25, fd20::/120
net far = 10.21.0.0/16, fd21::/64
net some = near, 10.9.2.2, fd09::2
net lower = 203.0.113.0/28, 2001:db8:ffff::/123
net upper = 203.0.113.16/28, 2001:db8:ffff::20/123
net wide = 203.0.113.0/24, 2001:db8:ffff::/64
";

const DESTINATIONS: [&str; 14] = [
    "",
    "",
    "local:",
    "*:",
    "*:",
    "vip:",
    "vip:",
    "other:",
    "routed:",
    "transit:",
    "{local, routed}:",
    "lower:",
    "upper:",
    "wide:",
];
const LISTENED: [&str; 9] =
    ["80", "80", "80,443", "443", "8000-8003", "8001", "8002-8081", "11-65535", "53,80-81,8000,8003,8080-8083,9000"];
const CLIENTS: [&str; 7] = ["near", "far", "not near", "some", "not some, far", "far, b1", "10.20.0.0/16"];
const ARRIVALS: [&str; 6] = ["cl0", "cl1", "cl*", "not cl0", "cl0, be0", "not cl1, be0"];
const ALGORITHMS: [&str; 5] = ["", "", " by random", " by round-robin", " by source-hash"];
const BACKENDS: [&str; 11] = [
    "b1",
    "b2",
    "b3",
    "b1:8080",
    "b2:8081",
    "b3:9000",
    "b1:9001",
    ":9050",
    ":9051",
    "10.9.1.12:9002",
    "[fd09:1::13]:9003",
];

/// A program that the compiler accepts.
fn program(random: &mut Random) -> String {
    loop {
        let mut program = format!("{NETS}pool pair = b1 weight 2, b2\n");
        for index in 0..3 + random.below(5) {
            let protocols = random.of(&["tcp", "tcp", "udp", "tcp,udp", "tcp,udp", "tcp,udp,sctp"]);
            let destination = random.of(&DESTINATIONS);
            let ports = random.of(&LISTENED);
            let _ = write!(program, "balance {protocols} {destination}{ports} as s{index}{}", random.of(&ALGORITHMS));
            if random.rarely(2) {
                let _ = write!(
                    program,
                    " from {}{}",
                    random.of(&CLIENTS),
                    random.of(&["", "", " else drop", " else reject"])
                );
            }
            if random.rarely(3) {
                let _ = write!(program, " on {}", random.of(&ARRIVALS));
            }
            if random.rarely(3) {
                program += " output";
            }
            program += " -> ";
            for nth in 0..1 + random.below(4) {
                let weight = random.of(&["", "", " weight 2", " weight 0", " backup"]);
                let weight = if nth == 0 && random.rarely(4) { " weight 0" } else { weight };
                let backend = match ports {
                    "8000-8003" if random.rarely(3) => random.of(&["b1:9000-9003", ":9000-9003", "b2:8080-8083"]),
                    _ if random.rarely(6) => random.of(&["pair", "pair:8080"]),
                    _ => random.of(&BACKENDS),
                };
                let _ = write!(program, "{}{backend}{weight}", if nth == 0 { "" } else { ", " });
            }
            program += "\n";
        }
        let program = with_hosts(&program);
        if Model::try_of(&program).is_ok() {
            return program;
        }
    }
}

/// A connection whose answer can come back: backends see each other, and so answer each other, without the balancer.
fn attempt(random: &mut Random, model: &Model, target: Target) -> Attempt {
    loop {
        let ipv6 = random.rarely(2);
        let (from, source) = match random.below(8) {
            0 | 1 => (Host::Client, None),
            2 => (Host::Client, Some("20.5")),
            3 => (Host::Client, Some("20.200")),
            4 => (Host::Client2, None),
            5 => (Host::Client2, Some("21.3")),
            6 => (Host::Backend(1), None),
            _ => (Host::Balancer, None),
        };
        let name = random.of(&["LOCAL", "LOCAL", "OTHER", "ROUTED", "TRANSIT", "LB", "B2", "LO"]);
        let to = match name {
            // From outside, loopback addresses lead nowhere; inside, what has no route is not even tried.
            "LO" if from != Host::Balancer => continue,
            "ROUTED" if from == Host::Balancer => continue,
            "TRANSIT" | "B2" if from == Host::Backend(1) => continue,
            name => address(name, ipv6).expect("a name for both families"),
        };
        let proto = [Proto::Tcp, Proto::Tcp, Proto::Tcp, Proto::Udp, Proto::Udp, Proto::Sctp][random.below(6)];
        let port = match random.below(3) {
            0 => 80,
            1 => [443, 8000, 8001, 8002, 8003][random.below(5)],
            _ => PORTS[random.below(PORTS.len())],
        };
        let source = source.and_then(|source| address(source, ipv6));
        let attempt = Attempt { proto, from, source, to: SocketAddr::new(to, port) };
        let forwarded = model.servers(&attempt, target).iter().any(|(server, _)| server.starts_with('b'));
        if from != Host::Backend(1) || !forwarded {
            return attempt;
        }
    }
}

fn send(lab: &Lab, attempt: &Attempt, silent: bool) -> Vec<Outcome> {
    let mut probe = lab.probe(attempt.proto, &attempt.to.to_string()).from(attempt.from);
    if let Some(source) = attempt.source {
        probe = probe.sources([source]);
    }
    if silent { probe.expecting_silence().send() } else { probe.count(2).send() }
}

/// The connections that went where they should not, in words.
fn strays(lab: &Lab, target: Target, model: &Model, attempts: &[Attempt]) -> String {
    let meanings: Vec<Vec<String>> = attempts
        .iter()
        .map(|attempt| model.servers(attempt, target).into_iter().map(|(server, _)| server).collect())
        .collect();
    let silent = |nth: usize| meanings[nth].iter().all(|server| is_silent(server));
    let outcomes: Vec<Vec<Outcome>> = thread::scope(|scope| {
        // Silence is waited for all at once.
        let silences: Vec<_> = (0..attempts.len())
            .map(|nth| silent(nth).then(|| scope.spawn(move || send(lab, &attempts[nth], true))))
            .collect();
        let answers: Vec<Option<Vec<Outcome>>> =
            (0..attempts.len()).map(|nth| (!silent(nth)).then(|| send(lab, &attempts[nth], false))).collect();
        let joined = silences.into_iter().zip(answers).map(|(silence, answer)| match (silence, answer) {
            (Some(silence), _) => silence.join().expect("probing does not panic"),
            (None, answer) => answer.expect("one of both"),
        });
        joined.collect()
    });
    let mut strays = String::new();
    let loaded = lab.loaded(target);
    for attempt in attempts {
        let (meant, said) = (model.servers(attempt, target), loaded.servers(attempt));
        if !agree(&meant, &said) {
            let _ =
                writeln!(strays, "{target}: {attempt:?}\n    the meaning is {meant:?}, the evaluator says {said:?}");
        }
    }
    for ((attempt, meaning), outcomes) in attempts.iter().zip(&meanings).zip(outcomes) {
        for outcome in outcomes {
            if !meaning.iter().any(|server| attempt.accepts(server, &outcome)) {
                let _ = writeln!(strays, "{target}: {attempt:?}\n    got {outcome}, the meaning is {meaning:?}");
            }
        }
    }
    strays
}

fn seed() -> u64 {
    match std::env::var("LBC_SEED") {
        Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("LBC_SEED is `{seed}`; expected a number")),
        // Fixed, so that one run is like the next.
        Err(_) => 2,
    }
}

#[test]
fn generated_programs_do_what_they_mean() {
    let Some(lab) = lab!() else { return };
    let seed = seed();
    // Past the test runner, which hides what passing tests print.
    let _ = writeln!(io::stderr(), "generated programs: LBC_SEED={seed}");
    let mut random = Random(seed);
    let mut failures = String::new();
    for number in 0..PROGRAMS {
        let program = program(&mut random);
        let model = Model::of(&program);
        // What the hash of IPv6 clients picks is the target's own, but what can be probed is the same for all.
        let attempts: Vec<Attempt> = (0..CONNECTIONS).map(|_| attempt(&mut random, &model, Target::Nft)).collect();
        let mut found = String::new();
        for rules in compiled(&lab, &program) {
            lab.clear().expect("the balancer can be emptied");
            let done = lab.load(&rules).and_then(|()| {
                found += &strays(&lab, rules.target, &model, &attempts);
                lab.check_fixpoint(&rules)
            });
            if let Err(trouble) = done {
                let _ = writeln!(found, "{}: {trouble}", rules.target);
            }
        }
        if !found.is_empty() {
            let _ = writeln!(failures, "program {number}:\n{found}--- program\n{}", numbered(&program));
        }
    }
    assert!(failures.is_empty(), "LBC_SEED={seed}\n{failures}");
}
