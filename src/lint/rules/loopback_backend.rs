//! LB104

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix, at};
use crate::ir::options::SourceNat;
use crate::ir::{Destination, Service};
use crate::lint::context::{Context, List};
use crate::lint::{Doc, Lint};
use crate::source::Span;
use crate::statement::backends::Backend;

pub const LINT: Lint = Lint {
    code: Code::LoopbackBackend,
    doc: Doc {
        what: "Finds backends in 127.0.0.0/8 or ::1.",
        why: "A connection from outside that is sent to a loopback address is dropped as a martian, unless `route_localnet` \
              is set, which opens every loopback service to the network. `:PORT` redirects to this machine properly.",
        example: "balance tcp 80 -> 127.0.0.1:8080\n",
        instead: "balance tcp 80 -> :8080\n",
        fix: "Unsafe: the server has to listen on the address that the connection came in by, not on loopback alone. It writes \
              `:PORT`, where a port is written.",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for list in context.lists() {
        for backend in list.list {
            let addresses = context.addresses(list.source, backend.server);
            let Some(address) = addresses.as_slice().iter().find(|address| address.is_loopback()) else { continue };
            let only = addresses.as_slice().iter().all(|address| address.is_loopback());
            let fits = |service: &Service| matches!(service.options.source_nat, SourceNat::Kept);
            let fits = match list.service {
                Some(service) => fits(service),
                // A pool may be part of any.
                None => context.config.services().iter().all(fits),
            };
            let fix = if only && fits { redirect(list, backend) } else { None };
            let help = match fits {
                true => "write `:PORT` for a port of this machine",
                false => {
                    "write `:PORT` for a port of this machine, in a service of its own: no source is rewritten on the way there"
                }
            };
            found.push(
                Diagnostic::warning(
                    Code::LoopbackBackend,
                    at(list.source, backend.span),
                    format!("`{address}` is a loopback address: connections from outside are dropped on the way to it"),
                )
                .here("on this machine itself")
                .help(help)
                .fix(fix),
            );
        }
    }
    found
}

fn redirect(list: List<'_>, backend: &Backend) -> Option<Fix> {
    let port = backend.port?;
    // A listener cannot redirect to the very port that it listens on.
    let is_own = |service: &Service| {
        service.destinations.contains(&Destination::Local) && service.ports.iter().any(|own| own.overlaps(port.value))
    };
    if list.service.is_some_and(is_own) {
        return None;
    }
    let text = format!(":{}", port.value);
    let span = Span::new(backend.span.start, port.span.end);
    Some(Fix::new(Applicability::Unsafe, format!("write `{text}`"), vec![Edit::replace(list.source, span, text)]))
}
