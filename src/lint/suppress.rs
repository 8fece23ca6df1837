//! LB206, and the comments that suppress findings: `# lbc: ignore[LB104] why` and `# lbc: ignore-file[LB104] why`.
//!
//! A comment behind something speaks of its own line; one on a line of its own speaks of the next line that is no comment.

use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::{Applicability, Code, Diagnostic, Edit, Fix, at, did_you_mean};
use crate::program::Program;
use crate::source::{Source, SourceId, Span};
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

/// Drops the findings that comments suppress, and adds those about comments that suppress nothing.
pub fn apply(program: &Program, selection: &Selection, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut suppressions = Vec::new();
    let mut broken = Vec::new();
    // By line, from 1; 0 is the whole file.
    let mut places: HashMap<(SourceId, usize, Code), usize> = HashMap::new();
    for id in program.sources.ids() {
        let source = program.sources.get(id);
        if program.files.get(id.0 as usize).is_none_or(|file| file.items.is_empty())
            || memchr::memmem::find(source.text().as_bytes(), b"lbc:").is_none()
        {
            continue;
        }
        let comments = comments(source.text());
        let lines = lines_of(source, &comments);
        for (comment, line) in comments.into_iter().zip(lines) {
            let Some((whole_file, list)) = parse(source, comment) else { continue };
            let list = match list {
                Ok(list) => Rc::<[Span]>::from(list),
                Err(help) => {
                    let message = "a suppression without codes suppresses nothing";
                    broken.push(Diagnostic::warning(Code::UnusedSuppression, at(id, comment), message).help(help));
                    continue;
                }
            };
            let line = if whole_file { 0 } else { line };
            for index in 0..list.len() {
                let text = &source.text()[list[index].range()];
                let code = Code::find(text);
                let lint = code.filter(|code| code.is_lint());
                suppressions.push(Suppression { source: id, comment, list: list.clone(), index, code, is_used: false });
                if let Some(code) = lint {
                    places.entry((id, line, code)).or_insert(suppressions.len() - 1);
                }
            }
        }
    }
    if suppressions.is_empty() && broken.is_empty() {
        return found;
    }
    let mut kept = Vec::new();
    let mut keep = |diagnostic: Diagnostic, suppressions: &mut Vec<Suppression>| {
        let loc = diagnostic.primary.loc;
        let source = program.sources.get(loc.source);
        let (first, last) = (source.line(loc.span.start), source.line(loc.span.end.max(loc.span.start + 1) - 1));
        let by = [first, last, 0].into_iter().find_map(|line| places.get(&(loc.source, line, diagnostic.code)));
        match by {
            Some(by) => suppressions[*by].is_used = true,
            None => kept.push(diagnostic),
        }
    };
    for diagnostic in found {
        keep(diagnostic, &mut suppressions);
    }
    if selection.has(Code::UnusedSuppression) {
        let unused = suppressions.iter().filter(|one| !one.is_used && one.is_judged(selection));
        let unused: Vec<Diagnostic> = unused.map(|one| one.diagnostic(program)).collect();
        for diagnostic in unused.into_iter().chain(broken) {
            keep(diagnostic, &mut suppressions);
        }
    }
    kept
}

/// Whether a comment is a suppression of a whole file, and its codes. `None` where it is another comment; the error says how a
/// suppression is written.
#[allow(clippy::type_complexity, reason = "used once")]
fn parse(source: &Source, comment: Span) -> Option<(bool, Result<Vec<Span>, &'static str>)> {
    let text = &source.text()[comment.range()];
    let body = text.trim_start_matches('#').trim_start().strip_prefix("lbc:")?.trim_start();
    let (whole_file, rest) = match body.strip_prefix("ignore-file") {
        Some(rest) => (true, rest),
        None => (false, body.strip_prefix("ignore")?),
    };
    const HELP: &str = "it is written `# lbc: ignore[LB104] why`, or `# lbc: ignore-file[LB104] why`";
    let Some((codes, _)) = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return Some((whole_file, Err(HELP)));
    };
    let mut at = comment.start + (codes.as_ptr() as usize - text.as_ptr() as usize) as u32;
    let mut list = Vec::new();
    for code in codes.split(',') {
        let blanks = (code.len() - code.trim_start().len()) as u32;
        let start = at + blanks;
        if !code.trim().is_empty() {
            list.push(Span::new(start, start + code.trim().len() as u32));
        }
        at += code.len() as u32 + 1;
    }
    Some((whole_file, if list.is_empty() { Err(HELP) } else { Ok(list) }))
}

/// The line that each comment speaks of, counted from 1.
fn lines_of(source: &Source, comments: &[Span]) -> Vec<usize> {
    let text = source.text();
    let own: Vec<usize> = comments.iter().map(|comment| source.line(comment.start)).collect();
    let alone = |comment: &Span| starts_line(text, blanks_before(text, comment.start));
    let mut lines = own.clone();
    for index in (0..comments.len()).rev().filter(|index| alone(&comments[*index])) {
        let next = index + 1;
        let stacked = next < comments.len() && own[next] == own[index] + 1 && alone(&comments[next]);
        lines[index] = if stacked { lines[next] } else { own[index] + 1 };
    }
    lines
}

impl Suppression {
    /// Whether it is known to be of no use: the lint ran, or there is none.
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
            Some(code) => {
                (format!("there is no {} to suppress here", code.name()), "remove the suppression".to_owned())
            }
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
