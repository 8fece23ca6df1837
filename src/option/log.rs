//! `log ["PREFIX"]`

use crate::diagnostic::Code;
use crate::source::Span;
use crate::syntax::{In, Parsed, SyntaxError, blank0, kept, string};

/// The longest prefix in bytes: xt_LOG cuts a longer one in silence.
pub const MAX_PREFIX_BYTES: u32 = 29;

/// `log = "log" [ PREFIX ]`
pub fn parse(i: In<'_>) -> Parsed<'_, Option<Span>> {
    let (at, _) = blank0(i)?;
    if at.first() != b'"' {
        return Ok((i, None));
    }
    let (rest, prefix) = string(at)?;
    let text = &at.rest[(prefix.start - at.offset) as usize..(prefix.end - at.offset) as usize];
    if prefix.end - prefix.start > MAX_PREFIX_BYTES {
        return SyntaxError::new(
            Code::TargetLimit,
            prefix,
            format!("a log prefix of {} bytes; {MAX_PREFIX_BYTES} are the most", prefix.end - prefix.start),
        )
        .help(format!("the kernel would cut it in silence: write `log \"{}\"`", kept(text, MAX_PREFIX_BYTES as usize)))
        .fail();
    }
    Ok((rest, Some(prefix)))
}
