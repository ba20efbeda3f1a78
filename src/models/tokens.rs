//! The input of a bidirectional encoder: ids, and the mask, type and position of each.

use crate::graph::Tensor;

/// A batch of rows of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'g> {
    /// The tokens, `s32[batch, length]`.
    pub ids: Tensor<'g>,
    /// Which keys are seen, `pred` of axes among `[batch, length, keys]`: `[batch, keys]` hides padding, and
    /// `[batch, length, keys]` keeps the proteins of a packed row apart. Without it every position sees all.
    pub mask: Option<Tensor<'g>>,
    /// The type of each token (the first or the second sequence of a pair), `s32[batch, length]`; 0 without it.
    pub types: Option<Tensor<'g>>,
    /// The position of each token, `s32[batch, length]`; counted from 0 along the row without it.
    pub positions: Option<Tensor<'g>>,
}

impl<'g> Tokens<'g> {
    /// Rows of `ids` in which every position sees all.
    pub fn new(ids: Tensor<'g>) -> Self {
        Tokens {
            ids,
            mask: None,
            types: None,
            positions: None,
        }
    }

    /// Rows of `ids` padded with `pad`, which no position sees.
    pub fn padded(ids: Tensor<'g>, pad: i32) -> Self {
        let real = ids.ne(ids.constant(f64::from(pad)));
        Tokens {
            mask: Some(real.rename("length", "keys")),
            ..Tokens::new(ids)
        }
    }
}
