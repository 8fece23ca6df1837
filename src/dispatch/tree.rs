//! Trees that find the rules for a destination among many: first by prefixes of the address, then by ports.
//!
//! An [`Item`] is what is looked for: a prefix, a protocol and a range of ports. No two items share a connection, so
//! that a tree may try them in any order, and a way through it that ends without a hit ends all of it. Where items
//! share connections, see [`super::boxes`].
//!
//! A [`Node`] cuts its items into at most [`Shape::fan_out`] parts of about the same weight, as far as prefixes can.
//! Items wider than a part stand in each part that they meet.

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

/// The tree over all items, of which there is at least one, no deeper than `depth`: nodes are wider than the shape says
/// where it would take more.
pub fn tree(items: &[Item], shape: Shape, depth: usize) -> Node {
    let family = Family::of_net(items[0].net);
    let spans: Vec<(u128, u128)> = items.iter().map(|item| range(item.net)).collect();
    let all: Vec<u32> = (0..items.len() as u32).collect();
    let mut grower = Grower { items, spans: &spans, family, shape };
    loop {
        let tree = grower.grow(Block::all(family), all.clone());
        if tree.depth() <= depth || grower.shape.fan_out > items.len() {
            return tree;
        }
        grower.shape.fan_out *= 2;
    }
}

/// A prefix as a number and a length.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub first: u128,
    /// Bits that vary inside.
    pub host_bits: u32,
}

impl Block {
    pub fn all(family: Family) -> Block {
        Block { first: 0, host_bits: bits(family) }
    }

    pub fn last(self) -> u128 {
        self.first | mask(self.host_bits)
    }

    /// The lower and the upper half; a single address has none.
    pub fn halves(self) -> Option<[Block; 2]> {
        let host_bits = self.host_bits.checked_sub(1)?;
        Some([self.first, self.first | 1 << host_bits].map(|first| Block { first, host_bits }))
    }

    /// The smallest that holds all that the spans have of it.
    pub fn narrow(self, spans: impl Iterator<Item = (u128, u128)>) -> Block {
        let (first, last) = spans.fold((u128::MAX, 0), |(first, last), (low, high)| (first.min(low), last.max(high)));
        let (first, last) = (first.max(self.first), last.min(self.last()));
        let host_bits = u128::BITS - (first ^ last).leading_zeros();
        Block { first: first & !mask(host_bits), host_bits }
    }

    pub fn meets(self, (first, last): (u128, u128)) -> bool {
        first <= self.last() && self.first <= last
    }

    pub fn is_inside(self, (first, last): (u128, u128)) -> bool {
        first <= self.first && self.last() <= last
    }

    pub fn net(self, family: Family) -> IpNet {
        let length = (bits(family) - self.host_bits) as u8;
        IpNet::new(address(family, self.first), length).expect("a length of the family")
    }
}

fn mask(host_bits: u32) -> u128 {
    if host_bits == u128::BITS { u128::MAX } else { (1 << host_bits) - 1 }
}

/// A part of a node, its items and their weight.
struct Piece {
    part: Block,
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

    fn span(&self, index: u32) -> (u128, u128) {
        self.spans[index as usize]
    }

    /// Only ports tell the items apart.
    fn alike(&self, list: &[u32], part: Block) -> bool {
        list.iter().all(|&index| part.is_inside(self.span(index)))
    }

    fn narrow(&self, part: Block, list: &[u32]) -> Block {
        part.narrow(list.iter().map(|&index| self.span(index)))
    }

    fn grow(&self, part: Block, list: Vec<u32>) -> Node {
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
                let list: Vec<u32> = list.iter().copied().filter(|&index| half.meets(self.span(index))).collect();
                if !list.is_empty() {
                    parts.insert(at, self.piece(self.narrow(half, &list), list));
                    at += 1;
                }
            }
        }
        let parts = parts.into_iter().map(|Piece { part, list, .. }| (part.net(self.family), self.grow(part, list)));
        Node::Nets(parts.collect())
    }

    fn piece(&self, part: Block, list: Vec<u32>) -> Piece {
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

    #[test]
    fn ten_thousand_addresses_are_five_levels_deep() {
        let items: Vec<Item> = (0..10_000u32)
            .map(|nth| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + nth * 3);
                item(&format!("{address}/32"), (80, 80))
            })
            .collect();
        let tree = tree(&items, SHAPE, 10);
        assert!(tree.depth() <= 5, "{}", tree.depth());
    }

    #[test]
    fn ports_of_one_address_are_a_tree_too() {
        let items: Vec<Item> = (1..=5_000).map(|port| item("192.0.2.1/32", (port, port))).collect();
        let tree = tree(&items, SHAPE, 10);
        assert!(matches!(tree, Node::Ports(_)));
        assert!(tree.depth() <= 4, "{}", tree.depth());
    }

    #[test]
    fn a_comb_of_prefixes_is_no_deeper_than_allowed() {
        let items: Vec<Item> =
            (1..128u8).map(|length| item(&format!("{}/128", address(Family::V6, 1 << length)), (80, 80))).collect();
        let tree = tree(&items, SHAPE, 4);
        assert!(tree.depth() <= 4, "{}", tree.depth());
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
        #![proptest_config(crate::generated::regressions())]

        #[test]
        fn every_item_is_found_and_no_other(
            list in prop::collection::vec((any::<u8>(), any::<u32>()), 1..60), fan_out in 2usize..9, leaf in 1usize..6,
        ) {
            let items = disjoint(list);
            let tree = tree(&items, Shape { fan_out, leaf }, 8);
            for (index, item) in items.iter().enumerate() {
                for to in [item.net.network(), item.net.broadcast()] {
                    for other in &items {
                        let mut found = Vec::new();
                        let port = other.ports.first();
                        find(&tree, &items, &to.to_string(), port, &mut found);
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
