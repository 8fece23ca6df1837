//! How compiling, checking and formatting grow with a program: `cargo bench --bench sizes`.
//!
//! Prints a table of times and instructions and writes `benches/results/sizes.svg`. Each figure is the median of a few
//! runs, of the slowest a single one; instructions are counted by valgrind where it is installed, for all but the largest
//! programs. Where ferm is installed, its time for the same 1,000 services is told too.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads and writes files")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::plot::{Line, plot};
use common::{median, mixed, others, uniform};

/// Services and the backends of each.
const SIZES: [(usize, usize); 8] =
    [(10, 10), (100, 10), (1_000, 10), (10_000, 10), (100_000, 10), (1_000, 2), (1_000, 100), (1_000, 1_000)];
const COMMANDS: [(&str, &[&str]); 5] = [
    ("compile, iptables", &["compile", "--no-validate", "--target", "iptables"]),
    ("compile, nft", &["compile", "--no-validate", "--target", "nft"]),
    ("compile with proof, iptables", &["compile", "--target", "iptables"]),
    ("check", &["check"]),
    ("fmt --check", &["fmt", "--check"]),
];
/// Runs of each command, and the time after which one is enough.
const RUNS: usize = 7;
const ENOUGH: Duration = Duration::from_secs(4);
/// Backends in all, above which instructions are not counted: that takes fifty times as long as to run.
const MOST_COUNTED: usize = 100_000;

fn lbc(arguments: &[&str], input: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbc"));
    command.args(arguments).arg(input).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The seconds that a command takes; it may find something.
fn time(mut command: impl FnMut() -> Command) -> f64 {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < RUNS && (times.is_empty() || start.elapsed() < ENOUGH) {
        let begin = Instant::now();
        let status = command().status().expect("the command starts");
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        times.push(begin.elapsed().as_secs_f64());
    }
    median(&mut times)
}

/// Instructions of one run, by valgrind; `None` without it.
fn instructions(arguments: &[&str], input: &Path) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", env!("CARGO_BIN_EXE_lbc")])
        .args(arguments)
        .arg(input)
        .stdout(Stdio::null())
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = told.lines().find(|line| line.contains("I   refs:") || line.contains("I refs:"))?;
    line.rsplit(':').next()?.trim().replace(',', "").parse().ok()
}

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = directory.path().join("in.lb");
    let mut lines: Vec<Line> =
        COMMANDS.iter().map(|(name, _)| Line { name: (*name).to_owned(), points: Vec::new() }).collect();
    println!("| services x backends | command | time | for each backend | instructions | for each backend |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut programs: Vec<(String, usize, bool, String)> = Vec::new();
    for (services, backends) in SIZES {
        let name = format!("{services} x {backends}");
        programs.push((name, services * backends, backends == 10, uniform(services, backends)));
    }
    for services in [1_000, 10_000] {
        programs.push((format!("{services} x 10, mixed"), services * 10, false, mixed(services, 10)));
    }
    for (name, count, is_plotted, text) in programs {
        // As `fmt` writes it, and long lists a backend a line.
        std::fs::write(&input, &text).expect("room for the input");
        assert!(lbc(&["fmt"], &input).status().is_ok_and(|status| status.success()));
        drop(text);
        for ((command, arguments), line) in COMMANDS.iter().zip(&mut lines) {
            let took = time(|| lbc(arguments, &input));
            let counted = if count <= MOST_COUNTED { instructions(arguments, &input) } else { None };
            let each = |total: f64| total / count as f64;
            let million = |count: u64| format!("{:.1} M", count as f64 / 1e6);
            println!(
                "| {name} | {command} | {:.1} ms | {:.2} us | {} | {} |",
                took * 1e3,
                each(took) * 1e6,
                counted.map_or_else(String::new, million),
                counted.map_or_else(String::new, |count| format!("{:.0}", each(count as f64))),
            );
            if is_plotted {
                line.points.push((count as f64 / 10.0, took * 1e3));
            }
        }
    }
    ferm(directory.path(), &input);
    let svg = plot("Compiling services of ten backends", "services", "milliseconds", &lines);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/sizes.svg");
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results")).expect("a directory");
    std::fs::write(path, svg).expect("room for the plot");
}

/// Another compiler on the same services.
fn ferm(directory: &Path, input: &Path) {
    if Command::new("ferm").arg("--version").output().is_err() {
        println!("\nferm is not installed");
        return;
    }
    let file = directory.join("in.ferm");
    std::fs::write(&file, others::ferm(1_000, 10)).expect("room for the input");
    std::fs::write(input, uniform(1_000, 10)).expect("room for the input");
    let other = time(|| {
        let mut command = Command::new("ferm");
        command.args(["--noexec", "--lines"]).arg(&file).stdout(Stdio::null());
        command
    });
    let [bare, proven] = [COMMANDS[0].1, COMMANDS[2].1].map(|arguments| time(|| lbc(arguments, input)));
    println!(
        "\n1,000 services: ferm takes {:.0} times as long as lbc, and {:.0} times as long as lbc with its proof",
        other / bare,
        other / proven
    );
}
