//! Whether a rule matches: its own options first, then its matches as they stand, as the kernel tests them.

use std::net::IpAddr;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::{Asked, BITS, Protocols, Side};
use crate::target::iptables::dump::{Interface, Match, Net, Rule, RuleProtocol};
use crate::target::iptables::model::{self, Negatable};
use crate::trace::{Count, Machine, Packet, Rate};

use super::asks::{in_state, is_of_type, port_in, source_port};
use super::part::{Chance, Part};
use super::{Flow, Flows, bpf, kernel, recent};

/// What a rule says to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    No,
    CannotTell,
    /// All of these chances have to take it; none is certain.
    Yes(SmallVec<[Chance; 1]>),
    /// The rule changes what is remembered: [`follow`] says what it does.
    Remembers,
}

/// An interface at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'p> {
    /// The hook has none: the kernel compares with an empty name.
    Nothing,
    Named(&'p str),
    /// Routing decides, and routes are not known.
    Unknown,
}

/// What is the same for every rule of a chain.
#[derive(Clone, Copy, Debug)]
pub struct At<'p> {
    pub packet: &'p Packet,
    pub machine: &'p Machine,
    pub input: Place<'p>,
    pub output: Place<'p>,
    /// Where it is noted what was asked, if anyone wants to know.
    pub asked: Option<&'p Asked>,
    /// The line of the rule that is tested.
    pub line: u32,
    /// Whether a few clients may stand for others.
    pub samples: bool,
}

impl At<'_> {
    pub(super) fn ask(&self, note: impl FnOnce(&Asked)) {
        if let Some(asked) = self.asked {
            note(asked);
        }
    }
}

/// Whether an address lies in a net was asked.
fn ask_net(asked: &Asked, at: &At<'_>, side: Side, address: Option<IpAddr>, net: &Net) {
    match (net.range(), address) {
        (Some((first, last)), _) => asked.range(side, address, first, last),
        // Too many stretches to look at each: see `ask_bits`.
        (None, Some(_)) if at.samples && side == Side::Source && net.is_scattered() => {}
        (None, Some(address)) => asked.range(side, Some(address), address, net.alike_up_to(address)),
        (None, None) => {}
    }
}

/// Notes that bits of the client's address decide, where a rule takes so many stretches of clients that a few of them have
/// to stand for all, and asks nothing else that the packet fails.
fn ask_bits(rule: &Rule<'_>, at: &At<'_>, flow: &Flow<'_>) {
    let Some(asked) = at.asked.filter(|_| at.samples) else { return };
    let original = |one: &Match<'_>| match one {
        Match::OriginalAddress { side: Side::Source, net, .. }
        | Match::ReplyAddress { side: Side::Destination, net, .. } => net.is_scattered(),
        _ => false,
    };
    let own = rule.source.as_ref().is_some_and(|net| net.value.is_scattered());
    if !own && !rule.matches.iter().any(original) {
        return;
    }
    let others = Field::ALL.into_iter().filter(|field| !matches!(field, Field::Source));
    let fails = others.into_iter().any(|field| header(field, rule, at, flow) == Some(Some(false)));
    let chance = |one: &&Match<'_>| !matches!(one, Match::Recent { .. }) && !original(one);
    let at = At { line: rule.line, ..*at };
    if !fails && !rule.matches.iter().filter(chance).any(|one| plain(one, at, flow) == Some(false)) {
        asked.hash_source(BITS | u64::from(rule.line));
    }
}

/// The counters that a rule asked, by the addresses of its matches.
pub type Noted = SmallVec<[usize; 1]>;

/// Tests a rule that leaves alone what is remembered, and notes the counters that it asks.
pub fn test(rule: &Rule<'_>, at: &At<'_>, flow: &Flow<'_>, noted: &mut Noted) -> Answer {
    ask_bits(rule, at, flow);
    let Some(mut unsure) = own(rule, at, flow) else { return Answer::No };
    let mut chances = SmallVec::new();
    // What a hash says holds for one client alone, and what the other matches say for all: they are asked first where the
    // order is of no account.
    let is_ordered = rule.matches.iter().any(|one| matches!(one, Match::Nth { .. } | Match::Recent { .. }));
    let is_hash = |one: &&Match<'_>| !is_ordered && matches!(one, Match::Cluster { .. } | Match::Bpf(_));
    let hashes = rule.matches.iter().filter(is_hash);
    for one in rule.matches.iter().filter(|one| !is_hash(one)).chain(hashes) {
        let answer = match one {
            Match::Nth { .. } | Match::Recent { .. } if unsure => None,
            Match::Nth { .. } if flow.memory.turns.is_some() => return Answer::Remembers,
            Match::Recent { .. } => return Answer::Remembers,
            Match::Random { .. } | Match::Nth { .. } => {
                if let Match::Nth { every: 2.., .. } = one {
                    noted.push(counter(one));
                }
                drawn(chance(one), &mut chances)
            }
            other => plain(other, At { line: rule.line, ..*at }, flow),
        };
        match answer {
            Some(true) => {}
            Some(false) => return Answer::No,
            None => unsure = true,
        }
    }
    if unsure { Answer::CannotTell } else { Answer::Yes(chances) }
}

/// Tests a rule for a packet whose counters and lists go on as it is tested.
///
/// What chance takes away on the way is added to `rest`; the packet itself comes back as far as it got, with whether the
/// rule takes it: `None` is not known.
pub fn follow<'d>(
    rule: &'d Rule<'d>,
    at: &At<'_>,
    (mut flow, mut part): (Flow<'d>, Part),
    rest: &mut Flows<'d>,
    noted: &mut Noted,
) -> (Flow<'d>, Part, Option<bool>) {
    let at = &At { line: rule.line, ..*at };
    let Some(mut unsure) = own(rule, at, &flow) else { return (flow, part, Some(false)) };
    for one in &rule.matches {
        let answer = match one {
            // What stands behind a match that is not known may see a packet or not.
            Match::Nth { .. } | Match::Recent { .. } if unsure => None,
            Match::Recent { not, ask } => recent::ask(*not, ask, &mut flow, *at),
            Match::Nth { not, every, packet } if flow.memory.turns.is_some() => {
                let turns = Rc::make_mut(flow.memory.turns.get_or_insert_default());
                Some((turns.take(counter(one), *every) == *packet) != *not)
            }
            Match::Random { .. } | Match::Nth { .. } => {
                if let Match::Nth { every: 2.., .. } = one {
                    noted.push(counter(one));
                }
                let chance = chance(one);
                if (1..chance.of).contains(&chance.part) {
                    rest.push((flow.clone(), part.times(chance.rest())));
                    part = part.times(chance);
                }
                Some(chance.part > 0)
            }
            other => plain(other, *at, &flow),
        };
        match answer {
            Some(true) => {}
            Some(false) => return (flow, part, Some(false)),
            None => unsure = true,
        }
    }
    (flow, part, (!unsure).then_some(true))
}

/// Whether a rule may ask where a connection was sent, beyond whether that is another place.
pub fn asks_backend(rule: &Rule<'_>) -> bool {
    let asks = |one: &Match<'_>| {
        !matches!(
            one,
            Match::State { .. }
                | Match::Reply(_)
                | Match::TrackedProtocol { .. }
                | Match::OriginalAddress { .. }
                | Match::OriginalPort { .. }
                | Match::ReplyAddress { side: Side::Destination, .. }
                | Match::Random { .. }
                | Match::Nth { .. }
                | Match::Remembered(_)
        )
    };
    rule.destination.is_some() || rule.matches.iter().any(asks)
}

/// Whether a rule's own options are unsure; `None` where one of them is not met.
fn own(rule: &Rule<'_>, at: &At<'_>, flow: &Flow<'_>) -> Option<bool> {
    let mut unsure = false;
    // `None` is not known. The first `false` ends the test: whatever the others say, it stays the answer.
    for field in Field::ALL {
        match header(field, rule, at, flow) {
            Some(Some(false)) => return None,
            Some(None) => unsure = true,
            Some(Some(true)) | None => {}
        }
    }
    Some(unsure)
}

/// The name of a counter.
fn counter(one: &Match<'_>) -> usize {
    std::ptr::from_ref(one).addr()
}

/// The part that a match takes; that of a counter is taken at any place.
fn chance(one: &Match<'_>) -> Chance {
    let (not, chance) = match one {
        Match::Random { not, k } => (*not, Chance { part: u64::from(*k), of: 1 << 31 }),
        Match::Nth { not, every, .. } => (*not, Chance { part: 1, of: u64::from(*every) }),
        _ => (false, Chance { part: 1, of: 1 }),
    };
    if not { chance.rest() } else { chance }
}

/// A rule's own options.
#[derive(Clone, Copy)]
enum Field {
    Destination,
    Protocol,
    Input,
    Output,
    Source,
}

impl Field {
    const ALL: [Field; 5] = [Field::Destination, Field::Protocol, Field::Input, Field::Output, Field::Source];
}

/// What an option says to a packet, where the rule has it; the inner `None` is not known.
#[inline(always)]
fn header(field: Field, rule: &Rule<'_>, at: &At<'_>, flow: &Flow<'_>) -> Option<Option<bool>> {
    let net = |side, address, net: &Negatable<Net>| {
        at.ask(|asked| ask_net(asked, at, side, address, &net.value));
        holds(net, |net| in_net(address, net, at))
    };
    match field {
        Field::Destination => rule.destination.as_ref().map(|own| net(Side::Destination, flow.destination, own)),
        Field::Source => rule.source.as_ref().map(|own| net(Side::Source, flow.source, own)),
        Field::Protocol => rule.protocol.as_ref().map(|protocol| {
            ask_protocol(at, protocol.value);
            holds(protocol, |own| Some(own.is(at.packet.protocol)))
        }),
        Field::Input => rule.input.as_ref().map(|interface| {
            at.ask(Asked::interface);
            holds(interface, |own| on(at.input, own))
        }),
        Field::Output => rule.output.as_ref().map(|interface| holds(interface, |own| on(at.output, own))),
    }
}

/// Whether it is a protocol was asked.
fn ask_protocol(at: &At<'_>, protocol: RuleProtocol) {
    match protocol {
        RuleProtocol::One(protocol) => at.ask(|asked| asked.protocol(protocol)),
        // That none of them is one of the others is no news.
        RuleProtocol::Other => {}
    }
}

/// Notes a chance that is neither certain nor impossible.
fn drawn(chance: Chance, chances: &mut SmallVec<[Chance; 1]>) -> Option<bool> {
    if chance.part == 0 {
        return Some(false);
    }
    if chance.part < chance.of {
        chances.push(chance);
    }
    Some(true)
}

fn holds<T>(one: &Negatable<T>, test: impl Fn(&T) -> Option<bool>) -> Option<bool> {
    test(&one.value).map(|answer| answer != one.not)
}

fn on(place: Place<'_>, interface: &Interface<'_>) -> Option<bool> {
    match place {
        Place::Nothing => Some(interface.is("")),
        Place::Named(name) => Some(interface.is(name)),
        Place::Unknown => (interface.prefix && interface.name.is_empty()).then_some(true),
    }
}

/// No address is some address of this machine.
fn in_net(address: Option<IpAddr>, net: &Net, at: &At<'_>) -> Option<bool> {
    if let Some(address) = address {
        return Some(net.contains(address));
    }
    let prefix = net.prefix()?;
    if prefix.prefix_len() == 0 {
        return Some(true);
    }
    at.ask(Asked::locals);
    let mut own = at.machine.local.iter().filter(|own| Family::of_net(**own) == net.family()).peekable();
    own.peek()?;
    let (mut all, mut none) = (true, true);
    for own in own {
        all &= prefix.contains(own);
        none &= !prefix.contains(own) && !own.contains(&prefix);
    }
    match (all, none) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        (false, false) => None,
    }
}

/// A match without chance; `None` where it is not known.
fn plain(one: &Match<'_>, at: At<'_>, flow: &Flow<'_>) -> Option<bool> {
    let packet = at.packet;
    let unless = |not: &bool, answer: Option<bool>| answer.map(|answer| answer != *not);
    match one {
        Match::Random { .. } | Match::Nth { .. } | Match::Recent { .. } | Match::Unknown(_) => None,
        Match::Port { not, side, ports } => unless(not, port_in(*side, std::slice::from_ref(ports), at, flow)),
        Match::Multiport { not, side: Some(side), ports } => unless(not, port_in(*side, ports, at, flow)),
        Match::Multiport { not, side: None, ports } => {
            let source = port_in(Side::Source, ports, at, flow);
            let destination = port_in(Side::Destination, ports, at, flow);
            unless(
                not,
                match (source, destination) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    (None | Some(false), None | Some(false)) => None,
                },
            )
        }
        Match::TcpFlags { not, mask, set } => {
            const SYN: u8 = 0x02;
            at.ask(|asked| asked.protocol(Protocol::Tcp));
            Some((packet.protocol == Protocol::Tcp && SYN & mask == *set) != *not)
        }
        Match::Fragment { not } => Some(*not),
        Match::AddressType { not, side, types } => {
            let address = match side {
                Side::Source => flow.source,
                Side::Destination => flow.destination,
            };
            at.ask(|asked| {
                asked.special(*side, address);
                address.into_iter().for_each(|address| asked.local(address));
            });
            Some(is_of_type(address, Family::of(packet.destination), *types, at.machine) != *not)
        }
        Match::State { not, states } => unless(not, in_state(*states, flow, at)),
        Match::Reply(reply) => Some(flow.is_tracked() && !reply),
        Match::TrackedProtocol { not, protocol } => {
            ask_protocol(&at, *protocol);
            Some(flow.is_tracked() && protocol.is(packet.protocol) != *not)
        }
        Match::OriginalAddress { not, side, net } => {
            let address = match side {
                Side::Source => packet.source,
                Side::Destination => packet.destination,
            };
            at.ask(|asked| ask_net(asked, &at, *side, Some(address), net));
            Some(flow.is_tracked() && net.contains(address) != *not)
        }
        Match::OriginalPort { not, side, ports } => {
            if *side == Side::Destination {
                at.ask(|asked| asked.port(packet.port, ports.first, ports.last));
            }
            let port = match side {
                Side::Source => packet.source_port,
                Side::Destination => Some(packet.port),
            };
            if flow.is_tracked() { unless(not, port.map(|port| ports.contains(port))) } else { Some(false) }
        }
        Match::ReplyAddress { not, side, net } => {
            // Who answers is who gets the packet now, and the answer goes to who sent it.
            let address = match side {
                Side::Source => flow.destination,
                Side::Destination => flow.source,
            };
            let own = match side {
                Side::Source => Side::Destination,
                Side::Destination => Side::Source,
            };
            at.ask(|asked| ask_net(asked, &at, own, address, net));
            if flow.is_tracked() { unless(not, in_net(address, net, &at)) } else { Some(false) }
        }
        Match::ReplyPort { not, side, ports } => {
            let own = match side {
                Side::Source => Side::Destination,
                Side::Destination => Side::Source,
            };
            if flow.is_tracked() {
                unless(not, port_in(own, std::slice::from_ref(ports), at, flow))
            } else {
                Some(false)
            }
        }
        Match::Stateful(own) => Some(match &**own {
            model::Match::LogRate => true,
            model::Match::RateAbove(above) => {
                let model::RateAbove { rate, unit, burst, per_source, .. } = **above;
                at.machine.memory.over_rate.holds(Some(Rate { rate, unit, burst, per_source }))
            }
            model::Match::CountAbove { count, client } => {
                let is_whole = client.is_none_or(|family| family == Family::of(packet.source));
                let own = Count { count: *count, per_source: client.is_some() };
                at.machine.memory.over_count.holds(Some(own).filter(|_| is_whole))
            }
            model::Match::InSet(set) => {
                flow.memory.lists.as_deref().is_some_and(|lists| lists.has(set.as_str(), flow.source))
            }
            // No other form of ours asks what is remembered.
            _ => false,
        }),
        Match::Mark { not, connection, value, mask } => {
            let mark = if *connection { flow.connection_mark } else { flow.mark };
            if let (Some(made), Some(asked)) = (mark.hash(), at.asked) {
                made.ask(asked, Some(packet.destination));
            }
            if *connection && !flow.is_tracked() {
                return Some(false);
            }
            unless(not, mark.is(*value, *mask))
        }
        Match::Remembered(answer) => Some(*answer),
        Match::Cluster { not, total, nodes, seed } => {
            at.ask(|asked| asked.hash_source(u64::from(at.line)));
            let node = kernel::cluster_node(packet.source, *total, *seed);
            Some(flow.is_tracked() && (nodes >> node & 1 == 1) != *not)
        }
        Match::Bpf(program) => {
            at.ask(|asked| {
                let reads = bpf::reads(program.instructions(), packet.destination.is_ipv6());
                if reads.source {
                    asked.hash_source(u64::from(at.line));
                }
                // Which bytes are ports, and which are there, is a matter of the protocol.
                if reads.protocol || reads.port {
                    asked.protocols(Protocols::ALL);
                }
                if reads.destination {
                    let own = packet.destination;
                    asked.range(Side::Destination, Some(own), own, own);
                }
                if reads.port {
                    asked.port_in(packet.port, packet.port);
                }
            });
            let header = bpf::Header::new(bpf::Shown {
                protocol: packet.protocol,
                source: flow.source,
                source_port: source_port(packet, flow),
                destination: flow.destination,
                port: flow.port,
                v6: packet.destination.is_ipv6(),
            });
            bpf::matches(program.instructions(), &header)
        }
        Match::Range { not, side, first, last } => {
            let address = match side {
                Side::Source => flow.source,
                Side::Destination => flow.destination,
            };
            at.ask(|asked| asked.range(*side, address, *first, *last));
            unless(not, address.map(|address| (*first..=*last).contains(&address)))
        }
    }
}
