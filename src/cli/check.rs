//! `lbc check`

use clap::Args;

use crate::resolve::{resolve, sort};

use super::input::{Declarations, Input};
use super::render::{Stream, report};
use super::{Exit, Failure, Global};

/// Report every error of the files, and write nothing
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    declarations: Declarations,
}

impl Check {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let (program, mut diagnostics) = self.input.program(&self.declarations)?;
        if let Err(errors) = resolve(&program) {
            diagnostics.extend(errors);
        }
        let diagnostics = sort(&program, diagnostics);
        report(global, Stream::Out, &program.sources, &diagnostics)?;
        Ok(if diagnostics.is_empty() { Exit::Clean } else { Exit::Findings })
    }
}
