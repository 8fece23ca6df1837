//! Diagnostics for programs: `--output-format` and LBC_OUTPUT_FORMAT.

use super::harness::{Run, Test};

/// Two files with four errors, one of which has a second place and one a suggestion.
fn wrong() -> Test {
    Test::new()
        .file("b.lb", "host web = 10.0.0.1\nhost web = 10.0.0.2\nbalance tcp 80 -> wbe, :80\n")
        .file("a.lb", "# a comment with umlauts: äöü\nbalance tcp 81 -> 10.0.0.1\tweight 70000\n")
}

#[test]
fn full() {
    assert_eq!(wrong().unicode().snapshot("format-full", "check b.lb a.lb").code, Some(1));
}

#[test]
fn concise() {
    assert_eq!(wrong().snapshot("format-concise", "check --output-format concise b.lb a.lb").code, Some(1));
}

#[test]
fn json() {
    assert_eq!(wrong().snapshot("format-json", "check --output-format json b.lb a.lb").code, Some(1));
}

#[test]
fn json_lines() {
    assert_eq!(wrong().snapshot("format-json-lines", "check --output-format json-lines b.lb a.lb").code, Some(1));
}

#[test]
fn are_whole_without_findings() {
    let test = Test::new().file("web.lb", "balance tcp 80 -> 10.0.0.1\n");
    let empty = "{\n  \"format_version\": \"1.0\",\n  \"diagnostics\": []\n}\n";
    for (format, text) in [("full", ""), ("concise", ""), ("json", empty), ("json-lines", "")] {
        assert_eq!(test.run(&format!("check --output-format {format} web.lb")).clean(), text);
    }
    // The other commands print theirs on standard error, beside what they are for.
    let run = test.run("compile --target nft --output-format json web.lb");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), empty));
    assert!(run.stdout.contains("table inet lbc"));
    let run = test.run("fmt --check --output-format json web.lb");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", empty));
}

#[test]
fn json_says_where_by_line_and_column_of_characters() {
    let run = wrong().run("check --output-format json-lines a.lb");
    let found: serde_json::Value = serde_json::from_str(run.stdout.trim()).expect("one object");
    let number = |key: &str| found[key].as_u64().expect("a number");
    assert_eq!(found["file"], "a.lb");
    assert_eq!([number("line"), number("column"), number("end_line"), number("end_column")], [2, 35, 2, 40]);
    let keys: Vec<&str> = found.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = [
        "code",
        "name",
        "severity",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "labels",
        "help",
        "fix",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
}

#[test]
fn check_prints_on_stdout_and_the_others_on_stderr() {
    let streams = |run: Run| (run.code, run.stdout.is_empty(), run.stderr.is_empty());
    assert_eq!(streams(wrong().run("check a.lb")), (Some(1), false, true));
    assert_eq!(streams(wrong().run("compile --target nft a.lb")), (Some(1), true, false));
    assert_eq!(streams(wrong().run("fmt a.lb")), (Some(1), true, false));
}

#[test]
fn the_environment_chooses_and_the_option_wins() {
    let test = wrong().env("LBC_OUTPUT_FORMAT", "concise");
    assert!(test.run("check a.lb").stdout.starts_with("a.lb:2:35: LB003 "));
    assert!(test.run("check --output-format json a.lb").stdout.starts_with('{'));
    wrong().env("LBC_OUTPUT_FORMAT", "nosuch").run("check a.lb").fails(2, "possible values");
}

#[test]
fn findings_are_sorted_by_path_and_place() {
    let run = wrong().run("check --output-format concise b.lb a.lb");
    let places: Vec<&str> = run.stdout.lines().filter_map(|line| line.split(": LB").next()).collect();
    assert_eq!(places, ["a.lb:2:35", "b.lb:2:6", "b.lb:3:19", "b.lb:3:25"]);
}
