//! `lbc check`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use clap::Args;

use crate::diagnostic::{Applicability, Code, Diagnostic, Severity};
use crate::lint::select::{Selection, Selector};
use crate::lint::{self, Settings, fix};
use crate::program::Program;
use crate::resolve;
use crate::source::Sources;

use super::compile::Target;
use super::config::{Config, no_ignoring};
use super::input::{Declarations, Identity, Input, Loaded, Overlay};
use super::output::{print, print_diff, replace};
use super::project::{Unit, units};
use super::render::{Stream, report, summary};
use super::{Exit, Failure, Global};

/// Report every error and lint of the files; fix what can be fixed
#[derive(Debug, Args)]
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
    /// Only these lints: codes, prefixes of codes, names, or ALL [default: lbc.toml, else all]
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    select: Vec<Selector>,
    /// Not these lints
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    ignore: Vec<Selector>,
}

/// Rounds of fixes: what one round uncovers is fixed in the next.
const MAX_ROUNDS: usize = 25;
/// Fixes that are tried by themselves after a round that broke the program.
const MAX_SINGLES: usize = 100;

impl Check {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        if let Some(selector) = self.ignore.iter().find(|selector| selector.is_errors_only()) {
            return Err(Failure::new(format!("--ignore: {}", no_ignoring(selector.text()))));
        }
        let units = units(&self.input, &self.declarations, &Overlay::new())?;
        let mut run = Run { check: self, units, overlay: Overlay::new(), stdin: None, refused: BTreeSet::new() };
        let mut seen = run.examine()?;
        let fixed = if self.fix || self.diff { run.fix(&mut seen)? } else { 0 };
        let changed = run.write(&seen)?;
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
        summary(global, stream, fixed, seen.fixable(self.most()))?;
        Ok(if findings { Exit::Findings } else { Exit::Clean })
    }

    /// The fixes that are asked for.
    fn most(&self) -> Applicability {
        if self.unsafe_fixes { Applicability::Unsafe } else { Applicability::Safe }
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
    Settings { selection, management_ports, recent }
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

/// A run over all programs, with what fixes have made of the files so far.
struct Run<'a> {
    check: &'a Check,
    units: Vec<Unit>,
    overlay: Overlay,
    /// What standard input was.
    stdin: Option<String>,
    /// Fixes that would break a program.
    refused: BTreeSet<(Code, String, String)>,
}

/// What one look at all programs finds.
struct Seen {
    sources: Sources,
    /// Where each source comes from.
    origins: Vec<Option<(Identity, Option<PathBuf>)>>,
    diagnostics: Vec<Diagnostic>,
}

impl Seen {
    fn fixable(&self, most: Applicability) -> usize {
        let fixes = self.diagnostics.iter().filter_map(|diagnostic| diagnostic.fix.as_deref());
        fixes.filter(|fix| fix::is_allowed(fix, most)).count()
    }

    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }
}

impl Run<'_> {
    fn examine(&mut self) -> Result<Seen, Failure> {
        let mut seen = Seen { sources: Sources::default(), origins: Vec::new(), diagnostics: Vec::new() };
        // How many programs each file is part of, and how many of them have each finding.
        let mut parts: HashMap<Identity, usize> = HashMap::new();
        for unit in &self.units {
            let Loaded { program, syntax, origins } = unit.input.load(&self.check.declarations, &self.overlay)?;
            for (source, (identity, _)) in origins.iter().enumerate().filter_map(|(at, one)| Some((at, one.as_ref()?)))
            {
                *parts.entry(*identity).or_default() += 1;
                if *identity == Identity::Stdin {
                    // It can be read only once.
                    let text = program.sources.get(crate::source::SourceId(source as u32)).text().to_owned();
                    self.stdin.get_or_insert_with(|| text.clone());
                    self.overlay.entry(Identity::Stdin).or_insert(text);
                }
            }
            let found = match resolve::check(&program, syntax) {
                Ok(config) => {
                    let settings = settings(&unit.config, &self.check.select, &self.check.ignore);
                    findings(&unit.config, &program, &config, &settings)
                }
                Err(errors) => errors,
            };
            let first = seen.sources.append(program.sources);
            seen.origins.extend(origins);
            seen.diagnostics.extend(found.into_iter().map(|one| one.renumber(first)));
        }
        if self.units.len() > 1 {
            used_elsewhere(&mut seen, &parts);
        }
        seen.diagnostics = resolve::sort_in(&seen.sources, std::mem::take(&mut seen.diagnostics));
        Ok(seen)
    }

    /// Applies fixes until nothing changes. Returns how many.
    fn fix(&mut self, seen: &mut Seen) -> Result<usize, Failure> {
        let mut count = 0;
        for _ in 0..MAX_ROUNDS {
            let wanted: Vec<usize> = (0..seen.diagnostics.len()).filter(|at| self.wants(seen, *at)).collect();
            let round = self.attempt(seen, &wanted)?;
            let round = match round {
                None if wanted.is_empty() => break,
                None => self.singles(seen, &wanted)?,
                Some(done) => done,
            };
            if round == 0 {
                break;
            }
            count += round;
        }
        Ok(count)
    }

    fn key(seen: &Seen, at: usize) -> (Code, String, String) {
        let one = &seen.diagnostics[at];
        (one.code, seen.sources.get(one.primary.loc.source).path.clone(), one.message.clone())
    }

    fn wants(&self, seen: &Seen, at: usize) -> bool {
        let fix = seen.diagnostics[at].fix.as_deref();
        fix.is_some_and(|fix| fix::is_allowed(fix, self.check.most())) && !self.refused.contains(&Run::key(seen, at))
    }

    /// Applies the fixes of some findings; `None` where there are none, or where the programs would have more errors.
    fn attempt(&mut self, seen: &mut Seen, wanted: &[usize]) -> Result<Option<usize>, Failure> {
        let chosen = wanted.iter().map(|at| &seen.diagnostics[*at]);
        let round = fix::apply(&seen.sources, chosen, self.check.most());
        if round.count == 0 {
            return Ok(None);
        }
        let before = self.overlay.clone();
        let mut taken = BTreeSet::new();
        for (source, text) in round.texts {
            // A file that several programs share is changed for one of them at a time.
            if let Some((identity, _)) = &seen.origins[source.0 as usize]
                && taken.insert(*identity)
            {
                self.overlay.insert(*identity, text);
            }
        }
        let after = self.examine()?;
        if after.errors() > seen.errors() {
            self.overlay = before;
            return Ok(None);
        }
        *seen = after;
        Ok(Some(round.count))
    }

    /// Tries the fixes of some findings one at a time, up to the first that breaks nothing.
    fn singles(&mut self, seen: &mut Seen, wanted: &[usize]) -> Result<usize, Failure> {
        for at in wanted.iter().take(MAX_SINGLES) {
            let key = Run::key(seen, *at);
            if let Some(count) = self.attempt(seen, &[*at])? {
                return Ok(count);
            }
            self.refused.insert(key);
        }
        Ok(0)
    }

    /// Writes or prints what changed; whether anything did.
    fn write(&self, seen: &Seen) -> Result<bool, Failure> {
        let mut files: BTreeMap<&str, (Identity, Option<&PathBuf>)> = BTreeMap::new();
        for (source, origin) in seen.sources.ids().zip(&seen.origins) {
            if let Some((identity, path)) = origin {
                files.entry(&seen.sources.get(source).path).or_insert((*identity, path.as_ref()));
            }
        }
        let mut changed = false;
        for (name, (identity, path)) in files {
            let Some(new) = self.overlay.get(&identity) else { continue };
            let old = match path {
                Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
                None => self.stdin.clone().unwrap_or_default(),
            };
            changed |= old != *new;
            match (self.check.diff, path) {
                (true, _) if old != *new => drop(print_diff(name, &old, new)?),
                (false, Some(path)) if old != *new => replace(path, new.as_bytes())?,
                (false, None) if self.check.fix => print(new.as_bytes())?,
                (_, _) => {}
            }
        }
        Ok(changed)
    }
}

/// What is unused in one program and used in another that shares the file is used.
fn used_elsewhere(seen: &mut Seen, parts: &HashMap<Identity, usize>) {
    let identity = |origins: &[Option<(Identity, Option<PathBuf>)>], one: &Diagnostic| {
        origins[one.primary.loc.source.0 as usize].as_ref().map(|(identity, _)| *identity)
    };
    let mut count: HashMap<(Identity, Code, crate::source::Span), usize> = HashMap::new();
    for one in &seen.diagnostics {
        if let Some(identity) = identity(&seen.origins, one) {
            *count.entry((identity, one.code, one.primary.loc.span)).or_default() += 1;
        }
    }
    let origins = std::mem::take(&mut seen.origins);
    seen.diagnostics.retain(|one| match (one.code, identity(&origins, one)) {
        (Code::UnusedName | Code::UnusedSuppression, Some(identity)) => {
            count[&(identity, one.code, one.primary.loc.span)] >= parts[&identity]
        }
        _ => true,
    });
    seen.origins = origins;
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
