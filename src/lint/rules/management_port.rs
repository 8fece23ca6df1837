//! LB102

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::Destination;
use crate::lint::context::Context;
use crate::lint::{Doc, Lint};

pub const LINT: Lint = Lint {
    code: Code::ManagementPort,
    doc: Doc {
        what: "Finds services on this machine's own addresses whose ports hold one by which it is managed: 22, or those of \
               `management-ports` in lbc.toml.",
        why: "Once the rules are loaded, the next login goes to a backend: the administrator is locked out of the balancer.",
        example: "balance tcp 1-1024 -> 10.0.0.1\n",
        instead: "balance tcp 1-21,23-1024 -> 10.0.0.1\n",
        fix: "",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let managed = &context.settings.management_ports;
    let of_this_machine = |destination: &Destination| matches!(destination, Destination::Local | Destination::Any);
    let mut found = Vec::new();
    for one in context.balances().filter(|one| one.service.destinations.iter().any(of_this_machine)) {
        let hit = one.balance.listen.ports.iter().find_map(|ports| {
            let port = managed.iter().find(|port| ports.value.contains(**port))?;
            Some((ports.span, port))
        });
        let Some((span, port)) = hit else { continue };
        found.push(
            Diagnostic::warning(
                Code::ManagementPort,
                at(one.source, span),
                format!("`{}` takes port {port}, by which this machine is managed", one.service.name),
            )
            .here(format!("holds port {port}"))
            .help(
                "leave the port out, or name the destination: `ADDRESS:PORT` instead of this machine's every address",
            ),
        );
    }
    found
}
