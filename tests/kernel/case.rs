//! Test cases as tables: a program, and lines that say what becomes of new connections.
//!
//! ```text
//! tcp,udp client > LOCAL:80,443 OTHER4:8000-8003 = b1:=
//! tcp client2@21.7 > ROUTED:80 = seq b1:8080 b2:8080 b1:8080
//! tcp lb > TRANSIT:80 = shares 600 b1:8080=2 b2:8080=1
//! ```
//!
//! Every line holds for both families (`OTHER4`: one) and on every target. `@21.7` is a source address, 10.21.0.7 or
//! fd21::7. The port `=` is the connection's own, `+1000` that and 1000. Beside servers there are `refused`, `dropped`,
//! and `nowhere` for connections that were not touched and for which there is no route.
//!
//! What a line says is also compared with the reference meaning, and with what the evaluator says of the rules that the
//! kernel lists, so that none of them can be wrong alone.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use num_rational::Ratio;

use crate::evaluator::{Loaded, agree};
use crate::model::{Attempt, DROPPED, Model, NOWHERE, REFUSED, is_silent};
use crate::namespace::numbered;
use crate::net::{Host, Lab, vip};
use crate::stats::check_shares;
use crate::target::{Rules, Target};
use crate::traffic::Proto;

/// Names of the laboratory's machines for programs.
pub const HOSTS: &str = "\
host b1 = 10.9.1.11, fd09:1::11
host b2 = 10.9.1.12, fd09:1::12
host b3 = 10.9.1.13, fd09:1::13
host vip = 203.0.113.10, 2001:db8:ffff::10
host other = 203.0.113.11, 2001:db8:ffff::11
host routed = 203.0.113.20, 2001:db8:ffff::20
host transit = 203.0.113.30, 2001:db8:ffff::30
";

/// A program with [`HOSTS`] in front.
pub fn with_hosts(program: &str) -> String {
    format!("{HOSTS}{program}")
}

/// One line of a table.
struct Flow<'a> {
    text: &'a str,
    protos: Vec<Proto>,
    from: Host,
    source: Option<&'a str>,
    to: Vec<(&'a str, Vec<u16>)>,
    expected: Expected<'a>,
}

enum Expected<'a> {
    /// All connections go the same way.
    Always(&'a str),
    /// One connection for each, in this order.
    Sequence(Vec<&'a str>),
    /// Some of these and nothing else.
    Any(Vec<&'a str>),
    /// So many connections with these weights.
    Shares(usize, Vec<(&'a str, u64)>),
}

/// Checks a program on every target: text and JSON agree, it survives a reboot, and the flows are as written.
#[track_caller]
pub fn check(lab: &Lab, program: &str, flows: &str) {
    let program = with_hosts(program);
    let model = Model::of(&program);
    let flows: Vec<Flow<'_>> =
        flows.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(Flow::of).collect();
    let mut failures = String::new();
    for rules in compiled(lab, &program) {
        lab.check_fixpoint(&rules).unwrap_or_else(|trouble| panic!("{}:\n{trouble}", rules.target));
        let loaded = lab.loaded(rules.target);
        for flow in &flows {
            flow.check(lab, rules.target, &model, &loaded, &mut failures);
        }
    }
    assert!(failures.is_empty(), "\n{failures}--- program\n{}", numbered(&program));
}

/// The rules of a program for every target; nft's two spellings are the same to the kernel, but for maps of sticky
/// clients, which nft 1.0.6 can fill from text alone.
#[track_caller]
pub fn compiled(lab: &Lab, program: &str) -> Vec<Rules> {
    lab.clear().expect("the balancer can be emptied");
    let compile = |layout: &'static str| {
        let compile = move |target: Target| target.compile(program, &["--layout", layout]).expect("a correct program");
        lab.targets().map(compile).collect::<Vec<Rules>>()
    };
    let (few, many) = (compile("linear"), compile("tree"));
    check_bytecode(lab, &few);
    check_bytecode(lab, &many);
    // JSON of both has the shapes of the text.
    few.into_iter().chain(many.into_iter().filter(|rules| rules.target != Target::NftJson)).collect()
}

/// Text and JSON are the same to the kernel, but for what nft 1.0.6 cannot say in JSON: maps to addresses with ports.
pub fn check_bytecode(lab: &Lab, rules: &[Rules]) {
    let of = |target| rules.iter().find(|rules| rules.target == target);
    if let (Some(text), Some(json)) = (of(Target::Nft), of(Target::NftJson))
        && !["-sticky {", "map at-"].iter().any(|map| text.text.contains(map))
    {
        lab.check_same_bytecode(text, json).expect("one model, two spellings");
    }
}

/// The flows alone, with the rules that are loaded; says what is not as written.
pub fn failures(lab: &Lab, target: Target, program: &str, flows: &str) -> String {
    let model = Model::of(&with_hosts(program));
    let loaded = lab.loaded(target);
    let mut failures = String::new();
    for line in flows.lines().map(str::trim).filter(|line| !line.is_empty()) {
        Flow::of(line).check(lab, target, &model, &loaded, &mut failures);
    }
    failures
}

impl<'a> Flow<'a> {
    fn of(text: &'a str) -> Self {
        let parsed = || {
            let (head, expected) = text.split_once(" = ")?;
            let (head, to) = head.split_once(" > ")?;
            let (protos, from) = head.split_once(' ')?;
            let protos = protos.split(',').map(|name| match name {
                "tcp" => Some(Proto::Tcp),
                "udp" => Some(Proto::Udp),
                "sctp" => Some(Proto::Sctp),
                _ => None,
            });
            let (from, source) = match from.split_once('@') {
                Some((from, source)) => (from, Some(source)),
                None => (from, None),
            };
            let from = [Host::Client, Host::Client2].into_iter().chain(Host::SERVING).find(|h| h.name() == from)?;
            let to = to.split(' ').map(|to| {
                let (name, list) = to.rsplit_once(':')?;
                Some((name, ports(list)?))
            });
            Some(Self {
                text,
                protos: protos.collect::<Option<_>>()?,
                from,
                source,
                to: to.collect::<Option<_>>()?,
                expected: Expected::of(expected)?,
            })
        };
        parsed().unwrap_or_else(|| panic!("this is no line of a table: {text}"))
    }

    fn check(&self, lab: &Lab, target: Target, model: &Model, loaded: &Loaded, failures: &mut String) {
        for ipv6 in [false, true] {
            for &proto in &self.protos {
                for (name, list) in &self.to {
                    let Some(ip) = address(name, ipv6) else { continue };
                    let source = self.source.map(|source| {
                        address(source, ipv6).unwrap_or_else(|| panic!("no such source address: {}", self.text))
                    });
                    for &port in list {
                        let attempt = Attempt { proto, from: self.from, source, to: SocketAddr::new(ip, port) };
                        if let Err(failure) = self.check_one(lab, target, model, loaded, &attempt) {
                            let _ = writeln!(
                                failures,
                                "{target}: {}\n    {proto:?} to {}: {failure}",
                                self.text, attempt.to
                            );
                        }
                    }
                }
            }
        }
    }

    fn check_one(
        &self,
        lab: &Lab,
        target: Target,
        model: &Model,
        loaded: &Loaded,
        attempt: &Attempt,
    ) -> Result<(), String> {
        let port = attempt.to.port();
        let meaning = model.servers(attempt, target);
        let said = loaded.servers(attempt);
        if !agree(&meaning, &said) {
            return Err(format!("the meaning is {meaning:?}, and the evaluator says {said:?}"));
        }
        let mut probe = lab.probe(attempt.proto, &attempt.to.to_string()).from(attempt.from);
        if let Some(source) = attempt.source {
            probe = probe.sources([source]);
        }
        match &self.expected {
            Expected::Always(server) => {
                let server = full(server, port);
                let meant: Vec<&str> = meaning.iter().map(|(server, _)| server.as_str()).collect();
                if meant != [server.as_str()] {
                    return Err(format!("the meaning is {meant:?}"));
                }
                let probe = if is_silent(&server) { probe.count(3).expecting_silence() } else { probe.count(2) };
                wrong(attempt, &probe.send(), |_| vec![server.clone()])
            }
            Expected::Sequence(sequence) => {
                let sequence: Vec<String> = sequence.iter().map(|server| full(server, port)).collect();
                let meant = |server: &String| meaning.iter().any(|(known, _)| known == server);
                if !sequence.iter().all(meant) {
                    return Err(format!("the meaning is {meaning:?}"));
                }
                wrong(attempt, &probe.count(sequence.len()).send(), |nth| vec![sequence[nth].clone()])
            }
            Expected::Any(servers) => {
                let servers: Vec<String> = servers.iter().map(|server| full(server, port)).collect();
                within(&meaning, &servers)?;
                wrong(attempt, &probe.count(16).send(), |_| servers.clone())
            }
            Expected::Shares(count, weights) => {
                let weights: Vec<(String, u64)> =
                    weights.iter().map(|(server, weight)| (full(server, port), *weight)).collect();
                let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
                for (server, weight) in &weights {
                    let meant = meaning.iter().find(|(known, _)| known == server).map(|(_, share)| share.clone());
                    let written = Ratio::new((*weight).into(), sum.into());
                    if meant.unwrap_or_default() != written {
                        return Err(format!("the meaning is {meaning:?}"));
                    }
                }
                let weights: Vec<(&str, u64)> = weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
                check_shares(&probe.count(*count).window(32).servers(), &weights)
            }
        }
    }
}

impl<'a> Expected<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let mut words = text.split_whitespace();
        match words.next()? {
            "seq" => Some(Self::Sequence(words.collect())),
            "any" => Some(Self::Any(words.collect())),
            "shares" => {
                let count = words.next()?.parse().ok()?;
                let weights = words.map(|word| {
                    let (server, weight) = word.rsplit_once('=')?;
                    Some((server, weight.parse().ok()?))
                });
                Some(Self::Shares(count, weights.collect::<Option<_>>()?))
            }
            only => words.next().is_none().then_some(Self::Always(only)),
        }
    }
}

/// `80,443,8000-8003`
fn ports(list: &str) -> Option<Vec<u16>> {
    let mut ports = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(first.parse().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(ports)
}

/// The address that a name of a table stands for in a family.
pub fn address(name: &str, ipv6: bool) -> Option<IpAddr> {
    let (name, only) = match name.strip_suffix('4') {
        Some(rest) if !rest.contains('.') => (rest, Some(false)),
        Some(_) | None => match name.strip_suffix('6') {
            Some(rest) if !rest.contains('.') => (rest, Some(true)),
            Some(_) | None => (name, None),
        },
    };
    let pair: [String; 2] = match name {
        "LOCAL" => [vip::LOCAL.into(), vip::LOCAL6.into()],
        "OTHER" => [vip::OTHER_LOCAL.into(), vip::OTHER_LOCAL6.into()],
        "ROUTED" => [vip::ROUTED.into(), vip::ROUTED6.into()],
        "TRANSIT" => [vip::TRANSIT.into(), vip::TRANSIT6.into()],
        "LO" => ["127.0.0.1".into(), "::1".into()],
        "B1" => ["10.9.1.11".into(), "fd09:1::11".into()],
        "B2" => ["10.9.1.12".into(), "fd09:1::12".into()],
        "LB" => ["10.9.0.1".into(), "fd09::1".into()],
        _ => {
            let (net, host) = name.split_once('.')?;
            [format!("10.{net}.0.{host}"), format!("fd{net}::{host}")]
        }
    };
    let wanted = only.is_none_or(|only| only == ipv6);
    wanted.then(|| pair[usize::from(ipv6)].parse().expect("a well-formed address"))
}

/// A server's full name for a connection to a port.
fn full(server: &str, port: u16) -> String {
    match server {
        "refused" => REFUSED.to_owned(),
        "dropped" => DROPPED.to_owned(),
        "nowhere" => NOWHERE.to_owned(),
        _ => {
            let (host, written) = server.split_once(':').unwrap_or_else(|| panic!("`{server}` has no port"));
            let number = |text: &str| text.parse::<u16>().unwrap_or_else(|_| panic!("`{server}` has no port"));
            let port = match written.split_at(1) {
                ("=", "") => port,
                ("+", shift) => port + number(shift),
                _ => number(written),
            };
            format!("{host}:{port}")
        }
    }
}

/// Whether a meaning may be nothing but these.
fn within<S>(meaning: &[(String, S)], servers: &[String]) -> Result<(), String> {
    let same = meaning.iter().all(|(server, _)| servers.contains(server))
        && servers.iter().all(|server| meaning.iter().any(|(known, _)| known == server));
    if same {
        return Ok(());
    }
    Err(format!("the meaning is {:?}", meaning.iter().map(|(server, _)| server).collect::<Vec<_>>()))
}

fn wrong(
    attempt: &Attempt,
    outcomes: &[crate::traffic::Outcome],
    expected: impl Fn(usize) -> Vec<String>,
) -> Result<(), String> {
    let fits = |nth: usize, outcome| expected(nth).iter().any(|server| attempt.accepts(server, outcome));
    if outcomes.iter().enumerate().all(|(nth, outcome)| fits(nth, outcome)) {
        return Ok(());
    }
    Err(format!("got {:?}", outcomes.iter().map(ToString::to_string).collect::<Vec<_>>()))
}
