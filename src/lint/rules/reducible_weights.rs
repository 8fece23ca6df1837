//! LB201

use crate::diagnostic::{Applicability, Code, Diagnostic, Fix, at};
use crate::lint::context::{Context, List};
use crate::lint::edit::set_weight;
use crate::lint::{Doc, Lint};
use crate::source::Spanned;
use crate::statement::backends::Backend;

pub const LINT: Lint = Lint {
    code: Code::ReducibleWeights,
    doc: Doc {
        what: "Finds lists whose weights all have a common factor. Backups are weighed among themselves.",
        why: "50:50 says no more than 1:1, and hides that the two are equal. Weights in lowest terms can be compared at a glance.",
        example: "balance tcp 80 -> 10.0.0.1 weight 50, 10.0.0.2 weight 25\n",
        instead: "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2 weight 1\n",
        fix: "Safe: it divides every weight of the list. None where `--set` overrides one of them; who keeps a `--set NAME=WEIGHT` \
              in a script should know that an override is relative to what is written.",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for list in context.lists() {
        // Who has no weight written has 1: nothing divides that.
        for backup in [false, true] {
            found.extend(check_group(context, list, backup));
        }
    }
    found
}

fn check_group(context: &Context<'_>, list: List<'_>, backup: bool) -> Option<Diagnostic> {
    let group = || list.list.iter().filter(|backend| backend.backup == backup);
    let mut divisor = 0;
    for backend in group() {
        divisor = num_integer::gcd(divisor, backend.weight?.value);
        if divisor == 1 {
            return None;
        }
    }
    if divisor == 0 {
        return None;
    }
    let positive = |backend: &&Backend| backend.weight.is_some_and(|weight| weight.value > 0);
    let first = group().find(positive)?.weight?;
    let other = group().filter(positive).nth(1).and_then(|backend| backend.weight);
    let message = match other {
        Some(_) => format!("the weights of this list have the common factor {divisor}"),
        None => format!("a backend that gets everything needs no weight of {divisor}"),
    };
    let diagnostic = Diagnostic::warning(Code::ReducibleWeights, at(list.source, first.span), message)
        .here(format!("could be {}", first.value / divisor));
    let diagnostic = match other {
        Some(Spanned { value, span }) => {
            diagnostic.label(at(list.source, span), format!("could be {}", value / divisor))
        }
        None => diagnostic,
    };
    let fix = (!context.overrides(list)).then(|| {
        let edits = group()
            .filter(positive)
            .filter_map(|backend| Some(set_weight(list.source, backend, backend.weight?.value / divisor)));
        Fix::new(Applicability::Safe, format!("divide the weights by {divisor}"), edits.collect())
    });
    Some(diagnostic.help(format!("divide the weights by {divisor}")).fix(fix))
}
