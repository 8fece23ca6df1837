//! Counters that run in step: what happens at each of the joint states that connections find.

use std::rc::Rc;

use crate::trace::{Machine, Packet, Steps, Trace};
use crate::turns::long_run;

use super::portion::Portion;
use super::value::Notes;
use super::walk::Evaluator;

/// What it costs to follow one connection, beside its tests.
const CONNECTION: u64 = 32;

/// What it costs to remember where one counter stands.
const COUNTER: u64 = 8;

impl Evaluator<'_> {
    /// What connections get in the long run, exactly; `None` where that is not told.
    pub(super) fn joint(&self, packet: &Packet, machine: &Machine, steps: bool) -> Option<Trace> {
        let states = long_run(|turns| {
            let mut walker = self.walker(packet, machine, Notes(None));
            walker.follow([(Some(Rc::new(turns.clone())), Portion::ONE)]);
            let cost = self.budget - walker.meter.budget + CONNECTION + COUNTER * turns.under_way() as u64;
            (self.patience.pay(cost) && walker.meter.budget > 0).then_some(())?;
            let next = |turns: Option<Rc<_>>| turns.map_or_else(Default::default, Rc::unwrap_or_clone);
            Some(walker.outcomes.into_iter().map(|one| (next(one.turns), one.share.share())).collect())
        })?;
        // All states at once, each with its part of the connections.
        let mut walker = self.walker(packet, machine, Notes(None));
        walker.steps = steps.then(Steps::default);
        let budget = self.patience.left().max(self.budget);
        walker.meter.budget = budget;
        let part = Portion::new(1, states.len() as u64);
        walker.follow(states.into_iter().map(|turns| (Some(Rc::new(turns)), part.clone())));
        self.patience.pay(budget - walker.meter.budget);
        (walker.meter.budget > 0).then(|| walker.trace())
    }
}
