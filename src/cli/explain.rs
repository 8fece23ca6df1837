//! `lbc explain`

mod cost;
mod foreign;
mod options;

use std::path::PathBuf;

use clap::Args;
use num_traits::{Signed, ToPrimitive, Zero};
use serde::Serialize;

use crate::explain::{Explained, Form, Line, explain};
use crate::ir::{Algorithm, Backend, Body, Config, Destination, Family, Interface, PerFamily, Service};
use crate::option::Else;
use crate::resolve;
use crate::target::{Layout, nft};

use super::input::Input;
use super::render::{Stream, printable, report};
use super::rules::Target;
use super::show::{Ink, Look, fraction, percent, print_json, wants_json};
use super::subject::Subject;
use super::{Exit, Failure, Global};

/// Say what each service does, and why each rule has its number
#[derive(Debug, Args)]
pub struct Explain {
    /// Files, directories (every *.lb below), or - for standard input
    #[arg(required_unless_present = "rules", conflicts_with = "rules", value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    subject: Subject,
    /// Only this service; with --rules a listener: [PROTO/]ADDR:PORT
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// What the rules cost: rules and maps that a new connection passes, what the kernel holds, bytes
    #[arg(long, conflicts_with_all = ["rules", "service"])]
    cost: bool,
    /// The shape of the rules whose cost is told [default: auto]
    #[arg(long, value_enum, requires = "cost")]
    layout: Option<Layout>,
}

impl Explain {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let local = self.subject.local()?;
        if let Some(rules) = &self.subject.rules {
            return foreign::explain(global, rules, self.service.as_deref(), &local);
        }
        if !local.is_empty() {
            return Err(Failure::new("--local goes with --rules: what a program means does not hang on addresses"));
        }
        let target = self.subject.target();
        let input = Input { paths: self.paths.clone(), stdin_filename: self.subject.stdin_filename.clone() };
        let (program, syntax) = input.program(&self.subject.declarations)?;
        let config = match resolve::check(&program, syntax) {
            Ok(config) => config,
            Err(errors) => {
                report(global, Stream::Err, &program.sources, &errors)?;
                return Ok(Exit::Findings);
            }
        };
        if self.cost {
            return match cost::costs(&config, target, self.layout.unwrap_or_default()) {
                Ok(costs) => cost::show(global, &costs).map(|()| Exit::Clean),
                Err(errors) => {
                    report(global, Stream::Err, &program.sources, &errors)?;
                    Ok(Exit::Findings)
                }
            };
        }
        let forms = Forms::of(&config, target);
        let wanted = |(_, service): &(usize, &Service)| self.service.as_ref().is_none_or(|name| service.name == *name);
        let services: Vec<Explaining> = config
            .services()
            .iter()
            .enumerate()
            .filter(wanted)
            .map(|(place, service)| Explaining { service, form: forms.get(place) })
            .collect();
        if let (Some(name), []) = (&self.service, services.as_slice()) {
            let names = config.services().iter().map(|service| service.name.as_str());
            let near = crate::diagnostic::did_you_mean(name, names);
            let near = near.map_or_else(String::new, |near| format!("; {near}"));
            return Err(Failure::new(format!("there is no service `{name}`{near}")));
        }
        match wants_json(global) {
            true => {
                let services = services.iter().map(|one| json(&config, one)).collect();
                print_json(global, &Json { format_version: "1.0", target: target.name(), services })?;
            }
            false => {
                let look = Look::new(global);
                let texts: Vec<String> = services.iter().map(|one| text(&look, &config, one)).collect();
                let mut all = texts.join("\n");
                if services.iter().any(|one| picks(one.service)) {
                    all.push('\n');
                    all.push_str(&look.ink(Ink::Dim, &teaching(&forms, &services)));
                }
                look.print(&all)?;
            }
        }
        Ok(Exit::Clean)
    }
}

const IPV6_HASH: &str = "    the targets hash IPv6 clients in two ways: each keeps a client on its backend, but not on\n    \
    the same one as the other target (`lbc which` knows both)\n";

/// Whether chance or a counter has to pick between two backends.
fn picks(service: &Service) -> bool {
    let several = |family: &Family| match service.body(*family) {
        Some(Body::Balance(group)) => group.members.len() > 1,
        Some(Body::Closed | Body::Drained(_)) | None => false,
    };
    Family::ALL.iter().any(several)
}

/// How each service's rules pick.
enum Forms {
    Iptables,
    Nft(Box<nft::Shapes>),
}

impl Forms {
    fn of(config: &Config, target: Target) -> Forms {
        let shapes = |format| Forms::Nft(Box::new(nft::Shapes::of(config, Layout::Auto, format)));
        match target {
            Target::Iptables => Forms::Iptables,
            Target::Nft => shapes(nft::Format::Text),
            Target::NftJson => shapes(nft::Format::Json),
        }
    }

    /// Those of a service, by its place among all.
    fn get(&self, place: usize) -> PerFamily<Form> {
        let form = |family| match self {
            Forms::Iptables => Form::Iptables(Layout::Auto),
            Forms::Nft(shapes) => Form::Nft(shapes.get(place, family)),
        };
        PerFamily { v4: form(Family::V4), v6: form(Family::V6) }
    }
}

/// A service and how its rules pick.
struct Explaining<'c> {
    service: &'c Service,
    form: PerFamily<Form>,
}

/// What the numbers of these services are about.
fn teaching(forms: &Forms, services: &[Explaining]) -> String {
    let any = |is_meant: fn(&Algorithm) -> bool| {
        services.iter().any(|one| picks(one.service) && is_meant(&one.service.algorithm))
    };
    let random = any(|algorithm| matches!(algorithm, Algorithm::Random)).then_some(match forms {
        Forms::Iptables => {
            "iptables asks the rules of a chain one after the other, and a rule decides only about the\n\
             connections that the rules above it left: of three equal backends the first rule takes 1/3,\n\
             the second 1/2 of the rest, and the third the rest, without a number. The kernel compares 31\n\
             random bits with the stored number; `off by` is how far that is from the exact share."
        }
        Forms::Nft(shapes) if shapes.is_large() => {
            "In a program of this size, services of the same weights share a chain that draws one number and\n\
             looks it up in a map, the heaviest backends first; what needs rules of its own has them in a\n\
             row, where `0-1 of 3` is a number below 3 that is drawn for what the rules above have left. The\n\
             kernel scales 32 random bits to that range; `off by` is how far that is from the exact share."
        }
        Forms::Nft(_) => {
            "nft draws one number below the sum of the weights and looks it up in a map, where each backend\n\
             has as many numbers as its weight. The kernel scales 32 random bits to that range; `off by` is\n\
             how far that is from the exact share."
        }
    });
    let turns = any(|algorithm| matches!(algorithm, Algorithm::RoundRobin)).then_some(match forms {
        Forms::Iptables => {
            "A round robin counts: of three turns the first rule takes every third connection, the second\n\
             every second of those that it left, and the third the rest. No chance is in it, and the shares are\n\
             exact after each whole round."
        }
        Forms::Nft(shapes) if shapes.is_large() => {
            "A round robin counts its connections in a rule of its own, and looks up whose turn it is in a map\n\
             that services with the same turns share, or asks rules in a row. No chance is in it, and the\n\
             shares are exact after each whole round."
        }
        Forms::Nft(_) => {
            "A round robin counts its connections and looks up whose turn it is in a map, where each backend has\n\
             as many turns as its weight. No chance is in it, and the shares are exact after each whole round."
        }
    });
    let hash = any(|algorithm| matches!(algorithm, Algorithm::SourceHash(_))).then_some(
        "A source hash puts every client into a bucket, always the same, and each backend has as many of the\n\
         buckets as come closest to its share; `lbc which` says who gets whom.",
    );
    [random, turns, hash].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

// ---- for people -----------------------------------------------------------------------------------------------------

fn text(look: &Look, config: &Config, explaining: &Explaining) -> String {
    let Explaining { service, form } = *explaining;
    let name = look.ink(Ink::Bold, &printable(&service.name));
    let mut text = format!("{name}  {}  {}\n", config.origin(service), printable(&listener(service)));
    for condition in conditions(service) {
        text.push_str(&format!("  {}\n", printable(&condition)));
    }
    for family in Family::ALL {
        let Some(body) = service.body(family) else { continue };
        let (name, by) = (family.name(), algorithm(service));
        if service.from.as_ref().is_some_and(|from| from.allows_none(family)) && *body != Body::Closed {
            text.push_str(&format!("  {name}: no client is let in\n"));
            continue;
        }
        match body {
            Body::Closed => text.push_str(&format!("  {name}: no backend, every client is kept out\n")),
            Body::Drained(_) => text.push_str(&format!("  {name}: drained, new connections are rejected\n")),
            Body::Balance(group) => {
                text.push_str(&format!("  {name}, {by}\n"));
                let hashed = matches!(service.algorithm, Algorithm::SourceHash(_)) && group.backends.len() > 1;
                if hashed && family == Family::V6 {
                    text.push_str(&look.ink(Ink::Dim, IPV6_HASH));
                }
                match explain(group, service.algorithm, *form.get(family)) {
                    Some(explained) => text.push_str(&table(look, &explained)),
                    None => text.push_str("    a share is too small for this target\n"),
                }
            }
        }
    }
    text
}

fn table(look: &Look, explained: &Explained) -> String {
    let cells: Vec<[String; 6]> = explained
        .lines
        .iter()
        .map(|line| {
            [
                line.backend.to_string(),
                fraction(&line.share),
                percent(&line.share),
                line.number.clone().unwrap_or_else(|| "-".to_owned()),
                line.stored.clone().unwrap_or_default(),
                off_by(line),
            ]
        })
        .collect();
    const HEAD: [&str; 6] = ["backend", "share", "", "number", "stored", "off by"];
    let width = |column: usize| {
        cells.iter().map(|cells| cells[column].chars().count()).chain([HEAD[column].len()]).max().unwrap_or(0)
    };
    let [w0, w1, w2, w3, w4, w5] = std::array::from_fn(width);
    let bar = " ".repeat(look.bar(&Zero::zero()).chars().count());
    let head = format!(
        "    {:w0$}  {:>w1$}  {:>w2$}  {bar}  {:w3$}  {:w4$}  {:w5$}  why\n",
        HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], HEAD[5]
    );
    let mut text = look.ink(Ink::Dim, head.trim_end());
    text.push('\n');
    for (line, [backend, share, percent, number, stored, off]) in explained.lines.iter().zip(&cells) {
        let bar = look.ink(Ink::Good, &look.bar(&line.share));
        text.push_str(&format!(
            "    {backend:w0$}  {share:>w1$}  {percent:>w2$}  {bar}  {number:w3$}  {stored:w4$}  {off:w5$}  {}\n",
            line.why
        ));
    }
    if let Some(slots) = &explained.slots {
        const SHOWN: usize = 16;
        let turn: Vec<String> =
            slots.iter().take(SHOWN).map(|slot| explained.lines[*slot as usize].backend.to_string()).collect();
        let more = if slots.len() > SHOWN { ", …" } else { ", and again" };
        text.push_str(&format!("    in turn: {}{more}\n", turn.join(", ")));
    }
    text
}

/// `0`, or the distance with its sign: `+7.8e-11`.
fn off_by(line: &Line) -> String {
    let error = line.error();
    match error.is_zero() {
        true => "0".to_owned(),
        false => {
            let sign = if error.is_positive() { '+' } else { '−' };
            format!("{sign}{:.1e}", error.abs().to_f64().unwrap_or(0.0))
        }
    }
}

/// `tcp,udp 203.0.113.10:80,443`
fn listener(service: &Service) -> String {
    let protocols: Vec<&str> = service.protocols.iter().map(|protocol| protocol.name()).collect();
    let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
    let destinations: Vec<String> = service.destinations.iter().map(destination).collect();
    let destinations = match destinations.as_slice() {
        [only] => only.clone(),
        [..] => format!("{{{}}}", destinations.join(", ")),
    };
    format!("{} {destinations}:{}", protocols.join(","), ports.join(","))
}

fn destination(destination: &Destination) -> String {
    match destination {
        Destination::Local => "local".to_owned(),
        Destination::Any => "*".to_owned(),
        Destination::Prefix(net) if Family::of_net(*net) == Family::V6 => {
            format!("[{}]", crate::statement::net::show(*net))
        }
        Destination::Prefix(net) => crate::statement::net::show(*net),
    }
}

/// What else has to hold before the service gets a connection.
fn conditions(service: &Service) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(on) = &service.on {
        let names: Vec<String> = on
            .interfaces
            .iter()
            .map(|interface| match interface {
                Interface::Exact(name) => name.clone(),
                Interface::Prefix(start) => format!("{start}*"),
            })
            .collect();
        list.push(format!("{} {}", if on.not { "not on" } else { "only on" }, names.join(", ")));
    }
    if let Some(from) = &service.from {
        let nets: Vec<String> =
            from.nets.v4.iter().chain(&from.nets.v6).map(|net| crate::statement::net::show(*net)).collect();
        let others = match from.otherwise {
            None => "the others go on to the next statement",
            Some(Else::Drop) => "the others are dropped",
            Some(Else::Reject) => "the others are rejected",
        };
        let nets = if nets.is_empty() { "no address".to_owned() } else { nets.join(", ") };
        list.push(format!("{} {nets}; {others}", if from.not { "not from" } else { "only from" }));
    }
    if service.output {
        list.push("also connections that this machine opens".to_owned());
    }
    list.extend(options::lines(service));
    list
}

fn algorithm(service: &Service) -> String {
    match service.algorithm {
        Algorithm::Random => "by random".to_owned(),
        Algorithm::RoundRobin => "by round-robin".to_owned(),
        Algorithm::SourceHash(hash) => format!("by source-hash, {} buckets", hash.levels.buckets()),
    }
}

// ---- for programs ---------------------------------------------------------------------------------------------------

#[derive(Serialize)]
struct Json {
    format_version: &'static str,
    target: &'static str,
    services: Vec<JsonService>,
}

#[derive(Serialize)]
struct JsonService {
    service: String,
    origin: String,
    listener: String,
    algorithm: String,
    options: options::JsonOptions,
    families: Vec<JsonFamily>,
}

#[derive(Serialize)]
struct JsonFamily {
    family: &'static str,
    /// `balance`, `drained` or `closed`.
    state: &'static str,
    backends: Vec<JsonBackend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<Vec<String>>,
}

#[derive(Serialize)]
struct JsonBackend {
    action: &'static str,
    to: String,
    share: String,
    probability: f64,
    /// The exact difference of the two.
    error: String,
    number: Option<String>,
    stored: Option<String>,
    why: String,
}

fn json(config: &Config, explaining: &Explaining) -> JsonService {
    let Explaining { service, form } = *explaining;
    let families = Family::ALL.into_iter().filter_map(|family| {
        let name = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let (state, explained) = match service.body(family)? {
            Body::Closed => ("closed", None),
            Body::Drained(_) => ("drained", None),
            Body::Balance(group) => ("balance", explain(group, service.algorithm, *form.get(family))),
        };
        let explained = explained.unwrap_or(Explained { lines: Vec::new(), slots: None });
        let slot = |slot: &u32| explained.lines[*slot as usize].backend.to_string();
        let sequence = explained.slots.as_ref().map(|slots| slots.iter().map(slot).collect());
        Some(JsonFamily { family: name, state, backends: explained.lines.iter().map(backend).collect(), sequence })
    });
    JsonService {
        service: service.name.clone(),
        origin: config.origin(service),
        listener: listener(service),
        algorithm: algorithm(service),
        options: options::json(service),
        families: families.collect(),
    }
}

fn backend(line: &Line) -> JsonBackend {
    JsonBackend {
        action: match line.backend {
            Backend::Server(..) => "dnat",
            Backend::Local(_) => "redirect",
        },
        to: line.backend.to_string(),
        share: line.share.to_string(),
        probability: line.real.to_f64().unwrap_or(0.0),
        error: line.error().to_string(),
        number: line.number.clone(),
        stored: line.stored.clone(),
        why: line.why.clone(),
    }
}
