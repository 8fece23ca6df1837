//! What `trace`, `explain` and `which` print: shares, bars, colour, and their JSON.

use std::io::{self, IsTerminal};

use num_traits::ToPrimitive;
use serde::Serialize;

use crate::ir::Config;
use crate::ir::share::Share;
pub use crate::ir::share::{fraction, percent};
use crate::meaning::{Action, Outcome};
use crate::packet::show;
use crate::trace::{Machine, Packet, Source, Trace, Unknown, Walk};

use super::render::{colored, printable, speaks_unicode};
use super::{Failure, Global, OutputFormat, output};

/// How text for people looks on standard output.
pub struct Look {
    color: bool,
    pub unicode: bool,
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Names and headings.
    Bold,
    /// What is only there for completeness.
    Dim,
    Good,
    Bad,
}

/// The width of a bar in characters.
const BAR: usize = 20;

impl Look {
    pub fn new(global: &Global) -> Look {
        Look { color: colored(global, io::stdout().is_terminal()), unicode: speaks_unicode() }
    }

    pub fn ink(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Bad => "31",
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A bar as long as the share, in eighths of a character where the terminal has them.
    pub fn bar(&self, share: &Share) -> String {
        let eighths = (share.to_f64().unwrap_or(0.0) * (BAR * 8) as f64).round() as usize;
        let (whole, rest) = (eighths / 8, eighths % 8);
        let mut bar = String::new();
        match self.unicode {
            true => {
                bar.extend(std::iter::repeat_n('█', whole));
                bar.extend(" ▏▎▍▌▋▊▉".chars().nth(rest).filter(|_| rest > 0));
            }
            false => bar.extend(std::iter::repeat_n('#', whole + usize::from(rest >= 4))),
        }
        let width = bar.chars().count();
        bar.extend(std::iter::repeat_n(' ', BAR.saturating_sub(width)));
        bar
    }

    /// Prints text for people; what the locale cannot show becomes `?`.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let text = lines.join("\n") + "\n";
        match self.unicode {
            true => output::print(text.as_bytes()),
            false => {
                let ascii = text.replace('…', "...").replace('·', "*").replace('−', "-");
                let ascii: String = ascii.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
                output::print(ascii.as_bytes())
            }
        }
    }
}

/// Prints a value as JSON. `json-lines` is one line, everything else that is not for people is indented.
pub fn print_json(global: &Global, value: &impl Serialize) -> Result<(), Failure> {
    let text = match global.output_format {
        OutputFormat::JsonLines => serde_json::to_string(value),
        OutputFormat::Full
        | OutputFormat::Concise
        | OutputFormat::Json
        | OutputFormat::Github
        | OutputFormat::Gitlab
        | OutputFormat::Sarif
        | OutputFormat::Junit => serde_json::to_string_pretty(value),
    };
    output::print((super::render::escaped(&text.expect("plain values are JSON")) + "\n").as_bytes())
}

/// Whether the result is wanted as JSON.
pub fn wants_json(global: &Global) -> bool {
    match global.output_format {
        OutputFormat::Json | OutputFormat::JsonLines => true,
        OutputFormat::Full
        | OutputFormat::Concise
        | OutputFormat::Github
        | OutputFormat::Gitlab
        | OutputFormat::Sarif
        | OutputFormat::Junit => false,
    }
}

/// A share for programs: exact and in lowest terms, where its denominator has at most 4,096 bits. Beyond, which takes a
/// hundred random matches one after the other, it is rounded to decimals: digits would outgrow the memory.
pub fn exact(share: &Share) -> String {
    const MOST: u64 = 4096;
    match share.denom().bits() {
        ..=MOST => share.to_string(),
        _ => share.to_f64().unwrap_or(0.0).to_string(),
    }
}

/// One thing that may happen, in the project's own JSON.
#[derive(Clone, Debug, Serialize)]
pub struct JsonOutcome {
    pub action: &'static str,
    pub to: Option<String>,
    /// [`exact`]: the meaning; for rules that lbc did not write, what they give.
    pub share: String,
    /// What the target's rules give.
    pub probability: f64,
    pub source: String,
    pub service: Option<String>,
    pub origin: Option<String>,
}

/// `dnat`, `redirect`, `pass`, `drop` or `reject`.
pub fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Dnat(..) => "dnat",
        Action::Redirect(_) => "redirect",
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}

/// `192.168.1.10:8080`, `[2001:db8::1]:80`, `:9050`; `None` where the connection goes nowhere else.
pub fn target(action: &Action) -> Option<String> {
    match action {
        Action::Dnat(address, port) => Some(format!("{}:{port}", show(*address))),
        Action::Redirect(port) => Some(format!(":{port}")),
        Action::Pass | Action::Drop | Action::Reject => None,
    }
}

/// `dnat to 192.168.1.10:8080`
pub fn action_text(action: &Action) -> String {
    match target(action) {
        Some(to) => format!("{} to {to}", action_name(action)),
        None => action_name(action).to_owned(),
    }
}

/// `kept`, `masquerade` or the address.
pub fn source_text(source: Source) -> String {
    match source {
        Source::Kept => "kept".to_owned(),
        Source::Masquerade => "masquerade".to_owned(),
        Source::Address(address) => address.to_string(),
    }
}

/// One outcome as it is shown: what was written and what the rules give, side by side.
#[derive(Clone)]
pub struct Row {
    pub action: Action,
    pub source: Source,
    /// As written; for rules that lbc did not write, as the rules give it.
    pub share: Share,
    /// As the rules give it.
    pub real: Share,
    pub service: Option<String>,
    pub origin: Option<String>,
    /// The comment of a rule that lbc did not write.
    pub comment: Option<String>,
}

impl Row {
    pub fn json(&self) -> JsonOutcome {
        JsonOutcome {
            action: action_name(&self.action),
            to: target(&self.action),
            share: exact(&self.share),
            probability: self.real.to_f64().unwrap_or(0.0),
            source: source_text(self.source),
            service: self.service.clone(),
            origin: self.origin.clone(),
        }
    }
}

/// The meaning of a program beside what its rules do. Both are listed, should they ever differ.
pub fn own_rows(config: &Config, meaning: &Outcome, trace: &Trace) -> Vec<Row> {
    let service = meaning.service.map(|index| &config.services()[index]);
    let (name, origin) = (service.map(|service| service.name.clone()), service.map(|service| config.origin(service)));
    let zero = Share::default;
    let mut rows: Vec<Row> = Vec::new();
    for outcome in &trace.outcomes {
        let wanted = meaning.shares.iter().find(|(action, _)| *action == outcome.action);
        match rows.iter_mut().find(|row| row.action == outcome.action && row.source == outcome.source) {
            Some(row) => row.real += &outcome.share,
            None => rows.push(Row {
                action: outcome.action.clone(),
                source: outcome.source,
                share: wanted.map_or_else(zero, |(_, share)| share.clone()),
                real: outcome.share.clone(),
                service: name.clone(),
                origin: origin.clone(),
                comment: None,
            }),
        }
    }
    for (action, share) in &meaning.shares {
        if !rows.iter().any(|row| row.action == *action) {
            let (service, origin) = (name.clone(), origin.clone());
            let (action, share) = (action.clone(), share.clone());
            rows.push(Row { action, source: Source::Kept, share, real: zero(), service, origin, comment: None });
        }
    }
    rows
}

/// What rules that lbc did not write do.
pub fn foreign_rows(trace: &Trace) -> Vec<Row> {
    let row = |outcome: &crate::trace::Outcome| Row {
        action: outcome.action.clone(),
        source: outcome.source,
        share: outcome.share.clone(),
        real: outcome.share.clone(),
        service: None,
        origin: None,
        comment: outcome.comment.clone(),
    };
    trace.outcomes.iter().map(row).collect()
}

/// The table of outcomes, each line starting with two blanks.
pub fn table(look: &Look, rows: &[Row]) -> String {
    let cells: Vec<[String; 3]> =
        rows.iter().map(|row| [fraction(&row.share), percent(&row.share), action_text(&row.action)]).collect();
    let width = |column: usize| cells.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text = String::new();
    for (row, [share, percent, action]) in rows.iter().zip(&cells) {
        let who = match (&row.service, &row.origin, &row.comment) {
            (Some(service), Some(origin), _) => format!("{service} ({origin})"),
            (_, _, Some(comment)) => comment.clone(),
            (Some(name), None, None) => name.clone(),
            (None, _, None) => String::new(),
        };
        let source = match row.source {
            Source::Kept => String::new(),
            Source::Masquerade => "as this machine  ".to_owned(),
            Source::Address(address) => format!("as {address}  "),
        };
        let ink = match row.action {
            Action::Dnat(..) | Action::Redirect(_) => Ink::Good,
            Action::Drop | Action::Reject => Ink::Bad,
            Action::Pass => Ink::Dim,
        };
        let action = look.ink(ink, &format!("{action:third$}"));
        text.push_str(&format!(
            "  {share:>first$}  {percent:>second$}  {}  {action}  {source}{}\n",
            look.bar(&row.share),
            printable(&who)
        ));
    }
    text
}

/// What is said of shares under [`Trace::loose`].
pub const LOOSE: &str =
    "counters run in step here, and what they do together could not be told: the shares take them for independent";

/// The new connections whose outcomes [`first_connections`] lists.
const SEQUENCE: usize = 16;

/// The first outcomes, where there is more than one and no chance in it.
pub fn first_connections(
    rules: &(impl Walk + ?Sized),
    packet: &Packet,
    machine: &Machine,
    walked: &Trace,
) -> Option<Vec<String>> {
    if walked.outcomes.len() < 2 {
        return None;
    }
    let actions = rules.sequence(packet, machine, SEQUENCE)?;
    Some(actions.iter().map(|action| target(action).unwrap_or_else(|| action_name(action).to_owned())).collect())
}

/// What is not known, for programs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JsonUnknown<'a> {
    #[serde(rename = "match")]
    what: &'a str,
    rule: &'a str,
}

impl<'a> JsonUnknown<'a> {
    pub fn of(unknown: &'a Unknown) -> JsonUnknown<'a> {
        JsonUnknown { what: &unknown.what, rule: &unknown.rule }
    }
}

/// What is not known, for people; nothing where all is.
pub fn unknown_text(list: &[Unknown]) -> String {
    let mut text = String::new();
    if !list.is_empty() {
        text.push_str("\nnot known to lbc, so taken as no match\n");
    }
    for unknown in list {
        text.push_str(&format!("  {}  in  {}\n", printable(&unknown.what), printable(&unknown.rule)));
    }
    text
}
