//! Reading programs: files, directories, standard input, and the hosts of the command line.

use std::collections::HashMap;
use std::fs::File as FsFile;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::diagnostic::{Code, Diagnostic, at, did_you_mean};
use crate::file::{File, parse};
use crate::program::{OuterHost, Program};
use crate::source::{MAX_SOURCE_BYTES, Source, SourceId, Span, Spanned};
use crate::statement::{Statement, host};
use crate::syntax::{Errors, In};

use super::Failure;

/// What every command reads.
#[derive(Debug, Args)]
pub struct Input {
    /// Files, directories (every *.lb below), or - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The name that standard input goes by
    #[arg(long, value_name = "NAME", default_value = "<stdin>")]
    pub stdin_filename: String,
}

/// Declarations of the command line.
#[derive(Debug, Args)]
pub struct Declarations {
    /// Declare a host that the files do not
    #[arg(short = 'D', value_name = "NAME=ADDR[,ADDR]")]
    pub define: Vec<String>,
    /// Declare the hosts of a file in /etc/hosts form
    #[arg(long, value_name = "FILE")]
    pub hosts: Vec<PathBuf>,
    /// Override the weight of a host or pool
    #[arg(long, value_name = "NAME=WEIGHT")]
    pub set: Vec<String>,
}

/// How deep includes may be nested (language section 6).
const MAX_INCLUDE_DEPTH: usize = 16;

/// A file to read, with the name that the user gave it.
enum Root {
    Stdin,
    Path(PathBuf),
}

impl Input {
    /// The files that the paths stand for, in order.
    fn roots(&self) -> Result<Vec<Root>, Failure> {
        let mut roots = Vec::new();
        for path in &self.paths {
            if path.as_os_str() == "-" {
                if roots.iter().any(|root| matches!(root, Root::Stdin)) {
                    return Err(Failure::new("standard input (`-`) can be read only once"));
                }
                roots.push(Root::Stdin);
            } else if path.is_dir() {
                roots.extend(directory(path)?.into_iter().map(Root::Path));
            } else {
                roots.push(Root::Path(path.clone()));
            }
        }
        Ok(roots)
    }

    /// The files that `fmt` works on: each on its own, includes not followed. Standard input is `None`.
    pub fn files(&self) -> Result<Vec<Option<PathBuf>>, Failure> {
        let roots = self.roots()?.into_iter();
        Ok(roots
            .map(|root| match root {
                Root::Stdin => None,
                Root::Path(path) => Some(path),
            })
            .collect())
    }

    /// Reads and parses the whole program. The diagnostics are those of its syntax.
    pub fn program(&self, declarations: &Declarations) -> Result<(Program, Vec<Diagnostic>), Failure> {
        let mut loader = Loader { program: Program::default(), diagnostics: Vec::new(), read: HashMap::new() };
        for root in self.roots()? {
            match root {
                Root::Stdin => {
                    let bytes = read_bounded(io::stdin().lock()).map_err(|e| cannot_read(&self.stdin_filename, &e))?;
                    let base = PathBuf::from(&self.stdin_filename);
                    let id = loader.add(&self.stdin_filename, &base, bytes);
                    loader.follow(id, &base, &mut Vec::new());
                }
                Root::Path(path) => {
                    let name = path.display().to_string();
                    let (identity, bytes) = read_file(&path).map_err(|e| cannot_read(&name, &e))?;
                    if loader.read.contains_key(&identity) {
                        continue;
                    }
                    let id = loader.add(&name, &path, bytes);
                    loader.read.insert(identity.clone(), id);
                    loader.follow(id, &path, &mut vec![identity]);
                }
            }
        }
        declarations.declare(&mut loader)?;
        let Loader { program, diagnostics, .. } = loader;
        Ok((program, diagnostics))
    }
}

/// Every `*.lb` file below a directory, sorted; ignore files are honoured.
fn directory(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in ignore::WalkBuilder::new(path).require_git(false).build() {
        let entry = entry.map_err(|error| Failure::new(format!("cannot read the directory: {error}")))?;
        let is_file = entry.file_type().is_some_and(|kind| !kind.is_dir()) && entry.path().is_file();
        if is_file && entry.path().extension().is_some_and(|extension| extension == "lb") {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Err(Failure::new(format!("no .lb files below `{}`", path.display())));
    }
    files.sort();
    Ok(files)
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read `{name}`: {error}"))
}

/// A file's identity and bytes, one byte more than allowed at the most.
fn read_file(path: &Path) -> io::Result<(PathBuf, Vec<u8>)> {
    if path.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let identity = path.canonicalize()?;
    let file = FsFile::open(path)?;
    Ok((identity, read_bounded(file)?))
}

fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file, or what is wrong with its bytes.
pub fn source(name: &str, path: &Path, bytes: Vec<u8>) -> (Source, Option<(Span, String, &'static str)>) {
    let origin = path.file_name().map_or_else(|| name.to_owned(), |file| file.to_string_lossy().into_owned());
    if bytes.len() > MAX_SOURCE_BYTES {
        let error = (Span::default(), "a file over 64 MiB".to_owned(), "split it, and `include` the parts");
        return (Source::new(name, origin, ""), Some(error));
    }
    match String::from_utf8(bytes) {
        Ok(text) => (Source::new(name, origin, text), None),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let valid = String::from_utf8_lossy(&error.as_bytes()[..offset]).into_owned();
            let at = Span::new(offset as u32, offset as u32);
            let message = format!("invalid UTF-8 at offset {offset}");
            (Source::new(name, origin, valid), Some((at, message, "save the file as UTF-8")))
        }
    }
}

struct Loader {
    program: Program,
    diagnostics: Vec<Diagnostic>,
    /// Files by identity: one that is reached twice is read once.
    read: HashMap<PathBuf, SourceId>,
}

impl Loader {
    fn add(&mut self, name: &str, path: &Path, bytes: Vec<u8>) -> SourceId {
        let (source, error) = source(name, path, bytes);
        let id = self.program.sources.add(source);
        let file = match error {
            Some((span, message, help)) => {
                self.diagnostics.push(Diagnostic::error(Code::InvalidText, at(id, span), message).help(help));
                File::default()
            }
            None => {
                let (file, diagnostics) = parse(self.program.sources.get(id), id);
                self.diagnostics.extend(diagnostics);
                file
            }
        };
        self.program.files.push(file);
        id
    }

    /// Puts a file's statements into program order, and the files it includes where it includes them.
    fn follow(&mut self, id: SourceId, path: &Path, open: &mut Vec<PathBuf>) {
        for index in 0..self.program.files[id.0 as usize].items.len() {
            match self.program.files[id.0 as usize].items[index].statement {
                Statement::Include(include) => self.include(id, include.path, path, open),
                Statement::Host(_)
                | Statement::Net(_)
                | Statement::Pool(_)
                | Statement::Default(_)
                | Statement::Balance(_) => self.program.push_order(id, index),
            }
        }
    }

    fn include(&mut self, id: SourceId, span: Span, path: &Path, open: &mut Vec<PathBuf>) {
        let loc = at(id, span);
        let text = self.program.sources.text(loc).to_owned();
        let target = path.parent().unwrap_or(Path::new("")).join(&text);
        let error = |message: String| Diagnostic::error(Code::Include, loc, message);
        let (identity, bytes) = match read_file(&target) {
            Ok(found) => found,
            Err(reason) => {
                let error = error(format!("cannot read `{}`: {reason}", target.display()));
                self.diagnostics.push(error.help("the path is relative to the file that includes it"));
                return;
            }
        };
        if open.contains(&identity) {
            let error = error(format!("`{text}` includes itself, directly or through other files"));
            self.diagnostics.push(error.help("take one of the includes out"));
            return;
        }
        if self.read.contains_key(&identity) {
            return;
        }
        if open.len() >= MAX_INCLUDE_DEPTH {
            self.diagnostics.push(error(format!("includes are nested more than {MAX_INCLUDE_DEPTH} deep")));
            return;
        }
        let name = target.display().to_string();
        let included = self.add(&name, &target, bytes);
        self.read.insert(identity.clone(), included);
        open.push(identity);
        self.follow(included, &target, open);
        open.pop();
    }
}

impl Declarations {
    fn declare(&self, loader: &mut Loader) -> Result<(), Failure> {
        for text in &self.define {
            self.define(text, loader)?;
        }
        for path in &self.hosts {
            let name = path.display().to_string();
            let (_, bytes) = read_file(path).map_err(|error| cannot_read(&name, &error))?;
            let (source, error) = source(&name, path, bytes);
            if let Some((_, message, _)) = error {
                return Err(Failure::new(format!("`{name}`: {message}")));
            }
            let id = loader.program.sources.add(source);
            loader.program.files.push(File::default());
            hosts_file(id, loader);
        }
        for text in &self.set {
            let weight = self.weight(text, loader)?;
            loader.program.weights.push(weight);
        }
        Ok(())
    }

    fn define(&self, text: &str, loader: &mut Loader) -> Result<(), Failure> {
        let id = loader.program.sources.add(Source::new("-D", "-D", text));
        loader.program.files.push(File::default());
        let errors = Errors::default();
        let parsed = host::parse(In::new(text, &errors));
        let form = "it is written `-D NAME=ADDRESS` or `-D NAME=ADDRESS,ADDRESS`";
        match parsed {
            Ok((rest, host)) if rest.rest.trim().is_empty() && !errors.overflow() => {
                if let Some(error) = errors.take().into_iter().next() {
                    return Err(Failure::new(format!("-D `{text}`: {}; {form}", error.message)));
                }
                let outer =
                    OuterHost { name: at(id, host.name), source: id, addresses: host.addresses, lenient: false };
                loader.program.hosts.push(outer);
                Ok(())
            }
            Ok(_) | Err(_) => Err(Failure::new(format!("-D `{text}` is no declaration of a host; {form}"))),
        }
    }

    fn weight(&self, text: &str, loader: &Loader) -> Result<(String, u16), Failure> {
        let Some((name, weight)) = text.split_once('=') else {
            return Err(Failure::new(format!("--set `{text}`: it is written `--set NAME=WEIGHT`")));
        };
        let Ok(weight) = weight.parse::<u16>() else {
            return Err(Failure::new(format!("--set `{text}`: expected a weight (0-65535), found `{weight}`")));
        };
        let program = &loader.program;
        let declared: Vec<&str> = program
            .items()
            .filter_map(|(source, item)| match &item.statement {
                Statement::Host(host) => Some(at(source, host.name)),
                Statement::Pool(pool) => Some(at(source, pool.name)),
                Statement::Include(_) | Statement::Net(_) | Statement::Default(_) | Statement::Balance(_) => None,
            })
            .chain(program.hosts.iter().map(|host| host.name))
            .map(|loc| program.sources.text(loc))
            .collect();
        if !declared.contains(&name) {
            let help = did_you_mean(name, declared).map_or_else(String::new, |help| format!("; {help}"));
            return Err(Failure::new(format!("--set `{text}`: no host or pool is named `{name}`{help}")));
        }
        Ok((name.to_owned(), weight))
    }
}

/// The hosts of a file in /etc/hosts form: `ADDRESS NAME ...`. Names that no `.lb` file could write are passed over.
fn hosts_file(id: SourceId, loader: &mut Loader) {
    let mut found: HashMap<String, usize> = HashMap::new();
    let mut hosts: Vec<OuterHost> = Vec::new();
    let text = loader.program.sources.get(id).text().to_owned();
    let mut offset = 0u32;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len() as u32;
        let content = line.split('#').next().unwrap_or("");
        let mut words = content.split_whitespace().map(|word| {
            let at = (word.as_ptr() as usize - line.as_ptr() as usize) as u32 + start;
            (word, Span::new(at, at + word.len() as u32))
        });
        let Some((address, span)) = words.next() else { continue };
        let Ok(value) = address.parse() else {
            if !address.contains('%') {
                let message = format!("expected an address, found `{address}`");
                loader.diagnostics.push(
                    Diagnostic::error(Code::InvalidAddress, at(id, span), message)
                        .help("a hosts file has lines of the form `ADDRESS NAME ...`"),
                );
            }
            continue;
        };
        for (name, name_span) in words.filter(|(name, _)| is_name(name)) {
            let address = Spanned { value, span };
            match found.get(name) {
                Some(&index) => hosts[index].addresses.push(address),
                None => {
                    found.insert(name.to_owned(), hosts.len());
                    let name = at(id, name_span);
                    hosts.push(OuterHost { name, source: id, addresses: vec![address], lenient: true });
                }
            }
        }
    }
    loader.program.hosts.extend(hosts);
}

/// Whether a `.lb` file could refer to the name.
fn is_name(text: &str) -> bool {
    let errors = Errors::default();
    matches!(crate::endpoint::new_name(In::new(text, &errors)), Ok((rest, _)) if rest.rest.is_empty())
}

/// Reads one file for `fmt`.
pub fn read_for_format(path: Option<&Path>, stdin_filename: &str) -> Result<(String, Vec<u8>), Failure> {
    match path {
        None => {
            let bytes = read_bounded(io::stdin().lock()).map_err(|error| cannot_read(stdin_filename, &error))?;
            Ok((stdin_filename.to_owned(), bytes))
        }
        Some(path) => {
            let name = path.display().to_string();
            let (_, bytes) = read_file(path).map_err(|error| cannot_read(&name, &error))?;
            Ok((name, bytes))
        }
    }
}
