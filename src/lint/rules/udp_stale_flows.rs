//! LB110

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Config, Destination, Service};
use crate::lint::context::Context;
use crate::lint::{Doc, Lint};
use crate::statement::balance::Protocol;
use crate::statement::net::show;

pub const LINT: Lint = Lint {
    code: Code::UdpStaleFlows,
    doc: Doc {
        what: "Reminds of the kernel's memory when the rules of a UDP service change. No file shows that by itself: it is told by \
               `compile --check FILE`, which has the rules of before.",
        why: "UDP has no end. As long as a client keeps sending, conntrack sends its packets to the backend of the first one, \
              however long that has been gone: metrics have been lost for 13 hours that way. Deleting the flows makes the \
              next packet a new connection.",
        example: "",
        instead: "",
        fix: "",
    },
    check,
};

/// A program by itself does not say what it was before.
fn check(_: &Context<'_>) -> Vec<Diagnostic> {
    Vec::new()
}

/// The findings where the rules of some services changed: those whose label stands in a line of the patch.
pub fn stale_flows(config: &Config, patch: &str) -> Vec<Diagnostic> {
    let changed = patch.lines().skip(2).filter(|line| line.starts_with(['+', '-']));
    let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let changed: BTreeSet<String> = changed.flat_map(quoted).collect();
    let udp = config.services().iter().filter(|service| service.protocols.contains(&Protocol::Udp));
    let stale = udp.filter(|service| changed.contains(&config.label(service)));
    stale.map(diagnostic).collect()
}

fn diagnostic(service: &Service) -> Diagnostic {
    let mut lines = Vec::new();
    for ports in &service.ports {
        let place = match service.destinations.as_slice() {
            [Destination::Prefix(net)] => format!(" --orig-dst {}", show(*net)),
            _ => String::new(),
        };
        match ports.is_single() {
            true => lines.push(format!("conntrack -D -p udp{place} --orig-port-dst {ports}")),
            // conntrack takes no ranges.
            false => lines.push(format!(
                "for port in $(seq {} {}); do conntrack -D -p udp{place} --orig-port-dst $port; done",
                ports.first(),
                ports.last()
            )),
        }
    }
    let help = format!("once the rules are loaded:\n{}", lines.join("\n"));
    Diagnostic::warning(
        Code::UdpStaleFlows,
        service.loc,
        format!("`{}` changed, and the kernel sends its old UDP flows where they went before", service.name),
    )
    .here("a UDP service")
    .help(help)
}
