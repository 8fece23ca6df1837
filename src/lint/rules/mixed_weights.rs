//! LB203

use crate::diagnostic::{Applicability, Code, Diagnostic, Fix, at};
use crate::lint::context::{Context, List};
use crate::lint::edit::set_weight;
use crate::lint::{Doc, Lint};
use crate::statement::backends::Backend;

pub const LINT: Lint = Lint {
    code: Code::MixedWeights,
    doc: Doc {
        what: "Finds lists in which some backends have a written weight and some have none. Backups are looked at apart.",
        why: "A weight that is not written is 1. Beside `weight 50` that reads like half of the connections, and is one of 51.",
        example: "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2\n",
        instead: "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2 weight 1\n",
        fix: "Safe: it writes `weight 1`.",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let lists = context.lists().filter(|list| list.list.len() > 1);
    lists.flat_map(|list| [false, true].into_iter().filter_map(move |backup| check_group(list, backup))).collect()
}

fn check_group(list: List<'_>, backup: bool) -> Option<Diagnostic> {
    let group = || list.list.iter().filter(|backend| backend.backup == backup);
    let bare: fn(&&Backend) -> bool = |backend| backend.weight.is_none();
    // Weights of 1 alone say nothing: that is LB205.
    let written = group().find(|backend| backend.weight.is_some_and(|weight| weight.value != 1))?;
    let first = group().find(bare)?;
    let edits: Vec<_> = group().filter(bare).map(|backend| set_weight(list.source, backend, 1)).collect();
    let message = match edits.len() {
        1 => "one backend of this list has no weight, which is `weight 1`".to_owned(),
        count => format!("{count} backends of this list have no weight, which is `weight 1`"),
    };
    Some(
        Diagnostic::warning(Code::MixedWeights, at(list.source, first.span), message)
            .here("no weight is written")
            .label(at(list.source, written.span), "one is written here")
            .help("write `weight 1`")
            .fix(Some(Fix::new(Applicability::Safe, "write `weight 1`", edits))),
    )
}
