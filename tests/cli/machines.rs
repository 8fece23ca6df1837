//! Output for other programs: reports in the forms of others, documentation, completions and man pages.

use std::path::{Path, PathBuf};

use lbc::diagnostic::Code;
use serde_json::Value;

use super::harness::Test;

/// Errors, lints, second places, fixes and characters that need care.
fn tests() -> Vec<(Test, &'static str)> {
    let strange = "bal\u{1b}ance\n# ä\nbalance tcp 80 -> 10.0.0.1 # é\nbalance tcp 80 as x -> <nosuch>&\"%\n";
    vec![
        (Test::new().file("web.lb", "balance tcp 80 -> 10.0.0.1\n"), "web.lb"),
        (Test::new().file("web.lb", "host a = 10.0.0.1\nhost a = 10.0.0.2\nbalance tcp 80 -> b\n"), "web.lb"),
        (
            Test::new().file(
                "a/b c.lb",
                "balance tcp *:80 -> 127.0.0.1:81 weight 50, 10.0.0.1 weight 50, 10.0.0.1\nhost x = ::1\nbalance tcp 1-100 -> 10.0.0.1\n",
            ),
            "a/b#c.lb a",
        ),
        (Test::new().file("s.lb", strange), "s.lb"),
    ]
}

fn run(format: &str) -> Vec<String> {
    let run = |(test, path): (Test, &str)| {
        let path = path.split(' ').next_back().expect("a path");
        let run = test.run(&format!("check --output-format {format} {path}"));
        assert!(matches!(run.code, Some(0 | 1)) && run.stderr.is_empty(), "{}", run.show());
        run.is_harmless();
        run.stdout
    };
    tests().into_iter().map(run).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[track_caller]
fn validates(schema: &str, instance: &Value) {
    let schema = json(&std::fs::read_to_string(root(schema)).expect("a schema"));
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let errors: Vec<String> =
        validator.iter_errors(instance).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{instance:#}");
}

#[test]
fn json_is_as_its_schema_says() {
    for text in run("json") {
        validates("grammar/diagnostics.schema.json", &json(&text));
    }
    // The schema can say no.
    let schema = json(&std::fs::read_to_string(root("grammar/diagnostics.schema.json")).expect("a schema"));
    let wrong = serde_json::json!({ "format_version": "1.0", "diagnostics": [{ "code": 1 }] });
    assert!(!jsonschema::is_valid(&schema, &wrong));
}

#[test]
fn json_holds_the_fixes() {
    let test = Test::new().file("web.lb", "balance tcp 80 -> 10.0.0.1 weight 50, 10.0.0.2 weight 50\n");
    let found = json(&test.run("check --output-format json web.lb").stdout);
    let fix = &found["diagnostics"][0]["fix"];
    assert_eq!((&fix["applicability"], &fix["edits"][0]["content"]), (&"safe".into(), &"1".into()), "{found:#}");
    assert_eq!((&fix["edits"][1]["column"], &fix["edits"][1]["end_column"]), (&55.into(), &57.into()), "{found:#}");
}

#[test]
fn sarif_is_as_its_schema_says() {
    let logs: Vec<Value> = run("sarif").iter().map(|text| json(text)).collect();
    for log in &logs {
        validates("tests/schemas/sarif-2.1.0.json", log);
        let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().expect("rules");
        assert_eq!(rules.len(), Code::ALL.len());
        for result in log["runs"][0]["results"].as_array().expect("results") {
            let index = result["ruleIndex"].as_u64().expect("an index") as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
    }
    assert_eq!(logs[0]["runs"][0]["results"], serde_json::json!([]));
    assert_eq!(
        logs[2]["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "a/b%20c.lb"
    );
    assert!(logs[2].to_string().contains("artifactChanges") && logs[1].to_string().contains("relatedLocations"));
    let mut wrong = logs[1].clone();
    wrong["runs"][0]["results"][0]["level"] = "bad".into();
    let schema = json(&std::fs::read_to_string(root("tests/schemas/sarif-2.1.0.json")).expect("a schema"));
    assert!(!jsonschema::is_valid(&schema, &wrong));
}

/// What GitLab's documentation asks of a Code Quality report.
#[test]
fn gitlab_reports_have_what_gitlab_reads() {
    for text in run("gitlab") {
        let mut prints = Vec::new();
        for entry in json(&text).as_array().expect("a list") {
            for key in ["description", "check_name", "fingerprint"] {
                assert!(entry[key].as_str().is_some_and(|text| !text.is_empty()), "{entry}");
            }
            let severities = ["info", "minor", "major", "critical", "blocker"];
            assert!(severities.contains(&entry["severity"].as_str().expect("a severity")));
            let location = &entry["location"];
            assert!(location["path"].as_str().is_some_and(|path| !path.starts_with("./")));
            assert!(location["positions"]["begin"]["line"].as_u64().is_some_and(|line| line > 0));
            prints.push(entry["fingerprint"].to_string());
        }
        let all = prints.len();
        prints.sort();
        prints.dedup();
        assert_eq!(prints.len(), all, "{text}");
    }
    // A finding that moves is the same finding.
    let print = |text: &str| {
        let run = Test::new().file("web.lb", text).run("check --output-format gitlab web.lb");
        json(&run.stdout)[0]["fingerprint"].clone()
    };
    assert_eq!(print("balance tcp 80 -> x\n"), print("# moved\n\nbalance tcp 80 -> x\n"));
}

#[test]
fn github_gets_one_command_a_finding() {
    let texts = run("github");
    assert_eq!(texts[0], "");
    for line in texts.iter().flat_map(|text| text.lines()) {
        let (head, message) = line.split_once("::").and_then(|(_, rest)| rest.split_once("::")).expect("a command");
        assert!(head.starts_with("error title=lbc LB") || head.starts_with("warning title=lbc LB"), "{line}");
        assert!(head.contains(",line=") && message.contains(": LB"), "{line}");
    }
    assert!(
        texts[1].starts_with("::error title=lbc LB011 duplicate-name,file=web.lb,line=2,endLine=2,col=6,endColumn=7::"),
        "{}",
        texts[1]
    );
    let run = Test::new().file("a,b:c%.lb", "x\n").run("check --output-format github a,b:c%.lb");
    assert!(
        run.stdout.contains("file=a%2Cb%3Ac%25.lb,line=1") && run.stdout.contains("::a,b:c%25.lb:1:1: LB002"),
        "{}",
        run.stdout
    );
}

/// Names of elements and attributes as in the Jenkins and Maven schemas of JUnit reports.
#[test]
fn junit_reports_are_whole() {
    for text in run("junit") {
        let mut open: Vec<&str> = Vec::new();
        let body = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("a declaration");
        let mut cases = 0;
        for piece in body.split('<').skip(1) {
            let (tag, rest) = piece.split_once('>').expect("a whole tag");
            let plain = |text: &str| text.matches('&').count() <= text.matches(';').count();
            assert!(plain(tag) && plain(rest) && tag.matches('"').count() % 2 == 0, "{text}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{text}");
                continue;
            }
            let name = tag.split([' ', '/']).next().expect("a name");
            assert!(["testsuites", "testsuite", "testcase", "failure"].contains(&name), "{name}");
            cases += usize::from(name == "testcase");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0], "{text}");
        assert!(text.contains(&format!("<testsuites name=\"lbc\" tests=\"{cases}\"")), "{text}");
    }
}

#[test]
fn rules_are_explained() {
    let all = Test::new().run("rule --all");
    for code in Code::ALL {
        assert!(all.clean().contains(&format!("# {} {}\n", code.as_str(), code.name())));
    }
    let test = Test::new();
    test.snapshot("rule", "rule LB104").clean();
    assert_eq!(test.run("rule lb104").clean(), test.run("rule loopback-backend").clean());
    assert_eq!(
        json(test.run("rule --all --output-format json").clean()).as_array().map(Vec::len),
        Some(Code::ALL.len())
    );
    test.run("rule LB1044").fails(2, "did you mean `LB104`?");
    test.run("rule").fails(2, "required");
}

/// Compares with what is checked in; `LBC_BLESS=1` writes it anew.
fn is_checked_in(path: &str, text: &str) {
    if std::env::var_os("LBC_BLESS").is_some() {
        std::fs::write(root(path), text).expect("a writable checkout");
    }
    let old = std::fs::read_to_string(root(path)).unwrap_or_default();
    assert!(old == text, "{path} is stale: LBC_BLESS=1 cargo test --test cli checked_in");
}

#[test]
fn completions_are_checked_in() {
    for (shell, path) in
        [("bash", "lbc.bash"), ("zsh", "_lbc"), ("fish", "lbc.fish"), ("elvish", "lbc.elv"), ("powershell", "_lbc.ps1")]
    {
        is_checked_in(
            &format!("snapshots/completions/{path}"),
            Test::new().run(&format!("completions {shell}")).clean(),
        );
    }
    let script = Test::new().run("completions bash");
    assert!(script.clean().contains("--unsafe-fixes"));
    Test::new().run("completions tcsh").fails(2, "possible values");
}

#[test]
fn man_pages_are_checked_in() {
    is_checked_in("snapshots/man/lbc.1", Test::new().run("man").clean());
    let help = Test::new().run("--help");
    let commands = help.clean().lines().skip_while(|line| *line != "Commands:").skip(1).map_while(|line| {
        let (name, _) = line.trim().split_once(' ')?;
        line.starts_with("  ").then(|| name.to_owned())
    });
    for command in commands.filter(|command| command != "help") {
        let page = Test::new().run(&format!("man {command}"));
        assert!(page.clean().contains(".SH NAME") && page.stdout.contains("OPTIONS"), "{}", page.stdout);
        is_checked_in(&format!("snapshots/man/lbc-{command}.1"), &page.stdout);
    }
    Test::new().run("man nosuch").fails(2, "no command is named `nosuch`");
}
