//! `lbc`, the load-balancer compiler.

pub mod diagnostic;
pub mod endpoint;
pub mod file;
pub mod ir;
pub mod keyword;
pub mod list;
pub mod option;
pub mod print;
pub mod program;
pub mod resolve;
pub mod source;
pub mod statement;
pub mod syntax;
