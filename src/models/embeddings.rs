//! The embeddings of the BERT families (Devlin et al. 2019): the sum of a token's, its type's and its position's row,
//! each from a learned table, normed in the post-norm families.
//!
//! Tables are `[vocab, embed]`, `[types, embed]` and `[positions, embed]`. If a family factorises them (ALBERT), their
//! second axis is `factor`, and a linear layer takes it to `embed`.

use super::context::Context;
use super::layers;
use super::settings::{SettingError, token_id};
use super::tokens::Tokens;
use crate::graph::{Init, Tensor};

/// The scope and sizes of a model's tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embeddings {
    /// The scope of the tables, from the root.
    pub scope: &'static str,
    /// The axis of a row: `embed`, or `factor` if it is not the residual stream's.
    pub axis: &'static str,
    /// The size of a row.
    pub size: usize,
    /// The number of ids.
    pub vocab: usize,
    /// The number of positions; 0 leaves their table out, for models with other positions.
    pub positions: usize,
    /// The number of types; 0 leaves their table out.
    pub types: usize,
    /// The id whose row no look-up trains.
    pub pad: i32,
    /// The epsilon that the norm adds to the variance; `None` leaves the norm out.
    pub norm: Option<f64>,
    /// The standard deviation of the initial tables.
    pub init: f64,
}

impl Embeddings {
    /// A table of only `vocab` tokens in the scope `embeddings`, for models with other positions.
    pub fn of_tokens(vocab: usize, size: usize, pad: i32, init: f64) -> Self {
        Embeddings {
            scope: "embeddings",
            axis: "embed",
            size,
            vocab,
            positions: 0,
            types: 0,
            pad,
            norm: None,
            init,
        }
    }

    /// The table of tokens, `[vocab, axis]`, to which output layers are tied.
    pub fn words<'g>(&self, cx: Context<'g>) -> Tensor<'g> {
        self.here(cx, || self.table(cx, "word", "vocab", self.vocab))
    }

    /// The embedding of `tokens`, `[batch, length, axis]`.
    pub fn embed<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>) -> Tensor<'g> {
        let dtype = cx.policy.compute();
        let words = layers::freeze_row(self.words(cx), "vocab", self.pad);
        self.here(cx, || {
            let mut sum = layers::embed(cx, words, tokens.ids);
            if self.types > 0 {
                let table = self.table(cx, "type", "types", self.types);
                sum = sum
                    + match tokens.types {
                        Some(types) => types
                            .one_hot("types", self.types, dtype)
                            .dot(table.cast(dtype), ["types"]),
                        None => table.slice("types", 0, 1).sum(["types"]).cast(dtype),
                    };
            }
            if self.positions > 0 {
                let table = self.table(cx, "position", "positions", self.positions);
                // There are too many positions for a product with ones.
                sum = sum
                    + match tokens.positions {
                        Some(positions) => table.gather("positions", positions).cast(dtype),
                        None => {
                            let length = tokens.ids.size("length");
                            let rows = table.slice("positions", 0, length);
                            rows.rename("positions", "length").cast(dtype)
                        }
                    };
            }
            match self.norm {
                Some(epsilon) => layers::layer_norm_along(cx, "norm", sum, self.axis, epsilon),
                None => sum,
            }
            .pin_residual()
        })
    }

    /// Refuses a padding id outside the vocabulary.
    ///
    /// # Errors
    /// An id outside it.
    pub fn check(&self) -> Result<(), SettingError> {
        token_id("pad_token_id", self.pad, self.vocab)
    }

    fn table<'g>(&self, cx: Context<'g>, name: &str, rows: &str, count: usize) -> Tensor<'g> {
        let axes = [(rows, count), (self.axis, self.size)];
        cx.builder.scope(name, || {
            cx.builder
                .weight("embedding", axes, Init::Normal(self.init))
        })
    }

    fn here<'g, T>(&self, cx: Context<'g>, body: impl FnOnce() -> T) -> T {
        let builder = cx.builder;
        builder.at_root_scope(|| builder.scope(self.scope, body))
    }
}
