//! T5's relative-position bias: distances fall into buckets, exact for near ones and logarithmic for far ones, and
//! each head has a learned number for each bucket (Raffel et al. 2020, section 2.1).

use super::context::Context;
use crate::graph::{DType, Init, Shape, Tensor};

/// The mapping of distances to buckets.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// The number of buckets.
    pub count: usize,
    /// Distances from here on share the last bucket.
    pub max_distance: usize,
    /// Whether keys on both sides have buckets (encoder) or only those before the query (decoder).
    pub bidirectional: bool,
}

impl Buckets {
    /// The bucket of a key `relative` positions after the query.
    ///
    /// The table is made here and not in the program. At an exact boundary of the logarithm (distance 16 of 128), one unit in
    /// the last place would move a distance to the next bucket. The original computes in `f32`.
    pub fn bucket(&self, relative: i64) -> i64 {
        let (mut count, mut first) = (self.count as i64, 0);
        let distance = if self.bidirectional {
            count /= 2;
            if relative > 0 {
                first = count;
            }
            relative.abs()
        } else {
            (-relative).max(0)
        };
        let exact = count / 2;
        if distance < exact {
            return first + distance;
        }
        let octaves = (distance as f32 / exact as f32).ln();
        let span = (self.max_distance as f64 / exact as f64).ln() as f32;
        let log = exact + (octaves / span * (count - exact) as f32) as i64;
        first + log.min(count - 1)
    }

    /// The buckets of all distances from `-(length - 1)` to `length - 1`.
    fn table(&self, length: usize) -> Vec<i64> {
        let last = length as i64 - 1;
        (-last..=last)
            .map(|relative| self.bucket(relative))
            .collect()
    }
}

/// The bias `[heads, length, keys]` of `heads` heads, from a weight `[relpos_buckets, heads]` of the current scope.
pub fn relative_bias<'g>(
    cx: Context<'g>,
    buckets: Buckets,
    length: usize,
    heads: usize,
    init: f64,
) -> Tensor<'g> {
    let builder = cx.builder;
    builder.scope("relative_bias", || {
        let axes = [("relpos_buckets", buckets.count), ("heads", heads)];
        let weight = builder.weight("embedding", axes, Init::Normal(init));
        let exact = cx.policy.exact();
        let table = builder.table("distance", buckets.table(length));
        let shape = Shape::new(DType::S32, [("length", length), ("keys", length)]);
        let last = builder.constant(length as f64 - 1.0, DType::S32);
        let distance = builder.iota("keys", shape.clone()) - builder.iota("length", shape) + last;
        let hot =
            table
                .gather("distance", distance)
                .one_hot("relpos_buckets", buckets.count, exact);
        // Each row of `hot` has a single 1, so the product is exact in any order.
        let bias = hot.dot(weight.cast(exact), ["relpos_buckets"]);
        bias.transpose(["heads", "length", "keys"]).pin()
    })
}
