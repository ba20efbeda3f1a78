//! The time from a recipe to an HLO module (build with autodiff, check and lower), and to the module's bytes.
//! `lower_process.py` times the whole command and compares two binaries.
//!
//! ```text
//! cargo bench --bench lowering
//! ```
#![allow(missing_docs)]

use ribosome::hlo::proto::encode;
use ribosome::hlo::{Layout, Program, lower};
use ribosome::sharding::{Mesh, Rules};
use ribosome::train::recipe::Recipe;

fn main() {
    divan::main();
}

/// The published step: dropout, noise and Adafactor.
#[divan::bench(args = ["prot-t5-tiny", "prot-t5-xl", "prot-t5-xxl"])]
fn published(preset: &str) -> Program {
    lowered(preset, &[])
}

/// The step that the JAX program also has: no dropout, a momentum update.
#[divan::bench(args = ["prot-t5-xl", "prot-t5-xxl"])]
fn like_jax(preset: &str) -> Program {
    lowered(
        preset,
        &[
            ("dropout", "false"),
            ("optimizer.name", "momentum"),
            ("batch", "2048"),
        ],
    )
}

/// A lowered step's module as bytes.
#[divan::bench(args = ["prot-t5-xxl"])]
fn bytes(bencher: divan::Bencher, preset: &str) {
    let program = lowered(preset, &[]);
    bencher.bench(|| encode(program.module()));
}

fn lowered(preset: &str, changes: &[(&str, &str)]) -> Program {
    let recipe = Recipe::preset(preset).expect("a preset");
    let recipe = changes.iter().fold(recipe, |recipe, (key, value)| {
        recipe.set(key, value).expect("a key")
    });
    let (mesh, rules) = match preset {
        "prot-t5-tiny" => (Mesh::parse("data=4,model=2"), Rules::standard()),
        _ => (Mesh::parse("data=64,model=16"), Rules::standard()),
    };
    let mesh = mesh.expect("a mesh");
    let graph = recipe
        .step()
        .expect("a vocabulary")
        .build()
        .expect("a step")
        .graph;
    lower(
        &graph,
        preset,
        Layout {
            mesh: &mesh,
            rules: &rules,
        },
    )
    .expect("a program")
}
