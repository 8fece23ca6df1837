//! What is found in all programs of a run, and the fixes of it, round by round until nothing changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use crate::diagnostic::{Applicability, Code, Diagnostic, Severity};
use crate::lint::select::Selector;
use crate::lint::{Settings, fix};
use crate::resolve;
use crate::source::{SourceId, Sources};

use super::Failure;
use super::check::{findings, settings};
use super::input::{Declarations, Identity, Loaded, Overlay};
use super::neighbours::{Neighbours, neighbours};
use super::project::Unit;
use super::verdict::{Verdict, asks_others, is_library};

/// Rounds after which what is left is taken to be a long chain of names, which goes as a whole.
const PATIENCE: usize = 25;
/// A file is looked at this often whatever its size, ...
const MIN_LOOKS: usize = 2_000;
/// ... and a small one more often: as often as makes this many bytes. Only files in which most fixes break something get there.
const LOOKED_AT_BYTES: usize = 1 << 28;

/// What a run is asked for.
pub struct Wishes<'a> {
    pub declarations: &'a Declarations,
    pub select: &'a [Selector],
    pub ignore: &'a [Selector],
    pub most: Applicability,
    /// The files that fixes may change.
    pub named: BTreeSet<Identity>,
    /// Whether they may change the other files of an lbc.toml's programs, too: all that use those are known.
    pub in_roots: bool,
}

/// A run over all programs, with what fixes have made of the files so far.
pub struct Run<'a> {
    wishes: Wishes<'a>,
    units: Vec<Unit>,
    pub overlay: Overlay,
    /// What standard input was.
    pub stdin: Option<String>,
    /// Fixes that would break a program as it is now.
    refused: BTreeSet<(Code, String, String)>,
    /// Whether a name is unused that only unused names use.
    is_thorough: bool,
    /// What other files say, once that was asked.
    mentioned: Option<Rc<HashSet<String>>>,
}

/// What one look at all programs finds.
pub struct Seen {
    pub sources: Sources,
    /// Where each source comes from.
    pub origins: Vec<Option<(Identity, Option<PathBuf>)>>,
    /// Whether fixes may change it.
    is_open: Vec<bool>,
    pub diagnostics: Vec<Diagnostic>,
    /// How many errors each program has.
    errors: Vec<usize>,
}

impl Seen {
    fn is_open(&self, fix: &crate::diagnostic::Fix) -> bool {
        !fix.edits.is_empty() && fix.edits.iter().all(|edit| self.is_open[edit.loc.source.0 as usize])
    }

    fn bytes(&self) -> usize {
        self.sources.ids().map(|source| self.sources.get(source).text().len()).sum()
    }
}

impl<'a> Run<'a> {
    pub fn new(wishes: Wishes<'a>, mut units: Vec<Unit>, overlay: Overlay) -> Run<'a> {
        // A file that several share goes by the name that it has in a program of which something is told.
        units.sort_by_key(|unit| unit.is_context);
        Run { wishes, units, overlay, stdin: None, refused: BTreeSet::new(), is_thorough: false, mentioned: None }
    }

    /// Everything that is found in the programs.
    pub fn examine(&mut self) -> Result<Seen, Failure> {
        let (seen, asks) = self.look()?;
        if !asks || self.mentioned.is_some() {
            return Ok(seen);
        }
        let lone = self.units.iter().any(|unit| !unit.is_root);
        let files = seen.origins.iter().flatten().filter(|_| lone);
        let read = files.filter_map(|(identity, path)| Some((*identity, path.clone()?)));
        let Neighbours { units, mentioned } = neighbours(&read.collect::<BTreeMap<_, _>>());
        self.units.extend(units);
        self.mentioned = Some(mentioned);
        self.look().map(|(seen, _)| seen)
    }

    /// One look at all programs, and whether something depends on what others there are that nobody named.
    fn look(&mut self) -> Result<(Seen, bool), Failure> {
        let (sources, diagnostics) = (Sources::default(), Vec::new());
        let mut seen = Seen { sources, origins: Vec::new(), is_open: Vec::new(), diagnostics, errors: Vec::new() };
        let mut verdict = Verdict::new(self.mentioned.clone().unwrap_or_default());
        let mut first: HashMap<Identity, SourceId> = HashMap::new();
        let mut asks = false;
        for index in 0..self.units.len() {
            let unit = &self.units[index];
            let loaded = unit.input.load(self.wishes.declarations, &self.overlay);
            if unit.is_context && loaded.is_err() {
                seen.errors.push(0);
                continue;
            }
            let Loaded { program, syntax, origins } = loaded?;
            self.keep_stdin(&program.sources, &origins);
            let unit = &self.units[index];
            let is_alone = !unit.is_root && is_library(&program);
            let found = match resolve::check(&program, syntax) {
                Ok(config) => {
                    let settings = settings(&unit.config, self.wishes.select, self.wishes.ignore);
                    let settings = Settings { is_thorough: self.is_thorough, ..settings };
                    findings(&unit.config, &program, &config, &settings)
                }
                Err(errors) => errors,
            };
            seen.errors.push(found.iter().filter(|one| one.severity == Severity::Error).count());
            if !is_alone {
                let files: Vec<_> = origins.iter().map(|one| one.as_ref().map(|(identity, _)| *identity)).collect();
                verdict.hear(&files, &found);
            }
            asks |= !unit.is_root && !unit.is_context && found.iter().any(asks_others);
            let own =
                seen.add(program.sources, origins, &mut first, |identity, path| self.may_change(unit, identity, path));
            if !unit.is_context {
                seen.diagnostics.extend(found.into_iter().map(|one| one.map_sources(|source| own[source.0 as usize])));
            }
        }
        let found = std::mem::take(&mut seen.diagnostics).into_iter().filter_map(|one| {
            let loc = one.primary.loc;
            let file = seen.origins[loc.source.0 as usize].as_ref().map(|(identity, _)| *identity);
            verdict.settle(file, seen.sources.text(loc), one)
        });
        let found = found.collect();
        seen.diagnostics = resolve::sort_in(&seen.sources, found);
        Ok((seen, asks))
    }

    /// Standard input can be read only once.
    fn keep_stdin(&mut self, sources: &Sources, origins: &[Option<(Identity, Option<PathBuf>)>]) {
        for (source, origin) in sources.ids().zip(origins) {
            if matches!(origin, Some((Identity::Stdin, _))) {
                let text = sources.get(source).text();
                self.stdin.get_or_insert_with(|| text.to_owned());
                self.overlay.entry(Identity::Stdin).or_insert_with(|| text.to_owned());
            }
        }
    }

    fn may_change(&self, unit: &Unit, identity: Identity, path: Option<&PathBuf>) -> bool {
        let is_below = || {
            let directory = unit.config.directory.as_ref()?.canonicalize().ok()?;
            Some(path?.canonicalize().ok()?.starts_with(directory))
        };
        self.wishes.named.contains(&identity)
            || (self.wishes.in_roots && unit.is_root && !unit.is_context && is_below() == Some(true))
    }

    /// Applies fixes until nothing changes. Returns how many.
    pub fn fix(&mut self, seen: &mut Seen) -> Result<usize, Failure> {
        let mut looks = MIN_LOOKS.max(LOOKED_AT_BYTES / seen.bytes().max(1));
        let (mut count, mut round) = (0, 0);
        // Whether anything has changed since a fix was refused.
        let mut is_worth_asking = false;
        loop {
            if round == PATIENCE {
                self.is_thorough = true;
                *seen = self.examine()?;
            }
            round += 1;
            let wanted = (0..seen.diagnostics.len()).filter(|at| self.wants(seen, *at));
            // What a suppression was for may yet come to light: they go when all else is done.
            let is_last = |at: &usize| seen.diagnostics[*at].code == Code::UnusedSuppression;
            let (last, wanted): (Vec<usize>, Vec<usize>) = wanted.partition(is_last);
            let done = match self.some(seen, &wanted, &mut looks)? {
                0 => self.some(seen, &last, &mut looks)?,
                done => done,
            };
            count += done;
            is_worth_asking |= done > 0 && !self.refused.is_empty();
            if done == 0 && !std::mem::take(&mut is_worth_asking) {
                break;
            }
            if done == 0 {
                self.refused.clear();
            }
        }
        if std::mem::take(&mut self.is_thorough) {
            *seen = self.examine()?;
        }
        Ok(count)
    }

    /// How many findings can be fixed, safely and else.
    pub fn fixable(&self, seen: &Seen) -> (usize, usize) {
        let count = |applicability| {
            let is_meant = |at: &usize| {
                let fix = seen.diagnostics[*at].fix.as_deref();
                fix.is_some_and(|fix| fix.applicability == applicability && seen.is_open(fix))
            };
            (0..seen.diagnostics.len())
                .filter(is_meant)
                .filter(|at| !self.refused.contains(&Run::key(seen, *at)))
                .count()
        };
        (count(Applicability::Safe), count(Applicability::Unsafe))
    }

    fn key(seen: &Seen, at: usize) -> (Code, String, String) {
        let one = &seen.diagnostics[at];
        (one.code, seen.sources.get(one.primary.loc.source).path.clone(), one.message.clone())
    }

    fn wants(&self, seen: &Seen, at: usize) -> bool {
        let fix = seen.diagnostics[at].fix.as_deref();
        fix.is_some_and(|fix| fix::is_allowed(fix, self.wishes.most) && seen.is_open(fix))
            && !self.refused.contains(&Run::key(seen, at))
    }

    /// Applies all of the fixes, or the first half of them that breaks nothing, down to a single one. Returns how many.
    fn some(&mut self, seen: &mut Seen, wanted: &[usize], looks: &mut usize) -> Result<usize, Failure> {
        if wanted.is_empty() || *looks == 0 {
            return Ok(0);
        }
        *looks -= 1;
        if let Some(done) = self.attempt(seen, wanted)? {
            return Ok(done);
        }
        if let [at] = wanted {
            self.refused.insert(Run::key(seen, *at));
            return Ok(0);
        }
        let (one, other) = wanted.split_at(wanted.len() / 2);
        match self.some(seen, one, looks)? {
            0 => self.some(seen, other, looks),
            done => Ok(done),
        }
    }

    /// Applies some fixes; `None` where a program would have more errors.
    fn attempt(&mut self, seen: &mut Seen, wanted: &[usize]) -> Result<Option<usize>, Failure> {
        let chosen = wanted.iter().map(|at| &seen.diagnostics[*at]);
        let round = fix::apply(&seen.sources, chosen, self.wishes.most, self.is_thorough);
        let before = self.overlay.clone();
        for (source, text) in round.texts {
            if let Some((identity, _)) = &seen.origins[source.0 as usize] {
                self.overlay.insert(*identity, text);
            }
        }
        let after = self.examine()?;
        // Programs that were found meanwhile had whatever errors they have.
        if after.errors.iter().zip(&seen.errors).any(|(after, before)| after > before) {
            self.overlay = before;
            return Ok(None);
        }
        *seen = after;
        Ok(Some(round.count))
    }
}

impl Seen {
    /// Adds the texts of a program; what each of its sources is here. Files that are here already stay what they are.
    fn add(
        &mut self,
        sources: Sources,
        origins: Vec<Option<(Identity, Option<PathBuf>)>>,
        first: &mut HashMap<Identity, SourceId>,
        may_change: impl Fn(Identity, Option<&PathBuf>) -> bool,
    ) -> Vec<SourceId> {
        let start = self.sources.append(sources);
        let mut own = Vec::with_capacity(origins.len());
        for (index, origin) in origins.into_iter().enumerate() {
            let new = SourceId(start + index as u32);
            let is_open = origin.as_ref().is_some_and(|(identity, path)| may_change(*identity, path.as_ref()));
            let old = origin.as_ref().map_or(new, |(identity, _)| *first.entry(*identity).or_insert(new));
            // A file that changes while it is read is two.
            let is_same = self.sources.get(old).text() == self.sources.get(new).text();
            own.push(if is_same { old } else { new });
            self.is_open.push(is_open);
            self.is_open[old.0 as usize] |= is_open;
            self.origins.push(origin);
        }
        own
    }
}
