//! What rules have made of the packets that walk together, and how parts of them meet again.

use std::net::IpAddr;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};
use num_traits::Zero;
use smallvec::SmallVec;

use crate::ir::share::Share;
use crate::meaning::Action;
use crate::survey::{Asked, Side};
use crate::target::iptables::dump::{Prefix, Rule, Target};
use crate::trace::Source;
use crate::turns::Turns;

use super::kernel;
use super::part::Part;
use super::recent::Lists;

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
    pub(super) mark: Mark,
    pub(super) connection_mark: Mark,
    pub(super) tracking: Tracking,
    /// `Pass` until a rule of nat decides.
    pub(super) action: Action,
    pub(super) translated: Source,
    /// The comment of the rule that decided.
    pub(super) comment: Option<&'d str>,
    pub(super) memory: Memory<'d>,
}

/// What conntrack knows of a packet. Only what is tracked has a connection, which rules may ask and translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// Nothing yet: the table raw comes first.
    Before,
    Tracked,
    /// Behind NOTRACK.
    Never,
}

impl Flow<'_> {
    pub(super) fn is_tracked(&self) -> bool {
        self.tracking == Tracking::Tracked
    }
}

/// What the machine remembers of the packets so far, this one among them. It is shared, and most rules leave it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory<'d> {
    /// Where counters stand; `None` where each may be at any place, whatever the others are at.
    pub(super) turns: Option<Rc<Turns>>,
    /// What this packet has put into lists of `recent`.
    pub(super) lists: Option<Rc<Lists<'d>>>,
}

/// A mark, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Without the bits that are not known.
    value: u32,
    unknown: u32,
    /// What any of it is made of, where that is addresses.
    hash: Option<Made>,
}

/// What `-j HMARK` made a mark of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    /// The line of the rule.
    line: u32,
    source: bool,
    /// The destinations that are hashed alike.
    destination: Prefix,
}

impl Made {
    /// Notes that the mark was asked about.
    pub fn ask(self, asked: &Asked, destination: Option<IpAddr>) {
        if self.source {
            asked.hash_source(u64::from(self.line));
        }
        if let Some(own) = destination.filter(|_| !self.destination.is_none()) {
            let alike = self.destination.around(own);
            asked.range(Side::Destination, Some(own), alike.network(), alike.broadcast());
        }
    }
}

impl Mark {
    pub const UNKNOWN: Mark = Mark { value: 0, unknown: u32::MAX, hash: None };

    pub fn known(value: u32) -> Mark {
        Mark { value, unknown: 0, hash: None }
    }

    /// What it is made of, where that is addresses.
    pub fn hash(self) -> Option<Made> {
        self.hash
    }

    /// Whether it is a value under a mask, if that can be told.
    pub fn is(self, value: u32, mask: u32) -> Option<bool> {
        // A bit outside the mask is never set under it.
        if value & !mask != 0 || (self.value ^ value) & mask & !self.unknown != 0 {
            return Some(false);
        }
        (self.unknown & mask == 0).then_some(true)
    }

    /// `(mark & !cleared) ^ other`
    fn changed(self, cleared: u32, other: Mark) -> Mark {
        let unknown = (self.unknown & !cleared) | other.unknown;
        let hash = other.hash.or(self.hash.filter(|_| cleared != u32::MAX));
        Mark { value: ((self.value & !cleared) ^ other.value) & !unknown, unknown, hash }
    }

    fn under(self, mask: u32) -> Mark {
        Mark { value: self.value & mask, unknown: self.unknown & mask, hash: self.hash.filter(|_| mask != 0) }
    }
}

/// Most walks have one until a backend is picked.
pub(super) type Flows<'d> = SmallVec<[(Flow<'d>, Part); 1]>;

/// Targets that the packet goes on behind. False where one needs an address that is not known.
pub(super) fn marked<'d>(rule: &'d Rule<'d>, flow: &mut Flow<'d>) -> bool {
    match &rule.target {
        Target::Mark { connection: false, value, mask } => flow.mark = flow.mark.changed(*mask, Mark::known(*value)),
        // Without a connection there is nothing to write to or to read from.
        Target::Mark { connection: true, .. } | Target::SaveMark { .. } | Target::RestoreMark { .. }
            if !flow.is_tracked() => {}
        Target::Mark { connection: true, value, mask } => {
            flow.connection_mark = flow.connection_mark.changed(*mask, Mark::known(*value));
        }
        Target::SaveMark { packet, connection } => {
            flow.connection_mark = flow.connection_mark.changed(*connection, flow.mark.under(*packet));
        }
        Target::RestoreMark { packet, connection } => {
            flow.mark = flow.mark.changed(*packet, flow.connection_mark.under(*connection));
        }
        Target::Hmark { source, destination, modulus, offset, seed } => {
            // What is left out is not asked.
            let part = |prefix: Prefix, address: Option<IpAddr>| match (prefix.is_none(), address) {
                (true, _) => Some(None),
                (false, Some(address)) => Some(Some(prefix.of(address))),
                (false, None) => None,
            };
            let (Some(from), Some(to)) = (part(*source, flow.source), part(*destination, flow.destination)) else {
                flow.mark = Mark::UNKNOWN;
                return false;
            };
            let value = kernel::hmark(from, to, *modulus, *seed).wrapping_add(*offset);
            let hash = Some(Made { line: rule.line, source: !source.is_none(), destination: *destination });
            flow.mark = Mark { hash, ..Mark::known(value) };
        }
        Target::Unknown(text) => {
            let (packet, connection) = may_mark(text);
            if packet {
                flow.mark = Mark::UNKNOWN;
            }
            if connection {
                flow.connection_mark = Mark::UNKNOWN;
            }
        }
        Target::NoTrack => flow.tracking = Tracking::Never,
        Target::Remember(set) => {
            let client = flow.source;
            Rc::make_mut(flow.memory.lists.get_or_insert_default()).add(set.as_str(), client);
        }
        Target::Next
        | Target::Aside(_)
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

/// Whether a target that is not known may change the packet's mark, and that of the connection.
pub(super) fn may_mark(text: &str) -> (bool, bool) {
    let mut words = text.split([' ', '\t', '=']).filter(|word| !word.is_empty());
    match words.nth(1).unwrap_or_default() {
        "MARK" | "HMARK" | "TPROXY" => (true, false),
        // Only what a set holds for an address may be a mark.
        "SET" => (text.contains("--map-"), false),
        "AUDIT" | "CHECKSUM" | "CLASSIFY" | "CLUSTERIP" | "CONNSECMARK" | "DNAT" | "DNPT" | "DSCP" | "ECN" | "HL"
        | "IDLETIMER" | "LED" | "MASQUERADE" | "MIRROR" | "NETMAP" | "NFQUEUE" | "QUEUE" | "RATEEST" | "REDIRECT"
        | "SAME" | "SECMARK" | "SNAT" | "SNPT" | "SYNPROXY" | "TCPOPTSTRIP" | "TEE" | "TOS" | "TTL" => (false, false),
        _ => (true, true),
    }
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
