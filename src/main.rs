//! The `ribosome` command: arguments in, results on stdout, everything else on stderr, and an exit status.

use std::process::ExitCode;

/// A step is tens of thousands of small allocations; the system's allocator takes a fifth longer to lower one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ribosome::cli::main()
}
