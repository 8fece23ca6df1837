//! The four ways into the kernel: compile for it, load, list, clear.

use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::available::{find, no_tool, search_path, tool};
use crate::namespace::{Namespace, Trouble, numbered, run};
use crate::net::{Host, LOCKFILE, Lab};

/// What rules are loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    Nft,
    NftJson,
    IptablesNft,
    IptablesLegacy,
}

/// Rules in the language of one target.
#[derive(Debug, Clone)]
pub struct Rules {
    pub target: Target,
    pub text: String,
}

const FAMILIES: [&str; 2] = ["iptables", "ip6tables"];

/// The tables of iptables that rules may stand in, and their built-in chains.
const TABLES: [(&str, &[&str]); 4] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
];

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::NftJson => "nft-json",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
        })
    }
}

impl Target {
    /// Legacy stands last: its tables stay registered in a namespace, though empty.
    pub const ALL: [Self; 4] = [Self::Nft, Self::NftJson, Self::IptablesNft, Self::IptablesLegacy];

    pub fn is_iptables(self) -> bool {
        self.variant().is_some()
    }

    /// `legacy` or `nft`, the middle part of the names of the iptables tools.
    fn variant(self) -> Option<&'static str> {
        match self {
            Self::Nft | Self::NftJson => None,
            Self::IptablesNft => Some("nft"),
            Self::IptablesLegacy => Some("legacy"),
        }
    }

    /// Compiles a program with the `lbc` of this build, to restore text for both families or to nft's input.
    pub fn compile(self, program: &str, arguments: &[&str]) -> Result<Rules, Trouble> {
        let target: &[&str] = match self {
            Self::Nft => &["--target", "nft"],
            Self::NftJson => &["--target", "nft-json"],
            Self::IptablesNft | Self::IptablesLegacy if arguments.contains(&"--family") => {
                &["--target", "iptables", "--format", "restore"]
            }
            Self::IptablesNft | Self::IptablesLegacy => {
                &["--target", "iptables", "--format", "restore", "--family", "both"]
            }
        };
        Ok(Rules { target: self, text: compile(program, target, arguments)? })
    }

    /// Compiles a program to the shell script that installs it; see [`Lab::run_script`].
    pub fn compile_script(self, program: &str, arguments: &[&str]) -> Result<Rules, Trouble> {
        assert!(self.is_iptables(), "only iptables has scripts");
        let text = compile(program, &["--target", "iptables", "--format", "script"], arguments)?;
        Ok(Rules { target: self, text })
    }

    /// Whether the tools are there and the kernel takes a rule from them; the error says what is missing.
    pub fn try_out(self, namespace: &Namespace) -> Result<(), String> {
        const IPTABLES: &str = "*nat\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n";
        const JSON: &str = r#"{"nftables": [{"add": {"table": {"family": "inet", "name": "trial"}}}]}"#;
        let text = match self {
            Self::Nft => "table inet trial\n",
            Self::NftJson => JSON,
            Self::IptablesNft | Self::IptablesLegacy => IPTABLES,
        };
        let tools = match self.variant() {
            None => vec!["nft".to_owned()],
            Some(variant) => {
                let names = |family| ["", "-restore", "-save"].map(|verb| format!("{family}-{variant}{verb}"));
                FAMILIES.into_iter().flat_map(names).collect()
            }
        };
        if let Some(missing) = tools.iter().find(|name| find(name).is_none()) {
            return Err(no_tool(missing));
        }
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        for mut command in self.loaders() {
            command.env(LOCKFILE, folder.path().join("lock"));
            namespace.run_ok(&mut command, text).map_err(|trouble| trouble.0)?;
        }
        Ok(())
    }

    /// The commands that load a text from their standard input.
    fn loaders(self) -> Vec<Command> {
        let nft = |arguments: &[&str]| {
            let mut command = tool("nft");
            command.args(arguments);
            vec![command]
        };
        let restore = |variant: &str| {
            let restore = |family| {
                let mut command = tool(&format!("{family}-{variant}-restore"));
                command.args(["--noflush", "-w", "5"]);
                command
            };
            FAMILIES.map(restore).into()
        };
        match self {
            Self::Nft => nft(&["-f", "-"]),
            Self::NftJson => nft(&["-j", "-f", "-"]),
            Self::IptablesNft => restore("nft"),
            Self::IptablesLegacy => restore("legacy"),
        }
    }
}

fn compile(program: &str, target: &[&str], arguments: &[&str]) -> Result<String, Trouble> {
    let folder = TempDir::new().map_err(|error| Trouble(error.to_string()))?;
    fs::write(folder.path().join("test.lb"), program).map_err(|error| Trouble(error.to_string()))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbc"));
    // The kernel is the judge here; the proof has tests of its own.
    command.args(["compile", "--no-validate"]).args(target).args(arguments).arg("test.lb");
    let finished = run(command.current_dir(folder.path()).env("NO_COLOR", "1"), "")?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    Err(Trouble(format!(
        "lbc compile {} {} failed ({})\n{}\n--- program\n{}",
        target.join(" "),
        arguments.join(" "),
        finished.status,
        finished.stderr.trim_end(),
        numbered(program)
    )))
}

impl Lab {
    /// Compiles a program for a target and loads it into an emptied balancer.
    pub fn install(&self, target: Target, program: &str) -> Result<Rules, Trouble> {
        let rules = target.compile(program, &[])?;
        self.clear()?;
        self.load(&rules)?;
        Ok(rules)
    }

    /// Loads rules into the balancer, as an administrator would.
    pub fn load(&self, rules: &Rules) -> Result<(), Trouble> {
        self.note_use(rules.target);
        for mut command in rules.target.loaders() {
            self.run_ok(Host::Balancer, &mut command, &rules.text)?;
        }
        Ok(())
    }

    /// Replaces the rules of a program that is loaded by those of another, as the output's comment says.
    pub fn replace(&self, target: Target, program: &str) -> Result<(), Trouble> {
        let arguments: &[&str] = if target.is_iptables() { &["--hooks", "skip"] } else { &[] };
        self.load(&target.compile(program, arguments)?)
    }

    /// Loads restore text with the tool of one family only.
    pub fn load_family(&self, rules: &Rules, ipv6: bool) -> Result<(), Trouble> {
        self.note_use(rules.target);
        let mut loader = rules.target.loaders().remove(usize::from(ipv6));
        self.run_ok(Host::Balancer, &mut loader, &rules.text).map(drop)
    }

    /// Runs `iptables` or `ip6tables` of a target's variant.
    pub fn iptables(&self, target: Target, ipv6: bool, arguments: &[&str]) -> Result<String, Trouble> {
        self.note_use(target);
        let variant = target.variant().expect("only iptables has this tool");
        let name = format!("{}-{variant}", FAMILIES[usize::from(ipv6)]);
        self.run_ok(Host::Balancer, tool(&name).args(arguments), "")
    }

    /// Empties the balancer: all rules, all connections, all address sets.
    pub fn clear(&self) -> Result<(), Trouble> {
        if self.targets().any(|target| target != Target::IptablesLegacy) {
            self.run_ok(Host::Balancer, tool("nft").args(["flush", "ruleset"]), "")?;
        }
        if self.legacy_was_used() {
            let empty = TABLES.map(|(table, chains)| {
                let chains: String = chains.iter().map(|chain| format!(":{chain} ACCEPT\n")).collect();
                format!("*{table}\n{chains}COMMIT\n")
            });
            let empty = empty.concat();
            for family in FAMILIES {
                self.run_ok(Host::Balancer, &mut tool(&format!("{family}-legacy-restore")), &empty)?;
            }
        }
        if find("ipset").is_some() {
            self.run_ok(Host::Balancer, tool("ipset").arg("destroy"), "")?;
        }
        self.forget_connections()
    }

    /// Empties the connection table of the balancer, and nothing else.
    pub fn forget_connections(&self) -> Result<(), Trouble> {
        self.run_ok(Host::Balancer, tool("conntrack").arg("--flush"), "").map(drop)
    }

    /// What the target's own tool says is loaded, without comments, times and packet counts.
    ///
    /// `tables` says which tables of iptables; nft lists everything.
    pub fn listing(&self, target: Target, tables: &[&str]) -> Result<String, Trouble> {
        Ok(self.listings(target, tables)?.concat())
    }

    /// [`Lab::listing`] by family: two parts for iptables, one for nft.
    fn listings(&self, target: Target, tables: &[&str]) -> Result<Vec<String>, Trouble> {
        let Some(variant) = target.variant() else {
            let text = self.run_ok(Host::Balancer, tool("nft").args(["list", "ruleset"]), "")?;
            return Ok(vec![stable(&text)]);
        };
        let save = |family: &str| {
            let name = format!("{family}-{variant}-save");
            let mut text = String::new();
            for table in tables {
                text += &self.run_ok(Host::Balancer, tool(&name).args(["-t", table]), "")?;
            }
            Ok(stable(&text))
        };
        FAMILIES.into_iter().map(save).collect()
    }

    /// Everything that is loaded, for [`Loaded`](crate::evaluator::Loaded): iptables by family, nft as JSON.
    pub fn saved(&self, target: Target) -> Result<Vec<String>, Trouble> {
        let Some(variant) = target.variant() else {
            return Ok(vec![self.run_ok(Host::Balancer, tool("nft").args(["-j", "list", "ruleset"]), "")?]);
        };
        let save = |family: &str| self.run_ok(Host::Balancer, &mut tool(&format!("{family}-{variant}-save")), "");
        FAMILIES.into_iter().map(save).collect()
    }

    /// Asserts that rules survive a reboot: load, save, clear, restore what was saved, save: the same text.
    ///
    /// The rules stay loaded, in their restored form.
    pub fn check_fixpoint(&self, rules: &Rules) -> Result<(), Trouble> {
        self.clear()?;
        self.load(rules)?;
        self.check_reboot(rules)
    }

    /// As [`Lab::check_fixpoint`], with rules that are loaded into empty tables at once, as at boot: what is added to tables
    /// that are there takes iptables-nft minutes where chains are tens of thousands.
    pub fn check_fixpoint_at_boot(&self, rules: &Rules) -> Result<(), Trouble> {
        self.clear()?;
        match rules.target.is_iptables() {
            true => {
                self.note_use(rules.target);
                self.restore(rules.target, &FAMILIES.map(|_| rules.text.clone()))?;
            }
            false => self.load(rules)?,
        }
        self.check_reboot(rules)
    }

    fn check_reboot(&self, rules: &Rules) -> Result<(), Trouble> {
        let target = rules.target;
        let tables = tables_of(&rules.text);
        let saved = self.listings(target, &tables)?;
        self.clear()?;
        self.restore(target, &saved)?;
        let again = self.listings(target, &tables)?;
        if saved == again {
            return Ok(());
        }
        Err(Trouble(format!(
            "{target}: what was saved and restored is not what is saved then\n{}\n--- rules\n{}",
            difference(&saved.concat(), &again.concat()),
            numbered(&rules.text)
        )))
    }

    /// Loads listings as a boot script does: the whole table, not beside what is there.
    fn restore(&self, target: Target, saved: &[String]) -> Result<(), Trouble> {
        let Some(variant) = target.variant() else {
            return self.run_ok(Host::Balancer, tool("nft").args(["-f", "-"]), &saved.concat()).map(drop);
        };
        for (family, text) in FAMILIES.iter().zip(saved) {
            self.run_ok(Host::Balancer, &mut tool(&format!("{family}-{variant}-restore")), text)?;
        }
        Ok(())
    }

    /// Runs a script of `--format script` in the balancer, with `iptables` and its like of one variant.
    pub fn run_script(&self, script: &Rules, arguments: &[&str]) -> Result<String, Trouble> {
        self.run_script_with(script, arguments, None)
    }

    /// As [`Lab::run_script`], with this long between a table and the next.
    pub fn run_script_slowly(&self, script: &Rules, pause: Duration) -> Result<String, Trouble> {
        self.run_script_with(script, &[], Some(pause))
    }

    fn run_script_with(&self, script: &Rules, arguments: &[&str], pause: Option<Duration>) -> Result<String, Trouble> {
        let io = |error: std::io::Error| Trouble(error.to_string());
        let variant = script.target.variant().expect("only iptables has scripts");
        self.note_use(script.target);
        let folder = TempDir::new_in(self.scratch()).map_err(io)?;
        for family in FAMILIES {
            for verb in ["", "-restore", "-save"] {
                let name = format!("{family}-{variant}{verb}");
                let path = find(&name).ok_or_else(|| Trouble(no_tool(&name)))?;
                let own = folder.path().join(format!("{family}{verb}"));
                if let (Some(pause), "-restore") = (pause, verb) {
                    let text = format!("#!/bin/sh\n{} \"$@\" || exit\nsleep {}\n", path.display(), pause.as_secs_f64());
                    fs::write(&own, text).map_err(io)?;
                    fs::set_permissions(&own, Permissions::from_mode(0o755)).map_err(io)?;
                    continue;
                }
                // The tools are one program that goes by the name it is called by.
                symlink(path, own).map_err(io)?;
            }
        }
        let file = folder.path().join("install.sh");
        fs::write(&file, &script.text).map_err(io)?;
        let mut path = folder.path().as_os_str().to_owned();
        path.push(":");
        path.push(search_path());
        self.run_ok(Host::Balancer, Command::new("sh").arg(file).args(arguments).env("PATH", path), "")
    }
}

/// The tables that a restore text names.
fn tables_of(text: &str) -> Vec<&'static str> {
    let tables = TABLES.into_iter().map(|(table, _)| table);
    tables.filter(|table| text.lines().any(|line| line.strip_prefix('*') == Some(table))).collect()
}

/// A listing without what changes by itself: comment lines, packet and byte counts, remaining times.
fn stable(listing: &str) -> String {
    let lines = listing.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| stable_line(line) + "\n").collect()
}

fn stable_line(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let value = word.trim_end_matches([',', '}']);
        let rest = &word[value.len()..];
        let is_count = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let word = match words.last().map(String::as_str) {
            Some("packets" | "bytes") if is_count => format!("0{rest}"),
            Some("expires") => format!("0s{rest}"),
            _ if line.starts_with(':') && word.starts_with('[') => "[0:0]".to_owned(),
            _ => word.to_owned(),
        };
        words.push(word);
    }
    words.join(" ")
}

/// The lines that only one of two texts has.
pub fn difference(old: &str, new: &str) -> String {
    let only = |mark: &str, here: &str, there: &str| -> String {
        let lines = here.lines().filter(|line| !there.lines().any(|other| other == *line));
        lines.map(|line| format!("{mark} {line}\n")).collect()
    };
    let text = only("-", old, new) + &only("+", new, old);
    if text.is_empty() { format!("the order differs\n--- old\n{old}\n--- new\n{new}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::{stable, tables_of};

    #[test]
    fn a_stable_listing_has_no_counts_and_times() {
        let listing = "# Generated\n:INPUT ACCEPT [12:3400]\n  counter packets 5 bytes 300 dnat to 10.9.1.11:80\n\
                       elements = { 10.9.0.2 timeout 10m expires 9m58s, 10.9.0.3 expires 1s }\n";
        let expected = ":INPUT ACCEPT [0:0]\n  counter packets 0 bytes 0 dnat to 10.9.1.11:80\n\
                        elements = { 10.9.0.2 timeout 10m expires 0s, 10.9.0.3 expires 0s }\n";
        assert_eq!(stable(listing), expected);
    }

    #[test]
    fn tables_are_those_that_the_text_names() {
        assert_eq!(tables_of("*nat\nCOMMIT\n*filter\n-A X -m comment --comment \"*raw\"\nCOMMIT\n"), ["nat", "filter"]);
    }
}
