//! `lbc completions`

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::output::print;
use super::{Exit, Failure};

/// Print completions for a shell
#[derive(Debug, Args)]
pub struct Completions {
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<Exit, Failure> {
        let mut text = Vec::new();
        generate(self.shell, &mut super::Args::command(), "lbc", &mut text);
        print(&text)?;
        Ok(Exit::Clean)
    }
}
