//! nftables: one `inet` table with a typed model, printed as a script for `nft -f` or as libnftables JSON.
//!
//! ```text
//! prerouting ─▶ dispatch-ip4 ─▶ (cell-N-ip4 ─▶) svc-NAME-ip4 ─▶ dnat, redirect, drop
//! output     ─▶                                              ─▶ refuse
//! ```

mod json;
mod linear;
mod lower;
pub mod model;
mod names;
mod piece;
mod service;
mod text;
mod words;

use std::io;

pub use lower::lower;
pub use model::Ruleset;

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

#[cfg(test)]
mod tests;
