//! Code shared by all models' cases: inputs of the case's sizes, hidden states, gradients, and running the graph on the
//! case's weights.

use ndarray::{Axis as Dimension, concatenate};

use super::{Case, Device, Tensors, VerifyError, evaluate, session};
use crate::graph::{Builder, DType, Role, Shape, Tensor};
use crate::models::weights::{self, Entry};

/// An `s32[batch, length]` input of the case's sizes.
pub(super) fn input<'g>(
    builder: &'g Builder,
    case: &Case,
    name: &str,
) -> Result<Tensor<'g>, VerifyError> {
    input_of(builder, case, name, DType::S32, &["batch", "length"])
}

/// An input of the case's sizes, along `axes`.
pub(super) fn input_of<'g>(
    builder: &'g Builder,
    case: &Case,
    name: &str,
    dtype: DType,
    axes: &[&str],
) -> Result<Tensor<'g>, VerifyError> {
    let tensor = case.tensor(&format!("input.{name}"))?;
    let axes = axes.iter().copied().zip(tensor.shape().iter().copied());
    Ok(builder.input(name, Role::Batch, Shape::new(dtype, axes)))
}

/// The same, or `None` if the case does not have it.
pub(super) fn optional<'g>(
    builder: &'g Builder,
    case: &Case,
    name: &str,
    dtype: DType,
    axes: &[&str],
) -> Result<Option<Tensor<'g>>, VerifyError> {
    case.tensors
        .contains_key(&format!("input.{name}"))
        .then(|| input_of(builder, case, name, dtype, axes))
        .transpose()
}

/// The suffixes of the case's names for its segments, in reading order.
pub(super) fn segments(case: &Case) -> impl Iterator<Item = String> {
    let endings = (1..).map(|number| format!("seg{number}"));
    endings.take_while(|ending| {
        case.tensors
            .contains_key(&format!("input.input_ids_{ending}"))
    })
}

pub(super) fn real(mask: Tensor<'_>) -> Tensor<'_> {
    mask.ne(mask.constant(0.0))
}

/// The names of the hidden states before they are joined.
const LAYER_INPUTS: &str = "layer_inputs";
const LAYER_LAST: &str = "layer_last";

/// Outputs every layer's input (`[layers, ..]`) and the last result, for [`join_hidden_states`].
pub(super) fn hidden_states<'g>(builder: &'g Builder, inputs: Tensor<'g>, last: Tensor<'g>) {
    builder.output(LAYER_INPUTS, inputs);
    builder.output(LAYER_LAST, last);
}

/// Joins them as Hugging Face does: every layer's input, then the normed result.
pub(super) fn join_hidden_states(computed: &mut Tensors, name: &str) {
    if let (Some(inputs), Some(last)) = (computed.remove(LAYER_INPUTS), computed.remove(LAYER_LAST))
    {
        let last = last.insert_axis(Dimension(0));
        if let Ok(all) = concatenate(Dimension(0), &[inputs.view(), last.view()]) {
            computed.insert(name.to_string(), all);
        }
    }
}

/// Adds a segment's memory in Hugging Face's layout, positions before rows.
pub(super) fn memories<'g>(builder: &'g Builder, segment: &str, memory: Option<Tensor<'g>>) {
    if let Some(memory) = memory {
        let turned = memory.transpose(["layers", "memory", "batch", "embed"]);
        builder.output(&format!("output.mems_{segment}"), turned);
    }
}

/// Adds the loss and every weight's gradient to the outputs.
pub(super) fn differentiate<'g>(builder: &'g Builder, loss: Tensor<'g>) {
    differentiate_some(builder, loss, |_| true);
}

/// Adds the loss and the gradients of the weights that are `trained` to the outputs.
pub(super) fn differentiate_some<'g>(
    builder: &'g Builder,
    loss: Tensor<'g>,
    trained: impl Fn(&str) -> bool,
) {
    builder.output("output.loss", loss);
    gradients(builder, "grad", loss, trained);
}

/// The same for every weight and the loss of one segment of several.
pub(super) fn differentiate_segment<'g>(builder: &'g Builder, segment: &str, loss: Tensor<'g>) {
    builder.output(&format!("output.loss_{segment}"), loss);
    gradients(builder, &format!("grad_{segment}"), loss, |_| true);
}

/// Adds the gradient of every `trained` weight, under the case's prefix for gradients.
fn gradients<'g>(
    builder: &'g Builder,
    below: &str,
    loss: Tensor<'g>,
    trained: impl Fn(&str) -> bool,
) {
    let mut weights = builder.weights();
    weights.retain(|weight| trained(&weight.name));
    let values: Vec<_> = weights.iter().map(|weight| builder.whole(weight)).collect();
    for (weight, gradient) in weights.iter().zip(builder.gradients(loss, &values)) {
        builder.output(&format!("{below}/{}", weight.name), gradient);
    }
}

/// Runs the graph on the case's weights and inputs. Returns gradients under the case's names.
pub(super) fn compute(
    case: &Case,
    device: &Device,
    table: &[Entry],
    builder: Builder,
) -> Result<Tensors, VerifyError> {
    let declared = builder.weights();
    // Weights declared after a mistake have no meaningful sizes.
    let graph = builder.finish()?;
    let mut inputs = case.below("input.");
    inputs.extend(weights::import(table, &declared, case.below("weight."))?);
    let session = session(graph, device)?;
    let mut computed = evaluate(&session, &inputs)?;
    let segments = segments(case).map(|ending| format!("grad_{ending}"));
    for below in std::iter::once("grad".to_string()).chain(segments) {
        let mut trained = declared.clone();
        let mut gradients = Tensors::new();
        trained.retain(|weight| {
            let gradient = computed.remove(&format!("{below}/{}", weight.name));
            let known = gradient.map(|gradient| gradients.insert(weight.name.clone(), gradient));
            known.is_some()
        });
        let gradients = weights::export(table, &trained, &gradients)?;
        let named = gradients.into_iter();
        computed.extend(named.map(|(name, gradient)| (format!("{below}.{name}"), gradient)));
    }
    Ok(computed)
}
