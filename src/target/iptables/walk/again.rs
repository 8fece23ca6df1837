//! Chains that are reached over and over: what one does to a packet is found once, and holds for every other time.
//!
//! Rules of some kilobytes can lead to a chain on more ways than there are seconds. All that a chain does follows from the
//! packet as it is when it gets there, so behind some tests each chain is walked once for each such packet, with the whole
//! of it; what came of that is then a part of the part that gets there.

use std::rc::Rc;

use foldhash::HashMap;

use crate::target::iptables::dump::{ChainId, Rule};
use crate::trace::Steps;

use super::flow::{Flow, Flows, keep, merge, merged};
use super::part::Part;
use super::report::About;
use super::run::{End, Frame};
use super::{Reckoning, Run};

/// Up to so many tests every chain is walked as often as it is reached.
const FEW_TESTS: u64 = 100_000;

/// Parts of more words cost more than a test.
const FEW_WORDS: u64 = 64;

/// The words of one part: more digits than anyone can use, which come of a chain that takes a part each time.
const MAX_WORDS_OF_ONE: u64 = 1 << 12;

/// What chains of a table do to packets that come alone.
pub type Effects<'d> = HashMap<(ChainId, Flow<'d>), Rc<Effect<'d>>>;

/// What becomes of a packet in a chain; the parts are those of the packet and sum to 1.
pub struct Effect<'d> {
    /// Back where it came from.
    back: Flows<'d>,
    accepted: Flows<'d>,
    ended: Vec<(End<'d>, Part)>,
    /// Whether counters were asked.
    counts: bool,
}

/// What was there before a chain was entered, with the part of the packet that got to it.
pub struct Waiting<'d> {
    /// The rule that led there.
    rule: &'d Rule<'d>,
    flow: Flow<'d>,
    part: Part,
    accepted: Flows<'d>,
    ended: Vec<(End<'d>, Part)>,
    counted: u64,
}

impl<'d> Run<'_, 'd, '_> {
    /// The chain that is walked next, unless it is known what it does.
    pub(super) fn enter(
        &mut self,
        mut inner: Frame<'d>,
        rule: &'d Rule<'d>,
        above: &mut Frame<'d>,
        known: &mut Effects<'d>,
        accepted: &mut Flows<'d>,
    ) -> Option<Frame<'d>> {
        let is_long = |part: &Part| self.tests > FEW_TESTS || part.words() > FEW_WORDS;
        if !matches!(&inner.live[..], [(_, part)] if is_long(part)) {
            return Some(inner);
        }
        let Some((flow, part)) = inner.live.pop() else { return Some(inner) };
        let key = (inner.chain, flow);
        if let Some(effect) = known.get(&key).cloned() {
            self.steps.iter_mut().for_each(Steps::close);
            if let Some(visits) = self.visits.as_mut().filter(|_| effect.counts) {
                visits.note_again();
            }
            let back = self.repeat(rule, &effect, &part, accepted);
            if inner.goto {
                keep(&mut above.returned, back)
            } else {
                merge(&mut above.live, back)
            }
            return None;
        }
        let flow = key.1;
        inner.live.push((flow.clone(), Part::one(self.reckoning)));
        let (accepted, ended) = (std::mem::take(accepted), std::mem::take(&mut self.outcomes));
        inner.waiting = Some(Box::new(Waiting { rule, flow, part, accepted, ended, counted: self.counted() }));
        Some(inner)
    }

    /// What comes back out of a chain that was walked with the whole of a packet.
    pub(super) fn leave(
        &mut self,
        chain: ChainId,
        back: Flows<'d>,
        waiting: Waiting<'d>,
        known: &mut Effects<'d>,
        accepted: &mut Flows<'d>,
    ) -> Flows<'d> {
        self.sum_up();
        let mut inner = Flows::new();
        merge(&mut inner, std::mem::replace(accepted, waiting.accepted));
        let ended = std::mem::replace(&mut self.outcomes, waiting.ended);
        let counts = self.counted() > waiting.counted;
        let effect = Rc::new(Effect { back, accepted: inner, ended, counts });
        let back = self.repeat(waiting.rule, &effect, &waiting.part, accepted);
        if !self.stopped {
            known.insert((chain, waiting.flow), effect);
        }
        back
    }

    /// Does to a part of the connections what is known; what goes back is the answer.
    fn repeat(&mut self, rule: &Rule<'d>, effect: &Effect<'d>, part: &Part, accepted: &mut Flows<'d>) -> Flows<'d> {
        const MANY: usize = 1 << 15;
        let Effect { back, accepted: inner, ended, counts: _ } = effect;
        self.tests += (back.len() + inner.len() + ended.len()) as u64;
        let mut most = 0;
        let mut of = |own: &Part| {
            let own = own.of(part);
            most = most.max(own.words());
            own
        };
        keep(accepted, inner.iter().map(|(flow, own)| (flow.clone(), of(own))).collect());
        if accepted.len() > MANY {
            *accepted = merged(std::mem::take(accepted));
        }
        self.outcomes.extend(ended.iter().map(|(end, own)| (end.clone(), of(own))));
        let back = back.iter().map(|(flow, own)| (flow.clone(), of(own))).collect();
        if self.reckoning == Reckoning::Exact && most > MAX_WORDS_OF_ONE && !self.stopped {
            self.stopped = true;
            self.report(rule, About::Tests, "shares of more digits than are followed");
        }
        back
    }

    fn counted(&self) -> u64 {
        self.visits.as_ref().map_or(0, |visits| visits.count())
    }
}
