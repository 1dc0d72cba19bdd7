//! The command `nanovhd`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(nanovhd::cli::main())
}
