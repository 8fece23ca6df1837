//! Chains that are reached over and over: what one does to a connection is found once, and holds for every other time.
//!
//! As for iptables: behind some tests each chain is walked once for each state in which a connection gets there, with the
//! whole of it; what came of that is then a part of the part that gets there.

use std::rc::Rc;

use foldhash::HashMap;

use crate::trace::Steps;
use crate::turns::Visits;

use super::dump::Rule;
use super::evaluate::{Flow, State};
use super::portion::Portion;
use super::walker::{Ended, Place, Walker};

/// Up to so much of a budget is spent every chain is walked as often as it is reached.
const LITTLE: u64 = 400_000;

/// Shares of more bits cost more than a test.
const FEW_BITS: u64 = 2048;

/// The bits of one share: more digits than anyone can use, which come of a chain that takes a part each time.
const MAX_BITS: u64 = 1 << 17;

/// What chains do to connections, by table, chain and depth.
pub type Effects<'a> = HashMap<(usize, usize, usize, Rc<State<'a>>), Rc<Effect<'a>>>;

/// What becomes of a connection in a chain; the shares are those of the connection and sum to 1.
pub struct Effect<'a> {
    /// Back where it came from.
    back: Vec<Flow<'a>>,
    accepted: Vec<Flow<'a>>,
    ended: Vec<Ended<'a>>,
    /// Whether counters were asked.
    counts: bool,
}

impl<'a> Walker<'a> {
    /// A chain for one connection, walked unless it is known what it does.
    pub(super) fn inner(&mut self, place: Place<'a>, chain: usize, flow: Flow<'a>, rule: &Rule) -> Vec<Flow<'a>> {
        let is_little = self.rules.budget.saturating_sub(self.meter.budget) < LITTLE && flow.share.bits() < FEW_BITS;
        if is_little || self.keeps_learned {
            return self.chain(place, chain, vec![flow]);
        }
        let key = (place.table, chain, place.depth, flow.state.clone());
        if let Some(effect) = self.known.get(&key).cloned() {
            self.steps.iter_mut().for_each(Steps::close);
            if let Some(visits) = self.meter.visits.as_mut().filter(|_| effect.counts) {
                visits.note_again();
            }
            return self.repeat(&effect, &flow.share, rule);
        }
        let counted = |walker: &Self| walker.meter.visits.as_ref().map_or(0, Visits::count);
        let before = counted(self);
        let (accepted, ended) = (std::mem::take(&mut self.accepted), std::mem::take(&mut self.outcomes));
        let back = self.chain(place, chain, vec![Flow { state: flow.state.clone(), share: Portion::ONE }]);
        let effect = Rc::new(Effect {
            back: united(back),
            accepted: united(std::mem::replace(&mut self.accepted, accepted)),
            ended: summed(std::mem::replace(&mut self.outcomes, ended)),
            counts: counted(self) > before,
        });
        if self.meter.budget > 0 {
            self.known.insert(key, effect.clone());
        }
        self.repeat(&effect, &flow.share, rule)
    }

    /// Does to a part of the connections what is known; what goes back is the answer.
    fn repeat(&mut self, effect: &Effect<'a>, share: &Portion, rule: &Rule) -> Vec<Flow<'a>> {
        let Effect { back, accepted, ended, counts: _ } = effect;
        self.meter.pay((back.len() + accepted.len() + ended.len()) as u64);
        let mut most = 0;
        let mut of = |own: &Portion| {
            let own = own.times(share);
            most = most.max(own.bits());
            own
        };
        let mut flow = |flow: &Flow<'a>| Flow { state: flow.state.clone(), share: of(&flow.share) };
        self.accepted.extend(accepted.iter().map(&mut flow));
        let back = back.iter().map(flow).collect();
        self.outcomes.extend(ended.iter().map(|one| one.with(of(&one.share))));
        if most > MAX_BITS {
            self.meter.budget = 0;
            self.cannot_tell("shares of more digits than are followed".to_owned(), rule);
        }
        back
    }
}

/// Flows of one state as one.
fn united(flows: Vec<Flow<'_>>) -> Vec<Flow<'_>> {
    let mut list: Vec<Flow<'_>> = Vec::new();
    let mut places: HashMap<Rc<State<'_>>, usize> = HashMap::default();
    for flow in flows {
        let place = *places.entry(flow.state.clone()).or_insert(list.len());
        match list.get_mut(place) {
            Some(own) => own.share = own.share.plus(&flow.share),
            None => list.push(flow),
        }
    }
    list
}

/// Ends that are alike as one.
fn summed(mut ended: Vec<Ended<'_>>) -> Vec<Ended<'_>> {
    ended.sort_by(|one, other| one.what().cmp(&other.what()));
    ended.dedup_by(|one, own| {
        let is_same = one.what() == own.what();
        if is_same {
            own.share = own.share.plus(&one.share);
        }
        is_same
    });
    ended
}
