//! Walks one new connection through the tables, exactly.
//!
//! All connections of a kind are walked at once: what a random match or a counter takes is a part of them, and the
//! parts sum to 1. A match that is not known (an ipset, a route, an option of another age) counts as one that does not
//! match, an unknown target as one that lets the packet go on; both are reported. So is the end of patience with rules
//! that would take too long: what is left of the connections then passes the rest unchanged.

mod bpf;
mod flow;
mod hooks;
mod index;
mod kernel;
mod part;
mod test;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashMapExt, HashSet, HashSetExt};
use smallvec::{SmallVec, smallvec};

use crate::ir::{Family, Interface};
use crate::meaning::{Action, Direction};
use crate::survey::{self, Amount, Asked, Survey};
use crate::trace::{Hit, Machine, Outcome, Packet, Source, Step, Trace, Unknown, Walk};

use super::dump::{ChainId, Dump, Match, Policy, Rule, Table, TableName, Target};
use super::model::DnatPort;
use flow::{Flow, Flows, keep, marked, merge, merged, sum};
use hooks::Beyond;
use index::{Index, Key};
use part::{Chance, Part, Reckoning};
use test::{Answer, At, Counters, Place};

/// Rules that are tested for one packet; a chain that is reached over and over costs each time.
const MAX_TESTS: u64 = 4_000_000;

/// Steps that are written down; the walk goes on without.
const MAX_STEPS: usize = 200_000;

/// Packets that differ (in marks, say) at one rule.
const MAX_FLOWS: usize = 4096;

/// Chains above each other, mostly.
const SOME_FRAMES: usize = 4;

/// Words of 64 bits in all parts: a cascade of six thousand rules.
const MAX_WORDS: u64 = 1 << 24;

/// A dump, ready to be walked in one family.
#[derive(Debug)]
pub struct Evaluator<'d> {
    dump: &'d Dump<'d>,
    family: Family,
    /// For each table, for each chain.
    indices: Vec<Vec<Index>>,
    /// Where the built-in chains are: a handful.
    built_in: Vec<(TableName, &'d str, usize, ChainId)>,
    beyond: Beyond,
    /// Whether a survey gets no answer where anything on the way is not known.
    strict: bool,
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
        Evaluator { dump, family, indices, built_in, beyond: Beyond::of(dump), strict: false }
    }

    /// For a proof: what cannot be told is no answer, and agrees with nothing.
    pub fn strict(self) -> Evaluator<'d> {
        Evaluator { strict: true, ..self }
    }

    fn surveyed<S>(
        &self,
        packet: &Packet,
        machine: &Machine,
        reckoning: Reckoning,
        share: fn(&Part) -> S,
    ) -> survey::Answer<S> {
        let asked = Asked::new(packet);
        let mut run = Run::new(self, packet, machine);
        run.asked = Some(&asked);
        run.reckoning = reckoning;
        run.go();
        run.sum_up();
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
        survey::Answer { actions, horizon: asked.horizon(), facets: asked.facets(), hashed: asked.hashed(), cost }
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
        run.steps = steps.then(Vec::new);
        run.go();
        run.trace()
    }

    fn sequence(&self, packet: &Packet, machine: &Machine, count: usize) -> Option<Vec<Action>> {
        let mut counters = Some(Counters::new());
        let mut actions = Vec::new();
        for _ in 0..count {
            let mut run = Run::new(self, packet, machine);
            run.counters = counters.take();
            run.go();
            run.sum_up();
            if run.drawn || run.outcomes.len() != 1 {
                return None;
            }
            counters = run.counters.take();
            actions.extend(run.outcomes.into_iter().map(|(end, _)| end.action));
        }
        Some(actions)
    }
}

impl Survey for Evaluator<'_> {
    fn answer(&self, packet: &Packet, machine: &Machine) -> survey::Answer {
        self.surveyed(packet, machine, Reckoning::Exact, Part::share)
    }

    fn estimate(&self, packet: &Packet, machine: &Machine) -> survey::Answer<Amount> {
        self.surveyed(packet, machine, Reckoning::Bounds, Part::amount)
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

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End<'d> {
    action: Action,
    source: Source,
    comment: Option<&'d str>,
}

/// One chain on the way down.
struct Frame<'d> {
    chain: ChainId,
    /// The rule that comes next.
    next: u32,
    live: Flows<'d>,
    /// What goes back to the rule behind the jump before the chain's end.
    returned: Flows<'d>,
    /// Whether the chain above is left for good.
    goto: bool,
}

/// The walk of one packet.
struct Run<'e, 'd, 'p> {
    rules: &'e Evaluator<'d>,
    packet: &'p Packet,
    machine: &'p Machine,
    steps: Option<Vec<Step>>,
    counters: Option<Counters>,
    /// Whether a random match decided anything.
    drawn: bool,
    unknown: Vec<Unknown>,
    /// Rules by address, and what was said of them.
    reported: HashSet<(usize, About)>,
    /// Rules may read alike.
    noted: HashSet<(String, String)>,
    /// In the order in which they came; equal ones may stand there more than once.
    outcomes: Vec<(End<'d>, Part)>,
    /// So many outcomes are looked through for equal ones.
    crowd: usize,
    tests: u64,
    words: u64,
    stopped: bool,
    asked: Option<&'p Asked>,
    reckoning: Reckoning,
}

impl<'e, 'd, 'p> Run<'e, 'd, 'p> {
    fn new(rules: &'e Evaluator<'d>, packet: &'p Packet, machine: &'p Machine) -> Self {
        Run {
            rules,
            packet,
            machine,
            steps: None,
            counters: None,
            drawn: false,
            unknown: Vec::new(),
            reported: HashSet::new(),
            noted: HashSet::new(),
            outcomes: Vec::new(),
            crowd: MAX_FLOWS,
            tests: 0,
            words: 0,
            stopped: false,
            asked: None,
            reckoning: Reckoning::Exact,
        }
    }

    fn go(&mut self) {
        let flow = Flow {
            source: Some(self.packet.source),
            destination: Some(self.packet.destination),
            port: self.packet.port,
            port_follows: true,
            mark: 0,
            connection_mark: 0,
            tracked: true,
            action: Action::Pass,
            translated: Source::Kept,
            comment: None,
        };
        let flows = smallvec![(flow, Part::one(self.reckoning))];
        let flows = if self.rules.is_for(self.packet) { self.hooks(flows) } else { flows };
        self.outcomes.reserve(flows.len());
        for (flow, part) in flows {
            self.end(End { action: flow.action, source: flow.translated, comment: flow.comment }, part);
        }
    }

    fn trace(mut self) -> Trace {
        self.sum_up();
        let outcome = |(end, part): (End<'_>, Part)| Outcome {
            action: end.action,
            source: end.source,
            comment: end.comment.map(str::to_owned),
            share: part.share(),
        };
        let outcomes: Vec<Outcome> = self.outcomes.into_iter().map(outcome).collect();
        Trace { outcomes, steps: self.steps.unwrap_or_default(), unknown: self.unknown }
    }

    fn end(&mut self, end: End<'d>, part: Part) {
        self.outcomes.push((end, part));
        if self.outcomes.len() >= self.crowd {
            self.sum_up();
            self.crowd = MAX_FLOWS.max(2 * self.outcomes.len());
        }
    }

    /// Makes equal outcomes one, and sorts them.
    fn sum_up(&mut self) {
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
    fn chain(&mut self, name: TableName, built_in: &str, at: At<'_>, flows: Flows<'d>) -> Flows<'d> {
        if flows.is_empty() || self.stopped {
            return flows;
        }
        let is_it = |&&(table, chain, ..): &&(_, _, _, _)| table == name && chain == built_in;
        let Some(&(_, _, place, id)) = self.rules.built_in.iter().find(is_it) else { return flows };
        let table = &self.rules.dump.tables[place];
        let chain = &table.chains[id.0 as usize];
        // Translation leaves alone what is not tracked.
        let (flows, mut accepted): (Flows<'d>, Flows<'d>) = match name {
            TableName::Nat if flows.iter().any(|(flow, _)| !flow.tracked) => {
                flows.into_iter().partition(|(flow, _)| flow.tracked)
            }
            _ => (flows, Flows::new()),
        };
        let mut frames: SmallVec<[Frame<'d>; SOME_FRAMES]> = SmallVec::new();
        frames.push(Frame { chain: id, next: 0, live: flows, returned: Flows::new(), goto: false });
        while let Some(frame) = frames.last_mut() {
            let index = &self.rules.indices[place][frame.chain.0 as usize];
            let key = |(flow, _): &(Flow<'_>, _)| Key {
                protocol: self.packet.protocol,
                destination: flow.destination,
                original: self.packet.destination,
                port: flow.port,
                follows: flow.port_follows,
            };
            let next = match (&self.steps, frame.live.is_empty() || self.stopped) {
                (_, true) => None,
                (Some(_), false) => index.next(frame.next),
                (None, false) => index.next_for(frame.next, frame.live.iter().map(key)),
            };
            if let (0, Some(asked)) = (frame.next, self.asked) {
                frame.live.iter().for_each(|flow| index.ask(key(flow), asked));
            }
            if let Some(next) = next {
                frame.next = next + 1;
                if let Some(inner) = self.rule(table, frame, next, at, &mut accepted) {
                    frames.push(inner);
                }
                continue;
            }
            let Some(Frame { mut live, returned, goto, .. }) = frames.pop() else { break };
            if !returned.is_empty() {
                merge(&mut live, returned);
            }
            match frames.last_mut() {
                Some(above) if goto => keep(&mut above.returned, live),
                Some(above) => merge(&mut above.live, live),
                None => match chain.policy {
                    Some(Policy::Drop) if !self.stopped => {
                        for (flow, part) in live {
                            self.end(End { action: Action::Drop, source: flow.translated, comment: None }, part);
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
        if self.tests > MAX_TESTS {
            self.stopped = true;
            self.report(rule, About::Tests, "more rules on the way than are tested for one packet");
            return None;
        }
        let crowded = frame.live.len() >= MAX_FLOWS || self.words > MAX_WORDS;
        let plain = self.steps.is_none() && self.counters.is_none() && !crowded;
        if let ([(flow, _)], true) = (&frame.live[..], plain) {
            // The usual case, without the lists of the general one.
            let answer = test::test(rule, &at, flow, None);
            match (&answer, &rule.target) {
                (Answer::No, _) | (Answer::Yes(_), Target::Next) => return None,
                (Answer::CannotTell, _) | (_, Target::Unknown(_)) => {}
                (Answer::Yes(chances), _) if chances.is_empty() => {
                    let taken = std::mem::take(&mut frame.live);
                    return self.apply(rule, taken, frame, accepted);
                }
                (Answer::Yes(chances), _) => {
                    let flow = flow.clone();
                    let rest = &mut frame.live[0].1;
                    let (part, left) = self.divide(rest, chances);
                    *rest = left;
                    return self.apply(rule, smallvec![(flow, part)], frame, accepted);
                }
            }
        }
        let reached = self.steps.is_some().then(|| sum(&frame.live));
        let mut hit = Hit::No;
        let answers: SmallVec<[Answer; 1]> = frame
            .live
            .iter()
            .map(|(flow, _)| match test::test(rule, &at, flow, self.counters.as_mut()) {
                Answer::Yes(chances) if crowded && !chances.is_empty() => Answer::CannotTell,
                answer => answer,
            })
            .collect();
        if answers.contains(&Answer::CannotTell) {
            hit = Hit::CannotTell;
            self.report_matches(rule, at, crowded);
        }
        let mut taken = Flows::new();
        if answers.iter().any(|answer| matches!(answer, Answer::Yes(_))) {
            let unknown = if let Target::Unknown(text) = rule.target { Some(text) } else { None };
            hit = if unknown.is_some() { Hit::CannotTell } else { Hit::Yes };
            if let Some(text) = unknown {
                self.report(rule, About::Target, text);
            }
            if unknown.is_none() && (rule.target != Target::Next || self.steps.is_some()) {
                let live = std::mem::take(&mut frame.live);
                for ((flow, part), answer) in live.into_iter().zip(answers) {
                    self.split(flow, part, answer, &mut frame.live, &mut taken);
                }
            }
        }
        if let (Some(steps), Some(reached)) = (&mut self.steps, reached)
            && steps.len() < MAX_STEPS
        {
            steps.push(Step {
                table: table.name.as_str().to_owned(),
                chain: chain.name.to_owned(),
                rule: rule.text.to_owned(),
                hit,
                reached,
                taken: sum(&taken),
            });
        }
        if taken.is_empty() { None } else { self.apply(rule, taken, frame, accepted) }
    }

    /// Divides a flow into what a rule takes and what it leaves.
    fn split(&mut self, flow: Flow<'d>, part: Part, answer: Answer, rest: &mut Flows<'d>, taken: &mut Flows<'d>) {
        let chances = match answer {
            Answer::No | Answer::CannotTell => return rest.push((flow, part)),
            Answer::Yes(chances) => chances,
        };
        self.drawn |= !chances.is_empty() && self.counters.is_some();
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

    /// What a target does to everything that its rule takes.
    fn apply(
        &mut self,
        rule: &'d Rule<'d>,
        mut taken: Flows<'d>,
        frame: &mut Frame<'d>,
        accepted: &mut Flows<'d>,
    ) -> Option<Frame<'d>> {
        let comment = rule.comment.as_deref();
        let inner = |chain, goto, live| Some(Frame { chain, next: 0, live, returned: Flows::new(), goto });
        match &rule.target {
            Target::Accept => keep(accepted, taken),
            Target::Return => frame.returned.extend(taken),
            Target::Jump(chain) => return inner(*chain, false, taken),
            Target::Goto(chain) => return inner(*chain, true, taken),
            Target::Drop | Target::Reject => {
                let action = if rule.target == Target::Drop { Action::Drop } else { Action::Reject };
                for (flow, part) in taken {
                    self.end(End { action: action.clone(), source: flow.translated, comment }, part);
                }
            }
            Target::Dnat { address, port } => {
                for (flow, _) in &mut taken {
                    let address = address.or(flow.destination).unwrap_or(self.packet.destination);
                    self.change_port(*port, flow);
                    flow.destination = Some(address);
                    flow.action = Action::Dnat(address, flow.port);
                    flow.comment = comment;
                }
                keep(accepted, taken);
            }
            Target::Redirect(port) => {
                let here = self.redirected();
                if let Some(asked) = self.asked {
                    asked.interface();
                }
                for (flow, _) in &mut taken {
                    self.change_port(*port, flow);
                    flow.destination = here;
                    flow.action = Action::Redirect(flow.port);
                    flow.comment = comment;
                }
                accepted.extend(taken);
            }
            Target::Masquerade => {
                for (flow, _) in &mut taken {
                    flow.source = None;
                    flow.translated = Source::Masquerade;
                }
                accepted.extend(taken);
            }
            Target::Snat(address) => {
                for (flow, _) in &mut taken {
                    if let Some(address) = address {
                        flow.source = Some(*address);
                        flow.translated = Source::Address(*address);
                    }
                }
                accepted.extend(taken);
            }
            Target::Next
            | Target::Unknown(_)
            | Target::NoTrack
            | Target::Mark { .. }
            | Target::SaveMark { .. }
            | Target::RestoreMark { .. }
            | Target::Hmark { .. } => {
                for (flow, _) in &mut taken {
                    if !marked(&rule.target, flow) {
                        self.report(rule, About::Target, "an address that is not known");
                    }
                }
                merge(&mut frame.live, taken);
            }
        }
        None
    }

    /// The port that a translation makes of one.
    fn change_port(&self, port: DnatPort, flow: &mut Flow<'_>) {
        match port {
            DnatPort::Kept => {}
            DnatPort::Fixed(port) => (flow.port, flow.port_follows) = (port, false),
            // NF_NAT_RANGE_PROTO_OFFSET: min + (port - base) % size
            DnatPort::Shifted { first, last, base } => {
                let size = u32::from(last.saturating_sub(first)) + 1;
                let offset = (u32::from(flow.port.wrapping_sub(base)) % size) as u16;
                if let Some(asked) = self.asked.filter(|_| flow.port_follows) {
                    // Where the remainder starts again.
                    let rest = (size - 1) as u16 - offset;
                    asked.port(flow.port, flow.port.saturating_sub(offset), flow.port.saturating_add(rest));
                }
                flow.port = first.wrapping_add(offset);
            }
        }
    }

    /// Where REDIRECT sends a packet: to loopback where it comes from this machine, else to an address of the interface.
    fn redirected(&self) -> Option<IpAddr> {
        let loopback = match &self.packet.direction {
            Direction::Out => true,
            Direction::In(name) => name == "lo",
        };
        loopback.then(|| match self.rules.family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        })
    }

    /// Says which matches of a rule are not known.
    fn report_matches(&mut self, rule: &Rule<'_>, at: At<'_>, crowded: bool) {
        if !self.reported.insert((std::ptr::from_ref(rule).addr(), About::Matches)) {
            return;
        }
        let mut parts: Vec<String> = Vec::new();
        for (letter, interface, place) in [("-i", &rule.input, at.input), ("-o", &rule.output, at.output)] {
            if let (Some(interface), Place::Unknown) = (interface, place) {
                let (not, plus) =
                    (if interface.not { "! " } else { "" }, if interface.value.prefix { "+" } else { "" });
                parts.push(format!("{not}{letter} {}{plus}", interface.value.name));
            }
        }
        for one in &rule.matches {
            if let Match::Unknown(text) = one {
                parts.push((*text).to_owned());
            } else if crowded && matches!(one, Match::Random { .. } | Match::Nth { .. }) {
                parts.push("more branches than are followed".to_owned());
            }
        }
        if parts.is_empty() {
            parts.push("a value of the packet that is not known".to_owned());
        }
        for what in parts {
            self.note(rule, what);
        }
    }

    /// Once for each rule and what it is about.
    fn report(&mut self, rule: &Rule<'_>, about: About, what: &str) {
        if self.reported.insert((std::ptr::from_ref(rule).addr(), about)) {
            self.note(rule, what.to_owned());
        }
    }

    fn note(&mut self, rule: &Rule<'_>, what: String) {
        if self.noted.insert((what.clone(), rule.text.to_owned())) {
            self.unknown.push(Unknown { what, rule: rule.text.to_owned() });
        }
    }
}

/// What of a rule is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum About {
    Matches,
    Target,
    /// There are too many rules.
    Tests,
}
