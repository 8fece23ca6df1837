//! Tests with real packets in network namespaces: is what `lbc` writes accepted by the kernel, and true?
//!
//! Linux, root or unprivileged user namespaces, `ip`, `conntrack`, `nft` and both variants of iptables.
//! `LBC_KERNEL_TESTS=require` makes anything missing a failure, `=skip` skips; unset, what is missing is
//! skipped and named on standard error.
//!
//! ```ignore
//! #[test]
//! fn two_thirds_go_to_a() {
//!     let Some(lab) = lab!() else { return };
//!     for target in lab.targets() {
//!         lab.install(target, PROGRAM).expect("a correct program");
//!         let servers = lab.probe(Proto::Tcp, "203.0.113.10:80").count(600).servers();
//!         assert_shares("web", &servers, &[("b1:8080", 2), ("b2:8080", 1)]);
//!     }
//! }
//! ```

#![allow(clippy::disallowed_methods, reason = "tests read files and the environment")]
#![cfg(target_os = "linux")]

#[path = "kernel/algorithms.rs"]
mod algorithms;
#[path = "kernel/available.rs"]
mod available;
#[path = "kernel/bytecode.rs"]
mod bytecode;
#[path = "kernel/case.rs"]
mod case;
#[path = "kernel/counters.rs"]
mod counters;
#[path = "kernel/datagram.rs"]
mod datagram;
#[path = "kernel/drained.rs"]
mod drained;
#[path = "kernel/evaluator.rs"]
mod evaluator;
#[path = "kernel/forward.rs"]
mod forward;
#[path = "kernel/generated.rs"]
mod generated;
#[path = "kernel/handwritten.rs"]
mod handwritten;
#[path = "kernel/harness.rs"]
mod harness;
#[path = "kernel/hashing.rs"]
mod hashing;
#[path = "kernel/large.rs"]
mod large;
#[path = "kernel/limits.rs"]
mod limits;
#[path = "kernel/listen.rs"]
mod listen;
#[path = "kernel/log.rs"]
mod log;
#[path = "kernel/model.rs"]
mod model;
#[path = "kernel/namespace.rs"]
mod namespace;
#[path = "kernel/net.rs"]
mod net;
#[path = "kernel/nft_target.rs"]
mod nft_target;
#[path = "kernel/options.rs"]
mod options;
#[path = "kernel/overlap.rs"]
mod overlap;
#[path = "kernel/ports.rs"]
mod ports;
#[path = "kernel/script.rs"]
mod script;
#[path = "kernel/sctp.rs"]
mod sctp;
#[path = "kernel/server.rs"]
mod server;
#[path = "kernel/sharing.rs"]
mod sharing;
#[path = "kernel/smoke.rs"]
mod smoke;
#[path = "kernel/source_nat.rs"]
mod source_nat;
#[path = "kernel/stats.rs"]
mod stats;
#[path = "kernel/steps.rs"]
mod steps;
#[path = "kernel/sticky.rs"]
mod sticky;
#[path = "kernel/sys.rs"]
mod sys;
#[path = "kernel/target.rs"]
mod target;
#[path = "kernel/ten_thousand.rs"]
mod ten_thousand;
#[path = "kernel/together.rs"]
mod together;
#[path = "kernel/traffic.rs"]
mod traffic;
