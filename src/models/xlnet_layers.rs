//! XLNet's layers: two streams that share all weights, and the masks of what they see.

use super::context::Context;
use super::layers::{FeedForward, Linear, Sight, feed_forward, layer_norm};
use super::relative_attention::{Compared, Reach, SCORES, keys, mix, relative_scores, sinusoids};
use super::xlnet::{AttentionType, Config, Input};
use crate::graph::{Axis, DType, Shape, Tensor};

/// Inputs that all layers share.
#[derive(Clone, Copy)]
pub(super) struct SharedSight<'g> {
    /// The sinusoids of distances, `[distance, embed]`, or `[directions, distance, embed]`.
    sinusoids: Tensor<'g>,
    /// Each row's direction as a one, `[batch, directions]`.
    directions: Option<Tensor<'g>>,
    /// Which keys the content stream cannot see, `pred[batch, length, keys]`.
    content_blocked: Option<Tensor<'g>>,
    /// The same for the query stream.
    query_blocked: Option<Tensor<'g>>,
    /// Whether a key belongs to another part of the text than the query, `pred[batch, length, keys]`.
    apart: Option<Tensor<'g>>,
    /// The positions of predictions.
    targets: Option<Tensor<'g>>,
}

/// The keys and values that both streams of a layer use.
#[derive(Clone, Copy)]
struct Seen<'g> {
    key: Tensor<'g>,
    value: Tensor<'g>,
    distance: Tensor<'g>,
    apart: Option<Tensor<'g>>,
}

impl Config {
    /// Positions and masks.
    pub(super) fn shared<'g>(&self, cx: Context<'g>, input: Input<'g>) -> SharedSight<'g> {
        let builder = cx.builder;
        let (batch, length) = (input.ids.size("batch"), input.ids.size("length"));
        let before = input.memory.map_or(0, |memory| memory.size("memory"));
        let reach = Reach {
            length,
            keys: before + length,
            after: self.attn_type == AttentionType::Bi,
            clamp: self.clamp_len,
        };
        let axes = [("batch", batch), ("length", length), ("keys", reach.keys)].map(Axis::from);
        // Along keys, with the memory first: `false`, and part 0.
        let with_memory = |of: Tensor<'g>| of.pad("keys", before, 0, 0.0);

        let mut blocked = Vec::new();
        if self.attn_type == AttentionType::Uni {
            let oldest = self.same_length.then_some(0);
            blocked.push(reach.window(cx, oldest).not());
        }
        if let Some(mask) = input.mask {
            blocked.push(with_memory(mask.not().rename("length", "keys")));
        }
        if let Some(permutation) = input.permutation {
            blocked.push(with_memory(permutation));
        }
        let query_blocked = (blocked.into_iter())
            .map(|part| part.broadcast(axes.clone()))
            .reduce(|all, part| all.or(part));
        let content_blocked = query_blocked.map(|blocked| blocked.and(reach.itself(cx).not()));
        let apart = input.types.map(|types| {
            let keys = with_memory(types.rename("length", "keys"));
            types
                .broadcast(axes.clone())
                .ne(keys.broadcast(axes.clone()))
        });

        let mut distances = reach.distances(cx);
        let directions = self.bi_data.then(|| {
            let axes = [
                ("directions", 2).into(),
                ("distance", distances.size("distance")).into(),
            ];
            let both = distances.broadcast(axes);
            let turned = builder.iota("directions", both.shape()) * -2.0 + 1.0;
            distances = both * turned;
            // Half of the rows in each direction. An odd number of rows is a mistake, because the axis is then too short.
            let halves = Shape::new(DType::S32, [("halves", 2), ("batch", batch / 2)]);
            let way = builder
                .iota("halves", halves)
                .merge(["halves", "batch"], "batch");
            way.one_hot("directions", 2, cx.policy.compute())
        });
        let waves = sinusoids(cx, distances, self.d_model);
        SharedSight {
            // The original drops elements per row. Here rows share the sinusoids, and so what is dropped.
            sinusoids: cx.dropout(waves, self.dropout, "positions"),
            directions,
            content_blocked,
            query_blocked,
            apart,
            targets: input.targets,
        }
    }

    /// One layer's streams, the content first.
    pub(super) fn layer<'g>(
        &self,
        cx: Context<'g>,
        content: Tensor<'g>,
        query: Option<Tensor<'g>>,
        memory: Option<Tensor<'g>>,
        shared: SharedSight<'g>,
    ) -> Vec<Tensor<'g>> {
        let builder = cx.builder;
        let query_cx = second(cx);
        let attended = builder.scope("attention", || {
            // Gathered once for all three, so that their gradients are added before they are summed over devices.
            let whole = content.pin();
            let project = |name: &str| keys(cx, memory, whole, |of| self.project(cx, name, of));
            let distance = self.project(cx, "r", shared.sinusoids);
            let seen = Seen {
                key: project("k"),
                value: project("v"),
                distance: match shared.directions {
                    Some(directions) => directions.dot(distance, ["directions"]).pin(),
                    None => distance,
                },
                apart: shared.apart,
            };
            let queries = self.project(cx, "q", whole);
            let mixed = self.attend(cx, queries, seen, shared.content_blocked);
            let mut streams = vec![self.output(cx, content, mixed)];
            if let Some((query, targets)) = query.zip(shared.targets) {
                // Queries are moved to the positions of their predictions, and their results back.
                let targets = targets.cast(cx.policy.compute());
                let queries = self.project(cx, "q", query);
                let queries = targets.dot(queries, ["predictions"]).pin();
                let mixed = self.attend(query_cx, queries, seen, shared.query_blocked);
                let mixed = targets.dot(mixed, ["length"]).pin();
                streams.push(self.output(query_cx, query, mixed));
            }
            streams
        });
        let runs = [cx, query_cx].into_iter();
        let streams = runs.zip(attended).map(|(cx, x)| self.mlp(cx, x));
        streams.collect()
    }

    /// `x` `[.., embed]` times the weight `name`, `[embed, heads, kv]`.
    fn project<'g>(&self, cx: Context<'g>, name: &str, x: Tensor<'g>) -> Tensor<'g> {
        let heads = [("heads", self.n_head), ("kv", self.kv())];
        let layer = Linear::new(name, self.initializer_range)
            .biased(false)
            .activation();
        layer.of(cx, x, &["embed"], &heads)
    }

    /// The attention of the queries `[batch, length, heads, kv]` to all keys that are not `blocked`:
    /// `[batch, heads, length, kv]`.
    fn attend<'g>(
        &self,
        cx: Context<'g>,
        query: Tensor<'g>,
        seen: Seen<'g>,
        blocked: Option<Tensor<'g>>,
    ) -> Tensor<'g> {
        let heads = [("heads", self.n_head), ("kv", self.kv())];
        let bias = |name: &str| cx.builder.weight(name, heads, self.init());
        let scores = relative_scores(
            cx,
            Compared {
                query,
                key: seen.key,
                distance: seen.distance,
                content_bias: bias("content_bias"),
                position_bias: bias("position_bias"),
            },
        );
        let by_part = self.scores_by_part(cx, query);
        let scores = match seen.apart {
            Some(apart) => {
                let axes = scores.shape().axes;
                let [same, other] = by_part.map(|part| part.broadcast(axes.clone()));
                scores + apart.broadcast(axes).select(other, same)
            }
            None => scores,
        };
        let sight = Sight {
            // Subtracted, as in the original: a query that sees nothing yields a mean, which passes gradients on.
            bias: blocked.map(|blocked| blocked.cast(cx.policy.exact()) * -1e30),
            mask: None,
            dropout: self.dropout,
        };
        let scores = scores * (self.kv() as f64).powf(-0.5);
        mix(cx, scores, seen.value, sight)
    }

    /// The stream `x` plus its attention's result, `[batch, heads, .., kv]`.
    fn output<'g>(&self, cx: Context<'g>, x: Tensor<'g>, mixed: Tensor<'g>) -> Tensor<'g> {
        let builder = cx.builder;
        let update = builder.scope("o", || {
            let embed = ("embed", self.d_model);
            let axes = [embed, ("heads", self.n_head), ("kv", self.kv())];
            let kernel = builder.weight("kernel", axes, self.init());
            let update = mixed.dot(kernel.cast(cx.policy.compute()), ["heads", "kv"]);
            update.pin_residual()
        });
        self.residual(cx, x, update)
    }

    /// A query's scores of keys in its own part of the text and in others: `[batch, heads, length]` each.
    fn scores_by_part<'g>(&self, cx: Context<'g>, query: Tensor<'g>) -> [Tensor<'g>; 2] {
        let builder = cx.builder;
        let compute = cx.policy.compute();
        builder.scope("segments", || {
            let heads = [("heads", self.n_head), ("kv", self.kv())];
            let bias = builder.weight("bias", heads, self.init());
            let axes = [("segments", 2), heads[0], heads[1]];
            let parts = builder.weight("embedding", axes, self.init());
            let query = query + bias.cast(compute);
            [0, 1].map(|at| {
                let part = parts.cast(compute).slice("segments", at, at + 1);
                let part = part.merge(["segments", "heads"], "heads");
                let scores = query.dot_as(part, ["kv"], cx.policy.exact());
                let [batch, heads, length, _] = SCORES;
                scores.transpose([batch, heads, length]).pin()
            })
        })
    }

    /// The norm of `x` plus a block's result.
    fn residual<'g>(&self, cx: Context<'g>, x: Tensor<'g>, update: Tensor<'g>) -> Tensor<'g> {
        let sum = x + cx.dropout(update, self.dropout, "residual");
        layer_norm(cx, "norm", sum.pin_residual(), self.layer_norm_eps)
            .pin_residual()
            .tag("residual")
    }

    fn mlp<'g>(&self, cx: Context<'g>, x: Tensor<'g>) -> Tensor<'g> {
        cx.builder.scope("mlp", || {
            let shape = FeedForward {
                mlp: self.d_inner,
                activation: self.ff_activation,
                dropout: self.dropout,
                biased: true,
                init: self.initializer_range,
                output_init: self.initializer_range,
            };
            self.residual(cx, x, feed_forward(cx, x, shape))
        })
    }
}

/// The same context with other randomness, for the second stream.
fn second(cx: Context<'_>) -> Context<'_> {
    cx.at(cx.builder.constant(1.0, DType::S32))
}
