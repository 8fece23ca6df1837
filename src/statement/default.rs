//! `default OPTION ...`

use crate::diagnostic::Code;
use crate::option::{BalanceOption, Kind, format, options};
use crate::print::Printer;
use crate::syntax::{In, Parsed, SyntaxError, at_end, expected};

/// Options that every later `balance` of the file starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Default {
    pub options: Vec<BalanceOption>,
}

/// `default = "default" option { option }`, without `as`.
pub fn parse(start: In<'_>) -> Parsed<'_, Default> {
    let (i, options) = options(start, "an option or the end of the statement")?;
    if at_end(start) {
        return expected(i, "an option").fail();
    }
    if let Some(option) = options.iter().find(|option| matches!(option.kind, Kind::As(_))) {
        i.errors().record(
            SyntaxError::new(Code::ContradictoryOptions, option.span, "`as` cannot be a default")
                .help("every service needs a name of its own; write `as NAME` in the `balance` statements"),
        );
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
