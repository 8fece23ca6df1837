//! How long `lbc compile --no-validate` takes, against a bare write of the same bytes, and how much longer it takes with the
//! proof: `cargo bench --bench compile`.
//!
//! The bare write is measured twice: as a process that reads the bytes from a file and writes them in pieces of 64 KiB
//! (`process`), as the compiler is one, and as the writes alone in a process that has the bytes already (`writes`). All go
//! to a file in the temporary directory, in turn; the medians and their ratios are printed, with the compiler's peak
//! memory. Ratios of one run can be compared, absolute times cannot.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads and writes files")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 11;

/// `services` listeners on addresses of their own, each with `backends` backends of unequal weights.
fn program(services: usize, backends: usize) -> String {
    let mut text = String::new();
    for service in 0..services {
        text.push_str(&format!(
            "balance tcp 10.{}.{}.{}:80 -> ",
            100 + service / 65_536,
            service / 256 % 256,
            service % 256
        ));
        for backend in 0..backends {
            let number = service * backends + backend;
            let comma = if backend > 0 { ", " } else { "" };
            let address = format!("172.{}.{}.{}", 16 + number / 65_536 % 16, number / 256 % 256, number % 256);
            text.push_str(&format!("{comma}{address}:8080 weight {}", 1 + (service + backend) % 9));
        }
        text.push('\n');
    }
    text
}

/// One run of the compiler: how long, and its peak memory in KiB.
fn compile(input: &Path, output: &Path, target: &str, proof: bool) -> (Duration, i64) {
    let file = File::create(output).expect("a temporary file");
    let start = Instant::now();
    // `wait4` below reaps it, for the memory that only it tells.
    #[allow(clippy::zombie_processes, reason = "waited for with wait4")]
    let child = Command::new(env!("CARGO_BIN_EXE_lbc"))
        .args(["compile", "--target", target])
        .args(if proof { None } else { Some("--no-validate") })
        .arg(input)
        .stdout(Stdio::from(file))
        .spawn()
        .expect("the compiler starts");
    let mut status = 0;
    // SAFETY: plain old data, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, which nothing else waits for; both pointers are to live values.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    assert!(waited > 0 && status == 0, "the compiler failed");
    (start.elapsed(), usage.ru_maxrss)
}

/// A bare write in pieces of 64 KiB.
fn write(bytes: &[u8], output: &Path) -> Duration {
    let mut file = File::create(output).expect("a temporary file");
    let start = Instant::now();
    for piece in bytes.chunks(64 << 10) {
        file.write_all(piece).expect("room for the output");
    }
    start.elapsed()
}

/// A process that does nothing but to read the bytes and to write them.
fn process(from: &Path, output: &Path) -> Duration {
    let file = File::create(output).expect("a temporary file");
    let start = Instant::now();
    let itself = std::env::current_exe().expect("this program has a path");
    let status = Command::new(itself).arg(COPY).arg(from).stdout(Stdio::from(file)).status();
    assert!(status.is_ok_and(|status| status.success()), "the copy failed");
    start.elapsed()
}

/// The argument that makes this program one that copies.
const COPY: &str = "--copy-in-pieces";

fn copy(from: &str) {
    use std::os::fd::AsFd;
    let bytes = std::fs::read(from).expect("the bytes");
    let mut to = File::from(std::io::stdout().as_fd().try_clone_to_owned().expect("standard output"));
    bytes.chunks(64 << 10).for_each(|piece| to.write_all(piece).expect("room for the output"));
}

fn median<T: Ord + Copy>(list: &mut [T]) -> T {
    list.sort_unstable();
    list[list.len() / 2]
}

fn main() {
    if let [_, flag, from] = std::env::args().collect::<Vec<_>>().as_slice()
        && flag == COPY
    {
        return copy(from);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let (input, output, same) = (path("in.lb"), path("out"), path("same"));
    println!(
        "| services x backends | target | in | out | compile | process | ratio | writes | ratio | peak memory | with proof | ratio | peak memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (services, backends) in [(1_000, 10), (10_000, 10), (1_000, 100)] {
        let text = program(services, backends);
        std::fs::write(&input, &text).expect("room for the input");
        for target in ["iptables", "nft", "nft-json"] {
            let (mut times, mut processes, mut writes, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            let (mut proofs, mut proof_memory) = (Vec::new(), Vec::new());
            compile(&input, &output, target, false);
            let bytes = std::fs::read(&output).expect("the output");
            std::fs::write(&same, &bytes).expect("room for a copy");
            for _ in 0..RUNS {
                let (time, peak) = compile(&input, &output, target, false);
                times.push(time);
                memory.push(peak);
                let (time, peak) = compile(&input, &output, target, true);
                proofs.push(time);
                proof_memory.push(peak);
                processes.push(process(&same, &output));
                writes.push(write(&bytes, &output));
            }
            let (time, copied, bare) = (median(&mut times), median(&mut processes), median(&mut writes));
            let proven = median(&mut proofs);
            println!(
                "| {services} x {backends} | {target} | {:.1} MB | {:.1} MB | {:.1} ms | {:.1} ms | {:.1} | {:.1} ms | {:.1} | {} MB | \
                 {:.1} ms | {:.1} | {} MB |",
                text.len() as f64 / 1e6,
                bytes.len() as f64 / 1e6,
                time.as_secs_f64() * 1e3,
                copied.as_secs_f64() * 1e3,
                time.as_secs_f64() / copied.as_secs_f64(),
                bare.as_secs_f64() * 1e3,
                time.as_secs_f64() / bare.as_secs_f64(),
                median(&mut memory) / 1024,
                proven.as_secs_f64() * 1e3,
                proven.as_secs_f64() / time.as_secs_f64(),
                median(&mut proof_memory) / 1024,
            );
        }
    }
}
