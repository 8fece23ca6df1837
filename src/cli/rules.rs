//! The rules that `trace` and `explain` look at: those that a program compiles to, or those of a file.

use std::io::Read;
use std::path::Path;

use clap::ValueEnum;

use crate::diagnostic::Diagnostic;
use crate::ir::{Config, Family};
use crate::survey::Survey;
use crate::target::iptables::dump::{self, Dump, Match, Table, TableName};
use crate::target::iptables::{self, Families, Hooks};
use crate::target::{Objects, Options, nft};
use crate::trace::{Unknown, Walk};

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
    options: &Options,
    family: Family,
    walk: impl FnOnce(&dyn Walk) -> T,
) -> Result<T, Vec<Diagnostic>> {
    let mut text = Vec::new();
    let wrote = match target {
        Target::Iptables => {
            let rules = iptables::lower(config, options)?;
            iptables::print_restore(&rules, Families::One(family), Hooks::Include, &mut text)
        }
        Target::Nft => nft::lower(config, options, nft::Format::Text)?.print_text(&mut text),
        Target::NftJson => nft::lower(config, options, nft::Format::Json)?.print_json(&mut text),
    };
    wrote.expect("memory takes every write");
    let text = String::from_utf8(text).expect("all that is printed is UTF-8");
    Ok(read(&text, target, family, walk).unwrap_or_else(|errors| panic!("our own text: {}", errors.join("; "))))
}

/// What the kernel has to hold of a program's rules, and how many bytes the output has.
pub fn size(config: &Config, target: Target, options: &Options) -> Result<(Objects, usize), Vec<Diagnostic>> {
    let mut text = Vec::new();
    let (objects, wrote) = match target {
        Target::Iptables => {
            let rules = iptables::lower(config, options)?;
            let families = match rules.families.as_slice() {
                [only] => Families::One(*only),
                _ => Families::Both,
            };
            (rules.objects(), iptables::print_restore(&rules, families, Hooks::Include, &mut text))
        }
        Target::Nft => {
            let rules = nft::lower(config, options, nft::Format::Text)?;
            (rules.objects(), rules.print_text(&mut text))
        }
        Target::NftJson => {
            let rules = nft::lower(config, options, nft::Format::Json)?;
            (rules.objects(), rules.print_json(&mut text))
        }
    };
    wrote.expect("memory takes every write");
    Ok((objects, text.len()))
}

/// Reads a file of rules, whose kind its text says. `walk` also gets what there is to say of the file.
pub fn file<T>(
    path: &Path,
    family: Family,
    walk: impl FnOnce(&dyn Walk, Target, Vec<String>) -> T,
) -> Result<T, Failure> {
    let (text, target) = load(path)?;
    match target {
        Target::Iptables => {
            let saved = iptables::read_saved(&text).map_err(|errors| unreadable(path, shown(errors)))?;
            if let [only] = saved.families()[..]
                && only != family
            {
                let (name, only, own) = (path.display(), only.name(), family.name());
                return Err(Failure::new(format!(
                    "`{name}` holds rules of {only} alone, and the packet is one of {own}"
                )));
            }
            let (dump, notes) = saved.dump(family);
            Ok(walk(&iptables::Evaluator::new(&dump, family), target, notes))
        }
        Target::Nft | Target::NftJson => read(&text, target, family, |rules| walk(rules, target, Vec::new()))
            .map_err(|errors| foreign(path, target, errors)),
    }
}

/// Rules that can be searched for listeners.
pub trait Rules: Walk + Survey {}

impl<T: Walk + Survey> Rules for T {}

/// The rules of a file, in one family.
pub struct Searched<'r> {
    /// Those that may translate: tables that only filter are left out.
    pub translating: &'r dyn Rules,
    /// With those that only filter, where there are any.
    pub all: Option<&'r dyn Rules>,
    /// What is not known of those that may translate.
    pub unknown: Vec<Unknown>,
    /// Some rules whose destinations are more than can be looked at.
    pub scattered: Vec<String>,
    /// What there is to say of the file.
    pub notes: Vec<String>,
}

/// Reads a file of rules, and lets `look` at them in every family that they are for.
pub fn search<T>(path: &Path, mut look: impl FnMut(Family, &Searched<'_>) -> T) -> Result<(Vec<T>, Target), Failure> {
    let (text, target) = load(path)?;
    match target {
        Target::Iptables => {
            let saved = iptables::read_saved(&text).map_err(|errors| unreadable(path, shown(errors)))?;
            let mut families = saved.families();
            if families.is_empty() {
                families.push(Family::V4);
            }
            let translates = |table: &&Table<'_>| !matches!(table.name, TableName::Filter | TableName::Security);
            let families = families.into_iter().map(|family| {
                let (dump, notes) = saved.dump(family);
                let translating = Dump { tables: dump.tables.iter().filter(translates).cloned().collect() };
                let unknown = unknown(&translating, family);
                let scattered = scattered(&translating, family);
                let filters = dump.tables.len() > translating.tables.len();
                let all = filters.then(|| iptables::Evaluator::new(&dump, family).hasty());
                let translating = iptables::Evaluator::new(&translating, family).hasty();
                let all = all.as_ref().map(|all| all as &dyn Rules);
                look(family, &Searched { translating: &translating, all, unknown, scattered, notes })
            });
            Ok((families.collect(), target))
        }
        Target::Nft | Target::NftJson => {
            let dump = read_nft(&text, target).map_err(|errors| foreign(path, target, errors))?;
            let translating = dump.without_filters();
            let all = translating.is_some().then(|| nft::Evaluator::new(&dump).hasty());
            let translating = translating.as_ref().unwrap_or(&dump);
            let rules = nft::Evaluator::new(translating).hasty();
            let all = all.as_ref().map(|all| all as &dyn Rules);
            let families = Family::ALL.into_iter().filter(|family| dump.tables.iter().any(|t| t.family.sees(*family)));
            let looked = families.map(|family| {
                let unknown = translating.unknown(family);
                let (scattered, notes) = (Vec::new(), Vec::new());
                look(family, &Searched { translating: &rules, all, unknown, scattered, notes })
            });
            Ok((looked.collect(), target))
        }
    }
}

/// The first rules whose destinations are scattered.
fn scattered(dump: &Dump<'_>, family: Family) -> Vec<String> {
    const SOME: usize = 3;
    let is_it = |rule: &&dump::Rule<'_>| {
        rule.is_for(family) && rule.destination.as_ref().is_some_and(|net| net.value.is_scattered())
    };
    dump.rules().filter(is_it).take(SOME).map(|rule| rule.text.to_owned()).collect()
}

/// The matches and targets of a dump that are not known.
fn unknown(dump: &Dump<'_>, family: Family) -> Vec<Unknown> {
    let rules = dump.rules().filter(|rule| rule.is_for(family));
    rules
        .flat_map(|rule| {
            let matches =
                rule.matches.iter().filter_map(|one| if let Match::Unknown(what) = one { Some(*what) } else { None });
            let target = if let dump::Target::Unknown(what) = rule.target { Some(what) } else { None };
            matches.chain(target).map(|what| Unknown { what: what.to_owned(), rule: rule.text.to_owned() })
        })
        .collect()
}

/// The text of a file, and its kind.
fn load(path: &Path) -> Result<(String, Target), Failure> {
    let name = path.display();
    let cannot = |reason: String| Failure::new(format!("cannot read `{name}`: {reason}"));
    let bytes = match path.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            // One byte more tells that there is too much.
            let read = std::io::stdin().lock().take(MAX_RULES_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|error| cannot(error.to_string()))?;
            bytes
        }
        false => match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(cannot("not a regular file".to_owned())),
            Ok(metadata) if metadata.len() > MAX_RULES_BYTES => return Err(cannot("far too large".to_owned())),
            Ok(_) => std::fs::read(path).map_err(|error| cannot(error.to_string()))?,
            Err(error) => return Err(cannot(error.to_string())),
        },
    };
    if bytes.len() as u64 > MAX_RULES_BYTES {
        return Err(cannot("far too large".to_owned()));
    }
    // Comments of old dumps are in any encoding.
    let mut text =
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    let target = kind(&text).ok_or_else(|| {
        cannot(
            "neither an iptables-save dump (`*nat` … `COMMIT`), nor `nft -j list ruleset`, nor an nft script that lbc wrote"
                .to_owned(),
        )
    })?;
    Ok((text, target))
}

/// The first errors of a file.
fn unreadable(path: &Path, errors: Vec<String>) -> Failure {
    const SHOWN: usize = 20;
    let name = path.display();
    let message = |error: String| format!("{name}:{}", cut(&error));
    Failure { messages: errors.into_iter().take(SHOWN).map(message).collect() }
}

/// The first errors of a file; of scripts only our own can be read.
fn foreign(path: &Path, target: Target, errors: Vec<String>) -> Failure {
    let mut failure = unreadable(path, errors);
    if target == Target::Nft {
        let hint =
            "of nft scripts only those are read that lbc wrote: load it, and give what `nft -j list ruleset` prints";
        failure.messages.push(hint.to_owned());
    }
    failure
}

/// What a line holds may be as long as the file.
fn cut(error: &str) -> String {
    const LONGEST: usize = 400;
    match error.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error.to_owned(),
    }
}

/// Each error behind its line.
fn shown(errors: Vec<iptables::ReadError>) -> Vec<String> {
    errors.into_iter().map(|error| format!("{}: {}", error.line, error.message)).collect()
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
            Ok(walk(&iptables::Evaluator::new(&dump.map_err(shown)?, family)))
        }
        Target::Nft | Target::NftJson => Ok(walk(&nft::Evaluator::new(&read_nft(text, target)?))),
    }
}

fn read_nft(text: &str, target: Target) -> Result<nft::Dump, Vec<String>> {
    let dump = match target {
        Target::Nft => nft::Dump::read_text(text),
        Target::NftJson | Target::Iptables => nft::Dump::read_json(text),
    };
    dump.map_err(|error| {
        let line = error.line.map_or_else(String::new, |line| format!("{line}:"));
        vec![format!("{line} {}", error.message)]
    })
}
