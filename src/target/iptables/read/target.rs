//! The options of a target that is known.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::ir::Family;
use crate::target::iptables::dump::{Prefix, Target};
use crate::target::iptables::model::{DnatPort, SetName};

use super::rule::Given;
use super::value;

/// A target, and the family that its addresses are of.
///
/// `foreign` says that it has options which are not known: then it is not known itself, unless it is one that the
/// packet goes on behind whatever it does.
pub fn build<'t>(name: &str, options: &[Given<'t>], foreign: bool, text: &'t str) -> (Target<'t>, Option<Family>) {
    let target = match name {
        "LOG" => Some(Target::Aside(match options {
            [] if !foreign => Some(Cow::Borrowed("")),
            [only] if only.name == "log-prefix" && !foreign => Some(only.value.clone()),
            _ => None,
        })),
        "NFLOG" | "ULOG" | "TCPMSS" | "AUDIT" | "TRACE" => Some(Target::Aside(None)),
        "REJECT" => Some(Target::Reject),
        "NOTRACK" => Some(Target::NoTrack),
        "CT" if options.iter().any(|one| one.name == "notrack") => Some(Target::NoTrack),
        "CT" => Some(Target::Aside(None)),
        _ if foreign => None,
        "ACCEPT" => Some(Target::Accept),
        "DROP" => Some(Target::Drop),
        "RETURN" => Some(Target::Return),
        "DNAT" => dnat(options),
        "SNAT" => snat(options),
        "REDIRECT" => redirect(options),
        "MASQUERADE" => Some(Target::Masquerade),
        "MARK" => mark(options, false),
        "CONNMARK" => mark(options, true),
        "HMARK" => hmark(options),
        "SET" => remember(options),
        _ => None,
    };
    let family = match &target {
        Some(Target::Dnat { address: Some(address), .. } | Target::Snat(Some(address))) => Some(Family::of(*address)),
        Some(_) | None => None,
    };
    (target.unwrap_or(Target::Unknown(text)), family)
}

/// `--add-set NAME src --exist`
fn remember<'t>(options: &[Given<'t>]) -> Option<Target<'t>> {
    let [add, exist] = options else { return None };
    let named = add.name == "add-set" && add.second == "src" && exist.name == "exist";
    named.then(|| SetName::new(add.value.to_string()).map(Target::Remember)).flatten()
}

/// The value of an option that is given once.
fn only<'g>(options: &'g [Given<'_>], name: &str) -> Option<&'g str> {
    let mut found = options.iter().filter(|one| one.name == name);
    let first = found.next()?;
    found.next().is_none().then_some(&*first.value)
}

/// `ADDRESS`, `ADDRESS:PORTS`, `[ADDRESS]:PORTS` or `:PORTS`; a range of addresses is several destinations.
fn end(text: &str) -> Option<(Option<IpAddr>, Option<&str>)> {
    // `A.B.C.D:P` is by far the most frequent.
    if let Some((address, rest)) = value::quad(text)
        && let Some(ports) = rest.strip_prefix(':')
    {
        return Some((Some(address.into()), Some(ports)));
    }
    if let Ok(address) = text.parse() {
        return Some((Some(address), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, ports) = rest.split_once(']')?;
        let address = address.parse().ok()?;
        return match ports {
            "" => Some((Some(address), None)),
            ports => Some((Some(address), Some(ports.strip_prefix(':')?))),
        };
    }
    let (address, ports) = text.split_once(':')?;
    match address {
        "" => Some((None, Some(ports))),
        address => Some((Some(address.parse().ok()?), Some(ports))),
    }
}

/// `P`, `P-P` of one port, or `P-P/BASE`; more ports are several destinations.
fn ports(text: &str) -> Option<DnatPort> {
    let Some((first, rest)) = text.split_once('-') else { return value::port(text).map(DnatPort::Fixed) };
    let first = value::port(first)?;
    match rest.split_once('/') {
        Some((last, base)) => {
            let last = value::port(last).filter(|last| first <= *last)?;
            Some(DnatPort::Shifted { first, last, base: value::port(base)? })
        }
        None => (value::port(rest)? == first).then_some(DnatPort::Fixed(first)),
    }
}

/// The value of `--to-destination`.
pub fn translation<'t>(text: &str) -> Option<Target<'t>> {
    let (address, text) = end(text)?;
    let port = text.map_or(Some(DnatPort::Kept), ports)?;
    Some(Target::Dnat { address, port })
}

fn dnat<'t>(options: &[Given<'t>]) -> Option<Target<'t>> {
    let target = translation(only(options, "to-destination")?)?;
    // With `--random` the kernel chooses a port of the range anew.
    let random = options.iter().any(|one| one.name == "random");
    (!random || matches!(target, Target::Dnat { port: DnatPort::Fixed(_), .. })).then_some(target)
}

fn snat<'t>(options: &[Given<'t>]) -> Option<Target<'t>> {
    end(only(options, "to-source")?).map(|(address, _)| Target::Snat(address))
}

fn redirect<'t>(options: &[Given<'t>]) -> Option<Target<'t>> {
    match options.iter().any(|one| one.name == "to-ports") {
        false => Some(Target::Redirect(DnatPort::Kept)),
        true => match ports(only(options, "to-ports")?)? {
            port @ DnatPort::Fixed(_) => Some(Target::Redirect(port)),
            DnatPort::Kept | DnatPort::Shifted { .. } => None,
        },
    }
}

fn mark<'t>(options: &[Given<'t>], connection: bool) -> Option<Target<'t>> {
    let mask = |name| match only(options, name) {
        Some(text) => value::number(text).map(Some),
        None => Some(None),
    };
    let (both, packet, own) = (mask("mask")?, mask("nfmask")?, mask("ctmask")?);
    let (packet, own) = (packet.or(both).unwrap_or(u32::MAX), own.or(both).unwrap_or(u32::MAX));
    let mut action = options.iter().filter(|one| !matches!(one.name, "mask" | "nfmask" | "ctmask"));
    let one = action.next()?;
    if action.next().is_some() {
        return None;
    }
    let set = |value, mask| Some(Target::Mark { connection, value, mask });
    match one.name {
        "set-xmark" => value::masked(&one.value).and_then(|(value, mask)| set(value, mask)),
        "set-mark" => value::masked(&one.value).and_then(|(value, mask)| set(value, mask | value)),
        "and-mark" => set(0, !value::number(&one.value)?),
        "or-mark" => value::number(&one.value).and_then(|bits| set(bits, bits)),
        "xor-mark" => set(value::number(&one.value)?, 0),
        "save-mark" => Some(Target::SaveMark { packet, connection: own }),
        "restore-mark" => Some(Target::RestoreMark { packet, connection: own }),
        _ => None,
    }
}

/// Over addresses alone: what the kernel does with ports depends on the protocol's header.
fn hmark<'t>(options: &[Given<'t>]) -> Option<Target<'t>> {
    let (mut source, mut destination) = (Prefix::NONE, Prefix::NONE);
    let (mut modulus, mut offset, mut seed) = (None, 0, None);
    // As they stand: `--hmark-tuple src` is a whole prefix, and the later one holds.
    for one in options {
        let number = || value::number(&one.value);
        let prefix = || one.value.parse().ok().and_then(Prefix::new);
        match one.name {
            "hmark-tuple" => {
                for part in one.value.split(',') {
                    match part {
                        "src" => source = Prefix::ALL,
                        "dst" => destination = Prefix::ALL,
                        _ => return None,
                    }
                }
            }
            "hmark-src-prefix" => source = prefix()?,
            "hmark-dst-prefix" => destination = prefix()?,
            "hmark-mod" => modulus = number().filter(|modulus| *modulus > 0),
            "hmark-offset" => offset = number()?,
            "hmark-rnd" => seed = Some(number()?),
            _ => return None,
        }
    }
    Some(Target::Hmark { source, destination, modulus: modulus?, offset, seed: seed? })
}
