//! One `balance` statement becomes one service.

use num_bigint::BigUint;
use num_traits::{ToPrimitive, Zero};

use crate::diagnostic::{Code, Diagnostic, at};
use crate::endpoint::PortRange;
use crate::ir::hash::{Levels, SourceHash};
use crate::ir::share::{largest_remainder, ratio, shares};
use crate::ir::{
    Algorithm, Body, Destination, Family, From, Group, Interface, On, Origin, PendingOption, PerFamily, Service, deal,
};
use crate::option::by::By;
use crate::option::{Kind, from, on};
use crate::source::{Loc, SourceId, Span};
use crate::statement::backends::Server;
use crate::statement::balance::{Balance, Protocol};
use crate::statement::listen;
use crate::statement::net::NetItem;

use super::expand::Listener;
use super::names::aggregate;
use super::{Chosen, Context};

/// The most slots of a round robin (language section 5.2).
const MAX_SLOTS: u32 = 4_096;

/// The service, and the place of its written name. `None` where an error was recorded.
pub fn resolve<'a>(
    context: &mut Context<'a>,
    source: SourceId,
    span: Span,
    balance: &'a Balance,
    defaults: &[Chosen<'a>],
) -> Option<(Service, Option<Loc>)> {
    let before = context.errors.len();
    let options = choose(context, source, balance, defaults);
    let destinations = destinations(context, source, balance);
    let ports: Vec<PortRange> = balance.listen.ports.iter().map(|ports| ports.value).collect();
    let local = destinations.contains(&Destination::Local);
    let find = |keyword: &str| options.iter().find(|chosen| chosen.option.kind.keyword() == keyword).copied();
    let output = find("output").is_some();
    let algorithm = algorithm(find("by"));
    let from = find("from").and_then(|chosen| match &chosen.option.kind {
        Kind::From(from) => Some(resolve_from(context, chosen.source, from)),
        _ => None,
    });
    let on = find("on").and_then(|chosen| match &chosen.option.kind {
        Kind::On(on) => resolve_on(context, chosen.source, on),
        _ => None,
    });
    let listener = Listener { ports: &ports, local, loc: at(source, balance.listen.span) };
    let mut bodies = PerFamily::default();
    let mut backends = PerFamily::<bool>::default();
    let mut failed = false;
    for family in Family::ALL {
        let body = context.body(source, &balance.backends, family, listener);
        *backends.get_mut(family) = matches!(body, Ok(Some(_)) | Err(()));
        failed |= body.is_err();
        let total = from.as_ref().is_some_and(|from| from.otherwise.is_some());
        *bodies.get_mut(family) = match body {
            Ok(Some(body)) => Some(body),
            Ok(None) if total => Some(Body::Closed),
            Ok(None) | Err(()) => None,
        };
    }
    check_families(context, source, balance, &destinations, &backends);
    let name = options.iter().find_map(|chosen| match chosen.option.kind {
        Kind::As(name) => Some(at(chosen.source, name)),
        _ => None,
    });
    let by = find("by").map_or(at(source, balance.backends.span), |chosen| chosen.loc());
    for family in Family::ALL {
        match bodies.get_mut(family) {
            Some(Body::Balance(group)) => {
                finish(context, group, algorithm, family, at(source, balance.backends.span), by)
            }
            Some(Body::Drained | Body::Closed) | None => {}
        }
    }
    if failed || context.errors.len() > before {
        return None;
    }
    let redirects_only = context.redirects_only(source, &balance.backends);
    // A family that no destination belongs to has no part in the service.
    for family in Family::ALL {
        let listens = destinations.iter().any(|destination| match destination {
            Destination::Local | Destination::Any => true,
            Destination::Prefix(net) => Family::of_net(*net) == family,
        });
        if !listens {
            *bodies.get_mut(family) = None;
        }
    }
    let pending = pending(&options);
    let line = context.program.sources.get(source).line(span.start) as u32;
    let service = Service {
        name: name.map_or_else(
            || automatic_name(context, source, balance),
            |loc| context.program.sources.text(loc).to_owned(),
        ),
        origin: Origin { file: source.0, line },
        loc: at(source, span),
        backends_loc: at(source, balance.backends.span),
        protocols: unique(balance.protocols.iter().map(|protocol| protocol.value)),
        destinations,
        ports,
        on,
        from,
        output,
        algorithm,
        loopback: output && redirects_only,
        pending,
        bodies,
    };
    Some((service, name))
}

fn unique(protocols: impl Iterator<Item = Protocol>) -> Vec<Protocol> {
    let mut list = Vec::new();
    for protocol in protocols {
        if !list.contains(&protocol) {
            list.push(protocol);
        }
    }
    list
}

/// The options that hold: the statement's own, and the defaults that do not contradict them.
fn choose<'a>(
    context: &mut Context<'a>,
    source: SourceId,
    balance: &'a Balance,
    defaults: &[Chosen<'a>],
) -> Vec<Chosen<'a>> {
    let mut chosen: Vec<Chosen<'a>> =
        balance.options.iter().map(|option| Chosen { option, source, default: false }).collect();
    for &default in defaults {
        let same = |own: &Chosen<'_>| own.option.kind.keyword() == default.option.kind.keyword();
        if !chosen.iter().any(same) {
            chosen.push(default);
        }
    }
    let redirect = balance.backends.list.iter().find(|backend| matches!(backend.server, Server::Local));
    let mut dropped = Vec::new();
    for (index, one) in chosen.iter().enumerate() {
        for (other_index, other) in chosen.iter().enumerate().skip(index + 1) {
            let Some((reason, help)) = contradiction(&one.option.kind, &other.option.kind) else { continue };
            match (one.default, other.default) {
                (false, true) => dropped.push(other_index),
                (true, false) => dropped.push(index),
                (false, false) | (true, true) => context.errors.push(
                    Diagnostic::error(Code::ContradictoryOptions, other.loc(), reason)
                        .here("this option")
                        .label(one.loc(), "contradicts this one")
                        .help(help),
                ),
            }
        }
        let rewrites = matches!(one.option.kind, Kind::Masquerade { .. } | Kind::Snat(_));
        match redirect {
            Some(_) if rewrites && one.default => dropped.push(index),
            Some(backend) if rewrites => context.errors.push(
                Diagnostic::error(
                    Code::ContradictoryOptions,
                    one.loc(),
                    format!("`{}` with a `:port` backend", one.option.kind.keyword()),
                )
                .here("this option")
                .label(at(source, backend.span), "a port of this machine itself")
                .help("a redirected connection never leaves this machine; leave the option out"),
            ),
            Some(_) | None => {}
        }
        if let Kind::Snat(snat) = &one.option.kind {
            for (nth, address) in snat.addresses.iter().enumerate() {
                let family = Family::of(address.value);
                if let Some(first) = snat.addresses[..nth].iter().find(|a| Family::of(a.value) == family) {
                    context.errors.push(
                        Diagnostic::error(
                            Code::InvalidAddress,
                            at(one.source, address.span),
                            format!("`snat` takes at most one {} address", family.name()),
                        )
                        .label(at(one.source, first.span), "the first one"),
                    );
                }
            }
        }
    }
    let kept = chosen.into_iter().enumerate().filter(|(index, _)| !dropped.contains(index));
    kept.map(|(_, chosen)| chosen).collect()
}

/// Why two options exclude each other, and what to do.
fn contradiction(one: &Kind, other: &Kind) -> Option<(&'static str, &'static str)> {
    let pair = |a: fn(&Kind) -> bool, b: fn(&Kind) -> bool| (a(one) && b(other)) || (a(other) && b(one));
    let hash = |kind: &Kind| matches!(kind, Kind::By(By::SourceHash { .. }));
    let sticky = |kind: &Kind| matches!(kind, Kind::Sticky(_));
    let masquerade = |kind: &Kind| matches!(kind, Kind::Masquerade { .. });
    let snat = |kind: &Kind| matches!(kind, Kind::Snat(_));
    if pair(hash, sticky) {
        return Some((
            "`sticky` with `by source-hash`",
            "a source hash keeps every client on its backend already; leave `sticky` out",
        ));
    }
    if pair(masquerade, snat) {
        return Some(("`masquerade` with `snat`", "both say which source backends see; keep one of them"));
    }
    None
}

fn algorithm(by: Option<Chosen<'_>>) -> Algorithm {
    match by.map(|chosen| &chosen.option.kind) {
        Some(Kind::By(By::RoundRobin)) => Algorithm::RoundRobin,
        Some(&Kind::By(By::SourceHash { seed, buckets })) => Algorithm::SourceHash(SourceHash {
            seed: seed.unwrap_or(0),
            levels: buckets.and_then(Levels::of_buckets).unwrap_or(Levels::Two),
        }),
        Some(_) | None => Algorithm::Random,
    }
}

fn resolve_from(context: &mut Context<'_>, source: SourceId, from: &from::From) -> From {
    let all: Vec<_> = from.nets.iter().flat_map(|item| context.net_item(source, item)).collect();
    let (v4, v6) = all.into_iter().partition(|net| Family::of_net(*net) == Family::V4);
    let nets = PerFamily { v4: aggregate(v4), v6: aggregate(v6) };
    From { not: from.not, nets, otherwise: from.otherwise }
}

/// `None` where every interface passes anyway (`on *`).
fn resolve_on(context: &mut Context<'_>, source: SourceId, on: &on::On) -> Option<On> {
    let mut interfaces: Vec<Interface> = on
        .interfaces
        .iter()
        .map(|interface| {
            let text = context.text(source, interface.name);
            match text.strip_suffix('*') {
                Some(prefix) => Interface::Prefix(prefix.to_owned()),
                None => Interface::Exact(text.to_owned()),
            }
        })
        .collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    let all = interfaces.contains(&Interface::Prefix(String::new()));
    match (all, on.not) {
        (true, false) => None,
        (true, true) => {
            let span = on.interfaces[0].name;
            context.error(
                Diagnostic::error(Code::ContradictoryOptions, at(source, span), "`on not *` lets no connection in")
                    .help("leave the statement out, or name the interfaces"),
            );
            None
        }
        (false, not) => Some(On { not, interfaces }),
    }
}

fn destinations(context: &mut Context<'_>, source: SourceId, balance: &Balance) -> Vec<Destination> {
    let mut list: Vec<Destination> = Vec::new();
    let mut add = |destination| {
        if !list.contains(&destination) {
            list.push(destination);
        }
    };
    for written in &balance.listen.destinations {
        match written {
            listen::Destination::Local(_) => add(Destination::Local),
            listen::Destination::Any(_) => add(Destination::Any),
            listen::Destination::Prefix(net) => add(Destination::Prefix(net.value)),
            listen::Destination::Name(span) => {
                for net in context.net_item(source, &NetItem::Name(*span)) {
                    add(Destination::Prefix(net));
                }
            }
        }
    }
    if balance.listen.destinations.is_empty() {
        add(Destination::Local);
    }
    list
}

/// LB014: an address of a family is written, or nothing else is, and no backend has one.
fn check_families(
    context: &mut Context<'_>,
    source: SourceId,
    balance: &Balance,
    destinations: &[Destination],
    backends: &PerFamily<bool>,
) {
    for family in Family::ALL.into_iter().filter(|family| !backends.get(*family)) {
        let written = balance.listen.destinations.iter().find(|written| match written {
            listen::Destination::Prefix(net) => Family::of_net(net.value) == family,
            listen::Destination::Local(_) | listen::Destination::Any(_) | listen::Destination::Name(_) => false,
        });
        if let Some(written) = written {
            return no_backend(context, at(source, written.span()), family, at(source, balance.backends.span));
        }
    }
    let serves = |family: Family| {
        *backends.get(family)
            && destinations.iter().any(|destination| match destination {
                Destination::Local | Destination::Any => true,
                Destination::Prefix(net) => Family::of_net(*net) == family,
            })
    };
    if !destinations.is_empty() && !Family::ALL.into_iter().any(serves) {
        let family = if *backends.get(Family::V4) { Family::V6 } else { Family::V4 };
        no_backend(context, at(source, balance.listen.span), family, at(source, balance.backends.span));
    }
}

fn no_backend(context: &mut Context<'_>, loc: Loc, family: Family, backends: Loc) {
    context.error(
        Diagnostic::error(
            Code::NoBackendForFamily,
            loc,
            format!("the service listens on {} and no backend has an {0} address", family.name()),
        )
        .here(format!("an {} destination", family.name()))
        .label(backends, format!("no {} address here", family.name()))
        .help(format!("give a backend an {} address, or leave the destination out", family.name())),
    );
}

fn pending(options: &[Chosen<'_>]) -> Vec<PendingOption> {
    let is_pending = |kind: &Kind| match kind {
        Kind::As(_) | Kind::By(_) | Kind::From(_) | Kind::On(_) | Kind::Output => false,
        Kind::Sticky(_)
        | Kind::Masquerade { .. }
        | Kind::Snat(_)
        | Kind::Accept
        | Kind::Limit(_)
        | Kind::MaxConnections(_)
        | Kind::Counter
        | Kind::Log(_) => true,
    };
    let kept = options.iter().filter(|chosen| is_pending(&chosen.option.kind));
    kept.map(|chosen| PendingOption { keyword: chosen.option.kind.keyword(), loc: chosen.loc() }).collect()
}

/// What an algorithm needs beside the weights: buckets are dealt, slots are counted.
fn finish(context: &mut Context<'_>, group: &mut Group, algorithm: Algorithm, family: Family, list: Loc, by: Loc) {
    match algorithm {
        Algorithm::Random => {}
        Algorithm::RoundRobin => {
            let flat = group.members.iter().all(|member| matches!(member.node, crate::ir::Node::Backend(_)));
            let sum: u64 = group.members.iter().map(|member| u64::from(member.weight)).sum();
            if flat && sum <= u64::from(MAX_SLOTS) {
                return;
            }
            let shares = shares(&group.members, group.backends.len());
            let parts = ratio(&shares);
            let slots: BigUint = parts.iter().sum();
            if slots > BigUint::from(MAX_SLOTS) {
                let smaller = smaller_ratio(&shares);
                context.error(
                    Diagnostic::error(
                        Code::UnrepresentableWeight,
                        list,
                        format!(
                            "these weights need {slots} slots of a round robin over {}; {MAX_SLOTS} are the most",
                            family.name()
                        ),
                    )
                    .label(by, "round robin takes the backends in turn")
                    .help(smaller),
                );
            }
        }
        Algorithm::SourceHash(hash) => {
            let shares = shares(&group.members, group.backends.len());
            let buckets = hash.levels.buckets();
            let parts = largest_remainder(&shares, buckets);
            if let Some(index) = (0..parts.len()).find(|&index| parts[index] == 0 && !shares[index].is_zero()) {
                let help = match hash.levels {
                    Levels::Three => "use `by random`, or weights that differ less".to_owned(),
                    Levels::One | Levels::Two => "write `buckets 343`, or weights that differ less".to_owned(),
                };
                context.error(
                    Diagnostic::error(
                        Code::UnrepresentableWeight,
                        list,
                        format!(
                            "the share of `{}` ({}) is too small for one of {buckets} buckets over {}",
                            group.backends[index],
                            shares[index],
                            family.name()
                        ),
                    )
                    .label(by, format!("{buckets} buckets are dealt"))
                    .help(help),
                );
                return;
            }
            group.buckets = deal::deal(&group.backends, &shares, buckets);
        }
    }
}

/// The nearest ratio with at most [`MAX_SLOTS`] slots, as help.
fn smaller_ratio(shares: &[crate::ir::share::Share]) -> String {
    let positive: Vec<_> = shares.iter().filter(|share| !share.is_zero()).cloned().collect();
    if positive.len() as u32 > MAX_SLOTS {
        return "there are more backends than slots; use `by random`".to_owned();
    }
    let mut parts = largest_remainder(&positive, MAX_SLOTS);
    for part in &mut parts {
        *part = (*part).max(1);
    }
    // What was raised to 1 is taken from the largest, so that the sum stays within the limit.
    while parts.iter().sum::<u32>() > MAX_SLOTS {
        if let Some(largest) = parts.iter_mut().max() {
            *largest -= 1;
        }
    }
    let divisor = parts.iter().copied().fold(0, num_integer::gcd);
    let mut written: Vec<String> = parts.iter().take(8).map(|part| (part / divisor).to_string()).collect();
    if parts.len() > 8 {
        written.push("…".to_owned());
    }
    let lost = positive.iter().zip(&parts).map(|(share, part)| {
        (share.to_f64().unwrap_or(0.0) - f64::from(*part) / f64::from(parts.iter().sum::<u32>())).abs()
    });
    let lost = lost.fold(0.0, f64::max);
    format!(
        "the nearest smaller ratio is `{}` (off by at most {:.5} of the whole); or use `by random`",
        written.join(":"),
        lost
    )
}

/// A stable name from protocol and listen part: `tcp-80`, `tcp-203.0.113.10-443`, `tcp_udp-53`.
fn automatic_name(context: &Context<'_>, source: SourceId, balance: &Balance) -> String {
    let protocols: Vec<&str> = balance.protocols.iter().map(|protocol| protocol.value.name()).collect();
    let mut name = protocols.join("_");
    let destinations: Vec<String> = balance
        .listen
        .destinations
        .iter()
        .map(|destination| match destination {
            listen::Destination::Local(_) => "local".to_owned(),
            listen::Destination::Any(_) => "any".to_owned(),
            listen::Destination::Prefix(net) => crate::statement::net::show(net.value),
            listen::Destination::Name(span) => context.text(source, *span).to_owned(),
        })
        .collect();
    let ports: Vec<String> = balance.listen.ports.iter().map(|ports| ports.value.to_string()).collect();
    for part in [destinations.join("_"), ports.join("_")] {
        if !part.is_empty() {
            name.push('-');
            name.push_str(&part);
        }
    }
    cut(name)
}

/// Keeps a name within 63 bytes: the start of it and a hash of the whole.
pub fn cut(name: String) -> String {
    const MAX: usize = crate::endpoint::MAX_NAME_BYTES as usize;
    if name.len() <= MAX {
        return name;
    }
    let hash = crate::ir::hash::fnv1a_32(name.bytes());
    let end = (0..=MAX - 9).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    format!("{}~{hash:08x}", &name[..end])
}
