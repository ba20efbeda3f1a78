//! T5's cases: the whole model, an encoder alone, and the table of buckets.

use ndarray::{ArrayD, Axis as Dimension, concatenate};

use super::{Case, Tensors, VerifyError, evaluate, session};
use crate::graph::{Builder, DType, Policy, Role, Shape, Tensor};
use crate::models::relative_bias::Buckets;
use crate::models::t5::{Config, Encoded};
use crate::models::{Run, layers, weights};
use crate::runtime::Client;

/// The model with loss and gradients.
pub(super) fn conditional(case: &Case, client: &Client) -> Result<Tensors, VerifyError> {
    let config = Config::from_hugging_face(&case.config)?;
    let builder = Builder::new();
    let run = Run::new(&builder, Policy::F32);
    let ids = input(&builder, case, "input_ids")?;
    let mask = real(input(&builder, case, "attention_mask")?);
    let labels = input(&builder, case, "labels")?;
    let decoder_mask = match case.tensors.contains_key("input.decoder_attention_mask") {
        true => Some(real(input(&builder, case, "decoder_attention_mask")?)),
        false => None,
    };
    let encoded = config.encode(run, ids, mask, true);
    let decoder_ids = config.decoder_input(labels);
    let decoded = config
        .decode(run, decoder_ids, decoder_mask, encoded.last, mask)
        .last;
    let logits = config.logits(run, decoded);
    let counted = labels.ge(labels.constant(0.0));
    let (sum, count) = layers::cross_entropy(logits, labels, counted);
    hidden_states(&builder, encoded);
    builder.output("output.encoder_last_hidden_state", encoded.last);
    builder.output("output.decoder_input_ids", decoder_ids);
    builder.output("output.decoder_last_hidden_state", decoded);
    builder.output("output.logits", logits);
    differentiate(&builder, sum / count);
    let mut computed = compute(case, client, &config, builder)?;
    join_hidden_states(&mut computed, "output.encoder_hidden_states");
    Ok(computed)
}

/// The encoder alone; its loss is the mean of the result times a probe over the real positions.
pub(super) fn encoder(case: &Case, client: &Client) -> Result<Tensors, VerifyError> {
    let config = Config::from_hugging_face(&case.config)?;
    let builder = Builder::new();
    let run = Run::new(&builder, Policy::F32);
    let ids = input(&builder, case, "input_ids")?;
    let mask = real(input(&builder, case, "attention_mask")?);
    let axes = ids
        .shape()
        .axes
        .into_iter()
        .chain([("embed", config.d_model).into()]);
    let probe = builder.input("probe", Role::Batch, Shape::new(DType::F32, axes));
    let last = config.encode(run, ids, mask, false).last;
    let kept = mask.cast(DType::F32);
    let count = kept.sum(["length"]);
    let seen = last * kept;
    builder.output("output.last_hidden_state", last);
    builder.output("output.mean_pooled", seen.sum(["length"]) / count);
    let loss = (seen * probe).sum_all() / (kept.sum_all() * config.d_model as f64);
    differentiate(&builder, loss);
    compute(case, client, &config, builder)
}

/// The table of buckets by relative position, and as a matrix of queries and keys.
pub(super) fn buckets(case: &Case) -> Result<Tensors, VerifyError> {
    let positions = case.tensor("input.relative_position")?;
    let mut computed = Tensors::new();
    for name in case.tensors.keys() {
        // output.[matrix_]{uni,bi}directional_BUCKETS_DISTANCE
        let Some(words) = name.strip_prefix("output.") else {
            continue;
        };
        let words: Vec<_> = words.split('_').collect();
        let [.., direction, count, distance] = words.as_slice() else {
            continue;
        };
        let (Ok(count), Ok(max_distance)) = (count.parse(), distance.parse()) else {
            continue;
        };
        let buckets = Buckets {
            count,
            max_distance,
            bidirectional: *direction == "bidirectional",
        };
        let table = match words[0] {
            "matrix" => {
                let dims = case.tensor(name)?.raw_dim();
                ArrayD::from_shape_fn(dims, |at| {
                    buckets.bucket(at[1] as i64 - at[0] as i64) as f32
                })
            }
            _ => positions.mapv(|position| buckets.bucket(position as i64) as f32),
        };
        computed.insert(name.clone(), table);
    }
    Ok(computed)
}

/// An `s32[batch, length]` input of the case's sizes.
fn input<'g>(builder: &'g Builder, case: &Case, name: &str) -> Result<Tensor<'g>, VerifyError> {
    let tensor = case.tensor(&format!("input.{name}"))?;
    let axes = ["batch", "length"]
        .into_iter()
        .zip(tensor.shape().iter().copied());
    Ok(builder.input(name, Role::Batch, Shape::new(DType::S32, axes)))
}

fn real(mask: Tensor<'_>) -> Tensor<'_> {
    mask.ne(mask.constant(0.0))
}

fn hidden_states<'g>(builder: &'g Builder, encoded: Encoded<'g>) {
    if let Some(inputs) = encoded.inputs {
        builder.output("layer_inputs", inputs);
        builder.output("layer_last", encoded.last);
    }
}

/// Hugging Face lists every layer's input and then the normed result.
fn join_hidden_states(computed: &mut Tensors, name: &str) {
    if let (Some(inputs), Some(last)) = (
        computed.remove("layer_inputs"),
        computed.remove("layer_last"),
    ) {
        let last = last.insert_axis(Dimension(0));
        if let Ok(all) = concatenate(Dimension(0), &[inputs.view(), last.view()]) {
            computed.insert(name.to_string(), all);
        }
    }
}

/// Adds the loss and every weight's gradient to the outputs.
fn differentiate<'g>(builder: &'g Builder, loss: Tensor<'g>) {
    let weights = builder.weights();
    let values: Vec<_> = weights.iter().map(|weight| builder.whole(weight)).collect();
    builder.output("output.loss", loss);
    for (weight, gradient) in weights.iter().zip(builder.gradients(loss, &values)) {
        builder.output(&format!("gradient/{}", weight.name), gradient);
    }
}

/// Runs the graph on the case's weights and inputs; gradients come back by the case's names.
fn compute(
    case: &Case,
    client: &Client,
    config: &Config,
    builder: Builder,
) -> Result<Tensors, VerifyError> {
    let declared = builder.weights();
    let table = config.hugging_face();
    let mut inputs = case.below("input.");
    inputs.extend(weights::import(&table, &declared, case.below("weight."))?);
    let session = session(builder.finish()?, client)?;
    let mut computed = evaluate(&session, &inputs)?;
    let gradients = declared.iter().filter_map(|weight| {
        let gradient = computed.remove(&format!("gradient/{}", weight.name))?;
        Some((weight.name.clone(), gradient))
    });
    let gradients = weights::export(&table, &declared, &gradients.collect())?;
    let named = gradients
        .into_iter()
        .map(|(name, gradient)| (format!("grad.{name}"), gradient));
    computed.extend(named);
    Ok(computed)
}
