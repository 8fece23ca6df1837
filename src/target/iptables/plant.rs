//! Chains for trees: what a [`Node`] tests, and what stands in its leaves.

use ipnet::IpNet;

use crate::dispatch::Node;
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::statement::balance::Protocol;

use super::model::{Chain, ChainId, Rule, Target};
use super::names::Names;

/// What trees look at, and what their leaves hold.
pub trait Ground {
    /// A rule for destinations in the prefix, without a target.
    fn net(&self, net: IpNet) -> Rule;

    /// A rule for the ports of a protocol, without a target.
    fn ports(&self, protocol: Protocol, ports: PortRange) -> Rule;

    /// The rules of a leaf. Each tests all that it has to be tested for: what leads to it may let others through.
    fn rules(&self, items: &[u32]) -> Vec<Rule>;

    /// Whether an item may match what another part of the tree is for: then nothing stands outside of its leaf.
    fn overlaps(&self) -> bool;

    /// What chains are named by, in front of the place that they look at.
    fn name(&self) -> &'static str;
}

/// The chains of one table and family, to which trees are added.
pub struct Garden<'a> {
    pub names: &'a mut Names,
    pub chains: &'a mut Vec<Chain>,
    pub family: Family,
}

/// A way from a node to the next.
struct Way<'a> {
    guard: Rule,
    /// Of the chain that it leads to.
    name: String,
    /// What chains of ports below it are named by: the address, if there is one.
    place: String,
    node: &'a Node,
}

impl Garden<'_> {
    pub fn chain(&mut self, place: &str) -> ChainId {
        let name = self.names.place(place);
        self.chains.push(Chain { name, v4: Vec::new(), v6: Vec::new() });
        ChainId(self.chains.len() as u32 - 1)
    }

    pub fn push(&mut self, chain: ChainId, rule: Rule) {
        self.chains[chain.0 as usize].rules_mut(self.family).push(rule);
    }

    /// Appends the rules of a tree to a chain, and makes the chains below it. A connection that finds nothing comes to
    /// the end of a chain that `chain` does not hear of: nothing may stand behind these rules, unless they are a leaf's.
    pub fn plant(&mut self, chain: ChainId, node: &Node, ground: &impl Ground) {
        self.node(chain, node, ground.name(), ground);
    }

    fn node(&mut self, chain: ChainId, node: &Node, place: &str, ground: &impl Ground) {
        let ways: Vec<Way<'_>> = match node {
            Node::Leaf(list) => return ground.rules(list).into_iter().for_each(|rule| self.push(chain, rule)),
            Node::Nets(parts) => {
                let ways = parts.iter().map(|(net, node)| {
                    let name = match net.prefix_len() == net.max_prefix_len() {
                        true => format!("{}{}", ground.name(), net.addr()),
                        false => format!("{}{net}", ground.name()),
                    };
                    Way { guard: ground.net(*net), place: format!("{name}:"), name, node }
                });
                ways.collect()
            }
            Node::Ports(parts) => {
                let ways = parts.iter().map(|(protocol, ports, node)| Way {
                    guard: ground.ports(*protocol, *ports),
                    name: format!("{place}{}:{ports}", protocol.name()),
                    place: place.to_owned(),
                    node,
                });
                ways.collect()
            }
        };
        self.ways(chain, ways, ground);
    }

    /// A rule for each way; the last needs no test where all rules lead on, for what it finds is tested at the end.
    fn ways(&mut self, chain: ChainId, ways: Vec<Way<'_>>, ground: &impl Ground) {
        let last = ways.len() - 1;
        for (at, Way { guard, name, place, node }) in ways.into_iter().enumerate() {
            if !ground.overlaps()
                && let Node::Leaf(list) = node
                && let [_] = list.as_slice()
                && let [_] = ground.rules(list).as_slice()
            {
                self.node(chain, node, &place, ground);
                continue;
            }
            let below = self.chain(&name);
            let guard = if at == last { Rule::EMPTY } else { guard };
            self.push(chain, Rule { target: Target::Goto(below), ..guard });
            self.node(below, node, &place, ground);
        }
    }
}
