//! The options of one match become typed matches. What cannot be read stays as it is written.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::Side;
use crate::target::iptables::dump::{AddressTypes, Match, Net, Ports, Recent, RecentVerb, RuleProtocol, States};
use crate::target::iptables::model::{BpfInstruction, BpfProgram, MAX_BPF_INSTRUCTIONS, Negatable};

use super::option::Module;
use super::rule::Given;
use super::stateful;
use super::value;

/// Appends the matches; says which family they are for, where only one can be meant.
pub fn build<'t>(
    module: Module,
    options: impl IntoIterator<Item = Given<'t>>,
    protocol: Option<&Negatable<RuleProtocol>>,
    into: &mut Vec<Match<'t>>,
) -> Option<Family> {
    let mut options = options.into_iter();
    match module {
        Module::Tcp => each(options, into, |one| fits(protocol, Protocol::Tcp).then(|| tcp(one)).flatten()),
        Module::Udp => each(options, into, |one| fits(protocol, Protocol::Udp).then(|| port(one)).flatten()),
        Module::Sctp => each(options, into, |one| fits(protocol, Protocol::Sctp).then(|| port(one)).flatten()),
        Module::Multiport => each(options, into, multiport),
        Module::Addrtype => whole(options, into, addrtype),
        Module::Statistic => statistic(options, into),
        Module::Conntrack => return conntrack(options, into),
        Module::State => each(options, into, |one| states(&one.value).map(|states| state(one.not, states))),
        Module::Comment => {}
        Module::Mark | Module::Connmark => each(options, into, |one| {
            let (value, mask) = value::masked(&one.value)?;
            Some(Match::Mark { not: one.not, connection: module == Module::Connmark, value, mask })
        }),
        Module::Recent => whole(options, into, recent),
        Module::Limit => whole(options, into, |list| {
            if let Some(own) = stateful::log_rate(list) {
                return Some(vec![own]);
            }
            // Without `--limit` it is three an hour.
            list.iter().all(|one| !one.not).then(|| vec![Match::Remembered(true)])
        }),
        Module::Hashlimit => whole(options, into, |list| {
            if let Some(own) = stateful::rate(list) {
                return Some(vec![own]);
            }
            let rate = list.iter().find(|one| one.name.starts_with("hashlimit") && is_rate(one.name))?;
            Some(vec![Match::Remembered((rate.name != "hashlimit-above") != rate.not)])
        }),
        Module::Connlimit => whole(options, into, connlimit),
        Module::Cluster => whole(options, into, cluster),
        Module::Set => whole(options, into, |list| stateful::set(list).map(|own| vec![own])),
        Module::Bpf => each(options, into, |one| {
            (one.name == "bytecode" && !one.not).then(|| bytecode(&one.value)).flatten().map(Match::Bpf)
        }),
        Module::Iprange => {
            let mut family = None;
            for one in options.by_ref() {
                let range = range(&one);
                if let Some(Match::Range { first, .. }) = &range {
                    family = Some(Family::of(*first));
                }
                into.push(range.unwrap_or(Match::Unknown(one.text)));
            }
            return family;
        }
    }
    None
}

/// Options that each are a match of their own.
fn each<'t>(
    options: impl Iterator<Item = Given<'t>>,
    into: &mut Vec<Match<'t>>,
    read: impl Fn(&Given<'t>) -> Option<Match<'t>>,
) {
    into.extend(options.map(|one| read(&one).unwrap_or(Match::Unknown(one.text))));
}

/// Options that make up a match together: if one cannot be read, none can.
fn whole<'t>(
    options: impl Iterator<Item = Given<'t>>,
    into: &mut Vec<Match<'t>>,
    read: impl Fn(&[Given<'t>]) -> Option<Vec<Match<'t>>>,
) {
    let list: Vec<Given<'t>> = options.collect();
    match read(&list) {
        Some(matches) => into.extend(matches),
        None => into.extend(list.iter().map(|one| Match::Unknown(one.text))),
    }
}

/// `-m tcp` needs `-p tcp`.
fn fits(protocol: Option<&Negatable<RuleProtocol>>, wanted: Protocol) -> bool {
    protocol == Some(&Negatable { not: false, value: RuleProtocol::One(wanted) })
}

fn tcp<'t>(one: &Given<'t>) -> Option<Match<'t>> {
    const SYN: u8 = 0x02;
    const FIN_SYN_RST_ACK: u8 = 0x17;
    match one.name {
        "syn" => Some(Match::TcpFlags { not: one.not, mask: FIN_SYN_RST_ACK, set: SYN }),
        "tcp-flags" => Some(Match::TcpFlags { not: one.not, mask: flags(&one.value)?, set: flags(&one.second)? }),
        _ => port(one),
    }
}

fn flags(text: &str) -> Option<u8> {
    let mut bits = 0;
    for name in text.split(',') {
        bits |= match name.to_ascii_uppercase().as_str() {
            "FIN" => 0x01,
            "SYN" => 0x02,
            "RST" => 0x04,
            "PSH" => 0x08,
            "ACK" => 0x10,
            "URG" => 0x20,
            "ALL" => 0x3f,
            "NONE" => 0,
            _ => return None,
        };
    }
    Some(bits)
}

fn port<'t>(one: &Given<'t>) -> Option<Match<'t>> {
    let side = match one.name {
        "sport" => Side::Source,
        "dport" => Side::Destination,
        _ => return None,
    };
    Some(Match::Port { not: one.not, side, ports: value::ports(&one.value)? })
}

fn multiport<'t>(one: &Given<'t>) -> Option<Match<'t>> {
    let side = match one.name {
        "sports" => Some(Side::Source),
        "dports" => Some(Side::Destination),
        _ => None,
    };
    let ports: Option<Vec<Ports>> = one.value.split(',').map(value::ports).collect();
    Some(Match::Multiport { not: one.not, side, ports: ports? })
}

fn addrtype<'t>(list: &[Given<'t>]) -> Option<Vec<Match<'t>>> {
    list.iter()
        .map(|one| {
            let side = match one.name {
                "src-type" => Side::Source,
                "dst-type" => Side::Destination,
                // Which interface a route leads to is not known.
                _ => return None,
            };
            let mut types = AddressTypes::default();
            for name in one.value.split(',') {
                match name.to_ascii_uppercase().as_str() {
                    "UNICAST" => types.unicast = true,
                    "LOCAL" => types.local = true,
                    "BROADCAST" => types.broadcast = true,
                    "MULTICAST" => types.multicast = true,
                    _ => return None,
                }
            }
            Some(Match::AddressType { not: one.not, side, types })
        })
        .collect()
}

/// Of options that iptables would refuse, those that are to blame stand for all.
fn statistic<'t>(options: impl Iterator<Item = Given<'t>>, into: &mut Vec<Match<'t>>) {
    let list: Vec<Given<'t>> = options.collect();
    let find = |name: &str| list.iter().find(|one| one.name == name);
    let number = |one: &Given<'_>| value::number(&one.value);
    let (mode, every, packet, probability) = (find("mode"), find("every"), find("packet"), find("probability"));
    let read = match (mode.map(|mode| &*mode.value), every, probability) {
        (Some("random"), _, Some(one)) => {
            value::probability(&one.value).map(|k| Match::Random { not: one.not, k }).ok_or(one)
        }
        (Some("nth"), Some(one), _) => match number(one).filter(|every| *every > 0) {
            None => Err(one),
            Some(every) => {
                let place = packet.map_or(Some(0), number).filter(|place| *place < every);
                place.map(|place| Match::Nth { not: one.not, every, packet: place }).ok_or(packet.unwrap_or(one))
            }
        },
        (Some(_) | None, ..) => return into.extend(list.iter().map(|one| Match::Unknown(one.text))),
    };
    into.push(read.unwrap_or_else(|one| Match::Unknown(one.text)));
}

/// Every option is a condition of its own.
fn conntrack<'t>(options: impl Iterator<Item = Given<'t>>, into: &mut Vec<Match<'t>>) -> Option<Family> {
    let mut family = None;
    for one in options {
        let read = tracked(&one);
        if let Some(Match::OriginalAddress { net, .. } | Match::ReplyAddress { net, .. }) = &read {
            family = Some(net.family());
        }
        into.push(read.unwrap_or(Match::Unknown(one.text)));
    }
    family
}

fn tracked<'t>(one: &Given<'t>) -> Option<Match<'t>> {
    let not = one.not;
    let address = |side| value::net(&one.value).map(|net: Net| Match::OriginalAddress { not, side, net });
    let port = |side| value::ports(&one.value).map(|ports| Match::OriginalPort { not, side, ports });
    let reply_address = |side| value::net(&one.value).map(|net: Net| Match::ReplyAddress { not, side, net });
    let reply_port = |side| value::ports(&one.value).map(|ports| Match::ReplyPort { not, side, ports });
    match one.name {
        "ctstate" => states(&one.value).map(|states| state(not, states)),
        "ctproto" => {
            let protocol = value::protocol(&one.value)??;
            Some(Match::TrackedProtocol { not, protocol })
        }
        "ctorigsrc" => address(Side::Source),
        "ctorigdst" => address(Side::Destination),
        "ctreplsrc" => reply_address(Side::Source),
        "ctrepldst" => reply_address(Side::Destination),
        "ctreplsrcport" => reply_port(Side::Source),
        "ctrepldstport" => reply_port(Side::Destination),
        "ctorigsrcport" => port(Side::Source),
        "ctorigdstport" => port(Side::Destination),
        "ctdir" => match one.value.to_ascii_uppercase().as_str() {
            "ORIGINAL" => Some(Match::Reply(not)),
            "REPLY" => Some(Match::Reply(!not)),
            _ => None,
        },
        _ => None,
    }
}

fn state<'t>(not: bool, states: States) -> Match<'t> {
    Match::State { not, states }
}

fn states(text: &str) -> Option<States> {
    let mut states = States::default();
    for name in text.split(',') {
        match name.to_ascii_uppercase().as_str() {
            "NEW" => states.new = true,
            "UNTRACKED" => states.untracked = true,
            "SNAT" => states.snat = true,
            "DNAT" => states.dnat = true,
            "INVALID" => states.invalid = true,
            "ESTABLISHED" | "RELATED" => states.later = true,
            _ => return None,
        }
    }
    Some(states)
}

fn recent<'t>(list: &[Given<'t>]) -> Option<Vec<Match<'t>>> {
    let mut verbs = list.iter().filter_map(|one| {
        let verb = match one.name {
            "set" => RecentVerb::Set,
            "rcheck" => RecentVerb::Check,
            "update" => RecentVerb::Update,
            "remove" => RecentVerb::Remove,
            _ => return None,
        };
        Some((verb, one.not))
    });
    let (verb, not) = verbs.next()?;
    let find = |name: &str| list.iter().find(|one| one.name == name);
    let mask: Option<IpAddr> = match find("mask") {
        Some(one) => Some(one.value.parse().ok()?),
        None => None,
    };
    let ask = Recent {
        verb,
        list: find("name").map_or(Cow::Borrowed("DEFAULT"), |one| one.value.clone()),
        side: if find("rdest").is_some() { Side::Destination } else { Side::Source },
        seconds: match find("seconds") {
            Some(one) => Some(value::number(&one.value)?),
            None => None,
        },
        reap: find("reap").is_some(),
        hits: find("hitcount").map_or(Some(0), |one| value::number(&one.value))?,
        ttl: find("rttl").is_some(),
        mask,
        masked: mask.is_some_and(|mask| !is_whole(mask)),
    };
    verbs.next().is_none().then(|| vec![Match::Recent { not, ask: Box::new(ask) }])
}

/// Whether a mask leaves addresses as they are.
fn is_whole(mask: IpAddr) -> bool {
    match mask {
        IpAddr::V4(mask) => mask == Ipv4Addr::BROADCAST,
        IpAddr::V6(mask) => u128::from(mask) == u128::MAX,
    }
}

fn is_rate(name: &str) -> bool {
    matches!(name, "hashlimit" | "hashlimit-upto" | "hashlimit-above")
}

/// The connection itself is the only one that is counted.
fn connlimit<'t>(list: &[Given<'t>]) -> Option<Vec<Match<'t>>> {
    if let Some(own) = stateful::count(list) {
        return Some(vec![own]);
    }
    let limit = list.iter().find(|one| matches!(one.name, "connlimit-above" | "connlimit-upto"))?;
    let above = value::number(&limit.value)? < 1;
    let holds = if limit.name == "connlimit-above" { above } else { !above };
    Some(vec![Match::Remembered(holds != limit.not)])
}

fn cluster<'t>(list: &[Given<'t>]) -> Option<Vec<Match<'t>>> {
    let (mut not, mut total, mut nodes, mut seed) = (false, None, None, 0);
    for one in list {
        let number = value::number(&one.value)?;
        match one.name {
            "cluster-total-nodes" => total = Some(number),
            "cluster-local-node" => {
                not = one.not;
                nodes = Some(1u32.checked_shl(number.checked_sub(1)?)?);
            }
            "cluster-local-nodemask" => {
                not = one.not;
                nodes = Some(number);
            }
            _ => seed = number,
        }
    }
    // XT_CLUSTER_NODES_MAX
    let total = total.filter(|total| (1..=32).contains(total))?;
    Some(vec![Match::Cluster { not, total, nodes: nodes?, seed }])
}

/// `COUNT,CODE JT JF K,…`
fn bytecode(text: &str) -> Option<BpfProgram> {
    let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let count: usize = parts.next()?.parse().ok()?;
    if count > MAX_BPF_INSTRUCTIONS {
        return None;
    }
    let mut instructions = Vec::with_capacity(count);
    for part in parts {
        let mut numbers = part.split(' ').filter(|number| !number.is_empty());
        let mut number = || numbers.next().map(str::parse::<u32>)?.ok();
        let (code, jump_true, jump_false, k) = (number()?, number()?, number()?, number()?);
        if instructions.len() == count {
            return None;
        }
        instructions.push(BpfInstruction {
            code: u16::try_from(code).ok()?,
            jump_true: u8::try_from(jump_true).ok()?,
            jump_false: u8::try_from(jump_false).ok()?,
            k,
        });
    }
    if instructions.len() != count {
        return None;
    }
    BpfProgram::new(instructions)
}

fn range<'t>(one: &Given<'t>) -> Option<Match<'t>> {
    let side = match one.name {
        "src-range" => Side::Source,
        _ => Side::Destination,
    };
    let (first, last) = one.value.split_once('-').unwrap_or((&one.value, &one.value));
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    (Family::of(first) == Family::of(last)).then_some(Match::Range { not: one.not, side, first, last })
}
