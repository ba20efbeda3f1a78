//! What the cases of all models share: inputs of the case's sizes, hidden states, gradients, and running the graph on the
//! case's weights.

use ndarray::{Axis as Dimension, concatenate};

use super::{Case, Tensors, VerifyError, evaluate, session};
use crate::graph::{Builder, DType, Role, Shape, Tensor};
use crate::models::weights::{self, Entry};
use crate::runtime::Client;

/// An `s32[batch, length]` input of the case's sizes.
pub(super) fn input<'g>(
    builder: &'g Builder,
    case: &Case,
    name: &str,
) -> Result<Tensor<'g>, VerifyError> {
    let tensor = case.tensor(&format!("input.{name}"))?;
    let axes = ["batch", "length"]
        .into_iter()
        .zip(tensor.shape().iter().copied());
    Ok(builder.input(name, Role::Batch, Shape::new(DType::S32, axes)))
}

pub(super) fn real(mask: Tensor<'_>) -> Tensor<'_> {
    mask.ne(mask.constant(0.0))
}

/// The names of the hidden states on their way to being joined.
const LAYER_INPUTS: &str = "layer_inputs";
const LAYER_LAST: &str = "layer_last";

/// Gives every layer's input (`[layers, ..]`) and the last result out, for [`join_hidden_states`].
pub(super) fn hidden_states<'g>(builder: &'g Builder, inputs: Tensor<'g>, last: Tensor<'g>) {
    builder.output(LAYER_INPUTS, inputs);
    builder.output(LAYER_LAST, last);
}

/// Hugging Face lists every layer's input and then the normed result.
pub(super) fn join_hidden_states(computed: &mut Tensors, name: &str) {
    if let (Some(inputs), Some(last)) = (computed.remove(LAYER_INPUTS), computed.remove(LAYER_LAST))
    {
        let last = last.insert_axis(Dimension(0));
        if let Ok(all) = concatenate(Dimension(0), &[inputs.view(), last.view()]) {
            computed.insert(name.to_string(), all);
        }
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
    let mut weights = builder.weights();
    weights.retain(|weight| trained(&weight.name));
    let values: Vec<_> = weights.iter().map(|weight| builder.whole(weight)).collect();
    builder.output("output.loss", loss);
    for (weight, gradient) in weights.iter().zip(builder.gradients(loss, &values)) {
        builder.output(&format!("gradient/{}", weight.name), gradient);
    }
}

/// Runs the graph on the case's weights and inputs; gradients come back by the case's names.
pub(super) fn compute(
    case: &Case,
    client: &Client,
    table: &[Entry],
    builder: Builder,
) -> Result<Tensors, VerifyError> {
    let declared = builder.weights();
    let mut inputs = case.below("input.");
    inputs.extend(weights::import(table, &declared, case.below("weight."))?);
    let session = session(builder.finish()?, client)?;
    let mut computed = evaluate(&session, &inputs)?;
    let mut trained = declared;
    let mut gradients = Tensors::new();
    trained.retain(|weight| {
        let gradient = computed.remove(&format!("gradient/{}", weight.name));
        let known = gradient.map(|gradient| gradients.insert(weight.name.clone(), gradient));
        known.is_some()
    });
    let gradients = weights::export(table, &trained, &gradients)?;
    let named = gradients
        .into_iter()
        .map(|(name, gradient)| (format!("grad.{name}"), gradient));
    computed.extend(named);
    Ok(computed)
}
