//! Runs the first training step of a recipe on one CPU device and saves its inputs and outputs, for comparison with another
//! runtime (`examples/xla_rs/`).
//!
//! ```text
//! cargo run --example save_run -- prot-bert-tiny optimizer.name=momentum
//! ```
//!
//! writes prot-bert-tiny.inputs.safetensors (weights from the recipe's seed, the first batch of the example proteins) and
//! prot-bert-tiny.outputs.safetensors. The tensors have the names in the program that
//! `ribosome lower prot-bert-tiny --on cpu:1 --set optimizer.name=momentum --emit proto` saves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use ribosome::data::{Batches, Dataset};
use ribosome::graph::{Checked, DType, Shape};
use ribosome::hlo::{Layout, lower};
use ribosome::runtime::{Client, CompileConfig, HostArray, Platform, Purpose, Session, open};
use ribosome::sharding::{Mesh, Rules};
use ribosome::train::recipe::Recipe;
use ribosome::train::step::{initial, names};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

#[allow(dead_code)] // tests/xla_rs.rs uses the rest of this file
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments
        .next()
        .context("give a recipe and, optionally, keys to set: save_run prot-bert-tiny batch=8")?;
    let mut recipe = Recipe::load(&what)?;
    for setting in arguments {
        let (key, value) = setting
            .split_once('=')
            .with_context(|| format!("`{setting}` is not KEY=VALUE"))?;
        recipe = recipe.set(key, value)?;
    }
    save(&recipe, Path::new(""))
}

/// Arrays by the names of a program's inputs or outputs.
type Arrays = BTreeMap<String, HostArray>;

/// Saves the first step of `recipe` in `folder`.
pub fn save(recipe: &Recipe, folder: &Path) -> Result<()> {
    let step = recipe.step()?.build()?;
    let client = Client::cpu(open(Platform::Cpu, Purpose::Run)?, 1)?;
    let seed = HostArray::scalar(recipe.seed);
    let first = session(&client, initial(&step)?)?;
    let mut inputs = first.evaluate(&Arrays::from([(names::SEED.to_string(), seed.clone())]))?;
    inputs.insert(names::SEED.to_string(), seed);
    inputs.insert(names::STEP.to_string(), HostArray::scalar(0i32));
    inputs.extend(batch(recipe)?);
    let outputs = session(&client, step.graph)?.evaluate(&inputs)?;
    for (what, arrays) in [("inputs", &inputs), ("outputs", &outputs)] {
        let path = folder.join(format!("{}.{what}.safetensors", recipe.name));
        write(&path, arrays)?;
        println!("wrote {} with {} tensors", path.display(), arrays.len());
    }
    Ok(())
}

/// Compiles `graph` for the one device of `client`.
fn session(client: &Client, graph: Checked) -> Result<Session> {
    let (mesh, rules) = (&Mesh::parse("data=1,model=1")?, &Rules::standard());
    let program = lower(&graph, "step", Layout { mesh, rules })?;
    Ok(Session::new(
        client,
        &program,
        &CompileConfig::for_virtual_devices(1),
    )?)
}

/// The first batch of the example proteins.
fn batch(recipe: &Recipe) -> Result<Arrays> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/proteins.fasta");
    let data = Dataset::from_fasta(&[file], &recipe.tokens()?)?;
    let (objective, seed) = (&recipe.objective, u64::from(recipe.seed));
    let length = objective.row_tokens(recipe.length);
    let batches = Batches::new(&data, recipe.rows(), seed, length)?;
    let tokens = batches.batch(0, recipe.batch)?.tokens;
    let mut arrays = Arrays::new();
    if let Some(spans) = objective.spans() {
        let residues = data.vocabulary().residue_ids();
        let draw = |(row, tokens): (usize, ndarray::ArrayView1<i32>)| {
            spans.draw(seed, 0, row, &tokens.to_vec(), |id| residues.contains(&id))
        };
        let targets: Vec<i32> = tokens.outer_iter().enumerate().flat_map(draw).collect();
        let axes = [("batch", recipe.batch), ("predictions", spans.predictions)];
        let targets = HostArray::from_values(Shape::new(DType::S32, axes), &targets)?;
        arrays.insert(names::TARGETS.to_string(), targets);
    }
    let axes = [("batch", recipe.batch), ("length", length)];
    let tokens: Vec<i32> = tokens.into_iter().collect();
    let tokens = HostArray::from_values(Shape::new(DType::S32, axes), &tokens)?;
    arrays.insert(names::TOKENS.to_string(), tokens);
    Ok(arrays)
}

/// Writes `arrays` as safetensors.
fn write(path: &Path, arrays: &Arrays) -> Result<()> {
    let mut views = Vec::new();
    for (name, array) in arrays {
        let dtype = match array.shape().dtype {
            DType::Pred => Dtype::BOOL,
            DType::S32 => Dtype::I32,
            DType::U32 => Dtype::U32,
            DType::BF16 => Dtype::BF16,
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::Tuple => anyhow::bail!("`{name}` is several arrays, not one"),
        };
        let view = TensorView::new(dtype, array.shape().dims(), array.bytes())?;
        views.push((name.as_str(), view));
    }
    Ok(serialize_to_file(views, None, path)?)
}
