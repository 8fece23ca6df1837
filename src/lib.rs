//! `lbc`, the load-balancer compiler.

pub mod cli;
pub mod diagnostic;
pub mod dispatch;
pub mod endpoint;
pub mod explain;
pub mod file;
pub mod ir;
pub mod keyword;
pub mod list;
pub mod meaning;
pub mod option;
pub mod packet;
pub mod print;
pub mod program;
pub mod resolve;
pub mod source;
pub mod statement;
pub mod survey;
pub mod syntax;
pub mod target;
pub mod trace;
pub mod validate;
