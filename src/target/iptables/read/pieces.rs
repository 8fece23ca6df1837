//! A text in pieces: plain rules of one chain that follow each other, and every other line.
//!
//! What is plain needs nothing that stands before it, so that parts of a text are cut at the same time.

use crate::target::iptables::dump::Rule;
use crate::target::iptables::restore::Families;

use super::plain::{Before, Plain, plain};

/// What is read at once.
pub enum Piece<'t> {
    Line(&'t str),
    Rules(Stretch<'t>),
}

/// Rules for the end of one chain, one a line.
pub struct Stretch<'t> {
    pub chain: &'t str,
    pub rules: Vec<Rule<'t>>,
    /// Of those that lead to a chain: which, its name, and whether they stay there.
    pub aims: Vec<(usize, &'t str, bool)>,
}

/// Cuts a text whose first line has a number.
pub fn pieces(text: &str, families: Families, first: u32) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut open: Option<Stretch<'_>> = None;
    let mut before = Before::in_text(text);
    for (number, line) in (first..).zip(lines(text)) {
        let Some(Plain { chain, rule, aim }) = plain(line, families, number, before) else {
            pieces.extend(open.take().map(Piece::Rules));
            pieces.push(Piece::Line(line));
            continue;
        };
        before.rule(chain, &rule);
        let stretch = match &mut open {
            Some(stretch) if stretch.chain == chain => stretch,
            _ => {
                // Most chains of a program are as long as their neighbours.
                let length = open.as_ref().map_or(1, |stretch| stretch.rules.len().min(SOME_RULES));
                pieces.extend(open.take().map(Piece::Rules));
                open.insert(Stretch { chain, rules: Vec::with_capacity(length), aims: Vec::new() })
            }
        };
        if let Some((name, stays)) = aim {
            stretch.aims.push((stretch.rules.len(), name, stays));
        }
        stretch.rules.push(rule);
    }
    pieces.extend(open.map(Piece::Rules));
    pieces
}

/// Room that is made for the rules of a chain at once.
const SOME_RULES: usize = 64;

/// Lines without blanks around them.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        start += length + 1;
        Some(rest[..length].trim())
    })
}
