//! The walk of one packet, table by table and rule by rule.

use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::{HashSet, HashSetExt};
use num_traits::Zero;
use smallvec::{SmallVec, smallvec};

use crate::ir::share::Share;
use crate::meaning::Action;
use crate::survey::Asked;
use crate::target::iptables::dump::{ChainId, Policy, Rule, Table, TableName, Target};
use crate::trace::{Hit, Machine, Outcome, Packet, Source, Step, Steps, Trace, Unknown};
use crate::turns::{Turns, Visits};

use super::Evaluator;
use super::again::{Effects, Waiting};
use super::flow::{Flow, Flows, Mark, Memory, Tracking, keep, may_mark, merge, merged, sum};
use super::index::Key;
use super::part::{Chance, Part, Reckoning};
use super::recent::Lists;
use super::report::About;
use super::test::{self, Answer, At, Noted};

/// Rules that are tested for one packet; a chain that is reached over and over costs each time.
pub const MAX_TESTS: u64 = 4_000_000;

/// The same, where many packets are asked about.
pub const MAX_TESTS_OF_MANY: u64 = 500_000;

/// Packets that differ (in marks, say) at one rule.
const MAX_FLOWS: usize = 4096;

/// Chains above each other, mostly.
const SOME_FRAMES: usize = 4;

/// Words of 64 bits in all parts: a cascade of six thousand rules.
const MAX_WORDS: u64 = 1 << 24;

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End<'d> {
    pub action: Action,
    source: Source,
    comment: Option<&'d str>,
    /// Where it leaves the counters, where anyone wants to know.
    pub turns: Option<Rc<Turns>>,
    /// What holds its client then, where anyone wants to know.
    pub lists: Option<Rc<Lists<'d>>>,
}

/// One chain on the way down.
pub struct Frame<'d> {
    pub chain: ChainId,
    /// The rule that comes next.
    pub next: u32,
    pub live: Flows<'d>,
    /// What goes back to the rule behind the jump before the chain's end.
    pub returned: Flows<'d>,
    /// Whether the chain above is left for good.
    pub goto: bool,
    /// What waits until it is known what the chain does to the whole of what came in.
    pub waiting: Option<Box<Waiting<'d>>>,
}

/// The walk of one packet.
pub struct Run<'e, 'd, 'p> {
    pub rules: &'e Evaluator<'d>,
    pub packet: &'p Packet,
    pub machine: &'p Machine,
    pub steps: Option<Steps>,
    /// The counters that were asked, while each may be at any place.
    pub visits: Option<Visits>,
    /// A number for all that was taken so far; kept beside `visits`.
    pub way: u64,
    /// Whether ends say where they leave the counters.
    pub keeps_turns: bool,
    /// Whether ends say what holds their client.
    pub keeps_lists: bool,
    /// Packets that differ and are followed.
    pub most_flows: usize,
    pub most_tests: u64,
    pub unknown: Vec<Unknown>,
    /// Rules by address, and what was said of them.
    pub reported: HashSet<(usize, About)>,
    /// Rules may read alike.
    pub noted: HashSet<(String, String)>,
    /// In the order in which they came; equal ones may stand there more than once.
    pub outcomes: Vec<(End<'d>, Part)>,
    /// So many outcomes are looked through for equal ones.
    pub crowd: usize,
    pub tests: u64,
    pub words: u64,
    pub stopped: bool,
    /// Whether a part that a rule would have taken was left with the others, because there were too many.
    pub crowded: bool,
    pub asked: Option<&'p Asked>,
    /// Whether the connection was translated already, and it is noted which rules ask where to.
    pub is_behind: bool,
    pub reckoning: Reckoning,
}

impl<'e, 'd, 'p> Run<'e, 'd, 'p> {
    pub fn new(rules: &'e Evaluator<'d>, packet: &'p Packet, machine: &'p Machine) -> Self {
        Run {
            rules,
            packet,
            machine,
            steps: None,
            visits: None,
            way: 0,
            keeps_turns: false,
            keeps_lists: false,
            most_flows: MAX_FLOWS,
            most_tests: rules.most_tests,
            unknown: Vec::new(),
            reported: HashSet::new(),
            noted: HashSet::new(),
            outcomes: Vec::new(),
            crowd: MAX_FLOWS,
            tests: 0,
            words: 0,
            stopped: false,
            crowded: false,
            asked: None,
            is_behind: false,
            reckoning: Reckoning::Exact,
        }
    }

    /// Counters are at any place.
    pub fn go(&mut self) {
        let start = self.start(None);
        self.follow(smallvec![(start, Part::one(self.reckoning))]);
    }

    /// A packet as it appears.
    pub fn start(&self, turns: Option<Rc<Turns>>) -> Flow<'d> {
        let known = self.machine.memory.known.as_ref();
        let lists = known.map(|known| Rc::new(Lists::holding(self.packet.source, known)));
        Flow {
            source: Some(self.packet.source),
            destination: Some(self.packet.destination),
            port: self.packet.port,
            port_follows: true,
            mark: Mark::default(),
            connection_mark: Mark::default(),
            tracking: Tracking::Before,
            action: Action::Pass,
            translated: Source::Kept,
            comment: None,
            memory: Memory { turns, lists },
        }
    }

    pub fn follow(&mut self, flows: Flows<'d>) {
        let flows = if self.rules.is_for(self.packet) { self.hooks(flows) } else { flows };
        self.outcomes.reserve(flows.len());
        for (flow, part) in flows {
            self.end(flow, None, part);
        }
    }

    /// Whether steps are written down.
    fn lists(&self) -> bool {
        self.steps.as_ref().is_some_and(|steps| !steps.is_full())
    }

    /// Whether the walk was not followed to its end.
    pub fn cut(&self) -> bool {
        self.stopped || self.crowded
    }

    /// Whether shares of counters were multiplied that are not independent.
    pub fn in_step(&self) -> bool {
        self.visits.as_ref().is_some_and(Visits::in_step)
    }

    pub fn trace(mut self) -> Trace {
        let cut = self.cut();
        self.sum_up();
        let steps = self.steps.unwrap_or_default();
        let outcome = |(end, part): (End<'_>, Part)| Outcome {
            action: end.action,
            source: end.source,
            comment: end.comment.map(str::to_owned),
            share: part.share(),
        };
        let outcomes: Vec<Outcome> = self.outcomes.into_iter().map(outcome).collect();
        let unlisted = steps.is_full();
        Trace { outcomes, steps: steps.into_list(), unknown: self.unknown, cut, unlisted, loose: false }
    }

    /// A packet ends, by a filter's verdict or with what nat made of it.
    pub fn end(&mut self, flow: Flow<'d>, refused: Option<(Action, Option<&'d str>)>, part: Part) {
        let (action, comment) = refused.unwrap_or((flow.action, flow.comment));
        let turns = flow.memory.turns.filter(|_| self.keeps_turns);
        let lists = flow.memory.lists.filter(|_| self.keeps_lists);
        self.outcomes.push((End { action, source: flow.translated, comment, turns, lists }, part));
        if self.outcomes.len() >= self.crowd {
            self.sum_up();
            self.crowd = MAX_FLOWS.max(2 * self.outcomes.len());
        }
    }

    /// Makes equal outcomes one, and sorts them.
    pub fn sum_up(&mut self) {
        if self.outcomes.len() <= 1 {
            return;
        }
        self.outcomes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.outcomes.dedup_by(|(end, part), (own, sum)| {
            let same = end == own;
            if same {
                sum.add(part);
            }
            same
        });
        self.outcomes.retain(|(_, part)| !part.is_zero());
    }

    /// Walks a built-in chain: what comes out is accepted.
    pub fn chain(&mut self, name: TableName, built_in: &str, at: At<'_>, mut flows: Flows<'d>) -> Flows<'d> {
        if name != TableName::Raw {
            let unseen = flows.iter_mut().filter(|(flow, _)| flow.tracking == Tracking::Before);
            unseen.for_each(|(flow, _)| flow.tracking = Tracking::Tracked);
        }
        if flows.is_empty() || self.stopped {
            return flows;
        }
        let is_it = |&&(table, chain, ..): &&(_, _, _, _)| table == name && chain == built_in;
        let Some(&(_, _, place, id)) = self.rules.built_in.iter().find(is_it) else { return flows };
        let table = &self.rules.dump.tables[place];
        let chain = &table.chains[id.0 as usize];
        // Translation leaves alone what is not tracked.
        let (flows, mut accepted): (Flows<'d>, Flows<'d>) = match name {
            TableName::Nat if flows.iter().any(|(flow, _)| !flow.is_tracked()) => {
                flows.into_iter().partition(|(flow, _)| flow.is_tracked())
            }
            _ => (flows, Flows::new()),
        };
        let mut frames: SmallVec<[Frame<'d>; SOME_FRAMES]> = SmallVec::new();
        frames.push(Frame { chain: id, next: 0, live: flows, returned: Flows::new(), goto: false, waiting: None });
        let mut known = Effects::default();
        while let Some(frame) = frames.last_mut() {
            let index = &self.rules.indices[place][frame.chain.0 as usize];
            let key = |(flow, _): &(Flow<'_>, _)| Key {
                protocol: self.packet.protocol,
                destination: flow.destination,
                original: self.packet.destination,
                port: flow.port,
                follows: flow.port_follows,
            };
            let passes_by = frame.next == 0 && self.passes_by(place, frame);
            let next = match (self.lists(), frame.live.is_empty() || self.stopped || passes_by) {
                (_, true) => None,
                (true, false) => index.next(frame.next),
                (false, false) => index.next_for(frame.next, frame.live.iter().map(key)),
            };
            if let (0, false, Some(asked)) = (frame.next, passes_by, self.asked) {
                frame.live.iter().for_each(|flow| index.ask(key(flow), asked));
            }
            if let Some(next) = next {
                frame.next = next + 1;
                if let Some(inner) = self.rule(table, frame, next, at, &mut accepted) {
                    let inner = self.enter(
                        inner,
                        &table.chains[frame.chain.0 as usize].rules[next as usize],
                        frame,
                        &mut known,
                        &mut accepted,
                    );
                    frames.extend(inner);
                }
                continue;
            }
            let Some(Frame { chain: left, mut live, returned, goto, waiting, .. }) = frames.pop() else { break };
            if !returned.is_empty() {
                merge(&mut live, returned);
            }
            if let Some(waiting) = waiting {
                live = self.leave(left, live, *waiting, &mut known, &mut accepted);
            }
            match frames.last_mut() {
                Some(above) if goto => keep(&mut above.returned, live),
                Some(above) => merge(&mut above.live, live),
                None => match chain.policy {
                    Some(Policy::Drop) if !self.stopped => {
                        for (flow, part) in live {
                            self.end(flow, Some((Action::Drop, None)), part);
                        }
                    }
                    Some(Policy::Accept | Policy::Drop) | None => keep(&mut accepted, live),
                },
            }
        }
        merged(accepted)
    }

    /// Tests one rule for everything that reaches it; a chain that it leads to comes back.
    fn rule(
        &mut self,
        table: &'d Table<'d>,
        frame: &mut Frame<'d>,
        place: u32,
        at: At<'_>,
        accepted: &mut Flows<'d>,
    ) -> Option<Frame<'d>> {
        let chain = &table.chains[frame.chain.0 as usize];
        let rule = &chain.rules[place as usize];
        self.tests += frame.live.len() as u64;
        if self.tests > self.most_tests {
            self.stopped = true;
            self.report(rule, About::Tests, "more rules on the way than are tested for one packet");
            return None;
        }
        if let Some(asked) = self.asked.filter(|_| self.is_behind && test::asks_backend(rule)) {
            asked.backend();
        }
        let crowded = frame.live.len() >= self.most_flows || self.words > MAX_WORDS;
        let mut noted = Noted::new();
        if let ([(flow, _)], true) = (&frame.live[..], !self.lists() && !crowded) {
            // The usual case, without the lists of the general one.
            let answer = test::test(rule, &at, flow, &mut noted);
            match (answer, &rule.target) {
                (Answer::No, _) => {
                    self.note_counters(&noted);
                    return None;
                }
                (Answer::Yes(_), target) if target.is_nothing() => {
                    self.note_counters(&noted);
                    return None;
                }
                (Answer::CannotTell | Answer::Remembers, _) | (_, Target::Unknown(_)) => noted.clear(),
                (Answer::Yes(chances), _) => {
                    self.note_counters(&noted);
                    self.note_way(rule, 0, true);
                    if chances.is_empty() {
                        let taken = std::mem::take(&mut frame.live);
                        return self.apply(rule, taken, frame, accepted);
                    }
                    let flow = flow.clone();
                    let rest = &mut frame.live[0].1;
                    let (part, left) = self.divide(rest, &chances);
                    *rest = left;
                    return self.apply(rule, smallvec![(flow, part)], frame, accepted);
                }
            }
        }
        let reached = self.lists().then(|| sum(&frame.live));
        let answers: SmallVec<[Answer; 1]> = frame
            .live
            .iter()
            .map(|(flow, _)| match test::test(rule, &at, flow, &mut noted) {
                Answer::Yes(chances) if crowded && !chances.is_empty() => {
                    self.crowded = true;
                    Answer::CannotTell
                }
                answer => answer,
            })
            .collect();
        self.note_counters(&noted);
        let unknown = if let Target::Unknown(text) = rule.target { Some(text) } else { None };
        // What goes on as it was need not be taken out and put back.
        let takes = match unknown {
            Some(text) => may_mark(text) != (false, false),
            None => !rule.target.is_nothing() || self.lists(),
        };
        let (mut held, mut unsure, mut taken) = (false, false, Flows::new());
        let moves = |answer: &Answer| match answer {
            Answer::No | Answer::CannotTell => false,
            Answer::Yes(_) => takes,
            Answer::Remembers => true,
        };
        for (index, answer) in answers.iter().enumerate() {
            unsure |= *answer == Answer::CannotTell;
            held |= matches!(answer, Answer::Yes(_));
            if !matches!(answer, Answer::No | Answer::Remembers) {
                self.note_way(rule, index, *answer != Answer::CannotTell);
            }
        }
        if answers.iter().any(moves) {
            let live = std::mem::take(&mut frame.live);
            for (index, ((flow, part), answer)) in live.into_iter().zip(answers).enumerate() {
                match answer {
                    Answer::No | Answer::CannotTell => frame.live.push((flow, part)),
                    Answer::Yes(_) if !takes => frame.live.push((flow, part)),
                    Answer::Yes(chances) => self.split(flow, part, chances, &mut frame.live, &mut taken),
                    Answer::Remembers => {
                        noted.clear();
                        let (flow, part, answer) = test::follow(rule, &at, (flow, part), &mut frame.live, &mut noted);
                        self.note_counters(&noted);
                        self.note_way(rule, index, answer == Some(true));
                        unsure |= answer.is_none();
                        held |= answer == Some(true);
                        let side = if answer == Some(true) && takes { &mut taken } else { &mut frame.live };
                        side.push((flow, part));
                    }
                }
            }
        }
        let mut hit = if held { Hit::Yes } else { Hit::No };
        if unsure {
            hit = if held { hit } else { Hit::CannotTell };
            self.report_matches(rule, at, crowded);
        }
        if let Some(text) = unknown.filter(|_| held) {
            hit = Hit::CannotTell;
            self.report(rule, About::Target, text);
        }
        if let (Some(steps), Some(reached)) = (&mut self.steps, reached) {
            steps.push(Step {
                table: table.name.as_str().to_owned(),
                chain: chain.name.to_owned(),
                rule: rule.text.to_owned(),
                hit,
                reached,
                taken: if unknown.is_some() { Share::zero() } else { sum(&taken) },
            });
        }
        if taken.is_empty() { None } else { self.apply(rule, taken, frame, accepted) }
    }

    /// Divides a flow into what a rule takes and what it leaves.
    fn split(
        &mut self,
        flow: Flow<'d>,
        part: Part,
        chances: SmallVec<[Chance; 1]>,
        rest: &mut Flows<'d>,
        taken: &mut Flows<'d>,
    ) {
        if chances.is_empty() {
            return taken.push((flow, part));
        }
        let (part, left) = self.divide(&part, &chances);
        rest.push((flow.clone(), left));
        taken.push((flow, part));
    }

    /// The part that some chances take, at least one, and what they leave.
    fn divide(&mut self, part: &Part, chances: &[Chance]) -> (Part, Part) {
        let (mut taken, mut left) = (part.times(chances[0]), part.times(chances[0].rest()));
        self.words += taken.words() + left.words();
        for chance in &chances[1..] {
            left.add(&taken.times(chance.rest()));
            taken = taken.times(*chance);
            self.words += taken.words() + left.words();
        }
        (taken, left)
    }

    fn note_counters(&mut self, noted: &[usize]) {
        if let Some(visits) = &mut self.visits {
            noted.iter().for_each(|counter| visits.note(*counter));
        }
    }

    /// Notes what a rule says to one of the packets that reach it, unless that is no.
    fn note_way(&mut self, rule: &Rule<'_>, index: usize, is_sure: bool) {
        if self.visits.is_some() {
            let one = (self.way, std::ptr::from_ref(rule).addr(), index, is_sure);
            self.way = foldhash::fast::FixedState::default().hash_one(one);
        }
    }
}
