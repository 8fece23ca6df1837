//! lbc.toml: what a project says once, instead of on every command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobMatcher};
use toml::{Table, Value};

use crate::diagnostic::{Code, did_you_mean};
use crate::lint::select::{Selection, Selector};

use super::Failure;
use super::compile::Target;

/// The name of the file.
pub const FILE: &str = "lbc.toml";

/// What a project's lbc.toml says; empty where there is none.
#[derive(Debug, Default)]
pub struct Config {
    /// The directory that the file stands in.
    pub directory: Option<PathBuf>,
    /// Files and directories that are a program each, relative to the directory.
    pub roots: Option<Vec<PathBuf>>,
    pub select: Option<Vec<Selector>>,
    pub ignore: Vec<Selector>,
    per_file: Vec<PerFile>,
    pub target: Option<Target>,
    pub management_ports: Option<Vec<u16>>,
}

/// Lints that are not told in some files.
#[derive(Debug)]
struct PerFile {
    pattern: GlobMatcher,
    /// Whether it is about the file's name alone.
    is_name: bool,
    ignore: Vec<Selector>,
}

const KEYS: [&str; 6] = ["roots", "select", "ignore", "per-file-ignores", "target", "management-ports"];

impl Config {
    /// The file that holds for a directory: the closest one upwards.
    pub fn find(directory: &Path) -> Option<PathBuf> {
        let start = directory.canonicalize().ok()?;
        start.ancestors().map(|ancestor| ancestor.join(FILE)).find(|path| path.is_file())
    }

    /// What holds for a directory.
    pub fn of(directory: &Path) -> Result<Config, Failure> {
        match Config::find(directory) {
            Some(path) => Config::read(&path),
            None => Ok(Config::default()),
        }
    }

    /// Reads a file of that kind.
    pub fn read(path: &Path) -> Result<Config, Failure> {
        let shown = relative(path);
        let problem = |message: String| Failure::new(format!("{}: {message}", shown.display()));
        let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            problem(format!("line {line}: {}", error.message().replace('\n', "; ")))
        })?;
        let mut config = Config { directory: path.parent().map(Path::to_owned), ..Config::default() };
        for (key, value) in table {
            config.set(&key, value).map_err(problem)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        match key {
            "roots" => {
                let roots: Vec<PathBuf> = strings(key, &value)?.into_iter().map(PathBuf::from).collect();
                if roots.is_empty() {
                    return Err("`roots` lists no program; leave it out, or write `roots = [\".\"]`".to_owned());
                }
                self.roots = Some(roots);
            }
            "select" => {
                let select = selectors(key, &value)?;
                if select.is_empty() {
                    return Err(
                        "`select` lists no lint; leave it out for all, or write `ignore = [\"ALL\"]`".to_owned()
                    );
                }
                self.select = Some(select);
            }
            "ignore" => self.ignore = ignored(key, &value)?,
            "per-file-ignores" => {
                let Value::Table(files) = &value else {
                    return Err(format!("`{key}` is a table, such as `\"old.lb\" = [\"LB2\"]`"));
                };
                for (pattern, codes) in files {
                    // `./a.lb` is the file of that name beside lbc.toml.
                    let is_name = !pattern.contains('/');
                    let glob = Glob::new(pattern.strip_prefix("./").unwrap_or(pattern))
                        .map_err(|error| format!("`{key}`: {error}"))?;
                    let ignore = ignored(pattern, codes)?;
                    self.per_file.push(PerFile { pattern: glob.compile_matcher(), is_name, ignore });
                }
            }
            "target" => {
                let names: Vec<String> = clap::ValueEnum::value_variants().iter().map(Target::name).collect();
                let name = value.as_str().unwrap_or_default();
                let target = <Target as clap::ValueEnum>::from_str(name, false);
                self.target = Some(target.map_err(|_| format!("`{key}` is one of `{}`", names.join("`, `")))?);
            }
            "management-ports" => {
                let port = |value: &Value| {
                    let port = value.as_integer().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
                    port.ok_or_else(|| format!("`{key}` is a list of ports (1-65535), found `{value}`"))
                };
                let list = value.as_array().ok_or_else(|| format!("`{key}` is a list of ports, such as `[22]`"))?;
                self.management_ports = Some(list.iter().map(port).collect::<Result<_, _>>()?);
            }
            _ => {
                let help = did_you_mean(key, KEYS).unwrap_or_else(|| format!("the keys are `{}`", KEYS.join("`, `")));
                return Err(format!("unknown key `{key}`; {help}"));
            }
        }
        Ok(())
    }

    /// The lints that run, where the command line says nothing.
    pub fn selection(&self, base: &Selection) -> Selection {
        Selection::new(base, self.select.as_deref().unwrap_or_default(), &self.ignore)
    }

    /// Whether a finding in a file is not told.
    pub fn ignores(&self, path: &str, code: Code) -> bool {
        if self.per_file.is_empty() || !code.is_lint() {
            return false;
        }
        let path = Path::new(path);
        // Standard input may go by the name of a file that is not there.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = || Some(parent.canonicalize().ok()?.join(path.file_name()?));
        let absolute = path.canonicalize().ok().or_else(named).unwrap_or_else(|| path.to_owned());
        let below = self.directory.as_ref().and_then(|directory| absolute.strip_prefix(directory).ok()).unwrap_or(path);
        self.per_file.iter().any(|rule| {
            let subject = if rule.is_name { path.file_name().map_or(path, Path::new) } else { below };
            rule.pattern.is_match(subject) && rule.ignore.iter().any(|selector| selector.covers(code))
        })
    }
}

fn strings(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let wrong = || format!("`{key}` is a list of strings, found `{value}`");
    let list = value.as_array().ok_or_else(wrong)?;
    list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

fn selectors(key: &str, value: &Value) -> Result<Vec<Selector>, String> {
    strings(key, value)?.iter().map(|text| text.parse().map_err(|error| format!("`{key}`: {error}"))).collect()
}

fn ignored(key: &str, value: &Value) -> Result<Vec<Selector>, String> {
    let list = selectors(key, value)?;
    match list.iter().zip(strings(key, value)?).find(|(selector, _)| selector.is_errors_only()) {
        Some((_, text)) => Err(format!("`{key}`: {}", no_ignoring(&text))),
        None => Ok(list),
    }
}

/// Why errors cannot be ignored.
pub fn no_ignoring(text: &str) -> String {
    format!("`{text}` is an error: what it is about cannot be compiled, so it cannot be ignored")
}

/// A path as seen from the working directory, where it can be.
pub fn relative(path: &Path) -> PathBuf {
    let Some(here) = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok()) else {
        return path.to_owned();
    };
    let mut up = PathBuf::new();
    for ancestor in here.ancestors() {
        if let Ok(rest) = path.strip_prefix(ancestor) {
            return up.join(rest);
        }
        up.push("..");
    }
    path.to_owned()
}

/// The configurations of a run, each read once.
#[derive(Debug, Default)]
pub struct Configs {
    by_directory: BTreeMap<PathBuf, Option<PathBuf>>,
}

impl Configs {
    /// The file that holds for the directory of `path`.
    pub fn file_for(&mut self, path: &Path) -> Option<PathBuf> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        self.by_directory.entry(directory.clone()).or_insert_with(|| Config::find(&directory)).clone()
    }
}
