//! One new connection through the hooks of the kernel, as net/netfilter orders them.

use std::collections::{BTreeMap, HashMap};

use num_traits::{One, Zero};

use crate::ir::Family;
use crate::ir::share::Share;
use crate::meaning::{Action, Direction};
use crate::trace::{Hit, Machine, Outcome, Packet, Source, Step, Trace, Unknown, Walk};

use super::dump::{Base, ChainKind, Dump, HookPoint, Rule, Verdict};
use super::evaluate::{Counters, Flow, Meter, Scene, State, TOO_MANY, in_interface, is_for_us};
use super::run::{End, run};

/// Chains below a base chain: NFT_JUMP_STACK_SIZE. The kernel loads nothing deeper.
const MAX_DEPTH: usize = 16;
/// What one walk may cost (see [`Meter`]): rules that people write cost some thousands.
const BUDGET: u64 = 1 << 22;

impl Walk for Dump {
    fn walk(&self, packet: &Packet, machine: &Machine, steps: bool) -> Trace {
        let mut walker = Walker::new(self, packet, machine, None);
        walker.steps = steps.then(Vec::new);
        walker.connection();
        let outcomes = walker.outcomes.into_iter();
        let outcomes = outcomes.map(|((action, source, comment), share)| Outcome { action, source, comment, share });
        Trace { outcomes: outcomes.collect(), steps: walker.steps.unwrap_or_default(), unknown: walker.unknown }
    }

    fn sequence(&self, packet: &Packet, machine: &Machine, count: usize) -> Option<Vec<Action>> {
        let mut counters = Counters::new();
        let mut list = Vec::with_capacity(count.min(1 << 16));
        for _ in 0..count {
            let mut walker = Walker::new(self, packet, machine, Some(counters));
            walker.connection();
            let mut actions: Vec<Action> = walker.outcomes.into_keys().map(|(action, ..)| action).collect();
            actions.dedup();
            let [_] = &actions[..] else { return None };
            if walker.meter.unclear {
                return None;
            }
            list.append(&mut actions);
            counters = walker.meter.counters.take().unwrap_or_default();
        }
        Some(list)
    }
}

struct Walker<'a> {
    dump: &'a Dump,
    packet: &'a Packet,
    machine: &'a Machine,
    meter: Meter,
    outcomes: BTreeMap<(Action, Source, Option<String>), Share>,
    steps: Option<Vec<Step>>,
    unknown: Vec<Unknown>,
    /// Connections that left the base chain by `accept`.
    accepted: Vec<Flow>,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    scene: Scene<'a>,
    table: usize,
    depth: usize,
}

impl<'a> Walker<'a> {
    fn new(dump: &'a Dump, packet: &'a Packet, machine: &'a Machine, counters: Option<Counters>) -> Walker<'a> {
        let meter = Meter { budget: BUDGET, counters, at: (0, 0, 0), nth: 0, divided: false, unclear: false };
        Walker {
            dump,
            packet,
            machine,
            meter,
            outcomes: BTreeMap::new(),
            steps: None,
            unknown: Vec::new(),
            accepted: Vec::new(),
        }
    }

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
        let start = vec![Flow { state, share: Share::one() }];
        let arrives = in_interface(self.packet);
        let through = match self.packet.direction {
            Direction::In(_) => {
                let flows = self.hook(HookPoint::Prerouting, start, arrives, Some(""));
                let (ours, others) = self.ours(flows);
                let mut through = self.hook(HookPoint::Input, ours, arrives, Some(""));
                let others = self.hook(HookPoint::Forward, others, arrives, None);
                through.extend(self.hook(HookPoint::Postrouting, others, arrives, None));
                through
            }
            Direction::Out => {
                let flows = self.hook(HookPoint::Output, start, "", None);
                let (ours, others) = self.ours(flows);
                let ours = self.hook(HookPoint::Postrouting, ours, "", Some("lo"));
                let mut through = self.hook(HookPoint::Input, ours, "lo", Some(""));
                through.extend(self.hook(HookPoint::Postrouting, others, "", None));
                through
            }
        };
        for flow in through {
            let State { nat, source, comment, .. } = flow.state;
            self.end(nat.unwrap_or(Action::Pass), source, comment, flow.share);
        }
    }

    /// Those for this machine, and the others.
    fn ours(&self, flows: Vec<Flow>) -> (Vec<Flow>, Vec<Flow>) {
        flows.into_iter().partition(|flow| is_for_us(flow.state.destination, self.machine))
    }

    fn end(&mut self, action: Action, source: Source, comment: Option<Box<str>>, share: Share) {
        if !share.is_zero() {
            *self.outcomes.entry((action, source, comment.map(String::from))).or_default() += share;
        }
    }

    /// All base chains of a hook. Those of `type nat` are asked together, at the priority of NAT, whatever their own is,
    /// until one decides (nf_nat_inet_fn).
    fn hook(
        &mut self,
        hook: HookPoint,
        flows: Vec<Flow>,
        in_interface: &str,
        out_interface: Option<&str>,
    ) -> Vec<Flow> {
        let mut flows = flows;
        if flows.is_empty() {
            return flows;
        }
        let nat_priority = match hook {
            HookPoint::Prerouting | HookPoint::Output | HookPoint::Ingress => -100,
            HookPoint::Input | HookPoint::Postrouting | HookPoint::Forward => 100,
        };
        let family = Family::of(self.packet.destination);
        let dump = self.dump;
        let tables = dump.tables.iter().enumerate().filter(|(_, table)| table.family.sees(family));
        let mut bases: Vec<(i32, Base, usize, usize)> = tables
            .flat_map(|(at, table)| table.chains().iter().enumerate().map(move |(index, chain)| (at, index, chain)))
            .filter_map(|(at, index, chain)| chain.base.filter(|base| base.hook == hook).map(|base| (base, at, index)))
            .map(|(base, at, index)| match base.kind {
                ChainKind::Nat => (nat_priority, base, at, index),
                ChainKind::Filter => (base.priority, base, at, index),
            })
            .collect();
        // Of equal ones the kernel asks the newest first (nf_hook_entries_grow).
        bases.reverse();
        bases.sort_by_key(|(priority, base, ..)| (*priority, base.kind == ChainKind::Nat, base.priority));
        for (_, base, table, chain) in bases {
            let scene = Scene {
                packet: self.packet,
                machine: self.machine,
                in_interface,
                out_interface,
                table: &dump.tables[table],
            };
            let (asked, mut done): (Vec<Flow>, Vec<Flow>) = match base.kind {
                ChainKind::Nat => flows.into_iter().partition(|flow| !flow.state.decided),
                ChainKind::Filter => (flows, Vec::new()),
            };
            let left = self.chain(Place { scene, table, depth: 0 }, chain, asked);
            if base.drops {
                for flow in left {
                    self.end(Action::Drop, Source::Kept, None, flow.share);
                }
            } else {
                done.extend(left);
            }
            done.append(&mut self.accepted);
            flows = merged(done);
            for flow in &mut flows {
                flow.state.via = None;
            }
        }
        for flow in &mut flows {
            flow.state.decided = false;
        }
        merged(flows)
    }

    /// The rules of a chain. What comes back has left the chain at its end or by `return`.
    fn chain(&mut self, place: Place<'_>, chain: usize, flows: Vec<Flow>) -> Vec<Flow> {
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
        place: Place<'_>,
        (chain, index, rule): (usize, usize, &Rule),
        flows: Vec<Flow>,
        next: &mut Vec<Flow>,
        back: &mut Vec<Flow>,
    ) {
        let mut ends = Vec::new();
        let mut reached = Share::zero();
        for flow in flows {
            reached += &flow.share;
            self.meter.at = (place.table, chain, index);
            self.meter.nth = 0;
            match self.meter.pay(4) {
                true => run(&place.scene, rule, flow, &mut self.meter, &mut ends),
                false => ends.push((flow, End::CannotTell(TOO_MANY.into()))),
            }
        }
        self.note(place, chain, rule, reached, &ends);
        for (flow, end) in ends {
            match end {
                End::No | End::CannotTell(_) | End::Verdict(Verdict::Continue) => next.push(flow),
                End::Verdict(Verdict::Accept) => self.accepted.push(flow),
                End::Verdict(Verdict::Return) => back.push(flow),
                End::Verdict(Verdict::Drop) => {
                    self.end(Action::Drop, Source::Kept, flow.state.via, flow.share);
                }
                End::Reject => self.end(Action::Reject, Source::Kept, flow.state.via, flow.share),
                End::Verdict(Verdict::Goto(name)) => back.extend(self.enter(place, &name, rule, flow, None)),
                End::Verdict(Verdict::Jump(name)) => {
                    let via = flow.state.via.clone();
                    next.extend(self.enter(place, &name, rule, flow, Some(via)));
                }
            }
        }
    }

    /// Follows a jump or goto; a jump's caller gets back the comment that it had.
    fn enter(
        &mut self,
        place: Place<'_>,
        name: &str,
        rule: &Rule,
        flow: Flow,
        via: Option<Option<Box<str>>>,
    ) -> Vec<Flow> {
        let blame = match place.scene.table.chain(name) {
            Some(chain) if place.depth < MAX_DEPTH => {
                let mut back = self.chain(Place { depth: place.depth + 1, ..place }, chain, vec![flow]);
                if let Some(via) = via {
                    back.iter_mut().for_each(|flow| flow.state.via.clone_from(&via));
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
    fn note(&mut self, place: Place<'_>, chain: usize, rule: &Rule, reached: Share, ends: &[(Flow, End)]) {
        let mut blamed = false;
        for (_, end) in ends {
            if let End::CannotTell(what) = end {
                blamed = true;
                self.cannot_tell(what.to_string(), rule);
            }
        }
        let Some(steps) = &mut self.steps else { return };
        let mut taken = Share::zero();
        for (flow, end) in ends {
            match end {
                End::No | End::CannotTell(_) => {}
                End::Verdict(_) | End::Reject => taken += &flow.share,
            }
        }
        let hit = match (taken.is_zero(), blamed) {
            (false, _) => Hit::Yes,
            (true, true) => Hit::CannotTell,
            (true, false) => Hit::No,
        };
        let table = place.scene.table;
        let chain = table.chains()[chain].name.clone();
        steps.push(Step { table: table.name.clone(), chain, rule: rule.to_string(), hit, reached, taken });
    }
}

/// Flows with the same state become one, in the order of the first.
fn merged(flows: Vec<Flow>) -> Vec<Flow> {
    if flows.len() < 2 {
        return flows;
    }
    let mut list: Vec<Flow> = Vec::with_capacity(flows.len());
    let mut index: HashMap<State, usize> = HashMap::with_capacity(flows.len());
    for flow in flows {
        match index.get(&flow.state) {
            Some(&at) => list[at].share += flow.share,
            None => {
                index.insert(flow.state.clone(), list.len());
                list.push(flow);
            }
        }
    }
    list
}
