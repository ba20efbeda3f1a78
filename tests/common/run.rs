//! Runs of recipes on virtual devices, and how far one may be from another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use ribosome::data::{Batches, Dataset, Vocabulary};
use ribosome::pipeline::{Error, Job, Machine, Stages, Training};
use ribosome::runtime::{HostArray, Settings};
use ribosome::sharding::{Mesh, Partitioner, Target};
use ribosome::train::recipe::Recipe;
use ribosome::train::trainer::{Setup, Trainer};

/// Tensors by name.
pub type Tensors = BTreeMap<String, HostArray>;

/// The example proteins.
pub fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/proteins.fasta")
}

/// The example proteins in the ids of `vocabulary`.
pub fn proteins(vocabulary: &Vocabulary) -> Dataset {
    Dataset::from_fasta(&[file()], vocabulary).unwrap()
}

/// A preset's recipe with other settings.
pub fn preset(name: &str, settings: &[(&str, &str)]) -> Recipe {
    let change = |recipe: Recipe, (key, value): &(&str, &str)| recipe.set(key, value).unwrap();
    settings.iter().fold(Recipe::preset(name).unwrap(), change)
}

/// The tokens that the first step of `recipe` reads, made of the example proteins.
pub fn first_batch(recipe: &Recipe) -> Array2<i32> {
    let data = proteins(&recipe.tokens().unwrap());
    let rows = recipe.rows();
    let length = recipe.objective.row_tokens(recipe.length);
    let batches = Batches::new(&data, rows, u64::from(recipe.seed), length).unwrap();
    batches.batch(0, recipe.batch).unwrap().tokens
}

/// `recipe` made ready to train on the virtual devices of `mesh`.
pub fn training(recipe: &Recipe, mesh: &str, partitioner: Partitioner) -> Result<Training, Error> {
    let mesh = Mesh::parse(mesh).unwrap();
    let target = Target::Cpu {
        devices: mesh.devices(),
    };
    let machine = Machine::open(&target, &Settings::from_environment().unwrap())?;
    let job = Job {
        recipe: recipe.clone(),
        target,
        mesh: Some(mesh),
        partitioner,
    };
    Training::new(&job, &machine, &mut Stages::default())
}

/// Calls `test` with the setup of `recipe` on `mesh`.
pub fn on<T>(
    recipe: &Recipe,
    mesh: &str,
    partitioner: Partitioner,
    data: &Dataset,
    test: impl FnOnce(Setup) -> T,
) -> T {
    let training = training(recipe, mesh, partitioner).unwrap();
    let setup = training.setup(data);
    // One device is what others are compared with, so it compiles as `ribosome` does.
    let config = match setup.config.partitions {
        1 => setup.config.clone(),
        _ => super::quick(setup.config.clone()),
    };
    test(Setup {
        config: &config,
        ..setup
    })
}

/// Every weight, all optimizer state and what the model remembers.
pub fn state(trainer: &Trainer) -> Tensors {
    let tensors = trainer.tensors().into_iter();
    tensors
        .map(|(name, _)| (name.clone(), trainer.fetch(&name).unwrap()))
        .collect()
}

/// How far one run of a step may be from another, relative to a tensor's largest element. The runs differ in the order of
/// f32 sums alone. Such a sum of n terms is off by about sqrt(n) roundings of 2^-24, and the longest here (a gradient over
/// 8 x 32 tokens, through some tens of such sums) has 256 terms: 16 x 6e-8 = 1e-6, which is what is seen (4e-7 to
/// 1.0e-6). Ten times that leaves room for another compiler, and is far below any mistake.
pub const TOLERANCE: f64 = 1e-5;

/// The tensor that is farthest off, relative to its largest element.
pub fn farthest(found: &Tensors, expected: &Tensors) -> (f64, String) {
    assert!(found.keys().eq(expected.keys()));
    let gaps = found.iter().map(|(name, array)| {
        let (found, expected) = (array.to_f64(), expected[name].to_f64());
        let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        assert!(scale > 0.0, "`{name}` is all zeros");
        let gap = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let gap = gap.fold(
            0.0,
            |most: f64, gap| if gap.is_nan() { gap } else { most.max(gap) },
        );
        (gap / scale, name.clone())
    });
    gaps.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

/// Asserts that no tensor is farther off than [`TOLERANCE`].
pub fn assert_same(what: &str, found: &Tensors, expected: &Tensors) {
    let (gap, name) = farthest(found, expected);
    println!("{what}: farthest is {name}, by {gap:.1e} of its largest element");
    assert!(
        gap < TOLERANCE,
        "{what}: `{name}` is off by {gap:.1e} of its largest element"
    );
}
