//! `lbc which`

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use num_bigint::BigUint;
use num_traits::{One, ToPrimitive, Zero};
use serde::Serialize;

use crate::address::{address, range};
use crate::ir::hash::{Hash6, SourceHash};
use crate::ir::options::SourceNat;
use crate::ir::share::Share;
use crate::ir::{Algorithm, Backend, Body, Config, Family, From, Service};
use crate::option::Else;
use crate::resolve;
use crate::trace::Source;

use super::input::{Declarations, Input};
use super::render::{Stream, report};
use super::rules::Target;
use super::show::{Ink, JsonOutcome, Look, fraction, percent, print_json, source_text, wants_json};
use super::{Exit, Failure, Global};

/// Say which backend a client gets from a source-hash service
#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    declarations: Declarations,
    /// A client, or a prefix for the shares of its clients; repeatable, or separated by commas
    #[arg(long, required = true, value_name = "ADDR|PREFIX", value_delimiter = ',', num_args = 1..)]
    from: Vec<String>,
    /// Only this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only this target; IPv6 clients are hashed in another way on each [default: both]
    #[arg(long, value_enum)]
    target: Option<Target>,
}

/// Prefixes with no more clients are counted one by one; of larger ones the buckets are.
const MAX_COUNTED: u128 = 1 << 20;

impl Which {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let clients = self.clients()?;
        let (program, syntax) = self.input.program(&self.declarations)?;
        let config = match resolve::check(&program, syntax) {
            Ok(config) => config,
            Err(errors) => {
                report(global, Stream::Err, &program.sources, &errors)?;
                return Ok(Exit::Findings);
            }
        };
        let services = self.services(&config)?;
        let answers: Vec<Answer> = clients
            .iter()
            .flat_map(|&client| services.iter().flat_map(move |&(service, hash)| self.answers(client, service, hash)))
            .map(|answer| answer.located(&config))
            .collect();
        match wants_json(global) {
            true => print_json(global, &Report { format_version: "1.0", clients: &answers })?,
            false => people(&Look::new(global), &answers)?,
        }
        Ok(Exit::Clean)
    }

    fn clients(&self) -> Result<Vec<IpNet>, Failure> {
        let mut failures = Vec::new();
        let mut list = Vec::new();
        for text in &self.from {
            match text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>()) {
                Ok(net) if net.trunc() == net => list.push(net),
                Ok(net) => failures.push(format!("`{text}` has host bits set; the network is `{}`", net.trunc())),
                Err(_) => failures.push(format!("expected an address or a prefix behind --from, found `{text}`")),
            }
        }
        Failure::check(failures)?;
        Ok(list)
    }

    /// The services whose backend depends on the client.
    fn services<'a>(&self, config: &'a Config) -> Result<Vec<(&'a Service, SourceHash)>, Failure> {
        let hashed = config.services().iter().filter_map(|service| match service.algorithm {
            Algorithm::SourceHash(hash) => Some((service, hash)),
            Algorithm::Random | Algorithm::RoundRobin => None,
        });
        let Some(name) = &self.service else {
            let list: Vec<_> = hashed.collect();
            return match list.is_empty() {
                true => Err(Failure::new("no service is `by source-hash`: the client decides nothing")),
                false => Ok(list),
            };
        };
        if let Some(found) = hashed.into_iter().find(|(service, _)| service.name == *name) {
            return Ok(vec![found]);
        }
        let names = config.services().iter().map(|service| service.name.as_str());
        Err(Failure::new(match config.services().iter().any(|service| service.name == *name) {
            true => format!("the service `{name}` is not `by source-hash`: the client decides nothing"),
            false => {
                let near = crate::diagnostic::did_you_mean(name, names);
                format!("there is no service `{name}`{}", near.map_or_else(String::new, |near| format!("; {near}")))
            }
        }))
    }

    /// One answer, or one for each target where they differ.
    fn answers<'a>(&self, client: IpNet, service: &'a Service, hash: SourceHash) -> Vec<Found<'a>> {
        let family = Family::of_net(client);
        let targets: Vec<Option<Target>> = match (self.target, family) {
            (Some(target), _) => vec![Some(target)],
            (None, Family::V4) => vec![None],
            (None, Family::V6) => vec![Some(Target::Iptables), Some(Target::Nft)],
        };
        let one = |target: Option<Target>| {
            let hash6 = match target {
                Some(Target::Iptables) => Hash6::Bpf,
                Some(Target::Nft | Target::NftJson) | None => Hash6::Jhash,
            };
            Found { client, service, target, fate: fate(service, client, hash, hash6) }
        };
        targets.into_iter().map(one).collect()
    }
}

struct Found<'a> {
    client: IpNet,
    service: &'a Service,
    target: Option<Target>,
    fate: Fate,
}

/// What becomes of the clients.
struct Fate {
    /// In source order of the backends.
    outcomes: Vec<Outcome>,
    /// Of a single client.
    bucket: Option<u32>,
    /// Whether each client was counted; else the shares are those of the buckets.
    counted: bool,
}

/// One thing that becomes of clients.
struct Outcome {
    action: &'static str,
    to: Option<String>,
    /// Who the backend sees.
    source: Source,
    share: Share,
}

impl Outcome {
    fn nowhere(action: &'static str, share: Share) -> Outcome {
        Outcome { action, to: None, source: Source::Kept, share }
    }
}

/// Who a backend sees of clients near it, and of all others. No address is taken for this machine's.
fn sources<'s>(service: &'s Service, backend: &Backend) -> (Source, Source, &'s [IpNet]) {
    let Backend::Server(backend, _) = *backend else { return (Source::Kept, Source::Kept, &[]) };
    let all = |source| (source, source, &[][..]);
    match &service.options.source_nat {
        _ if backend.is_loopback() => all(Source::Kept),
        SourceNat::Kept => all(Source::Kept),
        SourceNat::Masquerade => all(Source::Masquerade),
        SourceNat::Address(own) => all(own.get(Family::of(backend)).map_or(Source::Kept, Source::Address)),
        SourceNat::Hairpin(near) => {
            let near = near.get(Family::of(backend)).iter().find(|near| near.backend == backend);
            (Source::Masquerade, Source::Kept, near.map_or(&[], |near| near.clients.as_slice()))
        }
    }
}

fn fate(service: &Service, clients: IpNet, hash: SourceHash, hash6: Hash6) -> Fate {
    let family = Family::of_net(clients);
    let certain = |action| Fate { outcomes: vec![Outcome::nowhere(action, share(1, 1))], bucket: None, counted: true };
    let group = match service.body(family) {
        Some(Body::Balance(group)) => group,
        Some(Body::Drained(_)) => return certain("reject"),
        Some(Body::Closed) => return certain(kept_out(service)),
        None => return certain("pass"),
    };
    let size = count(clients);
    let only_some = service.from.as_ref().is_some_and(|from| !from.allows_all(family));
    if size > MAX_COUNTED {
        // The hash spreads a range this large evenly over the buckets, which a count would only confirm.
        let mut owners = vec![0u64; group.backends.len()];
        group.buckets.iter().for_each(|&owner| owners[owner as usize] += 1);
        let lets_in = |clients| service.from.as_ref().map_or_else(Share::one, |from| allowed(from, clients));
        let allowed = lets_in(clients);
        let mut outcomes = Vec::new();
        for (backend, count) in group.backends.iter().zip(owners) {
            let buckets = share(count, group.buckets.len() as u64);
            let (_, _, near) = sources(service, backend);
            let beside = |net: &IpNet| match (net.contains(&clients), clients.contains(net)) {
                (true, _) => lets_in(clients),
                (false, true) => lets_in(*net) * part(net, clients),
                (false, false) => Share::zero(),
            };
            let near: Share = near.iter().map(beside).sum();
            outcomes.extend(outcomes_of(service, backend, [&buckets * &near, buckets * (&allowed - near)]));
        }
        if !allowed.is_one() {
            outcomes.push(Outcome::nowhere(kept_out(service), Share::one() - allowed));
        }
        return Fate { outcomes, bucket: None, counted: false };
    }
    // Those near the backend, and the others.
    let mut owners = vec![[0u64; 2]; group.backends.len()];
    let mut out = 0;
    let mut bucket = None;
    for client in hosts(clients) {
        match only_some && !service.from.as_ref().is_none_or(|from| from.allows(client)) {
            true => out += 1,
            false => {
                let found = hash.bucket(client, hash6);
                bucket = Some(found);
                let owner = group.buckets[found as usize] as usize;
                let (_, _, near) = sources(service, &group.backends[owner]);
                owners[owner][usize::from(!near.iter().any(|net| net.contains(&client)))] += 1;
            }
        }
    }
    let counts = group.backends.iter().zip(owners);
    let mut outcomes: Vec<Outcome> = counts
        .flat_map(|(backend, counts)| outcomes_of(service, backend, counts.map(|count| share(count, size as u64))))
        .collect();
    if out > 0 {
        outcomes.push(Outcome::nowhere(kept_out(service), share(out, size as u64)));
    }
    Fate { outcomes, bucket: bucket.filter(|_| size == 1), counted: true }
}

/// What a backend gets: of clients near it, and of all others.
fn outcomes_of(service: &Service, backend: &Backend, [near, others]: [Share; 2]) -> Vec<Outcome> {
    let action = match backend {
        Backend::Server(..) => "dnat",
        Backend::Local(_) => "redirect",
    };
    let (of_near, of_others, _) = sources(service, backend);
    let outcome = |(source, share)| Outcome { action, to: Some(backend.to_string()), source, share };
    let list = match of_near == of_others {
        true => vec![(of_others, near + others)],
        false => vec![(of_near, near), (of_others, others)],
    };
    list.into_iter().filter(|(_, share)| !share.is_zero()).map(outcome).collect()
}

/// The part of a prefix that another one inside it is.
fn part(net: &IpNet, clients: IpNet) -> Share {
    Share::new(1u32.into(), BigUint::one() << (net.prefix_len() - clients.prefix_len()))
}

/// The part of a prefix that `from` lets in.
fn allowed(from: &From, clients: IpNet) -> Share {
    let nets = from.nets.get(Family::of_net(clients));
    let part = |net: &IpNet| match (net.contains(&clients), clients.contains(net)) {
        (true, _) => Share::one(),
        (false, true) => part(net, clients),
        (false, false) => Share::zero(),
    };
    // The nets of a `from` are disjoint.
    let listed: Share = nets.iter().map(part).sum();
    if from.not { Share::one() - listed } else { listed }
}

/// What `from` does with the clients that it keeps out: those without `else` go on to the next statement.
fn kept_out(service: &Service) -> &'static str {
    match service.from.as_ref().and_then(|from| from.otherwise) {
        Some(Else::Drop) => "drop",
        Some(Else::Reject) => "reject",
        None => "pass",
    }
}

fn share(part: u64, of: u64) -> Share {
    Share::new(part.into(), of.into())
}

/// The number of addresses, saturating.
fn count(net: IpNet) -> u128 {
    1u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
}

/// Every address of a prefix, the first and the last too.
fn hosts(net: IpNet) -> impl Iterator<Item = IpAddr> {
    let (first, last) = range(net);
    (first..=last).map(move |client| address(Family::of_net(net), client))
}

/// One client or prefix at one service.
#[derive(Serialize)]
struct Answer {
    client: String,
    service: String,
    origin: String,
    /// `null` where both targets agree.
    target: Option<&'static str>,
    /// Of a single client: its bucket.
    bucket: Option<u32>,
    /// Of a prefix: false where its clients are too many, and the shares are those of the buckets.
    counted: bool,
    outcomes: Vec<JsonOutcome>,
    #[serde(skip)]
    shares: Vec<Share>,
    #[serde(skip)]
    sources: Vec<Source>,
    #[serde(skip)]
    single: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    format_version: &'static str,
    clients: &'a [Answer],
}

impl Found<'_> {
    fn located(self, config: &Config) -> Answer {
        let origin = config.origin(self.service);
        let single = self.client.prefix_len() == self.client.max_prefix_len();
        let outcome = |Outcome { action, to, source, share }: &Outcome| JsonOutcome {
            action,
            to: to.clone(),
            share: share.to_string(),
            probability: share.to_f64().unwrap_or(0.0),
            source: source_text(*source),
            service: Some(self.service.name.clone()),
            origin: Some(origin.clone()),
        };
        Answer {
            client: if single { self.client.addr().to_string() } else { self.client.to_string() },
            service: self.service.name.clone(),
            target: self.target.map(Target::name),
            bucket: self.fate.bucket,
            counted: self.fate.counted,
            outcomes: self.fate.outcomes.iter().map(outcome).collect(),
            shares: self.fate.outcomes.iter().map(|one| one.share.clone()).collect(),
            sources: self.fate.outcomes.iter().map(|one| one.source).collect(),
            origin,
            single,
        }
    }
}

/// Who the backend sees, where that is not the client.
fn seen_as(source: Source) -> String {
    match source {
        Source::Kept => String::new(),
        Source::Masquerade => "  as this machine".to_owned(),
        Source::Address(address) => format!("  as {address}"),
    }
}

fn people(look: &Look, answers: &[Answer]) -> Result<(), Failure> {
    let mut text = String::new();
    let width = |cell: fn(&Answer) -> usize| answers.iter().map(cell).max().unwrap_or(0);
    let (client, service) = (width(|answer| answer.client.len()), width(|answer| answer.service.len()));
    for answer in answers {
        let target = answer.target.map_or_else(String::new, |target| format!("  {target:8}"));
        let name = look.ink(Ink::Bold, &format!("{:client$}", answer.client));
        let head = format!("{name}  {:service$}{target}", answer.service);
        if answer.single {
            let outcome = &answer.outcomes[0];
            let to = outcome.to.clone().unwrap_or_else(|| outcome.action.to_owned());
            let bucket = answer.bucket.map_or_else(String::new, |bucket| format!("  (bucket {bucket})"));
            text.push_str(&format!("{head}  {to}{bucket}{}\n", seen_as(answer.sources[0])));
            continue;
        }
        text.push_str(&format!("{head}{}\n", if answer.counted { "" } else { "  (by buckets: too many to count)" }));
        for ((outcome, share), source) in answer.outcomes.iter().zip(&answer.shares).zip(&answer.sources) {
            let to = outcome.to.clone().unwrap_or_else(|| outcome.action.to_owned());
            text.push_str(&format!(
                "  {:>15}  {:>8}  {}  {to}{}\n",
                fraction(share),
                percent(share),
                look.bar(share),
                seen_as(*source)
            ));
        }
    }
    look.print(&text)
}
