//! LB206, and what comments suppress: see [`crate::suppression`] for what they speak of.

use std::rc::Rc;

use foldhash::HashMap;

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix, at, did_you_mean};
use crate::program::Program;
use crate::source::{Source, SourceId, Span};
use crate::statement::Item;
use crate::suppression::{self, Rows, may_suppress};
use crate::syntax::comments;

use super::context::Context;
use super::edit::{blanks_before, next_line, starts_line};
use super::select::Selection;
use super::{Doc, Lint};

pub const LINT: Lint = Lint {
    code: Code::UnusedSuppression,
    doc: Doc {
        what: "Finds comments `# lbc: ignore[CODE]` and `# lbc: ignore-file[CODE]` that suppress nothing: there is no such finding, no \
               such code, or the code is that of an error.",
        why: "What it was written for is gone. Left where it is, it hides the next mistake of that kind.",
        example: "balance tcp 80 -> 10.0.0.1:8080 # lbc: ignore[LB104] the proxy on this machine\n",
        instead: "balance tcp 80 -> 10.0.0.1:8080\n",
        fix: "Safe: it removes the code, and the comment with the last one.",
    },
    check,
};

/// What no suppression used is known once all other lints have run: see [`apply`].
fn check(_: &Context<'_>) -> Vec<Diagnostic> {
    Vec::new()
}

/// How the message begins of a suppression that is right, and has nothing to do.
const NO_USE: &str = "there is no ";

/// Whether a finding is about a suppression that may be of use in another program.
pub fn is_without_use(one: &Diagnostic) -> bool {
    one.code == Code::UnusedSuppression && one.message.starts_with(NO_USE)
}

/// One code in a comment.
struct Suppression {
    source: SourceId,
    /// The whole comment.
    comment: Span,
    /// The codes between the brackets.
    list: Rc<[Span]>,
    /// Which of them it is.
    index: usize,
    code: Option<Code>,
    is_used: bool,
}

/// What a suppression speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    File,
    Line(usize),
    Row(usize),
}

/// Suppressions that speak of the same: each finding makes use of one that none has made use of.
#[derive(Default)]
struct Queue {
    numbers: Vec<usize>,
    /// Those before it are used.
    next: usize,
}

/// The suppressions of a program.
#[derive(Default)]
struct Suppressions<'a> {
    list: Vec<Suppression>,
    /// Those that are not written as they should be.
    broken: Vec<Diagnostic>,
    places: HashMap<(SourceId, Scope, Code), Queue>,
    rows: HashMap<SourceId, Rows<'a>>,
}

/// Drops the findings that comments suppress, and adds those about comments that suppress nothing.
pub fn apply(program: &Program, selection: &Selection, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut all = Suppressions::default();
    for (id, file) in program.sources.ids().zip(&program.files) {
        if file.is_lb && may_suppress(program.sources.get(id).text()) {
            all.read(id, program.sources.get(id), &file.items);
        }
    }
    if all.list.is_empty() && all.broken.is_empty() {
        return found;
    }
    let mut kept = Vec::new();
    for diagnostic in found {
        kept.extend(all.pass(program, diagnostic));
    }
    if selection.has(Code::UnusedSuppression) {
        let unused = all.unused(program, |one| one.is_judged(selection));
        for diagnostic in unused.into_iter().chain(std::mem::take(&mut all.broken)) {
            kept.extend(all.pass(program, diagnostic));
        }
        // Nothing more can come that would need these.
        kept.extend(all.unused(program, |one| one.code == Some(Code::UnusedSuppression)));
    }
    kept
}

impl<'a> Suppressions<'a> {
    fn read(&mut self, id: SourceId, source: &Source, items: &'a [Item]) {
        let text = source.text();
        let comments = comments(text);
        let rows = Rows::new(source, items);
        let places = rows.places(source, &comments);
        self.rows.insert(id, rows);
        for (comment, place) in comments.into_iter().zip(places) {
            let Some(parsed) = suppression::parse(text, comment) else { continue };
            let list: Rc<[Span]> = parsed.codes.map(|codes| split(text, codes)).unwrap_or_default().into();
            if list.is_empty() {
                let message = "a suppression without codes suppresses nothing";
                let help = "it is written `# lbc: ignore[LB104] why`, or `# lbc: ignore-file[LB104] why`";
                self.broken.push(Diagnostic::warning(Code::UnusedSuppression, at(id, comment), message).help(help));
            }
            let line = if parsed.is_for_file { Scope::File } else { Scope::Line(place.line) };
            let row = place.row.filter(|_| !parsed.is_for_file).map(Scope::Row);
            for index in 0..list.len() {
                let code = Code::find(&text[list[index].range()]);
                let lint = code.filter(|code| code.is_lint());
                let number = self.list.len();
                self.list.push(Suppression { source: id, comment, list: list.clone(), index, code, is_used: false });
                for scope in lint.iter().flat_map(|_| row.into_iter().chain([line])) {
                    self.places.entry((id, scope, lint.expect("just seen"))).or_default().numbers.push(number);
                }
            }
        }
    }

    /// A finding that nothing suppresses.
    fn pass(&mut self, program: &Program, diagnostic: Diagnostic) -> Option<Diagnostic> {
        let loc = diagnostic.primary.loc;
        let source = program.sources.get(loc.source);
        let (first, last) = (source.line(loc.span.start), source.line(loc.span.end.max(loc.span.start + 1) - 1));
        let row = self.rows.get(&loc.source).and_then(|rows| rows.at(loc.span.start)).map(Scope::Row);
        let scopes = [Scope::Line(first), Scope::Line(last)].into_iter().chain(row).chain([Scope::File]);
        let place = |scope| (loc.source, scope, diagnostic.code);
        let Some(place) = scopes.map(place).find(|place| self.places.contains_key(place)) else {
            return Some(diagnostic);
        };
        let Queue { numbers, next } = self.places.get_mut(&place).expect("just found");
        // Some may be used by way of another place.
        while numbers.get(*next).is_some_and(|number| self.list[*number].is_used) {
            *next += 1;
        }
        if let Some(number) = numbers.get(*next) {
            self.list[*number].is_used = true;
        }
        None
    }

    fn unused(&self, program: &Program, is_meant: impl Fn(&Suppression) -> bool) -> Vec<Diagnostic> {
        let unused = self.list.iter().filter(|one| !one.is_used && is_meant(one));
        unused.map(|one| one.diagnostic(program)).collect()
    }
}

/// The codes of a list, without the blanks around them.
fn split(text: &str, list: Span) -> Vec<Span> {
    let mut start = list.start;
    let mut found = Vec::new();
    for code in text[list.range()].split(',') {
        let blanks = (code.len() - code.trim_start().len()) as u32;
        if !code.trim().is_empty() {
            found.push(Span::new(start + blanks, start + blanks + code.trim().len() as u32));
        }
        start += code.len() as u32 + 1;
    }
    found
}

impl Suppression {
    /// Whether it is known to be of no use: the lint ran, or there is none. Those of LB206 itself come last.
    fn is_judged(&self, selection: &Selection) -> bool {
        match self.code {
            Some(Code::UnusedSuppression | Code::UdpStaleFlows) => false,
            Some(code) if code.is_lint() => selection.has(code),
            Some(_) | None => true,
        }
    }

    fn diagnostic(&self, program: &Program) -> Diagnostic {
        let source = program.sources.get(self.source);
        let span = self.list[self.index];
        let text = &source.text()[span.range()];
        let (message, help) = match self.code {
            None => {
                let names =
                    Code::ALL.iter().filter(|code| code.is_lint()).flat_map(|code| [code.as_str(), code.name()]);
                let near = did_you_mean(text, names);
                (
                    format!("no lint has the code `{text}`"),
                    near.unwrap_or_else(|| "`lbc rule --all` lists them".to_owned()),
                )
            }
            Some(code) if !code.is_lint() => {
                (format!("`{text}` is an error, and cannot be suppressed"), "remove the comment".to_owned())
            }
            Some(code) => (format!("{NO_USE}{} to suppress here", code.name()), "remove the suppression".to_owned()),
        };
        let fix = Fix::new(Applicability::Safe, "remove the suppression", vec![self.removal(source)]);
        Diagnostic::warning(Code::UnusedSuppression, at(self.source, span), message)
            .here("suppresses nothing")
            .help(help)
            .fix(Some(fix))
    }

    fn removal(&self, source: &Source) -> Edit {
        let text = source.text();
        let (first, last) = (self.index == 0, self.index + 1 == self.list.len());
        let span = match (first, last) {
            (true, true) => {
                let start = blanks_before(text, self.comment.start);
                match starts_line(text, start) {
                    true => Span::new(start, next_line(text, self.comment.end)),
                    false => Span::new(start, self.comment.end),
                }
            }
            (true, false) => Span::new(self.list[0].start, self.list[1].start),
            (false, _) => Span::new(self.list[self.index - 1].end, self.list[self.index].end),
        };
        Edit::remove(self.source, span)
    }
}
