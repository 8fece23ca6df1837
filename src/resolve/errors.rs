//! The errors of a program: collected within bounds, without those that follow from others, in order.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Code, Diagnostic, at};
use crate::program::Program;
use crate::source::{Loc, SourceId, Sources, Span};
use crate::statement::names::names;
use crate::syntax::MAX_ERRORS;

/// Errors as they are found: each place says a thing once, and a file has [`MAX_ERRORS`] at most.
#[derive(Debug, Default)]
pub struct Errors {
    list: Vec<Diagnostic>,
    seen: HashSet<(Code, Loc, String)>,
    /// How many each file has, and whether others were left out.
    files: HashMap<SourceId, (usize, bool)>,
    /// Pushed so far, those left out included.
    pushed: usize,
}

impl Errors {
    pub fn push(&mut self, error: Diagnostic) {
        self.pushed += 1;
        let loc = error.primary.loc;
        let (count, left_out) = self.files.entry(loc.source).or_default();
        if *count >= MAX_ERRORS {
            *left_out = true;
        } else if self.seen.insert((error.code, loc, error.message.clone())) {
            *count += 1;
            self.list.push(error);
        }
    }

    /// As [`Errors::push`], for what may be found a million times: made only where it is kept.
    pub fn push_with(&mut self, source: SourceId, error: impl FnOnce() -> Diagnostic) {
        match self.files.get(&source) {
            Some((_, true)) => self.pushed += 1,
            Some((_, false)) | None => self.push(error()),
        }
    }

    /// How many were pushed: grows whenever something is found wrong.
    pub fn pushed(&self) -> usize {
        self.pushed
    }

    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// The errors; a file that has more says so at its end.
    pub fn finish(self, program: &Program) -> Vec<Diagnostic> {
        let mut list = self.list;
        for (source, _) in self.files.into_iter().filter(|(_, (_, left_out))| *left_out) {
            let end = program.sources.get(source).text().len() as u32;
            let message = format!("more than {MAX_ERRORS} errors in this file; the others are not shown");
            list.push(
                Diagnostic::error(Code::TooManyErrors, at(source, Span::new(end, end)), message)
                    .help("mend those that are shown, and run it again"),
            );
        }
        list
    }
}

/// Sorts by path, line, column and code; what several services say of one place is said once.
pub fn sort(program: &Program, errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    sort_in(&program.sources, errors)
}

/// As [`sort`], for diagnostics of any sources; files of one path are one.
pub fn sort_in(sources: &Sources, mut errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let path = |diagnostic: &Diagnostic| sources.get(diagnostic.primary.loc.source).path.as_str();
    errors.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.primary.loc.span.start, d.code);
        path(a).cmp(path(b)).then(key(a).cmp(&key(b))).then(a.message.cmp(&b.message))
    });
    errors.dedup_by(|a, b| {
        let same = a.code == b.code && a.primary.loc.span == b.primary.loc.span && a.message == b.message;
        same && path(a) == path(b)
    });
    errors
}

/// Drops errors that would go away with a syntax error.
pub fn retain_causes(program: &Program, errors: &mut Vec<Diagnostic>, syntax: &[Diagnostic]) {
    // Files that could not be read or included may declare anything.
    let missing = syntax.iter().any(|error| matches!(error.code, Code::Include | Code::InvalidText));
    let lost = lost_names(program);
    let hurt = hurt_names(program);
    errors.retain(|error| match error.code {
        Code::UnknownName => !missing && !lost.contains(program.sources.text(error.primary.loc)),
        Code::NoBackendForFamily | Code::UnrepresentableWeight => !is_in_broken(program, error.primary.loc, &hurt),
        Code::InvalidText
        | Code::Syntax
        | Code::InvalidNumber
        | Code::InvalidAddress
        | Code::InvalidRange
        | Code::InvalidName
        | Code::RepeatedOption
        | Code::ContradictoryOptions
        | Code::Include
        | Code::DuplicateName
        | Code::DuplicateListener
        | Code::KeptOwnPort
        | Code::PoolNesting
        | Code::TargetLimit
        | Code::NotAnAddress
        | Code::UnsupportedOnTarget
        | Code::TooManyErrors
        | Code::AnyDestination
        | Code::ManagementPort
        | Code::HairpinWithoutMasquerade
        | Code::LoopbackBackend
        | Code::DuplicateBackend
        | Code::PartialOverlap
        | Code::MissingFamily
        | Code::CoarseHash
        | Code::StickyCapacity
        | Code::UdpStaleFlows
        | Code::AllWeightsZero
        | Code::BackendInListener
        | Code::UnreachableStatement
        | Code::ReducibleWeights
        | Code::UnusedName
        | Code::MixedWeights
        | Code::UnusualAddress
        | Code::RedundantOption
        | Code::UnusedSuppression => true,
    });
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

/// What is declared by statements of which parts could not be read, or that name such a thing at any remove.
fn hurt_names(program: &Program) -> HashSet<&str> {
    let mut hurt = HashSet::new();
    loop {
        let known = hurt.len();
        for (source, item) in program.items() {
            let (mut declared, mut is_hurt) = (None, item.broken);
            names(&item.statement, &mut |span, is_declaration| {
                let name = program.sources.text(at(source, span));
                match is_declaration {
                    true => declared = Some(name),
                    false => is_hurt |= hurt.contains(name),
                }
            });
            hurt.extend(declared.filter(|_| is_hurt));
        }
        if hurt.len() == known {
            return hurt;
        }
    }
}

/// Whether a place is in a statement of which parts could not be read, or that names what could not.
fn is_in_broken(program: &Program, loc: Loc, hurt: &HashSet<&str>) -> bool {
    program.items().any(|(source, item)| {
        let is_inside = source == loc.source && item.span.start <= loc.span.start && loc.span.end <= item.span.end;
        let mut is_hurt = item.broken;
        if is_inside && !hurt.is_empty() {
            names(&item.statement, &mut |span, _| is_hurt |= hurt.contains(program.sources.text(at(source, span))));
        }
        is_inside && is_hurt
    })
}
