//! Prefixes and ranges of ports that overlap, where they are many: a tree of verdict maps, each of which asks for one
//! field, down to a few rules in source order.

use crate::dispatch::{Area, Hook, Listener, Node, boxes};
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::statement::balance::Protocol;

use super::linear;
use super::lower::{Lowering, Stages};
use super::model::{Chain, Element, Field, Name, Rule, Statement, Value, Verdict, VerdictMap};
use super::piece::{goto, net, one, plain};
use super::shape::{MAX_CELLS_IN_A_ROW, WIDE, WIDE_DEPTH};

/// What a tree looks at, and what stands in its leaves.
pub trait Ground {
    /// The rules of a leaf, each of which tests all that it has to.
    fn leaf(&mut self, items: &[u32]) -> Vec<Rule>;

    /// What is looked up by address.
    fn address(&self) -> Field;

    /// What is looked up by the ports of a protocol, and what has to be tested before.
    fn ports(&self, protocol: Protocol) -> (Option<Statement>, Field);

    /// A new name, for a chain or a map.
    fn name(&mut self) -> Name;

    /// Where connections go that no leaf takes.
    fn behind(&self) -> Option<Name>;

    fn add_map(&mut self, map: VerdictMap);

    fn add_chain(&mut self, chain: Chain);
}

/// The rules of a node; chains and maps below it are added to the ground. What no leaf takes goes on to what is behind.
pub fn plant(node: &Node, ground: &mut impl Ground) -> Vec<Rule> {
    let mut rules = match node {
        Node::Leaf(items) => ground.leaf(items),
        Node::Nets(parts) => {
            let ways = parts.iter().map(|(prefix, node)| (net(*prefix), chain(node, ground))).collect();
            let field = ground.address();
            self::ways(None, field, ways, ground)
        }
        Node::Ports(parts) => {
            let mut rules = Vec::new();
            for run in parts.chunk_by(|a, b| a.0 == b.0) {
                let part = |(_, ports, node): &(Protocol, PortRange, Node)| (Value::Ports(*ports), chain(node, ground));
                let ways = run.iter().map(part).collect();
                let (before, field) = ground.ports(run[0].0);
                rules.extend(self::ways(before, field, ways, ground));
            }
            rules
        }
    };
    rules.extend(ground.behind().map(|behind| plain([goto(behind)])));
    rules
}

fn chain(node: &Node, ground: &mut impl Ground) -> Name {
    let name = ground.name();
    let rules = plant(node, ground);
    ground.add_chain(Chain { name: name.clone(), hook: None, rules });
    name
}

/// A rule for each of a few values, or a map.
fn ways(before: Option<Statement>, field: Field, ways: Vec<(Value, Name)>, ground: &mut impl Ground) -> Vec<Rule> {
    let rule = |statements: Vec<Statement>| plain(before.iter().cloned().chain(statements).collect::<Vec<_>>());
    if ways.len() <= MAX_CELLS_IN_A_ROW {
        return ways.into_iter().map(|(value, name)| rule(vec![one(field, value), goto(name)])).collect();
    }
    let element = |(value, name)| Element { key: vec![value], verdict: Verdict::Goto(name), comment: None };
    let elements: Vec<Element> = ways.into_iter().map(element).collect();
    let interval = elements.iter().any(|element| element.key.iter().any(Value::is_range));
    let map = ground.name();
    ground.add_map(VerdictMap { name: map.clone(), key: vec![field], interval, elements });
    vec![rule(vec![Statement::Lookup { key: vec![field], map }])]
}

/// A tree over what is about destinations, in order; `None` where it would be too large.
pub fn tree(family: Family, areas: &[Area]) -> Option<Node> {
    boxes(areas, family, WIDE, WIDE_DEPTH)
}

/// Listeners in source order.
pub struct Listeners<'l, 'a> {
    pub lowering: &'l mut Lowering<'a>,
    pub family: Family,
    pub hook: Hook,
    pub list: &'l [Listener],
    pub behind: Option<Name>,
    /// Names that were given so far.
    pub named: usize,
}

impl Ground for Listeners<'_, '_> {
    fn leaf(&mut self, items: &[u32]) -> Vec<Rule> {
        let rule = |&at: &u32| linear::rule(self.lowering, self.family, self.hook, &self.list[at as usize]);
        items.iter().map(rule).collect()
    }

    fn address(&self) -> Field {
        Field::Destination(self.family)
    }

    fn ports(&self, protocol: Protocol) -> (Option<Statement>, Field) {
        (None, Field::Port(protocol))
    }

    fn name(&mut self) -> Name {
        self.named += 1;
        Stages::named(self.hook, self.family, &format!("wide-{}", self.named))
    }

    fn behind(&self) -> Option<Name> {
        self.behind.clone()
    }

    fn add_map(&mut self, map: VerdictMap) {
        self.lowering.maps.push(map);
    }

    fn add_chain(&mut self, chain: Chain) {
        self.lowering.cells.push(chain);
    }
}
