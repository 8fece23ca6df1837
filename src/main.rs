//! The `lbc` binary.

use std::process::ExitCode;

/// A large program is half a million small pieces of memory, all of them kept to the end.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lbc::cli::main()
}
