//! `lbc fmt`

use std::path::PathBuf;

use clap::Args;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::file;
use crate::source::Sources;

use super::input::{Input, Opened, source};
use super::output::{print, print_diff, replace};
use super::render::{Stream, printable, report};
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
        let mut failures = Vec::new();
        let mut exit = Exit::Clean;
        // Each file is formatted whatever becomes of the others.
        for file in self.input.files()? {
            let done = file.and_then(|file| self.file(file, &mut sources, &mut diagnostics));
            match done {
                Ok(true) => exit = Exit::Findings,
                Ok(false) => {}
                Err(failure) => failures.extend(failure.messages),
            }
        }
        report(global, Stream::Err, &sources, &diagnostics)?;
        Failure::check(failures)?;
        Ok(if diagnostics.is_empty() { exit } else { Exit::Findings })
    }

    /// Formats a file; `true` where it would change and was not to be written.
    fn file(&self, file: Opened, sources: &mut Sources, diagnostics: &mut Vec<Diagnostic>) -> Result<bool, Failure> {
        let path = file.path.clone();
        let Some(formatted) = self.format(file, sources, diagnostics)? else { return Ok(false) };
        let changed = formatted.old != formatted.new;
        if self.check || self.diff {
            if self.diff && changed {
                print_diff(&formatted.name, &formatted.old, &formatted.new)?;
            }
            if self.check && changed {
                print(format!("would reformat {}\n", printable(&formatted.name)).as_bytes())?;
            }
            return Ok(changed);
        }
        match path {
            Some(path) if changed => replace(&path, formatted.new.as_bytes())?,
            Some(_) => {}
            None => print(formatted.new.as_bytes())?,
        }
        Ok(false)
    }

    /// `None` for a file with errors, which are recorded.
    fn format(
        &self,
        opened: Opened,
        sources: &mut Sources,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Option<Formatted>, Failure> {
        let name = opened.name.clone();
        let path = opened.path.clone().unwrap_or_else(|| PathBuf::from(&name));
        let (source, error) = source(&name, &path, opened.bytes()?);
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
