//! What Transformer-XL (Dai et al. 2019, section 3) and XLNet (Yang et al. 2019) share: attention over the segment and a memory
//! of the one before, with scores by content and by relative position.
//!
//! A query at position i of the segment and a key j of memory and segment together are `keys - length + i - j` apart.
//! Each distance has a sinusoid, which each head projects. One product gives a query's scores of all distances, and the
//! relative shift takes from it, for each key, the score of its distance.

use super::context::Context;
use super::layers::{Sight, attention_weights};
use crate::graph::{DType, Shape, Tensor};

/// The shape of a model's memory for `batch` rows, `[layers, batch, memory, embed]`; `None` if `length` is 0.
pub fn memory(
    layers: usize,
    batch: usize,
    length: usize,
    embed: usize,
    dtype: DType,
) -> Option<Shape> {
    let axes = [
        ("layers", layers),
        ("batch", batch),
        ("memory", length),
        ("embed", embed),
    ];
    (length > 0).then(|| Shape::new(dtype, axes))
}

/// The distances between a segment's queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Positions of the segment, all of them queries.
    pub length: usize,
    /// Positions of memory and segment, all of them keys.
    pub keys: usize,
    /// Whether queries see keys after themselves too.
    pub after: bool,
    /// Distances beyond this, on either side, are clamped to it; 0 or less clamps none.
    pub clamp: i64,
}

impl Reach {
    /// The distances from the farthest key before to the farthest after, `[distance]` in the exact type: `keys` down to 0, or
    /// down to `1 - length` with keys after. No key is `keys` away: the shift needs that entry.
    pub fn distances<'g>(self, cx: Context<'g>) -> Tensor<'g> {
        let after = if self.after { self.length } else { 1 };
        let shape = Shape::new(cx.policy.exact(), [("distance", self.keys + after)]);
        let down = -cx.builder.iota("distance", shape) + self.keys as f64;
        match self.clamp {
            ..=0 => down,
            clamp => down
                .minimum(down.constant(clamp as f64))
                .maximum(down.constant(-clamp as f64)),
        }
    }

    /// The keys that are not after the query and, with `oldest`, not before the query's own number plus `oldest`
    /// (keys are numbered from the memory's first on, queries from the segment's): `pred[length, keys]`.
    pub fn window<'g>(self, cx: Context<'g>, oldest: Option<i64>) -> Tensor<'g> {
        let ahead = self.ahead(cx);
        let last = (self.keys - self.length) as f64;
        let seen = ahead.le(ahead.constant(last));
        match oldest {
            Some(oldest) => seen.and(ahead.ge(ahead.constant(oldest as f64))),
            None => seen,
        }
    }

    /// Whether a key is the query itself: `pred[length, keys]`.
    pub fn itself<'g>(self, cx: Context<'g>) -> Tensor<'g> {
        let ahead = self.ahead(cx);
        ahead.eq(ahead.constant((self.keys - self.length) as f64))
    }

    /// The key's number less the query's, `s32[length, keys]`.
    fn ahead<'g>(self, cx: Context<'g>) -> Tensor<'g> {
        let axes = [("length", self.length), ("keys", self.keys)];
        let shape = Shape::new(DType::S32, axes);
        cx.builder.iota("keys", shape.clone()) - cx.builder.iota("length", shape)
    }
}

/// The sinusoid of each of `positions`: their axes and `embed`, of which the first half are sines and the second
/// cosines, at wavelengths from 2 pi to 10000 x 2 pi. `embed` is even.
pub fn sinusoids<'g>(cx: Context<'g>, positions: Tensor<'g>, embed: usize) -> Tensor<'g> {
    let mut shape = positions.shape();
    shape.axes.push(("embed", embed / 2).into());
    let step = -(10000f64.ln()) * 2.0 / embed as f64;
    let frequencies = (cx.builder.iota("embed", shape.clone()) * step).exp();
    let angles = positions.broadcast(shape.axes) * frequencies;
    let waves = cx.builder.concat("embed", &[angles.sin(), angles.cos()]);
    waves.cast(cx.policy.compute())
}

/// `project` of the positions that queries see, along `keys`: of the memory `[batch, memory, embed]` and then of the segment
/// `[batch, length, embed]`. Each is projected separately, because the memory takes no gradient. If they were joined first,
/// its gradient would be computed with the segment's.
pub fn keys<'g>(
    cx: Context<'g>,
    memory: Option<Tensor<'g>>,
    segment: Tensor<'g>,
    project: impl Fn(Tensor<'g>) -> Tensor<'g>,
) -> Tensor<'g> {
    let own = project(segment).rename("length", "keys");
    match memory {
        Some(memory) => {
            let before = project(memory).rename("memory", "keys");
            cx.builder.concat("keys", &[before, own]).pin()
        }
        None => own,
    }
}

/// The memory for the next segment, `[batch, memory, embed]`: the last `kept` positions of `memory` and `segment`, or
/// all of them if there are no more or `kept` is 0. It takes no gradient.
pub fn remember<'g>(
    cx: Context<'g>,
    memory: Option<Tensor<'g>>,
    segment: Tensor<'g>,
    kept: usize,
) -> Tensor<'g> {
    let segment = segment.rename("length", "memory");
    let all = match memory {
        Some(memory) => cx.builder.concat("memory", &[memory, segment]),
        None => segment,
    };
    let count = all.size("memory");
    let last = match kept {
        0 => all,
        kept => all.slice("memory", count - kept.min(count), count),
    };
    last.detach().pin()
}

/// Scores by distance, `[.., length, distance]`, as scores of keys, `[.., length, keys]`: row i moves left by
/// `length - i`. If [`Reach::distances`] has no entry for a key (it is after the query and should not be seen), the
/// result is the score of some other distance.
///
/// If rows are laid end to end and cut one element shorter, each starts one element further left than the row before. That
/// takes a merge, two slices and a split of axes that are whole on every device, and no look-up.
pub fn relative_shift(scores: Tensor<'_>, keys: usize) -> Tensor<'_> {
    let (length, distances) = (scores.size("length"), scores.size("distance"));
    scores
        .merge(["length", "distance"], "distance")
        .slice("distance", length, length * distances)
        .split(
            "distance",
            [("length", length), ("distance", distances - 1)],
        )
        .slice("distance", 0, keys)
        .rename("distance", "keys")
        .pin()
}

/// Queries, keys, distances, and the two biases that replace a query's own position (u and v of the paper).
#[derive(Clone, Copy)]
pub struct Compared<'g> {
    /// `[batch, length, heads, kv]`.
    pub query: Tensor<'g>,
    /// `[batch, keys, heads, kv]`.
    pub key: Tensor<'g>,
    /// Projected sinusoids, `[distance, heads, kv]`, or with `batch` before them if rows differ.
    pub distance: Tensor<'g>,
    /// Added to queries for scores by content, `[heads, kv]`.
    pub content_bias: Tensor<'g>,
    /// Added to queries for scores by distance, `[heads, kv]`.
    pub position_bias: Tensor<'g>,
}

/// The axes of scores.
pub const SCORES: [&str; 4] = ["batch", "heads", "length", "keys"];

/// Scores by content and by distance, `[batch, heads, length, keys]` in the exact type, not yet scaled.
pub fn relative_scores<'g>(cx: Context<'g>, of: Compared<'g>) -> Tensor<'g> {
    let (compute, exact) = (cx.policy.compute(), cx.policy.exact());
    cx.builder.scope("scores", || {
        let content = of.query + of.content_bias.cast(compute);
        let content = content.dot_as(of.key, ["kv"], exact).pin();
        let position = of.query + of.position_bias.cast(compute);
        let position = position.dot_as(of.distance, ["kv"], exact);
        let by_distance = position
            .transpose(["batch", "heads", "length", "distance"])
            .pin();
        content + relative_shift(by_distance, of.key.size("keys"))
    })
}

/// The mean of `value` `[batch, keys, heads, kv]` by `scores` `[batch, heads, length, keys]`:
/// `[batch, heads, length, kv]`.
pub fn mix<'g>(
    cx: Context<'g>,
    scores: Tensor<'g>,
    value: Tensor<'g>,
    sight: Sight<'g>,
) -> Tensor<'g> {
    let weights = attention_weights(cx, scores, sight);
    cx.builder
        .scope("mix", || weights.dot(value, ["keys"]).pin())
}
