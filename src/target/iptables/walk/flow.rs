//! What rules have made of the packets that walk together, and how parts of them meet again.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use num_traits::Zero;
use smallvec::SmallVec;

use crate::ir::share::Share;
use crate::meaning::Action;
use crate::target::iptables::dump::Target;
use crate::trace::Source;

use super::kernel;
use super::part::Part;

/// What rules have made of a packet so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow<'d> {
    // What flows differ in most comes first: they are compared in this order.
    /// `None` is some address of this machine.
    pub(super) destination: Option<IpAddr>,
    pub(super) port: u16,
    /// `None` is some address of this machine.
    pub(super) source: Option<IpAddr>,
    /// Whether the port is the packet's own or moves with it.
    pub(super) port_follows: bool,
    pub(super) mark: u32,
    pub(super) connection_mark: u32,
    /// False behind NOTRACK: no translation, no state.
    pub(super) tracked: bool,
    /// `Pass` until a rule of nat decides.
    pub(super) action: Action,
    pub(super) translated: Source,
    /// The comment of the rule that decided.
    pub(super) comment: Option<&'d str>,
}

/// Most walks have one until a backend is picked.
pub(super) type Flows<'d> = SmallVec<[(Flow<'d>, Part); 1]>;

/// Targets that the packet goes on behind. False where one needs an address that is not known.
pub(super) fn marked(target: &Target<'_>, flow: &mut Flow<'_>) -> bool {
    match target {
        Target::Mark { connection: false, value, mask } => flow.mark = (flow.mark & !mask) ^ value,
        Target::Mark { connection: true, value, mask } => {
            flow.connection_mark = (flow.connection_mark & !mask) ^ value;
        }
        Target::SaveMark { packet, connection } => {
            flow.connection_mark = (flow.connection_mark & !connection) ^ (flow.mark & packet);
        }
        Target::RestoreMark { packet, connection } => {
            flow.mark = (flow.mark & !packet) ^ (flow.connection_mark & connection);
        }
        Target::Hmark { source, destination, modulus, offset, seed } => {
            if (*source && flow.source.is_none()) || (*destination && flow.destination.is_none()) {
                return false;
            }
            let (from, to) = (flow.source.filter(|_| *source), flow.destination.filter(|_| *destination));
            flow.mark = kernel::hmark(from, to, *modulus, *seed).wrapping_add(*offset);
        }
        Target::NoTrack => flow.tracked = false,
        Target::Next
        | Target::Unknown(_)
        | Target::Accept
        | Target::Drop
        | Target::Reject
        | Target::Return
        | Target::Jump(_)
        | Target::Goto(_)
        | Target::Dnat { .. }
        | Target::Redirect(_)
        | Target::Masquerade
        | Target::Snat(_) => {}
    }
    true
}

/// Adds flows at the end; room for several backends is made at once.
pub(super) fn keep<'d>(accepted: &mut Flows<'d>, mut taken: Flows<'d>) {
    const SOME: usize = 12;
    if accepted.is_empty() {
        *accepted = taken;
        return;
    }
    if taken.is_empty() {
        return;
    }
    if !accepted.spilled() {
        accepted.reserve(SOME);
    }
    accepted.append(&mut taken);
}

/// Of a walk that is exact.
pub(super) fn sum(flows: &Flows<'_>) -> Share {
    let sum = flows.iter().map(|(_, part)| part).cloned().reduce(|mut sum, part| {
        sum.add(&part);
        sum
    });
    sum.map_or_else(Share::zero, |sum| sum.share())
}

/// Makes equal flows one.
pub(super) fn merged(flows: Flows<'_>) -> Flows<'_> {
    let to = |flow: &Flow<'_>| (flow.destination, flow.port);
    // As those of a service are, whose backends ascend.
    if flows.windows(2).all(|pair| to(&pair[0].0) < to(&pair[1].0)) {
        return flows;
    }
    let mut merged = Flows::new();
    merge(&mut merged, flows);
    merged
}

/// Adds flows to others; equal ones become one.
pub(super) fn merge<'d>(into: &mut Flows<'d>, more: Flows<'d>) {
    const FEW: usize = 24;
    if more.is_empty() {
        return;
    }
    if into.is_empty() && more.len() == 1 {
        *into = more;
        return;
    }
    if into.len() + more.len() <= FEW {
        for (flow, part) in more {
            match into.iter_mut().find(|(own, _)| *own == flow) {
                Some((_, sum)) => sum.add(&part),
                None => into.push((flow, part)),
            }
        }
        return;
    }
    let mut places: HashMap<Flow<'d>, usize> = HashMap::with_capacity(into.len() + more.len());
    let mut sums: Vec<Part> = Vec::with_capacity(into.len() + more.len());
    for (flow, part) in into.drain(..).chain(more) {
        let place = *places.entry(flow).or_insert(sums.len());
        match sums.get_mut(place) {
            Some(sum) => sum.add(&part),
            None => sums.push(part),
        }
    }
    let mut flows: Vec<(usize, Flow<'d>)> = places.into_iter().map(|(flow, place)| (place, flow)).collect();
    flows.sort_unstable_by_key(|(place, _)| *place);
    into.extend(flows.into_iter().map(|(_, flow)| flow).zip(sums));
}
