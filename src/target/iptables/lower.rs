//! From the checked program to rules: who gets a connection ([`dispatch`](crate::dispatch)), and the gate before a service.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use smallvec::smallvec;

use crate::diagnostic::{Code, Diagnostic};
use crate::dispatch::Hook;
use crate::endpoint::PortRange;
use crate::ir::{Backend, BackendPort, Body, Config, Destination, Family, From, Interface as Named, Service};
use crate::option::Else;
use crate::statement::balance::Protocol;
use crate::target::{Layout, Options, StickyStore};

use super::arrange::{Claimed, Place, arrange};
use super::model::{
    Chain, ChainId, ClientSet, Comment, CommentId, HookJump, Interface, Match, Negatable, Rule, Ruleset, Table,
    TableName, Target, Translated, built_in,
};
use super::names::Names;
use super::plant::Garden;
use super::service::Picker;
use super::{behind, front, listen};

/// Lowers a program. The error is everything that iptables cannot do of it.
pub fn lower(config: &Config, options: &Options) -> Result<Ruleset, Vec<Diagnostic>> {
    let store = options.sticky_store;
    let mut errors: Vec<Diagnostic> =
        config.services().iter().flat_map(|service| front::check(service, store)).collect();
    // Only programs that keep anyone out need to be looked through.
    let sinks = if config.services().iter().any(needs_sinks) { free_ports(config) } else { [9, 10] };
    errors.extend(sinks_in_the_way(config, sinks));
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut lowering = Lowering::new(config, options, sinks);
    lowering.services();
    lowering.sinks();
    behind::postrouting(config, options.layout, &mut lowering.nat, &mut lowering.hooks);
    let filter = lowering.filter();
    if !lowering.nat.errors.is_empty() {
        return Err(lowering.nat.errors);
    }
    let families: Vec<Family> = Family::ALL.into_iter().filter(|family| config.uses(*family)).collect();
    let nat = Table { name: TableName::Nat, chains: lowering.nat.chains, hooks: lowering.hooks };
    Ok(Ruleset {
        families,
        prefix: lowering.nat.names.prefix().to_owned(),
        forwards: forwards(config),
        tables: filter.into_iter().chain([nat]).collect(),
        sets: lowering.nat.sets.into_iter().collect(),
        comments: lowering.nat.comments,
    })
}

/// Whether any backend is another machine.
fn forwards(config: &Config) -> bool {
    config.services().iter().any(|service| {
        Family::ALL.into_iter().any(|family| match service.body(family) {
            Some(Body::Balance(group)) => group.backends.iter().any(|b| matches!(b, Backend::Server(..))),
            Some(Body::Closed | Body::Drained(_)) | None => false,
        })
    })
}

/// The chains of the nat table while they grow.
pub struct NatChains {
    pub names: Names,
    pub chains: Vec<Chain>,
    /// The first are those of the services, in order.
    pub comments: Vec<Comment>,
    pub sets: BTreeSet<ClientSet>,
    pub errors: Vec<Diagnostic>,
    /// The chains that stages of the dispatch begin with, by name.
    pub stages: BTreeMap<&'static str, Vec<ChainId>>,
    /// The chains behind the translation, by service and suffix.
    behind: BTreeMap<(u32, &'static str), ChainId>,
}

impl NatChains {
    pub fn add(&mut self, name: super::model::ChainName) -> ChainId {
        self.chains.push(Chain { name, v4: Vec::new(), v6: Vec::new() });
        ChainId(self.chains.len() as u32 - 1)
    }

    /// A comment beside those of the services.
    pub fn comment(&mut self, text: String) -> CommentId {
        self.comments.push(Comment::new(text));
        CommentId(self.comments.len() as u32 - 1)
    }

    /// A chain of a service behind the translation; both families share it.
    pub fn behind(&mut self, index: u32, service: &str, suffix: &'static str) -> ChainId {
        if let Some(chain) = self.behind.get(&(index, suffix)) {
            return *chain;
        }
        let name = self.names.service(service, suffix);
        let chain = self.add(name);
        self.behind.insert((index, suffix), chain);
        chain
    }

    /// Makes room for as many rules as a service is going to have: its chain never gets others.
    pub fn reserve(&mut self, chain: ChainId, family: Family, rules: usize) {
        self.chains[chain.0 as usize].rules_mut(family).reserve_exact(rules);
    }

    pub fn push(&mut self, chain: ChainId, family: Family, rule: Rule) {
        self.chains[chain.0 as usize].rules_mut(family).push(rule);
    }
}

/// How the dispatch reaches a service in a family.
#[derive(Clone, Debug)]
pub struct Entry {
    pub target: Target,
    /// A single `from` net is tested in the dispatch itself.
    pub source: Option<Negatable<IpNet>>,
}

/// What a connection that may not go on is sent to: a port that nothing listens on, where filter rejects or drops it.
struct Sinks {
    reject: Sink,
    drop: Sink,
}

struct Sink {
    port: u16,
    chain: ChainId,
    used: BTreeSet<(Family, Protocol)>,
}

struct Lowering<'a> {
    config: &'a Config,
    nat: NatChains,
    hooks: Vec<HookJump>,
    sinks: Sinks,
    store: StickyStore,
    layout: Layout,
}

impl<'a> Lowering<'a> {
    fn new(config: &'a Config, options: &Options, ports: [u16; 2]) -> Lowering<'a> {
        let mut nat = NatChains {
            names: Names::new(options.instance.as_ref()),
            chains: Vec::new(),
            comments: config.services().iter().map(|service| Comment::new(config.label(service))).collect(),
            sets: BTreeSet::new(),
            errors: Vec::new(),
            stages: BTreeMap::new(),
            behind: BTreeMap::new(),
        };
        let mut hooks = Vec::new();
        for hook in Hook::ALL {
            if hook == Hook::Output && !config.services().iter().any(|service| service.output) {
                continue;
            }
            let name = nat.names.fixed(built_in(hook));
            hooks.push(HookJump { built_in: built_in(hook), chain: nat.add(name) });
        }
        let (reject, drop) = (nat.names.fixed("REJECT"), nat.names.fixed("DROP"));
        let sink = |port, chain| Sink { port, chain, used: BTreeSet::new() };
        let sinks = Sinks { reject: sink(ports[0], nat.add(reject)), drop: sink(ports[1], nat.add(drop)) };
        Lowering { config, nat, hooks, sinks, store: options.sticky_store, layout: options.layout }
    }

    fn services(&mut self) {
        let mut entries: Vec<[Option<Entry>; 2]> = Vec::with_capacity(self.config.services().len());
        for (index, service) in self.config.services().iter().enumerate() {
            let mut picker = Picker::new(service, CommentId(index as u32), self.store, self.layout);
            entries.push(Family::ALL.map(|family| self.entry(service, family, &mut picker)));
        }
        let chains = self.hooks.iter().map(|jump| jump.chain);
        let chains: Vec<(Hook, ChainId)> = Hook::ALL.into_iter().zip(chains).collect();
        listen::dispatch(self.config, &entries, self.layout, &chains, &mut self.nat);
    }

    /// Makes a service's chains in a family, and says how the dispatch reaches them.
    fn entry(&mut self, service: &Service, family: Family, picker: &mut Picker<'_>) -> Option<Entry> {
        let body = service.body(family)?;
        self.check_interfaces(service);
        let from = service.from.as_ref().filter(|from| !from.allows_all(family));
        let sink = match (body, from) {
            (Body::Closed, _) => Some(service.from.as_ref().and_then(|from| from.otherwise)?),
            (_, Some(from)) if from.allows_none(family) => Some(from.otherwise?),
            (Body::Drained(_), _) => Some(Else::Reject),
            (Body::Balance(_), _) => None,
        };
        let all_kept_out = matches!(body, Body::Closed) || from.is_some_and(|from| from.allows_none(family));
        let from = if all_kept_out { None } else { from };
        let excluded = excluded_interfaces(service);
        let (source, tests, gate) = self.source_tests(service, family, from, picker);
        let returns = !excluded.is_empty() || (source.is_none() && from.is_some_and(|from| from.otherwise.is_none()));
        let enter = |chain| if returns { Target::Jump(chain) } else { Target::Goto(chain) };
        let plain = excluded.is_empty() && tests.is_empty() && gate.is_none();
        let before = if gate.is_none() { [excluded.clone(), tests.clone()].concat() } else { Vec::new() };
        // Where connections go that pass, and whether the tests before that are part of it.
        let (end, tested) = match (sink, body) {
            (Some(otherwise), Body::Drained(_)) if !all_kept_out && picker.sees() => {
                let chain = picker.chain(&mut self.nat, "");
                self.push_all(chain, family, before, picker.comment);
                picker.see(&mut self.nat, family, chain);
                let target = Target::Goto(self.sink(otherwise, service, family));
                self.push_all(chain, family, vec![Rule { target, ..Rule::default() }], picker.comment);
                (Target::Goto(chain), true)
            }
            (Some(otherwise), _) => (Target::Goto(self.sink(otherwise, service, family)), false),
            (None, Body::Balance(group)) => match picker.direct(group) {
                Some(target) if plain => (target, true),
                Some(_) | None => {
                    let chain = picker.chain(&mut self.nat, "");
                    self.push_all(chain, family, before, picker.comment);
                    picker.see(&mut self.nat, family, chain);
                    self.limits(family, chain, picker);
                    picker.pick(&mut self.nat, family, chain, group);
                    (Target::Goto(chain), true)
                }
            },
            (None, Body::Closed | Body::Drained(_)) => unreachable!("both have a sink"),
        };
        let target = match (gate, end) {
            (Some(gate), end) => {
                self.push_all(gate.chain, family, excluded, picker.comment);
                let allow =
                    gate.nets.into_iter().map(|net| Rule { source: Some(net), target: end.clone(), ..Rule::default() });
                self.push_all(gate.chain, family, allow.collect(), picker.comment);
                if let Some(otherwise) = from.and_then(|from| from.otherwise) {
                    let target = Target::Goto(self.sink(otherwise, service, family));
                    self.push_all(gate.chain, family, vec![Rule { target, ..Rule::default() }], picker.comment);
                }
                enter(gate.chain)
            }
            (None, end) if plain => end,
            (None, Target::Goto(chain)) if tested => enter(chain),
            (None, end) => {
                // Tests before a sink need a chain of their own.
                let chain = picker.chain(&mut self.nat, "");
                let rules = [excluded, tests, vec![Rule { target: end, ..Rule::default() }]].concat();
                self.push_all(chain, family, rules, picker.comment);
                enter(chain)
            }
        };
        Some(Entry { target, source })
    }

    /// The rules that send the surplus away.
    fn limits(&mut self, family: Family, chain: ChainId, picker: &Picker<'_>) {
        let prefix = self.nat.names.prefix().to_owned();
        let rules = picker
            .front(family, &prefix)
            .limits(picker.comment, |otherwise| self.sink(otherwise, picker.service(), family));
        self.push_all(chain, family, rules, picker.comment);
    }

    fn push_all(&mut self, chain: ChainId, family: Family, rules: Vec<Rule>, comment: CommentId) {
        for rule in rules {
            self.nat.push(chain, family, Rule { comment: Some(comment), ..rule });
        }
    }

    /// What `from` tests: in the dispatch, at the top of the service's chain, or in a gate before it.
    fn source_tests(
        &mut self,
        service: &Service,
        family: Family,
        from: Option<&From>,
        picker: &mut Picker<'_>,
    ) -> (Option<Negatable<IpNet>>, Vec<Rule>, Option<Gate>) {
        let Some(from) = from else { return (None, Vec::new(), None) };
        let nets = from.nets.get(family);
        let net = |not, value: &IpNet| Negatable { not, value: *value };
        let rules = |not: bool, target: Target| -> Vec<Rule> {
            nets.iter()
                .map(|value| Rule { source: Some(net(not, value)), target: target.clone(), ..Rule::default() })
                .collect()
        };
        match (from.otherwise, from.not, nets.as_slice()) {
            (None, not, [only]) => (Some(net(not, only)), Vec::new(), None),
            (None, true, _) => (None, rules(false, Target::Return), None),
            (Some(otherwise), true, _) => {
                let target = Target::Goto(self.sink(otherwise, service, family));
                (None, rules(false, target), None)
            }
            (Some(otherwise), false, [_]) => {
                let target = Target::Goto(self.sink(otherwise, service, family));
                (None, rules(true, target), None)
            }
            (_, false, _) => {
                let chain = picker.chain(&mut self.nat, "/from");
                (None, Vec::new(), Some(Gate { chain, nets: nets.iter().map(|value| net(false, value)).collect() }))
            }
        }
    }

    fn check_interfaces(&mut self, service: &Service) {
        let Some(on) = &service.on else { return };
        for named in &on.interfaces {
            let name = match named {
                Named::Exact(name) | Named::Prefix(name) => name,
            };
            let (error, help) = match named {
                Named::Exact(name) if name.ends_with('+') => {
                    ("iptables would read its `+` as `*`", "rename the interface, or use the nft target".to_owned())
                }
                Named::Prefix(name) if name.len() >= 15 => (
                    "iptables needs one byte for the `*`",
                    format!("write `{name}` without the `*`: no interface has a longer name"),
                ),
                Named::Exact(_) | Named::Prefix(_) => continue,
            };
            self.nat.errors.push(
                Diagnostic::error(
                    Code::TargetLimit,
                    service.loc,
                    format!("the interface `{name}` cannot be matched: {error}"),
                )
                .help(help),
            );
        }
    }

    /// The chain that keeps a service's connections out, which filter has to finish.
    fn sink(&mut self, otherwise: Else, service: &Service, family: Family) -> ChainId {
        let sink = match otherwise {
            Else::Reject => &mut self.sinks.reject,
            Else::Drop => &mut self.sinks.drop,
        };
        sink.used.extend(service.protocols.iter().map(|&protocol| (family, protocol)));
        sink.chain
    }

    /// Fills the sinks' chains, and takes out those that nothing needs.
    fn sinks(&mut self) {
        for sink in [&self.sinks.reject, &self.sinks.drop] {
            for &(family, protocol) in &sink.used {
                let rule = Rule { protocol: Some(protocol), target: Target::Redirect(sink.port), ..Rule::default() };
                self.nat.push(sink.chain, family, rule);
            }
        }
        let unused: Vec<ChainId> = [&self.sinks.reject, &self.sinks.drop]
            .into_iter()
            .filter(|sink| sink.used.is_empty())
            .map(|sink| sink.chain)
            .collect();
        remove(&mut self.nat.chains, &mut self.hooks, &unused);
    }

    /// The filter table: what was sent to a sink is rejected or dropped on its way in.
    fn filter(&mut self) -> Option<Table> {
        let (mut chains, mut hooks) = (Vec::new(), Vec::new());
        for family in Family::ALL {
            let mut list = Vec::new();
            for (index, service) in self.config.services().iter().enumerate() {
                for otherwise in kept_out(service, family) {
                    let (sink, target) = match otherwise {
                        Else::Reject => (&self.sinks.reject, Target::Reject),
                        Else::Drop => (&self.sinks.drop, Target::Drop),
                    };
                    list.extend(claimed(service, family, sink.port, &target, CommentId(index as u32)));
                }
            }
            if list.is_empty() {
                continue;
            }
            let chain = behind::hook("INPUT", &mut self.nat.names, &mut chains, &mut hooks);
            let mut garden = Garden { names: &mut self.nat.names, chains: &mut chains, family };
            arrange(list, self.layout, &Place { name: "IN/", tracked: false }, chain, &mut garden);
        }
        behind::forward(self.config, self.layout, &mut self.nat, &mut chains, &mut hooks);
        (!chains.is_empty()).then_some(Table { name: TableName::Filter, chains, hooks })
    }
}

/// A list of nets before a service, in a chain of its own.
struct Gate {
    chain: ChainId,
    nets: Vec<Negatable<IpNet>>,
}

/// Two ports, `discard` first, that no backend has: a backend's address may be one of this machine's own. Nor may a
/// service that needs them listen there: a REDIRECT that changes nothing sets no DNAT status, which filter asks for.
fn free_ports(config: &Config) -> [u16; 2] {
    let mut used = vec![false; 1 << 16];
    let mut mark = |first: u16, last: u16| used[usize::from(first)..=usize::from(last)].fill(true);
    for service in config.services() {
        if needs_sinks(service) {
            service.ports.iter().for_each(|ports| mark(ports.first(), ports.last()));
        }
        for family in Family::ALL {
            let Some(Body::Balance(group)) = service.body(family) else { continue };
            for backend in &group.backends {
                let (Backend::Local(port) | Backend::Server(_, port)) = backend;
                match *port {
                    // A kept port can be any: with `1-65535` none would be left.
                    BackendPort::Kept => {}
                    BackendPort::Fixed(port) => mark(port, port),
                    BackendPort::Shifted { first, count, .. } => mark(first, first + (count - 1)),
                }
            }
        }
    }
    let mut free = (9..=u16::MAX).chain(1..9).filter(|port| !used[usize::from(*port)]);
    // Distinct in every case, or what is rejected and what is dropped could not be told apart.
    let reject = free.next().unwrap_or(9);
    [reject, free.next().unwrap_or(if reject == 10 { 9 } else { 10 })]
}

/// Whether any connection of the service may be sent to a sink.
fn needs_sinks(service: &Service) -> bool {
    Family::ALL.into_iter().any(|family| !kept_out(service, family).is_empty())
}

/// LB019 for services that listen on the very port that is left for what they keep out.
fn sinks_in_the_way(config: &Config, sinks: [u16; 2]) -> Vec<Diagnostic> {
    let in_the_way = |service: &&Service| {
        needs_sinks(service) && sinks.iter().any(|sink| service.ports.iter().any(|ports| ports.contains(*sink)))
    };
    let error = |service: &Service| {
        Diagnostic::error(
            Code::UnsupportedOnTarget,
            service.loc,
            "iptables needs two ports that no such service listens on, to reject or drop what is kept out",
        )
        .here("listens on every port that is left")
        .help("leave two ports out, such as 9 and 10 (`1-8,11-65535`), or use the nft target")
    };
    config.services().iter().filter(in_the_way).map(error).collect()
}

pub fn interface(named: &Named) -> Interface {
    match named {
        Named::Exact(name) => Interface { name: name.clone(), prefix: false },
        Named::Prefix(name) => Interface { name: name.clone(), prefix: true },
    }
}

/// `on not A, B`: one rule can hold only one `! -i`, so each goes back to the dispatch.
fn excluded_interfaces(service: &Service) -> Vec<Rule> {
    let list = match &service.on {
        Some(on) if on.not && on.interfaces.len() > 1 => on.interfaces.as_slice(),
        Some(_) | None => &[],
    };
    list.iter()
        .map(|named| Rule {
            interface: Some(Box::new(Negatable { not: false, value: interface(named) })),
            target: Target::Return,
            ..Rule::default()
        })
        .collect()
}

/// What may happen to connections of a service that get no backend.
fn kept_out(service: &Service, family: Family) -> BTreeSet<Else> {
    let mut reasons = BTreeSet::new();
    let Some(body) = service.body(family) else { return reasons };
    let from = service.from.as_ref().filter(|from| !from.allows_all(family));
    if let Some(otherwise) = from.or(service.from.as_ref().filter(|_| *body == Body::Closed)).and_then(|f| f.otherwise)
    {
        reasons.insert(otherwise);
    }
    let reached = !from.is_some_and(|from| from.allows_none(family));
    match body {
        Body::Drained(_) if reached => {
            reasons.insert(Else::Reject);
        }
        Body::Balance(_) if reached => reasons.extend(service.options.surplus()),
        Body::Closed | Body::Drained(_) | Body::Balance(_) => {}
    }
    reasons
}

/// What a service keeps out, by its original destination.
fn claimed(service: &Service, family: Family, sink: u16, target: &Target, comment: CommentId) -> Vec<Claimed> {
    let mut list = Vec::new();
    for &protocol in &service.protocols {
        for destination in service.destinations(family) {
            let destination = match destination {
                Destination::Prefix(net) if net.prefix_len() > 0 => Some(net),
                Destination::Prefix(_) | Destination::Local | Destination::Any => None,
            };
            for &ports in &service.ports {
                let translated =
                    Translated { protocol: None, destination, port: Some(ports), client: None, backend: None };
                let matches = smallvec![Match::Port(single(sink)), Match::Translated(Box::new(translated))];
                let (protocol_of_rule, comment) = (Some(protocol), Some(comment));
                let rule = Rule { protocol: protocol_of_rule, matches, comment, target: target.clone(), ..Rule::EMPTY };
                list.push(Claimed { destination, protocol, ports, rules: vec![rule] });
            }
        }
    }
    list
}

fn single(port: u16) -> PortRange {
    PortRange::single(port).expect("sinks have a port")
}

/// Takes chains out and renumbers what refers to the others.
fn remove(chains: &mut Vec<Chain>, hooks: &mut [HookJump], gone: &[ChainId]) {
    if gone.is_empty() {
        return;
    }
    let mut map = Vec::with_capacity(chains.len());
    let mut next = 0;
    for index in 0..chains.len() as u32 {
        map.push(ChainId(next));
        next += u32::from(!gone.contains(&ChainId(index)));
    }
    let mut index = 0;
    chains.retain(|_| {
        index += 1;
        !gone.contains(&ChainId(index - 1))
    });
    for hook in hooks {
        hook.chain = map[hook.chain.0 as usize];
    }
    for rule in chains.iter_mut().flat_map(|chain| chain.v4.iter_mut().chain(&mut chain.v6)) {
        match &mut rule.target {
            Target::Jump(chain) | Target::Goto(chain) => *chain = map[chain.0 as usize],
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::config;

    fn ports(text: &str) -> [u16; 2] {
        free_ports(&config(text))
    }

    #[test]
    fn sinks_take_no_port_that_a_backend_has() {
        assert_eq!(ports("balance tcp 80 -> 10.0.0.1:8080"), [9, 10]);
        assert_eq!(ports("balance tcp 9001-9009 -> :1-9"), [10, 11]);
        assert_eq!(ports("balance tcp 8080 -> 10.77.0.1:9"), [10, 11]);
        assert_eq!(ports("balance tcp 1-65535 -> 10.77.0.1"), [9, 10]);
        assert_eq!(ports("balance tcp 9 from 10.0.0.0/8 else drop -> 10.77.0.1"), [10, 11]);
        assert_eq!(ports("balance tcp 1-8,11-65535 -> 10.77.0.1 weight 0"), [9, 10]);
    }

    #[test]
    fn a_service_that_leaves_no_port_for_the_sinks_is_an_error() {
        for (text, errors) in [
            ("balance tcp 1-65535 from 10.0.0.0/8 else reject -> 10.77.0.1", 1),
            ("balance tcp 1-65535 -> 10.77.0.1", 0),
            ("balance tcp 1-10,12-65535 from 10.0.0.0/8 else drop -> 10.77.0.1", 1),
        ] {
            let config = config(text);
            assert_eq!(sinks_in_the_way(&config, free_ports(&config)).len(), errors, "{text}");
        }
    }
}
