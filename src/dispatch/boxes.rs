//! Trees over boxes that overlap: prefixes times ranges of ports, in an order that counts.
//!
//! Every leaf holds all boxes that its part of the addresses and ports meets, in their order, so that the first match
//! among them is the first of all. A node cuts either addresses or ports, whichever leaves less to do below; boxes that
//! several parts meet stand in each of them. Where that comes to too many copies there is no tree.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::address::{everything, range};
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::statement::balance::Protocol;

use super::Listener;
use super::tree::{Block, Node, Shape};

/// A prefix (or everything) times a range of ports of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub net: IpNet,
    pub protocol: Protocol,
    pub ports: PortRange,
}

impl Area {
    /// Of a prefix, or of every destination of a family.
    pub fn new(net: Option<IpNet>, family: Family, protocol: Protocol, ports: PortRange) -> Area {
        Area { net: net.unwrap_or_else(|| everything(family)), protocol, ports }
    }

    pub fn of(listener: &Listener, family: Family) -> Area {
        Area::new(listener.destination.prefix(), family, listener.protocol, listener.ports)
    }
}

/// Copies of boxes in leaves, for each box, before there is no tree.
const COPIES: usize = 24;

/// A tree over the boxes, by their indices, with larger leaves than the shape says where it would hold too many copies,
/// and wider nodes where it would be deeper than `depth`; `None` where that does not help.
pub fn boxes(areas: &[Area], family: Family, shape: Shape, depth: usize) -> Option<Node> {
    let spans = areas.iter().map(|area| {
        // Protocols are far apart on one axis with the ports.
        let axis = |port: u16| area.protocol as u32 * STRIDE + u32::from(port);
        Span { addresses: range(area.net), ports: axis(area.ports.first())..=axis(area.ports.last()) }
    });
    let spans: Vec<Span> = spans.collect();
    let least = shape.leaf;
    let leaves = (0..).map(|doubled| least << doubled).take_while(|leaf| 2 * leaf <= areas.len().max(2 * least));
    for leaf in leaves {
        for fan_out in [shape.fan_out, 4 * shape.fan_out] {
            let shape = Shape { fan_out, leaf };
            let mut cutter = Cutter { spans: &spans, family, shape, left: COPIES * areas.len() + 256 };
            let whole = Part { block: Block::all(family), ports: 0..=3 * STRIDE };
            match cutter.grow(whole, (0..areas.len() as u32).collect()) {
                Some(node) if node.depth() <= depth => return Some(node),
                // Wider nodes are less deep, and hold more copies.
                Some(_) => {}
                None => break,
            }
        }
    }
    None
}

/// Ports of a protocol on the axis of all.
const STRIDE: u32 = 1 << 16;

struct Span {
    addresses: (u128, u128),
    ports: RangeInclusive<u32>,
}

#[derive(Clone, Debug)]
struct Part {
    block: Block,
    ports: RangeInclusive<u32>,
}

struct Cutter<'a> {
    spans: &'a [Span],
    family: Family,
    shape: Shape,
    /// Boxes that leaves may still hold.
    left: usize,
}

impl Cutter<'_> {
    fn grow(&mut self, part: Part, list: Vec<u32>) -> Option<Node> {
        if list.len() > self.shape.leaf {
            let nets = self.by_address(&part, &list);
            let ports = self.by_port(&part, &list);
            let most = |parts: &[(Part, Vec<u32>)]| {
                let sum: usize = parts.iter().map(|(_, list)| list.len()).sum();
                let most = parts.iter().map(|(_, list)| list.len()).max().unwrap_or(usize::MAX);
                // Parts that are no smaller are no use; copies are what is left to do below.
                if most >= list.len() { usize::MAX } else { sum + most }
            };
            let (by_nets, by_ports) = (most(&nets), most(&ports));
            if by_nets.min(by_ports) < usize::MAX {
                return match by_nets <= by_ports {
                    true => {
                        let mut ways = Vec::with_capacity(nets.len());
                        for (part, list) in nets {
                            ways.push((part.block.net(self.family), self.grow(part, list)?));
                        }
                        Some(Node::Nets(ways))
                    }
                    false => {
                        let mut ways = Vec::with_capacity(ports.len());
                        for (part, list) in ports {
                            let (first, last) = (*part.ports.start(), *part.ports.end());
                            let protocol = Protocol::ALL[(first / STRIDE) as usize];
                            let ports = PortRange::new((first % STRIDE) as u16, (last % STRIDE) as u16);
                            ways.push((protocol, ports.expect("ascending ports"), self.grow(part, list)?));
                        }
                        Some(Node::Ports(ways))
                    }
                };
            }
        }
        self.left = self.left.checked_sub(list.len())?;
        Some(Node::Leaf(list))
    }

    /// Cuts the addresses: the part with the most boxes first, in halves, down to what its boxes need.
    fn by_address(&self, part: &Part, list: &[u32]) -> Vec<(Part, Vec<u32>)> {
        let mut parts = vec![(self.narrow(part, list), list.to_vec())];
        while parts.len() < self.shape.fan_out {
            let cuts = |(part, list): &(Part, Vec<u32>)| {
                list.len() > self.shape.leaf && list.iter().any(|&index| !part.block.is_inside(self.addresses(index)))
            };
            let heaviest = (0..parts.len()).rev().filter(|&at| cuts(&parts[at])).max_by_key(|&at| parts[at].1.len());
            let Some(mut at) = heaviest else { break };
            let (part, list) = parts.remove(at);
            let halves = part.block.halves().expect("what a box does not hold whole is more than an address");
            for block in halves {
                let half = Part { block, ports: part.ports.clone() };
                let meets = |index: &u32| block.meets(self.addresses(*index));
                let list: Vec<u32> = list.iter().copied().filter(meets).collect();
                if !list.is_empty() {
                    parts.insert(at, (self.narrow(&half, &list), list));
                    at += 1;
                }
            }
        }
        parts
    }

    fn addresses(&self, index: u32) -> (u128, u128) {
        self.spans[index as usize].addresses
    }

    fn narrow(&self, part: &Part, list: &[u32]) -> Part {
        let block = part.block.narrow(list.iter().map(|&index| self.addresses(index)));
        Part { block, ports: part.ports.clone() }
    }

    /// Cuts the ports where boxes begin or end, into parts with about as many of these places each.
    fn by_port(&self, part: &Part, list: &[u32]) -> Vec<(Part, Vec<u32>)> {
        let clip = |index: u32| {
            let ports = &self.spans[index as usize].ports;
            (*ports.start().max(part.ports.start()), *ports.end().min(part.ports.end()))
        };
        let mut starts: Vec<u32> = list.iter().flat_map(|&index| [clip(index).0, clip(index).1 + 1]).collect();
        // Protocols stay apart.
        let crossing = Protocol::ALL.into_iter().map(|protocol| protocol as u32 * STRIDE);
        starts.extend(crossing.filter(|start| part.ports.contains(start)));
        starts.sort_unstable();
        let places = starts.len();
        let mut cuts: Vec<u32> = (0..self.shape.fan_out).map(|nth| starts[nth * places / self.shape.fan_out]).collect();
        cuts.extend(starts.iter().copied().filter(|start| start.is_multiple_of(STRIDE)));
        cuts.push(starts[0]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts = Vec::with_capacity(cuts.len());
        for (nth, &first) in cuts.iter().enumerate() {
            let end = cuts.get(nth + 1).copied().unwrap_or(u32::MAX);
            let inside: Vec<u32> =
                list.iter().copied().filter(|&index| clip(index).0 < end && clip(index).1 >= first).collect();
            if inside.is_empty() {
                continue;
            }
            let low = inside.iter().map(|&index| clip(index).0).min().unwrap_or(first).max(first);
            let high = inside.iter().map(|&index| clip(index).1).max().unwrap_or(first).min(end - 1);
            parts.push((Part { ports: low..=high, ..part.clone() }, inside));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn leaf(node: &Node, to: IpAddr, protocol: Protocol, port: u16) -> &[u32] {
        match node {
            Node::Leaf(list) => list,
            Node::Nets(parts) => {
                let part = parts.iter().find(|(net, _)| net.contains(&to));
                part.map_or(&[], |(_, node)| leaf(node, to, protocol, port))
            }
            Node::Ports(parts) => {
                let part = parts.iter().find(|(one, ports, _)| *one == protocol && ports.contains(port));
                part.map_or(&[], |(_, _, node)| leaf(node, to, protocol, port))
            }
        }
    }

    fn areas() -> impl Strategy<Value = Vec<Area>> {
        let one =
            (0u8..=32, any::<u32>(), 0usize..3, 1u16..200, 0u16..60).prop_map(|(length, at, protocol, first, more)| {
                let at = std::net::Ipv4Addr::from(0x0a00_0000 | at & 0xffff);
                let net = IpNet::new(at.into(), length).expect("a length").trunc();
                let ports = PortRange::new(first, first + more % (1 + u16::from(length) * 2)).expect("ports");
                Area { net, protocol: Protocol::ALL[protocol], ports }
            });
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        #![proptest_config(crate::generated::regressions())]

        #[test]
        fn leaves_hold_all_that_their_connections_meet(areas in areas(), fan_out in 2usize..9, size in 1usize..5) {
            let Some(tree) = boxes(&areas, Family::V4, Shape { fan_out, leaf: size }, 32) else { return Ok(()) };
            for at in &areas {
                for to in [at.net.network(), at.net.broadcast()] {
                    for area in &areas {
                        for port in [area.ports.first(), area.ports.last(), area.ports.last().saturating_add(1)] {
                            let holds = |area: &Area| {
                                area.net.contains(&to) && area.protocol == at.protocol && area.ports.contains(port)
                            };
                            let found = leaf(&tree, to, at.protocol, port);
                            let meant: Vec<u32> =
                                (0u32..).zip(&areas).filter(|(_, area)| holds(area)).map(|(index, _)| index).collect();
                            let there: Vec<u32> =
                                found.iter().copied().filter(|&index| holds(&areas[index as usize])).collect();
                            prop_assert_eq!(&there, &meant, "{} {}", to, port);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nets_in_nets_and_ranges_over_them_are_a_tree_without_many_copies() {
        let mut areas = Vec::new();
        for nth in 0..1_000u32 {
            let at = std::net::Ipv4Addr::from(0x0a64_0000 + nth * 10);
            let net = IpNet::new(at.into(), 12 + (nth % 16) as u8).expect("a length").trunc();
            let port = 1_000 + (nth * 10 % 50_000) as u16;
            areas.push(Area { net, protocol: Protocol::Tcp, ports: PortRange::single(port).expect("a port") });
            let first = 8_000 + (nth % 1_000) as u16;
            let ports = PortRange::new(first, first + 1_500).expect("ports");
            areas.push(Area { net: IpNet::from(IpAddr::from(at)), protocol: Protocol::Tcp, ports });
        }
        let tree = boxes(&areas, Family::V4, Shape { fan_out: 8, leaf: 16 }, 12).expect("a tree");
        fn count(node: &Node) -> usize {
            match node {
                Node::Leaf(list) => list.len(),
                Node::Nets(parts) => parts.iter().map(|(_, node)| count(node)).sum(),
                Node::Ports(parts) => parts.iter().map(|(_, _, node)| count(node)).sum(),
            }
        }
        assert!(count(&tree) <= 20 * areas.len(), "{}", count(&tree));
        assert!(tree.depth() <= 6, "{}", tree.depth());
    }
}
