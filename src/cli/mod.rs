//! The command line: one file for one subcommand. All IO of the compiler happens here.

// The rest of the crate is pure; clippy.toml keeps it so.
#![allow(clippy::disallowed_methods, reason = "this is the place for IO")]

mod check;
mod compile;
mod fmt;
mod input;
mod output;
mod render;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Compiles load-balancing rules to iptables and nftables, with exact shares.
#[derive(Debug, Parser)]
#[command(name = "lbc", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
struct Global {
    /// When to colour what is printed
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// The form of diagnostics
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Full, env = "LBC_OUTPUT_FORMAT", value_name = "FORMAT")]
    output_format: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// How diagnostics are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// The source, with the place underlined
    Full,
    /// path:line:column: CODE message
    Concise,
    /// One object with every diagnostic
    Json,
    /// One object a line for each diagnostic
    JsonLines,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compile(compile::Compile),
    Check(check::Check),
    Fmt(fmt::Fmt),
}

/// How a command ends (`cli.md` of the language: 0 clean, 1 findings, 2 it could not do its work).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Clean,
    Findings,
}

/// Why a command could not do its work: exit code 2.
#[derive(Debug)]
enum Failure {
    /// What to tell the user.
    Message(String),
    /// Whoever read our output has stopped reading.
    ClosedPipe,
}

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure::Message(message.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::new(format!("cannot write the output: {error}")),
        }
    }
}

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Command::Compile(compile) => compile.run(&args.global),
        Command::Check(check) => check.run(&args.global),
        Command::Fmt(fmt) => fmt.run(&args.global),
    };
    match result {
        Ok(Exit::Clean) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Exit::Findings) => ExitCode::from(1),
        Err(Failure::Message(message)) => {
            // Nothing is left to be done where standard error is gone too.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {message}\n"));
            ExitCode::from(2)
        }
    }
}
