//! LB109

use crate::diagnostic::{Code, Diagnostic};
use crate::lint::context::Context;
use crate::lint::{Doc, Lint};

pub const LINT: Lint = Lint {
    code: Code::StickyCapacity,
    doc: Doc {
        what: "Finds `sticky` in a program for iptables that keeps its clients in lists of the `recent` match. It is silent where \
               lbc.toml says `target = \"nft\"`, and where `compile` has another target or store.",
        why: "Such a list holds 100 clients for each backend, unless the module xt_recent was loaded with another `ip_list_tot`. The \
              oldest is forgotten in silence: of 600 clients, two of three lose their backend.",
        example: "balance tcp 80 sticky 10m -> 10.0.0.1, 10.0.0.2\n",
        instead: "balance tcp 80 by source-hash -> 10.0.0.1, 10.0.0.2\n",
        fix: "",
    },
    check,
};

/// One finding for the whole program: the store is chosen once.
fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    if !context.settings.recent {
        return Vec::new();
    }
    let mut sticky = context.config.services().iter().filter(|service| service.options.sticky.is_some());
    let Some(first) = sticky.next() else { return Vec::new() };
    let others = match sticky.count() {
        0 => String::new(),
        1 => " (so does one other service)".to_owned(),
        more => format!(" (so do {more} other services)"),
    };
    let place = first.options.place("sticky").unwrap_or(first.loc);
    let message = format!(
        "on iptables `{}` remembers 100 clients of each backend, and forgets the oldest in silence{others}",
        first.name
    );
    vec![
        Diagnostic::warning(Code::StickyCapacity, place, message)
            .here("in a list of the `recent` match")
            .help(
                "for 65,536 clients compile with `--sticky-store ipset`, or load the module with `xt_recent.ip_list_tot=N`; then write \
                 `# lbc: ignore[LB109] why`. `target = \"nft\"` in lbc.toml, where that is the target, silences it as well",
            ),
    ]
}
