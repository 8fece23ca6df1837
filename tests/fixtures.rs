//! Files with errors, each marked in the file itself. What is not marked and what is marked but not found both fail.
//!
//! A mark is a comment line, and speaks of the line above it (marks left out):
//!
//! ```text
//! host a = 10.0.0.256
//! #~       ^^^^^^^^^^ LB004 is no IPv4 address
//! blance tcp 80 -> a
//! #~ LB002 expected a statement
//! ```
//!
//! The carets stand under what is underlined (one caret where nothing is: between two characters, at a line's end).
//! Without them the error may stand anywhere in the line. Behind the code: a part of the message, or of the help.
//! `#~$ LB002 …` marks an error at the end of the file. Columns count characters; a tab is one.
//!
//! `LBC_BLESS=1 cargo test --test fixtures` writes the marks of failing files anew;
//! read them before you keep them.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lbc::diagnostic::Diagnostic;
use lbc::program::Program;
use lbc::source::{Source, Sources};

/// Everything that is wrong with a text, as far as the phases go that `folder` is about.
fn diagnose(folder: &str, name: &str, text: &str) -> (Sources, Vec<Diagnostic>) {
    let mut sources = Sources::default();
    let id = sources.add(Source::new(name, name, text));
    let found = match folder {
        "syntax" => lbc::file::parse(sources.get(id), id).1,
        "resolve" => {
            let (file, syntax) = lbc::file::parse(sources.get(id), id);
            let mut program = Program { sources, files: vec![file], ..Program::default() };
            for index in 0..program.files[0].items.len() {
                program.push_order(id, index);
            }
            let found = lbc::resolve::check(&program, syntax).err().unwrap_or_default();
            return (program.sources, found);
        }
        "lint" => {
            let (file, syntax) = lbc::file::parse(sources.get(id), id);
            let mut program = Program { sources, files: vec![file], ..Program::default() };
            for index in 0..program.files[0].items.len() {
                program.push_order(id, index);
            }
            let found = match lbc::resolve::check(&program, syntax) {
                Ok(config) => lbc::lint::check(&program, &config, &lbc::lint::Settings::default()),
                Err(errors) => errors,
            };
            let found = lbc::resolve::sort(&program, found);
            return (program.sources, found);
        }
        other => panic!("tests/fixtures/{other}: no phase is known for this folder"),
    };
    (sources, found)
}

/// One expected or one found error.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    /// Counted from 1; `None` at the end of the file.
    line: Option<usize>,
    /// First character (from 0) and number of characters; `None` where any will do.
    columns: Option<(usize, usize)>,
    code: String,
    text: String,
}

impl Mark {
    fn read(line: usize, text: &str) -> Option<Mark> {
        let body = text.trim_start().strip_prefix("#~")?;
        let (line, body) = match body.strip_prefix('$') {
            Some(body) => (None, body),
            None => (Some(line), body),
        };
        let carets = body.trim_start().chars().take_while(|&c| c == '^').count();
        let start = text.chars().take_while(|&c| c != '^').count();
        let columns = (carets > 0).then_some((start, carets));
        let (code, text) = body.trim_start().trim_start_matches('^').trim().split_once(' ').expect("CODE and a text");
        Some(Mark { line, columns, code: code.to_owned(), text: text.to_owned() })
    }

    /// The marks of a text; each speaks of the last line above it that is no mark.
    fn all(text: &str) -> Vec<Mark> {
        let mut above = 0;
        let mut marks = Vec::new();
        for (index, line) in text.lines().enumerate() {
            match Mark::read(above, line) {
                Some(mark) => marks.push(mark),
                None => above = index + 1,
            }
        }
        marks
    }

    /// Whether a found error is the one that is meant.
    fn covers(&self, found: &Mark) -> bool {
        self.line == found.line
            && self.code == found.code
            && self.columns.is_none_or(|columns| Some(columns) == found.columns)
            && found.text.contains(&self.text)
    }
}

fn found(source: &Source, diagnostic: &Diagnostic) -> Mark {
    let span = diagnostic.primary.loc.span;
    let (line, column) = source.position(span.start);
    let line_end = source.line_span(line).end.max(span.start);
    let width = source.text()[span.start as usize..span.end.min(line_end) as usize].chars().count();
    let end_of_file = span.start as usize == source.text().len();
    Mark {
        line: (!end_of_file).then_some(line),
        columns: Some((column - 1, width.max(1))),
        code: diagnostic.code.as_str().to_owned(),
        text: format!("{}\n{}", diagnostic.message, diagnostic.help.as_deref().unwrap_or_default()),
    }
}

/// What is wrong with a fixture, in words; empty where all is as marked.
fn check(folder: &str, path: &Path, text: &str) -> String {
    let name = path.file_name().expect("a file").to_string_lossy();
    let (sources, diagnostics) = diagnose(folder, &name, text);
    let source = sources.get(sources.ids().next().expect("the fixture"));
    let mut expected = Mark::all(text);
    let mut report = String::new();
    for diagnostic in &diagnostics {
        let found = found(source, diagnostic);
        match expected.iter().position(|mark| mark.covers(&found)) {
            Some(index) => drop(expected.remove(index)),
            None => writeln!(report, "{name}: not marked: {found:?}").expect("a string"),
        }
    }
    for mark in expected {
        writeln!(report, "{name}: marked, but not found: {mark:?}").expect("a string");
    }
    report
}

/// The text with the marks of what is found in it.
fn bless(folder: &str, text: &str) -> String {
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let unmarked: String = lines.iter().filter(|line| !line.trim_start().starts_with("#~")).copied().collect();
    // Marks are comments, which move no error to another line of the unmarked text.
    let (sources, diagnostics) = diagnose(folder, "bless", &unmarked);
    let source = sources.get(sources.ids().next().expect("the fixture"));
    let marks: Vec<Mark> = diagnostics.iter().map(|diagnostic| found(source, diagnostic)).collect();
    let mark_line = |mark: &Mark, sign: &str| {
        let carets = match mark.columns {
            Some((start, width)) if start > 2 => {
                format!("{}{} ", " ".repeat(start - 2 - sign.len()), "^".repeat(width))
            }
            Some(_) | None => " ".to_owned(),
        };
        let message = mark.text.lines().next().unwrap_or_default();
        format!("#~{sign}{carets}{} {message}{ending}", mark.code)
    };
    let mut out = String::new();
    for (index, line) in unmarked.split_inclusive('\n').enumerate() {
        out += line;
        for mark in marks.iter().filter(|mark| mark.line == Some(index + 1)) {
            out += &mark_line(mark, "");
        }
    }
    for mark in marks.iter().filter(|mark| mark.line.is_none()) {
        out += &mark_line(&Mark { columns: None, ..mark.clone() }, "$");
    }
    out
}

fn fixtures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("tests/fixtures is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "lb"));
    files.sort();
    assert!(!files.is_empty(), "{} holds fixtures", folder.display());
    files
}

fn run(folder: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut report = String::new();
    for path in fixtures(&root) {
        let text = std::fs::read_to_string(&path).expect("fixtures are UTF-8");
        let wrong = check(folder, &path, &text);
        match std::env::var_os("LBC_BLESS") {
            Some(_) if !wrong.is_empty() => {
                std::fs::write(&path, bless(folder, &text)).expect("a writable fixture");
            }
            Some(_) | None => report += &wrong,
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn syntax_errors_are_where_and_what_their_marks_say() {
    run("syntax");
}

#[test]
fn names_and_checks_fail_where_and_as_their_marks_say() {
    run("resolve");
}

#[test]
fn lints_fire_where_their_marks_say() {
    run("lint");
}

#[test]
fn a_missing_and_a_surplus_mark_both_fail() {
    let path = Path::new("x.lb");
    assert_eq!(check("syntax", path, "host 1 = ::1\n#~   ^ LB006 is no name\n"), "");
    assert_ne!(check("syntax", path, "host 1 = ::1\n"), "");
    assert_ne!(check("syntax", path, "host a = ::1\n#~ LB006 is no name\n"), "");
    assert_ne!(check("syntax", path, "host 1 = ::1\n#~  ^^ LB006 is no name\n"), "");
}
