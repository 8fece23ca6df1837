//! The listeners for people.

use num_traits::Zero;

use crate::cli::Failure;
use crate::cli::render::printable;
use crate::cli::rules::Target;
use crate::cli::show::{Ink, LOOSE, Look, Row, action_text, percent, table, unknown_text};
use crate::ir::Family;
use crate::listeners::{Arrival, Case, Listener};
use crate::trace::Source;

use super::filters::Refused;
use super::gather::{Fated, Told};
use super::words::{clients, condition, kept, moved, remark, title};

/// Prints what was gathered.
pub fn print(look: &Look, families: &[Told], target: Target) -> Result<(), Failure> {
    let mut text = String::new();
    for told in families {
        let count = told.listeners.len();
        let head = format!(
            "{}, {}: {count} {}\n",
            target.name(),
            told.family.name(),
            if count == 1 { "listener" } else { "listeners" }
        );
        text.push_str(&look.ink(Ink::Dim, &head));
        for (listener, fated) in &told.listeners {
            text.push_str(&format!("\n{}\n", look.ink(Ink::Bold, &title(told.family, listener))));
            if let Some(remark) = remark(told.family, listener, told.is_said) {
                text.push_str(&format!("  {remark}\n"));
            }
            for (case, fated) in listener.cases.iter().zip(fated) {
                match heading(told.family, &told.arrivals, listener, case) {
                    Heading::Hidden => continue,
                    Heading::Line(line) if case.fate.is_pass() => {
                        text.push_str(&format!("  {}: passes\n", printable(&line)));
                        continue;
                    }
                    Heading::Line(line) => text.push_str(&format!("  {}\n", printable(&line))),
                    Heading::None => {}
                }
                text.push_str(&one(look, told.family, listener, case, fated));
            }
        }
        text.push_str(&unknown_text(&told.unknown));
        for note in &told.notes {
            text.push_str(&format!("\n{}\n", look.ink(Ink::Bad, note)));
        }
    }
    if families.iter().any(Told::assumes) {
        text.push_str(&format!("\n{}\n", look.ink(Ink::Dim, ASSUMED)));
    }
    look.print(&text)
}

/// What is taken for granted where nobody said which addresses are this machine's.
const ASSUMED: &str = "Nobody said which addresses are this machine's (--local). `local` is one of them that the rules do not\n\
    name; what they do name, backends too, is taken for another machine's unless a line says otherwise.";

fn one(look: &Look, family: Family, listener: &Listener, case: &Case, fated: &Fated) -> String {
    let mut text = table(look, &without_sources(&fated.rows));
    if let Some(clients) = fated.clients {
        let counted = if clients > 0 { format!(", counted over {clients} clients") } else { String::new() };
        text.push_str(&match fated.by_bits {
            true => format!("  by bits of the client's address{counted} next to each other\n"),
            false => format!("  by a hash of the client{counted}\n"),
        });
    }
    if fated.loose {
        text.push_str(&format!("  {}\n", look.ink(Ink::Bad, LOOSE)));
    }
    if !fated.unbalanced.is_zero() {
        let passes = format!("passes unbalanced {}", percent(&fated.unbalanced));
        text.push_str(&format!("  {}\n", look.ink(Ink::Bad, &passes)));
    }
    for Refused { share, action, unless, clients: of } in &fated.refused {
        let unless = unless
            .as_ref()
            .map_or_else(String::new, |what| format!(", unless `{}` holds: that cannot be told", printable(what)));
        let of = of.as_ref().map_or_else(String::new, |of| format!(" of those {}", clients(family, of)));
        text.push_str(&format!("  filters then {} {}{of}{unless}\n", action_text(action), percent(share)));
    }
    if let Some(untold) = &fated.untold {
        text.push_str(&format!("  {}\n", look.ink(Ink::Bad, &printable(untold))));
    }
    if let Some(kept) = kept(listener, case) {
        text.push_str(&format!("  {kept}\n"));
    }
    if let Some(moved) = moved(listener, case) {
        text.push_str(&format!("  {moved}\n"));
    }
    if let Some(sequence) = &fated.sequence {
        text.push_str(&format!("  the first connections: {}\n", sequence.join(", ")));
    }
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// Rows for all clients alike: which of them keep their addresses is not what shares are about.
fn without_sources(rows: &[Row]) -> Vec<Row> {
    let mut list: Vec<Row> = Vec::new();
    for row in rows {
        match list.iter_mut().find(|other| other.action == row.action && other.comment == row.comment) {
            Some(other) => {
                other.share += &row.share;
                other.real += &row.real;
            }
            None => list.push(Row { source: Source::Kept, ..row.clone() }),
        }
    }
    list
}

/// What stands above the table of a case.
enum Heading {
    None,
    Line(String),
    /// The case need not be shown.
    Hidden,
}

/// For people: a listener is for whatever arrives unless it says otherwise, as a statement of a program is.
fn heading(family: Family, all: &[Arrival], listener: &Listener, case: &Case) -> Heading {
    let usual = match listener.cases.as_slice() {
        [_] => return Heading::Line("also connections that this machine opens".to_owned()),
        [first, second] => {
            let opened = [all.len() as u32 - 1];
            second.fate.is_pass() && second.arrivals == opened && first.sources.is_none() && second.sources.is_none()
        }
        [..] => false,
    };
    match condition(family, all, case) {
        Some(_) if usual && case.fate.is_pass() => Heading::Hidden,
        Some(condition) if !usual => Heading::Line(condition),
        Some(_) | None => Heading::None,
    }
}
