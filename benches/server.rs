//! How long an editor waits: for diagnostics after a keystroke, and for a hover, in a file of 10,000 lines.
//!
//! `cargo bench --bench server` drives the built server over its standard streams and prints medians, beside the time of one
//! `lbc check` of the same file, which reads, checks and lints it once. `-- LINES…` measures other sizes.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads and writes files")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

const RUNS: usize = 31;
/// What a keystroke may take: a tenth of a second is felt as at once (Miller 1968, Nielsen 1993).
const KEYSTROKE: f64 = 0.1;

/// A program of so many lines: hosts, pools of them, and services, with comments that are no ASCII.
fn program(lines: usize) -> String {
    let mut text = String::new();
    for nth in 0..lines / 5 {
        let (high, low) = (nth / 250, nth % 250 + 1);
        let _ = write!(
            text,
            "# Dienst {nth}: Büro\nhost a{nth} = 10.{}.{}.{low}\nhost b{nth} = 10.{}.{}.{low}\n\
             pool p{nth} = a{nth}:8080 weight 3, b{nth}:8080 weight 1\nbalance tcp 203.0.{}.{}:{} -> p{nth}\n",
            high / 250,
            high % 250,
            100 + high / 250,
            high % 250,
            nth % 200,
            nth / 200 % 250,
            1 + nth / 50_000 + 80,
        );
    }
    text
}

struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lbc"));
        let mut child = command.arg("server").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("lbc starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Server { child, stdin, stdout }
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.stdin, "Content-Length: {}\r\n\r\n{text}", text.len()).expect("the server reads");
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("the server answers");
            match line.trim_end().split_once(": ") {
                Some((_, value)) => length = value.parse().expect("a length"),
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.stdout.read_exact(&mut bytes).expect("a message");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Waits for the first message that is wanted.
    fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.receive();
            if wanted(&message) {
                return message;
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
        self.wait(|message| message["id"] == 1)
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn seconds(action: impl FnOnce()) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_secs_f64()
}

fn measure(lines: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("web.lb");
    let text = program(lines);
    std::fs::write(&path, &text).expect("a file");
    let check = median(
        (0..RUNS)
            .map(|_| {
                seconds(|| {
                    let output =
                        Command::new(env!("CARGO_BIN_EXE_lbc")).arg("check").arg(&path).output().expect("lbc runs");
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
                })
            })
            .collect(),
    );

    let mut server = Server::start();
    server.ask("initialize", json!({ "capabilities": {} }));
    server.send(&json!({ "jsonrpc": "2.0", "method": "initialized", "params": {} }));
    let uri = format!("file://{}", path.display());
    let document = json!({ "uri": uri, "languageId": "lb", "version": 0, "text": text });
    server.send(&json!({ "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": { "textDocument": document } }));
    let told = |message: &Value| message["method"] == "textDocument/publishDiagnostics";
    server.wait(told);

    let line = lines / 2 / 5 * 5;
    let keystroke = |server: &mut Server, version: usize| {
        // A character in a comment in the middle of the file, and taken back.
        let end = if version % 2 == 1 { 1 } else { 2 };
        let range = json!({ "start": { "line": line, "character": 1 }, "end": { "line": line, "character": end } });
        let change = json!({ "range": range, "text": if version % 2 == 1 { "x" } else { "" } });
        server.send(&json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": {
            "textDocument": { "uri": uri, "version": version }, "contentChanges": [change] } }));
    };
    let mut changes = Vec::new();
    for version in 1..=RUNS {
        changes.push(seconds(|| {
            keystroke(&mut server, version);
            let message = server.wait(told);
            assert_eq!(message["params"]["version"], version);
            assert_eq!(message["params"]["diagnostics"], json!([]));
        }));
    }
    let place = json!({ "textDocument": { "uri": uri }, "position": { "line": line + 3, "character": 14 } });
    let hover = |server: &mut Server| {
        let answer = server.ask("textDocument/hover", place.clone());
        assert!(
            answer["result"]["contents"]["value"].as_str().is_some_and(|text| text.contains("**3/4**")),
            "{answer}"
        );
    };
    hover(&mut server);
    let hovers = (0..RUNS).map(|_| seconds(|| hover(&mut server))).collect();
    let mut both = Vec::new();
    for version in RUNS + 1..=2 * RUNS {
        // What is told in between is read over.
        both.push(seconds(|| {
            keystroke(&mut server, version);
            hover(&mut server);
        }));
    }
    let (change, hover, both) = (median(changes), median(hovers), median(both));
    println!("{lines} lines ({} kB), medians of {RUNS} runs", text.len() / 1000);
    for (what, time) in [
        ("`lbc check`, a process", check),
        ("didChange to diagnostics", change),
        ("hover", hover),
        ("didChange, then hover", both),
    ] {
        println!(
            "  {what:<26} {:>8.2} ms  {:>5.2} of a check, {:>5.2} of a keystroke",
            time * 1e3,
            time / check,
            time / KEYSTROKE
        );
    }
    let _ = server.child.kill();
    let _ = server.child.wait();
}

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    for size in if sizes.is_empty() { vec![1_000, 10_000] } else { sizes } {
        measure(size);
    }
}
