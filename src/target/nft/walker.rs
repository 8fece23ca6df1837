//! The walk of one packet, hook by hook and rule by rule.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};
use smallvec::smallvec;

use crate::ir::Family;
use crate::meaning::{Action, Direction};
use crate::survey::Translated;
use crate::trace::{Hit, Machine, Outcome, Packet, Source, Step, Steps, Store, Trace, Unknown};
use crate::turns::{Turns, Visits};

use super::again::Effects;
use super::by_host::Candidates;
use super::dump::{ChainKind, HookPoint, Rule, Verdict};
use super::evaluate::{Flow, Learned, Meter, Scene, State, TOO_MANY, in_interface};
use super::portion::Portion;
use super::run::{End, run};
use super::value::{Atom, Notes, Origin};
use super::walk::{Base, Evaluator};

/// Chains below a base chain: NFT_JUMP_STACK_SIZE. The kernel loads nothing deeper.
const MAX_DEPTH: usize = 16;
/// A connection, and what has come of it.
pub struct Walker<'a> {
    pub rules: &'a Evaluator<'a>,
    pub packet: &'a Packet,
    pub machine: &'a Machine,
    pub notes: Notes<'a>,
    pub meter: Meter,
    pub outcomes: Vec<Ended<'a>>,
    pub steps: Option<Steps>,
    pub unknown: Vec<Unknown>,
    /// Connections that left the base chain by `accept`.
    pub accepted: Vec<Flow<'a>>,
    pub bases: Bases,
    /// Whether ends say what rules have put into sets.
    pub keeps_learned: bool,
    /// Of one base chain.
    pub known: Effects<'a>,
}

/// The base chains that have a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bases {
    All,
    /// Those that say where a connection goes. A proof asks the others by themselves.
    Fates,
    /// Those that say who the server sees.
    Sources,
}

/// How a part of the connections ends; the share is positive.
#[derive(Clone)]
pub struct Ended<'a> {
    pub action: Action,
    pub source: Source,
    comment: Option<&'a str>,
    /// As [`State::turns`].
    pub turns: Option<Rc<Turns>>,
    /// What rules have put into sets, where anyone wants to know.
    pub learned: Vec<Learned<'a>>,
    pub share: Portion,
}

impl Ended<'_> {
    /// All but the share.
    pub(super) fn what(&self) -> impl Ord {
        (&self.action, self.source, self.comment, &self.turns)
    }

    pub(super) fn with(&self, share: Portion) -> Self {
        Ended { share, ..self.clone() }
    }
}

/// Where the walk is.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    scene: Scene<'a>,
    pub(super) table: usize,
    pub(super) depth: usize,
}

impl<'a> Walker<'a> {
    /// Follows connections that find counters somewhere, with shares that sum to 1.
    pub fn follow(&mut self, starts: impl IntoIterator<Item = (Option<Rc<Turns>>, Portion)>) {
        let state = |turns| State {
            destination: Some(self.packet.destination),
            port: self.packet.port,
            new_port: false,
            source: Source::Kept,
            mark: Some(0),
            connection_mark: Some(0),
            nat: None,
            decided: false,
            via: None,
            comment: None,
            learned: self.held(),
            turns,
        };
        let flow = |(turns, share)| Flow { state: Rc::new(state(turns)), share };
        self.connection(starts.into_iter().map(flow).collect());
    }

    /// What holds the client from before.
    fn held(&self) -> Vec<Learned<'a>> {
        let machine: &'a Machine = self.machine;
        let known = machine.memory.known.as_ref();
        let age = known.map_or(0, |known| known.age);
        let lasts = |store: &&'a Store| {
            let sets = self.rules.dump.tables.iter().filter_map(|table| table.set(&store.name));
            sets.filter_map(|set| set.timeout).all(|timeout| age <= timeout)
        };
        let stores = known.into_iter().flat_map(|known| &known.stores).filter(lasts);
        let held = |store: &'a Store| {
            let (address, port) = store.data.map_or((None, None), |(address, port)| (Some(address), port));
            let port = port.map(|port| Atom::Number(port.into()));
            Learned {
                set: &store.name,
                key: smallvec![(Atom::Address(self.packet.source), Origin::Source)],
                data: address.map(Atom::Address).into_iter().chain(port).collect(),
                counts: false,
                is_old: true,
            }
        };
        stores.map(held).collect()
    }

    /// Who the server sees of a connection to which this has happened; `None` where that cannot be told.
    pub fn seen(&mut self, translated: &Translated) -> Option<Source> {
        self.bases = Bases::Sources;
        let (destination, port) = match (&translated.action, &self.packet.direction) {
            (Action::Dnat(address, port), _) => (Some(*address), *port),
            (Action::Redirect(port), Direction::In(_)) => (None, *port),
            (Action::Redirect(port), Direction::Out) => (Some(loopback(self.packet.destination)), *port),
            (Action::Pass, _) => (Some(self.packet.destination), self.packet.port),
            (Action::Drop | Action::Reject, _) => return None,
        };
        let state = State {
            destination,
            port,
            new_port: !(translated.follows && port == self.packet.port),
            source: Source::Kept,
            mark: None,
            connection_mark: None,
            nat: (translated.action != Action::Pass).then(|| translated.action.clone()),
            decided: false,
            via: None,
            comment: None,
            learned: Vec::new(),
            turns: None,
        };
        let start = || vec![Flow { state: Rc::new(state.clone()), share: Portion::ONE }];
        let arrives = in_interface(self.packet);
        let inside = self.bases(HookPoint::Input).next().is_some();
        let out = self.hook(HookPoint::Postrouting, start(), arrives, None);
        let source = self.only(&out);
        if self.packet.direction == Direction::Out || (source == Some(Source::Kept) && !inside) {
            return source;
        }
        // Where it would change on its way out: is it on one?
        if !self.scene(0, "", None).is_for_us(destination) {
            return source;
        }
        self.outcomes.clear();
        let inner = self.hook(HookPoint::Input, start(), arrives, Some(""));
        self.only(&inner)
    }

    /// The source of all of them, where nothing else has happened.
    fn only(&self, flows: &[Flow<'_>]) -> Option<Source> {
        let whole = self.unknown.is_empty() && self.outcomes.is_empty() && self.meter.budget > 0;
        let first = flows.first().filter(|_| whole)?.state.source;
        flows.iter().all(|flow| flow.state.source == first).then_some(first)
    }

    /// Whether shares of counters were multiplied that are not independent.
    pub fn in_step(&self) -> bool {
        self.meter.visits.as_ref().is_some_and(Visits::in_step)
    }

    pub fn trace(self) -> Trace {
        let mut sums: BTreeMap<(Action, Source, Option<&str>), Portion> = BTreeMap::new();
        for Ended { action, source, comment, share, .. } in self.outcomes {
            let sum = sums.entry((action, source, comment)).or_insert(Portion::ZERO);
            *sum = sum.plus(&share);
        }
        let outcomes = sums.into_iter().map(|((action, source, comment), share)| Outcome {
            action,
            source,
            comment: comment.map(str::to_owned),
            share: share.share(),
        });
        let outcomes = outcomes.collect();
        let steps = self.steps.unwrap_or_default();
        let (cut, unlisted) = (self.meter.budget == 0, steps.is_full());
        Trace { outcomes, steps: steps.into_list(), unknown: self.unknown, cut, unlisted, loose: false }
    }

    /// Whether steps are written down.
    fn lists(&self) -> bool {
        self.steps.as_ref().is_some_and(|steps| !steps.is_full())
    }

    /// All hooks that the connection's first packet passes.
    fn connection(&mut self, start: Vec<Flow<'a>>) {
        let arrives = in_interface(self.packet);
        let later = [HookPoint::Input, HookPoint::Forward, HookPoint::Postrouting];
        let goes_on = later.iter().any(|hook| self.bases(*hook).next().is_some());
        let through = match self.packet.direction {
            Direction::In(_) => {
                let flows = self.hook(HookPoint::Prerouting, start, arrives, Some(""));
                if goes_on {
                    let (ours, others) = self.ours(flows);
                    let mut through = self.hook(HookPoint::Input, ours, arrives, Some(""));
                    let others = self.hook(HookPoint::Forward, others, arrives, None);
                    through.extend(self.hook(HookPoint::Postrouting, others, arrives, None));
                    through
                } else {
                    flows
                }
            }
            Direction::Out => {
                let flows = self.hook(HookPoint::Output, start, "", None);
                if goes_on {
                    let (ours, others) = self.ours(flows);
                    let ours = self.hook(HookPoint::Postrouting, ours, "", Some("lo"));
                    let mut through = self.hook(HookPoint::Input, ours, "lo", Some(""));
                    through.extend(self.hook(HookPoint::Postrouting, others, "", None));
                    through
                } else {
                    flows
                }
            }
        };
        self.outcomes.reserve(through.len());
        for flow in through {
            let State { nat, source, comment, .. } = &*flow.state;
            self.end(nat.clone().unwrap_or(Action::Pass), *source, *comment, &flow);
        }
    }

    /// The base chains of a hook that see the packet.
    fn bases(&self, hook: HookPoint) -> impl Iterator<Item = &'a Base> + use<'a> {
        let (rules, family) = (self.rules, Family::of(self.packet.destination));
        let wanted = self.bases;
        rules.bases.iter().filter(move |base| {
            let is_wanted = match wanted {
                Bases::All => true,
                Bases::Fates => !base.changes_sources(),
                Bases::Sources => base.changes_sources(),
            };
            is_wanted && base.hook == hook && rules.dump.tables[base.table].family.sees(family)
        })
    }

    /// The scene in which only addresses are asked about.
    fn scene(&self, table: usize, in_interface: &'a str, out_interface: Option<&'a str>) -> Scene<'a> {
        Scene {
            packet: self.packet,
            machine: self.machine,
            in_interface,
            out_interface,
            early: false,
            table: &self.rules.dump.tables[table],
            indices: &self.rules.indices,
            notes: self.notes,
        }
    }

    /// Those for this machine, and the others. There is a table.
    fn ours(&self, flows: Vec<Flow<'a>>) -> (Vec<Flow<'a>>, Vec<Flow<'a>>) {
        let scene = self.scene(0, "", None);
        flows.into_iter().partition(|flow| scene.is_for_us(flow.state.destination))
    }

    fn end(&mut self, action: Action, source: Source, comment: Option<&'a str>, flow: &Flow<'a>) {
        if !flow.share.is_zero() {
            let (turns, share) = (flow.state.turns.clone(), flow.share.clone());
            let learned = if self.keeps_learned { flow.state.learned.clone() } else { Vec::new() };
            self.outcomes.push(Ended { action, source, comment, turns, learned, share });
        }
    }

    /// All base chains of a hook.
    fn hook(
        &mut self,
        hook: HookPoint,
        flows: Vec<Flow<'a>>,
        in_interface: &'a str,
        out_interface: Option<&'a str>,
    ) -> Vec<Flow<'a>> {
        let mut flows = flows;
        if flows.is_empty() {
            return flows;
        }
        for base in self.bases(hook) {
            let (asked, mut done): (Vec<Flow<'a>>, Vec<Flow<'a>>) = match base.kind {
                ChainKind::Nat => flows.into_iter().partition(|flow| !flow.state.decided),
                ChainKind::Filter => (flows, Vec::new()),
            };
            let scene = Scene { early: base.early, ..self.scene(base.table, in_interface, out_interface) };
            self.known.clear();
            let left = self.chain(Place { scene, table: base.table, depth: 0 }, base.chain, asked);
            if base.drops {
                for flow in left {
                    self.end(Action::Drop, Source::Kept, None, &flow);
                }
            } else {
                done.extend(left);
            }
            done.append(&mut self.accepted);
            flows = merged(done);
            for flow in flows.iter_mut().filter(|flow| flow.state.via.is_some()) {
                flow.change().via = None;
            }
        }
        for flow in flows.iter_mut().filter(|flow| flow.state.decided) {
            flow.change().decided = false;
        }
        merged(flows)
    }

    /// The rules of a chain. What comes back has left the chain at its end or by `return`.
    pub(super) fn chain(&mut self, place: Place<'a>, chain: usize, flows: Vec<Flow<'a>>) -> Vec<Flow<'a>> {
        if let (Some(reaches), Some(asked)) = (&self.rules.reaches, self.notes.0)
            && reaches.misses(self.rules.dump, (place.table, chain), self.packet, asked)
        {
            return flows;
        }
        let mut current = flows;
        let mut back = Vec::new();
        let rules = &place.scene.table.chains()[chain].rules;
        let mut one = |walker: &mut Self, index: usize, flows: &mut Vec<Flow<'a>>| {
            if flows.is_empty() || walker.meter.budget == 0 {
                return false;
            }
            let mut next = Vec::new();
            walker.rule(place, (chain, index, &rules[index]), std::mem::take(flows), &mut next, &mut back);
            *flows = merged(next);
            true
        };
        match self.candidates(place.table, chain, &current) {
            Some(mut candidates) => candidates.all(|index| one(self, index, &mut current)),
            None => (0..rules.len()).all(|index| one(self, index, &mut current)),
        };
        back.extend(current);
        merged(back)
    }

    /// The rules of a long chain that may match connections that all go to one address. A list of the steps has all rules.
    fn candidates(&self, table: usize, chain: usize, flows: &[Flow<'a>]) -> Option<Candidates<'a>> {
        let index = self.rules.by_host.get(&(table, chain)).filter(|_| !self.lists())?;
        let destination = flows.first()?.state.destination?;
        let alike = flows.iter().all(|flow| flow.state.destination == Some(destination));
        alike.then(|| index.of(self.packet.destination, destination, self.notes.0))
    }

    /// One rule: those that go on behind it, and those that leave its chain.
    fn rule(
        &mut self,
        place: Place<'a>,
        (chain, index, rule): (usize, usize, &'a Rule),
        flows: Vec<Flow<'a>>,
        next: &mut Vec<Flow<'a>>,
        back: &mut Vec<Flow<'a>>,
    ) {
        let mut ends = Vec::new();
        let mut reached = Portion::ZERO;
        for flow in flows {
            if self.lists() {
                reached = reached.plus(&flow.share);
            };
            self.meter.at = (place.table, chain, index);
            match self.meter.pay(4) {
                true => run(&place.scene, rule, flow, &mut self.meter, &mut ends),
                false => ends.push((flow, End::CannotTell(TOO_MANY.into()))),
            }
        }
        self.note(place, chain, rule, &reached, &ends);
        self.note_way(rule, &ends);
        if ends.len() > 1 {
            // Mostly the servers of a service.
            self.accepted.reserve(ends.len());
        }
        for (flow, end) in ends {
            match end {
                End::No | End::CannotTell(_) | End::Verdict(Verdict::Continue) => next.push(flow),
                End::Verdict(Verdict::Accept) => self.accepted.push(flow),
                End::Verdict(Verdict::Return) => back.push(flow),
                End::Verdict(Verdict::Drop) => {
                    self.end(Action::Drop, Source::Kept, flow.state.via, &flow);
                }
                End::Reject => self.end(Action::Reject, Source::Kept, flow.state.via, &flow),
                End::Verdict(Verdict::Goto(name)) => back.extend(self.enter(place, name, rule, flow, None)),
                End::Verdict(Verdict::Jump(name)) => {
                    let via = flow.state.via;
                    next.extend(self.enter(place, name, rule, flow, Some(via)));
                }
            }
        }
    }

    /// Follows a jump or goto; a jump's caller gets back the comment that it had.
    fn enter(
        &mut self,
        place: Place<'a>,
        name: &str,
        rule: &Rule,
        flow: Flow<'a>,
        via: Option<Option<&'a str>>,
    ) -> Vec<Flow<'a>> {
        let blame = match place.scene.table.chain(name) {
            Some(chain) if place.depth < MAX_DEPTH => {
                let mut back = self.inner(Place { depth: place.depth + 1, ..place }, chain, flow, rule);
                if let Some(via) = via {
                    back.iter_mut().filter(|flow| flow.state.via != via).for_each(|flow| flow.change().via = via);
                }
                return back;
            }
            Some(_) => format!("{name}: more than {MAX_DEPTH} chains deep"),
            None => format!("{name}: no such chain"),
        };
        self.cannot_tell(blame, rule);
        vec![flow]
    }

    pub(super) fn cannot_tell(&mut self, what: String, rule: &Rule) {
        let unknown = Unknown { what, rule: rule.to_string() };
        if !self.unknown.contains(&unknown) {
            self.unknown.push(unknown);
        }
    }

    /// Notes what a rule does to each that reaches it.
    fn note_way(&mut self, rule: &Rule, ends: &[(Flow<'_>, End<'_>)]) {
        if self.meter.visits.is_none() {
            return;
        }
        self.meter.note(std::ptr::from_ref(rule).addr());
        for (flow, end) in ends {
            let end = match end {
                End::No => 0,
                End::CannotTell(_) => 1,
                End::Reject => 2,
                End::Verdict(verdict) => std::ptr::from_ref(*verdict).addr(),
            };
            let State { mark, connection_mark, nat, .. } = &*flow.state;
            self.meter.note((end, mark, connection_mark, nat));
        }
    }

    /// Writes down what a rule did.
    fn note(&mut self, place: Place<'_>, chain: usize, rule: &Rule, reached: &Portion, ends: &[(Flow<'_>, End<'_>)]) {
        let mut blamed = false;
        for (_, end) in ends {
            if let End::CannotTell(what) = end {
                blamed = true;
                self.cannot_tell(what.to_string(), rule);
            }
        }
        let Some(steps) = self.steps.as_mut().filter(|steps| !steps.is_full()) else { return };
        let mut taken = Portion::ZERO;
        for (flow, end) in ends {
            match end {
                End::No | End::CannotTell(_) => {}
                End::Verdict(_) | End::Reject => taken = taken.plus(&flow.share),
            }
        }
        let hit = match (taken.is_zero(), blamed) {
            (false, _) => Hit::Yes,
            (true, true) => Hit::CannotTell,
            (true, false) => Hit::No,
        };
        let table = place.scene.table;
        let chain = table.chains()[chain].name.clone();
        steps.push(Step {
            table: table.name.clone(),
            chain,
            rule: rule.to_string(),
            hit,
            reached: reached.share(),
            taken: taken.share(),
        });
    }
}

/// Where a connection that this machine opens is redirected to.
fn loopback(destination: IpAddr) -> IpAddr {
    match Family::of(destination) {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Flows that are not worth comparing with each other.
const FEW: usize = 16;

/// Many flows with the same state become one, in the order of the first: what divides again and again may not grow
/// without end.
fn merged(flows: Vec<Flow<'_>>) -> Vec<Flow<'_>> {
    if flows.len() <= FEW {
        return flows;
    }
    let mut list: Vec<Flow<'_>> = Vec::with_capacity(flows.len());
    let mut index: HashMap<Rc<State<'_>>, usize> = HashMap::with_capacity(flows.len());
    for flow in flows {
        match index.get(&flow.state) {
            Some(&at) => list[at].share = list[at].share.plus(&flow.share),
            None => {
                index.insert(flow.state.clone(), list.len());
                list.push(flow);
            }
        }
    }
    list
}
