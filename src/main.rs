//! The `ribosome` command: arguments in, results on stdout, everything else on stderr, and an exit status.

// A user's mistake is an error with a way out; tests alone may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
