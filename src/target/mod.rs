//! What we compile to. Each target builds a typed rule model from a validated config; its printers only read it.

pub mod split;
