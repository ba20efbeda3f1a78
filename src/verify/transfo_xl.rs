//! Transformer-XL's cases: segments of a text, each with the memory of earlier ones, its loss and the loss's gradients.

use super::model::{compute, differentiate_segment, input_of, memories, segments};
use super::{Case, Device, Tensors, VerifyError};
use crate::graph::{Builder, DType, Policy};
use crate::models::Context;
use crate::models::transfo_xl::Config;
use crate::models::{CausalLanguageModel, Family};

/// The language model. Labels are the tokens themselves; each position predicts the next one.
pub(super) fn language_model(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let config = Config::from_hugging_face(&case.config)?;
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let mut memory = None;
    for segment in segments(case) {
        let input = |name: &str| {
            let name = format!("{name}_{segment}");
            input_of(&builder, case, &name, DType::S32, &["batch", "length"])
        };
        let (ids, labels) = (input("input_ids")?, input("labels")?);
        let output = config.read(cx, ids, memory);
        memory = output.memory;
        let logarithms = config.log_probabilities(cx, output.hidden);
        builder.output(&format!("output.log_probs_{segment}"), logarithms);
        builder.output(
            &format!("output.last_hidden_state_{segment}"),
            output.hidden,
        );
        memories(&builder, &segment, memory);

        let last = ids.size("length");
        let next = labels.slice("length", 1, last);
        let hidden = output.hidden.slice("length", 0, last - 1);
        let logarithms = logarithms.slice("length", 0, last - 1);
        // The mean omits losses of 0: those of ignored labels (not words) and of words predicted with certainty.
        let hot = next.one_hot("vocab", config.vocab_size, DType::F32);
        let taken = (logarithms * hot).sum(["vocab"]);
        let counted = taken.ne(taken.constant(0.0));
        let (sum, count) = config.losses(cx, hidden, next, counted);
        differentiate_segment(&builder, &segment, sum / count);
    }
    compute(case, device, &config.hugging_face(), builder)
}
