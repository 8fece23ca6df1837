//! What the benchmarks share: programs, the rules that other tools would make, and plots.

#![allow(dead_code, reason = "each benchmark uses a part")]

#[path = "../../tests/kernel/namespace.rs"]
pub mod namespace;
pub mod others;
pub mod plot;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// The address that service `nth` of a program listens on, at port 80.
pub fn listener(nth: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a64_0000 + nth as u32)
}

/// Backend `nth` of all of a program's backends, at port 8080.
pub fn backend(nth: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xac10_0000 + (nth as u32 & 0xf_ffff))
}

/// The weight of one backend of a service: 1 to 9, in another order for each service.
pub fn weight(service: usize, backend: usize) -> usize {
    1 + (service + backend) % 9
}

/// Random picks from backends of unequal weights, each service on an address of its own.
pub fn uniform(services: usize, backends: usize) -> String {
    let mut text = String::new();
    for service in 0..services {
        text.push_str(&format!("balance tcp {}:80 -> ", listener(service)));
        text.push_str(&list(service, backends, |nth| backend(nth).to_string()));
        text.push('\n');
    }
    text
}

/// As [`uniform`], with backends that all have the same weight: every service picks alike.
pub fn alike(services: usize, backends: usize) -> String {
    let one = |service: usize| {
        let list: Vec<String> =
            (0..backends).map(|nth| format!("{}:8080", backend(service * backends + nth))).collect();
        format!("balance tcp {}:80 -> {}\n", listener(service), list.join(", "))
    };
    (0..services).map(one).collect()
}

fn list(service: usize, backends: usize, address: impl Fn(usize) -> String) -> String {
    let one = |nth: usize| format!("{}:8080 weight {}", address(service * backends + nth), weight(service, nth));
    (0..backends).map(one).collect::<Vec<_>>().join(", ")
}

/// 60 % random with unequal weights, 15 % round-robin, 15 % source-hash, 10 % with `from`, `masquerade` and `counter`; a
/// third with IPv6 as well; every tenth on a prefix or a range of ports, nested so that trees have to copy.
pub fn mixed(services: usize, backends: usize) -> String {
    let mut text = String::new();
    for service in 0..services {
        let options = match service % 20 {
            0..12 => "",
            12..15 => " by round-robin",
            15..18 => " by source-hash",
            18..20 => " from 192.0.2.0/24, 198.51.100.0/24 masquerade counter",
            _ => unreachable!("a remainder"),
        };
        let both = service % 3 == 0 && service % 20 < 18;
        let v4 = listener(service);
        let listen = match service % 10 {
            // Nets in nets, each with ports of its own: /12 to /27 around the addresses of other services.
            4 => {
                let length = 12 + (service / 10 % 16) as u32;
                let net = Ipv4Addr::from(u32::from(v4) >> (32 - length) << (32 - length));
                let port = 1_000 + service % 50_000;
                format!("{net}/{length}:{port}")
            }
            9 => format!("{v4}:{}-{}", 8_000 + service % 1_000, 9_500 + service % 1_000),
            _ if both => {
                text.push_str(&format!("host v{service} = {v4}, 2001:db8::{:x}\n", service + 1));
                format!("v{service}:80")
            }
            _ => format!("{v4}:80"),
        };
        let mut backends = list(service, backends, |nth| backend(nth).to_string());
        if both && listen.starts_with('v') {
            let second = list(service, 2, |nth| format!("[fd00::{:x}]", nth + 1));
            backends = format!("{backends}, {second}");
        }
        text.push_str(&format!("balance tcp {listen} as s{service}{options} -> {backends}\n"));
    }
    text
}

/// Compiles a program as a user would.
pub fn compile(program: &str, directory: &Path, arguments: &[&str]) -> String {
    let path = directory.join("bench.lb");
    std::fs::write(&path, program).expect("room for the input");
    let output = Command::new(env!("CARGO_BIN_EXE_lbc"))
        .args(["compile", "--no-validate"])
        .args(arguments)
        .arg(&path)
        .output()
        .expect("the compiler starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The one in the middle.
pub fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

/// A small generator of random numbers (SplitMix64), so that every run asks the same.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * end as u128) >> 64) as usize
    }
}
