//! LB110

use std::collections::{BTreeMap, HashMap};

use crate::diagnostic::{Code, Diagnostic, at};
use crate::ir::{Config, Destination, Service};
use crate::lint::context::Context;
use crate::lint::select::Selection;
use crate::lint::{Doc, Lint, suppress};
use crate::program::Program;
use crate::source::{Sources, Span};
use crate::statement::balance::Protocol;
use crate::statement::net::show;

pub const LINT: Lint = Lint {
    code: Code::UdpStaleFlows,
    doc: Doc {
        what: "Reminds of the kernel's memory when the rules of a UDP service change. No file shows that by itself: it is told by \
               `compile --check FILE`, which has the rules of before.",
        why: "UDP has no end. As long as a client keeps sending, conntrack sends its packets to the backend of the first one, \
              however long that has been gone: metrics have been lost for 13 hours that way. Deleting the flows makes the \
              next packet a new connection.",
        example: "",
        instead: "",
        fix: "",
    },
    check,
};

/// A program by itself does not say what it was before.
fn check(_: &Context<'_>) -> Vec<Diagnostic> {
    Vec::new()
}

/// The lines of a patch about one service, without the place of its statement: that moves with every line above it.
#[derive(Default)]
struct Lines<'p> {
    removed: Vec<String>,
    added: Vec<String>,
    /// The file that the label of a removed line names.
    file: &'p str,
}

/// What no comment suppresses where the rules of some services changed or went, by the patch from the old rules to the new.
pub fn stale_flows(program: &Program, config: &Config, patch: &str) -> Vec<Diagnostic> {
    let mut found = suppress::apply(program, &Selection::mistakes(), changed(config, &program.sources, patch));
    // Which suppressions are of use was said before.
    found.retain(|one| one.code == Code::UdpStaleFlows);
    found
}

fn changed(config: &Config, sources: &Sources, patch: &str) -> Vec<Diagnostic> {
    let mut services: BTreeMap<&str, Lines<'_>> = BTreeMap::new();
    for line in patch.lines().skip(2) {
        let (is_added, text) = match (line.strip_prefix('+'), line.strip_prefix('-')) {
            (Some(text), _) => (true, text),
            (None, Some(text)) => (false, text),
            (None, None) => continue,
        };
        for label in text.split('"').skip(1).step_by(2) {
            let Some((file, name)) = place_and_name(label) else { continue };
            let lines = services.entry(name).or_default();
            let plain = text.replace(label, "").replace(name, "");
            let plain = plain.trim().trim_end_matches(',').to_owned();
            match is_added {
                true => lines.added.push(plain),
                false => {
                    lines.file = file;
                    lines.removed.push(plain);
                }
            }
        }
    }
    let mut found = Vec::new();
    let own: HashMap<&str, &Service> =
        config.services().iter().map(|service| (service.name.as_str(), service)).collect();
    for (name, mut lines) in services {
        lines.removed.sort_unstable();
        lines.added.sort_unstable();
        if lines.removed == lines.added {
            continue;
        }
        match own.get(name) {
            Some(service) if service.protocols.contains(&Protocol::Udp) => found.push(diagnostic(service)),
            Some(_) => {}
            None => found.extend(removed(name, &lines, sources)),
        }
    }
    found
}

/// The file and the name in `FILE:LINE NAME`.
fn place_and_name(label: &str) -> Option<(&str, &str)> {
    let (place, name) = label.rsplit_once(' ')?;
    let (file, line) = place.rsplit_once(':')?;
    (!line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())).then_some((file, name))
}

/// What a service leaves behind that is in no file any more, as far as its rules told.
fn removed(name: &str, lines: &Lines<'_>, sources: &Sources) -> Option<Diagnostic> {
    let told: Vec<&str> = lines.removed.iter().filter_map(|line| Some(&line[line.rfind("udp")? + 3..])).collect();
    if told.is_empty() {
        return None;
    }
    let mut ports: Vec<String> = told.iter().filter_map(|rest| port(rest)).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        ports.push("PORT".to_owned());
    }
    let commands: Vec<String> =
        ports.iter().map(|port| format!("conntrack -D -p udp --orig-port-dst {port}")).collect();
    let source = sources.ids().find(|id| sources.get(*id).path == lines.file).or(sources.ids().next())?;
    Some(
        Diagnostic::warning(
            Code::UdpStaleFlows,
            at(source, Span::new(0, 0)),
            format!("`{name}` is gone, and the kernel sends its old UDP flows where they went before"),
        )
        .here("no service of that name any more")
        .help(format!("once the rules are loaded:\n{}", commands.join("\n"))),
    )
}

/// The port behind the name of the protocol, where a line tells one.
fn port(rest: &str) -> Option<String> {
    let start = rest.find(|c: char| c.is_ascii_digit()).filter(|start| *start < 16)?;
    let digits = &rest[start..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let is_alone = !digits[end..].starts_with(['-', ':', ',']);
    is_alone.then(|| digits[..end].to_owned())
}

fn diagnostic(service: &Service) -> Diagnostic {
    let mut lines = Vec::new();
    for ports in &service.ports {
        let place = match service.destinations.as_slice() {
            [Destination::Prefix(net)] => format!(" --orig-dst {}", show(*net)),
            _ => String::new(),
        };
        match ports.is_single() {
            true => lines.push(format!("conntrack -D -p udp{place} --orig-port-dst {ports}")),
            // conntrack takes no ranges.
            false => lines.push(format!(
                "for port in $(seq {} {}); do conntrack -D -p udp{place} --orig-port-dst $port; done",
                ports.first(),
                ports.last()
            )),
        }
    }
    let help = format!("once the rules are loaded:\n{}", lines.join("\n"));
    Diagnostic::warning(
        Code::UdpStaleFlows,
        service.loc,
        format!("`{}` changed, and the kernel sends its old UDP flows where they went before", service.name),
    )
    .here("a UDP service")
    .help(help)
}
