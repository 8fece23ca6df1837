//! Rules without sets and maps of their own, for programs of thousands of services.
//!
//! For each set or map that a rule writes out, the kernel walks all that the transaction holds (see [`super::shape`]). So
//! a choice becomes rules in a row, each of which draws for what those before it have left; what a rule compares with
//! becomes a named set that all rules share that ask the same.
//!
//! A row of `numgen inc` rules is one sequence: the first sees every connection and takes its places of every N, the next
//! sees the others in their order, and so on. Connection `j` gets slot `j mod N`, as from one map.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use crate::ir::Family;
use crate::target::split::{self, Taken};

use super::model::{
    Chain, Choice, Comment, Destination, Field, Name, NewPort, Numbers, Pick, PortMap, Rule, Statement, Value,
};
use super::model::{ValueSet, Verdict, short};
use super::names::fixed;
use super::shape::MAX_IN_A_ROW;

/// The sets and maps that rules share.
#[derive(Default)]
pub struct Unfold {
    pub sets: Vec<ValueSet>,
    pub ports: Vec<PortMap>,
    known_sets: HashMap<(Vec<Field>, Vec<Vec<Value>>), Name>,
    known_ports: HashMap<Vec<(u16, u16)>, Name>,
}

/// Draws that lead to one server up to which each says what it does.
const INLINE: usize = 2;

/// Statements in which a choice ends.
type Leaf = Vec<Statement>;

impl Unfold {
    /// Chains that do the same; those that a chain needs stand behind it. Some stay as they are.
    pub fn chains(&mut self, chains: Vec<Chain>, stay: Range<usize>) -> Vec<Chain> {
        let mut all = Vec::with_capacity(chains.len());
        for (place, chain) in chains.into_iter().enumerate() {
            if stay.contains(&place) {
                all.push(chain);
                continue;
            }
            let Chain { name, hook, rules } = chain;
            let at = all.len();
            all.push(Chain { name: name.clone(), hook, rules: Vec::new() });
            let mut row = Row { chain: &name, groups: 0, leaves: 0, more: &mut all };
            let mut list = Vec::with_capacity(rules.len());
            for rule in rules {
                self.rule(rule, &mut row, &mut list);
            }
            all[at].rules = list;
        }
        all
    }

    fn rule(&mut self, rule: Rule, row: &mut Row<'_>, rules: &mut Vec<Rule>) {
        let Rule { statements, comment } = rule;
        let mut statements: Vec<Statement> = statements.into_iter().map(|one| self.named(one)).collect();
        let last = statements.pop();
        let (pick, targets) = match last {
            Some(Statement::Branch(Choice { pick, elements })) => {
                (pick, elements.into_iter().map(|(numbers, to)| (numbers, vec![Statement::Verdict(to)])).collect())
            }
            Some(Statement::Dnat { family, to: Destination::Addresses(Choice { pick, elements }) }) => {
                let elements = elements.into_iter().map(|(numbers, address)| (numbers, (address, None)));
                (pick, row.servers(family, elements.collect(), statements, comment.as_ref()))
            }
            Some(Statement::Dnat { family, to: Destination::Endpoints(Choice { pick, elements }) }) => {
                let elements = elements.into_iter().map(|(numbers, (address, port))| (numbers, (address, Some(port))));
                (pick, row.servers(family, elements.collect(), statements, comment.as_ref()))
            }
            last => {
                statements.extend(last);
                return rules.extend(alternatives(Rule { statements, comment }));
            }
        };
        for (drawn, leaf) in row.cascade(pick, targets) {
            let statements = drawn.into_iter().chain(leaf).collect();
            rules.push(Rule { statements, comment: comment.clone() });
        }
    }

    /// The same with what it writes out by name.
    fn named(&mut self, statement: Statement) -> Statement {
        match statement {
            Statement::Match {
                field: field @ (Field::Source(_) | Field::Destination(_) | Field::OriginalDestination(_)),
                negated,
                values,
            } if values.len() > 1 => {
                let (key, values) = (vec![field], values.into_iter().map(|one| vec![one]).collect());
                Statement::Member { set: self.set(key.clone(), values), key, negated }
            }
            Statement::Tuple { key, values } => {
                Statement::Member { set: self.set(key.clone(), values), key, negated: false }
            }
            Statement::Dnat { family, to: Destination::One(address, port) } => {
                Statement::Dnat { family, to: Destination::One(address, self.port(port)) }
            }
            Statement::Redirect(port) => Statement::Redirect(self.port(port)),
            other => other,
        }
    }

    fn set(&mut self, key: Vec<Field>, elements: Vec<Vec<Value>>) -> Name {
        let (sets, count) = (&mut self.sets, self.known_sets.len() + 1);
        let name = self.known_sets.entry((key, elements)).or_insert_with_key(|(key, elements)| {
            let (word, family) = match key[..] {
                [Field::Source(family)] => ("clients", family),
                [Field::Destination(family) | Field::OriginalDestination(family)] => ("hosts", family),
                [Field::Source(family) | Field::Destination(family), ..] => ("pairs", family),
                _ => unreachable!("sets are of addresses"),
            };
            let name = fixed(&format!("{word}-{count}-{}", short(family)));
            let interval = elements.iter().flatten().any(Value::is_range);
            sets.push(ValueSet { name: name.clone(), key: key.clone(), interval, elements: elements.clone() });
            name
        });
        name.clone()
    }

    fn port(&mut self, port: NewPort) -> NewPort {
        let NewPort::Mapped { field, ports } = port else { return port };
        let (maps, count) = (&mut self.ports, self.known_ports.len() + 1);
        let map = self.known_ports.entry(ports).or_insert_with_key(|ports| {
            let name = fixed(&format!("ports-{count}"));
            maps.push(PortMap { name: name.clone(), ports: ports.clone() });
            name
        });
        NewPort::Listed { field, map: map.clone() }
    }
}

/// Whether it is a test that stands for several rules.
fn is_several(statement: &Statement) -> bool {
    match statement {
        Statement::Match { field: Field::Protocol | Field::Interface, values, .. } => values.len() > 1,
        _ => false,
    }
}

/// One rule for each protocol and interface: no connection has two of them.
fn alternatives(rule: Rule) -> Vec<Rule> {
    if !rule.statements.iter().any(is_several) {
        return vec![rule];
    }
    let mut heads: Vec<Vec<Statement>> = vec![Vec::new()];
    for statement in rule.statements {
        match statement {
            Statement::Match { field: field @ (Field::Protocol | Field::Interface), negated, values } => {
                let one = |value| Statement::Match { field, negated, values: vec![value] };
                match negated {
                    true => heads.iter_mut().for_each(|head| head.extend(values.iter().cloned().map(one))),
                    false => {
                        let with = |head: Vec<Statement>| {
                            let each = values.iter().cloned().map(one);
                            each.map(move |test| head.iter().cloned().chain([test]).collect())
                        };
                        heads = heads.into_iter().flat_map(with).collect();
                    }
                }
            }
            other => heads.iter_mut().for_each(|head| head.push(other.clone())),
        }
    }
    heads.into_iter().map(|statements| Rule { statements, comment: rule.comment.clone() }).collect()
}

/// The rules of a chain in the making.
struct Row<'a> {
    chain: &'a Name,
    groups: usize,
    /// How many chains choices lead to.
    leaves: usize,
    more: &'a mut Vec<Chain>,
}

impl Row<'_> {
    /// What servers do, behind tests that all of them have. In a chain of its own stands what several draws lead to, and
    /// what is a rule for each of several protocols: rules that draw may not be doubled.
    fn servers(
        &mut self,
        family: Family,
        elements: Vec<(Numbers, (IpAddr, Option<u16>))>,
        before: Leaf,
        comment: Option<&Comment>,
    ) -> Vec<(Numbers, Leaf)> {
        let mut uses: HashMap<(IpAddr, Option<u16>), usize> = HashMap::new();
        for run in elements.chunk_by(|(_, one), (_, next)| one == next) {
            *uses.entry(run[0].1).or_default() += 1;
        }
        let several = before.iter().any(is_several);
        let mut leaves: HashMap<(IpAddr, Option<u16>), Leaf> = HashMap::with_capacity(uses.len());
        let mut list = Vec::with_capacity(elements.len());
        for (numbers, server) in elements {
            let leaf = leaves.entry(server).or_insert_with(|| {
                let (address, port) = server;
                let port = port.map_or(NewPort::Kept, NewPort::Fixed);
                let to = Statement::Dnat { family, to: Destination::One(address, port) };
                let statements: Leaf = before.iter().cloned().chain([to]).collect();
                if !several && uses[&server] <= INLINE {
                    return statements;
                }
                self.leaves += 1;
                let name = fixed(&format!("{}-s{}", self.chain, self.leaves));
                let rules = alternatives(Rule { statements, comment: comment.cloned() });
                self.more.push(Chain { name: name.clone(), hook: None, rules });
                vec![Statement::Verdict(Verdict::Goto(name))]
            });
            list.push((numbers, leaf.clone()));
        }
        list
    }

    /// The tests in a row that make a choice, each with what it leads to. The last needs no test.
    fn cascade(&mut self, pick: Pick, targets: Vec<(Numbers, Leaf)>) -> Vec<(Option<Statement>, Leaf)> {
        let mut runs: Vec<(Numbers, Leaf)> = Vec::with_capacity(targets.len());
        for (numbers, leaf) in targets {
            match runs.last_mut() {
                Some((last, same)) if *same == leaf => last.last = numbers.last,
                Some(_) | None => runs.push((numbers, leaf)),
            }
        }
        if let Pick::SourceHash { .. } = pick {
            return hashed(pick, runs);
        }
        let parts = runs.into_iter().map(|(Numbers { first, last }, leaf)| (u64::from(last - first) + 1, leaf));
        let parts: Vec<(u64, Leaf)> = parts.collect();
        let Some(size) = row_size(parts.len()) else { return in_a_row(pick, parts) };
        let mut groups = Vec::new();
        for (weight, group) in split::in_groups(parts, size) {
            self.groups += 1;
            let name = fixed(&format!("{}-g{}", self.chain, self.groups));
            let rules = in_a_row(pick, group)
                .into_iter()
                .map(|(drawn, leaf)| Rule { statements: drawn.into_iter().chain(leaf).collect(), comment: None });
            self.more.push(Chain { name: name.clone(), hook: None, rules: rules.collect() });
            groups.push((weight, vec![Statement::Verdict(Verdict::Goto(name))]));
        }
        in_a_row(pick, groups)
    }
}

/// How many of so many parts stand in a chain of their own; `None` where all stand in one row.
pub fn row_size(parts: usize) -> Option<usize> {
    (parts > MAX_IN_A_ROW).then(|| parts.isqrt() + 1)
}

/// Each takes its part of what those before it have left.
fn in_a_row(pick: Pick, parts: Vec<(u64, Leaf)>) -> Vec<(Option<Statement>, Leaf)> {
    let lowest = matches!(pick, Pick::Random { .. });
    let with_test = |(taken, leaf): (Taken, Leaf)| {
        if taken.is_all() {
            return (None, leaf);
        }
        let modulus = u32::try_from(taken.of).expect("no more than the modulus of the whole");
        let numbers = Numbers { first: 0, last: (taken.part - 1) as u32 };
        let pick = match pick {
            Pick::Random { .. } => Pick::Random { modulus },
            Pick::InTurn { .. } => Pick::InTurn { modulus },
            Pick::SourceHash { family, seed, .. } => Pick::SourceHash { family, modulus, seed },
        };
        (Some(Statement::Drawn { pick, numbers }), leaf)
    };
    split::in_a_row(parts, lowest).into_iter().map(with_test).collect()
}

/// A hash is the same in each rule. What has the most ranges is left for the end.
fn hashed(pick: Pick, runs: Vec<(Numbers, Leaf)>) -> Vec<(Option<Statement>, Leaf)> {
    let ranges = |leaf: &Leaf| runs.iter().filter(|(_, other)| other == leaf).count();
    let Some((_, rest)) = runs.iter().rev().max_by_key(|(_, leaf)| ranges(leaf)).cloned() else { return Vec::new() };
    let others = runs.into_iter().filter(|(_, leaf)| *leaf != rest);
    let tested = others.map(|(numbers, leaf)| (Some(Statement::Drawn { pick, numbers }), leaf));
    let mut row: Vec<_> = tested.collect();
    row.push((None, rest));
    row
}
