//! Causal language modelling with memories (Dai et al. 2019): every token is predicted from those before it, in the row and
//! in what the model remembers of the row's past. Rows go on from step to step.

use serde::{Deserialize, Serialize};

use super::{Given, Loss};
use crate::models::{Context, transfo_xl};

/// The settings: there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CausalLm {}

impl CausalLm {
    /// The loss of predicting every token of a row but its first; a row has one more than the model reads.
    pub(super) fn loss<'g>(
        &self,
        cx: Context<'g>,
        model: &transfo_xl::Config,
        given: Given<'_, 'g>,
    ) -> Loss<'g> {
        let tokens = given.tokens;
        let length = tokens.size("length") - 1;
        let read = tokens.slice("length", 0, length);
        let next = tokens.slice("length", 1, length + 1);
        let output = model.forward(cx, read, given.memory);
        let counted = next.ge(next.constant(0.0));
        let (sum, count) = cx
            .builder
            .scope("loss", || model.losses(cx, output.hidden, next, counted));
        Loss {
            sum,
            count,
            parts: Vec::new(),
            memory: given.memory.and(output.memory),
        }
    }
}
