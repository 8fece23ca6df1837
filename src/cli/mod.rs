//! The command line: one file for one subcommand. All IO of the compiler happens here.

// The rest of the crate is pure; clippy.toml keeps it so.
#![allow(clippy::disallowed_methods, reason = "this is the place for IO")]

mod check;
mod compile;
mod completions;
mod config;
mod explain;
mod fixes;
mod fmt;
mod formats;
mod input;
mod man;
mod neighbours;
mod output;
mod project;
mod render;
mod rule;
mod rules;
mod server;
mod show;
mod subject;
mod trace;
mod verdict;
mod which;
mod workspace;

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
#[command(next_help_heading = "Global options")]
struct Global {
    /// When to colour what is printed
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// The form of diagnostics
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Full, env = "LBC_OUTPUT_FORMAT",
        hide_env_values = true, value_name = "FORMAT")]
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
    /// Workflow commands of GitHub Actions
    Github,
    /// A Code Quality report of GitLab
    Gitlab,
    /// A SARIF 2.1.0 log
    Sarif,
    /// A JUnit report
    Junit,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compile(compile::Compile),
    Check(check::Check),
    Fmt(fmt::Fmt),
    Explain(explain::Explain),
    Trace(trace::Trace),
    Which(which::Which),
    Rule(rule::Rule),
    Server(server::Server),
    Completions(completions::Completions),
    Man(man::Man),
}

/// How a command ends (`cli.md` of the language: 0 clean, 1 findings, 2 it could not do its work).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Clean,
    Findings,
}

/// Why a command could not do its work: exit code 2.
#[derive(Debug)]
struct Failure {
    /// What to tell the user, one line each; at least one.
    messages: Vec<String>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure { messages: vec![message.into()] }
    }

    /// `Err` where there is something to tell.
    fn check(messages: Vec<String>) -> Result<(), Failure> {
        if messages.is_empty() { Ok(()) } else { Err(Failure { messages }) }
    }
}

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    std::panic::set_hook(Box::new(|panic| {
        tell(&format!("internal error: {panic}"));
        tell("help: this is a bug of lbc; please report it together with the input");
    }));
    let result = std::panic::catch_unwind(|| match &args.command {
        Command::Compile(compile) => compile.run(&args.global),
        Command::Check(check) => check.run(&args.global),
        Command::Fmt(fmt) => fmt.run(&args.global),
        Command::Explain(explain) => explain.run(&args.global),
        Command::Trace(trace) => trace.run(&args.global),
        Command::Which(which) => which.run(&args.global),
        Command::Rule(rule) => rule.run(&args.global),
        Command::Server(server) => server.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    });
    match result {
        Ok(Ok(Exit::Clean)) => ExitCode::SUCCESS,
        Ok(Ok(Exit::Findings)) => ExitCode::from(1),
        Ok(Err(failure)) => {
            for message in failure.messages {
                tell(&format!("error: {}", render::printable(&message)));
            }
            ExitCode::from(2)
        }
        // The hook has told.
        Err(_) => ExitCode::from(2),
    }
}

/// Help, the version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    // Clap shows arguments as they are; where one holds what a terminal obeys, all colour is given up.
    if std::env::args_os().any(|arg| render::printable(&arg.to_string_lossy()) != arg.to_string_lossy()) {
        let text = error.to_string();
        text.lines().for_each(|line| tell(&render::printable(line)));
    } else {
        // Nothing is left to be done where the stream is gone.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Writes a line to standard error; nothing is left to be done where that is gone too.
fn tell(line: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
}
