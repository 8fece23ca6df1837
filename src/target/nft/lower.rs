//! From the dispatch cells to maps, base chains and cell chains. What a service does is [`super::service`]'s.
//!
//! A base chain goes to a dispatch chain for each family, which asks the stages in the table's order. A hit goes to a
//! service's chain, or to a cell chain where something is left to be tested, and never comes back: that is what makes
//! the first match win. What goes to the chain of a [common pattern](Shared::common) comes back where no map holds it. Below a base chain the deepest way is dispatch, cell, service, two hash levels, backend,
//! refusal: 7 of the 15 that the kernel allows.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::Diagnostic;
use crate::dispatch::{
    AddressRange, Area, Cell, Entry, Hook, Listener, Place, Segment, Table, Test, loopback, multicast, segments, table,
    tests_interface,
};
use crate::endpoint::PortRange;
use crate::ir::{Config, Family, Interface, PerFamily};
use crate::statement::balance::Protocol;
use crate::target::{Layout, Options, cost};

use super::model::short;
use super::model::{self, Chain, Comment, Element, Field, Name, Rule, Ruleset, Statement, Value, Verdict, VerdictMap};
use super::names::{Names, fixed};
use super::piece::{self, addresses, goto, not_broadcast, one, plain};
use super::shape::{MAX_CELLS_IN_A_ROW, MAX_INTERVALS};
use super::shared::{Shared, shared};
use super::unfold::Unfold;
use super::wide::{self, Listeners};
use super::{Format, linear, narrow, service, shape, source_nat};

/// Lowers a program for one of nft's two languages. All errors are returned, or none and the ruleset.
pub fn lower(config: &Config, options: &Options, format: Format) -> Result<Ruleset, Vec<Diagnostic>> {
    let errors = narrow::errors(config, format);
    if !errors.is_empty() {
        return Err(errors);
    }
    let names = Names::of(config);
    let source_nat = source_nat::chains(config, &names, options.layout)?;
    let large = shape::is_large(config, options.layout);
    let tables = tables(config);
    let shared = match large {
        true => shared(config, &names, &tables, format),
        false => Shared::default(),
    };
    let intervals: usize = tables.iter().map(|(_, tables)| intervals(&tables.v4) + intervals(&tables.v6)).sum();
    let narrow = large || intervals > MAX_INTERVALS;
    let mut lowering = Lowering::new(config, names, shared, narrow, options.layout);
    let mut base = Vec::new();
    let mut dispatch = Vec::new();
    let mut first: PerFamily<Option<(&Table, Name)>> = PerFamily::default();
    for (hook, tables) in &tables {
        let hook = *hook;
        let mut rules = Vec::new();
        for family in Family::ALL {
            let table = tables.get(family);
            if table.is_empty() {
                continue;
            }
            // Both hooks share a chain where they see the same table, and no rule of it asks for an interface by which nothing
            // comes that this machine opens.
            let asks =
                |listener: &Listener| tests_interface(&config.services()[listener.service as usize], Hook::Prerouting);
            let name = match first.get(family) {
                Some((earlier, name)) if *earlier == table && !table.linear.iter().any(asks) => name.clone(),
                Some(_) | None => {
                    let chain = lowering.dispatch(family, hook, table);
                    let name = chain.name.clone();
                    dispatch.push(chain);
                    *first.get_mut(family) = Some((table, name.clone()));
                    name
                }
            };
            rules.push(plain([one(Field::Family, Value::Family(family)), goto(name)]));
        }
        if hook == Hook::Output && !rules.is_empty() {
            rules.insert(0, answers());
        }
        // The table has a base chain even where there is nothing to do.
        if hook == Hook::Prerouting || !rules.is_empty() {
            let hook = model::Hook::of(hook);
            base.push(Chain { name: fixed(hook.name()), hook: Some(hook), rules });
        }
    }
    let dispatched = PerFamily { v4: first.v4.is_some(), v6: first.v6.is_some() };
    let made = lowering.services(format)?;
    let Lowering { names, mut maps, cells, refuse, shared, .. } = lowering;
    maps.extend(source_nat.maps);
    base.extend(source_nat.base);
    // What writes maps out stands first: for each of them the kernel walks what the transaction holds so far.
    let mut chains = base;
    let more = dispatch.len()
        + cells.len()
        + shared.picks.len()
        + shared.counting.len()
        + shared.servers.len()
        + made.chains.len();
    chains.reserve_exact(more + source_nat.chains.len() + 1);
    let picks = chains.len()..chains.len() + shared.picks.len();
    chains.extend(shared.picks);
    chains.extend(dispatch);
    chains.extend(cells);
    chains.extend(shared.counting);
    chains.extend(shared.servers);
    chains.extend(made.chains);
    chains.extend(source_nat.chains);
    let mut unfold = Unfold::default();
    if large {
        chains = unfold.chains(chains, picks);
    }
    let translates = service::translates(&chains);
    if Family::ALL.iter().any(|family| *dispatched.get(*family) && !translates.get(*family)) {
        chains[0].rules.insert(0, track());
    }
    chains.extend((refuse || made.refuses).then(|| service::refuse(names.refuse.clone())));
    let table = names.table(options.instance.as_ref());
    let (counters, memories) = (made.counters, made.memories);
    let Unfold { sets, ports, .. } = unfold;
    Ok(Ruleset { table, counters, memories, sets, ports, maps, turns: shared.turns, servers: shared.maps, chains })
}

/// The dispatch of both hooks.
pub fn tables(config: &Config) -> [(Hook, PerFamily<Table>); 2] {
    let of = |hook| PerFamily { v4: table(config, Family::V4, hook), v6: table(config, Family::V6, hook) };
    Hook::ALL.map(|hook| (hook, of(hook)))
}

/// Protocol and ports that a cell is for, and what stands in it.
type Asked<'c> = (Protocol, PortRange, &'c [Entry]);

/// What is known and made while a program is lowered.
pub struct Lowering<'a> {
    pub config: &'a Config,
    names: Names,
    pub maps: Vec<VerdictMap>,
    /// Chains that only look further.
    pub cells: Vec<Chain>,
    cell_names: PerFamily<HashMap<Vec<Entry>, Name>>,
    /// The chains that something goes to, by service.
    used: PerFamily<Vec<bool>>,
    refuse: bool,
    shared: Shared,
    /// Whether maps from ranges ask for one field only.
    narrow: bool,
    layout: Layout,
}

impl<'a> Lowering<'a> {
    fn new(config: &'a Config, names: Names, shared: Shared, narrow: bool, layout: Layout) -> Lowering<'a> {
        let unused = vec![false; config.services().len()];
        Lowering {
            config,
            names,
            maps: Vec::new(),
            cells: Vec::new(),
            cell_names: PerFamily::default(),
            used: PerFamily { v4: unused.clone(), v6: unused },
            refuse: false,
            shared,
            narrow,
            layout,
        }
    }

    /// Where a connection goes that a service gets.
    pub fn verdict(&mut self, service: u32, family: Family) -> Verdict {
        match service::shortcut(&self.config.services()[service as usize], family) {
            Some(service::Shortcut::Drop) => Verdict::Drop,
            Some(service::Shortcut::Refuse) => {
                self.refuse = true;
                Verdict::Goto(self.names.refuse.clone())
            }
            None if let Some(entrance) = self.shared.entrance(service, family) => Verdict::Goto(entrance.clone()),
            None => {
                self.used.get_mut(family)[service as usize] = true;
                Verdict::Goto(self.names.service(service, family).clone())
            }
        }
    }

    pub fn comment(&self, service: u32) -> Comment {
        self.names.comment(service).clone()
    }

    /// Where a cell's connections go, and the comment where they belong to one service.
    fn cell(&mut self, family: Family, entries: &[Entry]) -> (Verdict, Option<Comment>) {
        match entries {
            [only] if only.is_final() => (self.verdict(only.service, family), Some(self.comment(only.service))),
            _ => (Verdict::Goto(self.cell_chain(family, entries)), None),
        }
    }

    /// The chain that tests what a cell leaves open; cells with the same entries share it.
    fn cell_chain(&mut self, family: Family, entries: &[Entry]) -> Name {
        if let Some(name) = self.cell_names.get(family).get(entries) {
            return name.clone();
        }
        let number = self.cell_names.get(family).len() + 1;
        let name = fixed(&format!("cell-{number}-{}", short(family)));
        self.cell_names.get_mut(family).insert(entries.to_vec(), name.clone());
        let rules = entries.iter().map(|entry| self.entry(family, entry)).collect();
        self.cells.push(Chain { name: name.clone(), hook: None, rules });
        name
    }

    fn entry(&mut self, family: Family, entry: &Entry) -> Rule {
        let service = &self.config.services()[entry.service as usize];
        let mut statements = Vec::with_capacity(4);
        if entry.on {
            statements.extend(service.on.as_ref().map(piece::interfaces));
        }
        match entry.test {
            Test::Nothing => {}
            Test::Local => statements.push(piece::local()),
            Test::NotBroadcast => statements.push(not_broadcast()),
        }
        if entry.from {
            statements.extend(service.from.as_ref().map(|from| piece::allowed(from, family)));
        }
        statements.push(Statement::Verdict(self.verdict(entry.service, family)));
        Rule { statements, comment: Some(self.comment(entry.service)) }
    }

    /// The chain that looks connections of a family up, and its maps.
    fn dispatch(&mut self, family: Family, hook: Hook, table: &Table) -> Chain {
        let mut stages = Stages { family, hook, rules: Vec::new(), done: Vec::new() };
        let mut name = stages.name("dispatch");
        let broad = [&table.loopback, &table.local, &table.any].iter().any(|cells| !cells.is_empty());
        self.exact(&mut stages, table, broad);
        let segments = if self.narrow { segments(&table.ranges) } else { None };
        match segments {
            None => self.addresses(&mut stages, "ranges", &table.ranges),
            Some(list) if list.is_empty() => {}
            Some(list) => {
                let behind = (broad || !table.linear.is_empty()).then(|| stages.name("broad"));
                self.segments(&mut stages, &table.ranges, &list, behind.as_ref());
                stages.rules.extend(behind.clone().map(|behind| plain([goto(behind)])));
                stages.split(&mut name, behind);
            }
        }
        let many = cost::looks_up(self.layout, table.linear.len());
        let areas = || table.linear.iter().map(|listener| Area::of(listener, family)).collect::<Vec<_>>();
        match if many { wide::tree(family, &areas()) } else { None } {
            Some(tree) => {
                let behind = broad.then(|| stages.name("rest"));
                let list = &table.linear;
                let mut ground = Listeners { lowering: self, family, hook, list, behind: behind.clone(), named: 0 };
                stages.rules.extend(wide::plant(&tree, &mut ground));
                stages.split(&mut name, behind);
            }
            None => {
                for listener in &table.linear {
                    let rule = linear::rule(self, family, hook, listener);
                    stages.rules.push(rule);
                }
            }
        }
        let guard = one(Field::Destination(family), addresses(AddressRange::of(loopback(family))));
        self.broad(&mut stages, "loopback", &table.loopback, &[guard]);
        stages.rules.extend(special(family, table));
        let guard = piece::local();
        self.broad(&mut stages, "local", &table.local, &[guard]);
        if !table.any.is_empty() && family == Family::V4 {
            let broadcast = piece::broadcast();
            stages.rules.push(plain([broadcast, Statement::Verdict(Verdict::Return)]));
        }
        self.broad(&mut stages, "any", &table.any, &[]);
        let mut chains = stages.done;
        chains.push(Chain { name, hook: None, rules: stages.rules });
        let first = chains.remove(0);
        self.cells.extend(chains);
        first
    }

    /// Maps of addresses alone, those of single ones first, and a chain for each list of protocols and ports that is asked
    /// behind them. What none of these takes goes on to what is behind.
    fn segments(&mut self, stages: &mut Stages, cells: &[Cell], list: &[Segment], behind: Option<&Name>) {
        let family = stages.family;
        let mut chains: HashMap<Vec<Asked<'_>>, Name> = HashMap::new();
        let (mut hosts, mut nets) = (Vec::new(), Vec::new());
        for segment in list {
            let own = segment.cells.iter().map(|&index| {
                let Cell { protocol, ports, entries, .. } = &cells[index];
                (*protocol, *ports, entries.as_slice())
            });
            let own: Vec<_> = own.collect();
            let name = match chains.get(&own) {
                Some(name) => name.clone(),
                None => {
                    let name = self.segment(stages, chains.len() + 1, &own, behind);
                    chains.insert(own, name.clone());
                    name
                }
            };
            let map = if segment.at.is_single() { &mut hosts } else { &mut nets };
            map.push(Element { key: vec![addresses(segment.at)], verdict: Verdict::Goto(name), comment: None });
        }
        let key = vec![Field::Destination(family)];
        self.lookup(stages, "hosts", key.clone(), hosts, &[]);
        self.lookup(stages, "nets", key, nets, &[]);
    }

    /// The chain that asks for protocols and ports, which are disjoint.
    fn segment(&mut self, stages: &Stages, number: usize, cells: &[Asked<'_>], behind: Option<&Name>) -> Name {
        let family = stages.family;
        let name = stages.name(&format!("net-{number}"));
        let mut rules = Vec::new();
        for protocol in Protocol::ALL {
            let own = cells.iter().filter(|(other, ..)| *other == protocol);
            let own: Vec<(PortRange, Verdict, Option<Comment>)> = own
                .map(|(_, ports, entries)| {
                    let (verdict, comment) = self.cell(family, entries);
                    (*ports, verdict, comment)
                })
                .collect();
            let field = Field::Port(protocol);
            if own.len() <= MAX_CELLS_IN_A_ROW {
                rules.extend(own.into_iter().map(|(ports, verdict, comment)| Rule {
                    statements: vec![one(field, Value::Ports(ports)), Statement::Verdict(verdict)],
                    comment,
                }));
                continue;
            }
            let elements: Vec<Element> = own
                .into_iter()
                .map(|(ports, verdict, comment)| Element { key: vec![Value::Ports(ports)], verdict, comment })
                .collect();
            let interval = elements.iter().any(|element| element.key.iter().any(Value::is_range));
            let map = stages.name(&format!("net-{number}-{}", protocol.name()));
            let key = vec![field];
            self.maps.push(VerdictMap { name: map.clone(), key: key.clone(), interval, elements });
            rules.push(plain([Statement::Lookup { key, map }]));
        }
        rules.extend(behind.map(|behind| plain([goto(behind.clone())])));
        self.cells.push(Chain { name: name.clone(), hook: None, rules });
        name
    }

    /// The cells of one address and port each. Where most of their services pick alike, a map of the others, and the way to
    /// that pick for what it does not hold.
    fn exact(&mut self, stages: &mut Stages, table: &Table, broad: bool) {
        let family = stages.family;
        let Some(common) = self.shared.common(table.exact.iter(), family).cloned() else {
            return self.addresses(stages, "exact", &table.exact);
        };
        let is_common = |cell: &&Cell| match &cell.entries[..] {
            [only] => self.shared.entrance(only.service, family) == Some(&common),
            _ => false,
        };
        let others: Vec<Cell> = table.exact.iter().filter(|cell| !is_common(cell)).cloned().collect();
        self.addresses(stages, "exact", &others);
        let is_last = !broad && table.ranges.is_empty() && table.linear.is_empty();
        let verdict = if is_last { Verdict::Goto(common) } else { Verdict::Jump(common) };
        stages.rules.push(plain([Statement::Verdict(verdict)]));
    }

    /// One map of cells with addresses.
    fn addresses(&mut self, stages: &mut Stages, stem: &str, cells: &[Cell]) {
        let mut elements = Vec::with_capacity(cells.len());
        for cell in cells {
            let Place::Addresses(range) = &cell.place else { unreachable!("the stage holds cells with addresses") };
            elements.push(self.element(stages.family, cell, Some(addresses(*range))));
        }
        let key = vec![Field::Destination(stages.family), Field::Protocol, Field::AnyPort];
        self.lookup(stages, stem, key, elements, &[]);
    }

    /// The maps of cells without addresses: single ports before ranges (which may hold them too), and of each those
    /// for one interface first.
    fn broad(&mut self, stages: &mut Stages, stem: &str, cells: &[Cell], guard: &[Statement]) {
        let mut maps: [Vec<Element>; 4] = Default::default();
        let mut seen: HashSet<(&Place, Protocol, PortRange)> = HashSet::with_capacity(cells.len());
        for cell in cells {
            if !seen.insert((&cell.place, cell.protocol, cell.ports)) {
                continue;
            }
            let interface = match &cell.place {
                Place::Local { interface } | Place::Any { interface } => interface.clone(),
                Place::Loopback | Place::Addresses(_) => None,
            };
            let map = 2 * usize::from(!cell.ports.is_single()) + usize::from(interface.is_none());
            let first = interface.map(|name| Value::Interface(Interface::Exact(name)));
            maps[map].push(self.element(stages.family, cell, first));
        }
        for (elements, suffix) in maps.into_iter().zip(["-on", "", "-ranges-on", "-ranges"]) {
            let mut key = vec![Field::Protocol, Field::AnyPort];
            if suffix.ends_with("on") {
                key.insert(0, Field::Interface);
            }
            if self.narrow && suffix.starts_with("-ranges") {
                match suffix.ends_with("on") {
                    true => stages.rules.extend(elements.into_iter().map(|element| in_rule(&key, element, guard))),
                    false => self.port_ranges(stages, &format!("{stem}{suffix}"), elements, guard),
                }
                continue;
            }
            self.lookup(stages, &format!("{stem}{suffix}"), key, elements, guard);
        }
    }

    /// Elements of protocols and ranges of ports as a map of ports for each protocol.
    fn port_ranges(&mut self, stages: &mut Stages, stem: &str, elements: Vec<Element>, guard: &[Statement]) {
        for protocol in Protocol::ALL {
            let own = elements.iter().filter(|element| element.key[0] == Value::Protocol(protocol));
            let own = own.map(|element| Element { key: element.key[1..].to_vec(), ..element.clone() }).collect();
            self.lookup(stages, &format!("{stem}-{}", protocol.name()), vec![Field::Port(protocol)], own, guard);
        }
    }

    fn element(&mut self, family: Family, cell: &Cell, first: Option<Value>) -> Element {
        let (verdict, comment) = self.cell(family, &cell.entries);
        let rest = [Value::Protocol(cell.protocol), Value::Ports(cell.ports)];
        Element { key: first.into_iter().chain(rest).collect(), verdict, comment }
    }

    /// A map, if it has elements, and the rule that asks it. The output hook uses prerouting's map where it is the same.
    fn lookup(
        &mut self,
        stages: &mut Stages,
        stem: &str,
        key: Vec<Field>,
        elements: Vec<Element>,
        guard: &[Statement],
    ) {
        if elements.is_empty() {
            return;
        }
        let interval = elements.iter().any(|element| element.key.iter().any(Value::is_range));
        let shared = Stages::named(Hook::Prerouting, stages.family, stem);
        let same = self.maps.iter().find(|map| map.name == shared && map.key == key && map.elements == elements);
        let map = match same {
            Some(map) => map.name.clone(),
            None => {
                let name = stages.name(stem);
                self.maps.push(VerdictMap { name: name.clone(), key: key.clone(), interval, elements });
                name
            }
        };
        let mut statements = guard.to_vec();
        statements.push(Statement::Lookup { key, map });
        stages.rules.push(Rule { statements, comment: None });
    }

    /// The services that something goes to, in source order.
    fn services(&self, format: Format) -> Result<service::Made, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let mut made = service::Made::default();
        for (index, service) in self.config.services().iter().enumerate() {
            for family in Family::ALL.into_iter().filter(|family| self.used.get(*family)[index]) {
                let maker = service::Maker::new(service, family, format, &self.names, index as u32, &mut made);
                errors.extend(maker.make().err());
            }
        }
        if errors.is_empty() { Ok(made) } else { Err(errors) }
    }
}

/// The dispatch chain in the making.
pub struct Stages {
    family: Family,
    hook: Hook,
    rules: Vec<Rule>,
    /// Chains before the one that `rules` are of.
    done: Vec<Chain>,
}

impl Stages {
    fn name(&self, stem: &str) -> Name {
        Stages::named(self.hook, self.family, stem)
    }

    pub fn named(hook: Hook, family: Family, stem: &str) -> Name {
        let hook = match hook {
            Hook::Prerouting => "",
            Hook::Output => "output-",
        };
        fixed(&format!("{stem}-{hook}{}", short(family)))
    }

    /// What follows stands in a chain of its own, if anything does.
    fn split(&mut self, name: &mut Name, behind: Option<Name>) {
        if let Some(behind) = behind {
            let name = std::mem::replace(name, behind);
            self.done.push(Chain { name, hook: None, rules: std::mem::take(&mut self.rules) });
        }
    }
}

/// An element of a map as a rule. Its port is asked as that of its protocol.
fn in_rule(key: &[Field], element: Element, guard: &[Statement]) -> Rule {
    let Element { key: values, verdict, comment } = element;
    let protocol = values.iter().find_map(|value| match value {
        Value::Protocol(protocol) => Some(*protocol),
        _ => None,
    });
    let mut statements = guard.to_vec();
    statements.extend(key.iter().zip(values).filter_map(|(field, value)| match (field, protocol) {
        (Field::Protocol, _) => None,
        (Field::AnyPort, Some(protocol)) => Some(one(Field::Port(protocol), value)),
        (field, _) => Some(one(*field, value)),
    }));
    statements.push(Statement::Verdict(verdict));
    Rule { statements, comment }
}

/// Elements of maps from ranges of several fields that a table would need.
fn intervals(table: &Table) -> usize {
    let broad = [&table.loopback, &table.local, &table.any].into_iter().flatten();
    table.ranges.len() + broad.filter(|cell| !cell.ports.is_single()).count()
}

/// Keeps loopback addresses from the stages for local and any address, and multicast from the latter.
fn special(family: Family, table: &Table) -> Option<Rule> {
    let mut values = vec![addresses(AddressRange::of(loopback(family)))];
    match (table.local.is_empty(), table.any.is_empty()) {
        (true, true) => return None,
        // A multicast address is none of this machine's own.
        (false, true) => {}
        (_, false) => values.push(addresses(AddressRange::of(multicast(family)))),
    }
    let test = Statement::Match { field: Field::Destination(family), negated: false, values };
    Some(plain([test, Statement::Verdict(Verdict::Return)]))
}

/// A refusal that this machine sends for a connection in prerouting walks the output hook too, in reply direction: it
/// must not meet the rules for connections that the machine opens.
fn answers() -> Rule {
    let comment = Comment::fitted("refusals that this machine sends are no connections that it opens");
    let statements = vec![one(Field::ConnectionDirection, Value::Reply), Statement::Verdict(Verdict::Return)];
    Rule { statements, comment: Some(comment) }
}

/// Makes the kernel track connections in both families: without an expression that needs it, such as `dnat` or any `ct`,
/// it does not, and walks no `nat` chain. Invalid packets reach no `nat` chain, so the rule does nothing else.
fn track() -> Rule {
    let comment = Comment::fitted("makes the kernel track connections, or nat chains are not walked");
    let statements = vec![one(Field::ConnectionState, Value::Invalid), Statement::Verdict(Verdict::Return)];
    Rule { statements, comment: Some(comment) }
}
