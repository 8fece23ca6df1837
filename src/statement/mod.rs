//! The statements: one file for one keyword, each with its struct, its parser, its canonical form and its checks.

pub mod backends;
pub mod balance;
pub mod default;
pub mod host;
pub mod include;
pub mod listen;
pub mod names;
pub mod net;
pub mod pool;

use crate::endpoint::near_keyword;
use crate::keyword::{ATTRIBUTES, PROTOCOLS, STATEMENTS, is_option};
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{In, Parsed, at_end, blank0, expected, word};

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
    /// Whether something in it was wrong, is reported, and was left out.
    pub broken: bool,
}

impl Item {
    /// What the statement takes in memory until it is compiled, its lists left out.
    pub fn bytes(&self) -> usize {
        match self.statement {
            // Measured with services of one backend.
            Statement::Balance(_) => 1024,
            Statement::Include(_)
            | Statement::Host(_)
            | Statement::Net(_)
            | Statement::Pool(_)
            | Statement::Default(_) => 2 * size_of::<Item>(),
        }
    }
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
        let (at, _) = blank0(i)?;
        return expected(at, statement.may_follow()).maybe_help(statement.misplaced(at)).fail();
    }
    Ok((i, Item { span: start.span_to(i), statement, broken: false }))
}

fn map<'a, T>((i, value): (In<'a>, T), wrap: impl FnOnce(T) -> Statement) -> (In<'a>, Statement) {
    (i, wrap(value))
}

/// The name that a statement declares for others to use, even where the rest of the statement is wrong.
pub fn declared_name(start: In<'_>) -> Option<Span> {
    let (i, keyword) = word(start).ok()?;
    if !matches!(keyword.rest, "host" | "net" | "pool") {
        return None;
    }
    let (i, _) = blank0(i).ok()?;
    let (rest, name) = word(i).ok()?;
    (!crate::keyword::is_reserved(name.rest)).then(|| i.span_to(rest))
}

fn unknown<'a, T>(i: In<'a>) -> Parsed<'a, T> {
    let error = expected(i, "a statement (`include`, `host`, `net`, `pool`, `default` or `balance`)");
    let text = word(i).map_or("", |(_, text)| text.rest);
    match (text, i.first()) {
        (word, _) if ATTRIBUTES.contains(&word) => error.help(format!("`{word}` stands on the line of its backend")),
        (word, _) if is_option(word) => {
            error.help("a statement goes on in the next line only behind `,`, `=` or `->`, or before `->`")
        }
        (word, _) if PROTOCOLS.contains(&word) => error.help(format!("write `balance {word} …`")),
        (_, b',') => error.help("the comma stands at the end of the line before"),
        (_, b'}') => error.help("no `{` is open here"),
        _ => error.maybe_help(near_keyword(i, STATEMENTS)),
    }
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

    /// The help line for what stands behind a finished statement of this kind.
    fn misplaced(&self, at: In<'_>) -> Option<String> {
        let text = word(at).map_or("", |(_, text)| text.rest);
        match (self, at.first()) {
            (Statement::Host(_), b':') => Some("a port stands where the host is used, such as `a:8080`".to_owned()),
            (Statement::Host(_), b'/') => Some("a host has addresses; a prefix is declared with `net`".to_owned()),
            (Statement::Net(_), b'-') => Some("a range of addresses is written as prefixes".to_owned()),
            (Statement::Balance(_), _) if is_option(text) => {
                Some(format!("options stand before the arrow: `balance … {text} … -> …`"))
            }
            (Statement::Balance(_) | Statement::Pool(_), b':') => Some("no blanks stand around the colon".to_owned()),
            (Statement::Balance(_) | Statement::Pool(_), _) => near_keyword(at, ATTRIBUTES),
            (Statement::Default(_), _) => at.rest.starts_with("->").then(|| "backends belong to `balance`".to_owned()),
            (Statement::Include(_) | Statement::Host(_) | Statement::Net(_), _) => None,
        }
    }
}

/// The canonical form of a statement, comments inside it included. One that is not the first of its line stands behind another, and
/// `goes_on` says that the next stands behind this one.
pub fn format(item: &Item, p: &mut Printer<'_>, is_first: bool, goes_on: bool) {
    let keep = match &item.statement {
        Statement::Host(host) => Some(host.list),
        Statement::Net(net) => Some(net.list),
        Statement::Pool(pool) => Some(pool.backends.span),
        Statement::Balance(balance) => Some(balance.backends.span),
        Statement::Include(_) | Statement::Default(_) => None,
    };
    p.is_in_row = goes_on || !is_first;
    if is_first {
        p.begin(item.span.start, "");
    }
    p.hoist(item.span, keep);
    match &item.statement {
        Statement::Include(include) => include.format(p),
        Statement::Host(host) => host.format(p),
        Statement::Net(net) => net.format(p),
        Statement::Pool(pool) => pool.format(p),
        Statement::Default(default) => default.format(p),
        Statement::Balance(balance) => balance.format(p),
    }
    match goes_on {
        true => p.words("; "),
        false => p.end(item.span.end),
    }
}
