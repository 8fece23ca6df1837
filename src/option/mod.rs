//! The options of `balance`: one file for one keyword, each with its struct, its parser and its canonical form.
//!
//! What an option means for a service is put together in [`crate::resolve::service`]; contradictions between options
//! are checked there, because they need two of them.

pub mod by;
pub mod from;
pub mod limit;
pub mod log;
pub mod max_connections;
pub mod on;
pub mod snat;
pub mod sticky;

use crate::diagnostic::Code;
use crate::endpoint::{near_keyword, new_name};
use crate::keyword;
use crate::list::twice;
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, at_end, blank0, element_end_or, expected, go_on, keyword as this_word, recover, word};

use by::By;
use from::From;
use limit::Limit;
use max_connections::MaxConnections;
use on::On;
use snat::Snat;
use sticky::Sticky;

/// One option with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceOption {
    pub span: Span,
    pub kind: Kind,
}

/// Every option of the language, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    As(Span),
    By(By),
    Sticky(Sticky),
    From(Box<From>),
    On(Box<On>),
    Masquerade { hairpin: bool },
    Snat(Snat),
    Output,
    Accept,
    Limit(Limit),
    MaxConnections(MaxConnections),
    Counter,
    Log(Option<Span>),
}

impl Kind {
    /// The keyword that starts the option.
    pub fn keyword(&self) -> &'static str {
        match self {
            Kind::As(_) => "as",
            Kind::By(_) => "by",
            Kind::Sticky(_) => "sticky",
            Kind::From(_) => "from",
            Kind::On(_) => "on",
            Kind::Masquerade { .. } => "masquerade",
            Kind::Snat(_) => "snat",
            Kind::Output => "output",
            Kind::Accept => "accept",
            Kind::Limit(_) => "limit",
            Kind::MaxConnections(_) => "max-connections",
            Kind::Counter => "counter",
            Kind::Log(_) => "log",
        }
    }
}

/// What happens to what an option keeps out: `else drop` or `else reject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Else {
    Drop,
    Reject,
}

/// `{ option }` up to the arrow or, in `default`, the end of the statement.
///
/// `what` is what may stand in the place of an option, for messages. What is no option is recorded and stepped over.
pub fn options<'a>(mut i: In<'a>, what: &'static str) -> Parsed<'a, Vec<BalanceOption>> {
    let mut list: Vec<BalanceOption> = Vec::new();
    loop {
        let (at, _) = blank0(i)?;
        if at_end(at) || at.rest.starts_with("->") {
            return Ok((at, list));
        }
        let (rest, parsed) = match word(at) {
            Ok((rest, text)) if keyword::OPTIONS.contains(&text.rest) => recover(at, option, |_| next_option(rest))?,
            Ok(_) | Err(_) => recover(at, |i| no_option(i, what), |i| next_option(i.skip_char()))?,
        };
        i = rest;
        let Some(parsed) = parsed else { continue };
        match list.iter().find(|earlier| earlier.kind.keyword() == parsed.kind.keyword()) {
            Some(earlier) => at.errors().record(
                twice(
                    Code::RepeatedOption,
                    earlier.span,
                    parsed.span,
                    &format!("the option `{}`", parsed.kind.keyword()),
                )
                .help("each option stands at most once; leave one of them out"),
            ),
            None => at.push(&mut list, parsed)?,
        }
        go_on(at)?;
    }
}

/// The error for what stands in the place of an option.
fn no_option<'a, T>(i: In<'a>, what: &str) -> Parsed<'a, T> {
    // A comma is what was just found not to go on a list.
    let what = if i.first() == b',' { what.trim_start_matches("`,`, ") } else { what };
    let error = expected(i, what);
    let text = word(i).map_or("", |(_, text)| text.rest);
    match text {
        "else" => {
            error.help("`else drop` and `else reject` stand directly behind `from`, `limit` or `max-connections`")
        }
        "hairpin" => error.help("write `masquerade hairpin`"),
        "random" | "round-robin" | "source-hash" => error.help(format!("write `by {text}`")),
        "seed" | "buckets" => error.help(format!("`{text}` belongs to `by source-hash`")),
        "burst" => error.help("`burst N` stands directly behind the rate: `limit 100/second burst 20`"),
        "per" => error.help("`per source` stands behind the number of `limit` or `max-connections`"),
        "weight" | "backup" => error.help(format!("`{text}` stands behind a backend, after the arrow")),
        _ => match i.first() {
            b',' => error.help("options are separated by blanks"),
            b'=' | b'>' | b':' if !i.rest.starts_with("=>") => error.help("backends stand behind `->`"),
            _ if word(i).is_ok_and(|(rest, _)| rest.first() == b':') => error.help("backends stand behind `->`"),
            _ => error.maybe_help(near_keyword(i, keyword::OPTIONS)),
        },
    }
    .fail()
}

/// The next option keyword, arrow or end of the statement on this line: where parsing goes on after a wrong option.
fn next_option(mut i: In<'_>) -> In<'_> {
    loop {
        i = element_end_or(i, Some(|word| word.len() > 1 && keyword::OPTIONS.contains(&word)));
        match i.first() {
            b',' | b'}' => i = i.skip(1),
            _ => return i,
        }
    }
}

fn option(start: In<'_>) -> Parsed<'_, BalanceOption> {
    let (i, text) = word(start)?;
    let (i, kind) = match text.rest {
        "as" => {
            let (i, _) = blank0(i)?;
            let (i, name) = new_name(i)?;
            (i, Kind::As(name))
        }
        "by" => boxed(by::parse(i)?, Kind::By),
        "sticky" => boxed(sticky::parse(i)?, Kind::Sticky),
        "from" => boxed(from::parse(i)?, |from| Kind::From(Box::new(from))),
        "on" => boxed(on::parse(i)?, |on| Kind::On(Box::new(on))),
        "masquerade" => {
            let (at, _) = blank0(i)?;
            match this_word("hairpin")(at) {
                Ok((i, _)) => (i, Kind::Masquerade { hairpin: true }),
                Err(_) => (i, Kind::Masquerade { hairpin: false }),
            }
        }
        "snat" => boxed(snat::parse(i)?, Kind::Snat),
        "output" => (i, Kind::Output),
        "accept" => (i, Kind::Accept),
        "limit" => boxed(limit::parse(i)?, Kind::Limit),
        "max-connections" => boxed(max_connections::parse(i)?, Kind::MaxConnections),
        "counter" => (i, Kind::Counter),
        "log" => boxed(log::parse(i)?, Kind::Log),
        _ => return expected(start, "an option").fail(),
    };
    Ok((i, BalanceOption { span: start.span_to(i), kind }))
}

fn boxed<'a, T>((i, value): (In<'a>, T), wrap: impl FnOnce(T) -> Kind) -> (In<'a>, Kind) {
    (i, wrap(value))
}

/// `else drop` or `else reject`, where it stands.
pub fn else_suffix(i: In<'_>) -> Parsed<'_, Option<Else>> {
    let (at, _) = blank0(i)?;
    let Ok((at, _)) = this_word("else")(at) else { return Ok((i, None)) };
    let (at, _) = blank0(at)?;
    for (text, action) in [("drop", Else::Drop), ("reject", Else::Reject)] {
        if let Ok((rest, _)) = this_word(text)(at) {
            return Ok((rest, Some(action)));
        }
    }
    expected(at, "`drop` or `reject`").maybe_help(near_keyword(at, &["drop", "reject"])).fail()
}

/// `per source`, where it stands.
pub fn per_source(i: In<'_>) -> Parsed<'_, bool> {
    let (at, _) = blank0(i)?;
    let Ok((at, _)) = this_word("per")(at) else { return Ok((i, false)) };
    let (at, _) = blank0(at)?;
    match this_word("source")(at) {
        Ok((rest, _)) => Ok((rest, true)),
        Err(_) => expected(at, "`source`").maybe_help(near_keyword(at, &["source"])).fail(),
    }
}

impl Else {
    fn format(this: Option<Else>, p: &mut Printer<'_>) {
        match this {
            Some(Else::Drop) => p.words(" else drop"),
            Some(Else::Reject) => p.words(" else reject"),
            None => {}
        }
    }
}

/// The canonical form of an option.
pub fn format(option: &BalanceOption, p: &mut Printer<'_>) {
    p.words(option.kind.keyword());
    match &option.kind {
        Kind::As(name) => {
            p.words(" ");
            p.source(*name);
        }
        Kind::By(by) => by.format(p),
        Kind::Sticky(sticky) => sticky.format(p),
        Kind::From(from) => from.format(p),
        Kind::On(on) => on.format(p),
        Kind::Masquerade { hairpin: true } => p.words(" hairpin"),
        Kind::Masquerade { hairpin: false } | Kind::Output | Kind::Accept | Kind::Counter | Kind::Log(None) => {}
        Kind::Snat(snat) => snat.format(p),
        Kind::Limit(limit) => limit.format(p),
        Kind::MaxConnections(max) => max.format(p),
        Kind::Log(Some(prefix)) => {
            p.words(" \"");
            p.source(*prefix);
            p.words("\"");
        }
    }
}
