//! How long rules take to load, shape by shape, and how long it takes to change one backend.
//!
//! `cargo bench --bench load` (as root) prints a table and writes `benches/results/load.svg`. Each load is into a
//! namespace of its own; all shapes take turns, and medians are told. `-- SIZE…` measures at other numbers of services.

#![allow(clippy::disallowed_methods, reason = "a benchmark writes its results")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::namespace::Namespace;
use common::plot::{Line, plot};
use common::{compile, median, mixed, others, uniform};

const BACKENDS: usize = 10;
const RUNS: usize = 3;
/// iptables-nft walks the list of chains for each rule that it adds to a table that it keeps.
const MOST_FOR_IPTABLES_NFT: usize = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loader {
    Nft,
    NftJson,
    Legacy,
    IptablesNft,
}

impl Loader {
    /// Loads a text; the seconds that it took.
    fn load(self, namespace: &Namespace, text: &str) -> f64 {
        let (name, arguments): (_, &[&str]) = match self {
            Loader::Nft => ("nft", &["-f", "-"]),
            Loader::NftJson => ("nft", &["-j", "-f", "-"]),
            Loader::Legacy => ("iptables-legacy-restore", &["--noflush", "-w", "5"]),
            Loader::IptablesNft => ("iptables-nft-restore", &["--noflush", "-w", "5"]),
        };
        let mut command = Command::new(name);
        command.args(arguments);
        let start = Instant::now();
        namespace.run_ok(&mut command, text).unwrap_or_else(|trouble| {
            let text = trouble.to_string();
            panic!("the rules do not load: {}", &text[..text.len().min(2_000)]);
        });
        start.elapsed().as_secs_f64()
    }
}

/// A shape: its name, what loads it, and for each program (the first, and the one with a changed backend) its text.
struct Shape {
    name: &'static str,
    loader: Loader,
    /// What is loaded first and what is loaded over it; the second may be none.
    texts: [Option<String>; 2],
}

fn shapes(services: usize, directory: &Path) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let programs = [("lbc", uniform(services, BACKENDS)), ("lbc mixed", mixed(services, BACKENDS))];
    for (program, text) in &programs {
        let other = text.replacen("172.16.0.3:8080", "172.31.0.3:8080", 1);
        for (target, loader, suffix) in [
            ("iptables", Loader::Legacy, "iptables-legacy"),
            ("iptables", Loader::IptablesNft, "iptables-nft"),
            ("nft", Loader::Nft, "nft"),
            ("nft-json", Loader::NftJson, "nft JSON"),
        ] {
            if loader == Loader::IptablesNft && services > MOST_FOR_IPTABLES_NFT {
                continue;
            }
            let name: &'static str = format!("{program}, {suffix}").leak();
            let again: &[&str] = match target {
                "iptables" => &["--target", target, "--family", "ipv4", "--hooks", "skip"],
                _ => &["--target", target],
            };
            let first: &[&str] = if target == "iptables" { &again[..4] } else { again };
            let texts = [compile(text, directory, first), compile(&other, directory, again)].map(Some);
            shapes.push(Shape { name, loader, texts });
        }
    }
    let once = |name, loader, text| Shape { name, loader, texts: [Some(text), None] };
    shapes.push(once("the tree by hand, iptables-legacy", Loader::Legacy, others::tree(services, BACKENDS)));
    shapes.push(once("shared maps by hand, nft", Loader::Nft, others::shared_map(services, BACKENDS)));
    shapes.push(once("kube-proxy iptables, legacy", Loader::Legacy, others::kube_iptables(services, BACKENDS)));
    shapes.push(once("flat list, iptables-legacy", Loader::Legacy, others::blog(services, BACKENDS)));
    if services <= 1_000 {
        // In one transaction, 10,000 services take minutes.
        let text = others::kube_nft(services, BACKENDS).concat();
        shapes.push(once("kube-proxy nft", Loader::Nft, text));
    }
    shapes
}

fn main() {
    let mut sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100, 1_000, 10_000];
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut lines: Vec<Line> = Vec::new();
    println!("| services | shape | rules | load | change of one backend |\n| --- | --- | --- | --- | --- |");
    for &services in &sizes {
        let shapes = shapes(services, directory.path());
        let mut times: Vec<[Vec<f64>; 2]> = shapes.iter().map(|_| Default::default()).collect();
        for _ in 0..RUNS {
            for (shape, times) in shapes.iter().zip(&mut times) {
                let namespace = Namespace::new("load").expect("root makes namespaces");
                for (text, times) in shape.texts.iter().zip(times) {
                    times.extend(text.as_ref().map(|text| shape.loader.load(&namespace, text)));
                }
            }
        }
        for (shape, mut times) in shapes.iter().zip(times) {
            let load = median(&mut times[0]);
            let change = match times[1].is_empty() {
                true => String::new(),
                false => format!("{:.0} ms", 1e3 * median(&mut times[1])),
            };
            let size = shape.texts[0].as_ref().map_or(0, String::len) as f64 / 1e6;
            println!("| {services} | {} | {size:.1} MB | {:.0} ms | {change} |", shape.name, 1e3 * load);
            let at = lines.iter().position(|line| line.name == shape.name).unwrap_or_else(|| {
                lines.push(Line { name: shape.name.to_owned(), points: Vec::new() });
                lines.len() - 1
            });
            lines[at].points.push((services as f64, 1e3 * load));
        }
    }
    let svg = plot("Loading rules of ten backends a service", "services", "milliseconds", &lines);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/load.svg");
    std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results")).expect("a directory");
    std::fs::write(path, svg).expect("room for the plot");
}
