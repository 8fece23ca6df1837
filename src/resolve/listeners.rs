//! What services owe each other: names of their own, and listeners of their own.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::diagnostic::{Code, Diagnostic};
use crate::endpoint::PortRange;
use crate::ir::{Destination, Family, From, Interface, On, Service};
use crate::source::Loc;
use crate::statement::balance::Protocol;

use super::Context;
use super::errors::Errors;
use super::service::cut;

/// Makes the automatic names unique (`-on-IFACE`), and reports names that are not.
///
/// `written` holds the place of each service's `as`, where it has one. Statements that `reported` holds have an error of
/// their own that says more than two equal automatic names would.
pub fn name(context: &mut Context<'_>, services: &mut [Service], written: &[Option<Loc>], reported: &HashSet<Loc>) {
    let mut count: HashMap<&str, u32> = HashMap::with_capacity(services.len());
    for service in services.iter() {
        *count.entry(&service.name).or_default() += 1;
    }
    let not_unique = |service: &Service| count[service.name.as_str()] > 1;
    let longer: Vec<(usize, String)> = services
        .iter()
        .zip(written)
        .enumerate()
        .filter_map(|(index, (service, written))| match (&service.on, written) {
            (Some(on), None) if not_unique(service) => Some((index, on_interface(&service.name, on))),
            (Some(_) | None, _) => None,
        })
        .collect();
    for (index, name) in longer {
        services[index].name = name;
    }
    let mut first: HashMap<&str, Loc> = HashMap::with_capacity(services.len());
    for (service, written) in services.iter().zip(written) {
        let loc = written.unwrap_or(service.loc);
        match first.get(service.name.as_str()) {
            None => {
                first.insert(&service.name, loc);
            }
            Some(_) if written.is_none() && reported.contains(&loc) => {}
            Some(&earlier) => {
                let error =
                    Diagnostic::error(Code::DuplicateName, loc, format!("two services are named `{}`", service.name))
                        .here(if written.is_some() {
                            "named here"
                        } else {
                            "named so after its protocol and listen part"
                        })
                        .label(earlier, "the first of that name")
                        .help("give one of them another name with `as NAME`, before the arrow");
                context.errors.push(error);
            }
        }
    }
}

/// `NAME-on-IFACE`
fn on_interface(name: &str, on: &On) -> String {
    let interfaces: Vec<&str> = on.interfaces.iter().map(interface).collect();
    let not = if on.not { "not-" } else { "" };
    cut(format!("{name}-on-{not}{}", interfaces.join("_")))
}

fn interface(interface: &Interface) -> &str {
    match interface {
        Interface::Exact(name) | Interface::Prefix(name) => name,
    }
}

/// Everything that two statements may not share.
type Key<'a> = (Family, Protocol, Destination, PortRange, Option<&'a On>, Clients<'a>);

/// LB012: the same protocol, destination, port, interface and source twice. Returns the statements that have it.
///
/// Sources that differ in one family alone are not the same, unless no connection of another gets here.
///
/// No service lists a protocol, a destination or a range of ports twice: those two are never one.
pub fn duplicates(services: &[Service], errors: &mut Errors) -> HashSet<Loc> {
    let mut first: HashMap<Key<'_>, usize> = HashMap::with_capacity(services.len());
    let mut reported = HashSet::new();
    for (index, service) in services.iter().enumerate() {
        let sources = clients(service);
        let mut clash = None;
        for &destination in &service.destinations {
            for &protocol in &service.protocols {
                for &ports in &service.ports {
                    let key =
                        |family| (family, protocol, destination, ports, service.on.as_ref(), sources[family as usize]);
                    let mut earlier = [None; 2];
                    let mut everywhere = true;
                    for family in Family::ALL.into_iter().filter(|family| lives(service, destination, *family)) {
                        let found = first.insert(key(family), index);
                        everywhere &= found.is_some();
                        earlier[family as usize] = found;
                    }
                    let is_same = |earlier: &usize| everywhere || clients(&services[*earlier]) == sources;
                    let found = earlier.into_iter().flatten().find(is_same);
                    clash = clash.or(found.map(|earlier| (earlier, protocol, destination, ports)));
                }
            }
        }
        if let Some((earlier, protocol, destination, ports)) = clash {
            errors.push(duplicate(&services[earlier], service, protocol, destination, ports));
            reported.insert(service.loc);
        }
    }
    reported
}

/// Whether a service has connections of a family at a destination.
fn lives(service: &Service, destination: Destination, family: Family) -> bool {
    let is_there = match destination {
        Destination::Local | Destination::Any => true,
        Destination::Prefix(net) => Family::of_net(net) == family,
    };
    is_there && service.body(family).is_some() && !service.from.as_ref().is_some_and(|from| from.allows_none(family))
}

type Clients<'a> = Option<(bool, &'a [ipnet::IpNet])>;

fn clients(service: &Service) -> [Clients<'_>; 2] {
    Family::ALL.map(|family| service.from.as_ref().and_then(|from| source(from, family)))
}

/// The clients as a key; a `from` that lets everyone in is none.
fn source(from: &From, family: Family) -> Clients<'_> {
    (!from.allows_all(family)).then(|| (from.not, from.nets.get(family).as_slice()))
}

fn duplicate(
    earlier: &Service,
    later: &Service,
    protocol: Protocol,
    destination: Destination,
    ports: PortRange,
) -> Diagnostic {
    let destination = match destination {
        Destination::Local => String::new(),
        Destination::Any | Destination::Prefix(_) => format!("{}:", show(destination)),
    };
    let listener = format!("{} {destination}{ports}", protocol.name());
    Diagnostic::error(Code::DuplicateListener, later.loc, format!("`{listener}` has a service already"))
        .here("never reached: the first match wins")
        .label(earlier.loc, format!("`{}` listens there first", earlier.name))
        .help("merge the two lists of backends, or tell the listeners apart by destination, `on` or `from`")
}

/// A destination as it is written where a port follows.
pub fn show(destination: Destination) -> String {
    match destination {
        Destination::Local => "local".to_owned(),
        Destination::Any => "*".to_owned(),
        Destination::Prefix(net) if Family::of_net(net) == Family::V6 => {
            format!("[{}]", crate::statement::net::show(net))
        }
        Destination::Prefix(net) => crate::statement::net::show(net),
    }
}
