//! Causal language modelling with memories (Dai et al. 2019): every token is predicted from the tokens before it in the row,
//! and from what the model remembers of the row's past. A row continues in the next step.

use serde::{Deserialize, Serialize};

use super::{Given, Loss, Task};
use crate::data::{Dataset, DatasetError, Rows, entropy};
use crate::models::{Context, Model};

/// The objective, which has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CausalLm {}

impl Task for CausalLm {
    fn name() -> &'static str {
        "causal-lm"
    }

    fn trains(&self) -> &'static str {
        "a model that predicts the next token, such as model.family = transfo-xl"
    }

    /// The loss of predicting every token of a row but the first. A row has one token more than the model reads.
    fn loss<'g>(&self, cx: Context<'g>, model: &Model, given: Given<'_, 'g>) -> Option<Loss<'g>> {
        let model = model.causal_language_model()?;
        let tokens = given.tokens;
        let length = tokens.size("length") - 1;
        let read = tokens.slice("length", 0, length);
        let next = tokens.slice("length", 1, length + 1);
        let output = model.read(cx, read, given.memory);
        let counted = next.ge(next.constant(0.0));
        let (sum, count) = cx
            .builder
            .scope("loss", || model.losses(cx, output.hidden, next, counted));
        Some(Loss {
            sum,
            count,
            parts: Vec::new(),
            memory: given.memory.and(output.memory),
        })
    }

    fn rows(&self, _: &Model, length: usize) -> Rows {
        Rows::Running {
            stride: length,
            both_ways: false,
        }
    }

    /// The last token is predicted and not read.
    fn row_tokens(&self, length: usize) -> usize {
        length + 1
    }

    fn constant_guess(&self, _: &Model, data: &Dataset, _: usize) -> Result<f64, DatasetError> {
        Ok(entropy(&data.frequencies(usize::MAX, |_| true)?))
    }
}
