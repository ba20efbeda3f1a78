//! Ribosome's command line with one family of models more, ESM-2 ([`esm`]), its vocabulary and two recipes.
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
    ribosome::cli::main_with(&registry())
}

/// What ribosome comes with, and ESM-2.
fn registry() -> Registry {
    Registry::standard()
        .family::<esm::Config>()
        .vocabulary(esm::vocabulary())
        .recipe("esm2-650m", include_str!("../recipes/esm2_650m.toml"))
        .recipe("esm2-tiny", include_str!("../recipes/esm2_tiny.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// transformers counts 651,043,254 weights, 661 of them in a head for contacts that the language model does not use.
    #[test]
    fn the_parameter_count_is_the_published_one() {
        let recipe = registry().preset("esm2-650m").unwrap();
        assert_eq!(recipe.model.parameters(), 651_043_254 - 661);
    }
}
