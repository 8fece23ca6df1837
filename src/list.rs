//! Comma-separated lists: plain ones, and ones in braces.

use nom::Parser;

use crate::keyword;
use crate::print::Printer;
use crate::syntax::{
    In, Parsed, Problem, blank0, breaks0, comma, element_end, expect, expected, recover, symbol, word,
};

/// `ITEM { , ITEM }`. Every wrong element is an error of its own.
pub fn plain<'a, T>(
    start: In<'a>,
    mut item: impl Parser<In<'a>, Output = T, Error = Problem>,
    what: &'static str,
) -> Parsed<'a, Vec<T>> {
    let mut list = Vec::new();
    let mut i = start;
    loop {
        let mut element = expect(|i| item.parse(i), what);
        // A statement's first word in a list means that the list was never finished: that is the statement's error.
        let unfinished = word(i).is_ok_and(|(_, text)| keyword::is_statement(text.rest));
        let (rest, parsed) = match unfinished {
            true => element(i).map(|(rest, parsed)| (rest, Some(parsed)))?,
            false => recover(i, element, |from| element_stop(from.skip_char()))?,
        };
        list.extend(parsed);
        match comma(rest) {
            Ok((next, ())) => i = next,
            Err(_) => return Ok((rest, list)),
        }
    }
}

/// Where a list goes on after a wrong element: its comma, or what ends the list.
///
/// An option keyword on the way ends it too, so that what follows the list is still checked.
fn element_stop(mut i: In<'_>) -> In<'_> {
    let end = element_end(i);
    while i.offset < end.offset {
        if let Ok((rest, text)) = word(i) {
            if keyword::OPTIONS.contains(&text.rest) || text.rest == "else" {
                return i;
            }
            i = rest;
        } else {
            i = i.skip_char();
        }
    }
    end
}

/// A plain list, or one in braces: there a trailing comma is allowed, and line ends are blanks.
pub fn braced_or_plain<'a, T>(
    i: In<'a>,
    item: impl Parser<In<'a>, Output = T, Error = Problem>,
    what: &'static str,
) -> Parsed<'a, Vec<T>> {
    match i.first() {
        b'{' => braced(i, item, what),
        _ => plain(i, item, what),
    }
}

/// `{ ITEM { , ITEM } [ , ] }`
pub fn braced<'a, T>(
    open: In<'a>,
    mut item: impl Parser<In<'a>, Output = T, Error = Problem>,
    what: &'static str,
) -> Parsed<'a, Vec<T>> {
    let (i, ()) = symbol('{')(open)?;
    let mut list = Vec::new();
    let (mut i, ()) = breaks0(i)?;
    loop {
        if i.first() == b'}' && !list.is_empty() {
            return Ok((i.skip(1), list));
        }
        let (rest, element) = expect(|i| item.parse(i), what)(i)?;
        list.push(element);
        let (rest, ()) = breaks0(rest)?;
        match comma(rest) {
            Ok((next, ())) => i = next,
            Err(_) if rest.first() == b'}' => i = rest,
            Err(_) => return expected(rest, "`,` or `}`").label(open.span_of(1), "the list is opened here").fail(),
        }
        let (next, _) = blank0(i)?;
        i = next;
    }
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
