//! Every command of the README's tour is run, and prints what the README says.
//!
//! A block marked `console` holds commands after `$ ` and, below each, its whole output (both streams). Where the
//! exit code is not 0 the README says so on the last line: `(exit code 1)`.

#![allow(clippy::disallowed_methods, reason = "tests read files")]

use std::path::Path;
use std::process::Command;

/// A command with the output that the README promises.
struct Step {
    line: usize,
    command: String,
    output: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (index, line) in readme.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { line: index + 1, command: command.to_owned(), output: String::new() });
                }
                (None, Some(step)) => {
                    step.output.push_str(line);
                    step.output.push('\n');
                }
                (None, None) => panic!("README.md:{}: output without a command", index + 1),
            },
            (false, _) => {}
        }
    }
    steps
}

fn run(command: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_lbc"));
    let directory = binary.parent().expect("a binary is in a directory");
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("a shell");
    let mut text = String::from_utf8(output.stdout).expect("UTF-8");
    match output.status.code() {
        Some(0) => {}
        Some(code) => text.push_str(&format!("(exit code {code})\n")),
        None => text.push_str("(killed)\n"),
    }
    text
}

#[test]
fn every_command_of_the_readme_prints_what_the_readme_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    let steps = steps(&readme);
    assert!(steps.len() >= 8, "the tour has at least eight commands, found {}", steps.len());
    for step in steps {
        let output = run(&step.command);
        assert_eq!(output.trim_end(), step.output.trim_end(), "README.md:{}: `{}`", step.line, step.command);
    }
}

#[test]
fn the_readme_holds_one_command_for_the_job_and_one_for_all_tests() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    assert_eq!(readme.matches("sh tests/all.sh").count(), 1);
    let ci = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).expect("a CI script");
    assert!(ci.contains("sh tests/all.sh"), "CI runs the same command");
}
