//! How a connection finds its service: as a list of rules in source order, or by trees of chains.
//!
//! The trees come from the cells of [`crate::dispatch`]: a cell knows all statements that may get its connections, so
//! what a tree finds is tried in source order and nothing else matters. Behind the trees stand what cells cannot say and
//! what has no address in its listener, again as a list or as a tree of ports.

use std::collections::HashSet;

use ipnet::IpNet;
use smallvec::smallvec;

use crate::address::{everything, prefixes};
use crate::dispatch::{
    Area, Cell, Hook, Item, Listener, Node, Place, Shape, Test, boxes, exact, listeners, loopback, tests_interface,
    tree, wide,
};
use crate::endpoint::PortRange;
use crate::ir::{Config, Destination, Family, Service};
use crate::statement::balance::Protocol;
use crate::target::{Layout, cost};

use super::lower::{Entry, NatChains, interface};
use super::model::{ChainId, CommentId, DestinationType, Interface, Match, Negatable, Rule, Target};
use super::plant::{Garden, Ground};

/// Ports that a multiport match holds; a range counts as two.
const MULTIPORT: usize = 15;

/// Chains that a connection passes before a tree: behind the hook, that of both hooks, that of the stage.
const ABOVE: usize = 3;

/// Rules for each listener without an address, in a tree of ports, before all are a list instead.
const COPIES: usize = 8;

/// Fills the chains behind the hooks.
pub fn dispatch(
    config: &Config,
    entries: &[[Option<Entry>; 2]],
    layout: Layout,
    chains: &[(Hook, ChainId)],
    nat: &mut NatChains,
) {
    let below = depth_below(nat, entries);
    for family in Family::ALL {
        let lists: Vec<Vec<Listener>> = chains.iter().map(|(hook, _)| listeners(config, family, *hook)).collect();
        let tables: Vec<Option<Vec<Cell>>> = (chains.iter().zip(&lists))
            .map(|((hook, _), list)| {
                let rules = list.chunk_by(same_but_ports).count();
                cost::looks_up(layout, rules).then(|| exact(config, family, *hook))
            })
            .collect();
        // Both hooks share what they look up alike. Connections that this machine opens come by no interface.
        let asks =
            |listener: &Listener| tests_interface(&config.services()[listener.service as usize], Hook::Prerouting);
        let alike = tables.len() == 2 && tables[0].is_some() && tables[0] == tables[1] && lists[0] == lists[1];
        let shared = alike && !lists[0].iter().any(asks);
        for (((hook, chain), list), cells) in chains.iter().zip(&lists).zip(&tables) {
            let view = View { config, entries, family, hook: *hook };
            let mut listening = Listening { view, nat: &mut *nat, below };
            match cells {
                None => listening.list(*chain, list),
                Some(cells) if !shared => listening.trees(*chain, cells, list),
                Some(cells) => {
                    let all = listening.stage("ALL", |rules| rules.is_empty() || *hook == Hook::Output);
                    if *hook == Hook::Prerouting {
                        listening.trees(all, cells, list);
                    }
                    listening.push(*chain, Rule { target: Target::Goto(all), ..Rule::EMPTY });
                }
            }
        }
    }
}

/// The most chains that a connection passes behind the one that its listener leads to, that one included.
fn depth_below(nat: &NatChains, entries: &[[Option<Entry>; 2]]) -> usize {
    let mut known = vec![0; nat.chains.len()];
    let start = entries.iter().flatten().flatten().map(|entry| &entry.target);
    start.map(|target| depth(nat, target, &mut known)).max().unwrap_or(0)
}

/// How many chains lie at and below a target. `known` holds what was found, 0 for nothing.
fn depth(nat: &NatChains, target: &Target, known: &mut [usize]) -> usize {
    let (Target::Jump(chain) | Target::Goto(chain)) = target else { return 0 };
    let at = chain.0 as usize;
    if known[at] == 0 {
        let rules = nat.chains[at].v4.iter().chain(&nat.chains[at].v6);
        let below = rules.map(|rule| depth(nat, &rule.target, known)).max().unwrap_or(0);
        known[at] = 1 + below;
    }
    known[at]
}

/// The listeners of a family on a hook.
struct Listening<'a> {
    view: View<'a>,
    nat: &'a mut NatChains,
    /// Chains that a connection may pass behind the dispatch.
    below: usize,
}

/// What rules for listeners are made from.
struct View<'a> {
    config: &'a Config,
    entries: &'a [[Option<Entry>; 2]],
    family: Family,
    hook: Hook,
}

/// A tree, and what its leaves are made of.
struct Stage<'a> {
    name: &'static str,
    tree: Node,
    found: Vec<Found<'a>>,
}

/// What a leaf of a tree is made of.
enum Found<'a> {
    /// A cell, at one of its prefixes.
    Cell(&'a Cell, IpNet),
    /// Listeners in source order.
    Broad(Vec<Listener>),
}

impl Listening<'_> {
    fn push(&mut self, chain: ChainId, rule: Rule) {
        self.nat.push(chain, self.view.family, rule);
    }

    /// A chain that a stage begins with; both families share it.
    fn stage(&mut self, name: &'static str, fits: impl Fn(&[Rule]) -> bool) -> ChainId {
        let family = self.view.family;
        let NatChains { chains, stages, .. } = &mut *self.nat;
        let fits = |chain: &&ChainId| fits(chains[chain.0 as usize].rules(family));
        if let Some(chain) = stages.entry(name).or_default().iter().find(fits) {
            return *chain;
        }
        let full = self.nat.names.place(name);
        let chain = self.nat.add(full);
        self.nat.stages.entry(name).or_default().push(chain);
        chain
    }

    /// Rules in source order.
    fn list(&mut self, chain: ChainId, list: &[Listener]) {
        for group in list.chunk_by(same_but_ports) {
            let ports: Vec<PortRange> = group.iter().map(|listener| listener.ports).collect();
            for rule in self.view.listener(&group[0], &ports) {
                self.push(chain, rule);
            }
        }
    }

    /// What the cells find, then what has a prefix or a range of ports, then what has no address.
    fn trees(&mut self, chain: ChainId, cells: &[Cell], list: &[Listener]) {
        let family = self.view.family;
        let depth = cost::MAX_DEPTH.saturating_sub(ABOVE + self.below);
        let shape = Shape { fan_out: cost::FAN_OUT, leaf: cost::LEAF };
        let mut stages: Vec<Stage<'_>> = Vec::new();
        let (mut items, mut found) = (Vec::with_capacity(cells.len()), Vec::with_capacity(cells.len()));
        for cell in cells {
            let Place::Addresses(range) = cell.place else { unreachable!("the stage holds cells with addresses") };
            for net in prefixes(family, range.first, range.last) {
                let weight = cell.entries.len();
                items.push(Item { net, protocol: cell.protocol, ports: cell.ports, weight });
                found.push(Found::Cell(cell, net));
            }
        }
        if !items.is_empty() {
            stages.push(Stage { name: "ADDRESSES", tree: tree(&items, shape, depth), found });
        }
        let wide = wide(list);
        let areas: Vec<Area> = wide.iter().map(|listener| Area::of(listener, family)).collect();
        if !wide.is_empty() {
            let tree = boxes(&areas, family, Shape { leaf: cost::BOXES, ..shape }, depth)
                .unwrap_or_else(|| Node::Leaf((0..wide.len() as u32).collect()));
            let found = wide.iter().map(|listener| Found::Broad(vec![*listener])).collect();
            stages.push(Stage { name: "RANGES", tree, found });
        }
        let known: HashSet<u32> = wide.iter().map(|listener| listener.service).collect();
        let broad = |listener: &&Listener| match listener.destination {
            Destination::Prefix(_) => false,
            Destination::Local | Destination::Any => !(known.contains(&listener.service) && wide.contains(listener)),
        };
        let broad: Vec<Listener> = list.iter().filter(broad).copied().collect();
        let listed = match self.by_ports(&broad) {
            Some((items, found)) => {
                stages.push(Stage { name: "PORTS", tree: tree(&items, shape, depth), found });
                Vec::new()
            }
            None => broad,
        };
        let alone = stages.len() == 1 && listed.is_empty();
        for Stage { name, tree, found } in &stages {
            // Nothing stands behind the rules of a leaf that they would have to come back to.
            let start = match matches!(tree, Node::Leaf(_)) || alone {
                true => chain,
                false => {
                    let start = self.stage(name, <[Rule]>::is_empty);
                    self.push(chain, Rule { target: Target::Jump(start), ..Rule::EMPTY });
                    start
                }
            };
            let ground = Cells { view: &self.view, found, overlaps: *name == "RANGES" };
            let NatChains { names, chains, .. } = &mut *self.nat;
            Garden { names, chains, family }.plant(start, tree, &ground);
        }
        self.list(chain, &listed);
    }

    /// Listeners without an address, cut at each other's ports; `None` where they stay a list.
    fn by_ports<'f>(&self, broad: &[Listener]) -> Option<(Vec<Item>, Vec<Found<'f>>)> {
        if broad.chunk_by(same_but_ports).count() <= cost::LEAF {
            return None;
        }
        let net = everything(self.view.family);
        let (mut items, mut found) = (Vec::new(), Vec::new());
        for (protocol, ports, over) in cut_ports(broad, COPIES * broad.len() + 64)? {
            items.push(Item { net, protocol, ports, weight: over.len() });
            found.push(Found::Broad(over));
        }
        Some((items, found))
    }
}

impl View<'_> {
    fn rules(&self, found: &Found<'_>) -> Vec<Rule> {
        match found {
            Found::Cell(cell, net) => self.cell(cell, *net, &[cell.ports]),
            Found::Broad(list) => list.iter().flat_map(|listener| self.listener(listener, &[listener.ports])).collect(),
        }
    }

    /// The rules of a cell in source order.
    fn cell(&self, cell: &Cell, net: IpNet, ports: &[PortRange]) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(cell.entries.len());
        for entry in &cell.entries {
            let base =
                Rule { destination: positive(net), protocol: Some(cell.protocol), ..self.entrance(entry.service) };
            let test = match entry.test {
                Test::Nothing => None,
                Test::Local => Some(DestinationType::Local),
                Test::NotBroadcast => Some(unicast(self.family)),
            };
            rules.extend(self.spread(&base, entry.service, entry.on, ports, test));
        }
        rules
    }

    /// The rules of listeners that differ in nothing but their ports.
    fn listener(&self, listener: &Listener, ports: &[PortRange]) -> Vec<Rule> {
        let service = &self.config.services()[listener.service as usize];
        let mut base = Rule { protocol: Some(listener.protocol), ..self.entrance(listener.service) };
        let test = match listener.destination {
            Destination::Prefix(net) => {
                base.destination = positive(net);
                None
            }
            Destination::Local => Some(DestinationType::Local),
            Destination::Any => Some(unicast(self.family)),
        };
        if test.is_some() && !listener.loopback {
            base.destination = Some(Negatable { not: true, value: loopback(self.family) });
        }
        self.spread(&base, listener.service, tests_interface(service, self.hook), ports, test)
    }

    /// What leads to a service.
    fn entrance(&self, service: u32) -> Rule {
        let entry = self.entries[service as usize][self.family as usize].as_ref();
        let entry = entry.expect("a service that takes part has an entry");
        Rule {
            source: entry.source.clone(),
            comment: Some(CommentId(service)),
            target: entry.target.clone(),
            ..Rule::EMPTY
        }
    }

    /// A rule for each interface and each match of ports.
    fn spread(
        &self,
        base: &Rule,
        service: u32,
        on: bool,
        ports: &[PortRange],
        test: Option<DestinationType>,
    ) -> Vec<Rule> {
        let interfaces = if on { interfaces(&self.config.services()[service as usize]) } else { vec![None] };
        let mut rules = Vec::with_capacity(interfaces.len());
        for interface in interfaces {
            for ports in port_matches(ports) {
                let mut rule = Rule { interface: interface.clone(), ..base.clone() };
                rule.matches.push(ports);
                rule.matches.extend(test.map(Match::DestinationType));
                rules.push(rule);
            }
        }
        rules
    }
}

/// The cells that a tree finds.
struct Cells<'a> {
    view: &'a View<'a>,
    found: &'a [Found<'a>],
    overlaps: bool,
}

impl Ground for Cells<'_> {
    fn net(&self, net: IpNet) -> Rule {
        Rule { destination: positive(net), ..Rule::EMPTY }
    }

    fn ports(&self, protocol: Protocol, ports: PortRange) -> Rule {
        Rule { protocol: Some(protocol), matches: smallvec![Match::Port(ports)], ..Rule::EMPTY }
    }

    fn rules(&self, items: &[u32]) -> Vec<Rule> {
        let list: Vec<&Found<'_>> = items.iter().map(|&index| &self.found[index as usize]).collect();
        let mut rules = Vec::with_capacity(list.len());
        for group in list.chunk_by(|a, b| a.differs_in_ports_alone(b)) {
            match group {
                [Found::Cell(cell, net), _, ..] => {
                    let ports = group.iter().filter_map(|found| match found {
                        Found::Cell(cell, _) => Some(cell.ports),
                        Found::Broad(_) => None,
                    });
                    rules.extend(self.view.cell(cell, *net, &ports.collect::<Vec<_>>()));
                }
                _ => rules.extend(group.iter().flat_map(|found| self.view.rules(found))),
            }
        }
        rules
    }

    fn overlaps(&self) -> bool {
        self.overlaps
    }

    fn name(&self) -> &'static str {
        ""
    }
}

impl Found<'_> {
    fn differs_in_ports_alone(&self, other: &Found<'_>) -> bool {
        match (self, other) {
            (Found::Cell(a, net), Found::Cell(b, other)) => {
                net == other && a.protocol == b.protocol && a.entries == b.entries
            }
            (Found::Cell(..) | Found::Broad(_), _) => false,
        }
    }
}

/// Listeners by protocol and the ports that they have in common, cut at each other's ends; each list in source order.
/// `None` where they would be more than `most` in all.
fn cut_ports(list: &[Listener], most: usize) -> Option<Vec<(Protocol, PortRange, Vec<Listener>)>> {
    let mut cut = Vec::new();
    let mut count = 0;
    for protocol in Protocol::ALL {
        let own: Vec<&Listener> = list.iter().filter(|listener| listener.protocol == protocol).collect();
        let ends = |ports: PortRange| [u32::from(ports.first()), u32::from(ports.last()) + 1];
        // Where listeners begin, and the first port behind each.
        let mut starts: Vec<u32> = own.iter().flat_map(|listener| ends(listener.ports)).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut over: Vec<Vec<Listener>> = vec![Vec::new(); starts.len()];
        for &listener in own {
            let [first, end] = ends(listener.ports).map(|port| starts.partition_point(|start| *start < port));
            count += end - first;
            if count > most {
                return None;
            }
            over[first..end].iter_mut().for_each(|list| list.push(listener));
        }
        for (at, over) in over.into_iter().enumerate().filter(|(_, over)| !over.is_empty()) {
            let ports = PortRange::new(starts[at] as u16, (starts[at + 1] - 1) as u16).expect("ascending ports");
            let clipped = over.into_iter().map(|listener| Listener { ports, ..listener }).collect();
            cut.push((protocol, ports, clipped));
        }
    }
    Some(cut)
}

fn same_but_ports(a: &Listener, b: &Listener) -> bool {
    (a.service, a.protocol, a.destination) == (b.service, b.protocol, b.destination)
}

fn positive(net: IpNet) -> Option<Negatable<IpNet>> {
    (net.prefix_len() > 0).then_some(Negatable { not: false, value: net })
}

fn unicast(family: Family) -> DestinationType {
    match family {
        Family::V4 => DestinationType::NotBroadcastNorMulticast,
        Family::V6 => DestinationType::NotMulticast,
    }
}

/// One match for each listed interface, or one with `!`; several with `!` are tested behind the dispatch.
fn interfaces(service: &Service) -> Vec<Option<Box<Negatable<Interface>>>> {
    match &service.on {
        Some(on) if !on.not || on.interfaces.len() == 1 => {
            let negatable = |named| Negatable { not: on.not, value: interface(named) };
            on.interfaces.iter().map(|named| Some(Box::new(negatable(named)))).collect()
        }
        Some(_) | None => vec![None],
    }
}

/// The fewest matches that cover the ports.
fn port_matches(ports: &[PortRange]) -> Vec<Match> {
    if let [only] = ports {
        return vec![Match::Port(*only)];
    }
    let mut matches = Vec::new();
    let mut chunk: Vec<PortRange> = Vec::new();
    let mut size = 0;
    let mut close = |chunk: &mut Vec<PortRange>| match chunk.as_slice() {
        [] => {}
        [one] => {
            matches.push(Match::Port(*one));
            chunk.clear();
        }
        [..] => matches.push(Match::Multiport(std::mem::take(chunk))),
    };
    for &range in ports {
        let weight = if range.is_single() { 1 } else { 2 };
        if size + weight > MULTIPORT {
            close(&mut chunk);
            size = 0;
        }
        chunk.push(range);
        size += weight;
    }
    close(&mut chunk);
    matches
}
