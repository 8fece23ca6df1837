//! What a service does with its connections, in this order: who is kept out, what is counted and logged, who is too
//! many, who is remembered, and how a backend is picked.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::diagnostic::Diagnostic;
use crate::ir::hash::{DIGITS, SourceHash};
use crate::ir::{Algorithm, Backend, BackendPort, Body, Family, Group, PerFamily, Service};
use crate::option::Else;
use crate::statement::balance::Protocol;
use crate::target::split;
use crate::target::vanishes;

use super::Format;
use super::model::{Chain, Choice, Comment, Destination, Field, Memory, Name, NewPort, Numbers, Pick, Reject, Rule};
use super::model::{Statement, Value, Verdict};
use super::names::{Names, SERVICE, fixed, label};
use super::piece::{goto, kept_out, one, plain};
use super::sticky::Sticky;

/// What a service does to every connection alike, without a chain of its own.
pub enum Shortcut {
    Drop,
    Refuse,
}

impl Shortcut {
    fn of(otherwise: Else) -> Shortcut {
        match otherwise {
            Else::Drop => Shortcut::Drop,
            Else::Reject => Shortcut::Refuse,
        }
    }
}

/// Whether a service needs no chain in a family.
pub fn shortcut(service: &Service, family: Family) -> Option<Shortcut> {
    let from = service.from.as_ref();
    let otherwise = from.and_then(|from| from.otherwise);
    let all_out = from.is_some_and(|from| from.allows_none(family));
    let none_out = from.is_none_or(|from| from.allows_all(family));
    let watched = service.options.counter || service.options.log.is_some();
    match (service.body(family), otherwise) {
        (Some(Body::Closed), Some(otherwise)) => Some(Shortcut::of(otherwise)),
        (Some(Body::Drained(_) | Body::Balance(_)), Some(otherwise)) if all_out => Some(Shortcut::of(otherwise)),
        (Some(Body::Drained(_)), _) if watched => None,
        (Some(Body::Drained(_)), Some(Else::Reject) | None) => Some(Shortcut::Refuse),
        (Some(Body::Drained(_)), Some(Else::Drop)) if none_out => Some(Shortcut::Refuse),
        (Some(Body::Drained(_) | Body::Balance(_) | Body::Closed) | None, _) => None,
    }
}

/// The chain that tells clients at once that nobody is there.
pub fn refuse(name: Name) -> Chain {
    let tcp = one(Field::Protocol, Value::Protocol(Protocol::Tcp));
    let rules = vec![
        plain([tcp, Statement::Reject(Reject::TcpReset)]),
        // In a rule of its own: nft lists it wrongly behind a test of the family.
        plain([Statement::Reject(Reject::PortUnreachable)]),
    ];
    Chain { name, hook: None, rules }
}

/// The families whose connections some chain makes the kernel track: `dnat` those of its own, `redirect` and whatever
/// asks about the connection all.
pub fn translates(chains: &[Chain]) -> PerFamily<bool> {
    let mut found = PerFamily::default();
    let both = PerFamily { v4: true, v6: true };
    for statement in chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Dnat { family, .. } => *found.get_mut(*family) = true,
            Statement::Redirect(_)
            | Statement::Masquerade
            | Statement::Snat(_)
            | Statement::CountOver(_)
            | Statement::Match {
                field: Field::ConnectionState | Field::ConnectionDirection | Field::ConnectionStatus,
                ..
            } => found = both,
            Statement::Match { .. }
            | Statement::Tuple { .. }
            | Statement::Member { .. }
            | Statement::Drawn { .. }
            | Statement::Remember { .. }
            | Statement::Limit(_)
            | Statement::Counter(_)
            | Statement::Log(_)
            | Statement::Lookup { .. }
            | Statement::TakeTurn { .. }
            | Statement::Branch(_)
            | Statement::Reject(_)
            | Statement::Verdict(_) => {}
        }
    }
    found
}

/// What the services of a program are made of.
#[derive(Default)]
pub struct Made {
    pub chains: Vec<Chain>,
    pub counters: Vec<Name>,
    pub memories: Vec<Memory>,
    /// Whether something goes to the chain that refuses.
    pub refuses: bool,
}

/// Makes the chains of a service in a family.
pub struct Maker<'a> {
    pub service: &'a Service,
    pub family: Family,
    pub format: Format,
    name: &'a Name,
    comment: &'a Comment,
    refuse: &'a Name,
    pub made: &'a mut Made,
    /// Behind the service's own chain: of hash levels and of backends.
    parts: Vec<Chain>,
    backends: HashMap<Backend, Name>,
    labels: HashMap<Backend, String>,
    counters: HashMap<Backend, Name>,
    sticky: Sticky,
}

impl<'a> Maker<'a> {
    pub fn new(
        service: &'a Service,
        family: Family,
        format: Format,
        names: &'a Names,
        index: u32,
        made: &'a mut Made,
    ) -> Maker<'a> {
        Maker {
            service,
            family,
            format,
            name: names.service(index, family),
            comment: names.comment(index),
            refuse: &names.refuse,
            made,
            parts: Vec::new(),
            backends: HashMap::new(),
            labels: HashMap::new(),
            counters: HashMap::new(),
            sticky: Sticky::Off,
        }
    }

    /// Appends the service's chain and its parts.
    pub fn make(mut self) -> Result<(), Diagnostic> {
        let mut rules = Vec::with_capacity(2);
        rules.extend(self.outsiders());
        let service = self.service;
        match service.body(self.family) {
            Some(Body::Balance(group)) => {
                rules.extend(self.watching());
                rules.extend(self.limiting());
                let statements = self.balance(group, &mut rules)?;
                rules.push(self.rule(statements));
            }
            Some(Body::Drained(_)) => {
                rules.extend(self.watching());
                let refused = vec![self.end(Else::Reject)];
                rules.push(self.rule(refused));
            }
            Some(Body::Closed) | None => {}
        }
        self.made.chains.push(Chain { name: self.name.clone(), hook: None, rules });
        self.made.chains.append(&mut self.parts);
        Ok(())
    }

    /// The rule for those that `from … else` keeps out.
    fn outsiders(&mut self) -> Option<Rule> {
        let from = self.service.from.as_ref().filter(|from| !from.allows_all(self.family))?;
        let end = self.end(from.otherwise?);
        Some(self.rule(vec![kept_out(from, self.family), end]))
    }

    /// What happens to connections that do not get a backend.
    pub fn end(&mut self, otherwise: Else) -> Statement {
        match otherwise {
            Else::Drop => Statement::Verdict(Verdict::Drop),
            Else::Reject => {
                self.made.refuses = true;
                goto(self.refuse.clone())
            }
        }
    }

    pub fn rule(&self, statements: Vec<Statement>) -> Rule {
        Rule { statements, comment: Some(self.comment.clone()) }
    }

    /// A name for what belongs to the service and is no chain: `web-ip4`, with more behind it.
    pub fn named(&self, suffix: &str) -> Name {
        let chain = self.name.as_str();
        fixed(&format!("{}{suffix}", chain.strip_prefix(SERVICE).unwrap_or(chain)))
    }

    /// The name of what belongs to one backend.
    pub fn named_for(&mut self, part: &str, backend: Backend) -> Name {
        let label = match self.labels.get(&backend) {
            Some(label) => label.clone(),
            None => {
                let taken: HashSet<&str> = self.labels.values().map(String::as_str).collect();
                let label = label(backend, |label| !taken.contains(label));
                self.labels.insert(backend, label.clone());
                label
            }
        };
        self.named(&format!("{part}/{label}"))
    }

    fn balance(&mut self, group: &Group, rules: &mut Vec<Rule>) -> Result<Vec<Statement>, Diagnostic> {
        if let Algorithm::SourceHash(hash) = self.service.algorithm {
            let owners: Vec<Backend> = group.buckets.iter().map(|&index| group.backends[index as usize]).collect();
            return Ok(self.hash(hash, &owners, 0, self.name));
        }
        let vanished = |split::Vanishes(index)| vanishes(self.service, group.backends[index as usize], "nftables");
        let weights = split::weights(&group.members, u64::from(u32::MAX)).map_err(vanished)?;
        let backend = |index: u32| group.backends[index as usize];
        let offered: Vec<Backend> = weights.backends.iter().map(|&index| backend(index)).collect();
        if let Some(only) = uniform(&offered) {
            return Ok(self.direct(only));
        }
        self.sticky = Sticky::new(self, &offered);
        rules.extend(self.remembered(&offered));
        let modulus = u32::try_from(weights.total()).expect("the sum is bounded by the maximum");
        let (pick, choices) = match self.service.algorithm {
            Algorithm::RoundRobin => {
                let slots = split::slots(&weights).into_iter().zip(0..);
                let choices = slots.map(|(index, slot)| (Numbers::one(slot), backend(index))).collect();
                (Pick::InTurn { modulus }, choices)
            }
            Algorithm::Random | Algorithm::SourceHash(_) => {
                let mut first = 0;
                let ranges = weights.backends.iter().zip(&weights.weights).map(|(&index, &weight)| {
                    let numbers = Numbers { first, last: first + (weight - 1) as u32 };
                    first = numbers.last.wrapping_add(1);
                    (numbers, backend(index))
                });
                (Pick::Random { modulus }, ranges.collect())
            }
        };
        Ok(self.choose(pick, choices))
    }

    /// One level of a source hash; below it a chain for each digit whose buckets are not all of one backend.
    fn hash(&mut self, hash: SourceHash, owners: &[Backend], level: u32, chain: &Name) -> Vec<Statement> {
        if let Some(only) = uniform(owners) {
            return self.direct(only);
        }
        let pick = Pick::SourceHash { family: self.family, modulus: DIGITS, seed: hash.level_seed(level) };
        let digits: Vec<&[Backend]> = owners.chunks(owners.len() / DIGITS as usize).collect();
        let whole: Option<Vec<Backend>> = digits.iter().map(|part| uniform(part)).collect();
        if let Some(whole) = whole {
            return self.choose(pick, (0..).map(Numbers::one).zip(whole).collect());
        }
        let mut elements = Vec::with_capacity(digits.len());
        for (digit, part) in (0..).zip(digits) {
            let below = match uniform(part) {
                Some(backend) => self.backend(backend),
                None => {
                    let separator = if level == 0 { "h" } else { "" };
                    let name = fixed(&format!("{chain}-{separator}{digit}"));
                    let at = self.parts.len();
                    self.parts.push(Chain { name: name.clone(), hook: None, rules: Vec::new() });
                    let statements = self.hash(hash, part, level + 1, &name);
                    let rule = self.rule(statements);
                    self.parts[at].rules.push(rule);
                    name
                }
            };
            elements.push((Numbers::one(digit), Verdict::Goto(below)));
        }
        vec![Statement::Branch(Choice { pick, elements })]
    }

    /// A map to addresses where all backends can stand in one, else to a chain for each backend.
    fn choose(&mut self, pick: Pick, choices: Vec<(Numbers, Backend)>) -> Vec<Statement> {
        if self.service.options.counter || !matches!(self.sticky, Sticky::Off) {
            return self.branch(pick, choices);
        }
        let family = self.family;
        let kept: Option<Vec<(Numbers, IpAddr)>> = choices
            .iter()
            .map(|(numbers, backend)| match backend {
                Backend::Server(address, BackendPort::Kept) => Some((*numbers, *address)),
                Backend::Server(..) | Backend::Local(_) => None,
            })
            .collect();
        if let Some(elements) = kept {
            return vec![Statement::Dnat { family, to: Destination::Addresses(Choice { pick, elements }) }];
        }
        let fixed: Option<Vec<(Numbers, (IpAddr, u16))>> = choices
            .iter()
            .map(|(numbers, backend)| match backend {
                Backend::Server(address, BackendPort::Fixed(port)) => Some((*numbers, (*address, *port))),
                Backend::Server(..) | Backend::Local(_) => None,
            })
            .collect();
        if let Some(elements) = fixed {
            let to = Destination::Endpoints(Choice { pick, elements });
            return vec![self.protocols(), Statement::Dnat { family, to }];
        }
        self.branch(pick, choices)
    }

    /// A map to a chain for each backend.
    fn branch(&mut self, pick: Pick, choices: Vec<(Numbers, Backend)>) -> Vec<Statement> {
        let elements = choices.into_iter().map(|(numbers, backend)| (numbers, Verdict::Goto(self.backend(backend))));
        let elements = elements.collect();
        vec![Statement::Branch(Choice { pick, elements })]
    }

    /// The chain of one backend.
    pub fn backend(&mut self, backend: Backend) -> Name {
        if let Some(name) = self.backends.get(&backend) {
            return name.clone();
        }
        let name = fixed(&format!("{}-b{}", self.name, self.backends.len() + 1));
        self.backends.insert(backend, name.clone());
        let at = self.parts.len();
        self.parts.push(Chain { name: name.clone(), hook: None, rules: Vec::new() });
        let mut rules = self.remembering(backend);
        let statements = self.direct(backend);
        rules.push(self.rule(statements));
        self.parts[at].rules = rules;
        name
    }

    /// NAT to one backend, and its counter.
    fn direct(&mut self, backend: Backend) -> Vec<Statement> {
        let (Backend::Server(_, port) | Backend::Local(port)) = backend;
        let port = self.port(port);
        // nft takes a port only behind a test of the protocol.
        let mut statements = match port {
            NewPort::Kept => Vec::with_capacity(1),
            NewPort::Fixed(_) | NewPort::Mapped { .. } | NewPort::Listed { .. } => vec![self.protocols()],
        };
        if self.service.options.counter {
            statements.push(Statement::Counter(self.counter(backend)));
        }
        statements.push(match backend {
            Backend::Server(address, _) => Statement::Dnat { family: self.family, to: Destination::One(address, port) },
            Backend::Local(_) => Statement::Redirect(port),
        });
        statements
    }

    /// The counter of a backend.
    fn counter(&mut self, backend: Backend) -> Name {
        if let Some(name) = self.counters.get(&backend) {
            return name.clone();
        }
        let name = self.named_for("", backend);
        self.counters.insert(backend, name.clone());
        self.made.counters.push(name.clone());
        name
    }

    pub fn remembers(&self) -> &Sticky {
        &self.sticky
    }

    fn port(&self, port: BackendPort) -> NewPort {
        match port {
            BackendPort::Kept => NewPort::Kept,
            BackendPort::Fixed(port) => NewPort::Fixed(port),
            BackendPort::Shifted { listen, first, count } => {
                let field = match self.service.protocols[..] {
                    [only] => Field::Port(only),
                    _ => Field::AnyPort,
                };
                NewPort::Mapped { field, ports: (0..count).map(|nth| (listen + nth, first + nth)).collect() }
            }
        }
    }

    /// The protocol is one of the service's.
    pub fn protocols(&self) -> Statement {
        let values = self.service.protocols.iter().map(|&protocol| Value::Protocol(protocol)).collect();
        Statement::Match { field: Field::Protocol, negated: false, values }
    }
}

/// The backend that is all of them.
fn uniform(owners: &[Backend]) -> Option<Backend> {
    let first = *owners.first()?;
    owners.iter().all(|owner| *owner == first).then_some(first)
}
