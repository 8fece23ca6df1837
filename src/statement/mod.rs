//! The statements: one file for one keyword, each with its struct, its parser, its canonical form and its checks.

pub mod backends;
pub mod balance;
pub mod default;
pub mod host;
pub mod include;
pub mod listen;
pub mod net;
pub mod pool;

use crate::endpoint::near_keyword;
use crate::keyword::STATEMENTS;
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, at_end, expected, word};

/// One statement of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Include(include::Include),
    Host(host::Host),
    Net(net::Net),
    Pool(Box<pool::Pool>),
    Default(Box<default::Default>),
    Balance(Box<balance::Balance>),
}

/// A statement with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub span: Span,
    pub statement: Statement,
}

/// `statement`, up to but not including what ends it.
pub fn statement(start: In<'_>) -> Parsed<'_, Item> {
    let keyword = word(start);
    let (i, statement) = match keyword {
        Ok((i, text)) => match text.rest {
            "balance" => map(balance::parse(i)?, |it| Statement::Balance(Box::new(it))),
            "host" => map(host::parse(i)?, Statement::Host),
            "pool" => map(pool::parse(i)?, |it| Statement::Pool(Box::new(it))),
            "net" => map(net::parse(i)?, Statement::Net),
            "include" => map(include::parse(i)?, Statement::Include),
            "default" => map(default::parse(i)?, |it| Statement::Default(Box::new(it))),
            _ => return unknown(start),
        },
        Err(_) => return unknown(start),
    };
    if !at_end(i) {
        let at = crate::syntax::blank0(i)?.0;
        return expected(at, statement.may_follow()).maybe_help(statement.near(at)).fail();
    }
    Ok((i, Item { span: start.span_to(i), statement }))
}

fn map<'a, T>((i, value): (In<'a>, T), wrap: impl FnOnce(T) -> Statement) -> (In<'a>, Statement) {
    (i, wrap(value))
}

fn unknown<'a, T>(i: In<'a>) -> Parsed<'a, T> {
    expected(i, "a statement (`include`, `host`, `net`, `pool`, `default` or `balance`)")
        .maybe_help(near_keyword(i, STATEMENTS))
        .fail()
}

impl Statement {
    /// What may stand behind a finished statement of this kind, for messages.
    fn may_follow(&self) -> &'static str {
        match self {
            Statement::Include(_) => "the end of the statement",
            Statement::Host(_) | Statement::Net(_) => "`,` or the end of the statement",
            Statement::Pool(pool) => pool.backends.may_follow(),
            Statement::Balance(balance) => balance.backends.may_follow(),
            Statement::Default(_) => "an option or the end of the statement",
        }
    }

    fn near(&self, at: In<'_>) -> Option<String> {
        let words = match self {
            Statement::Pool(_) | Statement::Balance(_) => crate::keyword::ATTRIBUTES,
            Statement::Default(_) => crate::keyword::OPTIONS,
            Statement::Include(_) | Statement::Host(_) | Statement::Net(_) => return None,
        };
        let misplaced = || {
            let (_, text) = word(at).ok()?;
            let balance = matches!(self, Statement::Balance(_));
            (balance && crate::keyword::OPTIONS.contains(&text.rest))
                .then(|| format!("options stand before the arrow: `balance … {} … -> …`", text.rest))
        };
        near_keyword(at, words).or_else(misplaced)
    }
}

/// The canonical form of a statement, comments inside it included.
pub fn format(item: &Item, p: &mut Printer<'_>) {
    let keep = match &item.statement {
        Statement::Host(host) => Some(host.list),
        Statement::Net(net) => Some(net.list),
        Statement::Pool(pool) => Some(pool.backends.span),
        Statement::Balance(balance) => Some(balance.backends.span),
        Statement::Include(_) | Statement::Default(_) => None,
    };
    p.begin(item.span.start, "");
    p.hoist(item.span, keep);
    match &item.statement {
        Statement::Include(include) => include.format(p),
        Statement::Host(host) => host.format(p),
        Statement::Net(net) => net.format(p),
        Statement::Pool(pool) => pool.format(p),
        Statement::Default(default) => default.format(p),
        Statement::Balance(balance) => balance.format(p),
    }
    p.end(item.span.end);
}
