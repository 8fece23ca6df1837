//! LB101

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix, at};
use crate::endpoint::PortRange;
use crate::ir::{Destination, Family, Interface, Service};
use crate::keyword;
use crate::lint::context::{Balanced, Context};
use crate::lint::edit::add_option;
use crate::lint::{Doc, Lint};
use crate::option::Kind;
use crate::source::Span;
use crate::statement::listen;

pub const LINT: Lint = Lint {
    code: Code::AnyDestination,
    doc: Doc {
        what: "Finds services on any destination (`*:80`, `0.0.0.0/0:80`) that take every client on every interface.",
        why: "On a router, such a service takes the connections that the router only forwards: the clients behind it can \
              reach no other server on that port. `on` or `from` says whose connections are meant, and `local` takes only \
              those to this machine's own addresses.",
        example: "balance tcp *:80 -> 10.0.0.1:8080\n",
        instead: "balance tcp *:80 on eth0 -> 10.0.0.1:8080\n",
        fix: "Unsafe. It adds `on` with the interface that the other services name, where that is one; else it writes `local` \
              for `*`, unless another service has the port there.",
    },
    check,
};

/// The longest listen part that the help repeats.
const MAX_SHOWN: usize = 80;

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let is_any = |destination: &Destination| match destination {
        Destination::Any => true,
        Destination::Prefix(net) => net.prefix_len() == 0,
        Destination::Local => false,
    };
    let open = |one: &Balanced<'_>| {
        one.service.on.is_none() && takes_everyone(one.service) && one.service.destinations.iter().any(is_any)
    };
    let all = context.balances().filter(open);
    all.filter_map(|one| {
        let written = &one.balance.listen.destinations;
        let any = written.iter().find_map(|destination| match destination {
            listen::Destination::Any(span) => Some(*span),
            listen::Destination::Prefix(net) => (net.value.prefix_len() == 0).then_some(net.span),
            listen::Destination::Local(_) | listen::Destination::Name(_) => None,
        });
        let net = || {
            written.iter().find_map(|destination| match destination {
                listen::Destination::Name(span) => Some(*span),
                _ => None,
            })
        };
        let star = any.or_else(net)?;
        let interface = the_interface(context);
        let fix = match &interface {
            Some(name) => {
                let option = format!("on {name}");
                let written = one.balance.options.iter().find(|option| matches!(option.kind, Kind::On(_)));
                let edit = match written {
                    Some(every) => Edit::replace(one.source, every.span, option.clone()),
                    None => add_option(one.source, one.balance, &option),
                };
                (format!("write `{option}`"), edit)
            }
            None => ("listen on `local`".to_owned(), Edit::replace(one.source, star, "local")),
        };
        let is_taken = interface.is_none() && is_local_taken(context, one.service);
        let fix = (!is_taken).then(|| Fix::new(Applicability::Unsafe, fix.0, vec![fix.1]));
        let message = format!("`{}` takes the connections that this machine only forwards, too", one.service.name);
        Some(
            Diagnostic::warning(Code::AnyDestination, at(one.source, star), message)
                .here("any destination, from anyone, on every interface")
                .help(help(context, &one, star, interface.as_deref()))
                .fix(fix),
        )
    })
    .collect()
}

/// Whether another service is there for this machine's own addresses already.
fn is_local_taken(context: &Context<'_>, service: &Service) -> bool {
    let others = context.config.services().iter().filter(|other| other.name != service.name);
    others.filter(|other| other.destinations.contains(&Destination::Local)).any(|other| {
        let overlap = |ports: &PortRange| service.ports.iter().any(|own| own.overlaps(*ports));
        other.protocols.iter().any(|protocol| service.protocols.contains(protocol)) && other.ports.iter().any(overlap)
    })
}

/// What to write instead, as the statement would have it.
fn help(context: &Context<'_>, one: &Balanced<'_>, star: Span, interface: Option<&str>) -> String {
    let listen = one.balance.listen.span;
    let text = context.text(one.source, listen);
    let (listen, text) = match text.contains(['\n', '#']) || text.len() > MAX_SHOWN {
        true => (star, context.text(one.source, star)),
        false => (listen, text),
    };
    let before = &text[..(star.start - listen.start) as usize];
    let behind = &text[(star.end - listen.start) as usize..];
    let interface = interface.unwrap_or("IFACE");
    format!(
        "write `{before}local{behind}` for the addresses of this machine alone; or `{text} on {interface}` or `{text} from NET` for \
         the connections that are meant"
    )
}

/// Whether `from` keeps no client out, in the families of which it lets any in.
fn takes_everyone(service: &Service) -> bool {
    let lets_in = |family: &Family| {
        service.body(*family).is_some() && !service.from.as_ref().is_some_and(|from| from.allows_none(*family))
    };
    service.from.as_ref().is_none_or(|from| {
        let mut families = Family::ALL.into_iter().filter(lets_in).peekable();
        families.peek().is_some() && families.all(|family| from.allows_all(family))
    })
}

/// The one interface that services of this program are for.
fn the_interface(context: &Context<'_>) -> Option<String> {
    let mut named = context.config.services().iter().filter_map(|service| service.on.as_ref());
    let first = named.next().filter(|on| !on.not)?;
    let [interface] = first.interfaces.as_slice() else { return None };
    let name = match interface {
        Interface::Exact(name) => name.clone(),
        Interface::Prefix(start) => format!("{start}*"),
    };
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte));
    (plain && !keyword::is_reserved(&name) && named.all(|on| on == first)).then_some(name)
}
