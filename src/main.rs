//! The command line of circled.

use std::process::ExitCode;

fn main() -> ExitCode {
    circled::cli::run()
}
