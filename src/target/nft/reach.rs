//! Which connections a chain can do anything to, by where they went first: for all others it need not be walked.
//!
//! Chains that change the sources of connections ask for the original destination, whole maps of them. What such a map
//! has for other ports is nothing to a connection, and no end of what is known of it.

use std::sync::OnceLock;

use foldhash::{HashMap, HashSet};

use crate::address::number;
use crate::ir::Family;
use crate::survey::Asked;
use crate::target::plane::{Area, Plane};
use crate::trace::Packet;

use super::dump::{Data, Dump, Elements, Expr, Field, Operand, Operator, Rule, Statement, Table, Value, Verdict};
use super::value::Span;

/// Chains below each other that are looked into; what lies deeper may do anything.
const MAX_DEPTH: usize = 16;

/// For each chain that looks up original destinations alone, by table and chain: what it reaches, once it is asked.
#[derive(Debug, Default)]
pub struct Reaches {
    chains: HashMap<(usize, usize), [OnceLock<Option<Plane>>; 2]>,
}

impl Reaches {
    pub fn of(dump: &Dump) -> Reaches {
        let mut chains = HashMap::default();
        for (place, table) in dump.tables.iter().enumerate() {
            for (chain, own) in table.chains().iter().enumerate() {
                let looks_up =
                    |statement: &Statement| matches!(statement, Statement::Lookup { key, .. } if is_original(key));
                if own.rules.iter().flat_map(|rule| &rule.statements).any(looks_up) {
                    chains.insert((place, chain), Default::default());
                }
            }
        }
        Reaches { chains }
    }

    /// Whether a chain leaves alone whatever comes to its start. Notes how far that holds.
    pub fn misses(&self, dump: &Dump, (place, chain): (usize, usize), packet: &Packet, asked: &Asked) -> bool {
        let Some(views) = self.chains.get(&(place, chain)) else { return false };
        let family = Family::of(packet.destination);
        let plane = views[family as usize].get_or_init(|| reached(&dump.tables[place], chain, family));
        let Some(plane) = plane else { return false };
        let (inside, horizon) = plane.around(number(packet.destination), packet.port, asked.horizon().port);
        if !inside {
            asked.area(horizon);
        }
        !inside
    }
}

/// `None` for a chain that may do something to anything, or that leads to too much.
fn reached(table: &Table, chain: usize, family: Family) -> Option<Plane> {
    let statements = || table.chains().iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let learned = statements().filter_map(|statement| match statement {
        Statement::Learn { set, .. } => Some(set.to_string()),
        _ => None,
    });
    let mut gather =
        Gather { table, family, learned: learned.collect(), found: Vec::new(), left: 2 * statements().count() };
    let everything = Area { destinations: (0, u128::MAX), ports: (0, u16::MAX) };
    gather.chain(chain, everything, 0)?;
    (!gather.found.contains(&everything)).then(|| Plane::new(gather.found))
}

/// Looks for the rules that do something.
struct Gather<'d> {
    table: &'d Table,
    family: Family,
    /// The sets that rules put something into.
    learned: HashSet<String>,
    found: Vec<Area>,
    /// Statements and elements that may still be looked at.
    left: usize,
}

impl Gather<'_> {
    /// What a chain may do to what is in an area. `None` where there is too much to look at.
    fn chain(&mut self, chain: usize, area: Area, depth: usize) -> Option<()> {
        let table = self.table;
        table.chains()[chain].rules.iter().try_for_each(|rule| self.rule(rule, area, depth))
    }

    fn rule(&mut self, rule: &Rule, area: Area, depth: usize) -> Option<()> {
        let mut areas = vec![area];
        for statement in &rule.statements {
            self.left = self.left.checked_sub(1)?;
            match statement {
                Statement::Match { left: Expr::Field(field), operator, right } => {
                    areas = self.held(areas, *field, *operator, right);
                }
                Statement::Quiet(_) => {}
                Statement::Lookup { key, map } if is_original(key) && !self.is_learned(map) => {
                    return areas.into_iter().try_for_each(|area| self.lookup(map, area, depth));
                }
                Statement::Verdict(verdict) => {
                    return areas.into_iter().try_for_each(|area| self.verdict(verdict, area, depth));
                }
                _ => {
                    self.found.append(&mut areas);
                    return Some(());
                }
            }
        }
        Some(())
    }

    /// What of areas is in a set of values.
    fn held(&self, areas: Vec<Area>, field: Field, operator: Operator, right: &Operand) -> Vec<Area> {
        let values: Option<Vec<&Value>> = match (operator, right) {
            (Operator::Equal, Operand::Values(values)) => Some(values.iter().collect()),
            (Operator::Equal | Operator::In, Operand::Elements(Elements::Anonymous(elements))) => {
                elements.iter().map(|element| if let [one] = &element.key[..] { Some(one) } else { None }).collect()
            }
            _ => None,
        };
        let Some(values) = values.filter(|_| matches!(field, Field::OriginalDestination(_) | Field::OriginalPort))
        else {
            return areas;
        };
        let mut held = Vec::new();
        for area in &areas {
            for value in &values {
                match (field, value.span()) {
                    (Field::OriginalDestination(_), Some(Span::Addresses(..))) => held.extend(self.at(*area, value)),
                    (Field::OriginalPort, Some(Span::Numbers(first, last))) => {
                        let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
                        let ports = (area.ports.0.max(port(first)), area.ports.1.min(port(last)));
                        held.extend((ports.0 <= ports.1).then_some(Area { ports, ..*area }));
                    }
                    // What is no range may be anything.
                    _ => return areas,
                }
            }
        }
        held
    }

    /// What of an area goes to an address of this family.
    fn at(&self, area: Area, value: &Value) -> Option<Area> {
        let Some(Span::Addresses(family, first, last)) = value.span() else { return Some(area) };
        let destinations = (area.destinations.0.max(first), area.destinations.1.min(last));
        (family == self.family && destinations.0 <= destinations.1).then_some(Area { destinations, ..area })
    }

    fn lookup(&mut self, map: &Elements, area: Area, depth: usize) -> Option<()> {
        let table = self.table;
        let elements = match map {
            Elements::Anonymous(list) => list.as_slice(),
            Elements::Named(name) => match table.set(name) {
                Some(set) => set.elements.as_slice(),
                None => return self.does(area),
            },
        };
        for element in elements {
            self.left = self.left.checked_sub(1)?;
            let own = match &element.key[..] {
                [Value::Rest] => Some(area),
                [value] => self.at(area, value),
                _ => Some(area),
            };
            let Some(own) = own else { continue };
            match &element.data {
                Data::Verdict(verdict) => self.verdict(verdict, own, depth)?,
                _ => self.does(own)?,
            }
        }
        Some(())
    }

    fn verdict(&mut self, verdict: &Verdict, area: Area, depth: usize) -> Option<()> {
        let table = self.table;
        match verdict {
            Verdict::Jump(name) | Verdict::Goto(name) if depth < MAX_DEPTH => match table.chain(name) {
                Some(chain) => self.chain(chain, area, depth + 1),
                None => self.does(area),
            },
            Verdict::Return => Some(()),
            _ => self.does(area),
        }
    }

    fn does(&mut self, area: Area) -> Option<()> {
        self.found.push(area);
        Some(())
    }

    fn is_learned(&self, map: &Elements) -> bool {
        matches!(map, Elements::Named(name) if self.learned.contains::<str>(name.as_ref()))
    }
}

fn is_original(key: &Expr) -> bool {
    matches!(key, Expr::Field(Field::OriginalDestination(_)))
}
