//! `lbc compile`

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::share::Share;
use crate::ir::{self, Family, PerFamily};
use crate::lint::select::Selection;
use crate::lint::{self, Settings, stale_flows};
use crate::meaning::Action;
use crate::program::Program;
use crate::resolve::{self, sort};
use crate::target::iptables::{self, Families, Hooks};
use crate::target::{Instance, Layout, Options, StickyStore, nft};
use crate::trace::{Known, Memory, Over, Source};
use crate::validate::Flaw;

use super::config::Config;
use super::input::{Declarations, Input};
use super::output::{print_diff, print_with, replace_with};
use super::project::one_root;
use super::render::{Stream, report, warn};
use super::show::action_text;
use super::{Exit, Failure, Global};

/// Compile to rules, on standard output or into a file
#[derive(Debug, Args)]
pub struct Compile {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    declarations: Declarations,
    /// What to compile to [default: that of lbc.toml]
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// The form of iptables output [default: restore]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The families of iptables output [default: those that the program uses]
    #[arg(long, value_enum)]
    family: Option<FamilyArg>,
    /// Whether restore text holds the jumps from the built-in chains [default: include]
    #[arg(long, value_enum)]
    hooks: Option<HooksArg>,
    /// The shape of the output: for a few services, or for thousands [default: auto]
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Give the chains or the table a name of their own, to keep a second program on one machine apart
    #[arg(long, value_name = "NAME", value_parser = Instance::new)]
    instance: Option<Instance>,
    /// Where iptables keeps the clients of `sticky` services [default: recent]
    #[arg(long, value_enum)]
    sticky_store: Option<Store>,
    /// The oldest nft that has to load the output: an error where it cannot
    #[arg(long, value_name = "VERSION")]
    nft_min: Option<nft::Version>,
    /// Write to a file, whole or not at all
    #[arg(short, long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
    /// Skip the proof that the rules do what the program means; for benchmarks only
    #[arg(long)]
    no_validate: bool,
    /// Compare with a file: exit code 1 and a diff where it is out of date
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

/// A language that the kernel's tools load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Iptables,
    Nft,
    NftJson,
}

impl Target {
    /// As on the command line.
    pub fn name(&self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for iptables-restore and ip6tables-restore
    Restore,
    /// A POSIX shell script that installs, replaces and removes
    Script,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FamilyArg {
    Ipv4,
    Ipv6,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HooksArg {
    Include,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// The `recent` match: 100 clients per backend, unless the module xt_recent was told otherwise
    Recent,
    /// An ipset per backend: 65,536 clients each; the script format makes them
    Ipset,
}

impl Compile {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let project = Config::of(&self.input.directory())?;
        let Some(target) = self.target.or(project.target) else {
            return Err(Failure::new("no target: pass `--target iptables|nft|nft-json`, or set `target` in lbc.toml"));
        };
        self.check_arguments(target)?;
        one_root(&self.input, &project)?;
        let (mut program, syntax) = self.input.program(&self.declarations)?;
        let settings = self.settings(target, &project);
        let compiled = self.compile(target, &mut program, syntax, &settings);
        let (compiled, findings) = match compiled {
            Ok((rules, config, lints)) => (Some((rules, config)), lints),
            Err(errors) => (None, errors),
        };
        let mut findings = sort(&program, findings);
        let path = |one: &Diagnostic| program.sources.get(one.primary.loc.source).path.as_str();
        findings.retain(|one| !project.ignores(path(one), one.code));
        report(global, Stream::Err, &program.sources, &findings)?;
        let Some((rules, config)) = compiled else { return Ok(Exit::Findings) };
        self.check_version(&rules)?;
        let used = PerFamily { v4: config.uses(Family::V4), v6: config.uses(Family::V6) };
        let proven = if self.no_validate { None } else { rules.prove(global, &config)? };
        if let Some(warning) = self.nothing_comes_out(used) {
            warn(global, warning)?;
        }
        let written = |to: &mut File| match &proven {
            Some(text) => to.write_all(text),
            None => rules.print(to),
        };
        let exit = match (&self.check, &self.output) {
            (Some(path), _) => {
                let stale = match &proven {
                    Some(text) => compare(path, text)?,
                    None => compare(path, &rules.text())?,
                };
                let flows = stale.as_deref().map(|changed| stale_flows(&program, &config, changed)).unwrap_or_default();
                if !flows.is_empty() && settings.selection.has(Code::UdpStaleFlows) {
                    report(global, Stream::Err, &program.sources, &sort(&program, flows))?;
                }
                if stale.is_some() { Exit::Findings } else { Exit::Clean }
            }
            (None, Some(path)) => {
                replace_with(path, written)?;
                Exit::Clean
            }
            (None, None) => {
                print_with(written)?;
                Exit::Clean
            }
        };
        // The process ends here: handing a million small pieces back to the allocator first would only take time.
        std::mem::forget((program, rules, config));
        Ok(exit)
    }

    /// Options that belong to one target are errors with another: nothing is ignored in silence.
    fn check_arguments(&self, target: Target) -> Result<(), Failure> {
        let iptables = target == Target::Iptables;
        let only_iptables = [
            ("--format", self.format.is_some()),
            ("--family", self.family.is_some()),
            ("--hooks", self.hooks.is_some()),
            ("--sticky-store", self.sticky_store.is_some()),
        ];
        if let Some((option, _)) = only_iptables.into_iter().find(|(_, given)| *given && !iptables) {
            return Err(Failure::new(format!("{option} belongs to --target iptables")));
        }
        if iptables && self.nft_min.is_some() {
            return Err(Failure::new("--nft-min belongs to --target nft and nft-json"));
        }
        if self.format == Some(Format::Script) && self.hooks.is_some() {
            return Err(Failure::new("--hooks belongs to --format restore: the script sets each jump once"));
        }
        Ok(())
    }

    /// `--nft-min`
    fn check_version(&self, rules: &Rules) -> Result<(), Failure> {
        let (Rules::Nft(ruleset) | Rules::NftJson(ruleset), Some(oldest)) = (rules, self.nft_min) else {
            return Ok(());
        };
        let (needed, what) = ruleset.needs();
        match oldest < needed {
            true => Err(Failure::new(format!("--nft-min {oldest}: the output needs nft {needed} for {what}"))),
            false => Ok(()),
        }
    }

    /// What is linted: probable mistakes, unless lbc.toml says otherwise. Cleanliness is a matter of `check`.
    fn settings(&self, target: Target, project: &Config) -> Settings {
        let default = Settings::default();
        Settings {
            selection: project.selection(&Selection::mistakes()),
            management_ports: project.management_ports.clone().unwrap_or(default.management_ports),
            recent: target == Target::Iptables && self.sticky_store != Some(Store::Ipset),
            is_thorough: false,
        }
    }

    /// The rules of the target, what they were made of, and what the lints say of it; or every error.
    fn compile(
        &self,
        target: Target,
        program: &mut Program,
        syntax: Vec<Diagnostic>,
        settings: &Settings,
    ) -> Result<(Rules, ir::Config, Vec<Diagnostic>), Vec<Diagnostic>> {
        let config = resolve::check(program, syntax)?;
        let lints = lint::check(program, &config, settings);
        // Nothing asks for the statements any more, unless findings are to come: the rules take their place in memory.
        if self.check.is_none() {
            program.files = Vec::new();
        }
        let sticky_store = match self.sticky_store {
            Some(Store::Ipset) => StickyStore::Ipset,
            Some(Store::Recent) | None => StickyStore::Recent,
        };
        let options =
            Options { instance: self.instance.clone(), sticky_store, layout: self.layout.unwrap_or_default() };
        let rules = match target {
            Target::Iptables => {
                let rules = iptables::lower(&config, &options)?;
                let families = self.families(&rules);
                match (self.format, self.hooks) {
                    (Some(Format::Script), _) => Rules::Script(rules, families),
                    (Some(Format::Restore) | None, Some(HooksArg::Skip)) => {
                        Rules::Restore(rules, families, Hooks::Skip)
                    }
                    (Some(Format::Restore) | None, Some(HooksArg::Include) | None) => {
                        Rules::Restore(rules, families, Hooks::Include)
                    }
                }
            }
            Target::Nft => Rules::Nft(nft::lower(&config, &options, nft::Format::Text)?),
            Target::NftJson => Rules::NftJson(nft::lower(&config, &options, nft::Format::Json)?),
        };
        Ok((rules, config, lints))
    }

    /// Why the output holds no rules, where it holds none.
    fn nothing_comes_out(&self, used: PerFamily<bool>) -> Option<&'static str> {
        match (self.family, used) {
            (_, PerFamily { v4: false, v6: false }) => Some("the program has no services; the output is empty"),
            (Some(FamilyArg::Ipv4), PerFamily { v4: false, v6: true }) => {
                Some("no service has an IPv4 backend; the output is empty")
            }
            (Some(FamilyArg::Ipv6), PerFamily { v4: true, v6: false }) => {
                Some("no service has an IPv6 backend; the output is empty")
            }
            (_, _) => None,
        }
    }

    fn families(&self, rules: &iptables::Ruleset) -> Families {
        match self.family {
            Some(FamilyArg::Ipv4) => Families::One(Family::V4),
            Some(FamilyArg::Ipv6) => Families::One(Family::V6),
            Some(FamilyArg::Both) => Families::Both,
            None => match rules.families.as_slice() {
                [only] => Families::One(*only),
                [..] => Families::Both,
            },
        }
    }
}

/// What was compiled, ready to be printed.
enum Rules {
    Restore(iptables::Ruleset, Families, Hooks),
    Script(iptables::Ruleset, Families),
    Nft(nft::Ruleset),
    NftJson(nft::Ruleset),
}

impl Rules {
    fn print(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Rules::Restore(rules, families, hooks) => iptables::print_restore(rules, *families, *hooks, to),
            Rules::Script(rules, families) => iptables::print_script(rules, *families, to),
            Rules::Nft(rules) => rules.print_text(to),
            Rules::NftJson(rules) => rules.print_json(to),
        }
    }

    /// Reads the rules back from text and holds them against the meaning, for every packet. Returns the text where it is
    /// what is printed.
    ///
    /// A script holds the same chains as restore text, which is what is proven of it; so is text without its jumps.
    fn prove(&self, global: &Global, config: &ir::Config) -> Result<Option<Vec<u8>>, Failure> {
        let Some(text) = self.proven_text() else {
            too_large(global)?;
            return Ok(None);
        };
        let flaw = match self {
            Rules::Restore(_, families, _) | Rules::Script(_, families) => {
                iptables::prove(config, &text, *families).err()
            }
            Rules::Nft(_) => nft::prove_text(config, &text).err(),
            Rules::NftJson(_) => nft::prove_json(config, &text).err(),
        };
        match flaw {
            None => {}
            Some(Flaw::TooLarge) => too_large(global)?,
            Some(flaw) => return Err(Failure { messages: not_proven(&flaw) }),
        }
        let is_printed = !matches!(self, Rules::Script(..) | Rules::Restore(_, _, Hooks::Skip));
        Ok(is_printed.then(|| text.into_bytes()))
    }

    /// What is proven; `None` where that is more than [`MAX_PROVEN_BYTES`].
    fn proven_text(&self) -> Option<String> {
        let mut text = Bounded(Vec::with_capacity(SOME_BYTES));
        let printed = match self {
            Rules::Restore(rules, families, _) | Rules::Script(rules, families) => {
                iptables::print_restore(rules, *families, Hooks::Include, &mut text)
            }
            Rules::Nft(_) | Rules::NftJson(_) => self.print(&mut text),
        };
        printed.ok().map(|()| String::from_utf8(text.0).expect("all that is printed is UTF-8"))
    }

    /// The whole text, for what has to have all of it.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.print(&mut text).expect("memory takes every write");
        text
    }
}

/// The longest text that is read back: reading takes about eight times as much memory.
const MAX_PROVEN_BYTES: usize = 128 << 20;

/// Room for most programs; what is not written to takes no memory.
const SOME_BYTES: usize = 32 << 20;

/// Memory that takes [`MAX_PROVEN_BYTES`] and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROVEN_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_large(global: &Global) -> Result<(), Failure> {
    warn(global, "the program is too large for the whole proof that the rules do what it means")
}

/// What to tell of rules that do not do what their program means. Nothing was written.
fn not_proven(flaw: &Flaw) -> Vec<String> {
    let list = |actions: &[(Action, Share)]| {
        let one = |(action, share): &(Action, Share)| format!("{share} {}", action_text(action));
        actions.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut messages = match flaw {
        Flaw::Unreadable(why) => vec![format!("internal error: the rules cannot be read back: {why}")],
        Flaw::TooLarge => Vec::new(),
        Flaw::Differs(difference) => {
            let (wanted, found) = match &difference.seen {
                None => (list(&difference.wanted), list(&difference.found)),
                Some((action, wanted, found)) => {
                    let cannot_tell = || "what cannot be told".to_owned();
                    let found = found.map_or_else(cannot_tell, source_text);
                    (format!("{}, which sees {}", action_text(action), source_text(*wanted)), found)
                }
            };
            vec![
                format!(
                    "internal error: the rules do not do what the program means, for `{}`{}",
                    difference.packet,
                    state_text(&difference.machine.memory)
                ),
                format!("the program means: {wanted}"),
                format!("the rules do: {found}"),
            ]
        }
    };
    messages.push("nothing was written; this is a bug of lbc, please report it together with the input".to_owned());
    messages
}

/// What the machine remembers at a connection, where it is anything.
fn state_text(memory: &Memory) -> String {
    let known = |known: &Known| match known.is_stale {
        false => format!("from a client that is known from `{}`", action_text(&known.action)),
        true => format!("from a client that was known from `{}`", action_text(&known.action)),
    };
    let parts = [
        (memory.over_rate != Over::None).then(|| "over `limit`".to_owned()),
        (memory.over_count != Over::None).then(|| "over `max-connections`".to_owned()),
        memory.full.then(|| "where no more clients can be remembered".to_owned()),
        memory.known.as_ref().map(known),
    ];
    parts.into_iter().flatten().map(|part| format!(", {part}")).collect()
}

fn source_text(source: Source) -> String {
    match source {
        Source::Kept => "the client's address".to_owned(),
        Source::Masquerade => "an address of this machine".to_owned(),
        Source::Address(address) => format!("the address {address}"),
    }
}

/// The largest file that is compared, in bytes: far more than any output.
const MAX_COMPARED: u64 = 1 << 30;

/// `--check FILE`: the lines that changed, where any did.
fn compare(path: &Path, text: &[u8]) -> Result<Option<String>, Failure> {
    let cannot = |reason: String| Failure::new(format!("cannot read `{}`: {reason}", path.display()));
    let old = match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(cannot("not a regular file".to_owned())),
        Ok(metadata) if metadata.len() > MAX_COMPARED => return Err(cannot("far too large".to_owned())),
        Ok(_) => std::fs::read(path).map_err(|error| cannot(error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(cannot(error.to_string())),
    };
    if old == text {
        return Ok(None);
    }
    let (old, new) = (String::from_utf8_lossy(&old), String::from_utf8_lossy(text));
    print_diff(&path.display().to_string(), &old, &new).map(Some)
}
