//! Rules behind the translation, in trees over the original destination where they are many.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use smallvec::smallvec;

use crate::dispatch::{Area, Item, Node, Shape, boxes, tree};
use crate::endpoint::PortRange;
use crate::statement::balance::Protocol;
use crate::target::{Layout, cost};

use super::model::{ChainId, Match, Rule, Target, Translated};
use super::plant::{Garden, Ground};

/// Rules for connections to one original destination, in an order that counts.
pub struct Claimed {
    /// `None` is any.
    pub destination: Option<IpNet>,
    pub protocol: Protocol,
    pub ports: PortRange,
    /// At least one. Each tests all that the claim says.
    pub rules: Vec<Rule>,
}

impl Claimed {
    /// Whether a connection may leave the rules and must meet none behind them.
    fn comes_back(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.target, Target::Return | Target::Goto(_)))
    }

    fn address(&self) -> Option<IpNet> {
        self.destination.filter(|net| net.prefix_len() == net.max_prefix_len())
    }

    fn overlaps(&self, other: &Claimed) -> bool {
        let near = match (self.destination, other.destination) {
            (Some(a), Some(b)) => a.contains(&b) || b.contains(&a),
            (None, _) | (_, None) => true,
        };
        self.protocol == other.protocol && self.ports.overlaps(other.ports) && near
    }
}

/// Comparisons of claims on addresses with wider ones, for each claim, before all stay a list.
const COMPARISONS: usize = 64;

/// How the rules of a tree are named and what they test.
pub struct Place {
    /// In front of the names of chains.
    pub name: &'static str,
    /// Whether `--ctproto` stands for `-p`.
    pub tracked: bool,
}

/// Appends the rules to a chain. What first-match order lets stand in a tree comes first, then the rest in order.
pub fn arrange(list: Vec<Claimed>, layout: Layout, place: &Place, chain: ChainId, garden: &mut Garden<'_>) {
    let count = list.iter().map(|claimed| claimed.rules.len()).sum();
    let at = if cost::looks_up(layout, count) { in_a_tree(&list) } else { BTreeSet::new() };
    let is_found = |claimed: &Claimed| claimed.address().is_some_and(|address| at.contains(&address));
    let (found, rest): (Vec<Claimed>, Vec<Claimed>) = list.into_iter().partition(is_found);
    let shape = Shape { fan_out: cost::FAN_OUT, leaf: cost::LEAF };
    let depth = cost::MAX_DEPTH - ABOVE - BELOW;
    let (items, found): (Vec<Item>, Vec<Vec<Claimed>>) = groups(found).into_iter().unzip();
    if !items.is_empty() {
        let ground = Originals { place, found: &found, overlaps: false };
        ground.plant(&tree(&items, shape, depth), chain, garden);
    }
    // The rest in its order: whatever leaves it leaves all.
    let area = |one: &Claimed| Area::new(one.destination, garden.family, one.protocol, one.ports);
    let areas: Vec<Area> = rest.iter().map(area).collect();
    let many = cost::looks_up(layout, rest.iter().map(|claimed| claimed.rules.len()).sum());
    let tree = if many { boxes(&areas, garden.family, Shape { leaf: cost::BOXES, ..shape }, depth) } else { None };
    let rest: Vec<Vec<Claimed>> = rest.into_iter().map(|claimed| vec![claimed]).collect();
    let ground = Originals { place, found: &rest, overlaps: true };
    match tree {
        Some(tree) => ground.plant(&tree, chain, garden),
        None => {
            let all: Vec<u32> = (0..rest.len() as u32).collect();
            ground.rules(&all).into_iter().for_each(|rule| garden.push(chain, rule));
        }
    }
}

/// Chains before a tree: behind the hook, and the tree's own.
const ABOVE: usize = 2;
/// Chains that rules of claims lead to.
const BELOW: usize = 1;

/// The addresses whose claims may stand before all others: what is tried before them in the list does not meet them, and
/// what may leave them meets nothing behind.
fn in_a_tree(list: &[Claimed]) -> BTreeSet<IpNet> {
    let wide: Vec<(usize, &Claimed)> = list.iter().enumerate().filter(|(_, one)| one.address().is_none()).collect();
    let mut ports: BTreeMap<Protocol, Vec<bool>> = BTreeMap::new();
    for (_, claimed) in &wide {
        let used = ports.entry(claimed.protocol).or_insert_with(|| vec![false; 1 << 16]);
        used[usize::from(claimed.ports.first())..=usize::from(claimed.ports.last())].fill(true);
    }
    let meets = |claimed: &Claimed| {
        let range = usize::from(claimed.ports.first())..=usize::from(claimed.ports.last());
        ports.get(&claimed.protocol).is_some_and(|used| used[range].contains(&true))
    };
    let mut left = COMPARISONS * list.len() + 4096;
    let (mut fits, mut blocked) = (BTreeSet::new(), BTreeSet::new());
    for (at, claimed) in list.iter().enumerate() {
        let Some(address) = claimed.address() else { continue };
        let mut in_the_way = false;
        if meets(claimed) {
            if left < wide.len() {
                in_the_way = true;
            } else {
                left -= wide.len();
                let counts = |other: &usize| *other < at || claimed.comes_back();
                in_the_way = wide.iter().any(|(other, wide)| counts(other) && claimed.overlaps(wide));
            }
        }
        if in_the_way {
            blocked.insert(address);
        }
        fits.insert(address);
    }
    fits.retain(|address| !blocked.contains(address));
    fits
}

/// The claims on one address each: by their ports where these are apart, else all together.
fn groups(list: Vec<Claimed>) -> Vec<(Item, Vec<Claimed>)> {
    let mut by_address: BTreeMap<IpNet, Vec<Claimed>> = BTreeMap::new();
    for claimed in list {
        if let Some(address) = claimed.address() {
            by_address.entry(address).or_default().push(claimed);
        }
    }
    let mut groups = Vec::new();
    for (net, list) in by_address {
        let mut order: Vec<(Protocol, u16, u16)> =
            list.iter().map(|one| (one.protocol, one.ports.first(), one.ports.last())).collect();
        order.sort_unstable();
        if order.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1) {
            for claimed in list {
                let weight = claimed.rules.len();
                groups.push((Item { net, protocol: claimed.protocol, ports: claimed.ports, weight }, vec![claimed]));
            }
        } else {
            let ports = PortRange::new(1, u16::MAX).expect("all ports");
            let weight = list.iter().map(|claimed| claimed.rules.len()).sum();
            groups.push((Item { net, protocol: list[0].protocol, ports, weight }, list));
        }
    }
    groups
}

/// Claims by their original destination.
struct Originals<'a> {
    place: &'a Place,
    found: &'a [Vec<Claimed>],
    overlaps: bool,
}

impl Originals<'_> {
    /// A tree in a chain of its own. Most packets are of no translated connection: one test for them.
    fn plant(&self, tree: &Node, chain: ChainId, garden: &mut Garden<'_>) {
        let start = garden.chain(self.place.name);
        garden.push(chain, Rule { target: Target::Jump(start), ..self.guard(None, ANY) });
        garden.plant(start, tree, self);
    }

    fn guard(&self, protocol: Option<Protocol>, translated: Translated) -> Rule {
        let (protocol, tracked) = if self.place.tracked { (None, protocol) } else { (protocol, None) };
        let translated = Match::Translated(Box::new(Translated { protocol: tracked, ..translated }));
        Rule { protocol, matches: smallvec![translated], ..Rule::EMPTY }
    }
}

const ANY: Translated = Translated { protocol: None, destination: None, port: None, client: None, backend: None };

impl Ground for Originals<'_> {
    fn net(&self, net: IpNet) -> Rule {
        self.guard(None, Translated { destination: Some(net), ..ANY })
    }

    fn ports(&self, protocol: Protocol, ports: PortRange) -> Rule {
        self.guard(Some(protocol), Translated { port: Some(ports), ..ANY })
    }

    fn rules(&self, items: &[u32]) -> Vec<Rule> {
        let claims = items.iter().flat_map(|&index| &self.found[index as usize]);
        claims.flat_map(|claimed| claimed.rules.iter().cloned()).collect()
    }

    fn overlaps(&self) -> bool {
        self.overlaps
    }

    fn name(&self) -> &'static str {
        self.place.name
    }
}
