//! One new connection through the hooks of the kernel, as net/netfilter orders them.

use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use crate::ir::Interface;
use crate::meaning::Action;
use crate::survey::{Amount, Answer, Asked, Horizon, Seen, Survey, Translated};
use crate::trace::{Known, Machine, Packet, Steps, Store, Trace, Walk};
use crate::turns::{Patience, Turns, Visits};

use super::again::Effects;
use super::by_host::ByHost;
use super::dump::{ChainKind, Dump, HookPoint, Operand, Statement, Value};
use super::evaluate::{Learned, Meter};
use super::index::Index;
use super::portion::Portion;
use super::reach::Reaches;
use super::sets::sets;
use super::value::{Atom, Notes, Origin};
use super::walker::{Bases, Ended, Walker};

/// What one walk may cost (see [`Meter`]): rules that people write cost some thousands.
const BUDGET: u64 = 1 << 22;
/// The same, where many packets are asked about.
const BUDGET_OF_MANY: u64 = 1 << 19;

/// Sets before one that may have the same keys.
const ALIKE: usize = 8;

/// A dump, ready to be walked.
#[derive(Debug)]
pub struct Evaluator<'d> {
    pub(super) dump: &'d Dump,
    /// Of large sets, by where their elements are.
    pub(super) indices: HashMap<usize, Index<'d>>,
    /// Of long chains, by table and chain.
    pub(super) by_host: HashMap<(usize, usize), ByHost>,
    /// For a proof.
    pub(super) reaches: Option<Reaches>,
    /// In the order in which the kernel asks them.
    pub(super) bases: Vec<Base>,
    /// Whether a survey gets no answer where anything on the way is not known.
    strict: bool,
    /// What one walk may cost.
    pub(super) budget: u64,
    /// For counters that run in step.
    pub(super) patience: Patience,
}

/// A base chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub hook: HookPoint,
    pub kind: ChainKind,
    pub drops: bool,
    /// Whether it is asked before conntrack looks at the packet.
    pub early: bool,
    pub table: usize,
    pub chain: usize,
}

/// NF_IP_PRI_CONNTRACK.
const CONNTRACK: i32 = -200;

impl Base {
    /// Whether it is asked who a server sees, and not where a connection goes.
    pub(super) fn changes_sources(&self) -> bool {
        self.kind == ChainKind::Nat && matches!(self.hook, HookPoint::Input | HookPoint::Postrouting)
    }
}

impl<'d> Evaluator<'d> {
    pub fn new(dump: &'d Dump) -> Evaluator<'d> {
        let mut indices: HashMap<usize, Index<'d>> = HashMap::new();
        let mut latest: Vec<usize> = Vec::new();
        for elements in sets(dump) {
            // Maps of what services do have mostly the same services.
            let others = latest.iter().rev().take(ALIKE).filter_map(|place| indices.get(place));
            let shared = others.filter_map(|index| index.shared(elements)).next();
            let is_new = shared.is_none();
            if let Some(index) = shared.or_else(|| Index::new(elements)) {
                indices.insert(elements.as_ptr().addr(), index);
                latest.extend(is_new.then_some(elements.as_ptr().addr()));
            }
        }
        let mut by_host = HashMap::new();
        for (table, own) in dump.tables.iter().enumerate() {
            for (chain, own) in own.chains().iter().enumerate() {
                by_host.extend(ByHost::new(&own.rules).map(|index| ((table, chain), index)));
            }
        }
        let (bases, patience) = (bases(dump), Patience::default());
        Evaluator { dump, indices, by_host, reaches: None, bases, strict: false, budget: BUDGET, patience }
    }

    /// For a proof: what cannot be told is no answer, and agrees with nothing.
    pub fn strict(self) -> Evaluator<'d> {
        Evaluator { strict: true, reaches: Some(Reaches::of(self.dump)), ..self }
    }

    /// For a search of all packets: one that meets too many rules is left sooner.
    pub fn hasty(self) -> Evaluator<'d> {
        Evaluator { budget: BUDGET_OF_MANY, ..self }
    }

    /// Of what becomes of the destination: that of the source is no part of the answer.
    fn surveyed<S>(&self, packet: &Packet, machine: &Machine, end: u32, of: fn(&Portion) -> S) -> Answer<S> {
        let asked = Asked::below(packet, end);
        let mut walker = self.walker(packet, machine, Notes(Some(&asked)));
        walker.meter.visits = (!self.strict).then(Visits::default);
        walker.follow([(None, Portion::ONE)]);
        let in_step = walker.in_step().then_some(walker.meter.way);
        let cost = 1 + (self.budget - walker.meter.budget);
        let cut = walker.meter.budget == 0;
        let mut ended = if walker.unknown.is_empty() || !self.strict { walker.outcomes } else { Vec::new() };
        ended.sort_unstable_by(|one, other| one.action.cmp(&other.action));
        let mut actions: Vec<(Action, Portion)> = Vec::with_capacity(ended.len());
        for Ended { action, share, .. } in ended {
            match actions.last_mut() {
                Some((last, sum)) if *last == action => *sum = sum.plus(&share),
                Some(_) | None => actions.push((action, share)),
            }
        }
        let actions = actions.into_iter().map(|(action, share)| (action, of(&share))).collect();
        let (horizon, facets, hashed) = (asked.horizon(), asked.facets(), asked.hashed());
        Answer { actions, horizon, facets, hashed, in_step, cost, cut, unknown: walker.unknown }
    }

    pub(super) fn walker<'a>(&'a self, packet: &'a Packet, machine: &'a Machine, notes: Notes<'a>) -> Walker<'a> {
        Walker {
            rules: self,
            packet,
            machine,
            notes,
            meter: Meter { budget: self.budget, turns: None, visits: None, way: 0, at: (0, 0, 0) },
            outcomes: Vec::new(),
            steps: None,
            unknown: Vec::new(),
            accepted: Vec::new(),
            keeps_learned: false,
            known: Effects::default(),
            bases: if self.strict { Bases::Fates } else { Bases::All },
        }
    }
}

/// What holds the client of a packet; `None` for what is no list of clients.
fn stores(packet: &Packet, learned: &[Learned<'_>]) -> Option<Vec<Store>> {
    let store = |one: &Learned<'_>| {
        let own = matches!(one.key[..], [(Atom::Address(client), Origin::Source)] if client == packet.source);
        let data = match one.data[..] {
            [] => None,
            [Atom::Address(address)] => Some((address, None)),
            [Atom::Address(address), Atom::Number(port)] => Some((address, Some(u16::try_from(port).ok()?))),
            _ => return None,
        };
        own.then(|| Store { name: one.set.to_owned(), data })
    };
    let new = learned.iter().filter(|one| !one.counts && !one.is_old);
    let mut list: Vec<Store> = new.map(store).collect::<Option<_>>()?;
    list.sort_unstable();
    Some(list)
}

/// All base chains. Those of `type nat` are asked together, at the priority of NAT, whatever their own is, until one
/// decides (nf_nat_inet_fn).
fn bases(dump: &Dump) -> Vec<Base> {
    let mut list = Vec::new();
    for (table, own) in dump.tables.iter().enumerate() {
        for (chain, own) in own.chains().iter().enumerate() {
            let Some(base) = own.base else { continue };
            let nat_priority = match base.hook {
                HookPoint::Prerouting | HookPoint::Output | HookPoint::Ingress => -100,
                HookPoint::Input | HookPoint::Postrouting | HookPoint::Forward => 100,
            };
            let is_nat = base.kind == ChainKind::Nat;
            let priority = if is_nat { nat_priority } else { base.priority };
            let enters = match base.hook {
                HookPoint::Prerouting | HookPoint::Output | HookPoint::Ingress => true,
                HookPoint::Input | HookPoint::Postrouting | HookPoint::Forward => false,
            };
            let early = enters && !is_nat && base.priority < CONNTRACK;
            let one = Base { hook: base.hook, kind: base.kind, drops: base.drops, early, table, chain };
            list.push(((priority, is_nat, base.priority), one));
        }
    }
    // Of equal ones the kernel asks the newest first (nf_hook_entries_grow).
    list.reverse();
    list.sort_by_key(|(order, _)| *order);
    list.into_iter().map(|(_, base)| base).collect()
}

impl Walk for Evaluator<'_> {
    fn walk(&self, packet: &Packet, machine: &Machine, steps: bool) -> Trace {
        let mut walker = self.walker(packet, machine, Notes(None));
        walker.steps = steps.then(Steps::default);
        walker.meter.visits = Some(Visits::default());
        walker.follow([(None, Portion::ONE)]);
        if !walker.in_step() {
            return walker.trace();
        }
        let joint = if walker.meter.budget == 0 { None } else { self.joint(packet, machine, steps) };
        joint.unwrap_or_else(|| Trace { loose: true, ..walker.trace() })
    }

    fn sequence(&self, packet: &Packet, machine: &Machine, count: usize) -> Option<Vec<Action>> {
        let mut turns = Rc::new(Turns::default());
        let mut list = Vec::with_capacity(count.min(1 << 16));
        for _ in 0..count {
            let mut walker = self.walker(packet, machine, Notes(None));
            walker.follow([(Some(turns), Portion::ONE)]);
            let mut ended = walker.outcomes.into_iter().map(|one| (one.action, one.turns));
            let (action, after) = ended.next()?;
            if ended.any(|(other, turns)| other != action || turns != after) {
                return None;
            }
            list.push(action);
            turns = after?;
        }
        Some(list)
    }
}

impl Survey for Evaluator<'_> {
    fn answer(&self, packet: &Packet, machine: &Machine) -> Answer {
        self.surveyed(packet, machine, Horizon::FAR.port, Portion::share)
    }

    fn estimate_below(&self, packet: &Packet, machine: &Machine, end: u32) -> Answer<Amount> {
        self.surveyed(packet, machine, end, Portion::amount)
    }

    fn source_below(&self, packet: &Packet, machine: &Machine, translated: &Translated, end: u32) -> Seen {
        let asked = Asked::below(packet, end);
        let mut walker = self.walker(packet, machine, Notes(Some(&asked)));
        let source = walker.seen(translated);
        let cost = 1 + (self.budget - walker.meter.budget);
        Seen { source, horizon: asked.horizon(), facets: asked.facets(), asks_backend: asked.asks_backend(), cost }
    }

    fn remembered(&self, packet: &Packet, machine: &Machine) -> Option<Vec<Known>> {
        let mut walker = self.walker(packet, machine, Notes(None));
        walker.keeps_learned = true;
        walker.follow([(None, Portion::ONE)]);
        let mut list = Vec::with_capacity(walker.outcomes.len());
        for ended in &walker.outcomes {
            list.push(Known {
                action: ended.action.clone(),
                stores: stores(packet, &ended.learned)?,
                age: 0,
                is_stale: false,
            });
        }
        list.sort_unstable_by(|one, other| (&one.action, &one.stores).cmp(&(&other.action, &other.stores)));
        list.dedup();
        let one_each = list.windows(2).all(|pair| pair[0].action != pair[1].action);
        (one_each && walker.unknown.is_empty() && walker.meter.budget > 0).then_some(list)
    }

    fn changes_sources(&self) -> bool {
        self.bases.iter().any(Base::changes_sources)
    }

    fn interfaces(&self) -> Vec<Interface> {
        let rules = self.dump.tables.iter().flat_map(|table| table.chains()).flat_map(|chain| &chain.rules);
        let compared = rules.flat_map(|rule| &rule.statements).filter_map(|statement| match statement {
            Statement::Match { right: Operand::Values(values), .. } => Some(values),
            _ => None,
        });
        let values = compared.chain(sets(self.dump).flatten().map(|element| &element.key)).flatten();
        let named = values.filter_map(|value| match value {
            Value::Name(name) => Some(Interface::Exact(name.to_string())),
            Value::NamePrefix(prefix) => Some(Interface::Prefix(prefix.to_string())),
            _ => None,
        });
        named.collect()
    }
}
