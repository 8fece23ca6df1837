//! One new connection through the hooks of the kernel, as net/netfilter orders them.

use std::collections::BTreeMap;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use crate::ir::{Family, Interface};
use crate::meaning::{Action, Direction};
use crate::survey::{Amount, Answer, Asked, Survey};
use crate::trace::{Hit, Machine, Outcome, Packet, Source, Step, Trace, Unknown, Walk};

use super::dump::{ChainKind, Dump, HookPoint, Operand, Rule, Statement, Value, Verdict};
use super::evaluate::{Counters, Flow, Meter, Scene, State, TOO_MANY, in_interface};
use super::index::Index;
use super::portion::Portion;
use super::run::{End, run};
use super::sets::sets;
use super::value::Notes;

/// Chains below a base chain: NFT_JUMP_STACK_SIZE. The kernel loads nothing deeper.
const MAX_DEPTH: usize = 16;
/// What one walk may cost (see [`Meter`]): rules that people write cost some thousands.
const BUDGET: u64 = 1 << 22;

/// A dump, ready to be walked.
#[derive(Debug)]
pub struct Evaluator<'d> {
    dump: &'d Dump,
    /// Of large sets, by where their elements are.
    indices: HashMap<usize, Index<'d>>,
    /// In the order in which the kernel asks them.
    bases: Vec<Base>,
    /// Whether a survey gets no answer where anything on the way is not known.
    strict: bool,
}

/// A base chain.
#[derive(Clone, Copy, Debug)]
struct Base {
    hook: HookPoint,
    kind: ChainKind,
    drops: bool,
    table: usize,
    chain: usize,
}

impl<'d> Evaluator<'d> {
    pub fn new(dump: &'d Dump) -> Evaluator<'d> {
        let mut indices = HashMap::new();
        for elements in sets(dump) {
            if let Some(index) = Index::new(elements) {
                indices.insert(elements.as_ptr().addr(), index);
            }
        }
        Evaluator { dump, indices, bases: bases(dump), strict: false }
    }

    /// For a proof: what cannot be told is no answer, and agrees with nothing.
    pub fn strict(self) -> Evaluator<'d> {
        Evaluator { strict: true, ..self }
    }

    /// No program of this target translates sources yet: rules that do cannot be told to be right.
    fn surveyed<S>(&self, packet: &Packet, machine: &Machine, of: fn(&Portion) -> S) -> Answer<S> {
        let asked = Asked::new(packet);
        let mut walker = self.walker(packet, machine, None, Notes(Some(&asked)));
        walker.connection();
        let cost = 1 + (BUDGET - walker.meter.budget);
        let is_told = walker.unknown.is_empty() && walker.outcomes.iter().all(|one| one.source == Source::Kept);
        let mut ended = if is_told || !self.strict { walker.outcomes } else { Vec::new() };
        ended.sort_unstable_by(|one, other| one.action.cmp(&other.action));
        let mut actions: Vec<(Action, Portion)> = Vec::with_capacity(ended.len());
        for Ended { action, share, .. } in ended {
            match actions.last_mut() {
                Some((last, sum)) if *last == action => *sum = sum.plus(&share),
                Some(_) | None => actions.push((action, share)),
            }
        }
        let actions = actions.into_iter().map(|(action, share)| (action, of(&share))).collect();
        Answer { actions, horizon: asked.horizon(), facets: asked.facets(), hashed: asked.hashed(), cost }
    }

    fn walker<'a>(
        &'a self,
        packet: &'a Packet,
        machine: &'a Machine,
        counters: Option<Counters>,
        notes: Notes<'a>,
    ) -> Walker<'a> {
        let meter = Meter { budget: BUDGET, counters, at: (0, 0, 0), nth: 0, divided: false, unclear: false };
        Walker {
            rules: self,
            packet,
            machine,
            notes,
            meter,
            outcomes: Vec::new(),
            steps: None,
            unknown: Vec::new(),
            accepted: Vec::new(),
        }
    }
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
            let one = Base { hook: base.hook, kind: base.kind, drops: base.drops, table, chain };
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
        let mut walker = self.walker(packet, machine, None, Notes(None));
        walker.steps = steps.then(Vec::new);
        walker.connection();
        let mut sums: BTreeMap<(Action, Source, Option<&str>), Portion> = BTreeMap::new();
        for Ended { action, source, comment, share } in walker.outcomes {
            let sum = sums.entry((action, source, comment)).or_insert(Portion::ZERO);
            *sum = sum.plus(&share);
        }
        let outcomes = sums.into_iter().map(|((action, source, comment), share)| Outcome {
            action,
            source,
            comment: comment.map(str::to_owned),
            share: share.share(),
        });
        Trace { outcomes: outcomes.collect(), steps: walker.steps.unwrap_or_default(), unknown: walker.unknown }
    }

    fn sequence(&self, packet: &Packet, machine: &Machine, count: usize) -> Option<Vec<Action>> {
        let mut counters = Counters::new();
        let mut list = Vec::with_capacity(count.min(1 << 16));
        for _ in 0..count {
            let mut walker = self.walker(packet, machine, Some(counters), Notes(None));
            walker.connection();
            let mut ended = walker.outcomes.into_iter().map(|one| one.action);
            let action = ended.next()?;
            if walker.meter.unclear || ended.any(|other| other != action) {
                return None;
            }
            list.push(action);
            counters = walker.meter.counters.take().unwrap_or_default();
        }
        Some(list)
    }
}

impl Survey for Evaluator<'_> {
    fn answer(&self, packet: &Packet, machine: &Machine) -> Answer {
        self.surveyed(packet, machine, Portion::share)
    }

    fn estimate(&self, packet: &Packet, machine: &Machine) -> Answer<Amount> {
        self.surveyed(packet, machine, Portion::amount)
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

struct Walker<'a> {
    rules: &'a Evaluator<'a>,
    packet: &'a Packet,
    machine: &'a Machine,
    notes: Notes<'a>,
    meter: Meter,
    outcomes: Vec<Ended<'a>>,
    steps: Option<Vec<Step>>,
    unknown: Vec<Unknown>,
    /// Connections that left the base chain by `accept`.
    accepted: Vec<Flow<'a>>,
}

/// How a part of the connections ends; the share is positive.
struct Ended<'a> {
    action: Action,
    source: Source,
    comment: Option<&'a str>,
    share: Portion,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    scene: Scene<'a>,
    table: usize,
    depth: usize,
}

impl<'a> Walker<'a> {
    /// All hooks that the connection's first packet passes.
    fn connection(&mut self) {
        let state = State {
            destination: Some(self.packet.destination),
            port: self.packet.port,
            source: Source::Kept,
            mark: Some(0),
            connection_mark: Some(0),
            nat: None,
            decided: false,
            via: None,
            comment: None,
            learned: Vec::new(),
        };
        let start = vec![Flow { state: Rc::new(state), share: Portion::ONE }];
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
            self.end(nat.clone().unwrap_or(Action::Pass), *source, *comment, flow.share);
        }
    }

    /// The base chains of a hook that see the packet.
    fn bases(&self, hook: HookPoint) -> impl Iterator<Item = &'a Base> + use<'a> {
        let (rules, family) = (self.rules, Family::of(self.packet.destination));
        rules.bases.iter().filter(move |base| base.hook == hook && rules.dump.tables[base.table].family.sees(family))
    }

    /// The scene in which only addresses are asked about.
    fn scene(&self, table: usize, in_interface: &'a str, out_interface: Option<&'a str>) -> Scene<'a> {
        Scene {
            packet: self.packet,
            machine: self.machine,
            in_interface,
            out_interface,
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

    fn end(&mut self, action: Action, source: Source, comment: Option<&'a str>, share: Portion) {
        if !share.is_zero() {
            self.outcomes.push(Ended { action, source, comment, share });
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
            let scene = self.scene(base.table, in_interface, out_interface);
            let left = self.chain(Place { scene, table: base.table, depth: 0 }, base.chain, asked);
            if base.drops {
                for flow in left {
                    self.end(Action::Drop, Source::Kept, None, flow.share);
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
    fn chain(&mut self, place: Place<'a>, chain: usize, flows: Vec<Flow<'a>>) -> Vec<Flow<'a>> {
        let mut current = flows;
        let mut back = Vec::new();
        for (index, rule) in place.scene.table.chains()[chain].rules.iter().enumerate() {
            if current.is_empty() || self.meter.budget == 0 {
                break;
            }
            let mut next = Vec::new();
            self.rule(place, (chain, index, rule), current, &mut next, &mut back);
            current = merged(next);
        }
        back.extend(current);
        merged(back)
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
            if self.steps.is_some() {
                reached = reached.plus(&flow.share);
            }
            self.meter.at = (place.table, chain, index);
            self.meter.nth = 0;
            match self.meter.pay(4) {
                true => run(&place.scene, rule, flow, &mut self.meter, &mut ends),
                false => ends.push((flow, End::CannotTell(TOO_MANY.into()))),
            }
        }
        self.note(place, chain, rule, &reached, &ends);
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
                    self.end(Action::Drop, Source::Kept, flow.state.via, flow.share);
                }
                End::Reject => self.end(Action::Reject, Source::Kept, flow.state.via, flow.share),
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
                let mut back = self.chain(Place { depth: place.depth + 1, ..place }, chain, vec![flow]);
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

    fn cannot_tell(&mut self, what: String, rule: &Rule) {
        let unknown = Unknown { what, rule: rule.to_string() };
        if !self.unknown.contains(&unknown) {
            self.unknown.push(unknown);
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
        let Some(steps) = &mut self.steps else { return };
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
