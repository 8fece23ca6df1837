//! `lbc man`

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::output::print;
use super::{Exit, Failure};

/// Print a man page: `lbc man | man -l -`
#[derive(Debug, Args)]
pub struct Man {
    /// The command that the page is about [default: lbc itself]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Man {
    pub fn run(&self) -> Result<Exit, Failure> {
        let mut root = super::Args::command();
        root.build();
        let command = match &self.command {
            None => root,
            Some(name) => {
                let known = root.find_subcommand(name).cloned();
                let page = known.ok_or_else(|| Failure::new(format!("no command is named `{name}`")))?;
                let title: &'static str = Box::leak(format!("lbc-{name}").into_boxed_str());
                page.name(title).version(env!("CARGO_PKG_VERSION"))
            }
        };
        let mut text = Vec::new();
        let rendered = Page::new(command).render(&mut text);
        rendered.map_err(|error| Failure::new(format!("cannot make the page: {error}")))?;
        print(&text)?;
        Ok(Exit::Clean)
    }
}
