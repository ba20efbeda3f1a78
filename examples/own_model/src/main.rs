//! Ribosome's command line with another family of models, ESM-2 ([`esm`]), its vocabulary and two recipes.
//!
//! ```text
//! cargo run -- verify --all cases
//! cargo run -- compile esm2-650m --on v3-128
//! cargo run -- train esm2-tiny --data ../data/proteins.fasta --on cpu:8
//! ```

mod esm;

use std::process::ExitCode;

use ribosome::train::registry::Registry;

fn main() -> ExitCode {
    let registry = Registry::standard()
        .family::<esm::Config>()
        .vocabulary(esm::vocabulary())
        .recipe("esm2-650m", include_str!("../recipes/esm2_650m.toml"))
        .recipe("esm2-tiny", include_str!("../recipes/esm2_tiny.toml"));
    ribosome::cli::main_with(&registry)
}
