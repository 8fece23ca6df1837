//! `by random | round-robin | source-hash [seed N] [buckets N]`

use crate::diagnostic::Code;
use crate::endpoint::near_keyword;
use crate::print::Printer;
use crate::source::Spanned;
use crate::syntax::{In, Parsed, SyntaxError, blank0, expect, expected, number, word};

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
    let (mut seed, mut buckets) = (None, None);
    loop {
        let (at, _) = blank0(i)?;
        let (rest, text) = match word(at) {
            Ok((rest, text)) if matches!(text.rest, "seed" | "buckets") => (rest, text),
            Ok(_) | Err(_) => break,
        };
        let (rest, _) = blank0(rest)?;
        let twice = || {
            SyntaxError::new(
                Code::RepeatedOption,
                at.span_of(text.rest.len()),
                format!("`{}` is written twice", text.rest),
            )
        };
        i = if text.rest == "seed" {
            let (rest, found) = expect(number("a seed", 0..=u64::from(u32::MAX)), "a seed (0-4294967295)")(rest)?;
            if seed.replace(found.value as u32).is_some() {
                return twice().fail();
            }
            rest
        } else {
            let (rest, found) = expect(number("7, 49 or 343 buckets", 7..=343), "7, 49 or 343")(rest)?;
            check_buckets(found)?;
            if buckets.replace(found.value as u16).is_some() {
                return twice().fail();
            }
            rest
        };
    }
    Ok((i, By::SourceHash { seed, buckets }))
}

fn check_buckets<'a>(found: Spanned<u64>) -> Result<(), nom::Err<crate::syntax::Problem>> {
    if matches!(found.value, 7 | 49 | 343) {
        return Ok(());
    }
    let error = SyntaxError::new(
        Code::InvalidNumber,
        found.span,
        format!("expected 7, 49 or 343 buckets, found `{}`", found.value),
    )
    .help("the number of buckets is a power of seven, so that one hash is read digit by digit on both targets");
    error.fail::<'a, ()>().map(|_| ())
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
