//! `limit N/UNIT [burst N] [per source] [else drop|reject]`

use crate::endpoint::near_keyword;
use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, blank0, expect, expected, keyword, number, word};

use super::{Else, else_suffix, per_source};

/// The unit of time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    pub const ALL: [Unit; 3] = [Unit::Second, Unit::Minute, Unit::Hour];

    pub fn seconds(self) -> u64 {
        match self {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
        }
    }

    /// As in a `.lb` file, and in both targets.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
        }
    }
}

/// At most so many new connections in a unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// New connections per unit, at least 1.
    pub rate: Spanned<u64>,
    pub unit: Unit,
    pub burst: Option<Spanned<u64>>,
    pub per_source: bool,
    /// What happens to the surplus; dropped where nothing is written.
    pub otherwise: Option<Else>,
}

const UNITS: &[&str] = &["second", "minute", "hour"];

pub fn parse(i: In<'_>) -> Parsed<'_, Limit> {
    let (i, _) = blank0(i)?;
    let count = 1..=u64::from(u32::MAX);
    let (i, rate) = expect(number("a number of connections", count.clone()), "a rate such as `100/second`")(i)?;
    if i.first() != b'/' {
        let help = format!("write `{}/second`, without blanks", rate.value);
        return expected(i, "`/second`, `/minute` or `/hour`").help(help).fail();
    }
    let i = i.skip(1);
    let (i, unit) = match word(i) {
        Ok((rest, text)) if text.rest == "second" => (rest, Unit::Second),
        Ok((rest, text)) if text.rest == "minute" => (rest, Unit::Minute),
        Ok((rest, text)) if text.rest == "hour" => (rest, Unit::Hour),
        Ok(_) | Err(_) => {
            return expected(i, "`second`, `minute` or `hour`").maybe_help(near_keyword(i, UNITS)).fail();
        }
    };
    let (at, _) = blank0(i)?;
    let (i, burst) = match keyword("burst")(at) {
        Ok((rest, _)) => {
            let (rest, _) = blank0(rest)?;
            let (rest, burst) = expect(number("a burst", count), "a number of connections")(rest)?;
            (rest, Some(burst))
        }
        Err(_) => (i, None),
    };
    let (i, per_source) = per_source(i)?;
    let (i, otherwise) = else_suffix(i)?;
    Ok((i, Limit { rate, unit, burst, per_source, otherwise }))
}

impl Limit {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(&format!(" {}/{}", self.rate.value, self.unit.name()));
        if let Some(burst) = self.burst {
            p.words(&format!(" burst {}", burst.value));
        }
        p.words(if self.per_source { " per source" } else { "" });
        Else::format(self.otherwise, p);
    }
}
