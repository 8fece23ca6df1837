//! LB202

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::diagnostic::{Applicability, Code, Diagnostic, Fix, at};
use crate::ir::options::SourceNat;
use crate::lint::context::Context;
use crate::lint::edit::remove_statement;
use crate::lint::{Doc, Lint};
use crate::source::SourceId;
use crate::statement::names::names;
use crate::statement::{Item, Statement};

pub const LINT: Lint = Lint {
    code: Code::UnusedName,
    doc: Doc {
        what: "Finds hosts, nets and pools that nothing in the program refers to. Where a service has `masquerade hairpin`, every net \
               is used: that option looks at all of them. Hosts of `-D` and `--hosts` are never reported.",
        why: "Mostly it is left over, or a typo somewhere else uses the wrong one.",
        example: "host a = 10.0.0.1\nhost old = 10.0.0.2\nbalance tcp 80 -> a:8080\n",
        instead: "host a = 10.0.0.1\nbalance tcp 80 -> a:8080\n",
        fix: "Safe: it removes the declaration, with the comment behind it, and with the comment above where both are a paragraph of \
              their own.",
    },
    check,
};

fn check(context: &Context<'_>) -> Vec<Diagnostic> {
    let used = Uses::new(context);
    let mut found = Vec::new();
    for (source, item) in context.program.items() {
        let (name, kind) = match &item.statement {
            Statement::Host(host) => (host.name, "host"),
            Statement::Net(_) if used.every_net => continue,
            Statement::Net(net) => (net.name, "net"),
            Statement::Pool(pool) => (pool.name, "pool"),
            Statement::Include(_) | Statement::Default(_) | Statement::Balance(_) => continue,
        };
        let text = context.text(source, name);
        if used.names.contains(text) {
            continue;
        }
        let edit = remove_statement(context.program, source, item);
        found.push(
            Diagnostic::warning(Code::UnusedName, at(source, name), format!("the {kind} `{text}` is never used"))
                .here("declared, and not referred to")
                .help(format!("remove the declaration, or use `{text}`"))
                .fix(Some(Fix::new(Applicability::Safe, format!("remove `{kind} {text}`"), vec![edit]))),
        );
    }
    found
}

/// The names that anything refers to.
struct Uses<'a> {
    names: HashSet<&'a str>,
    every_net: bool,
}

impl<'a> Uses<'a> {
    fn new(context: &Context<'a>) -> Uses<'a> {
        let hairpin = |nat: &SourceNat| matches!(nat, SourceNat::Hairpin(_));
        let every_net = context.config.services().iter().any(|service| hairpin(&service.options.source_nat));
        let mut uses = Uses { names: HashSet::new(), every_net };
        uses.names.extend(context.program.weights.iter().map(|(name, _)| name.as_str()));
        let mut waiting: HashMap<&str, (SourceId, &Item)> = HashMap::new();
        for (source, item) in context.program.items() {
            let name = match &item.statement {
                Statement::Net(_) if every_net => None,
                Statement::Net(net) => Some(net.name),
                Statement::Pool(pool) => Some(pool.name),
                Statement::Include(_) | Statement::Host(_) | Statement::Default(_) | Statement::Balance(_) => None,
            };
            match name.filter(|_| context.settings.is_thorough) {
                Some(name) => drop(waiting.insert(context.text(source, name), (source, item))),
                None => uses.statement(context, source, item),
            }
        }
        uses.follow(context, waiting);
        uses
    }

    /// Adds what used nets and pools refer to.
    fn follow(&mut self, context: &Context<'a>, mut waiting: HashMap<&'a str, (SourceId, &'a Item)>) {
        let mut new: Vec<&str> = self.names.iter().copied().collect();
        while let Some(name) = new.pop() {
            let Some((source, item)) = waiting.remove(name) else { continue };
            let mut own = Uses { names: HashSet::new(), every_net: self.every_net };
            own.statement(context, source, item);
            new.extend(own.names.into_iter().filter(|name| self.names.insert(name)));
        }
    }

    /// Adds what a statement refers to.
    fn statement(&mut self, context: &Context<'a>, source: SourceId, item: &Item) {
        names(&item.statement, &mut |name, is_declaration| {
            if !is_declaration {
                self.names.insert(context.text(source, name));
            }
        });
    }
}
