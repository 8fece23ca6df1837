//! `by random | round-robin | source-hash [seed N] [buckets N]`

use crate::diagnostic::Code;
use crate::endpoint::near_keyword;
use crate::list::twice;
use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, SyntaxError, blank0, digits, expect, expected, number, shorten, word};

/// How a new connection picks its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Random,
    RoundRobin,
    SourceHash {
        /// Any 32-bit number; 0 where none is written.
        seed: Option<u32>,
        /// 7, 49 or 343; 49 where none is written.
        buckets: Option<u16>,
    },
}

/// `by`
pub fn parse(i: In<'_>) -> Parsed<'_, By> {
    const WORDS: &[&str] = &["random", "round-robin", "source-hash"];
    let (at, _) = blank0(i)?;
    match word(at) {
        Ok((i, text)) if text.rest == "random" => Ok((i, By::Random)),
        Ok((i, text)) if text.rest == "round-robin" => Ok((i, By::RoundRobin)),
        Ok((i, text)) if text.rest == "source-hash" => source_hash(i),
        Ok(_) | Err(_) => {
            expected(at, "`random`, `round-robin` or `source-hash`").maybe_help(near_keyword(at, WORDS)).fail()
        }
    }
}

fn source_hash(mut i: In<'_>) -> Parsed<'_, By> {
    let (mut seed, mut buckets) = (None::<Spanned<u64>>, None::<Spanned<u64>>);
    loop {
        let (at, _) = blank0(i)?;
        let (rest, text) = match word(at) {
            Ok((rest, text)) if matches!(text.rest, "seed" | "buckets") => (rest, text),
            Ok(_) | Err(_) => break,
        };
        let (rest, _) = blank0(rest)?;
        let first = if text.rest == "seed" {
            let (rest, found) = expect(number("a seed", 0..=u64::from(u32::MAX)), "a seed (0-4294967295)")(rest)?;
            i = rest;
            seed.replace(found).map(|first| first.span)
        } else {
            let (rest, found) = bucket_count(rest)?;
            i = rest;
            buckets.replace(found).map(|first| first.span)
        };
        if let Some(first) = first {
            return twice(Code::RepeatedOption, first, at.span_to(i), &format!("`{}`", text.rest)).fail();
        }
    }
    let (seed, buckets) = (seed.map(|it| it.value as u32), buckets.map(|it| it.value as u16));
    Ok((i, By::SourceHash { seed, buckets }))
}

fn bucket_count(i: In<'_>) -> Parsed<'_, Spanned<u64>> {
    const WHAT: &str = "a number of buckets (7, 49 or 343)";
    let (rest, digits) = expect(|i| digits(i, WHAT), WHAT)(i)?;
    let span = i.span_to(rest);
    match digits.rest.parse() {
        Ok(value @ (7 | 49 | 343)) => Ok((rest, Spanned { value, span })),
        Ok(_) | Err(_) => {
            SyntaxError::new(Code::InvalidNumber, span, format!("expected {WHAT}, found `{}`", shorten(digits.rest)))
                .help("buckets are a power of seven, so that both targets read one hash digit by digit")
                .fail()
        }
    }
}

impl By {
    pub fn format(&self, p: &mut Printer<'_>) {
        match self {
            By::Random => p.words(" random"),
            By::RoundRobin => p.words(" round-robin"),
            By::SourceHash { seed, buckets } => {
                p.words(" source-hash");
                if let Some(seed) = seed {
                    p.words(&format!(" seed {seed}"));
                }
                if let Some(buckets) = buckets {
                    p.words(&format!(" buckets {buckets}"));
                }
            }
        }
    }
}
