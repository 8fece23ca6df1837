//! Trees that find the rules for a destination among many: first by prefixes of the address, then by ports.
//!
//! An [`Item`] is what is looked for: a prefix, a protocol and a range of ports. No two items share a connection, so
//! that a tree may try them in any order, and a way through it that ends without a hit ends all of it.
//!
//! A [`Node`] cuts its items into at most [`Shape::fan_out`] parts of about the same weight, as far as prefixes can.
//! Items wider than a part stand in each part that they meet. Where that would copy too much, wide items get a tree of
//! their own, which is asked behind the one with the narrow ones: [`forest`].

use std::cmp::Reverse;

use ipnet::IpNet;

use crate::address::{address, bits, range};
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::statement::balance::Protocol;

/// What a tree looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub net: IpNet,
    pub protocol: Protocol,
    pub ports: PortRange,
    /// How many rules it takes, at least 1.
    pub weight: usize,
}

/// How wide a tree is and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Parts of a node, at least 2; more where no depth is left.
    pub fan_out: usize,
    /// Rules of a leaf, unless they are of one item.
    pub leaf: usize,
}

/// A tree over items, by their indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Leaf(Vec<u32>),
    /// Disjoint prefixes, which hold all items together, and what is below each.
    Nets(Vec<(IpNet, Node)>),
    /// Disjoint ranges of ports.
    Ports(Vec<(Protocol, PortRange, Node)>),
}

impl Node {
    /// Levels of nodes below this one; a leaf has none.
    pub fn depth(&self) -> usize {
        match self {
            Node::Leaf(_) => 0,
            Node::Nets(parts) => 1 + parts.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
            Node::Ports(parts) => 1 + parts.iter().map(|(_, _, node)| node.depth()).max().unwrap_or(0),
        }
    }
}

/// Trees that are asked one after the other and hold all items together, none deeper than `depth`.
///
/// Nodes are wider than the shape says where it would take more depth.
pub fn forest(items: &[Item], shape: Shape, depth: usize) -> Vec<Node> {
    let Some(first) = items.first() else { return Vec::new() };
    let family = Family::of_net(first.net);
    let spans: Vec<(u128, u128)> = items.iter().map(|item| range(item.net)).collect();
    let mut rest: Vec<u32> = (0..items.len() as u32).collect();
    let mut trees = Vec::new();
    while !rest.is_empty() {
        let (now, later) = layer(items, &spans, rest);
        rest = later;
        let mut shape = shape;
        loop {
            let tree = Grower { items, spans: &spans, family, shape }.grow(Part::all(family), now.clone());
            if tree.depth() <= depth || shape.fan_out > items.len() {
                trees.push(tree);
                break;
            }
            shape.fan_out *= 2;
        }
    }
    trees
}

/// Copies of wide items that a tree may hold, for each item.
const COPIES: usize = 4;

/// Those of the items that go into one tree, and those that are too wide for it.
///
/// Items of one prefix stay together. They are too wide where a copy of each for every item inside the prefix would be
/// far more than all of these: a tree of their own is smaller.
fn layer(items: &[Item], spans: &[(u128, u128)], mut list: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
    let span = |index: u32| spans[index as usize];
    list.sort_by_key(|&index| (span(index).0, Reverse(span(index).1), index));
    let (mut now, mut later) = (Vec::with_capacity(list.len()), Vec::new());
    let mut start = 0;
    for group in list.chunk_by(|a, b| span(*a) == span(*b)) {
        let end = start + group.len();
        let last = span(group[0]).1;
        let inside = list[end..].partition_point(|&index| span(index).0 <= last);
        let weight: usize = group.iter().map(|&index| items[index as usize].weight).sum();
        let wide = inside > 0 && weight * inside > COPIES * (weight + inside);
        if wide { &mut later } else { &mut now }.extend_from_slice(group);
        start = end;
    }
    (now, later)
}

/// A prefix as a number and a length.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u128,
    /// Bits that vary inside.
    host_bits: u32,
}

impl Part {
    fn all(family: Family) -> Part {
        Part { first: 0, host_bits: bits(family) }
    }

    fn last(self) -> u128 {
        self.first | mask(self.host_bits)
    }

    /// The lower and the upper half; a single address has none.
    fn halves(self) -> Option<[Part; 2]> {
        let host_bits = self.host_bits.checked_sub(1)?;
        Some([self.first, self.first | 1 << host_bits].map(|first| Part { first, host_bits }))
    }

    fn net(self, family: Family) -> IpNet {
        let length = (bits(family) - self.host_bits) as u8;
        IpNet::new(address(family, self.first), length).expect("a length of the family")
    }
}

fn mask(host_bits: u32) -> u128 {
    if host_bits == u128::BITS { u128::MAX } else { (1 << host_bits) - 1 }
}

/// A part of a node, its items and their weight.
struct Piece {
    part: Part,
    weight: usize,
    /// Whether it can be cut into smaller ones, and need be.
    splits: bool,
    list: Vec<u32>,
}

struct Grower<'a> {
    items: &'a [Item],
    /// The first and last address of each item.
    spans: &'a [(u128, u128)],
    family: Family,
    shape: Shape,
}

impl Grower<'_> {
    fn item(&self, index: u32) -> &Item {
        &self.items[index as usize]
    }

    fn weight(&self, list: &[u32]) -> usize {
        list.iter().map(|&index| self.item(index).weight).sum()
    }

    fn fits(&self, list: &[u32]) -> bool {
        list.len() == 1 || self.weight(list) <= self.shape.leaf
    }

    /// Whether an item holds the whole part.
    fn covers(&self, index: u32, part: Part) -> bool {
        let (first, last) = self.spans[index as usize];
        first <= part.first && part.last() <= last
    }

    /// Only ports tell the items apart.
    fn alike(&self, list: &[u32], part: Part) -> bool {
        list.iter().all(|&index| self.covers(index, part))
    }

    /// The smallest part that holds all items as the whole part does.
    fn narrow(&self, part: Part, list: &[u32]) -> Part {
        let mut first = u128::MAX;
        let mut last = 0;
        for &index in list {
            let (low, high) = self.spans[index as usize];
            first = first.min(low);
            last = last.max(high);
        }
        let (first, last) = (first.max(part.first), last.min(part.last()));
        let host_bits = u128::BITS - (first ^ last).leading_zeros();
        Part { first: first & !mask(host_bits), host_bits }
    }

    fn grow(&self, part: Part, list: Vec<u32>) -> Node {
        if self.fits(&list) {
            return Node::Leaf(list);
        }
        let part = self.narrow(part, &list);
        if self.alike(&list, part) {
            return self.ports(list);
        }
        let mut parts = vec![self.piece(part, list)];
        while parts.len() < self.shape.fan_out {
            // The first of the heaviest.
            let splits = (0..parts.len()).rev().filter(|&at| parts[at].splits);
            let Some(at) = splits.max_by_key(|&at| parts[at].weight) else { break };
            let Piece { part, list, .. } = parts.remove(at);
            let halves = part.halves().expect("items that are not alike lie in a part of more than one address");
            let mut at = at;
            for half in halves {
                let inside = |index: &u32| {
                    let (first, last) = self.spans[*index as usize];
                    first <= half.last() && half.first <= last
                };
                let list: Vec<u32> = list.iter().copied().filter(inside).collect();
                if !list.is_empty() {
                    parts.insert(at, self.piece(self.narrow(half, &list), list));
                    at += 1;
                }
            }
        }
        let parts = parts.into_iter().map(|Piece { part, list, .. }| (part.net(self.family), self.grow(part, list)));
        Node::Nets(parts.collect())
    }

    fn piece(&self, part: Part, list: Vec<u32>) -> Piece {
        let splits = !self.fits(&list) && !self.alike(&list, part);
        Piece { part, weight: self.weight(&list), splits, list }
    }

    /// By protocol and port: neighbours stay together.
    fn ports(&self, mut list: Vec<u32>) -> Node {
        list.sort_by_key(|&index| (self.item(index).protocol, self.item(index).ports.first()));
        self.port_ranges(&list)
    }

    fn port_ranges(&self, list: &[u32]) -> Node {
        if self.fits(list) {
            return Node::Leaf(list.to_vec());
        }
        let share = self.weight(list).div_ceil(self.shape.fan_out).max(1);
        let mut parts: Vec<&[u32]> = Vec::with_capacity(self.shape.fan_out + 2);
        for run in list.chunk_by(|a, b| self.item(*a).protocol == self.item(*b).protocol) {
            let (mut start, mut weight) = (0, 0);
            for (at, &index) in run.iter().enumerate() {
                let more = self.item(index).weight;
                if weight > 0 && weight + more > share {
                    parts.push(&run[start..at]);
                    (start, weight) = (at, 0);
                }
                weight += more;
            }
            parts.push(&run[start..]);
        }
        let parts = parts.into_iter().map(|part| {
            let (first, last) = (self.item(part[0]), self.item(part[part.len() - 1]));
            let ports = PortRange::new(first.ports.first(), last.ports.last()).expect("in ascending order");
            (first.protocol, ports, self.port_ranges(part))
        });
        Node::Ports(parts.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SHAPE: Shape = Shape { fan_out: 8, leaf: 4 };

    fn item(net: &str, ports: (u16, u16)) -> Item {
        let ports = PortRange::new(ports.0, ports.1).expect("ports");
        Item { net: net.parse().expect("a prefix"), protocol: Protocol::Tcp, ports, weight: 1 }
    }

    /// The items that a connection meets, and the nodes that it passes at most.
    fn find(node: &Node, items: &[Item], to: &str, port: u16, found: &mut Vec<u32>) {
        let to: std::net::IpAddr = to.parse().expect("an address");
        match node {
            Node::Leaf(list) => found.extend(list.iter().filter(|&&index| {
                let item = &items[index as usize];
                item.net.contains(&to) && item.ports.contains(port)
            })),
            Node::Nets(parts) => {
                let part = parts.iter().find(|(net, _)| net.contains(&to));
                part.into_iter().for_each(|(_, node)| find(node, items, &to.to_string(), port, found));
            }
            Node::Ports(parts) => {
                let part = parts.iter().find(|(_, ports, _)| ports.contains(port));
                part.into_iter().for_each(|(_, _, node)| find(node, items, &to.to_string(), port, found));
            }
        }
    }

    fn leaves(node: &Node, count: &mut BTreeMap<u32, usize>) {
        match node {
            Node::Leaf(list) => list.iter().for_each(|index| *count.entry(*index).or_default() += 1),
            Node::Nets(parts) => parts.iter().for_each(|(_, node)| leaves(node, count)),
            Node::Ports(parts) => parts.iter().for_each(|(_, _, node)| leaves(node, count)),
        }
    }

    #[test]
    fn ten_thousand_addresses_are_five_levels_deep() {
        let items: Vec<Item> = (0..10_000u32)
            .map(|nth| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + nth * 3);
                item(&format!("{address}/32"), (80, 80))
            })
            .collect();
        let forest = forest(&items, SHAPE, 10);
        assert_eq!(forest.len(), 1);
        assert!(forest[0].depth() <= 5, "{}", forest[0].depth());
    }

    #[test]
    fn ports_of_one_address_are_a_tree_too() {
        let items: Vec<Item> = (1..=5_000).map(|port| item("192.0.2.1/32", (port, port))).collect();
        let forest = forest(&items, SHAPE, 10);
        assert!(matches!(forest.as_slice(), [Node::Ports(_)]));
        assert!(forest[0].depth() <= 4, "{}", forest[0].depth());
    }

    #[test]
    fn a_comb_of_prefixes_is_no_deeper_than_allowed() {
        let items: Vec<Item> =
            (1..128u8).map(|length| item(&format!("{}/128", address(Family::V6, 1 << length)), (80, 80))).collect();
        let forest = forest(&items, SHAPE, 4);
        assert!(forest.iter().all(|tree| tree.depth() <= 4), "{}", forest[0].depth());
    }

    #[test]
    fn many_wide_items_are_not_copied_into_every_leaf() {
        let mut items: Vec<Item> = (1..=200).map(|nth| item("10.0.0.0/8", (nth * 10, nth * 10 + 5))).collect();
        items.extend((0..=255).map(|nth| item(&format!("10.{nth}.0.0/16"), (60_000, 60_100))));
        let forest = forest(&items, SHAPE, 10);
        assert_eq!(forest.len(), 2);
        let mut count = BTreeMap::new();
        forest.iter().for_each(|tree| leaves(tree, &mut count));
        assert!(count.values().sum::<usize>() < 2 * items.len());
    }

    /// Prefixes of a few lengths with ports of their own: none shares a connection with another.
    fn disjoint(list: Vec<(u8, u32)>) -> Vec<Item> {
        let nets: std::collections::BTreeSet<IpNet> = list
            .into_iter()
            .map(|(length, address)| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 | address & 0xff_ffff);
                IpNet::new(address.into(), 8 + length % 25).expect("a length").trunc()
            })
            .collect();
        nets.into_iter()
            .enumerate()
            .map(|(nth, net)| {
                let ports = PortRange::single(nth as u16 + 1).expect("a port");
                Item { net, protocol: Protocol::Tcp, ports, weight: 1 + nth % 3 }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_item_is_found_and_no_other(
            list in prop::collection::vec((any::<u8>(), any::<u32>()), 1..60), fan_out in 2usize..9, leaf in 1usize..6,
        ) {
            let items = disjoint(list);
            let forest = forest(&items, Shape { fan_out, leaf }, 8);
            for (index, item) in items.iter().enumerate() {
                for to in [item.net.network(), item.net.broadcast()] {
                    for other in &items {
                        let mut found = Vec::new();
                        let port = other.ports.first();
                        forest.iter().for_each(|tree| find(tree, &items, &to.to_string(), port, &mut found));
                        let expected: Vec<u32> = (0u32..)
                            .zip(&items)
                            .filter(|(_, one)| one.net.contains(&to) && one.ports.contains(port))
                            .map(|(index, _)| index)
                            .collect();
                        prop_assert_eq!(&found, &expected, "{} {}", index, to);
                    }
                }
            }
        }
    }
}
