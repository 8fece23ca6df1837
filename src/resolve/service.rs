//! One `balance` statement becomes one service.

use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::endpoint::PortRange;
use crate::ir::{Body, Destination, Family, Origin, PerFamily, Service};
use crate::option::Kind;
use crate::source::{Loc, SourceId, Span};
use crate::statement::balance::{Balance, Protocol};
use crate::statement::listen;
use crate::statement::net::NetItem;

use super::effects::effects;
use super::expand::Listener;
use super::listeners::show;
use super::options::{algorithm, choose, resolve_from, resolve_on};
use super::weights::finish;
use super::{Chosen, Context};

/// The service, and the place of its written name. `None` where an error was recorded.
pub fn resolve<'a>(
    context: &mut Context<'a>,
    source: SourceId,
    span: Span,
    balance: &'a Balance,
    defaults: &[Chosen<'a>],
) -> Option<(Service, Option<Loc>)> {
    let before = context.errors.pushed();
    let shape = context.shape(source, &balance.backends);
    let options = choose(context, source, balance, defaults, &shape);
    let destinations = destinations(context, source, balance);
    let ports = ports(context, source, balance);
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
    let expandable = context.expandable(source, &balance.backends, &shape);
    let mut bodies = PerFamily::default();
    let mut backends = PerFamily::<bool>::default();
    let mut failed = !expandable;
    for family in Family::ALL {
        let body = match expandable {
            true if !shape.families.get(family) => Ok(None),
            true => context.body(source, &balance.backends, family, listener),
            false => Err(()),
        };
        *backends.get_mut(family) = matches!(body, Ok(Some(_)) | Err(()));
        failed |= body.is_err();
        // A family that no destination belongs to has no part in the service.
        let listens = destinations.iter().any(|destination| serves(destination, family));
        let total = from.as_ref().is_some_and(|from| from.otherwise.is_some());
        *bodies.get_mut(family) = match body {
            Ok(Some(body)) if listens => Some(body),
            Ok(None) if listens && total => Some(Body::Closed),
            Ok(Some(_) | None) | Err(()) => None,
        };
    }
    check_families(context, source, balance, &destinations, &backends);
    let name = options.iter().find_map(|chosen| match chosen.option.kind {
        Kind::As(name) => Some(at(chosen.source, name)),
        _ => None,
    });
    finish(context, &mut bodies, algorithm, at(source, balance.backends.span), find("by").map(|chosen| chosen.loc()));
    if failed || context.errors.pushed() > before {
        return None;
    }
    let redirects_only = shape.server.is_none();
    let name_text = name
        .map_or_else(|| automatic_name(context, source, balance), |loc| context.program.sources.text(loc).to_owned());
    let options = effects(context, &name_text, &options, &bodies);
    if context.errors.pushed() > before {
        return None;
    }
    let line = context.program.sources.get(source).line(span.start) as u32;
    let service = Service {
        name: name_text,
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
        options,
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

fn destinations(context: &mut Context<'_>, source: SourceId, balance: &Balance) -> Vec<Destination> {
    // Nothing can be listed twice in a list of one.
    if let [listen::Destination::Prefix(net)] = balance.listen.destinations.as_slice() {
        return vec![Destination::Prefix(net.value)];
    }
    let mut list = Vec::new();
    let mut first: HashMap<Destination, Loc> = HashMap::new();
    for written in &balance.listen.destinations {
        let loc = at(source, written.span());
        let meant = match written {
            listen::Destination::Local(_) => vec![Destination::Local],
            listen::Destination::Any(_) => vec![Destination::Any],
            listen::Destination::Prefix(net) => vec![Destination::Prefix(net.value)],
            listen::Destination::Name(span) => {
                context.net_item(source, &NetItem::Name(*span)).into_iter().map(Destination::Prefix).collect()
            }
        };
        for meant in meant {
            match first.get(&meant) {
                None => {
                    first.insert(meant, loc);
                    list.push(meant);
                }
                Some(&first) => context.error(twice(format!("the destination `{}`", show(meant)), loc, first)),
            }
        }
    }
    if balance.listen.destinations.is_empty() {
        list.push(Destination::Local);
    }
    list
}

/// The ports of a listener, each range once.
fn ports(context: &mut Context<'_>, source: SourceId, balance: &Balance) -> Vec<PortRange> {
    let written = &balance.listen.ports;
    if let [only] = written.as_slice() {
        return vec![only.value];
    }
    let mut list = Vec::with_capacity(written.len());
    let mut first: HashMap<PortRange, Loc> = HashMap::with_capacity(written.len());
    for ports in written {
        let loc = at(source, ports.span);
        match first.get(&ports.value) {
            None => {
                first.insert(ports.value, loc);
                list.push(ports.value);
            }
            Some(&first) => {
                let what = if ports.value.is_single() { "the port" } else { "the range of ports" };
                context.errors.push_with(source, || twice(format!("{what} `{}`", ports.value), loc, first));
            }
        }
    }
    list
}

/// Whether connections of a family can have the destination.
fn serves(destination: &Destination, family: Family) -> bool {
    match destination {
        Destination::Local | Destination::Any => true,
        Destination::Prefix(net) => Family::of_net(*net) == family,
    }
}

fn twice(what: String, second: Loc, first: Loc) -> Diagnostic {
    Diagnostic::error(Code::DuplicateListener, second, format!("{what} is listed twice"))
        .here("again here")
        .label(first, "first listed here")
        .help("leave one of the two out")
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
    let serves =
        |family: Family| *backends.get(family) && destinations.iter().any(|destination| serves(destination, family));
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

/// A stable name from protocol and listen part: `tcp-80`, `tcp-203.0.113.10-443`, `tcp_udp-53`.
fn automatic_name(context: &Context<'_>, source: SourceId, balance: &Balance) -> String {
    let mut name = String::with_capacity(32);
    for (index, protocol) in balance.protocols.iter().enumerate() {
        name.push_str(if index > 0 { "_" } else { "" });
        name.push_str(protocol.value.name());
    }
    for (index, destination) in balance.listen.destinations.iter().enumerate() {
        name.push(if index > 0 { '_' } else { '-' });
        match destination {
            listen::Destination::Local(_) => name.push_str("local"),
            listen::Destination::Any(_) => name.push_str("any"),
            // An IPv4 address has one spelling, and this is the most frequent of all destinations.
            listen::Destination::Prefix(net) if is_host(net.value) && net.value.addr().is_ipv4() => {
                let text = context.text(source, net.span);
                name.push_str(text.split('/').next().unwrap_or(text));
            }
            listen::Destination::Prefix(net) => name.push_str(&crate::statement::net::show(net.value)),
            listen::Destination::Name(span) => name.push_str(context.text(source, *span)),
        }
    }
    for (index, ports) in balance.listen.ports.iter().enumerate() {
        name.push(if index > 0 { '_' } else { '-' });
        name.push_str(&ports.value.to_string());
    }
    cut(name)
}

/// Whether a prefix holds one address alone.
fn is_host(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
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
