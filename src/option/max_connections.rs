//! `max-connections N [per source] [else drop|reject]`

use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, blank0, expect, number};

use super::{Else, else_suffix, per_source};

/// At most so many connections at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxConnections {
    pub count: Spanned<u64>,
    pub per_source: bool,
    /// What happens to the surplus; dropped where nothing is written.
    pub otherwise: Option<Else>,
}

pub fn parse(i: In<'_>) -> Parsed<'_, MaxConnections> {
    let (i, _) = blank0(i)?;
    let (i, count) = expect(number("a number of connections", 1..=u64::from(u32::MAX)), "a number of connections")(i)?;
    let (i, per_source) = per_source(i)?;
    let (i, otherwise) = else_suffix(i)?;
    Ok((i, MaxConnections { count, per_source, otherwise }))
}

impl MaxConnections {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(&format!(" {}", self.count.value));
        p.words(if self.per_source { " per source" } else { "" });
        Else::format(self.otherwise, p);
    }
}
