//! T5's cases: the whole model, an encoder alone, and the table of buckets.

use ndarray::ArrayD;

use super::model::{
    compute, differentiate, differentiate_some, hidden_states, input, join_hidden_states, real,
};
use super::{Case, Device, Tensors, VerifyError};
use crate::graph::{Builder, DType, Policy, Role, Shape, Tensor};
use crate::models::Family;
use crate::models::lora::LowRank;
use crate::models::relative_bias::Buckets;
use crate::models::t5::Config;
use crate::models::weights::Entry;
use crate::models::{Context, layers};

/// The model with loss and gradients; with a low-rank `change`, the gradients of the weights it trains.
pub(super) fn conditional(
    case: &Case,
    device: &Device,
    change: Option<&LowRank>,
) -> Result<Tensors, VerifyError> {
    let config = Config::from_hugging_face(&case.config)?;
    let builder = Builder::new();
    let cx = Context {
        low_rank: change,
        ..Context::new(&builder, Policy::F32)
    };
    let ids = input(&builder, case, "input_ids")?;
    let mask = real(input(&builder, case, "attention_mask")?);
    let labels = input(&builder, case, "labels")?;
    let decoder_mask = match case.tensors.contains_key("input.decoder_attention_mask") {
        true => Some(real(input(&builder, case, "decoder_attention_mask")?)),
        false => None,
    };
    let encoded = config.encode(cx, ids, mask, true);
    let decoder_ids = config.decoder_input(labels);
    let decoded = config
        .decode(cx, decoder_ids, decoder_mask, encoded.last, mask)
        .last;
    let logits = config.logits(cx, decoded);
    let counted = labels.ge(labels.constant(0.0));
    let (sum, count) = layers::cross_entropy(logits, labels, counted);
    if let Some(inputs) = encoded.inputs {
        hidden_states(&builder, inputs, encoded.last);
    }
    builder.output("output.encoder_last_hidden_state", encoded.last);
    builder.output("output.decoder_input_ids", decoder_ids);
    builder.output("output.decoder_last_hidden_state", decoded);
    builder.output("output.logits", logits);
    let table = finish(&builder, &config, sum / count, change);
    let mut computed = compute(case, device, &table, builder)?;
    join_hidden_states(&mut computed, "output.encoder_hidden_states");
    Ok(computed)
}

/// Adds the loss and gradients. Returns the weights' names in the case.
fn finish<'g>(
    builder: &'g Builder,
    config: &Config,
    loss: Tensor<'g>,
    change: Option<&LowRank>,
) -> Vec<Entry> {
    let table = config.hugging_face();
    match change {
        Some(change) => {
            differentiate_some(builder, loss, |name| change.trains(name));
            change.entries(&table)
        }
        None => {
            differentiate(builder, loss);
            table
        }
    }
}

/// The encoder alone; its loss is the mean over the real positions of the result times a probe.
pub(super) fn encoder(
    case: &Case,
    device: &Device,
    change: Option<&LowRank>,
) -> Result<Tensors, VerifyError> {
    let config = Config::from_hugging_face(&case.config)?;
    let builder = Builder::new();
    let cx = Context {
        low_rank: change,
        ..Context::new(&builder, Policy::F32)
    };
    let ids = input(&builder, case, "input_ids")?;
    let mask = real(input(&builder, case, "attention_mask")?);
    let axes = ids
        .shape()
        .axes
        .into_iter()
        .chain([("embed", config.d_model).into()]);
    let probe = builder.input("probe", Role::Batch, Shape::new(DType::F32, axes));
    let last = config.encode(cx, ids, mask, false).last;
    let kept = mask.cast(DType::F32);
    let count = kept.sum(["length"]);
    let seen = last * kept;
    builder.output("output.last_hidden_state", last);
    builder.output("output.mean_pooled", seen.sum(["length"]) / count);
    let loss = (seen * probe).sum_all() / (kept.sum_all() * config.d_model as f64);
    let table = finish(&builder, &config, loss, change);
    compute(case, device, &table, builder)
}

/// The buckets by relative position, as a table and as a matrix of queries and keys.
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
