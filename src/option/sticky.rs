//! `sticky DURATION`, and durations.

use crate::diagnostic::Code;
use crate::print::Printer;
use crate::source::{Span, Spanned};
use crate::syntax::{In, Parsed, SyntaxError, blank0, expect, not_here, shorten, token_len};

/// How long a client stays on its backend after its last new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Milliseconds, at least 1.
    pub millis: Spanned<u64>,
}

/// The longest duration, in milliseconds: 49 days, what 32 bits of them hold.
const MAX_MILLIS: u64 = u32::MAX as u64;

pub fn parse(i: In<'_>) -> Parsed<'_, Sticky> {
    let (i, _) = blank0(i)?;
    let (i, millis) = expect(duration, "a duration such as `30s`, `10m` or `1h30m`")(i)?;
    Ok((i, Sticky { millis }))
}

/// `500ms`, `30s`, `10m`, `3h`, `1d`, or sums such as `1h30m`; milliseconds.
fn duration(i: In<'_>) -> Parsed<'_, Spanned<u64>> {
    if !i.first().is_ascii_digit() {
        return not_here();
    }
    // A duration has neither dot nor colon nor dash; they are read with it for the sake of the message.
    let len = token_len(i.rest);
    let (text, span) = (&i.rest[..len], i.span_of(len));
    match millis(text) {
        Some(value @ 1..=MAX_MILLIS) => Ok((i.skip(len), Spanned { value, span })),
        Some(_) => error(span, format!("expected a duration from `1ms` to `49d`, found `{}`", shorten(text))).fail(),
        None => error(span, format!("expected a duration, found `{}`", shorten(text)))
            .help("a duration is written `500ms`, `30s`, `10m`, `3h`, `1d`, or as a sum such as `1h30m`")
            .fail(),
    }
}

fn error(span: Span, message: String) -> SyntaxError {
    SyntaxError::new(Code::InvalidNumber, span, message)
}

/// The milliseconds of a duration, at most [`u64::MAX`]; `None` for what is none. nft writes them alike.
pub fn millis(mut text: &str) -> Option<u64> {
    let mut sum = 0u64;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|&len| len > 0)?;
        let unit = text[digits..].find(|c: char| c.is_ascii_digit()).map_or(text.len(), |len| digits + len);
        let factor = match &text[digits..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        // A number too large for 64 bits is a duration all the same: it saturates and is refused as too long.
        let count: u64 = text[..digits].parse().unwrap_or(u64::MAX);
        sum = sum.saturating_add(count.saturating_mul(factor));
        text = &text[unit..];
    }
    Some(sum)
}

impl Sticky {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words(" ");
        p.source(self.millis.span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("30"), None);
        assert_eq!(millis("3w"), None);
        assert_eq!(millis("99999999999999999999d"), Some(u64::MAX));
    }
}
