//! The `ribosome` command: arguments in, results on stdout, everything else on stderr, and an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    ribosome::cli::main()
}
