//! What an editor asks: one file for one answer. Nothing here reads files; [`crate::cli`] loads the programs and speaks
//! the protocol.

pub mod actions;
pub mod analysis;
pub mod completion;
pub mod definition;
pub mod diagnostics;
pub mod formatting;
pub mod hints;
pub mod hover;
mod names;
pub mod outline;
pub mod references;
pub mod rename;
mod shares;
pub mod text;
pub mod uri;
pub mod wire;
mod words;
