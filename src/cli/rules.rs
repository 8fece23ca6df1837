//! The rules that `trace` and `explain` look at: those that a program compiles to, or those of a file.

use std::path::Path;

use clap::ValueEnum;

use crate::diagnostic::Diagnostic;
use crate::ir::{Config, Family};
use crate::target::iptables::{self, Families, Hooks};
use crate::target::{Options, nft};
use crate::trace::Walk;

use super::Failure;

/// A target, as far as rules of it can be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Iptables,
    Nft,
    NftJson,
}

impl Target {
    /// `iptables` or `nft`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Iptables => "iptables",
            Target::Nft | Target::NftJson => "nft",
        }
    }
}

/// The largest file of rules that is read, in bytes.
const MAX_RULES_BYTES: u64 = 256 << 20;

/// Compiles a program, reads its text back, and lets `walk` look at the rules of a family.
pub fn compiled<T>(
    config: &Config,
    target: Target,
    family: Family,
    walk: impl FnOnce(&dyn Walk) -> T,
) -> Result<T, Vec<Diagnostic>> {
    let options = Options::default();
    let mut text = Vec::new();
    let wrote = match target {
        Target::Iptables => {
            let rules = iptables::lower(config, &options)?;
            iptables::print_restore(&rules, Families::One(family), Hooks::Include, &mut text)
        }
        Target::Nft => nft::lower(config, &options)?.print_text(&mut text),
        Target::NftJson => nft::lower(config, &options)?.print_json(&mut text),
    };
    wrote.expect("memory takes every write");
    let text = String::from_utf8(text).expect("all that is printed is UTF-8");
    Ok(read(&text, target, family, walk).unwrap_or_else(|errors| panic!("our own text: {}", errors.join("; "))))
}

/// Reads a file of rules, whose kind its text says.
pub fn file<T>(path: &Path, family: Family, walk: impl FnOnce(&dyn Walk, Target) -> T) -> Result<T, Failure> {
    let name = path.display();
    let cannot = |reason: String| Failure::new(format!("cannot read `{name}`: {reason}"));
    let text = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin().lock()).map_err(|error| cannot(error.to_string()))?,
        false => match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(cannot("not a regular file".to_owned())),
            Ok(metadata) if metadata.len() > MAX_RULES_BYTES => return Err(cannot("far too large".to_owned())),
            Ok(_) => std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?,
            Err(error) => return Err(cannot(error.to_string())),
        },
    };
    let target = kind(&text).ok_or_else(|| {
        cannot(
            "neither an iptables-save dump (`*nat` … `COMMIT`), nor `nft -j list ruleset`, nor an nft script"
                .to_owned(),
        )
    })?;
    read(&text, target, family, |rules| walk(rules, target)).map_err(|errors| {
        const SHOWN: usize = 20;
        Failure { messages: errors.into_iter().take(SHOWN).map(|error| format!("{name}:{error}")).collect() }
    })
}

/// What kind of rules a text holds.
fn kind(text: &str) -> Option<Target> {
    let start = text.trim_start();
    match start.bytes().next()? {
        b'{' | b'[' => Some(Target::NftJson),
        _ if start.lines().any(|line| line.trim_start().starts_with('*')) => Some(Target::Iptables),
        _ if start.lines().any(|line| line.trim_start().starts_with("table ")) => Some(Target::Nft),
        _ => None,
    }
}

/// The errors start with the line, where there is one.
fn read<T>(text: &str, target: Target, family: Family, walk: impl FnOnce(&dyn Walk) -> T) -> Result<T, Vec<String>> {
    match target {
        Target::Iptables => {
            let dump = iptables::read(text, Families::One(family));
            let shown = |errors: Vec<iptables::ReadError>| {
                errors.into_iter().map(|error| format!("{}: {}", error.line, error.message)).collect::<Vec<_>>()
            };
            Ok(walk(&iptables::Evaluator::new(&dump.map_err(shown)?, family)))
        }
        Target::Nft | Target::NftJson => {
            let dump = match target {
                Target::Nft => nft::Dump::read_text(text),
                Target::NftJson | Target::Iptables => nft::Dump::read_json(text),
            };
            let shown = |error: nft::ReadError| {
                let line = error.line.map_or_else(String::new, |line| format!("{line}:"));
                vec![format!("{line} {}", error.message)]
            };
            Ok(walk(&nft::Evaluator::new(&dump.map_err(shown)?)))
        }
    }
}
