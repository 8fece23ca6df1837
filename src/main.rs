//! The `lbc` binary.

fn main() {}
