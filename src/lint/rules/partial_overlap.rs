//! LB106

use crate::diagnostic::{Code, Diagnostic};
use crate::lint::context::Context;
use crate::lint::overlap::Overlap;
use crate::lint::{Doc, Lint};

pub const LINT: Lint = Lint {
    code: Code::PartialOverlap,
    doc: Doc {
        what: "Finds two services that match some connections both, while each matches others of its own.",
        why: "The first in the order of files and statements gets what they share. Who reads one of the two statements does \
              not see that. A particular service before a general one is no finding. `*:80 on eth0` and `80` is one: the first \
              alone has what is only forwarded, the second alone the other interfaces, and the order decides about this \
              machine's addresses on eth0. Whether an address that is written belongs to `local` is not known, so that \
              such overlaps are not looked for.",
        example: "balance tcp 80-90 -> 10.0.0.1\nbalance tcp 85-95 -> 10.0.0.2\n",
        instead: "balance tcp 80-90 -> 10.0.0.1\nbalance tcp 91-95 -> 10.0.0.2\n",
        fix: "",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let partial = context.overlaps().iter().filter_map(|(later, overlap)| match overlap {
        Overlap::Partial(earlier, others) => Some((*later, *earlier, *others)),
        Overlap::Unreachable(_) => None,
    });
    let partial: Vec<_> = partial.collect();
    let statements = context.statements(partial.iter().flat_map(|(later, earlier, _)| [*later, *earlier]));
    let tell = |&(later, earlier, others): &(usize, usize, usize)| {
        let (one, other) = (statements.get(&earlier)?, statements.get(&later)?);
        let more = match others {
            0 => String::new(),
            1 => " (and one other service)".to_owned(),
            others => format!(" (and {others} other services)"),
        };
        let message =
            format!("`{}` overlaps in part with `{}`{more}, which comes first", other.service.name, one.service.name);
        Some(
            Diagnostic::warning(Code::PartialOverlap, other.listen(), message)
                .here("gets only what is left of it")
                .label(one.listen(), "gets what both match")
                .help(
                    "tell the two apart by destination, ports, `on` or `from`; or write a service for what they share before both",
                ),
        )
    };
    partial.iter().filter_map(tell).collect()
}
