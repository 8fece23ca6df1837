//! The hooks of `.pre-commit-hooks.yaml`, run by the real pre-commit in a repository of their own.
//!
//! pre-commit is taken from the PATH, else installed from PyPI into the target directory. Where neither can be had the tests
//! say so and pass; with LBC_PRE_COMMIT=require they fail.

#![allow(clippy::disallowed_methods, reason = "tests read files and the environment")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The program, or `None` where it cannot be had.
fn pre_commit() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if succeeds(Command::new("pre-commit").arg("--version")) {
            return Some(PathBuf::from("pre-commit"));
        }
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pre-commit");
        let program = venv.join("bin/pre-commit");
        let made = program.is_file()
            || (succeeds(Command::new("python3").args(["-m", "venv"]).arg(&venv))
                && succeeds(Command::new(venv.join("bin/pip")).args(["install", "-q", "pre-commit"])));
        made.then_some(program)
    });
    if found.is_none() {
        let required = std::env::var_os("LBC_PRE_COMMIT").is_some_and(|value| value == "require");
        assert!(!required, "pre-commit is not on the PATH, and pip cannot install it");
        eprintln!("skipped: pre-commit is not on the PATH, and pip cannot install it");
    }
    found.as_deref()
}

/// A repository with files, and one that holds nothing but our hooks.
struct Repository {
    program: &'static Path,
    dir: TempDir,
}

impl Repository {
    fn new(hooks: &str, files: &[(&str, &str)]) -> Option<Repository> {
        let program = pre_commit()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let repository = Repository { program, dir };
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(".pre-commit-hooks.yaml");
        fs::create_dir_all(repository.path("hooks")).expect("a directory");
        fs::create_dir_all(repository.path("work")).expect("a directory");
        fs::copy(manifest, repository.path("hooks/.pre-commit-hooks.yaml")).expect("our hooks");
        for place in ["hooks", "work"] {
            repository.git(place, &["init", "-q"]);
        }
        repository.commit("hooks");
        let rev = repository.git("hooks", &["rev-parse", "HEAD"]);
        let config = format!("repos:\n- repo: ../hooks\n  rev: {}\n  hooks:\n{hooks}", rev.trim());
        repository.write(".pre-commit-config.yaml", &config);
        for (name, text) in files {
            repository.write(name, text);
        }
        repository.commit("work");
        Some(repository)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path("work").join(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("work").join(name)).expect("a file")
    }

    fn command(&self, program: &Path, place: &str) -> Command {
        let lbc = Path::new(env!("CARGO_BIN_EXE_lbc")).parent().expect("a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.current_dir(self.path(place)).env("HOME", self.dir.path()).env("PRE_COMMIT_HOME", self.path("cache"));
        command.env("PATH", format!("{}:{path}", lbc.display())).env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE");
        command
    }

    fn git(&self, place: &str, args: &[&str]) -> String {
        let output = self.command(Path::new("git"), place).args(args).output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn commit(&self, place: &str) {
        self.git(place, &["add", "-A"]);
        let who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        self.git(place, &[&who[..], &["commit", "-q", "-m", "test"]].concat());
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        let Output { status, stdout, stderr } =
            self.command(self.program, "work").arg("run").args(args).output().expect("pre-commit runs");
        (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }
}

#[test]
fn the_manifest_is_valid_and_has_a_system_twin_for_each_hook() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".pre-commit-hooks.yaml")).expect("the hooks");
    for id in ["lbc-check", "lbc-fmt", "lbc-compile"] {
        assert!(text.contains(&format!("- id: {id}\n")) && text.contains(&format!("- id: {id}-system\n")), "{id}");
    }
    let hooks = text.matches("- id: ").count();
    for line in ["  types: [text]\n", "  files: \\.lb$\n", "  require_serial: true\n"] {
        assert_eq!(text.matches(line).count(), hooks, "{line}");
    }
    assert_eq!((text.matches("  language: rust\n").count(), text.matches("  language: system\n").count()), (3, 3));
    let Some(program) = pre_commit() else { return };
    let checked = Command::new(program)
        .arg("validate-manifest")
        .arg(".pre-commit-hooks.yaml")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    assert!(checked.expect("pre-commit runs").status.success());
}

#[test]
fn a_changed_file_is_checked_as_part_of_its_program() {
    let files = [
        ("lbc.toml", "roots = [\"edge\"]\n"),
        ("edge/hosts.lb", "host a = 10.0.0.1\n"),
        ("edge/web.lb", "include \"hosts.lb\"\nbalance tcp 80 -> a\n"),
    ];
    let Some(repository) = Repository::new("  - id: lbc-check-system\n", &files) else { return };
    let (clean, output) = repository.run(&["--files", "edge/hosts.lb"]);
    assert!(clean && output.contains("Passed"), "{output}");
    // The host is used elsewhere; now it is not.
    repository.write("edge/web.lb", "include \"hosts.lb\"\nbalance tcp 80 -> 10.0.0.2\n");
    let (clean, output) = repository.run(&["--files", "edge/hosts.lb"]);
    assert!(!clean && output.contains("LB202") && output.contains("edge/hosts.lb:1:6"), "{output}");
    let (_, everything) = repository.run(&["--all-files"]);
    assert_eq!(output, everything);
}

#[test]
fn a_changed_file_is_checked_as_part_of_its_repository_without_an_lbc_toml() {
    let files = [("web.lb", "balance tcp 80 -> 10.0.0.3\n"), ("db.lb", "balance tcp 80 -> 10.0.0.2\n")];
    let Some(repository) = Repository::new("  - id: lbc-check-system\n", &files) else { return };
    let (clean, everything) = repository.run(&["--all-files"]);
    assert!(!clean && everything.contains("LB012"), "{everything}");
    // The first run says that it makes itself ready.
    let (_, everything) =
        if everything.contains("[INFO]") { repository.run(&["--all-files"]) } else { (clean, everything) };
    let (_, output) = repository.run(&["--files", "web.lb"]);
    assert_eq!(output, everything);
}

#[test]
fn files_are_formatted() {
    let files = [("web.lb", "balance   tcp 80->10.0.0.1\n"), ("readme.txt", "balance   tcp\n")];
    let Some(repository) = Repository::new("  - id: lbc-fmt-system\n", &files) else { return };
    let (clean, output) = repository.run(&["--all-files"]);
    assert!(!clean && output.contains("files were modified by this hook"), "{output}");
    assert_eq!(repository.read("web.lb"), "balance tcp 80 -> 10.0.0.1\n");
    repository.commit("work");
    assert!(repository.run(&["--all-files"]).0);
}

#[test]
fn rules_that_are_out_of_date_are_found() {
    let hooks = "  - id: lbc-compile-system\n    args: [web.nft, --target, nft, web.lb]\n";
    let Some(repository) = Repository::new(hooks, &[("web.lb", "balance tcp 80 -> 10.0.0.1\n"), ("web.nft", "")])
    else {
        return;
    };
    let (clean, output) = repository.run(&["--all-files"]);
    assert!(!clean && output.contains("+table inet lbc"), "{output}");
    let lbc = Path::new(env!("CARGO_BIN_EXE_lbc"));
    let args = ["compile", "--target", "nft", "-o", "web.nft", "web.lb"];
    assert!(repository.command(lbc, "work").args(args).status().expect("lbc runs").success());
    repository.commit("work");
    let (clean, output) = repository.run(&["--all-files"]);
    assert!(clean, "{output}");
}
