//! iptables: one rule model for both families, printed as restore text or as a script that installs and removes it.

mod arrange;
mod behind;
pub mod dump;
mod front;
mod hash;
mod listen;
mod lower;
pub mod model;
mod names;
mod objects;
mod plant;
mod proof;
mod read;
mod rebuild;
mod restore;
mod script;
mod service;
#[cfg(test)]
mod tests;
mod walk;

pub use lower::lower;
pub use model::Ruleset;
pub use proof::prove;
pub use read::{ReadError, Saved, read, read_saved};
pub use rebuild::rebuild;
pub use restore::{Families, Hooks, print as print_restore};
pub use script::print as print_script;
pub use walk::Evaluator;
