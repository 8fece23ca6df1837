//! Counters that run in step: what happens at each of the joint states that connections find.

use std::rc::Rc;

use crate::trace::{Machine, Packet, Steps, Trace};
use crate::turns::{Turns, long_run};

use super::part::{Chance, Part, Reckoning};
use super::run::MAX_TESTS_OF_MANY;
use super::{End, Evaluator, Run};

/// What it costs to follow one connection, beside its tests.
const CONNECTION: u64 = 32;

/// What it costs to remember where one counter stands.
const COUNTER: u64 = 8;

impl<'d> Evaluator<'d> {
    /// What connections get in the long run, exactly; `None` where that is not told.
    pub(super) fn joint(&self, packet: &Packet, machine: &Machine, steps: bool) -> Option<Trace> {
        let states = long_run(|turns| {
            let mut cost = CONNECTION + COUNTER * turns.under_way() as u64;
            let ends = self.connection(turns, packet, machine, &mut cost);
            self.patience.pay(cost).then_some(())?;
            let ends = ends?;
            let state = |end: End<'_>| end.turns.map_or_else(Turns::default, Rc::unwrap_or_clone);
            Some(ends.into_iter().map(|(end, part)| (state(end), part.share())).collect())
        })?;
        // All states at once, each with its part of the connections.
        let mut run = Run::new(self, packet, machine);
        run.steps = steps.then(Steps::default);
        run.most_flows = run.most_flows.max(2 * states.len());
        run.most_tests = self.patience.left().max(run.most_tests);
        let part = Part::one(Reckoning::Exact).times(Chance { part: 1, of: states.len() as u64 });
        let start = |turns| (run.start(Some(Rc::new(turns))), part.clone());
        let flows = states.into_iter().map(start).collect();
        run.follow(flows);
        self.patience.pay(run.tests);
        (!run.cut()).then(|| run.trace())
    }

    /// What one connection that finds counters somewhere gets, and where it leaves them; `None` where there are too many ways.
    pub(super) fn connection(
        &self,
        turns: &Turns,
        packet: &Packet,
        machine: &Machine,
        cost: &mut u64,
    ) -> Option<Vec<(End<'d>, Part)>> {
        let mut run = Run::new(self, packet, machine);
        run.keeps_turns = true;
        run.most_tests = run.most_tests.min(MAX_TESTS_OF_MANY);
        let start = run.start(Some(Rc::new(turns.clone())));
        run.follow(smallvec::smallvec![(start, Part::one(Reckoning::Exact))]);
        run.sum_up();
        *cost += run.tests;
        (!run.cut()).then_some(run.outcomes)
    }
}
