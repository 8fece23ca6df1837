//! Names and checks: the only way from a [`Program`] to an [`ir::Config`](crate::ir::Config).
//!
//! Every phase goes on after an error, so that one run reports them all.

mod expand;
mod listeners;
mod names;
mod nesting;
mod options;
mod service;
mod weights;

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Code, Diagnostic, at, did_you_mean};
use crate::ir::{Config, Service};
use crate::option::BalanceOption;
use crate::program::Program;
use crate::source::{Loc, SourceId, Span};
use crate::statement::Statement;

use ipnet::IpNet;

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
    errors: Vec<Diagnostic>,
    /// Backends of all services so far.
    backends: u64,
    /// Names compared for "did you mean" so far.
    compared: usize,
}

/// How many names are compared before "did you mean" stays away: thousands of typos among thousands of names.
const MAX_COMPARED: usize = 1_000_000;

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
            true => did_you_mean(name, self.names.of_kind(wanted)),
            false => None,
        };
        let declare = format!("declare it: `host {name} = ADDRESS`, or pass `-D {name}=ADDRESS`");
        Diagnostic::error(Code::UnknownName, loc, format!("{what} `{name}` is not declared"))
            .here("no such name")
            .help(near.unwrap_or(declare))
    }
}

/// Checks a program. Without errors there is a config; with errors there is none.
pub fn resolve(program: &Program) -> Result<Config, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let names = Names::declare(program, &mut errors);
    let weights = program.weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
    let mut context = Context {
        program,
        names,
        shapes: HashMap::new(),
        nets: HashMap::new(),
        weights,
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
    Err(sort(program, context.errors))
}

/// Checks a program whose syntax has these errors, and returns all errors that do not follow from others.
pub fn check(program: &Program, syntax: Vec<Diagnostic>) -> Result<Config, Vec<Diagnostic>> {
    let mut errors = match resolve(program) {
        Ok(config) if syntax.is_empty() => return Ok(config),
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    if !syntax.is_empty() {
        let lost = lost_names(program);
        errors.retain(|error| !follows(program, error, &syntax, &lost));
    }
    errors.extend(syntax);
    Err(sort(program, errors))
}

/// The names that some text tries to declare, whether or not the declaration could be read.
fn lost_names(program: &Program) -> HashSet<&str> {
    let mut names = HashSet::new();
    for id in program.sources.ids() {
        for statement in program.sources.get(id).text().split(['\n', ';']) {
            let mut words = statement.split([' ', '\t', '\r', '=']).filter(|word| !word.is_empty());
            if let (Some("host" | "net" | "pool"), Some(name)) = (words.next(), words.next()) {
                names.insert(name);
            }
        }
    }
    names
}

/// Whether an error would go away with a syntax error: the lost declaration of a name, or lost parts of a statement.
fn follows(program: &Program, error: &Diagnostic, syntax: &[Diagnostic], lost: &HashSet<&str>) -> bool {
    let loc = error.primary.loc;
    if error.code == Code::UnknownName {
        // Files that could not be read or included may declare anything.
        let missing = syntax.iter().any(|syntax| matches!(syntax.code, Code::Include | Code::InvalidText));
        return missing || lost.contains(program.sources.text(loc));
    }
    if !matches!(error.code, Code::NoBackendForFamily | Code::UnrepresentableWeight) {
        return false;
    }
    let holds = |outer: Span, inner: Span| outer.start <= inner.start && inner.end <= outer.end;
    let statement = program.items().find(|(source, item)| *source == loc.source && holds(item.span, loc.span));
    statement.is_some_and(|(source, item)| {
        syntax.iter().any(|error| source == error.primary.loc.source && holds(item.span, error.primary.loc.span))
    })
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

/// Every service that could be made; what keeps others from it is recorded.
fn services(context: &mut Context<'_>) -> Vec<Service> {
    let program = context.program;
    let mut defaults: HashMap<SourceId, Vec<Chosen<'_>>> = HashMap::new();
    let mut services = Vec::new();
    let mut written = Vec::new();
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
    let duplicates = listeners::duplicates(&services);
    let reported = duplicates.iter().map(|error| error.primary.loc).collect();
    context.errors.extend(duplicates);
    listeners::name(context, &mut services, &written, &reported);
    services
}
