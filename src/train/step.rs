//! One training step as one graph: loss, gradients, clipping and update, with every weight and its state going in and
//! coming out in place. Microbatches are a loop that sums gradients.

use super::objective::Denoise;
use super::optimizer::{Optimizer, Update};
use super::schedule::Schedule;
use crate::graph::{
    Axis, Builder, DType, Graph, GraphError, Init, Key, LoopOptions, Policy, Remat, Role, Shape,
    Tensor, Weight,
};
use crate::models::{Run, t5};

/// All that decides what a step computes.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The model.
    pub model: t5::Config,
    /// What it learns.
    pub objective: Denoise,
    /// How weights are updated.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub schedule: Schedule,
    /// The norm that all gradients together are clipped to, if any.
    pub clip_norm: Option<f64>,
    /// Rows of a global batch.
    pub batch: usize,
    /// Tokens of a row.
    pub length: usize,
    /// How many parts a batch is taken in, one after the other.
    pub microbatches: usize,
    /// Element types.
    pub policy: Policy,
    /// What loops over layers save.
    pub remat: Remat,
    /// Whether dropout is on.
    pub dropout: bool,
    /// Whether loops are written out.
    pub unroll: bool,
}

/// A step's graph and what is known of its weights.
#[derive(Clone, Debug)]
pub struct Step {
    /// The graph.
    pub graph: Graph,
    /// The weights, in order.
    pub weights: Vec<Weight>,
}

/// What went wrong in building a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The batch does not come apart evenly.
    #[error(
        "a batch of {batch} rows in {microbatches} microbatches leaves {}; \
         batches that divide: {}, {}", batch % microbatches,
        batch - batch % microbatches, batch - batch % microbatches + microbatches
    )]
    Microbatches {
        /// Rows of the batch.
        batch: usize,
        /// Parts it should come in.
        microbatches: usize,
    },
    /// There are no microbatches, rows or tokens.
    #[error("{0} is 0; it must be at least 1")]
    Empty(&'static str),
    /// A mistake in the model.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The parameter names that are not weights or their state.
pub mod names {
    /// The step counter, from 0.
    pub const STEP: &str = "step";
    /// The seed.
    pub const SEED: &str = "seed";
    /// The batch's tokens, `s32[batch, length]`.
    pub const TOKENS: &str = "tokens";
    /// The mean loss.
    pub const LOSS: &str = "loss";
    /// The norm of all gradients before clipping.
    pub const GRADIENT_NORM: &str = "gradient_norm";
    /// The learning rate.
    pub const LEARNING_RATE: &str = "learning_rate";
}

impl StepConfig {
    /// Records the step.
    ///
    /// # Errors
    /// A batch that the microbatches do not divide, or a mistake in the model.
    pub fn build(&self) -> Result<Step, StepError> {
        for (what, size) in [
            ("microbatches", self.microbatches),
            ("batch", self.batch),
            ("length", self.length),
        ] {
            if size == 0 {
                return Err(StepError::Empty(what));
            }
        }
        if !self.batch.is_multiple_of(self.microbatches) {
            return Err(StepError::Microbatches {
                batch: self.batch,
                microbatches: self.microbatches,
            });
        }
        let builder = Builder::new();
        builder.set_unroll(self.unroll);
        self.record(&builder);
        let weights = builder.weights();
        let graph = builder.finish()?.compact();
        let weights = renumbered(&graph, weights);
        Ok(Step { graph, weights })
    }

    fn record(&self, builder: &Builder) {
        let counter = builder.input(names::STEP, Role::Step, Shape::scalar(DType::S32));
        let seed = builder.input(names::SEED, Role::Seed, Shape::scalar(DType::U32));
        let axes = [("batch", self.batch), ("length", self.length)];
        let tokens = builder.input(names::TOKENS, Role::Batch, Shape::new(DType::S32, axes));
        let key = builder.scope("key", || Key::of_step(seed, counter));
        let (sum, count, gradients) = match self.microbatches {
            1 => self.gradients(builder, tokens, key),
            parts => self.accumulated(builder, tokens, key, parts),
        };
        let weights = builder.weights();
        builder.scope("update", || {
            let share = count.maximum(count.constant(1.0));
            let mut gradients: Vec<_> = (gradients.into_iter())
                .map(|gradient| (gradient / share).pin_weight())
                .collect();
            let norm = global_norm(builder, &gradients);
            if let Some(limit) = self.clip_norm {
                let scale = (norm.constant(limit) / norm).minimum(norm.constant(1.0));
                gradients = gradients
                    .into_iter()
                    .map(|gradient| gradient * scale)
                    .collect();
            }
            let step = (counter + 1.0).cast(DType::F32);
            let rate = self.schedule.rate(step);
            for (weight, gradient) in weights.iter().zip(gradients) {
                let update = Update {
                    builder,
                    weight,
                    value: builder.whole(weight),
                    gradient,
                    rate,
                    step,
                };
                let next = builder.scope(&weight.name, || self.optimizer.apply(update));
                builder.update(&weight.name, next);
            }
            builder.output(names::LOSS, sum / share);
            builder.output(names::GRADIENT_NORM, norm);
            builder.output(names::LEARNING_RATE, rate);
        });
    }

    /// The loss's sum, the number of terms, and the sum's gradient for each weight.
    fn gradients<'g>(
        &self,
        builder: &'g Builder,
        tokens: Tensor<'g>,
        key: Key<'g>,
    ) -> (Tensor<'g>, Tensor<'g>, Vec<Tensor<'g>>) {
        let run = Run {
            remat: self.remat,
            key: self.dropout.then_some(key),
            ..Run::new(builder, self.policy)
        };
        let (sum, count) = self.objective.loss(run, &self.model, tokens, key);
        let weights: Vec<_> = builder
            .weights()
            .iter()
            .map(|weight| builder.whole(weight))
            .collect();
        let gradients = builder.gradients(sum, &weights);
        (sum, count, gradients)
    }

    /// The same summed over `parts` microbatches.
    fn accumulated<'g>(
        &self,
        builder: &'g Builder,
        tokens: Tensor<'g>,
        key: Key<'g>,
        parts: usize,
    ) -> (Tensor<'g>, Tensor<'g>, Vec<Tensor<'g>>) {
        // Rows are dealt out in turn, so that each device keeps its own and nothing moves.
        let dealt = [("batch", self.batch / parts), ("microbatches", parts)];
        let tokens = tokens
            .split("batch", dealt)
            .transpose(["microbatches", "batch", "length"]);
        let body = builder.open_loop(Axis::new("microbatches", parts), LoopOptions::default());
        let part = body.slice(tokens).pin();
        let (sum, count, gradients) = self.gradients(builder, part, key.fold(body.index()));
        let all = [sum, count].into_iter().chain(gradients);
        for (slot, value) in all.enumerate() {
            let zeros = body.outside(|| {
                let zeros = builder.full(0.0, value.shape());
                if slot < 2 { zeros } else { zeros.pin_weight() }
            });
            let so_far = body.carry(zeros);
            body.set_next(slot, so_far + value);
        }
        let mut results = body.close().into_iter();
        match (results.next(), results.next()) {
            (Some(sum), Some(count)) => (sum, count, results.collect()),
            _ => (sum, count, Vec::new()),
        }
    }
}

/// The root of the sum of all squares.
fn global_norm<'g>(builder: &'g Builder, gradients: &[Tensor<'g>]) -> Tensor<'g> {
    builder.scope("gradient_norm", || {
        let squares = gradients
            .iter()
            .map(|gradient| (*gradient * *gradient).sum_all());
        let zero = builder.constant(0.0, DType::F32);
        squares.fold(zero, |sum, square| sum + square).sqrt()
    })
}

/// The weights with their nodes' numbers in the compacted graph.
fn renumbered(graph: &Graph, weights: Vec<Weight>) -> Vec<Weight> {
    let mut weights = weights;
    for weight in &mut weights {
        if let Some((node, ..)) = graph.parameters().find(|(_, name, _)| *name == weight.name) {
            weight.node = node;
        }
    }
    weights
}

/// The graph that makes a step's first weights and state from a seed, on the devices: outputs are named as the step's
/// inputs and lie as they do, so that no host ever holds a whole model.
///
/// # Errors
/// A mistake in the graph.
pub fn initial(step: &Step) -> Result<Graph, GraphError> {
    let builder = Builder::new();
    let seed = builder.input(names::SEED, Role::Seed, Shape::scalar(DType::U32));
    let key = Key::of_seed(seed);
    for (node, name, role) in step.graph.parameters() {
        let shape = step.graph.root().shape(node).clone();
        let init = match role {
            Role::Weight => step
                .weights
                .iter()
                .find(|weight| weight.name == name)
                .map(|weight| weight.init),
            Role::State => Some(Init::Zeros),
            Role::Step | Role::Seed | Role::Batch => None,
        };
        let Some(init) = init else { continue };
        let value = builder.scope(name, || match init {
            Init::Zeros => builder.full(0.0, shape),
            Init::Ones => builder.full(1.0, shape),
            Init::Normal(deviation) => key.stream("init").normal(&shape.axes) * deviation,
        });
        builder.output(name, value.pin_weight());
    }
    Ok(builder.finish()?.compact())
}
