//! Reading programs: files, directories, standard input, and the hosts of the command line.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File as FsFile};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use clap::Args;

use crate::diagnostic::{Code, Diagnostic, at, did_you_mean};
use crate::file::{File, parse};
use crate::program::{OuterHost, Program};
use crate::source::{MAX_SOURCE_BYTES, Source, SourceId, Span, Spanned};
use crate::statement::{Statement, host};
use crate::syntax::{Errors, In, shorten};

use super::Failure;
use super::config::Configs;

/// What every command reads.
#[derive(Clone, Debug, Args)]
pub struct Input {
    /// Files, directories (every *.lb below), or - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The name that standard input goes by
    #[arg(long, value_name = "NAME", default_value = "<stdin>")]
    pub stdin_filename: String,
}

/// Declarations of the command line.
#[derive(Clone, Debug, Args)]
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

/// Where a file's bytes come from: what is reached twice is read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    Stdin,
    /// Device and inode.
    File(u64, u64),
}

/// A file that is there and can be opened.
pub struct Opened {
    /// As the user gave it.
    pub name: String,
    /// `None` for standard input.
    pub path: Option<PathBuf>,
    pub identity: Identity,
    file: Option<FsFile>,
}

/// Texts that stand in the place of files: what a fix makes of them before it is written.
pub type Overlay = BTreeMap<Identity, String>;

/// A whole program, and where it comes from.
pub struct Loaded {
    pub program: Program,
    /// The diagnostics of its syntax.
    pub syntax: Vec<Diagnostic>,
    /// Of each source that is a file, and its path; `None` for the command line's own.
    pub origins: Vec<Option<(Identity, Option<PathBuf>)>>,
}

impl Opened {
    /// The bytes, one more than allowed at the most.
    pub fn bytes(self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let limit = MAX_SOURCE_BYTES as u64 + 1;
        let read = match self.file {
            Some(file) => file.take(limit).read_to_end(&mut bytes),
            None => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        };
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(cannot_read(&self.name, &error)),
        }
    }
}

impl Input {
    /// The directory whose lbc.toml holds: that of the first file, for standard input that of its name.
    pub fn directory(&self) -> PathBuf {
        let name = PathBuf::from(&self.stdin_filename);
        let first = self.paths.first().map(|path| if path.as_os_str() == "-" { &name } else { path });
        let directory =
            first.map(|path| if path.is_dir() { path.clone() } else { path.parent().unwrap_or(path).to_owned() });
        directory.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
    }

    /// The files that the paths stand for, in order, each of them once.
    pub fn files(&self) -> Result<impl Iterator<Item = Result<Opened, Failure>>, Failure> {
        let mut paths = Vec::new();
        for path in &self.paths {
            match path.as_os_str() == "-" {
                true if paths.contains(&None) => {
                    return Err(Failure::new("standard input (`-`) can be read only once"));
                }
                true => paths.push(None),
                false if path.is_dir() => paths.extend(directory(path)?.into_iter().map(Some)),
                false => paths.push(Some(path.clone())),
            }
        }
        let mut seen = HashSet::new();
        let stdin = self.stdin_filename.clone();
        let opened = paths.into_iter().map(move |path| match path {
            None => Ok(Opened { name: stdin.clone(), path: None, identity: Identity::Stdin, file: None }),
            Some(path) => {
                let name = path.display().to_string();
                open(&path).map_err(|error| cannot_read(&name, &error)).map(|(identity, file)| Opened {
                    name,
                    path: Some(path),
                    identity,
                    file: Some(file),
                })
            }
        });
        Ok(opened.filter(move |opened| opened.as_ref().map_or(true, |opened| seen.insert(opened.identity))))
    }

    /// Reads and parses the whole program. The diagnostics are those of its syntax.
    pub fn program(&self, declarations: &Declarations) -> Result<(Program, Vec<Diagnostic>), Failure> {
        self.load(declarations, &Overlay::new()).map(|loaded| (loaded.program, loaded.syntax))
    }

    /// As [`Input::program`], with some files as they are to become.
    pub fn load(&self, declarations: &Declarations, overlay: &Overlay) -> Result<Loaded, Failure> {
        let mut loader = Loader {
            program: Program::default(),
            diagnostics: Vec::new(),
            read: HashSet::new(),
            origins: Vec::new(),
            overlay,
            configs: Configs::default(),
        };
        let mut failures = Vec::new();
        for file in self.files()? {
            if let Err(failure) = file.and_then(|file| loader.root(file)) {
                failures.extend(failure.messages);
            }
        }
        Failure::check(failures)?;
        declarations.declare(&mut loader)?;
        let Loader { program, diagnostics, mut origins, .. } = loader;
        origins.resize(program.files.len(), None);
        Ok(Loaded { program, syntax: diagnostics, origins })
    }
}

/// Every `*.lb` file below a directory, sorted; ignore files are honoured.
pub fn directory(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in ignore::WalkBuilder::new(path).require_git(false).build() {
        let entry = entry.map_err(|error| Failure::new(format!("cannot read the directory: {error}")))?;
        let is_file = entry.file_type().is_some_and(|kind| !kind.is_dir()) && entry.path().is_file();
        if is_file && entry.path().extension().is_some_and(|extension| extension == "lb") {
            let file = entry.into_path();
            // What is below `.` needs no `./`.
            let is_here = path == Path::new(".");
            files.push(if is_here { file.strip_prefix(".").map_or(file.clone(), Path::to_owned) } else { file });
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

/// What a regular file is told by; `None` where there is none.
pub fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Identity::File(metadata.dev(), metadata.ino()))
}

/// Opens a file. Nothing here waits: a named pipe that nobody writes to would never be open.
fn open(path: &Path) -> io::Result<(Identity, FsFile)> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    // `<(command)` of a shell is a pipe without a path of its own, and is written to already.
    if kind.is_fifo() && path.canonicalize().is_ok() {
        return Err(io::Error::other("it is a named pipe; pass `-` and redirect standard input"));
    }
    let file = FsFile::open(path)?;
    let metadata = file.metadata()?;
    Ok((Identity::File(metadata.dev(), metadata.ino()), file))
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

struct Loader<'o> {
    program: Program,
    diagnostics: Vec<Diagnostic>,
    /// Files that are part of the program already.
    read: HashSet<Identity>,
    origins: Vec<Option<(Identity, Option<PathBuf>)>>,
    overlay: &'o Overlay,
    configs: Configs,
}

impl Loader<'_> {
    /// A file that the command line names.
    fn root(&mut self, file: Opened) -> Result<(), Failure> {
        let (name, identity) = (file.name.clone(), file.identity);
        if self.read.contains(&identity) {
            return Ok(());
        }
        let (own, path) = (file.path.clone(), file.path.clone().unwrap_or_else(|| PathBuf::from(&name)));
        let bytes = self.bytes(file)?;
        self.read.insert(identity);
        let id = self.add(&name, &path, bytes);
        self.origins.push(Some((identity, own)));
        self.follow(id, &path, &mut vec![identity]);
        Ok(())
    }

    fn bytes(&self, file: Opened) -> Result<Vec<u8>, Failure> {
        match self.overlay.get(&file.identity) {
            Some(text) => Ok(text.clone().into_bytes()),
            None => file.bytes(),
        }
    }

    fn add(&mut self, name: &str, path: &Path, bytes: Vec<u8>) -> SourceId {
        let (mut source, error) = source(name, path, bytes);
        if let Some(origin) = self.below_config(path) {
            source.origin = origin;
        }
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

    /// The path relative to the lbc.toml that holds for a file.
    fn below_config(&mut self, path: &Path) -> Option<String> {
        let config = self.configs.file_for(path)?;
        let absolute =
            path.parent()?.canonicalize().or_else(|_| Path::new(".").canonicalize()).ok()?.join(path.file_name()?);
        let below = absolute.strip_prefix(config.parent()?).ok()?;
        Some(below.to_string_lossy().into_owned())
    }

    /// Puts a file's statements into program order, and the files it includes where it includes them.
    fn follow(&mut self, id: SourceId, path: &Path, open: &mut Vec<Identity>) {
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

    fn include(&mut self, id: SourceId, span: Span, path: &Path, open: &mut Vec<Identity>) {
        let loc = at(id, span);
        let text = self.program.sources.text(loc).to_owned();
        let target = tidy(&path.parent().unwrap_or(Path::new("")).join(&text));
        let error = |message: String| Diagnostic::error(Code::Include, loc, message);
        let opened = match include_file(&target) {
            Ok(opened) => opened,
            Err(reason) => {
                let error = error(format!("cannot read `{}`: {reason}", target.display()));
                self.diagnostics.push(error.help("the path is relative to the file that includes it"));
                return;
            }
        };
        let identity = opened.identity;
        if open.contains(&identity) {
            let error = error(format!("`{text}` includes itself, directly or through other files"));
            self.diagnostics.push(error.here("here the circle closes").help("take one of the includes out"));
            return;
        }
        if self.read.contains(&identity) {
            return;
        }
        // The outermost file is open too, and is no include.
        if open.len() > MAX_INCLUDE_DEPTH {
            let error = error(format!("includes are nested more than {MAX_INCLUDE_DEPTH} deep"));
            self.diagnostics.push(error.help("include the file from one of the outer files"));
            return;
        }
        let bytes = match self.bytes(opened) {
            Ok(bytes) => bytes,
            Err(failure) => {
                self.diagnostics.push(error(failure.messages.join("; ")));
                return;
            }
        };
        let name = target.display().to_string();
        let included = self.add(&name, &target, bytes);
        self.origins.push(Some((identity, Some(target.clone()))));
        self.read.insert(identity);
        open.push(identity);
        self.follow(included, &target, open);
        open.pop();
    }
}

/// A path without `DIR/..` in it, where that is the same file: links may lead elsewhere.
fn tidy(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match (part, short.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => drop(short.pop()),
            (part, _) => short.push(part),
        }
    }
    match (short.canonicalize(), path.canonicalize()) {
        (Ok(one), Ok(other)) if one == other => short,
        (_, _) => path.to_owned(),
    }
}

/// Opens an included file: never a device, which may give other bytes each time.
fn include_file(path: &Path) -> io::Result<Opened> {
    let (identity, file) = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(Opened { name: path.display().to_string(), path: Some(path.to_owned()), identity, file: Some(file) })
}

impl Declarations {
    fn declare(&self, loader: &mut Loader<'_>) -> Result<(), Failure> {
        for text in &self.define {
            self.define(text, loader)?;
        }
        for path in &self.hosts {
            let name = path.display().to_string();
            let (identity, file) = open(path).map_err(|error| cannot_read(&name, &error))?;
            let opened = Opened { name: name.clone(), path: Some(path.clone()), identity, file: Some(file) };
            let (source, error) = source(&name, path, opened.bytes()?);
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

    fn define(&self, text: &str, loader: &mut Loader<'_>) -> Result<(), Failure> {
        // Several definitions are told apart by what they say.
        let id = loader.program.sources.add(Source::new(format!("-D {}", shorten(text)), "-D", text));
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

    fn weight(&self, text: &str, loader: &Loader<'_>) -> Result<(String, u16), Failure> {
        let Some((name, weight)) = text.split_once('=') else {
            return Err(Failure::new(format!("--set `{text}`: it is written `--set NAME=WEIGHT`")));
        };
        let digits = weight.bytes().all(|byte| byte.is_ascii_digit());
        let Some(weight) = weight.parse::<u16>().ok().filter(|_| digits) else {
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
fn hosts_file(id: SourceId, loader: &mut Loader<'_>) {
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
