//! Names and checks: the only way from a [`Program`] to an [`ir::Config`](crate::ir::Config).
//!
//! Every phase goes on after an error, so that one run reports them all.

mod effects;
mod errors;
mod expand;
mod listeners;
mod names;
mod nesting;
mod options;
mod service;
mod weights;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix, at, nearest};
use crate::ir::{Config, Service};
use crate::option::BalanceOption;
use crate::program::Program;
use crate::source::{Loc, SourceId, Span};
use crate::statement::Statement;

use ipnet::IpNet;

use effects::Declared;
use errors::Errors;
pub use errors::{sort, sort_in};
use names::{Declaration, Names};
use nesting::Shape;

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
    /// Of each pool, once all that it lists have one.
    shapes: HashMap<&'a str, Shape>,
    /// The prefixes of the nets that were asked for.
    nets: HashMap<&'a str, Vec<IpNet>>,
    weights: HashMap<&'a str, u16>,
    /// Every `net`, once anyone asked which of them hold an address.
    declared: Option<Declared>,
    /// Prefixes of clients near a backend so far.
    near: usize,
    errors: Errors,
    /// Backends of all services so far.
    backends: u64,
    /// Names compared for "did you mean" so far.
    compared: usize,
}

/// How many names are compared before "did you mean" stays away: thousands of typos among thousands of names.
const MAX_COMPARED: usize = 200_000;

impl<'a> Context<'a> {
    fn text(&self, source: SourceId, span: Span) -> &'a str {
        self.program.sources.text(at(source, span))
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }

    /// The error for a name that nothing declares; `wanted` says which kinds could stand in its place.
    fn unknown_name(&mut self, loc: Loc, what: &str, wanted: impl Fn(&Declaration<'a>) -> bool) -> Diagnostic {
        let name = self.program.sources.text(loc);
        self.compared += self.names.len();
        let near = match self.compared <= MAX_COMPARED {
            true => nearest(name, self.names.of_kind(wanted)),
            false => None,
        };
        let declare = format!("declare it: `host {name} = ADDRESS`, or pass `-D {name}=ADDRESS`");
        Diagnostic::error(Code::UnknownName, loc, format!("{what} `{name}` is not declared"))
            .here("no such name")
            .help(near.map_or(declare, |near| format!("did you mean `{near}`?")))
            .fix(near.map(|near| {
                let edit = Edit::replace(loc.source, loc.span, near);
                Fix::new(Applicability::Unsafe, format!("write `{near}`"), vec![edit])
            }))
    }
}

/// Checks a program. Without errors there is a config; with errors there is none.
pub fn resolve(program: &Program) -> Result<Config, Vec<Diagnostic>> {
    let mut errors = Errors::default();
    let names = Names::declare(program, &mut errors);
    let weights = program.weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
    let mut context = Context {
        program,
        names,
        shapes: HashMap::new(),
        nets: HashMap::new(),
        weights,
        declared: None,
        near: 0,
        errors,
        backends: 0,
        compared: 0,
    };
    context.check_nesting();
    context.check_declarations();
    let services = services(&mut context);
    if context.errors.is_empty() {
        let files = program.sources.ids().map(|id| program.sources.get(id).origin.clone()).collect();
        return Ok(Config::new(files, services));
    }
    Err(sort(program, context.errors.finish(program)))
}

/// Checks a program whose syntax has these errors, and returns all errors that do not follow from others.
pub fn check(program: &Program, syntax: Vec<Diagnostic>) -> Result<Config, Vec<Diagnostic>> {
    let mut errors = match resolve(program) {
        Ok(config) if syntax.is_empty() => return Ok(config),
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    if !syntax.is_empty() {
        errors::retain_causes(program, &mut errors, &syntax);
    }
    errors.extend(syntax);
    Err(sort(program, errors))
}

/// Every service that could be made; what keeps others from it is recorded.
fn services(context: &mut Context<'_>) -> Vec<Service> {
    let program = context.program;
    let mut defaults: HashMap<SourceId, Vec<Chosen<'_>>> = HashMap::new();
    let balances = program.items().filter(|(_, item)| matches!(item.statement, Statement::Balance(_))).count();
    let mut services = Vec::with_capacity(balances);
    let mut written = Vec::with_capacity(balances);
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
                if let Some((service, name)) = service::resolve(context, source, item.span, balance, defaults) {
                    services.push(service);
                    written.push(name);
                }
            }
            Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Pool(_) => {}
        }
    }
    let reported = listeners::duplicates(&services, &mut context.errors);
    listeners::name(context, &mut services, &written, &reported);
    services
}

#[cfg(test)]
mod tests;
