//! LB111

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Body, Family};
use crate::lint::context::Context;
use crate::lint::{Doc, Lint};

pub const LINT: Lint = Lint {
    code: Code::AllWeightsZero,
    doc: Doc {
        what: "Finds services that reject every new connection, at least of one family, because all backends have weight 0.",
        why: "That is how a service is taken down, and it is also what remains when the last of its backends is drained by \
              mistake. Say so in the file: `# lbc: ignore[LB111] down until Monday`.",
        example: "balance tcp 80 -> 10.0.0.1 weight 0\n",
        instead: "balance tcp 80 -> 10.0.0.1\n",
        fix: "",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for service in context.config.services() {
        let drained = |family: &Family| match service.body(*family) {
            Some(Body::Drained(_)) => true,
            Some(Body::Balance(_) | Body::Closed) | None => false,
        };
        let serves = |family: &Family| matches!(service.body(*family), Some(Body::Balance(_)));
        let Some(family) = Family::ALL.into_iter().find(drained) else { continue };
        let over = if Family::ALL.iter().any(serves) { format!(" over {}", family.name()) } else { String::new() };
        found.push(
            Diagnostic::warning(
                Code::AllWeightsZero,
                service.backends_loc,
                format!("`{}` rejects every new connection{over}", service.name),
            )
            .here("every weight is 0")
            .help("give a backend a weight, or leave the service out; `# lbc: ignore[LB111] WHY` where it is meant"),
        );
    }
    found
}
