//! Tests of the built program from outside: arguments, files and streams in; text and exit codes out.
//!
//! A snapshot under `snapshots/` shows a command, the files that it read, and all that came out of it. After a change:
//! `INSTA_UPDATE=always cargo test --test cli`, and read the diff before you keep it.

#![allow(clippy::disallowed_methods, reason = "tests read files and the environment")]
#![cfg(target_os = "linux")]

#[path = "cli/codes.rs"]
mod codes;
#[path = "cli/compile.rs"]
mod compile;
#[path = "cli/declarations.rs"]
mod declarations;
#[path = "cli/examples.rs"]
mod examples;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/foreign.rs"]
mod foreign;
#[path = "cli/formats.rs"]
mod formats;
#[path = "cli/formatting.rs"]
mod formatting;
#[path = "cli/harness.rs"]
mod harness;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/limits.rs"]
mod limits;
#[path = "cli/lint.rs"]
mod lint;
#[path = "cli/machines.rs"]
mod machines;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/paths.rs"]
mod paths;
#[path = "cli/project.rs"]
mod project;
#[path = "cli/server.rs"]
mod server;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/trace.rs"]
mod trace;
