//! Cases of ProtTrans's secondary-structure head: from embeddings to every task's logits and the sum of the tasks' losses.

use ndarray::Slice;

use super::model::{compute, differentiate, input};
use super::{Case, CaseError, Device, Tensors, VerifyError};
use crate::graph::{Builder, DType, Policy, Role, Shape};
use crate::models::Context;
use crate::models::convolution_head::{Classification, Config};

pub(super) fn head(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let config = config(case)?;
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let sizes = case.tensor("input.embeddings")?.shape();
    let axes = ["batch", "length", "embed"]
        .into_iter()
        .zip(sizes.iter().copied());
    let embeddings = builder.input("embeddings", Role::Batch, Shape::new(DType::F32, axes));
    let logits = config.logits(cx, embeddings);
    let mut labels = Vec::new();
    for (task, logits) in config.tasks.iter().zip(&logits) {
        labels.push(input(&builder, case, &task.name)?);
        builder.output(&format!("output.{}_logits", task.name), *logits);
    }
    if let Some(loss) = config.loss(&logits, &labels) {
        differentiate(&builder, loss);
    }
    let mut computed = compute(case, device, &config.published_names(), builder)?;
    // The case keeps only the first rows of a large gradient.
    for (name, gradient) in &mut computed {
        if let (true, Ok(kept)) = (name.starts_with("grad."), case.tensor(name)) {
            let rows = kept.shape()[0];
            if rows < gradient.shape()[0] {
                gradient.slice_axis_inplace(ndarray::Axis(0), Slice::from(..rows));
            }
        }
    }
    Ok(computed)
}

/// The configuration with the sizes of the case's weights.
fn config(case: &Case) -> Result<Config, VerifyError> {
    let kernel = |name: &str| -> Result<[usize; 3], CaseError> {
        let name = format!("weight.{name}.0.weight");
        match *case.tensor(&name)?.shape() {
            [output, input, window, 1] => Ok([output, input, window]),
            ref sizes => Err(CaseError::Invalid {
                path: case.name.clone().into(),
                message: format!("`{name}` is {sizes:?}, but a kernel is [out, in, window, 1]"),
            }),
        }
    };
    let [channels, features, window] = kernel("elmo_feature_extractor")?;
    let mut config = Config::published(features);
    (config.channels, config.kernel) = (channels, window);
    let tasks = config.tasks.iter().map(|task| {
        let [classes, ..] = kernel(&format!("{}_classifier", task.name))?;
        let name = task.name.clone();
        Ok(Classification { name, classes })
    });
    config.tasks = tasks.collect::<Result<_, CaseError>>()?;
    Ok(config)
}
