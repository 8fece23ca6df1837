//! Names and checks: the only way from a [`Program`] to an [`ir::Config`](crate::ir::Config).
//!
//! Every phase goes on after an error, so that one run reports them all.

mod expand;
mod listeners;
mod names;
mod service;

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, at, did_you_mean};
use crate::ir::{Config, Service};
use crate::option::BalanceOption;
use crate::program::Program;
use crate::source::{Loc, SourceId, Span};
use crate::statement::Statement;

use names::Names;

/// An option and the source it is written in (a default's may be far from its `balance`).
#[derive(Clone, Copy)]
struct Chosen<'a> {
    option: &'a BalanceOption,
    source: SourceId,
    /// From a `default` statement: gives way where the statement says otherwise.
    default: bool,
}

impl Chosen<'_> {
    fn loc(&self) -> Loc {
        at(self.source, self.option.span)
    }
}

/// What every check needs: the program, its names, and where errors go.
struct Context<'a> {
    program: &'a Program,
    names: Names<'a>,
    weights: HashMap<&'a str, u16>,
    errors: Vec<Diagnostic>,
    /// Backends of all services so far.
    backends: usize,
}

impl<'a> Context<'a> {
    fn text(&self, source: SourceId, span: Span) -> &'a str {
        self.program.sources.text(at(source, span))
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }
}

/// Checks a program. Without errors there is a config; with errors there is none.
pub fn resolve(program: &Program) -> Result<Config, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let names = Names::declare(program, &mut errors);
    let weights = program.weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
    let mut context = Context { program, names, weights, errors, backends: 0 };
    context.check_declarations();
    let services = services(&mut context);
    let mut errors = context.errors;
    let files = program.sources.ids().map(|id| program.sources.get(id).origin.clone()).collect();
    let services = match services {
        Ok(services) => {
            errors.extend(listeners::duplicates(&services));
            services
        }
        Err(Incomplete) => Vec::new(),
    };
    if errors.is_empty() {
        return Ok(Config::new(files, services));
    }
    Err(sort(program, errors))
}

/// Sorts by path, line, column and code; what several services say of one place is said once.
pub fn sort(program: &Program, mut errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let path = |loc: Loc| program.sources.get(loc.source).path.as_str();
    errors.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.primary.loc.span.start, d.code);
        path(a.primary.loc).cmp(path(b.primary.loc)).then(key(a).cmp(&key(b))).then(a.message.cmp(&b.message))
    });
    errors.dedup_by(|a, b| a.code == b.code && a.primary.loc == b.primary.loc && a.message == b.message);
    errors
}

/// Some service could not be made; its error is recorded.
struct Incomplete;

fn services(context: &mut Context<'_>) -> Result<Vec<Service>, Incomplete> {
    let program = context.program;
    let mut defaults: HashMap<SourceId, Vec<Chosen<'_>>> = HashMap::new();
    let mut services = Vec::new();
    let mut written = Vec::new();
    let mut complete = true;
    for (source, item) in program.items() {
        match &item.statement {
            Statement::Default(default) => {
                let list = defaults.entry(source).or_default();
                for option in &default.options {
                    list.retain(|chosen| chosen.option.kind.keyword() != option.kind.keyword());
                    list.push(Chosen { option, source, default: true });
                }
            }
            Statement::Balance(balance) => {
                let defaults = defaults.get(&source).map_or(&[][..], Vec::as_slice);
                match service::resolve(context, source, item.span, balance, defaults) {
                    Some((service, name)) => {
                        services.push(service);
                        written.push(name);
                    }
                    None => complete = false,
                }
            }
            Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Pool(_) => {}
        }
    }
    listeners::name(context, &mut services, &written);
    if complete { Ok(services) } else { Err(Incomplete) }
}

/// The error for a name that nothing declares.
fn unknown_name(context: &Context<'_>, loc: Loc, what: &str) -> Diagnostic {
    let name = context.program.sources.text(loc);
    let near = did_you_mean(name, context.names.all());
    let declare = format!("declare it: `host {name} = ADDRESS`, or pass `-D {name}=ADDRESS`");
    Diagnostic::error(Code::UnknownName, loc, format!("{what} `{name}` is not declared"))
        .here("no such name")
        .help(near.unwrap_or(declare))
}
