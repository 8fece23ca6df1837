//! One run of `lbc`: in a directory of its own, with nothing in the environment but what a test puts there.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The files of `web.lb` as most tests need it: one service of two backends.
pub const WEB: &str = "host a = 192.168.1.10\nhost b = 192.168.1.11\n\nbalance tcp 80 -> a:8080 weight 2, b:8080\n";

/// What a test runs, and where.
pub struct Test {
    dir: TempDir,
    /// Shown in snapshots.
    files: Vec<(String, String)>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    /// The most address space, in KiB.
    memory: Option<u32>,
}

impl Test {
    pub fn new() -> Test {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Test { dir, files: Vec::new(), environment: Vec::new(), stdin: None, memory: None }
    }

    /// With `web.lb`.
    pub fn web() -> Test {
        Test::new().file("web.lb", WEB)
    }

    /// Writes a file, with its directories, and shows it in snapshots.
    pub fn file(mut self, path: &str, text: &str) -> Test {
        self.files.push((path.to_owned(), text.to_owned()));
        self.bytes(path, text.as_bytes())
    }

    /// Writes a file that snapshots do not show.
    pub fn bytes(self, path: impl AsRef<Path>, bytes: &[u8]) -> Test {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a new directory");
        fs::write(path, bytes).expect("a writable directory");
        self
    }

    pub fn stdin(mut self, text: impl AsRef<[u8]>) -> Test {
        self.stdin = Some(text.as_ref().to_vec());
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Test {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With a locale in which a terminal shows more than ASCII.
    pub fn unicode(self) -> Test {
        self.env("LANG", "C.UTF-8")
    }

    /// With at most 512 MB of address space.
    pub fn bounded(mut self) -> Test {
        self.memory = Some(512 * 1024);
        self
    }

    /// A path below the test's directory.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a file of the test")
    }

    /// The command, ready to be spawned.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let program = env!("CARGO_BIN_EXE_lbc");
        let mut command = match self.memory {
            None => Command::new(program),
            Some(kib) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\""), program]);
                shell
            }
        };
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `lbc` with arguments that hold no blanks.
    pub fn run(&self, args: &str) -> Run {
        self.run_args(args.split_whitespace())
    }

    pub fn run_args<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        let mut command = self.command(args);
        if self.stdin.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().expect("lbc starts");
        if let (Some(text), Some(mut pipe)) = (&self.stdin, child.stdin.take()) {
            // What lbc does not want to read is no failure of the test.
            let _ = pipe.write_all(text);
        }
        let output = child.wait_with_output().expect("lbc ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs `lbc` and compares the command, its files and what comes out of it with a snapshot.
    pub fn snapshot(&self, name: &str, args: &str) -> Run {
        let run = self.run(args);
        let mut text = String::new();
        for (name, content) in &self.files {
            section(&mut text, name, content);
        }
        if let Some(stdin) = &self.stdin {
            section(&mut text, "standard input", &String::from_utf8_lossy(stdin));
        }
        for (name, value) in &self.environment {
            let _ = write!(text, "{}={} ", name.to_string_lossy(), value.to_string_lossy());
        }
        let _ = writeln!(text, "$ lbc {args}");
        text.push_str(&run.show());
        assert_snapshot(name, &text);
        run
    }
}

/// Compares a text with `snapshots/NAME.snap`.
pub fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"\blbc \d+\.\d+\.\d+", "lbc VERSION");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn section(text: &mut String, title: &str, content: &str) {
    let _ = writeln!(text, "---- {title}");
    text.push_str(content);
    if !content.ends_with('\n') && !content.is_empty() {
        text.push('\n');
    }
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Streams that are empty are left out.
    pub fn show(&self) -> String {
        let mut text = String::new();
        match self.code {
            Some(code) => section(&mut text, &format!("exit code {code}"), ""),
            None => section(&mut text, "ended by a signal", ""),
        }
        if !self.stdout.is_empty() {
            section(&mut text, "stdout", &self.stdout);
        }
        if !self.stderr.is_empty() {
            section(&mut text, "stderr", &self.stderr);
        }
        text
    }

    /// Exit code 0 and nothing on standard error; gives standard output.
    #[track_caller]
    pub fn clean(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.show());
        &self.stdout
    }

    /// Exit code 0 and these lints on standard error; gives standard output.
    #[track_caller]
    pub fn warns(&self, codes: &[&str]) -> &str {
        let found: Vec<&str> =
            self.stderr.lines().filter_map(|line| line.strip_prefix("LB")?.split(' ').next()).collect();
        assert_eq!((self.code, found), (Some(0), codes.to_vec()), "{}", self.show());
        &self.stdout
    }

    /// An exit code, a part of standard error, and nothing on standard output.
    #[track_caller]
    pub fn fails(&self, code: i32, with: &str) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.show());
        assert_eq!(self.stdout, "", "nothing is printed where there is an error");
        assert!(self.stderr.contains(with), "`{with}` is missing:\n{}", self.show());
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("internal error"), "{}", self.show());
        &self.stderr
    }

    /// No control characters but line ends and tabs, and none that turn the direction of writing.
    #[track_caller]
    pub fn is_harmless(&self) {
        self.is_harmless_but_for("");
    }

    /// As above, with exceptions.
    #[track_caller]
    pub fn is_harmless_but_for(&self, exceptions: &str) {
        let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let obeyed = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || turns(c);
        for stream in [&self.stdout, &self.stderr] {
            let found: String = stream.chars().filter(|&c| obeyed(c) && !exceptions.contains(c)).collect();
            assert!(found.is_empty(), "{found:?} in {stream:?}");
        }
    }
}

/// A path from bytes, for names that are no UTF-8.
pub fn raw(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
