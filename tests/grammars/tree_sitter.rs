//! `grammar/tree-sitter-lb/`, by the real tree-sitter: its command line from `LBC_TREE_SITTER` (a path), the PATH, or npm. That package
//! downloads a program; where it cannot, npm's package of the library reads the corpus with the parser that is compiled here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::oracle::{Class, compare, samples};
use crate::{file, quoted, read, skip};

/// The version of the command line that made src/parser.c.
const VERSION: &str = "0.25.10";

/// The packages of the library, and of the headers that what is compiled for it needs.
const LIBRARY: [&str; 2] = ["tree-sitter@0.25.0", "node-api-headers@1.5.0"];

/// What there is of tree-sitter.
enum TreeSitter {
    CommandLine(PathBuf),
    /// The library, in the directory in which npm installed it.
    Library(PathBuf),
}

fn runs(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// Installs packages of npm in a directory. What it prints is of no use to a test that goes on without them.
fn install(directory: &Path, packages: &[&str]) -> Option<()> {
    std::fs::create_dir_all(directory).ok()?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--fetch-retries=1", "--prefix"]).arg(directory).args(packages);
    // Headers that stand beside node need not be fetched.
    let node = Command::new("node").args(["-p", "require('path').resolve(process.execPath, '../..')"]).output().ok();
    let prefix = node.and_then(|node| String::from_utf8(node.stdout).ok());
    if let Some(prefix) = prefix.map(|prefix| prefix.trim().to_owned())
        && Path::new(&prefix).join("include/node/node_api.h").is_file()
    {
        npm.env("npm_config_nodedir", prefix);
    }
    npm.output().ok().filter(|output| output.status.success()).map(drop)
}

fn command_line() -> Option<PathBuf> {
    let named = std::env::var_os("LBC_TREE_SITTER").filter(|value| value != "require").map(PathBuf::from);
    if let Some(program) = named.into_iter().chain([PathBuf::from("tree-sitter")]).find(|program| runs(program)) {
        return Some(program);
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tree-sitter");
    let program = directory.join("node_modules/.bin/tree-sitter");
    if !runs(&program) {
        install(&directory, &[&format!("tree-sitter-cli@{VERSION}")])?;
    }
    runs(&program).then_some(program)
}

fn library() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tree-sitter-library");
    let modules = directory.join("node_modules");
    if !modules.join("node-api-headers/include").is_dir() {
        install(&directory, &LIBRARY)?;
    }
    let grammar = file("tree-sitter-lb/src");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(directory.join("lb.node"));
    compiler.arg("-I").arg(&grammar).arg("-I").arg(modules.join("node-api-headers/include"));
    compiler.arg(here("tree_sitter.c")).arg(grammar.join("parser.c"));
    compiler.status().is_ok_and(|status| status.success()).then_some(directory)
}

/// A file beside this one.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grammars").join(name)
}

/// The real tree-sitter, or `None` where it cannot be had.
fn tree_sitter() -> Option<&'static TreeSitter> {
    static FOUND: OnceLock<Option<TreeSitter>> = OnceLock::new();
    let found = FOUND
        .get_or_init(|| command_line().map(TreeSitter::CommandLine).or_else(|| library().map(TreeSitter::Library)));
    if found.is_none() {
        skip("LBC_TREE_SITTER", "tree-sitter is not on the PATH, and node, npm and cc cannot make one");
    }
    found.as_ref()
}

/// The grammar in a directory of its own, and a command that works on it.
fn copy() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("cp");
    command.arg("-r").arg(file("tree-sitter-lb/.")).arg(directory.path());
    assert!(command.status().expect("cp runs").success());
    directory
}

fn run(program: &Path, directory: &TempDir, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(directory.path()).env("XDG_CACHE_HOME", directory.path().join("cache"));
    output(command.env("NO_COLOR", "1").env("HOME", directory.path()))
}

/// Runs `tree_sitter.js` on the grammar itself.
fn run_library(modules: &Path, command: &str, sample: Option<&Path>) -> String {
    let mut node = Command::new("node");
    output(node.arg(here("tree_sitter.js")).arg(modules).arg(command).arg(file("tree-sitter-lb")).args(sample))
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("tree-sitter runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn its_corpus_is_read_as_it_says() {
    match tree_sitter() {
        Some(TreeSitter::CommandLine(program)) => drop(run(program, &copy(), &["test"])),
        Some(TreeSitter::Library(modules)) => drop(run_library(modules, "test", None)),
        None => {}
    }
}

#[test]
fn the_parser_is_the_one_of_the_grammar() {
    let program = match tree_sitter() {
        Some(TreeSitter::CommandLine(program)) => program,
        Some(TreeSitter::Library(_)) => return eprintln!("skipped: only tree-sitter-cli makes parsers"),
        None => return,
    };
    let directory = copy();
    if !run(program, &directory, &["--version"]).contains(VERSION) {
        return skip("LBC_TREE_SITTER", "tree-sitter is not the version that made the parser");
    }
    run(program, &directory, &["generate"]);
    for name in ["parser.c", "grammar.json", "node-types.json"] {
        let made = std::fs::read_to_string(directory.path().join("src").join(name)).expect("a file");
        assert!(made == read(&format!("tree-sitter-lb/src/{name}")), "src/{name}: run `tree-sitter generate`");
    }
}

fn class(capture: &str) -> Option<Class> {
    Some(match capture {
        "comment" => Class::Comment,
        "string" => Class::String,
        "keyword" | "type" => Class::Keyword,
        "variable" => Class::Name,
        "number" => Class::Number,
        "constant" => Class::Address,
        "operator" | "punctuation.delimiter" | "punctuation.bracket" => Class::Other,
        "variable.parameter" | "constant.builtin" => return None,
        _ => panic!("the capture {capture} belongs to no class"),
    })
}

#[test]
fn says_what_the_compiler_says() {
    let Some(tree_sitter) = tree_sitter() else { return };
    let directory = copy();
    for sample in samples() {
        let path = directory.path().join("sample.lb");
        std::fs::write(&path, &sample.text).expect("a file");
        // Fails where there is an error in the tree.
        let captures = match tree_sitter {
            TreeSitter::CommandLine(program) => {
                run(program, &directory, &["parse", "--quiet", "sample.lb"]);
                run(program, &directory, &["query", "--captures", "queries/highlights.scm", "sample.lb"])
            }
            TreeSitter::Library(modules) => run_library(modules, "captures", Some(&path)),
        };
        let mut starts = vec![0];
        starts.extend(sample.text.match_indices('\n').map(|(at, _)| at + 1));
        let mut found = vec![Class::Other; sample.text.len()];
        let mut count = 0;
        for line in captures.lines().filter(|line| line.contains("capture: ")) {
            // `pattern: 0, capture: 0 - comment, start: (0, 0), end: (0, 74), text: …`
            let name = line.split(" - ").nth(1).and_then(|rest| rest.split(',').next()).expect("a name");
            let place = |what: &str| {
                let (_, rest) = line.split_once(&format!("{what}: (")).expect("a place");
                let (row, column) = rest.split_once(')').and_then(|(place, _)| place.split_once(", ")).expect("a pair");
                starts[row.parse::<usize>().expect("a row")] + column.parse::<usize>().expect("a column")
            };
            count += 1;
            if let Some(class) = class(name) {
                found[place("start")..place("end")].fill(class);
            }
        }
        assert!(count > 0 || sample.text.trim().is_empty(), "{captures}");
        compare("tree-sitter", &sample, &found);
    }
}

#[test]
fn knows_every_word_of_the_language() {
    let words: std::collections::BTreeSet<&str> = lbc::keyword::all().collect();
    let grammar = read("tree-sitter-lb/grammar.js");
    assert_eq!(quoted(&grammar), words);
    // Protocols and the options that are a word alone are nodes of their own.
    let nodes = ["accept", "backup", "counter", "output", "sctp", "tcp", "udp"];
    let queries = read("tree-sitter-lb/queries/highlights.scm");
    let mut highlighted = quoted(&queries);
    assert!(nodes.iter().all(|word| !highlighted.contains(word)), "{highlighted:?}");
    highlighted.extend(nodes);
    assert_eq!(highlighted, words);
    assert!(["(accept)", "(backup)", "(counter)", "(output)", "(protocol)"].iter().all(|node| queries.contains(node)));
}
