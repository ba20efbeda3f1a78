//! The `ribosome` command: arguments in, results on stdout, everything else on stderr, and an exit status.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
