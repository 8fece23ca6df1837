//! Comma-separated lists: plain ones, and ones in braces.

use nom::combinator::map;
use nom::{Err, Parser};

use crate::keyword;
use crate::print::Printer;
use crate::source::Span;
use crate::syntax::{
    Abort, In, Parsed, Role, SyntaxError, already_reported, breaks0, comma, element_end, element_end_or, expected,
    go_on, recover, symbol, word,
};

/// How a list reads its elements.
pub struct Element<'a, F> {
    pub item: F,
    /// What the elements are, for messages.
    pub what: &'static str,
    /// Where parsing goes on after a wrong element.
    pub stop: fn(In<'a>) -> In<'a>,
}

impl<'a, T, F: FnMut(In<'a>) -> Parsed<'a, T>> Element<'a, F> {
    /// One element, or `None` where it was wrong: then its error is recorded. `comma` is the comma before it.
    pub fn parse(&mut self, i: In<'a>, comma: Option<Span>) -> Parsed<'a, Option<T>> {
        let what = self.what;
        let element = |i| (self.item)(i).map_err(|problem| element_error(i, comma, what, problem));
        // A statement's first word in a list means that the list was never finished: that is the statement's error.
        // So is a brace: nothing but the statement's end knows where it closes.
        match starts_statement(i) || i.first() == b'{' {
            true => map(element, Some).parse(i),
            false => recover(i, element, self.stop),
        }
    }
}

/// Whether the next word starts a statement.
pub fn starts_statement(i: In<'_>) -> bool {
    word(i).is_ok_and(|(_, text)| keyword::is_statement(text.rest))
}

/// The error for a wrong element: the parser's own, or that a keyword stands where the list should go on.
fn element_error(i: In<'_>, comma: Option<Span>, what: &str, problem: Abort) -> Abort {
    let own = match problem {
        Err::Failure(problem) if problem.is_recorded() => return already_reported(),
        Err::Failure(problem) => Some(Err::Failure(problem)),
        Err::Error(_) | Err::Incomplete(_) => None,
    };
    let word = word(i).ok().filter(|(rest, _)| rest.first() != b'.').map(|(_, text)| text.rest);
    let error = match word {
        Some(word) if keyword::is_statement(word) || (comma.is_some() && keyword::role(word) == Role::Part) => {
            let error = expected(i, what).message(format!("expected {what}, found the keyword `{word}`"));
            match keyword::is_option(word) || keyword::ATTRIBUTES.contains(&word) {
                true => error.help(format!("leave out the comma before `{word}`")),
                false => error,
            }
        }
        Some(_) | None if own.is_some() => return own.expect("just seen"),
        Some(_) | None => expected(i, what),
    };
    match comma {
        Some(comma) if i.first() == b',' => error.help("leave out one of the two commas").label(comma, "the first one"),
        Some(comma) => error.label(comma, "the list goes on behind this comma"),
        None => error,
    }
    .abort()
}

/// `ITEM { comma ITEM }`. Every wrong element is an error of its own.
pub fn plain<'a, T>(
    start: In<'a>,
    item: impl FnMut(In<'a>) -> Parsed<'a, T>,
    what: &'static str,
) -> Parsed<'a, Vec<T>> {
    // An option keyword ends a wrong element too, so that what follows the list is still checked.
    plain_until(start, item, what, |i| element_end_or(i, Some(keyword::is_option)))
}

/// As [`plain`]; `stop` says where parsing goes on after a wrong element.
pub fn plain_until<'a, T>(
    start: In<'a>,
    item: impl FnMut(In<'a>) -> Parsed<'a, T>,
    what: &'static str,
    stop: fn(In<'a>) -> In<'a>,
) -> Parsed<'a, Vec<T>> {
    let mut element = Element { item, what, stop };
    let mut list = Vec::new();
    let (mut i, mut before) = (start, None);
    loop {
        let (rest, parsed) = element.parse(i, before)?;
        if let Some(parsed) = parsed {
            i.push(&mut list, parsed)?;
        }
        match comma(rest) {
            Ok((next, comma)) => (i, before) = (next, Some(comma)),
            Err(_) => return Ok((rest, list)),
        }
    }
}

/// A plain list, or one in braces: there a trailing comma is allowed, and line ends are blanks.
pub fn braced_or_plain<'a, T>(
    i: In<'a>,
    item: impl FnMut(In<'a>) -> Parsed<'a, T>,
    what: &'static str,
) -> Parsed<'a, Vec<T>> {
    match i.first() {
        b'{' => braced(i, item, what),
        _ => plain(i, item, what),
    }
}

/// `"{" breaks ITEM { comma ITEM } [ "," ] breaks "}"`
pub fn braced<'a, T>(
    open: In<'a>,
    item: impl FnMut(In<'a>) -> Parsed<'a, T>,
    what: &'static str,
) -> Parsed<'a, Vec<T>> {
    let mut element = Element { item, what, stop: element_end };
    let mut list = Vec::new();
    let (i, ()) = symbol('{')(open)?;
    let (mut i, ()) = breaks0(i)?;
    let mut before = None;
    loop {
        if is_unclosed(i) {
            return unclosed(i, open, &format!("{what} or `}}`"));
        }
        let (rest, parsed) = element.parse(i, before)?;
        let wrong = parsed.is_none();
        if let Some(parsed) = parsed {
            i.push(&mut list, parsed)?;
        }
        let (rest, ()) = breaks0(rest)?;
        (i, before) = separator(rest, open, &mut element, wrong)?;
        if i.first() == b'}' {
            return Ok((i.skip(1), list));
        }
    }
}

/// A comma, if one stands here, or nothing before a `}`. What should not stand here is recorded and stepped over; behind
/// a `wrong` element, where parsing may have gone on too early, it is only stepped over.
fn separator<'a, T, F: FnMut(In<'a>) -> Parsed<'a, T>>(
    i: In<'a>,
    open: In<'a>,
    element: &mut Element<'a, F>,
    wrong: bool,
) -> Parsed<'a, Option<Span>> {
    match i.first() {
        b'}' => return Ok((i, None)),
        b',' => return comma(i).map(|(i, comma)| (i, Some(comma))),
        _ if is_unclosed(i) => return unclosed(i, open, "`,` or `}`"),
        _ => {}
    }
    let another = (element.item)(i).is_ok();
    if !wrong {
        let error = expected(i, "`,` or `}`");
        i.errors().record(match i.first() {
            _ if another => error.help("write a comma between two elements"),
            b';' => error.help("elements are separated by commas"),
            _ => error,
        });
        go_on(i)?;
    }
    let next = match i.first() {
        _ if another => i,
        b';' => i.skip(1),
        _ => element_end(i.skip_char()),
    };
    match breaks0(next)? {
        (i, ()) if i.first() == b',' => comma(i).map(|(i, comma)| (i, Some(comma))),
        (i, ()) => Ok((i, None)),
    }
}

/// Whether what stands here shows that a brace was never closed.
pub fn is_unclosed(i: In<'_>) -> bool {
    i.rest.is_empty() || i.first() == b'{' || i.rest.starts_with("->") || starts_statement(i)
}

/// The error for a list whose brace was never closed.
pub fn unclosed<'a, T>(i: In<'a>, open: In<'a>, what: &str) -> Parsed<'a, T> {
    expected(i, what).label(open.span_of(1), "the list is opened here").fail()
}

/// Elements with `, ` between them.
pub fn format_list<T>(items: &[T], p: &mut Printer<'_>, mut element: impl FnMut(&T, &mut Printer<'_>)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            p.words(", ");
        }
        element(item, p);
    }
}

/// Two list elements are one: for the error at the second.
pub fn twice(code: crate::diagnostic::Code, first: Span, second: Span, what: &str) -> SyntaxError {
    SyntaxError::new(code, second, format!("{what} is written twice")).label(first, "first written here")
}
