//! The programs that the documents of an editor belong to, kept up to date.
//!
//! Below an lbc.toml these are its programs, read whole. Elsewhere each document is a program with what it includes, unless
//! another open document includes it. What an editor has open stands in the place of the files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use lsp_types::{TextDocumentContentChangeEvent, Uri};

use crate::diagnostic::{Applicability, Diagnostic, Severity};
use crate::resolve;
use crate::server::analysis::Analysis;
use crate::server::diagnostics::diagnostic;
use crate::server::text::{Lines, change};
use crate::server::uri;
use crate::source::SourceId;
use crate::syntax::MAX_ERRORS;

use super::Failure;
use super::check::{findings, settings};
use super::config::{Config, Configs};
use super::fixes::{Run, Wishes};
use super::input::{Declarations, Identity, Input, Loaded, Overlay, identity};
use super::neighbours::{Neighbours, neighbours};
use super::project::{Unit, units};
use super::verdict::{Verdict, asks_others, is_library};

/// A text that the editor has open.
struct Document {
    uri: Uri,
    text: String,
    lines: Lines,
    version: i32,
    /// Of its file, where there is one.
    identity: Option<Identity>,
    /// Whether the editor was told of this version.
    is_told: bool,
}

/// A program and what is known of it.
struct Unfolded {
    unit: Unit,
    /// The document that is a program by itself because it is no file.
    alone: Option<Uri>,
    analysis: Analysis,
    /// What it says by itself; what holds beside the other programs is in the analysis.
    found: Vec<Diagnostic>,
    /// The files that its sources are.
    files: Vec<Option<Identity>>,
    is_stale: bool,
}

/// All documents and their programs.
pub struct Workspace {
    declarations: Declarations,
    documents: BTreeMap<Uri, Document>,
    programs: Vec<Unfolded>,
    /// Whether it has to be asked anew which programs there are.
    is_stale: bool,
    /// What files speak of that no program holds, once that was asked.
    mentioned: Option<Rc<HashSet<String>>>,
    /// What the editor was told of each file.
    told: BTreeMap<Uri, Vec<lsp_types::Diagnostic>>,
    /// Problems with lbc.toml or the command line, not told yet.
    problems: Vec<String>,
    last_problems: Vec<String>,
}

/// What the editor is to be told of a file.
pub struct Told {
    pub uri: Uri,
    pub version: Option<i32>,
    pub diagnostics: Vec<lsp_types::Diagnostic>,
}

#[allow(clippy::mutable_key_type, reason = "the protocol's own type; only its text is compared")]
impl Workspace {
    pub fn new(declarations: Declarations) -> Workspace {
        Workspace {
            declarations,
            documents: BTreeMap::new(),
            programs: Vec::new(),
            is_stale: false,
            mentioned: None,
            told: BTreeMap::new(),
            problems: Vec::new(),
            last_problems: Vec::new(),
        }
    }

    pub fn open(&mut self, uri: Uri, version: i32, text: String) {
        let lines = Lines::new(&text);
        self.documents.insert(uri.clone(), Document { uri, text, lines, version, identity: None, is_told: false });
        self.is_stale = true;
    }

    pub fn change(&mut self, uri: &Uri, version: i32, changes: Vec<TextDocumentContentChangeEvent>) {
        let Some(document) = self.documents.get_mut(uri) else { return };
        for one in changes {
            change(&mut document.text, &mut document.lines, one);
        }
        (document.version, document.is_told) = (version, false);
        for program in &mut self.programs {
            program.is_stale |= program.alone.as_ref() == Some(uri)
                || document.identity.is_some_and(|identity| program.files.contains(&Some(identity)));
        }
    }

    pub fn close(&mut self, uri: &Uri) {
        self.is_stale |= self.documents.remove(uri).is_some();
    }

    /// Files have changed, or which of them belong together.
    pub fn reload(&mut self) {
        self.is_stale = true;
    }

    fn overlay(&self, alone: Option<&Uri>) -> Overlay {
        let mut overlay = Overlay::new();
        for document in self.documents.values() {
            if let Some(identity) = document.identity {
                overlay.insert(identity, document.text.clone());
            }
        }
        if let Some(document) = alone.and_then(|uri| self.documents.get(uri)) {
            overlay.insert(Identity::Stdin, document.text.clone());
        }
        overlay
    }

    /// Brings everything up to date.
    pub fn refresh(&mut self) {
        let mut is_new = std::mem::take(&mut self.is_stale);
        if is_new {
            self.plan();
        }
        let overlay = self.overlay(None);
        for index in 0..self.programs.len() {
            if !self.programs[index].is_stale {
                continue;
            }
            is_new = true;
            let overlay = match self.programs[index].alone.clone() {
                Some(uri) => &self.overlay(Some(&uri)),
                None => &overlay,
            };
            // What cannot be read any more is asked for anew with the next event.
            let Unfolded { unit, alone, .. } = &self.programs[index];
            match self.unfold(unit.clone(), alone.clone(), overlay) {
                Ok(program) => self.programs[index] = program,
                Err(failure) => {
                    self.problems.extend(failure.messages);
                    self.is_stale = true;
                }
            }
        }
        if is_new {
            self.ask_neighbours(&overlay);
            self.settle();
        }
        self.problems.sort();
        self.problems.dedup();
    }

    /// Finds the programs around the documents that no lbc.toml is about, where something depends on them.
    fn ask_neighbours(&mut self, overlay: &Overlay) {
        let lone = self.programs.iter().filter(|program| !program.unit.is_root);
        if self.mentioned.is_some() || !lone.clone().any(|program| program.found.iter().any(asks_others)) {
            return;
        }
        let paths = lone.flat_map(|program| {
            let sources = program.analysis.program.sources.ids().zip(&program.files);
            sources.filter_map(|(source, file)| Some(((*file)?, uri::path(program.analysis.uri(source)?)?)))
        });
        let Neighbours { units, mentioned } = neighbours(&paths.collect());
        self.mentioned = Some(mentioned);
        // One that cannot be read has nothing to say.
        let found: Vec<Unfolded> = units.into_iter().filter_map(|unit| self.unfold(unit, None, overlay).ok()).collect();
        self.programs.extend(found);
    }

    /// Settles what holds beside all programs.
    fn settle(&mut self) {
        let mut verdict = Verdict::new(self.mentioned.clone().unwrap_or_default());
        for program in &self.programs {
            if program.unit.is_root || !is_library(&program.analysis.program) {
                verdict.hear(&program.files, &program.found);
            }
        }
        for Unfolded { analysis, found, files, .. } in &mut self.programs {
            let settled = found.iter().filter_map(|one| {
                let loc = one.primary.loc;
                let file = files.get(loc.source.0 as usize).copied().flatten();
                verdict.settle(file, analysis.program.sources.text(loc), one.clone())
            });
            let settled = settled.collect();
            analysis.diagnostics = settled;
        }
    }

    /// Finds the programs of all documents.
    fn plan(&mut self) {
        self.problems.clear();
        self.mentioned = None;
        let mut configs = Configs::default();
        let mut projects: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        let mut single: Vec<(Unit, Option<Uri>)> = Vec::new();
        for document in self.documents.values_mut() {
            let path = uri::path(&document.uri);
            document.identity = path.as_deref().and_then(identity);
            let config = path.as_deref().and_then(|path| configs.file_for(path));
            match (path, document.identity, config) {
                (Some(path), Some(_), Some(config)) => projects.entry(config).or_default().push(path),
                (Some(path), Some(_), None) => single.push((lone(path), None)),
                (path, _, _) => {
                    let name = path.unwrap_or_else(|| PathBuf::from(document.uri.as_str()));
                    single.push((nameless(&name), Some(document.uri.clone())));
                }
            }
        }
        let overlay = self.overlay(None);
        let mut all: Vec<(Unit, Option<Uri>)> = Vec::new();
        for paths in projects.into_values() {
            let input = Input { paths: paths.clone(), stdin_filename: String::new() };
            match units(&input, &self.declarations, &overlay) {
                Ok(units) => all.extend(units.into_iter().map(|unit| (unit, None))),
                Err(failure) => {
                    self.problems.extend(failure.messages);
                    all.extend(paths.into_iter().map(|path| (lone(path), None)));
                }
            }
        }
        all.extend(single);
        let mut programs: Vec<Unfolded> = Vec::new();
        for (unit, alone) in all {
            let overlay = match &alone {
                Some(uri) => &self.overlay(Some(uri)),
                None => &overlay,
            };
            match self.unfold(unit, alone, overlay) {
                Ok(program) => programs.push(program),
                Err(failure) => self.problems.extend(failure.messages),
            }
        }
        drop_included(&mut programs);
        programs.sort_by_key(|program| program.unit.is_context);
        self.programs = programs;
    }

    /// Reads a program and finds everything that is to be said about it.
    fn unfold(&self, unit: Unit, alone: Option<Uri>, overlay: &Overlay) -> Result<Unfolded, Failure> {
        let Loaded { program, syntax, origins } = unit.input.load(&self.declarations, overlay)?;
        let own = |wanted: Identity| {
            let open = self.documents.values().find(|document| document.identity == Some(wanted));
            open.map(|document| document.uri.clone())
        };
        let uris = origins.iter().enumerate().map(|(index, origin)| match origin {
            None => None,
            Some((Identity::Stdin, _)) => {
                // Its name is the document's own.
                let name = &program.sources.get(SourceId(index as u32)).path;
                let is_named = |document: &&Document| {
                    let path = uri::path(&document.uri).unwrap_or_else(|| PathBuf::from(document.uri.as_str()));
                    document.identity.is_none() && path.display().to_string() == *name
                };
                self.documents.values().find(is_named).map(|document| document.uri.clone())
            }
            Some((identity, path)) => own(*identity).or_else(|| uri::of(&path.as_ref()?.canonicalize().ok()?)),
        });
        let uris: Vec<Option<Uri>> = uris.collect();
        let (config, diagnostics) = match resolve::resolve(&program) {
            Ok(config) if syntax.is_empty() => {
                let found = findings(&unit.config, &program, &config, &settings(&unit.config, &[], &[]));
                (Some(config), found)
            }
            // What could be read has its shares all the same.
            Ok(config) => (Some(config), resolve::check(&program, syntax).err().unwrap_or_default()),
            Err(_) => (None, resolve::check(&program, syntax).err().unwrap_or_default()),
        };
        // Texts without a file are not one and the same.
        let file = |origin: Option<(Identity, _)>| origin.map(|(file, _)| file).filter(|file| *file != Identity::Stdin);
        let files = origins.into_iter().map(file).collect();
        let found = diagnostics.clone();
        let analysis = Analysis::new(program, config, diagnostics, uris);
        Ok(Unfolded { unit, alone, analysis, found, files, is_stale: false })
    }

    /// The program that a document is part of, the first where there are several, and its number there.
    pub fn find(&self, uri: &Uri) -> Option<(&Analysis, SourceId)> {
        self.documents.get(uri)?;
        self.programs.iter().find_map(|program| Some((&program.analysis, program.analysis.source(uri)?)))
    }

    /// Every program that has one of the given files, whether or not a document of it is open.
    pub fn with_files(&self, files: &[Uri]) -> Vec<Analysis> {
        let overlay = self.overlay(None);
        let paths: Vec<PathBuf> = files.iter().filter_map(uri::path).filter(|path| identity(path).is_some()).collect();
        let mut configs = Configs::default();
        let (below, lone): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| configs.file_for(path).is_some());
        let mut found = Vec::new();
        if !below.is_empty() {
            let input = Input { paths: below, stdin_filename: String::new() };
            let units = units(&input, &self.declarations, &overlay).unwrap_or_default();
            found.extend(units.into_iter().filter(|unit| !unit.is_context));
        }
        if !lone.is_empty() {
            // Whatever includes one of them is a program of its own.
            let files = lone.into_iter().filter_map(|path| Some((identity(&path)?, path))).collect();
            found.extend(neighbours(&files).units);
        }
        found.into_iter().filter_map(|unit| Some(self.unfold(unit, None, &overlay).ok()?.analysis)).collect()
    }

    /// The programs of open documents that have a file.
    pub fn programs_of(&self, uri: &Uri) -> Vec<&Analysis> {
        let told = self.programs.iter().filter(|program| !program.unit.is_context);
        told.map(|program| &program.analysis).filter(|one| one.source(uri).is_some()).collect()
    }

    /// A document with every fix that keeps the meaning and does not leave it; `None` where that changes nothing.
    pub fn fixed(&self, uri: &Uri) -> Option<String> {
        let document = self.documents.get(uri)?;
        let own = document.identity.unwrap_or(Identity::Stdin);
        let programs = self.programs.iter().filter(|program| match document.identity {
            Some(_) => program.files.contains(&Some(own)),
            None => program.alone.as_ref() == Some(uri),
        });
        let wishes = Wishes {
            declarations: &self.declarations,
            select: &[],
            ignore: &[],
            most: Applicability::Safe,
            named: BTreeSet::from([own]),
            in_roots: false,
        };
        let units = programs.map(|program| program.unit.clone()).collect();
        let mut run = Run::new(wishes, units, self.overlay(Some(uri).filter(|_| document.identity.is_none())));
        let mut seen = run.examine().ok()?;
        run.fix(&mut seen).ok()?;
        run.overlay.remove(&own).filter(|text| *text != document.text)
    }

    /// Problems with lbc.toml or the command line that the editor does not know of yet.
    pub fn problems(&mut self) -> Vec<String> {
        let problems = std::mem::take(&mut self.problems);
        let new = problems.iter().filter(|one| !self.last_problems.contains(one)).cloned().collect();
        self.last_problems = problems;
        new
    }

    /// What has changed for the editor since it was told last.
    pub fn news(&mut self) -> Vec<Told> {
        let mut now: BTreeMap<Uri, Vec<lsp_types::Diagnostic>> =
            self.documents.keys().map(|uri| (uri.clone(), Vec::new())).collect();
        // In how many programs each file is.
        let mut parts: HashMap<Uri, usize> = HashMap::new();
        let told = || self.programs.iter().filter(|program| !program.unit.is_context);
        for Unfolded { analysis, .. } in told() {
            for uri in analysis.program.sources.ids().filter_map(|source| analysis.uri(source)) {
                *parts.entry(uri.clone()).or_default() += 1;
            }
        }
        for Unfolded { analysis, .. } in told() {
            for one in &analysis.diagnostics {
                let Some(uri) = analysis.uri(one.primary.loc.source) else { continue };
                // Another program, which is not looked at, may use what this one does not.
                if one.severity != Severity::Error && !self.documents.contains_key(uri) {
                    continue;
                }
                now.entry(uri.clone()).or_default().push(diagnostic(analysis, one));
            }
        }
        let mut news = Vec::new();
        for (uri, diagnostics) in &mut now {
            // Nobody reads more; the last of so many errors says that there are others.
            diagnostics.truncate(MAX_ERRORS + 1);
            if parts.get(uri).is_some_and(|parts| *parts > 1) {
                diagnostics
                    .sort_by_cached_key(|one| (one.range.start.line, one.range.start.character, one.message.clone()));
                diagnostics.dedup();
            }
            let document = self.documents.get_mut(uri);
            let is_new = document.as_ref().is_some_and(|document| !document.is_told);
            if is_new || self.told.get(uri).map_or(!diagnostics.is_empty(), |told| told != diagnostics) {
                let version = document.as_ref().map(|document| document.version);
                news.push(Told { uri: uri.clone(), version, diagnostics: diagnostics.clone() });
            }
            if let Some(document) = document {
                document.is_told = true;
            }
        }
        let gone = self.told.keys().filter(|uri| !now.contains_key(*uri));
        news.extend(gone.map(|uri| Told { uri: uri.clone(), version: None, diagnostics: Vec::new() }));
        now.retain(|uri, diagnostics| !diagnostics.is_empty() || self.documents.contains_key(uri));
        self.told = now;
        news
    }
}

/// Drops the programs of documents that another program includes.
fn drop_included(programs: &mut Vec<Unfolded>) {
    let mut at = 0;
    while at < programs.len() {
        let Unfolded { unit, alone, .. } = &programs[at];
        // Below an lbc.toml nothing is dropped: its programs are what it says.
        let is_lone = alone.is_none() && unit.config.directory.is_none();
        let own = unit.input.paths.first().filter(|_| is_lone).and_then(|path| identity(path));
        let is_included = own.is_some_and(|own| {
            let mut others = programs.iter().enumerate().filter(|(other, _)| *other != at);
            others.any(|(_, program)| program.files.contains(&Some(own)))
        });
        match is_included {
            true => drop(programs.remove(at)),
            false => at += 1,
        }
    }
}

/// A file that is a program with what it includes.
fn lone(path: PathBuf) -> Unit {
    let input = Input { paths: vec![path], stdin_filename: String::new() };
    Unit { input, config: Rc::default(), is_root: false, is_context: false }
}

/// A text that is no file, or not yet.
fn nameless(name: &std::path::Path) -> Unit {
    let config = name.parent().and_then(|parent| Config::of(parent).ok()).unwrap_or_default();
    let input = Input { paths: vec![PathBuf::from("-")], stdin_filename: name.display().to_string() };
    Unit { input, config: Rc::new(config), is_root: false, is_context: false }
}
