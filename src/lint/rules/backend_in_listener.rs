//! LB112

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::{Backend, BackendPort, Destination, Family, Service};
use crate::lint::context::{Balanced, Context};
use crate::lint::{Doc, Lint};
use crate::source::Loc;

pub const LINT: Lint = Lint {
    code: Code::BackendInListener,
    doc: Doc {
        what: "Finds backends whose own address and port are among those that their service listens on, by address or prefix.",
        why: "A connection is translated once. The share of such a backend goes to where the client wanted to go, unchanged; \
              and who connects to the backend directly is balanced away from it. Sometimes both are meant. With `*` every \
              backend is inside, so that `*` is left out of this.",
        example: "balance tcp 10.0.0.1:80 -> 10.0.0.1:80, 10.0.0.2:80\n",
        instead: "balance tcp 203.0.113.10:80 -> 10.0.0.1:80, 10.0.0.2:80\n",
        fix: "",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for one in context.balances() {
        let Some(backend) = inside(one.service) else { continue };
        let Backend::Server(address, _) = backend else { continue };
        found.push(
            Diagnostic::warning(
                Code::BackendInListener,
                place(context, &one, address),
                format!("`{backend}` is inside the listener of `{}`: its share passes unchanged", one.service.name),
            )
            .here("a backend of the service")
            .label(one.listen(), "listens on it, too")
            .help("listen on another address or port; `# lbc: ignore[LB112] WHY` where it is meant"),
        );
    }
    found
}

fn inside(service: &Service) -> Option<Backend> {
    Family::ALL.into_iter().find_map(|family| {
        let mut nets = service.destinations(family).filter_map(Destination::prefix);
        let first = nets.next()?;
        let nets: smallvec::SmallVec<[ipnet::IpNet; 4]> = nets.chain([first]).collect();
        let listens = |port: BackendPort| match port {
            BackendPort::Kept => true,
            BackendPort::Fixed(port) => service.ports.iter().any(|ports| ports.contains(port)),
            BackendPort::Shifted { first, count, .. } => {
                service.ports.iter().any(|ports| ports.first() < first + count && first <= ports.last())
            }
        };
        let is_inside = |backend: &&Backend| match backend {
            Backend::Server(address, port) => nets.iter().any(|net| net.contains(address)) && listens(*port),
            Backend::Local(_) => false,
        };
        service.body(family)?.backends().iter().find(is_inside).copied()
    })
}

/// Where the service's own list names the address; else the list.
fn place(context: &Context<'_>, one: &Balanced<'_>, address: std::net::IpAddr) -> Loc {
    let names = |backend: &&crate::statement::backends::Backend| {
        context.addresses(one.source, backend.server).as_slice().contains(&address)
    };
    one.balance.backends.list.iter().find(names).map_or(one.backends(), |backend| at(one.source, backend.span))
}
