//! `lbc check`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;

use crate::diagnostic::{Applicability, Diagnostic, Severity};
use crate::lint::select::{Selection, Selector};
use crate::lint::{self, Settings};
use crate::program::Program;

use super::compile::Target;
use super::config::{Config, no_ignoring};
use super::fixes::{Run, Seen, Wishes};
use super::input::{Declarations, Identity, Input, Overlay};
use super::output::{print, print_diff, replace};
use super::project::{units, whole_units};
use super::render::{Stream, report, summary};
use super::{Exit, Failure, Global};

/// Report every error and lint of the files; fix what can be fixed
#[derive(Debug, Args)]
#[command(
    after_help = "A comment `# lbc: ignore[LB104] why` at the end of a line or on the line above suppresses a finding there, \
`# lbc: ignore-file[LB104] why` in the whole file. `lbc rule LB104` explains what a code is about."
)]
pub struct Check {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    declarations: Declarations,
    /// Rewrite files: apply fixes that keep the meaning
    #[arg(long)]
    fix: bool,
    /// With --fix or --diff: apply fixes that change the meaning, too
    #[arg(long)]
    unsafe_fixes: bool,
    /// Write nothing; print what --fix would change as a patch, with exit code 1
    #[arg(long)]
    diff: bool,
    /// Without an lbc.toml, too, read the whole program whichever of its files are named: all of the git repository. For hooks
    #[arg(long)]
    project: bool,
    /// Only these lints: codes, prefixes of codes, names, or ALL [default: lbc.toml, else all]
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    select: Vec<Selector>,
    /// Not these lints
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    ignore: Vec<Selector>,
}

impl Check {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        if let Some(selector) = self.ignore.iter().find(|selector| selector.is_errors_only()) {
            return Err(Failure::new(format!("--ignore: {}", no_ignoring(selector.text()))));
        }
        if self.unsafe_fixes && !self.fix && !self.diff {
            return Err(Failure::new(
                "--unsafe-fixes does nothing by itself: add --fix, or --diff to see what it would do",
            ));
        }
        let units = match self.project {
            true => whole_units(&self.input, &self.declarations, &Overlay::new())?,
            false => units(&self.input, &self.declarations, &Overlay::new())?,
        };
        let named = self.input.files()?.filter_map(|file| Some(file.ok()?.identity)).collect();
        let wishes = Wishes {
            declarations: &self.declarations,
            select: &self.select,
            ignore: &self.ignore,
            most: if self.unsafe_fixes { Applicability::Unsafe } else { Applicability::Safe },
            named,
            in_roots: true,
        };
        let mut run = Run::new(wishes, units, Overlay::new());
        let mut seen = run.examine()?;
        let fixed = if self.fix || self.diff { run.fix(&mut seen)? } else { 0 };
        let changed = self.write(&run, &seen)?;
        let findings = !seen.diagnostics.is_empty();
        if self.diff {
            // The patch is all that is printed, unless there are errors.
            seen.diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
            report(global, Stream::Err, &seen.sources, &seen.diagnostics)?;
            return Ok(if changed || !seen.diagnostics.is_empty() { Exit::Findings } else { Exit::Clean });
        }
        let stdin_is_printed = self.fix && self.input.paths.iter().any(|path| path.as_os_str() == "-");
        let stream = if stdin_is_printed { Stream::Err } else { Stream::Out };
        report(global, stream, &seen.sources, &seen.diagnostics)?;
        summary(global, stream, fixed, run.fixable(&seen))?;
        Ok(if findings { Exit::Findings } else { Exit::Clean })
    }
}

/// What the lints of a program are told.
pub fn settings(config: &Config, select: &[Selector], ignore: &[Selector]) -> Settings {
    let selection = match select.is_empty() {
        false => Selection::new(&Selection::all(), select, ignore),
        true => {
            let select = config.select.as_deref().unwrap_or_default();
            let ignore: Vec<Selector> = config.ignore.iter().chain(ignore).cloned().collect();
            Selection::new(&Selection::all(), select, &ignore)
        }
    };
    let recent = match config.target {
        Some(Target::Nft | Target::NftJson) => false,
        Some(Target::Iptables) | None => true,
    };
    let default = Settings::default();
    let management_ports = config.management_ports.clone().unwrap_or(default.management_ports);
    Settings { selection, management_ports, recent, is_thorough: false }
}

/// What there is to say about a program without errors: what its target cannot do, and lints.
pub fn findings(
    project: &Config,
    program: &Program,
    config: &crate::ir::Config,
    settings: &Settings,
) -> Vec<Diagnostic> {
    let mut found = target_errors(config, project.target);
    let mut lints = lint::check(program, config, settings);
    let path = |one: &Diagnostic| program.sources.get(one.primary.loc.source).path.as_str();
    lints.retain(|one| !project.ignores(path(one), one.code));
    found.extend(lints);
    found
}

impl Check {
    /// Writes or prints what changed; whether anything did.
    fn write(&self, run: &Run<'_>, seen: &Seen) -> Result<bool, Failure> {
        let mut files: BTreeMap<&str, (Identity, Option<&PathBuf>)> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (source, origin) in seen.sources.ids().zip(&seen.origins) {
            if let Some((identity, path)) = origin
                && known.insert(*identity)
            {
                files.entry(&seen.sources.get(source).path).or_insert((*identity, path.as_ref()));
            }
        }
        let mut changed = false;
        for (name, (identity, path)) in files {
            let Some(new) = run.overlay.get(&identity) else { continue };
            let old = match path {
                Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
                None => run.stdin.clone().unwrap_or_default(),
            };
            changed |= old != *new;
            match (self.diff, path) {
                (true, _) if old != *new => drop(print_diff(name, &old, new)?),
                (false, Some(path)) if old != *new => replace(path, new.as_bytes())?,
                (false, None) if self.fix => print(new.as_bytes())?,
                (_, _) => {}
            }
        }
        Ok(changed)
    }
}

/// What the project's target cannot do.
fn target_errors(config: &crate::ir::Config, target: Option<Target>) -> Vec<Diagnostic> {
    use crate::target::{Options, StickyStore, iptables, nft};
    let options = Options { instance: None, sticky_store: StickyStore::Recent, ..Options::default() };
    let errors = match target {
        Some(Target::Iptables) => iptables::lower(config, &options).err(),
        Some(Target::Nft) => nft::lower(config, &options, nft::Format::Text).err(),
        Some(Target::NftJson) => nft::lower(config, &options, nft::Format::Json).err(),
        None => None,
    };
    errors.unwrap_or_default()
}
