//! nftables: one `inet` table with a typed model, printed as a script for `nft -f` or as libnftables JSON.
//!
//! ```text
//! prerouting  ─▶ dispatch-ip4 ─▶ (cell-N-ip4 ─▶) svc-NAME-ip4 ─▶ dnat, redirect, drop
//! output      ─▶              ─▶ pick-N ─▶ at-N ─▶ dnat        ─▶ refuse
//! postrouting ─▶ source-nat-ip4 ─▶ masquerade, snat
//! ```
//!
//! A program of thousands of services has another shape than one of a few ([`shape`]): services that only pick a backend
//! are elements of maps that all of them share ([`shared`]), the rules of the others write no sets and maps out
//! ([`unfold`]), and ranges are looked up in two steps ([`lower`]).

mod again;
mod by_host;
pub mod dump;
mod evaluate;
mod index;
mod joint;
mod json;
mod json_value;
mod kind;
mod limits;
mod linear;
mod lookup;
mod lower;
pub mod model;
mod names;
mod narrow;
mod objects;
mod piece;
mod portion;
mod proof;
mod reach;
mod read_chains;
mod read_halves;
mod read_json;
mod read_rule;
mod read_text;
mod rebuild;
mod run;
mod service;
mod sets;
mod shape;
mod shared;
mod show;
mod source_nat;
mod sticky;
mod text;
mod tokens;
mod unfold;
mod value;
mod version;
mod walk;
mod walker;
mod wide;
mod words;

use std::io;

pub use dump::{Dump, ReadError};
pub use lower::lower;
pub use model::Ruleset;
pub use proof::{prove_json, prove_text};
pub use shape::{Shape, Shapes};
pub use unfold::row_size;
pub use version::Version;
pub use walk::Evaluator;

/// nft's two languages. They differ in what they can say of maps that rules fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

impl Ruleset {
    /// A script for `nft -f` that replaces the table in one transaction.
    pub fn print_text(&self, out: &mut impl io::Write) -> io::Result<()> {
        text::print(self, out)
    }

    /// Commands for `nft -j -f` that replace the table in one transaction.
    ///
    /// From a file: nft 1.0.6 returns 0 for broken JSON that comes through a pipe.
    pub fn print_json(&self, out: &mut impl io::Write) -> io::Result<()> {
        json::print(self, out)
    }
}

impl Dump {
    /// Reads a script that [`Ruleset::print_text`] has written; anything else is an error that names the line.
    pub fn read_text(text: &str) -> Result<Dump, ReadError> {
        read_text::read(text)
    }

    /// Reads libnftables JSON: what `nft -j list ruleset` prints, or commands that make tables anew.
    pub fn read_json(text: &str) -> Result<Dump, ReadError> {
        read_json::read(text)
    }
}

#[cfg(test)]
mod tests;
