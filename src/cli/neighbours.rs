//! The files around those that a run is about, where no lbc.toml says which programs there are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::file;
use crate::source::{MAX_SOURCE_BYTES, Source, SourceId};
use crate::statement::Statement;
use crate::syntax::is_word_byte;

use super::config::{Config, relative};
use super::input::{Identity, Input, identity};
use super::project::Unit;

/// What other files have to do with those that were read.
pub struct Neighbours {
    /// The programs of files that include one of them.
    pub units: Vec<Unit>,
    /// What the other files speak of and do not declare.
    pub mentioned: Rc<HashSet<String>>,
}

/// A file that is not part of the run.
struct Outside {
    path: PathBuf,
    /// The last parts of the paths that it includes.
    includes: BTreeSet<String>,
    words: HashSet<String>,
}

/// Looks at the other `.lb` files of the git repositories that the given ones stand in; outside of git, at those beside them.
pub fn neighbours(read: &BTreeMap<Identity, PathBuf>) -> Neighbours {
    let outside = outside(read);
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut wanted: BTreeSet<String> = read.values().filter_map(|path| name(path)).collect();
    // Whoever includes one that includes one of ours does so, too.
    let mut includes = vec![false; outside.len()];
    loop {
        let new: Vec<usize> =
            (0..outside.len()).filter(|at| !includes[*at] && !outside[*at].includes.is_disjoint(&wanted)).collect();
        if new.is_empty() {
            break;
        }
        for at in new {
            includes[at] = true;
            wanted.extend(name(&outside[at].path));
        }
    }
    let (mut units, mut mentioned) = (Vec::new(), HashSet::new());
    for (one, includes) in outside.into_iter().zip(includes) {
        match includes {
            true => {
                let input = Input { paths: vec![relative(&one.path)], stdin_filename: String::new() };
                let config = Rc::new(Config::default());
                units.push(Unit { input, config, is_root: false, is_context: true });
            }
            false => mentioned.extend(one.words),
        }
    }
    Neighbours { units, mentioned: Rc::new(mentioned) }
}

fn outside(read: &BTreeMap<Identity, PathBuf>) -> Vec<Outside> {
    let directories: BTreeSet<PathBuf> = read.values().filter_map(|path| directory(path)).collect();
    let mut places: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
    for directory in directories {
        let top = directory.ancestors().find(|ancestor| ancestor.join(".git").exists());
        match top {
            Some(top) => places.insert(top.to_owned(), None),
            None => places.insert(directory, Some(1)),
        };
    }
    let mut seen: BTreeSet<Identity> = read.keys().copied().collect();
    let mut list = Vec::new();
    for (place, depth) in places {
        let walk = ignore::WalkBuilder::new(place).require_git(false).max_depth(depth).build();
        for path in walk.flatten().map(ignore::DirEntry::into_path) {
            let is_lb = path.extension() == Some(OsStr::new("lb"));
            if is_lb && identity(&path).is_some_and(|identity| seen.insert(identity)) {
                list.extend(look(path));
            }
        }
    }
    list
}

fn directory(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()?.parent().map(Path::to_owned)
}

fn look(path: PathBuf) -> Option<Outside> {
    let bytes = fs::read(&path).ok().filter(|bytes| bytes.len() <= MAX_SOURCE_BYTES)?;
    let source = Source::new("", "", String::from_utf8(bytes).ok()?);
    let text = source.text();
    let (file, _) = file::parse(&source, SourceId(0));
    let mut includes = BTreeSet::new();
    let mut words: HashSet<String> = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.split(|c: char| !c.is_ascii() || !is_word_byte(c as u8)))
        .map(|word| word.trim_end_matches('-').to_owned())
        .collect();
    for item in &file.items {
        let declared = match &item.statement {
            Statement::Include(include) => {
                let target = Path::new(&text[include.path.range()]).file_name();
                includes.extend(target.map(|name| name.to_string_lossy().into_owned()));
                continue;
            }
            Statement::Host(host) => host.name,
            Statement::Net(net) => net.name,
            Statement::Pool(pool) => pool.name,
            Statement::Default(_) | Statement::Balance(_) => continue,
        };
        words.remove(&text[declared.range()]);
    }
    Some(Outside { path, includes, words })
}
