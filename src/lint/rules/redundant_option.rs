//! LB205

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix, at};
use crate::ir::{Family, PerFamily};
use crate::lint::context::{Context, List};
use crate::lint::edit::{remove_option, remove_statement, remove_weight};
use crate::lint::{Doc, Lint};
use crate::option::by::By;
use crate::option::{BalanceOption, Kind};
use crate::source::{Loc, SourceId};
use crate::statement::Statement;
use crate::statement::net::NetItem;

pub const LINT: Lint = Lint {
    code: Code::RedundantOption,
    doc: Doc {
        what: "Finds what changes nothing: weights of 1 alone, `by random`, `on *`, a `from` of everyone, and an option that a `default` \
               above gives already.",
        why: "Whoever reads it looks for a reason, and finds none.",
        example: "balance tcp 80 by random -> 10.0.0.1 weight 1, 10.0.0.2 weight 1\n",
        instead: "balance tcp 80 -> 10.0.0.1, 10.0.0.2\n",
        fix: "Safe: it removes the option. One that overrides a `default` is no finding.",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = context.lists().flat_map(|list| weights(context, list)).collect();
    let mut defaults: HashMap<SourceId, HashMap<&'static str, &BalanceOption>> = HashMap::new();
    for (source, item) in context.program.items() {
        match &item.statement {
            Statement::Default(default) => {
                let known = defaults.entry(source).or_default();
                for option in &default.options {
                    let edit = match default.options.as_slice() {
                        [_] => remove_statement(context.program, source, item),
                        _ => remove_option(context.program, source, option),
                    };
                    let before = known.insert(option.kind.keyword(), option);
                    found.extend(option_of(context, source, option, before, edit));
                }
            }
            Statement::Balance(balance) => {
                for option in &balance.options {
                    let default = defaults.get(&source).and_then(|known| known.get(option.kind.keyword())).copied();
                    let edit = remove_option(context.program, source, option);
                    found.extend(option_of(context, source, option, default, edit));
                }
            }
            Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Pool(_) => {}
        }
    }
    found
}

/// Weights of 1 among nothing else.
fn weights(context: &Context<'_>, list: List<'_>) -> Option<Diagnostic> {
    [false, true].into_iter().find_map(|backup| {
        let group = || list.list.iter().filter(|backend| backend.backup == backup);
        let first = group().find_map(|backend| backend.weight)?;
        if group().any(|backend| backend.weight.is_some_and(|weight| weight.value != 1)) {
            return None;
        }
        let edits = group().filter_map(|backend| remove_weight(context.program, list.source, backend)).collect();
        let message = "weights of 1 alone change nothing";
        Some(tell(at(list.source, first.span), message.to_owned(), "leave the weights out", edits))
    })
}

fn option_of(
    context: &Context<'_>,
    source: SourceId,
    option: &BalanceOption,
    default: Option<&BalanceOption>,
    edit: Edit,
) -> Option<Diagnostic> {
    let loc = at(source, option.span);
    let text = context.text(source, option.span);
    if let Some(default) = default {
        let same = is_same(&option.kind, &default.kind);
        return same.then(|| {
            let message = format!("`{text}` is the default already");
            let label = at(source, default.span);
            tell(loc, message, "leave it out", vec![edit]).label(label, "the default")
        });
    }
    let why = match &option.kind {
        Kind::By(By::Random) => "is what happens without it",
        Kind::On(on) if !on.not && on.interfaces.iter().any(|one| context.text(source, one.name) == "*") => {
            "lets every interface in, as nothing would"
        }
        Kind::From(from) if from.otherwise.is_none() && !from.not && is_everyone(&from.nets) => {
            "lets everyone in, as nothing would"
        }
        Kind::As(_)
        | Kind::By(By::RoundRobin | By::SourceHash { .. })
        | Kind::Sticky(_)
        | Kind::From(_)
        | Kind::On(_)
        | Kind::Masquerade { .. }
        | Kind::Snat(_)
        | Kind::Output
        | Kind::Accept
        | Kind::Limit(_)
        | Kind::MaxConnections(_)
        | Kind::Counter
        | Kind::Log(_) => return None,
    };
    Some(tell(loc, format!("`{text}` {why}"), "leave it out", vec![edit]))
}

/// Whether two options without names say the same; those with names are not compared.
fn is_same(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::By(one), Kind::By(other)) => one == other,
        (Kind::Masquerade { hairpin: one }, Kind::Masquerade { hairpin: other }) => one == other,
        (Kind::Sticky(one), Kind::Sticky(other)) => one.millis.value == other.millis.value,
        (Kind::Output, Kind::Output) | (Kind::Accept, Kind::Accept) | (Kind::Counter, Kind::Counter) => true,
        (Kind::Log(None), Kind::Log(None)) => true,
        (_, _) => false,
    }
}

fn is_everyone(nets: &[NetItem]) -> bool {
    let mut all = PerFamily::<bool>::default();
    for net in nets {
        if let NetItem::Prefix(prefix) = net
            && prefix.value.prefix_len() == 0
        {
            *all.get_mut(Family::of_net(prefix.value)) = true;
        }
    }
    all.v4 && all.v6
}

fn tell(loc: Loc, message: String, help: &str, edits: Vec<Edit>) -> Diagnostic {
    Diagnostic::warning(Code::RedundantOption, loc, message).here("changes nothing").help(help).fix(Some(Fix::new(
        Applicability::Safe,
        help,
        edits,
    )))
}
