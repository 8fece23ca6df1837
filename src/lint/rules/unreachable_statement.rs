//! LB113

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix};
use crate::lint::context::{Balanced, Context};
use crate::lint::edit::block;
use crate::lint::overlap::Overlap;
use crate::lint::{Doc, Lint};
use crate::statement::{Item, Statement};

pub const LINT: Lint = Lint {
    code: Code::UnreachableStatement,
    doc: Doc {
        what: "Finds services that never get a connection: everything that they match is matched by services before them, \
               taken together.",
        why: "The first match wins, and the rules of the later service are dead. Mostly the particular service was meant to \
              stand before the general one.",
        example: "balance tcp 80 as all -> 10.0.0.1\nbalance tcp 80 as staff from 10.20.0.0/16 -> 10.0.0.2\n",
        instead: "balance tcp 80 as staff from 10.20.0.0/16 -> 10.0.0.2\nbalance tcp 80 as all -> 10.0.0.1\n",
        fix: "Unsafe: it moves the statement before the first of the others, where they stand in one file and no `default` is \
              between them.",
    },
    check,
};

/// Statements that one is moved over.
const MAX_MOVE: usize = 1_000;
/// The services that are named; more say no more.
const MAX_LABELS: usize = 3;

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let dead = context.overlaps().iter().filter_map(|(service, overlap)| match overlap {
        Overlap::Unreachable(takers) => Some((*service, takers)),
        Overlap::Partial(..) => None,
    });
    let dead: Vec<_> = dead.collect();
    let statements =
        context.statements(dead.iter().flat_map(|(service, takers)| takers.iter().copied().chain([*service])));
    let mut found = Vec::new();
    for (service, takers) in dead {
        let Some(own) = statements.get(&service) else { continue };
        let takers: Vec<&Balanced<'_>> = takers.iter().filter_map(|taker| statements.get(taker)).collect();
        let name = &own.service.name;
        let Some(first) = takers.first() else {
            found.push(
                Diagnostic::warning(
                    Code::UnreachableStatement,
                    own.listen(),
                    format!("`{name}` matches no connection: no client of `from` has the family of a backend"),
                )
                .here("never reached")
                .help("give it clients and backends of one family"),
            );
            continue;
        };
        let names: Vec<String> =
            takers.iter().take(MAX_LABELS).map(|taker| format!("`{}`", taker.service.name)).collect();
        let more = match takers.len().saturating_sub(MAX_LABELS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let takes = if takers.len() == 1 { "takes" } else { "take" };
        let message =
            format!("`{name}` is never reached: {}{more} before it {takes} every connection", names.join(", "));
        let mut diagnostic = Diagnostic::warning(Code::UnreachableStatement, own.listen(), message)
            .here("never reached")
            .help(format!("put the statement before `{}`, or leave it out", first.service.name));
        for taker in takers.iter().take(MAX_LABELS) {
            diagnostic = diagnostic.label(taker.listen(), "the first match wins");
        }
        found.push(diagnostic.fix(reorder(context, own, &takers)));
    }
    found
}

/// Moves a statement before the first of those that take its connections.
fn reorder(context: &Context<'_>, own: &Balanced<'_>, takers: &[&Balanced<'_>]) -> Option<Fix> {
    let first = takers.first()?;
    // Of two that match the same, one is dead either way.
    let is_particular = |taker: &&Balanced<'_>| listens_wider(taker, own);
    if first.source != own.source || !takers.iter().all(is_particular) {
        return None;
    }
    let text = context.program.sources.get(own.source).text();
    let items = &context.program.files[own.source.0 as usize].items;
    let start = items.partition_point(|item| item.span.start < first.item.span.start);
    let end = items.partition_point(|item| item.span.start < own.item.span.start);
    let stays = |item: &Item| matches!(item.statement, Statement::Default(_) | Statement::Include(_));
    if start >= end || end - start > MAX_MOVE || items[start..end].iter().any(stays) {
        return None;
    }
    let (to, from) = (block(context.program, own.source, first.item)?, block(context.program, own.source, own.item)?);
    if to.end > from.start {
        return None;
    }
    let moved = text[from.range()].to_owned();
    let moved = if moved.ends_with('\n') { moved } else { format!("{moved}\n") };
    let edits = vec![Edit::insert(own.source, to.start, moved), Edit::remove(own.source, from)];
    Some(Fix::new(Applicability::Unsafe, format!("move it before `{}`", first.service.name), edits))
}

/// Whether one statement has clients or interfaces that the other one has not, as far as is easily told.
fn listens_wider(wide: &Balanced<'_>, narrow: &Balanced<'_>) -> bool {
    let ports = |one: &Balanced<'_>| one.service.ports.iter().map(|ports| ports.count()).sum::<u32>();
    (wide.service.from.is_none() && narrow.service.from.is_some())
        || (wide.service.on.is_none() && narrow.service.on.is_some())
        || ports(wide) > ports(narrow)
        || wide.service.protocols.len() > narrow.service.protocols.len()
        || (wide.service.output && !narrow.service.output)
        || wide.service.destinations.iter().any(|destination| !narrow.service.destinations.contains(destination))
}
