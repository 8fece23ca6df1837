//! Walks one new connection through the tables, exactly.
//!
//! All connections of a kind are walked at once: what a random match or a counter takes is a part of them, and the
//! parts sum to 1. A match that is not known (an ipset, a route, an option of another age) counts as one that does not
//! match, an unknown target as one that lets the packet go on; both are reported. So is the end of patience with rules
//! that would take too long: what is left of the connections then passes the rest unchanged.

mod again;
mod apply;
mod asks;
mod bpf;
mod flow;
mod hooks;
mod index;
mod joint;
mod kernel;
mod part;
mod reach;
mod recent;
mod report;
mod run;
mod test;

use std::rc::Rc;

use crate::ir::{Family, Interface};
use crate::meaning::Action;
use crate::survey::{self, Amount, Asked, Horizon, Seen, Survey, Translated};
use crate::trace::{Known, Machine, Packet, Steps, Trace, Walk};
use crate::turns::{Patience, Turns, Visits};

use super::dump::{ChainId, Dump, Policy, TableName};
use flow::{Flow, Flows};
use hooks::Beyond;
use index::Index;
use part::{Part, Reckoning};
use reach::Reach;
use run::{End, Frame, MAX_TESTS, MAX_TESTS_OF_MANY, Run};

/// A dump, ready to be walked in one family.
#[derive(Debug)]
pub struct Evaluator<'d> {
    dump: &'d Dump<'d>,
    family: Family,
    /// For each table, for each chain.
    indices: Vec<Vec<Index>>,
    /// For a proof: for each table, for each chain.
    reaches: Vec<Vec<Option<Reach>>>,
    /// Where the built-in chains are: a handful.
    built_in: Vec<(TableName, &'d str, usize, ChainId)>,
    beyond: Beyond,
    /// Whether a survey gets no answer where anything on the way is not known.
    strict: bool,
    /// Rules that are tested for one packet.
    most_tests: u64,
    /// For counters that run in step.
    patience: Patience,
}

impl<'d> Evaluator<'d> {
    pub fn new(dump: &'d Dump<'d>, family: Family) -> Evaluator<'d> {
        let indices = dump
            .tables
            .iter()
            .map(|table| table.chains.iter().map(|chain| Index::new(chain, family)).collect())
            .collect();
        let mut built_in = Vec::new();
        for (place, table) in dump.tables.iter().enumerate() {
            for (id, chain) in (0u32..).zip(&table.chains).filter(|(_, chain)| chain.policy.is_some()) {
                built_in.push((table.name, chain.name, place, ChainId(id)));
            }
        }
        Evaluator {
            dump,
            family,
            indices,
            reaches: Vec::new(),
            built_in,
            beyond: Beyond::of(dump),
            strict: false,
            most_tests: MAX_TESTS,
            patience: Patience::default(),
        }
    }

    /// For a proof: what cannot be told is no answer, and agrees with nothing.
    pub fn strict(self) -> Evaluator<'d> {
        let reaches = self.dump.tables.iter().map(|table| reach::of_table(table, self.family)).collect();
        Evaluator { strict: true, beyond: Beyond::of_fates(self.dump), reaches, ..self }
    }

    /// For a search of all packets: one that meets too many rules is left sooner.
    pub fn hasty(self) -> Evaluator<'d> {
        Evaluator { most_tests: MAX_TESTS_OF_MANY, ..self }
    }

    fn surveyed<S>(
        &self,
        packet: &Packet,
        machine: &Machine,
        end: u32,
        (reckoning, share): (Reckoning, fn(&Part) -> S),
    ) -> survey::Answer<S> {
        let asked = Asked::below(packet, end);
        let mut run = Run::new(self, packet, machine);
        run.asked = Some(&asked);
        run.reckoning = reckoning;
        run.visits = (!self.strict).then(Visits::default);
        run.go();
        run.sum_up();
        let in_step = run.in_step().then_some(run.way);
        let cut = run.cut();
        let cost = 1 + run.tests;
        let mut actions: Vec<(Action, S)> = Vec::with_capacity(run.outcomes.len());
        if !self.strict || run.unknown.is_empty() {
            for same in run.outcomes.chunk_by(|(one, _), (other, _)| one.action == other.action) {
                let [(end, part), others @ ..] = same else { continue };
                let mut sum = part.clone();
                others.iter().for_each(|(_, part)| sum.add(part));
                actions.push((end.action.clone(), share(&sum)));
            }
        }
        let (horizon, facets, hashed) = (asked.horizon(), asked.facets(), asked.hashed());
        survey::Answer { actions, horizon, facets, hashed, in_step, cost, cut, unknown: run.unknown }
    }

    /// The tables of POSTROUTING that say what becomes of a packet. A proof asks nat by itself.
    fn behind(&self) -> &'static [TableName] {
        if self.strict { &[TableName::Mangle] } else { &[TableName::Mangle, TableName::Nat] }
    }

    /// Where nothing is known of a packet, because it is of the other family.
    fn is_for(&self, packet: &Packet) -> bool {
        Family::of(packet.destination) == self.family && Family::of(packet.source) == self.family
    }
}

impl Walk for Evaluator<'_> {
    /// A packet of the other family passes.
    fn walk(&self, packet: &Packet, machine: &Machine, steps: bool) -> Trace {
        let mut run = Run::new(self, packet, machine);
        run.steps = steps.then(Steps::default);
        run.visits = Some(Visits::default());
        run.go();
        if !run.in_step() {
            return run.trace();
        }
        let joint = if run.stopped { None } else { self.joint(packet, machine, steps) };
        joint.unwrap_or_else(|| Trace { loose: true, ..run.trace() })
    }

    fn sequence(&self, packet: &Packet, machine: &Machine, count: usize) -> Option<Vec<Action>> {
        let mut turns = Turns::default();
        let mut actions = Vec::new();
        for _ in 0..count {
            let mut next = self.connection(&turns, packet, machine, &mut 0)?;
            let (end, _) = next.pop().filter(|_| next.is_empty())?;
            turns = end.turns.map_or_else(Turns::default, Rc::unwrap_or_clone);
            actions.push(end.action);
        }
        Some(actions)
    }
}

impl Survey for Evaluator<'_> {
    fn answer(&self, packet: &Packet, machine: &Machine) -> survey::Answer {
        self.surveyed(packet, machine, Horizon::FAR.port, (Reckoning::Exact, Part::share))
    }

    fn estimate_below(&self, packet: &Packet, machine: &Machine, end: u32) -> survey::Answer<Amount> {
        self.surveyed(packet, machine, end, (Reckoning::Bounds, Part::amount))
    }

    fn source_below(&self, packet: &Packet, machine: &Machine, translated: &Translated, end: u32) -> Seen {
        let asked = Asked::below(packet, end);
        let mut run = Run::new(self, packet, machine);
        run.asked = Some(&asked);
        run.reckoning = Reckoning::Bounds;
        let source = run.seen(translated);
        let cost = 1 + run.tests;
        Seen { source, horizon: asked.horizon(), facets: asked.facets(), asks_backend: asked.asks_backend(), cost }
    }

    fn remembered(&self, packet: &Packet, machine: &Machine) -> Option<Vec<Known>> {
        let mut run = Run::new(self, packet, machine);
        run.reckoning = Reckoning::Bounds;
        run.keeps_lists = true;
        run.go();
        run.sum_up();
        let stores = |end: &End<'_>| end.lists.as_ref().map_or_else(Vec::new, |lists| lists.of(packet.source));
        let ends = run.outcomes.iter().map(|(end, _)| Known {
            action: end.action.clone(),
            stores: stores(end),
            age: 0,
            is_stale: false,
        });
        let mut list: Vec<Known> = ends.collect();
        list.dedup();
        let one_each = list.windows(2).all(|pair| pair[0].action != pair[1].action);
        (one_each && run.unknown.is_empty() && !run.cut()).then_some(list)
    }

    fn changes_sources(&self) -> bool {
        self.dump.tables.iter().filter(|table| table.name == TableName::Nat).flat_map(|table| &table.chains).any(
            |chain| {
                let is_it = chain.policy.is_some() && matches!(chain.name, "INPUT" | "POSTROUTING");
                is_it && !(chain.rules.is_empty() && chain.policy == Some(Policy::Accept))
            },
        )
    }

    fn interfaces(&self) -> Vec<Interface> {
        let rules = self.dump.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        let named = rules.flat_map(|rule| [&rule.input, &rule.output]).flatten();
        named
            .map(|one| match (one.value.prefix, one.value.name.to_string()) {
                (true, start) => Interface::Prefix(start),
                (false, name) => Interface::Exact(name),
            })
            .collect()
    }
}
