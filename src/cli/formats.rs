//! Diagnostics in the forms that other programs read: GitHub, GitLab, SARIF 2.1.0 and JUnit.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::diagnostic::{Applicability, Code, Diagnostic, Severity};
use crate::lint::{document, page};
use crate::source::{Loc, Sources};

use super::render::{escaped, printable};

/// A place by lines and columns of characters, from 1.
struct Place<'a> {
    path: &'a str,
    start: (usize, usize),
    end: (usize, usize),
}

fn place(sources: &Sources, loc: Loc) -> Place<'_> {
    let source = sources.get(loc.source);
    let path = source.path.strip_prefix("./").unwrap_or(&source.path);
    Place { path, start: source.position(loc.span.start), end: source.position(loc.span.end) }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The message with the help.
fn whole_message(diagnostic: &Diagnostic) -> String {
    let help = diagnostic.help.as_deref().map_or_else(String::new, |help| format!("; {help}"));
    printable(&diagnostic.message) + &help
}

fn pretty(value: &Value) -> String {
    escaped(&serde_json::to_string_pretty(value).expect("plain values are JSON")) + "\n"
}

// ---- GitHub ---------------------------------------------------------------------------------------------------------

/// Workflow commands, which GitHub shows beside the changed lines.
pub fn github(sources: &Sources, list: &[Diagnostic]) -> String {
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let line = |diagnostic: &Diagnostic| {
        let Place { path, start, end } = place(sources, diagnostic.primary.loc);
        let code = diagnostic.code;
        // Columns are only read where the lines are equal.
        let columns = match start.0 == end.0 {
            true => format!(",col={},endColumn={}", start.1, end.1),
            false => String::new(),
        };
        format!(
            "::{} title={},file={},line={},endLine={}{columns}::{}:{}:{}: {} {}\n",
            level(diagnostic.severity),
            property(&format!("lbc {} {}", code.as_str(), code.name())),
            property(&printable(path)),
            start.0,
            end.0,
            data(&printable(path)),
            start.0,
            start.1,
            code.as_str(),
            data(&whole_message(diagnostic)),
        )
    };
    list.iter().map(line).collect()
}

/// Text of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

// ---- GitLab ---------------------------------------------------------------------------------------------------------

/// A Code Quality report.
pub fn gitlab(sources: &Sources, list: &[Diagnostic]) -> String {
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let all = list.iter().map(|diagnostic| {
        let Place { path, start, end } = place(sources, diagnostic.primary.loc);
        // Lines are no part of it: a finding that moves is the same finding.
        let mut print = fingerprint(&[path, diagnostic.code.as_str(), &diagnostic.message], 0);
        let count = seen.entry(print).or_default();
        *count += 1;
        if *count > 1 {
            print = fingerprint(&[path, diagnostic.code.as_str(), &diagnostic.message], *count);
        }
        json!({
            "description": format!("{} {}", diagnostic.code.as_str(), printable(&diagnostic.message)),
            "check_name": diagnostic.code.name(),
            "fingerprint": format!("{print:016x}"),
            "severity": match diagnostic.severity { Severity::Error => "major", Severity::Warning => "minor" },
            "location": {
                "path": path,
                "positions": {
                    "begin": { "line": start.0, "column": start.1 },
                    "end": { "line": end.0, "column": end.1 },
                },
            },
        })
    });
    pretty(&Value::Array(all.collect()))
}

/// FNV-1a, 64 bits.
fn fingerprint(parts: &[&str], count: u64) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0])).chain(count.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

// ---- SARIF ----------------------------------------------------------------------------------------------------------

/// A SARIF 2.1.0 log of one run; it describes every rule, with findings or without.
pub fn sarif(sources: &Sources, list: &[Diagnostic]) -> String {
    let rules = Code::ALL.iter().map(|&code| {
        let doc = document(code);
        json!({
            "id": code.as_str(),
            "name": code.name(),
            "shortDescription": { "text": code.summary() },
            "fullDescription": { "text": doc.what },
            "help": { "text": doc.why, "markdown": page(code) },
            "defaultConfiguration": { "level": if code.is_lint() { "warning" } else { "error" } },
        })
    });
    let results = list.iter().map(|diagnostic| result(sources, diagnostic));
    pretty(&json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "lbc",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    }))
}

fn result(sources: &Sources, diagnostic: &Diagnostic) -> Value {
    let index = Code::ALL.iter().position(|code| *code == diagnostic.code).unwrap_or_default();
    let mut result = json!({
        "ruleId": diagnostic.code.as_str(),
        "ruleIndex": index,
        "level": level(diagnostic.severity),
        "message": { "text": whole_message(diagnostic) },
        "locations": [{ "physicalLocation": physical(sources, diagnostic.primary.loc) }],
    });
    if !diagnostic.labels.is_empty() {
        let related = diagnostic.labels.iter().map(|label| {
            json!({
                "physicalLocation": physical(sources, label.loc),
                "message": { "text": label.text },
            })
        });
        result["relatedLocations"] = related.collect();
    }
    if let Some(fix) = diagnostic.fix.as_deref() {
        let mut files: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for edit in &fix.edits {
            files.entry(&sources.get(edit.loc.source).path).or_default().push(json!({
                "deletedRegion": region(sources, edit.loc),
                "insertedContent": { "text": edit.text },
            }));
        }
        let changes = files.into_iter().map(
            |(path, replacements)| json!({ "artifactLocation": { "uri": uri(path) }, "replacements": replacements }),
        );
        let unsafe_ = match fix.applicability {
            Applicability::Safe => "",
            Applicability::Unsafe => " (changes the meaning)",
        };
        result["fixes"] = json!([{
            "description": { "text": format!("{}{unsafe_}", fix.message) },
            "artifactChanges": changes.collect::<Vec<_>>(),
        }]);
    }
    result
}

fn physical(sources: &Sources, loc: Loc) -> Value {
    json!({
        "artifactLocation": { "uri": uri(&sources.get(loc.source).path) },
        "region": region(sources, loc),
    })
}

fn region(sources: &Sources, loc: Loc) -> Value {
    let Place { start, end, .. } = place(sources, loc);
    json!({ "startLine": start.0, "startColumn": start.1, "endLine": end.0, "endColumn": end.1 })
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

// ---- JUnit ----------------------------------------------------------------------------------------------------------

/// A suite for each file with findings, and a case for each finding; one case that passes where there are none.
pub fn junit(sources: &Sources, list: &[Diagnostic]) -> String {
    let mut files: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in list {
        files.entry(place(sources, diagnostic.primary.loc).path).or_default().push(diagnostic);
    }
    let count = list.len().max(1);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!("<testsuites name=\"lbc\" tests=\"{count}\" failures=\"{}\" errors=\"0\">\n", list.len()));
    if files.is_empty() {
        text.push_str("  <testsuite name=\"lbc\" tests=\"1\" failures=\"0\" errors=\"0\">\n");
        text.push_str("    <testcase name=\"no findings\" classname=\"lbc\"/>\n  </testsuite>\n");
    }
    for (path, findings) in files {
        let (path, count) = (xml(path), findings.len());
        text.push_str(&format!("  <testsuite name=\"{path}\" tests=\"{count}\" failures=\"{count}\" errors=\"0\">\n"));
        for diagnostic in findings {
            let (line, column) = place(sources, diagnostic.primary.loc).start;
            let code = diagnostic.code;
            text.push_str(&format!(
                "    <testcase name=\"{} {}:{line}:{column}\" classname=\"{path}\">\n      \
                 <failure type=\"{}\" message=\"{}\">{path}:{line}:{column}: {}</failure>\n    </testcase>\n",
                code.as_str(),
                code.name(),
                level(diagnostic.severity),
                xml(&diagnostic.message),
                xml(&whole_message(diagnostic)),
            ));
        }
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

/// Text of an element or an attribute. Control characters cannot be written in XML at all.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push_str(&printable(c.encode_utf8(&mut [0; 4]))),
        }
    }
    escaped
}
