//! `default OPTION ...`

use crate::diagnostic::Code;
use crate::endpoint::near_keyword;
use crate::keyword;
use crate::option::{BalanceOption, Kind, format, options};
use crate::print::Printer;
use crate::syntax::{In, Parsed, SyntaxError, at_end, expected};

/// Options that every later `balance` of the file starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Default {
    pub options: Vec<BalanceOption>,
}

pub fn parse(start: In<'_>) -> Parsed<'_, Default> {
    let (i, options) = options(start)?;
    if !at_end(i) || i.offset == start.offset || at_end(start) {
        return expected(i, "an option or the end of the statement")
            .maybe_help(near_keyword(i, keyword::OPTIONS))
            .fail();
    }
    if let Some(option) = options.iter().find(|option| matches!(option.kind, Kind::As(_))) {
        return SyntaxError::new(Code::ContradictoryOptions, option.span, "`as` cannot be a default")
            .help("every service needs a name of its own; write `as NAME` in the `balance` statements")
            .fail();
    }
    Ok((i, Default { options }))
}

impl Default {
    pub fn format(&self, p: &mut Printer<'_>) {
        p.words("default");
        for option in &self.options {
            p.words(" ");
            format(option, p);
        }
    }
}
