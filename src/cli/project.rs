//! The programs that a `check` is about: the PATHs as one program or, below an lbc.toml, its roots.
//!
//! With an lbc.toml a program is always read whole, whichever of its files are named: names, listeners and includes of a file mean
//! nothing by themselves. So a pre-commit hook that names the changed files finds what a run over everything finds. The other programs
//! that share a file with it are read, too, for what they make of that file. `--project` does the same without an lbc.toml: the
//! program is then that of all files of the git repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Failure;
use super::config::{Config, Configs, relative};
use super::input::{Declarations, Identity, Input, Loaded, Overlay, directory};

/// One program of a run.
#[derive(Clone)]
pub struct Unit {
    pub input: Input,
    pub config: Rc<Config>,
    /// Whether an lbc.toml says that this is a program; then all of those are known.
    pub is_root: bool,
    /// Whether it is read only for what it makes of the files that it shares with the others: nothing of it is told.
    pub is_context: bool,
}

/// The programs that the PATHs belong to, in order, with some files as they are to become.
pub fn units(input: &Input, declarations: &Declarations, overlay: &Overlay) -> Result<Vec<Unit>, Failure> {
    grouped(input, declarations, overlay, false)
}

/// As [`units`]; what no lbc.toml is about belongs to the program of all files of its git repository or, outside of git, of its
/// directory.
pub fn whole_units(input: &Input, declarations: &Declarations, overlay: &Overlay) -> Result<Vec<Unit>, Failure> {
    grouped(input, declarations, overlay, true)
}

fn grouped(
    input: &Input,
    declarations: &Declarations,
    overlay: &Overlay,
    is_whole: bool,
) -> Result<Vec<Unit>, Failure> {
    if input.paths.iter().any(|path| path.as_os_str() == "-") {
        let name = Input { paths: vec![PathBuf::from("-")], ..input.clone() };
        let config = Rc::new(Config::of(&name.directory())?);
        return Ok(vec![Unit { input: input.clone(), config, is_root: false, is_context: false }]);
    }
    let mut configs = Configs::default();
    let mut groups: BTreeMap<Option<PathBuf>, Vec<(PathBuf, Identity)>> = BTreeMap::new();
    let mut failures = Vec::new();
    for file in input.files()? {
        match file {
            Ok(file) => {
                let path = file.path.clone().unwrap_or_default();
                groups.entry(configs.file_for(&path)).or_default().push((path, file.identity));
            }
            Err(failure) => failures.extend(failure.messages),
        }
    }
    Failure::check(failures)?;
    let mut units = Vec::new();
    for (file, given) in groups {
        match file {
            None if is_whole => {
                let mut tops: BTreeMap<PathBuf, Vec<(PathBuf, Identity)>> = BTreeMap::new();
                for one in given {
                    tops.entry(top(&one.0)).or_default().push(one);
                }
                for (top, given) in tops {
                    let place = Project { file: None, base: relative(&top), config: Rc::default() };
                    units.extend(programs(&place, given, declarations, overlay, &mut configs)?);
                }
            }
            // The user's own spelling, and one program.
            None => {
                let paths = given.into_iter().map(|(path, _)| path).collect();
                let input = Input { paths, stdin_filename: input.stdin_filename.clone() };
                units.push(Unit { input, config: Rc::default(), is_root: false, is_context: false });
            }
            Some(file) => {
                let config = Rc::new(Config::read(&file)?);
                let base = file.parent().map(relative).unwrap_or_default();
                let place = Project { file: Some(file), base, config };
                units.extend(programs(&place, given, declarations, overlay, &mut configs)?);
            }
        }
    }
    Ok(units)
}

/// Where programs are looked for.
struct Project {
    /// The lbc.toml, if there is one.
    file: Option<PathBuf>,
    /// The directory that roots are in.
    base: PathBuf,
    config: Rc<Config>,
}

/// The top of the git repository that a file stands in, or its directory.
fn top(path: &Path) -> PathBuf {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("."));
    directory.ancestors().find(|ancestor| ancestor.join(".git").exists()).unwrap_or(directory).to_owned()
}

/// The roots of a project that hold any of the given files, those that share files with these as context, and a program of the
/// given files that no root holds.
fn programs(
    Project { file, base, config }: &Project,
    given: Vec<(PathBuf, Identity)>,
    declarations: &Declarations,
    overlay: &Overlay,
    configs: &mut Configs,
) -> Result<Vec<Unit>, Failure> {
    let whole = vec![PathBuf::from(".")];
    let mut missing: BTreeSet<Identity> = given.iter().map(|(_, identity)| *identity).collect();
    let wanted = missing.clone();
    let mut roots = Vec::new();
    for root in config.roots.as_ref().unwrap_or(&whole) {
        let mut paths = root_files(base, root)?;
        // What is below another lbc.toml is that one's.
        paths.retain(|path| configs.file_for(path) == *file);
        if paths.is_empty() {
            continue;
        }
        let input = Input { paths, stdin_filename: String::new() };
        let Loaded { origins, .. } = input.load(declarations, overlay)?;
        let read: BTreeSet<Identity> = origins.into_iter().flatten().map(|(identity, _)| identity).collect();
        missing.retain(|identity| !read.contains(identity));
        let is_context = read.is_disjoint(&wanted);
        roots.push((Unit { input, config: config.clone(), is_root: true, is_context }, read));
    }
    let rest: Vec<PathBuf> =
        given.into_iter().filter(|(_, identity)| missing.contains(identity)).map(|(path, _)| plain(&path)).collect();
    if !rest.is_empty() {
        let input = Input { paths: rest, stdin_filename: String::new() };
        let Loaded { origins, .. } = input.load(declarations, overlay)?;
        let read = origins.into_iter().flatten().map(|(identity, _)| identity).collect();
        roots.push((Unit { input, config: config.clone(), is_root: false, is_context: false }, read));
    }
    let own = roots.iter().filter(|(unit, _)| !unit.is_context);
    let told: BTreeSet<Identity> = own.flat_map(|(_, read)| read.iter().copied()).collect();
    roots.retain(|(_, read)| !read.is_disjoint(&told));
    Ok(roots.into_iter().map(|(unit, _)| unit).collect())
}

/// The files of a root, as seen from the working directory.
fn root_files(base: &Path, root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let path: PathBuf = base.join(root).components().collect();
    let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
    match path.is_dir() {
        true => Ok(directory(&path)?.into_iter().map(|file| plain(&file)).collect()),
        false => Ok(vec![plain(&path)]),
    }
}

/// Without a leading `./`.
fn plain(path: &Path) -> PathBuf {
    path.strip_prefix(".").map_or_else(|_| path.to_owned(), Path::to_owned)
}

/// Refuses PATHs that belong to several roots: what is compiled is one program.
pub fn one_root(input: &Input, config: &Config) -> Result<(), Failure> {
    let (Some(roots), Some(base)) = (&config.roots, &config.directory) else { return Ok(()) };
    let mut found = BTreeSet::new();
    for path in input.paths.iter().filter(|path| path.as_os_str() != "-") {
        let Ok(absolute) = path.canonicalize() else { continue };
        let own = roots.iter().filter(|root| {
            let root = base.join(root).canonicalize().unwrap_or_default();
            // A directory above several roots has all of them.
            absolute.starts_with(&root) || (root.starts_with(&absolute) && absolute.is_dir())
        });
        found.extend(own.map(|root| format!("`{}`", root.display())));
    }
    match found.len() {
        0 | 1 => Ok(()),
        count => Err(Failure::new(format!(
            "the PATHs belong to {count} programs, the roots {} of lbc.toml; compile one at a time",
            found.into_iter().collect::<Vec<_>>().join(", ")
        ))),
    }
}
