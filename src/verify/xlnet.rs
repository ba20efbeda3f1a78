//! XLNet's cases: segments of a text, each with the memory of earlier ones, its loss and the loss's gradients.

use super::model::{compute, differentiate_segment, input_of, memories, optional, real, segments};
use super::{Case, Device, Tensors, VerifyError};
use crate::graph::{Builder, DType, Policy};
use crate::models::Family;
use crate::models::xlnet::{Config, Input};
use crate::models::{Context, layers};

/// The language model: one stream, or two if the case has targets.
pub(super) fn language_model(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let config = Config::from_hugging_face(&case.config)?;
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let mut memory = None;
    for segment in segments(case) {
        let tokens = ["batch", "length"];
        let optional = |name: &str, dtype, axes: &[&str]| {
            optional(&builder, case, &format!("{name}_{segment}"), dtype, axes)
        };
        let ids = format!("input_ids_{segment}");
        let mapping = ["batch", "predictions", "length"];
        let input = Input {
            ids: input_of(&builder, case, &ids, DType::S32, &tokens)?,
            types: optional("token_type_ids", DType::S32, &tokens)?,
            mask: optional("attention_mask", DType::S32, &tokens)?.map(real),
            permutation: optional("perm_mask", DType::F32, &["batch", "length", "keys"])?.map(real),
            targets: optional("target_mapping", DType::F32, &mapping)?,
            memory,
        };
        let output = config.forward(cx, input);
        let logits = config.logits(cx, output.hidden);
        let predictions = match input.targets {
            Some(_) => ["batch", "predictions"],
            None => tokens,
        };
        let labels = format!("labels_{segment}");
        let labels = input_of(&builder, case, &labels, DType::S32, &predictions)?;
        let counted = labels.ge(labels.constant(0.0));
        let (sum, count) = layers::cross_entropy(logits, labels, counted);
        builder.output(&format!("output.logits_{segment}"), logits);
        if config.use_mems_eval {
            memory = output.memory;
            memories(&builder, &segment, memory);
        }
        differentiate_segment(&builder, &segment, sum / count);
    }
    compute(case, device, &config.hugging_face(), builder)
}
