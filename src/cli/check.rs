//! `lbc check`

use clap::Args;

use crate::resolve;

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
        let (program, syntax) = self.input.program(&self.declarations)?;
        let diagnostics = resolve::check(&program, syntax).err().unwrap_or_default();
        report(global, Stream::Out, &program.sources, &diagnostics)?;
        Ok(if diagnostics.is_empty() { Exit::Clean } else { Exit::Findings })
    }
}
