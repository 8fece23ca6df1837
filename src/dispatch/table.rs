//! Cutting the listeners of a family and hook into a [`Table`] of cells.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ipnet::IpNet;

use crate::address::number;
use crate::endpoint::PortRange;
use crate::ir::{Config, Destination, Family, Interface, Service};
use crate::statement::balance::Protocol;

use super::cells::{AddressRange, Cell, Entry, Place, Test};
use super::segments::segments;
use super::{Hook, Listener, falls_through, listeners, loopback, multicast, tests_interface};

/// The dispatch of one family and hook. Stages are asked in the order of the fields; a hit is final.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// One address and one port each.
    pub exact: Vec<Cell>,
    /// Disjoint ranges of addresses and ports.
    pub ranges: Vec<Cell>,
    /// Groups whose cells would be too many: tried one after the other, in source order.
    pub linear: Vec<Listener>,
    pub loopback: Vec<Cell>,
    /// Cells for one interface stand before those for all.
    pub local: Vec<Cell>,
    /// Cells for one interface stand before those for all.
    pub any: Vec<Cell>,
}

/// Cells that a group may have for each of its listeners before it is tried linearly instead.
const CELLS_PER_LISTENER: usize = 4;
/// Entries of the cells of local and any destinations, for each listener, before all are tried linearly instead.
const ENTRIES_PER_LISTENER: usize = 8;
/// Range cells of one table that need not be cut into [`segments`].
const MAX_RANGES: usize = 800;

impl Table {
    /// Whether nothing is dispatched.
    pub fn is_empty(&self) -> bool {
        self.cells().next().is_none() && self.linear.is_empty()
    }

    /// Every cell, in the order of the stages.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        [&self.exact, &self.ranges, &self.loopback, &self.local, &self.any].into_iter().flatten()
    }
}

/// The listeners of one protocol, filed so that those over a place are found without looking at the others.
#[derive(Default)]
struct Index {
    exact: BTreeMap<(u16, u128), Vec<Listener>>,
    /// Wide listeners with an address: by prefix length, then network.
    nets: BTreeMap<u8, HashMap<u128, Vec<Listener>>>,
    local: Ports,
    any: Ports,
}

/// Listeners by port; those on a range of ports apart.
#[derive(Default)]
struct Ports {
    single: BTreeMap<u16, Vec<Listener>>,
    ranges: Vec<Listener>,
}

impl Ports {
    fn add(&mut self, listener: Listener) {
        match listener.ports.is_single() {
            true => self.single.entry(listener.ports.first()).or_default().push(listener),
            false => self.ranges.push(listener),
        }
    }

    fn over(&self, ports: PortRange) -> impl Iterator<Item = &Listener> {
        let single = self.single.range(ports.first()..=ports.last()).flat_map(|(_, list)| list);
        single.chain(self.ranges.iter().filter(move |listener| listener.ports.overlaps(ports)))
    }

    /// The listeners that hold all of `ports`, which no range cuts. Single ports inside a range have cells of their own.
    fn around(&self, ports: PortRange) -> impl Iterator<Item = &Listener> {
        let single = ports.is_single().then(|| self.single.get(&ports.first())).flatten();
        single.into_iter().flatten().chain(self.ranges.iter().filter(move |listener| listener.ports.overlaps(ports)))
    }

    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.ranges.is_empty()
    }
}

impl Index {
    fn new(list: &[Listener]) -> Index {
        let mut index = Index::default();
        for &listener in list {
            match listener.destination {
                Destination::Local => index.local.add(listener),
                Destination::Any => index.any.add(listener),
                Destination::Prefix(net) if is_exact(net, listener.ports) => {
                    index.exact.entry((listener.ports.first(), number(net.addr()))).or_default().push(listener);
                }
                Destination::Prefix(net) => {
                    let nets = index.nets.entry(net.prefix_len()).or_default();
                    nets.entry(number(net.network())).or_default().push(listener);
                }
            }
        }
        index
    }

    /// Wide listeners whose prefix holds the address range (which no prefix cuts) and whose ports overlap.
    fn nets_over(&self, at: AddressRange, ports: PortRange) -> impl Iterator<Item = &Listener> {
        let bits = if at.family == Family::V4 { 32u32 } else { 128 };
        let lists = self.nets.iter().filter_map(move |(&len, nets)| {
            let host_bits = bits - u32::from(len);
            let network = if host_bits == 128 { 0 } else { at.first >> host_bits << host_bits };
            nets.get(&network)
        });
        lists.flatten().filter(move |listener| listener.ports.overlaps(ports))
    }
}

fn is_exact(net: IpNet, ports: PortRange) -> bool {
    net.prefix_len() == net.max_prefix_len() && ports.is_single()
}

/// Whether it has an address, and more than one or more than one port.
fn is_wide(listener: &Listener) -> bool {
    listener.destination.prefix().is_some_and(|net| !is_exact(net, listener.ports))
}

/// Cuts the program's listeners of a family and hook into cells. Where more than [`MAX_RANGES`] cells of ranges have no
/// [`segments`], what they would hold is tried linearly.
pub fn table(config: &Config, family: Family, hook: Hook) -> Table {
    let all = listeners(config, family, hook);
    let mut table = Table::default();
    for protocol in Protocol::ALL {
        let list: Vec<Listener> = all.iter().filter(|listener| listener.protocol == protocol).copied().collect();
        let index = Index::new(&list);
        Cutter { services: config.services(), family, hook, protocol, index }.cut(&list, &mut table);
    }
    table.ranges = join_ports(std::mem::take(&mut table.ranges));
    if table.ranges.len() > MAX_RANGES && segments(&table.ranges).is_none() {
        // Groups are disjoint, so all wide listeners may as well be tried in source order.
        table.ranges.clear();
        let wide: Vec<Listener> = all.iter().filter(|listener| is_wide(listener)).copied().collect();
        table.linear = Protocol::ALL.into_iter().flat_map(|protocol| closure(&all, &wide, protocol)).collect();
    }
    table.linear.sort_by_key(|listener| listener.service);
    table
}

/// The cells of single addresses and ports alone, of all protocols.
pub fn exact(config: &Config, family: Family, hook: Hook) -> Vec<Cell> {
    let all = listeners(config, family, hook);
    let mut cells = Vec::new();
    for protocol in Protocol::ALL {
        let list: Vec<Listener> = all.iter().filter(|listener| listener.protocol == protocol).copied().collect();
        let index = Index::new(&list);
        cells.extend(Cutter { services: config.services(), family, hook, protocol, index }.exact());
    }
    cells
}

/// The listeners that [`exact`] leaves out and that have an address, with every local and any listener that they meet, at
/// any remove; in source order.
pub fn wide(list: &[Listener]) -> Vec<Listener> {
    let wide: Vec<Listener> = list.iter().filter(|listener| is_wide(listener)).copied().collect();
    let mut chosen: Vec<Listener> =
        Protocol::ALL.into_iter().flat_map(|protocol| closure(list, &wide, protocol)).collect();
    chosen.sort_by_key(|listener| listener.service);
    chosen
}

/// The wide listeners of a protocol with every local and any listener that they meet, at any remove, in source order.
fn closure(all: &[Listener], wide: &[Listener], protocol: Protocol) -> Vec<Listener> {
    let mut ports: Vec<PortRange> = wide.iter().filter(|w| w.protocol == protocol).map(|w| w.ports).collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let broad: Vec<&Listener> = all
        .iter()
        .filter(|listener| listener.protocol == protocol && !matches!(listener.destination, Destination::Prefix(_)))
        .collect();
    loop {
        ports = merge(ports);
        let meets = |listener: &&&Listener| ports.iter().any(|range| range.overlaps(listener.ports));
        let grown: Vec<PortRange> = broad.iter().filter(meets).map(|listener| listener.ports).collect();
        let next = merge(ports.iter().copied().chain(grown).collect());
        if next == ports {
            break;
        }
        ports = next;
    }
    let known: HashSet<(u32, Destination, PortRange)> =
        wide.iter().map(|listener| (listener.service, listener.destination, listener.ports)).collect();
    let is_known = |listener: &Listener| known.contains(&(listener.service, listener.destination, listener.ports));
    let chosen = |listener: &&Listener| {
        listener.protocol == protocol
            && match listener.destination {
                Destination::Prefix(_) => is_wide(listener) && is_known(listener),
                Destination::Local | Destination::Any => ports.iter().any(|range| range.overlaps(listener.ports)),
            }
    };
    all.iter().filter(chosen).copied().collect()
}

/// Overlapping ranges become one.
fn merge(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.overlaps(range) => {
                *last = PortRange::new(last.first(), last.last().max(range.last())).expect("a union of ranges is one");
            }
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

struct Cutter<'a> {
    services: &'a [Service],
    family: Family,
    hook: Hook,
    protocol: Protocol,
    index: Index,
}

impl Cutter<'_> {
    fn exact(&self) -> impl Iterator<Item = Cell> {
        self.index.exact.keys().filter_map(|&(port, address)| {
            let at = AddressRange { family: self.family, first: address, last: address };
            self.addresses(at, PortRange::single(port).expect("a listener's port"))
        })
    }

    fn cut(&self, list: &[Listener], table: &mut Table) {
        table.exact.extend(self.exact());
        let wide: Vec<Listener> = list.iter().filter(|listener| is_wide(listener)).copied().collect();
        match self.broad_cells(ENTRIES_PER_LISTENER * list.len() + 64) {
            Some((local, any)) => {
                table.local.extend(local);
                table.any.extend(any);
                for group in groups(&wide) {
                    match self.grid(&group) {
                        Some(cells) => table.ranges.extend(cells),
                        None => table.linear.extend(closure(list, &group, self.protocol)),
                    }
                }
            }
            None => table.linear.extend(list.iter().filter(|listener| match listener.destination {
                Destination::Prefix(net) => !is_exact(net, listener.ports),
                Destination::Local | Destination::Any => true,
            })),
        }
        let loopback: Vec<PortRange> = list
            .iter()
            .filter(|listener| listener.loopback && !matches!(listener.destination, Destination::Prefix(_)))
            .map(|listener| listener.ports)
            .collect();
        for ports in elementary(loopback.into_iter()) {
            let over = self.index.local.over(ports).chain(self.index.any.over(ports));
            let entries = over.filter(|l| l.loopback).map(|l| self.entry(l.service, Test::Nothing)).collect();
            table.loopback.extend(self.cell(Place::Loopback, ports, entries));
        }
    }

    /// The cells of local and of any destinations; `None` where they would hold more entries than the budget.
    fn broad_cells(&self, budget: usize) -> Option<(Vec<Cell>, Vec<Cell>)> {
        let mut entries = 0;
        let mut within = |cells: &[Cell]| {
            entries += cells.iter().map(|cell| cell.entries.len()).sum::<usize>();
            entries <= budget
        };
        let mut cells = (Vec::new(), Vec::new());
        let (local, any) = (&self.index.local, &self.index.any);
        // A local cell has to know the listeners on any address too; where there is no local one, `any` serves.
        let in_local_range = |port: &u16| local.ranges.iter().any(|listener| listener.ports.contains(*port));
        let mut single: BTreeSet<u16> = local.single.keys().copied().collect();
        single.extend(any.single.keys().copied().filter(in_local_range));
        let single = single.into_iter().filter_map(PortRange::single);
        let mut ranges = elementary(local.ranges.iter().chain(&any.ranges).map(|listener| listener.ports));
        ranges.retain(|range| local.ranges.iter().any(|listener| listener.ports.overlaps(*range)));
        for ports in single.chain(ranges) {
            let more = self.broad(ports, true);
            if !within(&more) {
                return None;
            }
            cells.0.extend(more);
        }
        let single = any.single.keys().copied().filter_map(PortRange::single);
        for ports in single.chain(elementary(any.ranges.iter().map(|listener| listener.ports))) {
            let more = self.broad(ports, false);
            if !within(&more) {
                return None;
            }
            cells.1.extend(more);
        }
        Some(cells)
    }

    /// The cell of a range of addresses and ports that no listener cuts.
    fn addresses(&self, at: AddressRange, ports: PortRange) -> Option<Cell> {
        let mut entries = Vec::new();
        if at.is_single() && ports.is_single() {
            let exact = self.index.exact.get(&(ports.first(), at.first)).into_iter().flatten();
            entries.extend(exact.map(|listener| self.entry(listener.service, Test::Nothing)));
        }
        entries.extend(self.index.nets_over(at, ports).map(|listener| self.entry(listener.service, Test::Nothing)));
        let (in_loopback, special) = self.special(at);
        for listener in self.index.local.over(ports).chain(self.index.any.over(ports)) {
            let any = listener.destination == Destination::Any;
            let test = match (in_loopback, special, any, self.family) {
                (true, ..) if listener.loopback => Test::Nothing,
                (true, ..) | (_, true, ..) => continue,
                (false, false, false, _) => Test::Local,
                (false, false, true, Family::V4) => Test::NotBroadcast,
                (false, false, true, Family::V6) => Test::Nothing,
            };
            entries.push(self.entry(listener.service, test));
        }
        self.cell(Place::Addresses(at), ports, entries)
    }

    /// Whether the range is loopback, and whether it is multicast or a broadcast address (0.0.0.0 counts as one).
    fn special(&self, at: AddressRange) -> (bool, bool) {
        let broadcast = |at: u128| at == 0 || at == u128::from(u32::MAX);
        let broadcast = self.family == Family::V4 && at.is_single() && broadcast(at.first);
        let multicast = AddressRange::of(multicast(self.family)).contains(at);
        (AddressRange::of(loopback(self.family)).contains(at), multicast || broadcast)
    }

    /// The cells of ports at addresses that no listener names: local ones, or the others.
    fn broad(&self, ports: PortRange, local: bool) -> Vec<Cell> {
        let any = self.index.any.around(ports);
        let over: Vec<u32> = match local {
            true => self.index.local.around(ports).chain(any).map(|listener| listener.service).collect(),
            false => any.map(|listener| listener.service).collect(),
        };
        let entries: Vec<Entry> = over.iter().map(|&service| self.entry(service, Test::Nothing)).collect();
        let place = |interface: Option<String>| match local {
            true => Place::Local { interface },
            false => Place::Any { interface },
        };
        let named = self.interfaces(&entries);
        let mut cells = Vec::new();
        for interface in &named {
            let inside = entries.iter().filter(|entry| !entry.on || self.allows(entry, interface));
            let decided = inside.map(|entry| Entry { on: false, ..*entry }).collect();
            cells.extend(self.cell(place(Some(interface.clone())), ports, decided));
        }
        let elsewhere = entries.into_iter().filter(|entry| !entry.on || !self.only_on(entry, &named)).collect();
        cells.extend(self.cell(place(None), ports, elsewhere));
        cells
    }

    /// The interfaces that get cells of their own: those that two statements or more tell apart.
    fn interfaces(&self, entries: &[Entry]) -> Vec<String> {
        let mut names = BTreeSet::new();
        let mut statements = 0;
        for on in entries.iter().filter(|entry| entry.on).filter_map(|entry| self.service(entry).on.as_ref()) {
            let exact = on.interfaces.iter().filter_map(|interface| match interface {
                Interface::Exact(name) => Some(name.clone()),
                Interface::Prefix(_) => None,
            });
            if !on.not {
                statements += 1;
                names.extend(exact);
            }
        }
        if statements > 1 { names.into_iter().collect() } else { Vec::new() }
    }

    fn service(&self, entry: &Entry) -> &Service {
        &self.services[entry.service as usize]
    }

    fn allows(&self, entry: &Entry, interface: &str) -> bool {
        self.service(entry).on.as_ref().is_none_or(|on| on.allows(interface))
    }

    /// Whether a statement matches on none but these interfaces.
    fn only_on(&self, entry: &Entry, named: &[String]) -> bool {
        self.service(entry).on.as_ref().is_some_and(|on| {
            !on.not
                && on.interfaces.iter().all(|interface| match interface {
                    Interface::Exact(name) => named.contains(name),
                    Interface::Prefix(_) => false,
                })
        })
    }

    fn entry(&self, index: u32, test: Test) -> Entry {
        let service = &self.services[index as usize];
        Entry {
            service: index,
            test,
            on: tests_interface(service, self.hook),
            from: falls_through(service, self.family),
        }
    }

    /// A cell in source order, cut behind the first entry that is final; none where nothing matches.
    fn cell(&self, place: Place, ports: PortRange, mut entries: Vec<Entry>) -> Option<Cell> {
        // Of one statement the entry with the least to test comes first and stands for the others.
        entries.sort_unstable();
        entries.dedup_by_key(|entry| entry.service);
        if let Some(last) = entries.iter().position(Entry::is_final) {
            entries.truncate(last + 1);
        }
        (!entries.is_empty()).then_some(Cell { place, protocol: self.protocol, ports, entries })
    }

    /// A group of wide listeners as disjoint cells; `None` where they would be too many.
    fn grid(&self, group: &[Listener]) -> Option<Vec<Cell>> {
        let ranges: Vec<(AddressRange, PortRange)> = group.iter().filter_map(wide_range).collect();
        let ports = self.port_cuts(&ranges);
        let addresses = self.address_cuts(&ranges, &ports);
        let budget = CELLS_PER_LISTENER * group.len() + 4;
        let mut cells: Vec<Cell> = Vec::new();
        let mut entries = 0;
        for &at in &addresses {
            let known = cells.len();
            let covering: Vec<PortRange> =
                ranges.iter().filter(|(range, _)| range.contains(at)).map(|(_, ports)| *ports).collect();
            for &ports in ports.iter().filter(|ports| covering.iter().any(|range| range.overlaps(**ports))) {
                let Some(cell) = self.addresses(at, ports) else { continue };
                match cells.last_mut() {
                    Some(last) if joins_ports(last, &cell) => {
                        let joined = PortRange::new(last.ports.first(), cell.ports.last());
                        last.ports = joined.expect("neighbours in ascending order");
                    }
                    Some(_) | None => cells.push(cell),
                }
            }
            entries += cells[known..].iter().map(|cell| cell.entries.len()).sum::<usize>();
            if cells.len() > 8 * budget || entries > 8 * ENTRIES_PER_LISTENER * budget {
                return None;
            }
        }
        let cells = join_addresses(cells);
        (cells.len() <= budget).then_some(cells)
    }

    /// Port ranges that no listener over the group cuts.
    fn port_cuts(&self, ranges: &[(AddressRange, PortRange)]) -> Vec<PortRange> {
        let own = ranges.iter().map(|(_, ports)| *ports);
        let mut others = Vec::new();
        for (_, ports) in ranges {
            others.extend(self.index.local.over(*ports).chain(self.index.any.over(*ports)).map(|l| l.ports));
        }
        others.sort_unstable();
        others.dedup();
        let mut cut = elementary(own.chain(others));
        cut.retain(|range| ranges.iter().any(|(_, ports)| ports.overlaps(*range)));
        cut
    }

    /// Address ranges that no listener of the group cuts, nor, where it matters, loopback or multicast.
    fn address_cuts(&self, ranges: &[(AddressRange, PortRange)], ports: &[PortRange]) -> Vec<AddressRange> {
        let mut starts: BTreeSet<u128> = BTreeSet::new();
        let mut cut = |range: AddressRange| {
            starts.insert(range.first);
            starts.extend(range.last.checked_add(1));
        };
        for (range, _) in ranges {
            cut(*range);
        }
        let broad = !(self.index.local.is_empty() && self.index.any.is_empty());
        if broad && ports.iter().any(|p| self.index.local.over(*p).chain(self.index.any.over(*p)).next().is_some()) {
            cut(AddressRange::of(loopback(self.family)));
            cut(AddressRange::of(multicast(self.family)));
            if self.family == Family::V4 {
                let ones = u128::from(u32::MAX);
                cut(AddressRange { family: self.family, first: ones, last: ones });
            }
        }
        let end = if self.family == Family::V4 { u128::from(u32::MAX) } else { u128::MAX };
        let starts: Vec<u128> = starts.into_iter().filter(|start| *start <= end).collect();
        let mut list = Vec::new();
        for (index, &first) in starts.iter().enumerate() {
            let last = starts.get(index + 1).map_or(end, |next| next - 1);
            let at = AddressRange { family: self.family, first, last };
            if ranges.iter().any(|(range, _)| range.contains(at)) {
                list.push(at);
            }
        }
        list
    }
}

fn wide_range(listener: &Listener) -> Option<(AddressRange, PortRange)> {
    listener.destination.prefix().map(|net| (AddressRange::of(net), listener.ports))
}

/// Joins cells of neighbouring ports that are alike in everything else, also across groups.
fn join_ports(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort_by(|a, b| (&a.place, a.protocol, a.ports).cmp(&(&b.place, b.protocol, b.ports)));
    let mut joined: Vec<Cell> = Vec::with_capacity(cells.len());
    for cell in cells {
        match joined.last_mut() {
            Some(last) if last.protocol == cell.protocol && joins_ports(last, &cell) => {
                let ports = PortRange::new(last.ports.first(), cell.ports.last());
                last.ports = ports.expect("neighbours in ascending order");
            }
            Some(_) | None => joined.push(cell),
        }
    }
    joined
}

fn joins_ports(a: &Cell, b: &Cell) -> bool {
    a.place == b.place && a.entries == b.entries && u32::from(a.ports.last()) + 1 == u32::from(b.ports.first())
}

/// Joins cells of neighbouring address ranges that are alike in everything else.
fn join_addresses(cells: Vec<Cell>) -> Vec<Cell> {
    let mut open: HashMap<(PortRange, Vec<Entry>), usize> = HashMap::new();
    let mut joined: Vec<Cell> = Vec::new();
    for cell in cells {
        let key = (cell.ports, cell.entries.clone());
        let neighbour = open.get(&key).copied().filter(|&index| match (&joined[index].place, &cell.place) {
            (Place::Addresses(a), Place::Addresses(b)) => a.last.checked_add(1) == Some(b.first),
            _ => false,
        });
        match (neighbour, &cell.place) {
            (Some(index), Place::Addresses(b)) => {
                if let Place::Addresses(a) = &mut joined[index].place {
                    a.last = b.last;
                }
            }
            (Some(_) | None, _) => {
                open.insert(key, joined.len());
                joined.push(cell);
            }
        }
    }
    joined
}

/// Cuts ranges at each other's ends: ascending, disjoint, covering the same ports.
fn elementary(ranges: impl Iterator<Item = PortRange>) -> Vec<PortRange> {
    let ranges: Vec<PortRange> = ranges.collect();
    let mut starts: BTreeSet<u32> = BTreeSet::new();
    // How many ranges start and end at a port: positive sums are covered.
    let mut change: BTreeMap<u32, i64> = BTreeMap::new();
    for range in &ranges {
        let (first, behind) = (u32::from(range.first()), u32::from(range.last()) + 1);
        starts.extend([first, behind]);
        *change.entry(first).or_default() += 1;
        *change.entry(behind).or_default() -= 1;
    }
    let starts: Vec<u32> = starts.into_iter().collect();
    let mut covered = 0;
    let mut cut = Vec::new();
    for pair in starts.windows(2) {
        covered += change.get(&pair[0]).copied().unwrap_or(0);
        if covered > 0 {
            cut.extend(PortRange::new(pair[0] as u16, (pair[1] - 1) as u16));
        }
    }
    cut
}

/// Splits wide listeners into groups: listeners of different groups share no connection.
fn groups(wide: &[Listener]) -> Vec<Vec<Listener>> {
    let mut parent: Vec<usize> = (0..wide.len()).collect();
    fn root(parent: &mut [usize], mut index: usize) -> usize {
        while parent[index] != index {
            parent[index] = parent[parent[index]];
            index = parent[index];
        }
        index
    }
    // Sweep over the addresses: prefixes nest, so those still open at a start are the ones that contain it.
    let ranges: Vec<(AddressRange, PortRange)> = wide.iter().filter_map(wide_range).collect();
    let mut order: Vec<usize> = (0..wide.len()).collect();
    order.sort_by_key(|&index| (ranges[index].0.first, std::cmp::Reverse(ranges[index].0.last)));
    let mut open: Vec<usize> = Vec::new();
    for index in order {
        open.retain(|&earlier| ranges[earlier].0.overlaps(ranges[index].0));
        for &earlier in &open {
            if ranges[earlier].1.overlaps(ranges[index].1) {
                let (a, b) = (root(&mut parent, earlier), root(&mut parent, index));
                parent[b.max(a)] = a.min(b);
            }
        }
        open.push(index);
    }
    let mut groups: BTreeMap<usize, Vec<Listener>> = BTreeMap::new();
    for (index, listener) in wide.iter().enumerate() {
        groups.entry(root(&mut parent, index)).or_default().push(*listener);
    }
    groups.into_values().collect()
}
