//! Rotary positions (Su et al. 2021): pairs of a head's elements are rotated by an angle proportional to the position. The
//! product of a query and a key then depends only on the distance between them. Rotary positions need no table and have no
//! limit, and rows of several proteins need no separate positions.

use super::context::Context;
use crate::graph::{Shape, Tensor};

/// `x` `[batch, length, heads, kv]` with its elements i and i + kv / 2 rotated by `position / base^(2 i / kv)`, as GPT-NeoX and
/// ESM-2 pair them. Angles are exact in `f32`; `kv` must be even.
pub fn rotate<'g>(cx: Context<'g>, x: Tensor<'g>, base: f64) -> Tensor<'g> {
    let builder = cx.builder;
    builder.scope("rotary", || {
        let half = x.size("kv") / 2;
        let axes = [("length", x.size("length")), ("kv", half)];
        let shape = Shape::new(cx.policy.exact(), axes);
        let step = -base.ln() / half as f64;
        let frequencies = (builder.iota("kv", shape.clone()) * step).exp();
        let angles = builder.iota("length", shape) * frequencies;
        let dtype = cx.policy.compute();
        let (cosine, sine) = (angles.cos().cast(dtype), angles.sin().cast(dtype));
        let (first, second) = (x.slice("kv", 0, half), x.slice("kv", half, 2 * half));
        let turned = [
            first * cosine - second * sine,
            second * cosine + first * sine,
        ];
        builder.concat("kv", &turned).pin()
    })
}
