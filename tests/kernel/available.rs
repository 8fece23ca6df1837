//! What this machine can do, and what happens where it cannot.
//!
//! `LBC_KERNEL_TESTS=require`: what is missing is a failure. `=skip`: no kernel test runs. Unset: tests
//! (or single targets) are left out and standard error says why. An ordinary user's tests run each in a
//! process of its own inside a user namespace.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::namespace::{Namespace, run, run_within};
use crate::target::Target;

const MODE: &str = "LBC_KERNEL_TESTS";

/// Set in the process that runs inside a user namespace.
const INSIDE: &str = "LBC_KERNEL_TESTS_INSIDE";

/// No test runs longer in a user namespace.
const WHOLE_TEST: Duration = Duration::from_secs(1200);

/// Where administrators' tools are; not on every user's `PATH`.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// What a test has to do.
pub enum Start {
    /// Build the laboratory; these targets work.
    Targets(Vec<Target>),
    /// Nothing: skipped, or done by another process.
    Nothing,
}

/// What one process finds out about its machine, once.
enum Machine {
    Able {
        targets: Vec<Target>,
        missing: Vec<String>,
    },
    /// Able inside a user namespace only.
    NeedsUserNamespace,
    Unable {
        missing: Vec<String>,
    },
}

/// Decides what the test of this name (as the test runner's `--exact` wants it) has to do.
pub fn prepare(test: &str) -> Start {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    static SAID: AtomicBool = AtomicBool::new(false);
    let required = match env::var(MODE).as_deref() {
        Ok("skip") => {
            say(&format!("{test}: skipped, because {MODE}=skip"));
            return Start::Nothing;
        }
        Ok("require") => true,
        Ok("") | Err(_) => false,
        Ok(other) => panic!("{MODE} is `{other}`; expected `require` or `skip`"),
    };
    let lacking = |missing: &[String], consequence: &str| {
        let list = missing.join("\n  ");
        assert!(!required, "{MODE}=require, but this machine lacks:\n  {list}");
        say(&format!("{test}: {consequence}; this machine lacks:\n  {list}"));
    };
    match MACHINE.get_or_init(Machine::find_out) {
        Machine::Able { targets, missing } if missing.is_empty() => Start::Targets(targets.clone()),
        Machine::Able { targets, missing } => {
            // A note is enough once for all tests of a process; a failure is each test's own.
            if required || !SAID.swap(true, Ordering::Relaxed) {
                lacking(missing, "some targets are left out");
            }
            Start::Targets(targets.clone())
        }
        Machine::NeedsUserNamespace => {
            run_in_user_namespace(test);
            Start::Nothing
        }
        Machine::Unable { missing } => {
            lacking(missing, "skipped");
            Start::Nothing
        }
    }
}

impl Machine {
    fn find_out() -> Self {
        let mut missing: Vec<String> =
            ["ip", "conntrack"].iter().filter(|tool| find(tool).is_none()).map(|tool| no_tool(tool)).collect();
        let namespace = match Namespace::new("trial") {
            Ok(namespace) => Some(namespace),
            Err(error) if env::var_os(INSIDE).is_none() && user_namespaces_work() => {
                if missing.is_empty() && error.kind() == io::ErrorKind::PermissionDenied {
                    return Self::NeedsUserNamespace;
                }
                missing.push(format!("network namespaces ({error})"));
                None
            }
            Err(error) => {
                missing.push(format!("the privilege to make network namespaces ({error}): root or user namespaces"));
                None
            }
        };
        let Some(namespace) = namespace.filter(|_| missing.is_empty()) else {
            return Self::Unable { missing };
        };
        let mut targets = Vec::new();
        for target in Target::ALL {
            match target.try_out(&namespace) {
                Ok(()) => targets.push(target),
                Err(reason) => missing.push(format!("target {target}: {reason}")),
            }
        }
        if targets.is_empty() { Self::Unable { missing } } else { Self::Able { targets, missing } }
    }
}

/// Whether a tool is there that only one test needs: without it the test is skipped, or fails where nothing may be.
pub fn has(name: &str, test: &str) -> bool {
    let found = find(name).is_some();
    if !found {
        assert!(env::var(MODE).as_deref() != Ok("require"), "{MODE}=require, but this machine lacks {}", no_tool(name));
        say(&format!("{test}: skipped; this machine lacks {}", no_tool(name)));
    }
    found
}

/// The words for a tool that is not installed.
pub fn no_tool(name: &str) -> String {
    format!("the tool `{name}`")
}

/// Finds a tool on `PATH` or where administrators' tools are.
pub fn find(tool: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(tool)).find(|path| path.is_file())
}

/// `PATH` with the administrators' folders behind it.
pub fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    env::join_paths(folders).expect("parts of PATH can be joined again")
}

/// A command for a tool, wherever it is.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(find(name).unwrap_or_else(|| name.into()));
    command.env("PATH", search_path());
    command
}

fn in_user_namespace() -> Command {
    let mut command = tool("unshare");
    command.args(["--map-root-user", "--net", "--kill-child", "--"]);
    command
}

fn user_namespaces_work() -> bool {
    run(in_user_namespace().arg("true"), "").is_ok_and(|finished| finished.status.success())
}

/// Runs the one test again, as root of a user namespace; its failure is this test's failure.
fn run_in_user_namespace(test: &str) {
    let program = env::current_exe().expect("a test knows its own program");
    let mut command = in_user_namespace();
    command.arg(program).args(["--exact", test, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    let finished = run_within(WHOLE_TEST, &mut command, "").unwrap_or_else(|trouble| panic!("{trouble}"));
    let passed = finished.status.success() && finished.stdout.contains("test result: ok. 1 passed");
    assert!(passed, "in a user namespace: {}\n{}\n{}", finished.status, finished.stdout, finished.stderr);
    let notes = finished.stderr.trim_end();
    if !notes.is_empty() {
        say(notes);
    }
}

/// Writes to standard error past the test runner, which hides what passing tests print.
fn say(text: &str) {
    // A closed standard error has no reader that could miss anything.
    let _ = writeln!(io::stderr(), "{text}");
}
