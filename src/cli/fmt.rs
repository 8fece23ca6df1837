//! `lbc fmt`

use std::path::Path;

use clap::Args;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::file;
use crate::source::Sources;

use super::input::{Input, read_for_format, source};
use super::output::{diff, print, replace};
use super::render::{Stream, report};
use super::{Exit, Failure, Global};

/// Rewrite files in the one canonical form; standard input goes to standard output
#[derive(Debug, Args)]
pub struct Fmt {
    #[command(flatten)]
    input: Input,
    /// Write nothing; list the files that would change, with exit code 1
    #[arg(long)]
    check: bool,
    /// Write nothing; print what would change as a patch, with exit code 1
    #[arg(long)]
    diff: bool,
}

/// One file, read and formatted.
struct Formatted {
    name: String,
    old: String,
    new: String,
}

impl Fmt {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let mut sources = Sources::default();
        let mut diagnostics = Vec::new();
        let mut exit = Exit::Clean;
        for path in self.input.files()? {
            let formatted = self.format(path.as_deref(), &mut sources, &mut diagnostics)?;
            let Some(formatted) = formatted else { continue };
            let changed = formatted.old != formatted.new;
            if self.diff && changed {
                print(diff(&formatted.name, &formatted.old, &formatted.new).as_bytes())?;
            }
            if self.check && changed {
                print(format!("would reformat {}\n", formatted.name).as_bytes())?;
            }
            let dry = self.check || self.diff;
            match &path {
                _ if dry && changed => exit = Exit::Findings,
                _ if dry => {}
                Some(path) if changed => replace(path, formatted.new.as_bytes())?,
                Some(_) => {}
                None => print(formatted.new.as_bytes())?,
            }
        }
        if !diagnostics.is_empty() {
            report(global, Stream::Err, &sources, &diagnostics)?;
            exit = Exit::Findings;
        }
        Ok(exit)
    }

    /// `None` for a file with errors, which are recorded.
    fn format(
        &self,
        path: Option<&Path>,
        sources: &mut Sources,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Option<Formatted>, Failure> {
        let (name, bytes) = read_for_format(path, &self.input.stdin_filename)?;
        let (source, error) = source(&name, path.unwrap_or(Path::new(&name)), bytes);
        let id = sources.add(source);
        if let Some((span, message, help)) = error {
            diagnostics.push(Diagnostic::error(Code::InvalidText, at(id, span), message).help(help));
            return Ok(None);
        }
        let source = sources.get(id);
        let (file, errors) = file::parse(source, id);
        if !errors.is_empty() {
            diagnostics.extend(errors);
            return Ok(None);
        }
        let new = file::format(source, &file);
        Ok(Some(Formatted { name, old: source.text().to_owned(), new }))
    }
}
