//! Lints: what compiles, and was probably not meant so.
//!
//! A lint sees a program without errors: its statements, for places and spellings, and what they became. One file in
//! `rules/` for one lint: its documentation, its check, and its fix where there is one.

mod context;
mod doc;
mod edit;
mod errors;
pub mod fix;
mod overlap;
mod rules;
pub mod select;
mod suppress;
#[cfg(test)]
mod tests;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::Config;
use crate::program::Program;

use context::Context;
pub use doc::{Doc, document, page};
use select::Selection;

/// One lint.
pub struct Lint {
    pub code: Code,
    pub doc: Doc,
    /// Every finding, in any order.
    check: fn(&Context<'_>) -> Vec<Diagnostic>,
}

/// What a run of the lints is told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub selection: Selection,
    /// Ports by which this machine is managed.
    pub management_ports: Vec<u16>,
    /// Whether the program may be compiled to iptables with its clients in lists of the `recent` match.
    pub recent: bool,
    /// Whether a name counts as unused that only unused names use: for fixes, which take all of them out.
    pub is_thorough: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { selection: Selection::all(), management_ports: vec![22], recent: true, is_thorough: false }
    }
}

/// Every lint that looks at a program, by code. Suppressions are checked once these have run.
pub const LINTS: &[Lint] = &[
    rules::any_destination::LINT,
    rules::management_port::LINT,
    rules::hairpin_without_masquerade::LINT,
    rules::loopback_backend::LINT,
    rules::duplicate_backend::LINT,
    rules::partial_overlap::LINT,
    rules::missing_family::LINT,
    rules::coarse_hash::LINT,
    rules::sticky_capacity::LINT,
    rules::udp_stale_flows::LINT,
    rules::all_weights_zero::LINT,
    rules::backend_in_listener::LINT,
    rules::unreachable_statement::LINT,
    rules::reducible_weights::LINT,
    rules::unused_name::LINT,
    rules::mixed_weights::LINT,
    rules::unusual_address::LINT,
    rules::redundant_option::LINT,
    suppress::LINT,
];

/// What the selected lints find and no comment suppresses, in no particular order.
pub fn check(program: &Program, config: &Config, settings: &Settings) -> Vec<Diagnostic> {
    let context = Context::new(program, config, settings);
    let selected = LINTS.iter().filter(|lint| settings.selection.has(lint.code));
    let found = selected.flat_map(|lint| (lint.check)(&context)).collect();
    suppress::apply(program, &settings.selection, found)
}

/// Whether a finding says that there is no reason for something anywhere: another program that has the file may have one.
pub fn is_about_all(one: &Diagnostic) -> bool {
    one.code == Code::UnusedName || suppress::is_without_use(one)
}

pub use rules::udp_stale_flows::stale_flows;
