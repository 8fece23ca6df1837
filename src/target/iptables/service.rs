//! Inside a service: the rules that pick a backend.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt};
use smallvec::smallvec;

use crate::endpoint::PortRange;
use crate::ir::hash::SourceHash;
use crate::ir::{Algorithm, Backend, BackendPort, Family, Group, Service};
use crate::statement::balance::Protocol;
use crate::target::split::{self, Draw, Probability, Turns, Vanishes, Weights};
use crate::target::{Layout, StickyStore, cost, vanishes};

use super::front::Front;
use super::hash::{Level, Next, levels, programs};
use super::lower::NatChains;
use super::model::{ChainId, CommentId, DnatPort, Match, Matches, Rule, Target};

/// Sums of weights stay in 63 bits; a larger one is scaled, far below what a probability can tell apart.
const MAX_TOTAL: u64 = u64::MAX >> 1;

/// Makes the chains of one service, in both families.
pub struct Picker<'a> {
    service: &'a Service,
    pub comment: CommentId,
    /// The service's own chain.
    chain: Option<ChainId>,
    /// The chains behind it, by suffix. Both families share all of them.
    chains: BTreeMap<String, ChainId>,
    /// The first place of a backend that is listed more than once: it has one chain, and one counter.
    places: HashMap<(Family, Backend), u32>,
    store: StickyStore,
    layout: Layout,
    /// The comment of the rule that counts the service's connections.
    counted: Option<CommentId>,
}

impl<'a> Picker<'a> {
    pub fn new(service: &'a Service, comment: CommentId, store: StickyStore, layout: Layout) -> Picker<'a> {
        let (chains, places) = (BTreeMap::new(), HashMap::new());
        Picker { service, comment, chain: None, chains, places, store, layout, counted: None }
    }

    pub fn service(&self) -> &'a Service {
        self.service
    }

    /// What stands before the pick.
    pub fn front<'f>(&self, family: Family, prefix: &'f str) -> Front<'f>
    where
        'a: 'f,
    {
        Front { service: self.service, family, prefix, store: self.store }
    }

    /// Whether connections are counted or logged, even those of a drained service.
    pub fn sees(&self) -> bool {
        self.service.options.counter || self.service.options.log.is_some()
    }

    /// Appends the rules that count and log.
    pub fn see(&mut self, nat: &mut NatChains, family: Family, chain: ChainId) {
        if !self.sees() {
            return;
        }
        if self.service.options.counter && self.counted.is_none() {
            let label = nat.comments[self.comment.0 as usize].as_str();
            self.counted = Some(nat.comment(format!("{label}: new connections")));
        }
        let rules = self.front(family, "").seen(self.counted, self.comment);
        rules.into_iter().for_each(|rule| nat.push(chain, family, rule));
    }

    /// Whether a backend's chain does more than to translate.
    fn wraps(&self) -> bool {
        self.service.options.counter || self.service.options.sticky.is_some()
    }

    /// The service's chain (no suffix), or one of those behind it.
    pub fn chain(&mut self, nat: &mut NatChains, suffix: &str) -> ChainId {
        let known = if suffix.is_empty() { self.chain } else { self.chains.get(suffix).copied() };
        known.unwrap_or_else(|| {
            let name = nat.names.service(&self.service.name, suffix);
            let chain = nat.add(name);
            match suffix.is_empty() {
                true => self.chain = Some(chain),
                false => {
                    self.chains.insert(suffix.to_owned(), chain);
                }
            }
            chain
        })
    }

    /// The target of a service that needs no chain: one backend, and one rule for it.
    pub fn direct(&self, group: &Group) -> Option<Target> {
        // The weights do not matter to the question, and most services have two at once.
        if self.wraps() || self.sees() || self.service.options.limits() {
            return None;
        }
        if group.members.iter().filter(|member| member.weight > 0).nth(1).is_some() {
            return None;
        }
        let weights = split::weights(&group.members, MAX_TOTAL).ok()?;
        match weights.backends.as_slice() {
            [only] => target(group.backends[*only as usize]),
            [..] => None,
        }
    }

    /// Appends the rules that pick a backend of `group`. Every connection that reaches them is taken.
    pub fn pick(&mut self, nat: &mut NatChains, family: Family, chain: ChainId, group: &Group) {
        let weights = match split::weights(&group.members, MAX_TOTAL) {
            Ok(weights) => weights,
            Err(Vanishes(index)) => return self.vanishes(nat, group, index),
        };
        self.known(nat, family, chain, group, &weights);
        match self.service.algorithm {
            Algorithm::Random => self.random(nat, family, chain, group, weights),
            Algorithm::RoundRobin => {
                let turns = split::turns(&split::slots(&weights), cost::turns(self.layout));
                self.turns(nat, family, chain, group, &turns, "/t");
            }
            Algorithm::SourceHash(hash) => match family {
                Family::V4 => match levels(hash, &group.buckets) {
                    Next::Backend(index) => self.one(nat, family, chain, group, index, Matches::new()),
                    Next::Level(_, level) => self.level(nat, family, chain, group, &level, "/h"),
                },
                Family::V6 => self.bpf(nat, chain, group, &weights, hash),
            },
        }
    }

    /// Appends the rules that send known clients to their backends.
    fn known(&mut self, nat: &mut NatChains, family: Family, chain: ChainId, group: &Group, weights: &Weights) {
        // With one backend there is nothing to choose.
        if self.service.options.sticky.is_none() || weights.backends.len() < 2 {
            return;
        }
        let prefix = nat.names.prefix().to_owned();
        for &index in &weights.backends {
            let backend = group.backends[index as usize];
            let Some(known) = self.front(family, &prefix).known(backend) else { return };
            let target = Target::Goto(self.backend_chain(nat, family, group, index));
            nat.push(
                chain,
                family,
                Rule { matches: smallvec![known], comment: Some(self.comment), target, ..Rule::EMPTY },
            );
        }
    }

    fn vanishes(&self, nat: &mut NatChains, group: &Group, index: u32) {
        nat.errors.push(vanishes(self.service, group.backends[index as usize], "iptables"));
    }

    /// A counter for each rule: it takes the first of every so many connections that the rules before it left. Of many
    /// slots, the first rules lead to chains for a part of them each, and the last part stands behind these rules.
    fn turns(
        &mut self,
        nat: &mut NatChains,
        family: Family,
        chain: ChainId,
        group: &Group,
        turns: &Turns,
        suffix: &str,
    ) {
        let counter = |every: usize| match every {
            1 => Matches::new(),
            _ => Matches::from_buf([Match::Nth { every: every as u32 }]),
        };
        let parts = match turns {
            Turns::Cascade(slots) => {
                for (nth, &index) in slots.iter().enumerate() {
                    self.one(nat, family, chain, group, index, counter(slots.len() - nth));
                }
                return;
            }
            Turns::Parts(parts) => parts,
        };
        let mut below = Vec::with_capacity(parts.len());
        for (nth, part) in parts.iter().enumerate() {
            let matches = counter(parts.len() - nth);
            match part {
                _ if nth + 1 == parts.len() => {
                    self.turns(nat, family, chain, group, part, &format!("{suffix}{nth}."));
                }
                Turns::Cascade(slots) if slots.len() == 1 => {
                    self.one(nat, family, chain, group, slots[0], matches);
                }
                Turns::Cascade(_) | Turns::Parts(_) => {
                    let suffix = format!("{suffix}{nth}.");
                    let chain_below = self.chain(nat, suffix.trim_end_matches('.'));
                    let target = Target::Goto(chain_below);
                    nat.push(chain, family, Rule { matches, comment: Some(self.comment), target, ..Rule::EMPTY });
                    below.push((chain_below, part, suffix));
                }
            }
        }
        for (chain, part, suffix) in below {
            self.turns(nat, family, chain, group, part, &suffix);
        }
    }

    /// A cascade: each rule takes its share of what the rules before it left, the last one takes the rest. Of many
    /// backends, the first rules lead to chains for a part of them each, and the last part stands behind these rules.
    fn random(&mut self, nat: &mut NatChains, family: Family, chain: ChainId, group: &Group, weights: Weights) {
        let ways = cost::ways(self.layout, weights.backends.len());
        match split::draw(weights, cost::cascade(self.layout), ways) {
            Ok(draw) => self.draw(nat, family, chain, group, &draw, "/p"),
            Err(Vanishes(index)) => self.vanishes(nat, group, index),
        }
    }

    fn draw(&mut self, nat: &mut NatChains, family: Family, chain: ChainId, group: &Group, draw: &Draw, suffix: &str) {
        let (parts, probabilities) = match draw {
            Draw::Cascade(weights, probabilities) => {
                return self.cascade(nat, family, chain, group, &weights.backends, probabilities);
            }
            Draw::Parts(parts, probabilities) => (parts, probabilities),
        };
        let mut below = Vec::with_capacity(probabilities.len());
        for (nth, probability) in probabilities.iter().enumerate() {
            let suffix = format!("{suffix}{nth}.");
            let part = self.chain(nat, suffix.trim_end_matches('.'));
            below.push((part, suffix));
            let matches = Matches::from_buf([Match::Random(*probability)]);
            let target = Target::Goto(part);
            nat.push(chain, family, Rule { matches, comment: Some(self.comment), target, ..Rule::EMPTY });
        }
        for ((part, suffix), draw) in below.iter().zip(parts) {
            self.draw(nat, family, *part, group, draw, suffix);
        }
        if let Some(last) = parts.last() {
            self.draw(nat, family, chain, group, last, &format!("{suffix}{}.", probabilities.len()));
        }
    }

    fn cascade(
        &mut self,
        nat: &mut NatChains,
        family: Family,
        chain: ChainId,
        group: &Group,
        backends: &[u32],
        probabilities: &[Probability],
    ) {
        // Protocols share no state here, so each has a cascade of its own and no chain for a backend is needed.
        let needed = !self.wraps() && backends.iter().any(|&index| needs_protocol(group.backends[index as usize]));
        let protocols: Vec<Option<Protocol>> = match (needed, self.service.protocols.as_slice()) {
            (_, [only]) if !self.wraps() => vec![Some(*only)],
            (true, list) => list.iter().copied().map(Some).collect(),
            (false, _) => vec![None],
        };
        nat.reserve(chain, family, protocols.len() * backends.len());
        for protocol in protocols {
            for (nth, &index) in backends.iter().enumerate() {
                let matches = match probabilities.get(nth) {
                    Some(&probability) => Matches::from_buf([Match::Random(probability)]),
                    None => Matches::new(),
                };
                let target = self.target(nat, family, group, index);
                let rule = Rule { protocol, matches, comment: Some(self.comment), target, ..Rule::EMPTY };
                nat.push(chain, family, rule);
            }
        }
    }

    /// One rule to a backend, whatever the protocol: one counter or one hash for all of them.
    fn one(
        &mut self,
        nat: &mut NatChains,
        family: Family,
        chain: ChainId,
        group: &Group,
        index: u32,
        matches: Matches,
    ) {
        let backend = group.backends[index as usize];
        let (protocol, target) = match self.service.protocols.as_slice() {
            [only] if !self.wraps() => (Some(*only), self.target(nat, family, group, index)),
            [..] if needs_protocol(backend) => (None, Target::Goto(self.backend_chain(nat, family, group, index))),
            [..] => (None, self.target(nat, family, group, index)),
        };
        nat.push(chain, family, Rule { protocol, matches, comment: Some(self.comment), target, ..Rule::default() });
    }

    /// The rule target of a backend: itself, or a chain where one target cannot say it.
    fn target(&mut self, nat: &mut NatChains, family: Family, group: &Group, index: u32) -> Target {
        match target(group.backends[index as usize]) {
            Some(target) if !self.wraps() => target,
            Some(_) | None => Target::Goto(self.backend_chain(nat, family, group, index)),
        }
    }

    /// The chain of one backend, with a rule for each protocol (and, for a shifted REDIRECT, each port).
    fn backend_chain(&mut self, nat: &mut NatChains, family: Family, group: &Group, index: u32) -> ChainId {
        let backend = group.backends[index as usize];
        let index = *self.places.entry((family, backend)).or_insert(index);
        let chain = self.chain(nat, &format!("/b{}", index + 1));
        if !nat.chains[chain.0 as usize].rules(family).is_empty() {
            return chain;
        }
        if self.service.options.counter {
            let label = nat.comments[self.comment.0 as usize].as_str();
            let comment = Some(nat.comment(format!("{label}: to {backend}")));
            nat.push(chain, family, Rule { comment, target: Target::Count, ..Rule::EMPTY });
        }
        let remember = self.front(family, nat.names.prefix()).remember(backend);
        let set = self.front(family, nat.names.prefix()).client_set(backend);
        nat.sets.extend(set);
        if let Some((matches, target)) = remember {
            nat.push(chain, family, Rule { matches, comment: Some(self.comment), target, ..Rule::EMPTY });
        }
        for &protocol in &self.service.protocols {
            let rule = Rule { protocol: Some(protocol), comment: Some(self.comment), ..Rule::default() };
            match (target(backend), backend) {
                (Some(target), _) => nat.push(chain, family, Rule { target, ..rule }),
                (None, Backend::Local(BackendPort::Shifted { listen, first, count })) => {
                    for offset in 0..count {
                        let port = PortRange::single(listen + offset).expect("a listener's port");
                        let matches = smallvec![Match::Port(port)];
                        let target = Target::Redirect(first + offset);
                        nat.push(chain, family, Rule { matches, target, ..rule.clone() });
                    }
                }
                (None, Backend::Local(_) | Backend::Server(..)) => {
                    unreachable!("only a shifted REDIRECT needs many rules")
                }
            }
        }
        chain
    }

    /// One digit of the hash: masks of nodes lead to backends or to the next digit's chain.
    fn level(
        &mut self,
        nat: &mut NatChains,
        family: Family,
        chain: ChainId,
        group: &Group,
        level: &Level,
        suffix: &str,
    ) {
        for (mask, next) in &level.steps {
            let matches = smallvec![Match::Cluster { mask: *mask, seed: level.seed }];
            self.next(nat, family, chain, group, next, matches, suffix);
        }
        self.next(nat, family, chain, group, &level.rest, Matches::new(), suffix);
    }

    #[allow(clippy::too_many_arguments, reason = "one recursion over the digits")]
    fn next(
        &mut self,
        nat: &mut NatChains,
        family: Family,
        chain: ChainId,
        group: &Group,
        next: &Next,
        matches: Matches,
        suffix: &str,
    ) {
        match next {
            Next::Backend(index) => self.one(nat, family, chain, group, *index, matches),
            Next::Level(digit, level) => {
                let suffix = format!("{suffix}{digit}");
                let inner = self.chain(nat, &suffix);
                let target = Target::Goto(inner);
                nat.push(chain, family, Rule { matches, comment: Some(self.comment), target, ..Rule::default() });
                self.level(nat, family, inner, group, level, &suffix);
            }
        }
    }

    /// IPv6: the buckets of each backend in as many programs as they need; the last backend takes the rest.
    fn bpf(&mut self, nat: &mut NatChains, chain: ChainId, group: &Group, weights: &Weights, hash: SourceHash) {
        let mut buckets: BTreeMap<u32, Vec<u32>> = weights.backends.iter().map(|&index| (index, Vec::new())).collect();
        for (bucket, owner) in (0u32..).zip(&group.buckets) {
            buckets.entry(*owner).or_default().push(bucket);
        }
        let last = buckets.keys().next_back().copied();
        for (&index, buckets) in &buckets {
            if Some(index) == last {
                self.one(nat, Family::V6, chain, group, index, Matches::new());
                continue;
            }
            for program in programs(hash, buckets) {
                self.one(nat, Family::V6, chain, group, index, smallvec![Match::Bpf(program)]);
            }
        }
    }
}

/// Whether the rule to a backend has to name a protocol: ports do not exist without one.
fn needs_protocol(backend: Backend) -> bool {
    match backend {
        Backend::Server(_, BackendPort::Kept) => false,
        Backend::Server(_, BackendPort::Fixed(_) | BackendPort::Shifted { .. }) | Backend::Local(_) => true,
    }
}

/// The one target that sends a connection to a backend, where one can.
fn target(backend: Backend) -> Option<Target> {
    match backend {
        Backend::Server(address, BackendPort::Kept) => Some(Target::Dnat(address, DnatPort::Kept)),
        Backend::Server(address, BackendPort::Fixed(port)) => Some(Target::Dnat(address, DnatPort::Fixed(port))),
        Backend::Server(address, BackendPort::Shifted { listen, first, count }) => {
            let last = first + (count - 1);
            Some(Target::Dnat(address, DnatPort::Shifted { first, last, base: listen }))
        }
        Backend::Local(BackendPort::Fixed(port)) => Some(Target::Redirect(port)),
        Backend::Local(BackendPort::Shifted { .. } | BackendPort::Kept) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::generated::config;
    use crate::target::Options;
    use crate::target::iptables::{Families, Hooks, lower, print_restore};

    #[test]
    fn a_backend_that_is_listed_twice_has_one_counter() {
        let config =
            config("balance tcp 80 by round-robin counter -> 10.0.0.1:80, 10.0.0.2:80, 10.0.0.1:80 weight 2\n");
        let rules = lower(&config, &Options::default()).expect("a correct program");
        let mut text = Vec::new();
        print_restore(&rules, Families::Both, Hooks::Include, &mut text).expect("memory takes every write");
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(text.matches("to 10.0.0.1:80\"").count(), 1, "{text}");
    }
}
