//! Network namespaces without names: each is an open descriptor and is gone when that is closed.
//!
//! No thread of the test runner ever changes its own namespace. [`Namespace::enter`] runs its job on a
//! thread of its own; a command started there inherits the thread's namespace.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// No command of a test runs longer; one that does is killed and is a failure.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Something that went wrong, in words that are printed as they are (line breaks, rules and all).
#[derive(Clone, PartialEq, Eq)]
pub struct Trouble(pub String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same as `Display`: `expect` prints this form, and rules with `\n` in them cannot be read.
impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a finished command left behind.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A network namespace, alive as long as this value or a socket, thread or process inside it.
pub struct Namespace {
    name: &'static str,
    fd: OwnedFd,
}

impl Namespace {
    /// Makes a new, empty namespace; needs `CAP_SYS_ADMIN`.
    pub fn new(name: &'static str) -> io::Result<Self> {
        let maker = thread::spawn(|| -> io::Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        });
        let fd = maker.join().expect("making a namespace does not panic")?;
        Ok(Self { name, fd })
    }

    /// A path by which `ip link … netns PATH` finds the namespace while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.fd.as_raw_fd())
    }

    /// Runs a job on a thread of its own inside the namespace; a panic of the job goes on here.
    pub fn enter<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.fd, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|error| panic!("cannot enter namespace {}: {error}", self.name));
                job()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a command inside the namespace with the given standard input, to its end.
    pub fn run(&self, command: &mut Command, input: &str) -> Result<Finished, Trouble> {
        self.enter(|| run(command, input))
    }

    /// As [`Namespace::run`], and a failure is trouble that shows the command, its input and its stderr.
    pub fn run_ok(&self, command: &mut Command, input: &str) -> Result<String, Trouble> {
        let finished = self.run(command, input)?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        Err(Trouble(format!(
            "{} failed in namespace {} ({})\n--- stderr\n{}\n--- stdout\n{}\n--- input\n{}",
            words(command),
            self.name,
            finished.status,
            finished.stderr.trim_end(),
            finished.stdout.trim_end(),
            numbered(input),
        )))
    }

    /// Sets `/proc/sys/net/…` values of the namespace; a name that the kernel lacks is passed over.
    pub fn sysctl(&self, settings: &[(&str, &str)]) {
        self.enter(|| {
            for (name, value) in settings {
                let path = format!("/proc/sys/net/{name}");
                if let Err(error) = std::fs::write(&path, value)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    panic!("cannot set {path} in namespace {}: {error}", self.name);
                }
            }
        });
    }
}

/// Runs a command in the calling thread's namespace, to its end, within [`COMMAND_TIMEOUT`].
pub fn run(command: &mut Command, input: &str) -> Result<Finished, Trouble> {
    run_within(COMMAND_TIMEOUT, command, input)
}

/// Runs a command in the calling thread's namespace, to its end; one that takes longer is killed.
///
/// Its standard input is a file, not a pipe: `nft -j -f -` reads broken JSON a second time as its own
/// language, finds a pipe empty, and reports success (1.0.6).
pub fn run_within(limit: Duration, command: &mut Command, input: &str) -> Result<Finished, Trouble> {
    let mut child = command
        .stdin(file_of(input).map_err(|error| Trouble(format!("cannot store input: {error}")))?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Trouble(format!("cannot start {}: {error}", words(command))))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    thread::scope(|scope| {
        let (sender, finished) = mpsc::channel();
        let reader = scope.spawn(move || {
            let text = read_all(stderr);
            let _ = sender.send(());
            text
        });
        let other = scope.spawn(move || read_all(stdout));
        let late = finished.recv_timeout(limit).is_err();
        if late {
            kill(&child);
        }
        let status = child.wait().map_err(|error| Trouble(format!("cannot wait: {error}")))?;
        let stderr = reader.join().expect("reading does not panic");
        let stdout = other.join().expect("reading does not panic");
        if late {
            return Err(Trouble(format!("{} ran into the time limit\n{stderr}", words(command))));
        }
        Ok(Finished { status, stdout, stderr })
    })
}

/// A file without a name that holds a text, to be read from its start.
fn file_of(text: &str) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn kill(child: &Child) {
    let group = i32::try_from(child.id()).expect("process ids fit pid_t");
    // It may have ended in this moment; it is waited for in any case.
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
}

fn read_all(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

/// Text with line numbers in front: the tools name the line that they refuse.
pub fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(index, line)| format!("{:4} {line}\n", index + 1)).collect()
}
