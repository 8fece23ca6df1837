//! The `lbc` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    lbc::cli::main()
}
