//! Services whose backends stand in maps that thousands of services share.
//!
//! ```text
//! exact-ip4:  ADDRESS . PROTOCOL . PORT : goto pick-3      the service's pattern of weights
//! pick-3:     numgen random mod 6 vmap { 0-2 : goto at-0, 3-4 : goto at-1, 5 : goto at-2 }
//! at-1:       dnat ip to ip daddr . meta l4proto . th dport map @at-1-ip4
//! at-1-ip4:   ADDRESS . PROTOCOL . PORT : ADDRESS . PORT   the service's second backend
//! ```
//!
//! A round robin counts in a rule of its own; in JSON, which has no such maps, it has rules in a row:
//!
//! ```text
//! exact-ip4:  ADDRESS . PROTOCOL . PORT : goto svc-web-ip4
//! svc-web-ip4: numgen inc mod 3 vmap @turns-1
//! turns-1:    0 : goto at-0, 1 : goto at-1, 2 : goto at-0
//! ```
//!
//! So a service is an element of each of a few maps and at most one rule. It must be found by its address and port alone,
//! and its connections must have nothing to do but to pick a server.
//!
//! Where most services pick alike, no map says so: `exact-ip4` holds the others, and whatever it does not hold goes to the
//! chain of the [common](Shared::common) pattern, whose maps do not have what is no service's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::dispatch::{AddressRange, Cell, Hook, Place, Table};
use crate::ir::hash::{DIGITS, Levels, SourceHash};
use crate::ir::{Algorithm, Backend, Body, Config, Family, PerFamily, Service};
use crate::statement::balance::Protocol;
use crate::target::split;

use super::Format;
use super::model::{
    Chain, Choice, Comment, Destination, Field, Held, Name, Numbers, Pick, Rule, Seat, Server, ServerMap, Statement,
    TurnMap, Value,
};
use super::model::{Verdict, short};
use super::names::{Names, fixed};
use super::piece::plain;
use super::service::shortcut;
use super::shape::{MAX_HASHES, MAX_LISTENERS, MAX_PATTERNS, MAX_SLOTS, MAX_SPREAD};

/// The shared maps of a program, and who is in them.
#[derive(Default)]
pub struct Shared {
    /// Where the connections of a service go, by service.
    entrances: PerFamily<HashMap<u32, Name>>,
    pub maps: Vec<ServerMap>,
    /// Those that ask the maps.
    pub servers: Vec<Chain>,
    /// Those that pick.
    pub picks: Vec<Chain>,
    /// Those that count turns, each of one service.
    pub counting: Vec<Chain>,
    pub turns: Vec<TurnMap>,
    /// The addresses and ports that the maps hold.
    keys: PerFamily<usize>,
    /// How many of them lead to a chain that draws a number, which does nothing to what is not in the maps.
    drawing: PerFamily<HashMap<Name, usize>>,
}

impl Shared {
    /// The chain for a service that is in the maps.
    pub fn entrance(&self, service: u32, family: Family) -> Option<&Name> {
        self.entrances.get(family).get(&service)
    }

    /// The chain for what a dispatch does not look up: that of the pattern that most of the cells' services have.
    ///
    /// `None` where fewer than half of them have it, or where the maps hold what the cells do not: services that are not
    /// on this hook.
    pub fn common<'c>(&self, cells: impl ExactSizeIterator<Item = &'c Cell>, family: Family) -> Option<&Name> {
        let (common, uses) = self.drawing.get(family).iter().max_by_key(|(name, uses)| (**uses, Reverse(*name)))?;
        let all = cells.len();
        let held =
            cells.filter(|cell| matches!(&cell.entries[..], [only] if self.entrance(only.service, family).is_some()));
        (2 * uses >= all && held.count() == *self.keys.get(family)).then_some(common)
    }
}

/// How a service picks one of its places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pattern {
    /// Weights of places, descending, without a common divisor.
    Random(Vec<u64>),
    /// A place for each bucket: written seed and number of levels.
    Hash(Family, u32, u32),
    /// The place of each turn: places are numbered as they come first.
    Turns(Vec<u32>),
}

/// What a listener is found by.
type Key = (u128, Protocol, u16);

/// A service that may be put into the maps.
struct Candidate {
    service: u32,
    family: Family,
    keys: Vec<Key>,
    pattern: Pattern,
    /// A backend for each place of the pattern.
    places: Vec<Backend>,
}

impl Candidate {
    /// Maps of JSON hold addresses alone: nft 1.0.6 reads no others. The ports of all places stand in one map.
    fn fits(&self, format: Format) -> bool {
        let port = |backend: &Backend, listen| {
            let (Backend::Server(_, port) | Backend::Local(port)) = backend;
            port.apply(listen)
        };
        let alike = |&(.., listen): &Key| {
            self.places.iter().all(|backend| port(backend, listen) == port(&self.places[0], listen))
        };
        match format {
            Format::Text => true,
            Format::Json => !matches!(self.pattern, Pattern::Turns(_)) && self.keys.iter().all(alike),
        }
    }
}

/// Puts services into shared maps; the tables are those of all hooks.
pub fn shared(config: &Config, names: &Names, tables: &[(Hook, PerFamily<Table>)], format: Format) -> Shared {
    let mut candidates = Vec::new();
    for family in Family::ALL {
        let keys = keys(tables.iter().map(|(_, tables)| tables.get(family)));
        for (service, keys) in keys {
            candidates.extend(candidate(config, service, family, keys).filter(|one| one.fits(format)));
        }
    }
    // Both families of a service stand together, in source order.
    candidates.sort_by_key(|one| one.service);
    let chosen = chosen(&candidates);
    let mut making = Making::new(format);
    for mut candidate in candidates {
        if !chosen.contains(&candidate.pattern) {
            let Some(spread) = spread(&candidate) else { continue };
            candidate = spread;
        }
        making.add(&candidate, names);
    }
    making.finish()
}

/// The services that single keys lead to and nothing else does, with their keys, in source order.
fn keys<'t>(tables: impl Iterator<Item = &'t Table>) -> BTreeMap<u32, Vec<Key>> {
    let mut owners: HashMap<Key, u32> = HashMap::new();
    let mut found: BTreeMap<u32, Vec<Key>> = BTreeMap::new();
    let mut others: HashSet<u32> = HashSet::new();
    for table in tables {
        others.extend(table.linear.iter().map(|listener| listener.service));
        for cell in table.cells() {
            match own_key(cell) {
                Some((key, service)) => match *owners.entry(key).or_insert(service) {
                    owner if owner == service => found.entry(service).or_default().push(key),
                    // The hooks differ.
                    _ => others.extend([service]),
                },
                None => others.extend(cell.entries.iter().map(|entry| entry.service)),
            }
        }
    }
    found.retain(|service, keys| {
        keys.sort_unstable();
        keys.dedup();
        !others.contains(service) && keys.len() <= MAX_LISTENERS
    });
    found
}

fn own_key(cell: &Cell) -> Option<(Key, u32)> {
    match (&cell.place, &cell.entries[..]) {
        (Place::Addresses(at), [only]) if at.is_single() && cell.ports.is_single() && only.is_final() => {
            Some(((at.first, cell.protocol, cell.ports.first()), only.service))
        }
        _ => None,
    }
}

fn candidate(config: &Config, index: u32, family: Family, keys: Vec<Key>) -> Option<Candidate> {
    let service = &config.services()[index as usize];
    let Some(Body::Balance(group)) = service.body(family) else { return None };
    if !only_picks(service, family) || shortcut(service, family).is_some() {
        return None;
    }
    let backend = |index: &u32| group.backends[*index as usize];
    let (pattern, places) = match service.algorithm {
        Algorithm::SourceHash(hash) => {
            let pattern = Pattern::Hash(family, hash.seed, hash.levels.count());
            (pattern, group.buckets.iter().map(backend).collect::<Vec<_>>())
        }
        Algorithm::RoundRobin => {
            let slots = split::slots(&split::weights(&group.members, u64::from(u32::MAX)).ok()?);
            let (mut order, mut places): (Vec<u32>, HashMap<u32, u32>) = Default::default();
            let place = |slot: &u32| {
                let next = order.len() as u32;
                *places.entry(*slot).or_insert_with(|| {
                    order.push(*slot);
                    next
                })
            };
            let turns = slots.iter().map(place).collect();
            (Pattern::Turns(turns), order.iter().map(backend).collect())
        }
        Algorithm::Random => {
            let weights = split::weights(&group.members, u64::from(u32::MAX)).ok()?;
            let mut places: Vec<(u64, Backend)> =
                weights.weights.iter().copied().zip(weights.backends.iter().map(backend)).collect();
            // The order is of no account to a random pick: sorted, more services are alike.
            places.sort_by_key(|(weight, _)| Reverse(*weight));
            let (weights, places): (Vec<u64>, Vec<Backend>) = places.into_iter().unzip();
            (Pattern::Random(weights), places)
        }
    };
    let all_servers = places.iter().all(|backend| matches!(backend, Backend::Server(..)));
    let first = *places.first()?;
    let one = places.iter().all(|backend| *backend == first);
    let (pattern, places) = if one { (Pattern::Random(vec![1]), vec![first]) } else { (pattern, places) };
    all_servers.then_some(Candidate { service: index, family, keys, pattern, places })
}

/// Whether a service does nothing to its connections but to pick a backend, as far as its chain is concerned.
fn only_picks(service: &Service, family: Family) -> bool {
    let options = &service.options;
    let asks = service.from.as_ref().is_some_and(|from| !from.allows_all(family));
    let counts = options.limit.is_some() || options.max_connections.is_some() || options.counter;
    !asks && !counts && options.sticky.is_none() && options.log.is_none()
}

/// The patterns that get a chain.
fn chosen(candidates: &[Candidate]) -> HashSet<Pattern> {
    let mut uses: BTreeMap<&Pattern, usize> = BTreeMap::new();
    for candidate in candidates {
        *uses.entry(&candidate.pattern).or_default() += 1;
    }
    let mut order: Vec<(&Pattern, usize)> = uses.into_iter().collect();
    // Of equally many the shorter ones: a stable order.
    order.sort_by_key(|(_, uses)| Reverse(*uses));
    let (mut patterns, mut hashes) = (0, PerFamily { v4: 0, v6: 0 });
    let fits = |(pattern, _): &(&Pattern, usize)| {
        let (count, most) = match pattern {
            Pattern::Random(weights) if weights.len() == 1 => return true,
            // Their maps stand in no rule.
            Pattern::Turns(_) => return true,
            Pattern::Random(_) => (&mut patterns, MAX_PATTERNS),
            Pattern::Hash(family, ..) => (hashes.get_mut(*family), MAX_HASHES),
        };
        *count += 1;
        *count <= most
    };
    order.into_iter().filter(fits).map(|(pattern, _)| pattern.clone()).collect()
}

/// Weights as so many equal places, where they are few.
fn spread(candidate: &Candidate) -> Option<Candidate> {
    let Pattern::Random(weights) = &candidate.pattern else { return None };
    let slots: u64 = weights.iter().sum();
    if slots > MAX_SLOTS.min(MAX_SPREAD * weights.len() as u64) {
        return None;
    }
    let copies = candidate.places.iter().zip(weights);
    let places = copies.flat_map(|(backend, weight)| std::iter::repeat_n(*backend, *weight as usize)).collect();
    let Candidate { service, family, .. } = *candidate;
    let pattern = Pattern::Random(vec![1; slots as usize]);
    Some(Candidate { service, family, keys: candidate.keys.clone(), pattern, places })
}

struct Making {
    format: Format,
    shared: Shared,
    /// The ports of all places, where the other maps have addresses alone.
    ports: PerFamily<Vec<Server>>,
    /// The maps of a family, by place.
    maps: PerFamily<Vec<ServerMap>>,
    protocols: PerFamily<Vec<BTreeSet<Protocol>>>,
    picks: HashMap<Pattern, Name>,
    turns: HashMap<Vec<u32>, Name>,
    hashes: usize,
}

impl Making {
    fn new(format: Format) -> Making {
        Making {
            format,
            shared: Shared::default(),
            ports: PerFamily::default(),
            maps: PerFamily::default(),
            protocols: PerFamily::default(),
            picks: HashMap::new(),
            turns: HashMap::new(),
            hashes: 0,
        }
    }

    fn add(&mut self, candidate: &Candidate, names: &Names) {
        let Candidate { service, family, .. } = *candidate;
        let comment = names.comment(service);
        let data = match self.format {
            Format::Text => Held::Endpoints,
            Format::Json => Held::Addresses,
        };
        for (place, backend) in candidate.places.iter().enumerate() {
            let Backend::Server(to, new) = *backend else { unreachable!("candidates have servers alone") };
            let (maps, protocols) = (self.maps.get_mut(family), self.protocols.get_mut(family));
            if place == maps.len() {
                let name = fixed(&format!("at-{place}-{}", short(family)));
                maps.push(ServerMap { name, family, data, elements: Vec::new() });
                protocols.push(BTreeSet::new());
            }
            for &(at, protocol, port) in &candidate.keys {
                protocols[place].insert(protocol);
                let address = AddressRange { family, first: at, last: at }.first_address();
                let server = |to| Server { address, protocol, port, to, comment: Some(comment.clone()) };
                let new = new.apply(port);
                maps[place].elements.push(server(match data {
                    Held::Endpoints => Seat::Endpoint(to, new),
                    Held::Addresses | Held::Ports => Seat::Address(to),
                }));
                if place == 0 && data == Held::Addresses {
                    self.ports.get_mut(family).push(server(Seat::Port(new)));
                }
            }
        }
        let entrance = match &candidate.pattern {
            Pattern::Turns(turns) => self.count(turns, names.service(service, family), comment),
            pattern @ (Pattern::Random(_) | Pattern::Hash(..)) => self.pick(pattern),
        };
        *self.shared.keys.get_mut(family) += candidate.keys.len();
        if matches!(candidate.pattern, Pattern::Random(_)) {
            *self.shared.drawing.get_mut(family).entry(entrance.clone()).or_default() += candidate.keys.len();
        }
        self.shared.entrances.get_mut(family).insert(service, entrance);
    }

    /// The chain in which a service counts.
    fn count(&mut self, turns: &[u32], name: &Name, comment: &Comment) -> Name {
        let (maps, count) = (&mut self.shared.turns, self.turns.len() + 1);
        let map = self.turns.entry(turns.to_vec()).or_insert_with_key(|turns| {
            let name = fixed(&format!("turns-{count}"));
            let turns = turns.iter().map(|place| Verdict::Goto(at(*place as usize))).collect();
            maps.push(TurnMap { name: name.clone(), turns });
            name
        });
        let modulus = u32::try_from(turns.len()).expect("the sum of the weights is bounded");
        let take = Statement::TakeTurn { modulus, map: map.clone() };
        let rule = Rule { statements: vec![take], comment: Some(comment.clone()) };
        self.shared.counting.push(Chain { name: name.clone(), hook: None, rules: vec![rule] });
        name.clone()
    }

    /// The chain of a pattern.
    fn pick(&mut self, pattern: &Pattern) -> Name {
        if let Some(name) = self.picks.get(pattern) {
            return name.clone();
        }
        let name = match pattern {
            Pattern::Random(weights) if weights.len() == 1 => at(0),
            Pattern::Random(weights) => {
                let name = fixed(&format!("pick-{}", self.picks.len() + 1 - self.hashes));
                let mut first = 0;
                let elements = weights.iter().enumerate().map(|(place, weight)| {
                    let numbers = Numbers { first, last: first + (weight - 1) as u32 };
                    first = numbers.last.wrapping_add(1);
                    (numbers, Verdict::Goto(at(place)))
                });
                let elements = elements.collect();
                let modulus = u32::try_from(weights.iter().sum::<u64>()).expect("the sum is bounded");
                let pick = Statement::Branch(Choice { pick: Pick::Random { modulus }, elements });
                self.shared.picks.push(Chain { name: name.clone(), hook: None, rules: vec![plain([pick])] });
                name
            }
            Pattern::Turns(_) => unreachable!("turns are counted"),
            Pattern::Hash(family, seed, levels) => {
                self.hashes += 1;
                let name = fixed(&format!("hash-{}-{}", self.hashes, short(*family)));
                let levels = [Levels::One, Levels::Two, Levels::Three][*levels as usize - 1];
                self.digits(*family, SourceHash { seed: *seed, levels }, 0, 0, &name);
                name
            }
        };
        self.picks.insert(pattern.clone(), name.clone());
        name
    }

    /// The chain of one digit of a hash, and of those behind it.
    fn digits(&mut self, family: Family, hash: SourceHash, level: u32, before: u32, name: &Name) {
        let here = self.shared.picks.len();
        self.shared.picks.push(Chain { name: name.clone(), hook: None, rules: Vec::new() });
        let mut elements = Vec::with_capacity(DIGITS as usize);
        for digit in 0..DIGITS {
            let number = before * DIGITS + digit;
            let below = match level + 1 == hash.levels.count() {
                true => at(number as usize),
                false => {
                    let below = fixed(&format!("{name}-{digit}"));
                    self.digits(family, hash, level + 1, number, &below);
                    below
                }
            };
            elements.push((Numbers::one(digit), Verdict::Goto(below)));
        }
        let pick = Pick::SourceHash { family, modulus: DIGITS, seed: hash.level_seed(level) };
        self.shared.picks[here].rules.push(plain([Statement::Branch(Choice { pick, elements })]));
    }

    fn finish(self) -> Shared {
        let Making { mut shared, maps, mut ports, protocols, .. } = self;
        let ports_of = |family| fixed(&format!("to-port-{}", short(family)));
        let has_ports = PerFamily { v4: !ports.v4.is_empty(), v6: !ports.v6.is_empty() };
        let places = Family::ALL.into_iter().map(|family| maps.get(family).len()).max().unwrap_or(0);
        for place in 0..places {
            let rule = |family: Family| {
                let map = maps.get(family).get(place)?.name.clone();
                let values = protocols.get(family)[place].iter().map(|one| Value::Protocol(*one)).collect();
                // nft takes a port only behind a test of the protocol.
                let spoken = Statement::Match { field: Field::Protocol, negated: false, values };
                let ports = has_ports.get(family).then(|| ports_of(family));
                Some(plain([spoken, Statement::Dnat { family, to: Destination::Listed { map, ports } }]))
            };
            let rules = Family::ALL.into_iter().filter_map(rule).collect();
            shared.servers.push(Chain { name: at(place), hook: None, rules });
        }
        shared.maps = [maps.v4, maps.v6].into_iter().flatten().collect();
        for family in Family::ALL.into_iter().filter(|family| *has_ports.get(*family)) {
            let elements = std::mem::take(ports.get_mut(family));
            shared.maps.push(ServerMap { name: ports_of(family), family, data: Held::Ports, elements });
        }
        shared
    }
}

/// The chain that asks the maps of a place.
fn at(place: usize) -> Name {
    fixed(&format!("at-{place}"))
}
