//! `lbc`, the load-balancer compiler.
//!
//! ```text
//! text ──parse──▶ File ──resolve──▶ ir::Config ──lower──▶ rules (typed model of one target)
//!                  │                   │                      │
//!                  └─ fmt              ├─ meaning, lint       ├─ print: text, JSON
//!                                      └─ explain, server     └─ read back ──▶ walk: trace, validate, listeners
//! ```
//!
//! One direction: a module uses what stands left of it. Each phase is a pure function that returns its value and all its
//! diagnostics; only [`resolve`] makes an [`ir::Config`], so a target cannot be handed an unchecked program. What is read back
//! from text is held against the [`meaning`], which shares no code with the targets. IO stands in [`cli`] alone.

pub mod address;
pub mod cli;
pub mod diagnostic;
pub mod dispatch;
pub mod endpoint;
pub mod explain;
pub mod file;
#[cfg(test)]
mod generated;
pub mod ir;
mod jhash;
pub mod keyword;
pub mod lint;
pub mod list;
pub mod listeners;
pub mod meaning;
pub mod option;
pub mod packet;
#[cfg(test)]
mod parity;
pub mod print;
pub mod program;
pub mod resolve;
pub mod server;
pub mod source;
pub mod statement;
pub mod suppression;
pub mod survey;
pub mod syntax;
pub mod target;
pub mod trace;
pub mod turns;
pub mod validate;
