//! Rules of a long chain by the address that they ask for: those for other addresses need not be evaluated.

use std::net::IpAddr;

use foldhash::HashMap;

use crate::address::number;
use crate::ir::Family;
use crate::survey::Asked;

use super::dump::{Data, Element, Elements, Expr, Field, Operand, Operator, Rule, Statement, Value};

/// Fewer rules are as fast to evaluate.
const SHORT: usize = 16;

/// Rules, as places in their chain, ascending.
#[derive(Debug)]
pub struct ByHost {
    /// By the destination that the client asked for: `ct original ip daddr`.
    original: Hosts,
    /// By the destination that the connection has by now: `ip daddr`.
    current: Hosts,
    others: Vec<u32>,
}

#[derive(Debug, Default)]
struct Hosts {
    rules: HashMap<IpAddr, Vec<u32>>,
    /// The addresses as numbers, by family, ascending.
    sorted: [Vec<u128>; 2],
}

/// The rules that may match, one after the other.
pub struct Candidates<'i> {
    lists: [&'i [u32]; 3],
}

impl ByHost {
    /// `None` for a chain that is not worth it.
    pub fn new(rules: &[Rule]) -> Option<ByHost> {
        if rules.len() <= SHORT {
            return None;
        }
        let (mut original, mut current, mut others) = (Hosts::default(), Hosts::default(), Vec::new());
        for (place, rule) in (0u32..).zip(rules) {
            match asks_for(rule) {
                Some((true, hosts)) => original.add(place, hosts),
                Some((false, hosts)) => current.add(place, hosts),
                None => others.push(place),
            }
        }
        original.sort();
        current.sort();
        (others.len() < rules.len()).then_some(ByHost { original, current, others })
    }

    /// The rules for a connection, by the destination that it had and the one that it has. Notes what is asked.
    pub fn of(&self, original: IpAddr, current: IpAddr, asked: Option<&Asked>) -> Candidates<'_> {
        if let Some(asked) = asked {
            self.original.ask(original, asked);
            self.current.ask(current, asked);
            if current != original && !self.current.rules.is_empty() {
                asked.backend();
            }
        }
        Candidates { lists: [self.original.of(original), self.current.of(current), &self.others] }
    }
}

impl Hosts {
    fn add(&mut self, place: u32, hosts: Vec<IpAddr>) {
        for host in hosts {
            let list = self.rules.entry(host).or_default();
            if list.last() != Some(&place) {
                list.push(place);
            }
        }
    }

    fn sort(&mut self) {
        for host in self.rules.keys() {
            self.sorted[Family::of(*host) as usize].push(number(*host));
        }
        self.sorted.iter_mut().for_each(|list| list.sort_unstable());
    }

    fn of(&self, host: IpAddr) -> &[u32] {
        self.rules.get(&host).map_or(&[], Vec::as_slice)
    }

    fn ask(&self, host: IpAddr, asked: &Asked) {
        let sorted = &self.sorted[Family::of(host) as usize];
        let next = sorted.partition_point(|own| *own <= number(host));
        asked.hosts(host, self.rules.contains_key(&host), sorted.get(next).copied());
    }
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let next = self.lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.lists {
            *list = list.strip_prefix(&[next]).unwrap_or(list);
        }
        Some(next as usize)
    }
}

/// The addresses of which a rule asks for one before it does anything, and whether that is the original destination.
fn asks_for(rule: &Rule) -> Option<(bool, Vec<IpAddr>)> {
    let mut found = None;
    for statement in &rule.statements {
        let Statement::Match { left, operator, right } = statement else { break };
        let is_original = match left {
            Expr::Field(Field::OriginalDestination(_)) => true,
            Expr::Field(Field::Destination(_)) => false,
            Expr::Field(_) => continue,
            Expr::Concat(parts) if parts.iter().all(|part| matches!(part, Expr::Field(_))) => continue,
            _ => break,
        };
        if !matches!(operator, Operator::Equal | Operator::In) || (found.is_some() && !is_original) {
            continue;
        }
        let Some(hosts) = hosts(right) else { continue };
        found = Some((is_original, hosts));
        if is_original {
            break;
        }
    }
    found
}

fn hosts(right: &Operand) -> Option<Vec<IpAddr>> {
    let host = |key: &[Value]| match key {
        [Value::Address(host)] => Some(*host),
        _ => None,
    };
    match right {
        Operand::Values(values) => host(values).map(|host| vec![host]),
        Operand::Elements(Elements::Anonymous(elements)) => {
            let one = |Element { key, data, .. }: &Element| host(key).filter(|_| *data == Data::None);
            elements.iter().map(one).collect()
        }
        Operand::Elements(Elements::Named(_)) | Operand::Unknown(_) => None,
    }
}
