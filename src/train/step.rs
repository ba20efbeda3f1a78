//! One training step as one graph: loss, gradients, clipping and update, with every weight and its state going in and
//! coming out in place. Microbatches are a loop that sums gradients.

use super::objective::{Given, Loss, WrongModel};
use super::optimizer::Update;
use super::settings::{self, in_recipe};
pub use super::step_config::StepConfig;
use crate::graph::{
    Axis, Builder, Checked, DType, Graph, GraphError, Init, Key, LoopOptions, Role, Shape, Tensor,
    Weight,
};
use crate::models::Context;
use crate::models::settings::SettingError;

/// A step's graph and its weights.
#[derive(Clone, Debug)]
pub struct Step {
    /// The graph.
    pub graph: Checked,
    /// The weights, in order.
    pub weights: Vec<Weight>,
}

/// Errors of building a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Settings out of range, or that do not fit together.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Rows longer than the model has positions for.
    #[error(
        "length is {length}, and the model has {positions} positions; take --length {positions} or less, or set {keys}"
    )]
    Positions {
        /// Tokens of a row.
        length: usize,
        /// Rows of the position table.
        positions: usize,
        /// The keys that set them.
        keys: String,
    },
    /// A token or the noise has an id without a row in the embedding.
    #[error(
        "{what} goes up to id {highest}, and the model has {vocab} embeddings; set {keys} to at least {}",
        i64::from(*highest) + 1
    )]
    Vocabulary {
        /// Where the id comes from.
        what: String,
        /// The highest id.
        highest: i32,
        /// Rows of the embedding.
        vocab: usize,
        /// The keys that set them.
        keys: String,
    },
    /// An objective that does not train the model.
    #[error(transparent)]
    Objective(#[from] WrongModel),
    /// A mistake in the model.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The names of inputs and outputs that are not weights or their state.
pub mod names {
    /// The step counter, from 0.
    pub const STEP: &str = "step";
    /// The seed.
    pub const SEED: &str = "seed";
    /// The batch's tokens, `s32[batch, length]`.
    pub const TOKENS: &str = "tokens";
    /// The positions to predict, `s32[batch, predictions]`, if the objective asks for them.
    pub const TARGETS: &str = "targets";
    /// The model's memory of earlier segments, `[layers, batch, memory, embed]`, if it has one.
    pub const MEMORY: &str = "memory";
    /// The mean loss; parts of it are called `loss/PART`.
    pub const LOSS: &str = "loss";
    /// The norm of all gradients before clipping.
    pub const GRADIENT_NORM: &str = "gradient_norm";
    /// The learning rate.
    pub const LEARNING_RATE: &str = "learning_rate";
}

impl StepConfig {
    /// Builds the step's graph.
    ///
    /// # Errors
    /// Settings that are out of range or do not fit together, or a mistake in the model.
    pub fn build(&self) -> Result<Step, StepError> {
        settings::check(self)?;
        self.check_ids()?;
        if let Some(positions) = self.model.positions()
            && self.length > positions
        {
            let length = self.length;
            return Err(StepError::Positions {
                length,
                positions,
                keys: in_recipe(self.model.position_keys()),
            });
        }
        let builder = Builder::new();
        builder.set_unroll(self.unroll);
        self.record(&builder)?;
        let weights = builder.weights();
        let graph = builder.compact()?;
        let weights = renumbered(&graph, weights);
        Ok(Step { graph, weights })
    }

    /// Refuses ids without a row in the embedding, which would silently get another id's row.
    fn check_ids(&self) -> Result<(), StepError> {
        let vocab = self.model.vocab_size();
        let table = format!("the vocabulary {}", self.vocabulary.name);
        let residues = (table, self.vocabulary.residue_ids().end - 1);
        let noise = self.objective.noise_ids(&self.vocabulary);
        let noise = noise.into_iter().map(|(what, id)| (what.to_string(), id));
        for (what, highest) in std::iter::once(residues).chain(noise) {
            // Settings that are ids are not negative.
            if usize::try_from(highest).is_ok_and(|id| id >= vocab) {
                return Err(StepError::Vocabulary {
                    what,
                    highest,
                    vocab,
                    keys: in_recipe(self.model.vocab_keys()),
                });
            }
        }
        Ok(())
    }

    fn record(&self, builder: &Builder) -> Result<(), WrongModel> {
        let counter = builder.input(names::STEP, Role::Step, Shape::scalar(DType::S32));
        let seed = builder.input(names::SEED, Role::Seed, Shape::scalar(DType::U32));
        let numbers = |name, axis, size| {
            let axes = [("batch", self.batch), (axis, size)];
            builder.input(name, Role::Batch, Shape::new(DType::S32, axes))
        };
        let length = self.objective.row_tokens(self.length);
        let inputs = Inputs {
            tokens: numbers(names::TOKENS, "length", length),
            targets: (self.objective.spans())
                .map(|spans| numbers(names::TARGETS, "predictions", spans.predictions)),
            memory: (self.model.memory(self.batch, self.policy.compute()))
                .map(|shape| builder.input(names::MEMORY, Role::Memory, shape)),
        };
        let key = builder.scope("key", || Key::of_step(seed, counter));
        let sums = match self.microbatches {
            1 => self.gradients(builder, inputs, key)?,
            parts => self.accumulated(builder, inputs, key, parts)?,
        };
        if let Some(memory) = sums.memory {
            builder.update(names::MEMORY, memory);
        }
        let weights = builder.weights();
        builder.scope("update", || {
            let share = sums.count.maximum(sums.count.constant(1.0));
            let mut gradients: Vec<_> = (sums.gradients.iter())
                .map(|gradient| (*gradient / share).pin_state())
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
            let rate = self.schedule.rate(step, self.steps);
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
            builder.output(names::LOSS, sums.sum / share);
            for (name, sum, count) in &sums.parts {
                let share = count.maximum(count.constant(1.0));
                builder.output(&format!("{}/{name}", names::LOSS), *sum / share);
            }
            builder.output(names::GRADIENT_NORM, norm);
            builder.output(names::LEARNING_RATE, rate);
        });
        Ok(())
    }

    /// The sums of the loss, and the gradient for each weight.
    fn gradients<'g>(
        &self,
        builder: &'g Builder,
        inputs: Inputs<'g>,
        key: Key<'g>,
    ) -> Result<Sums<'g>, WrongModel> {
        let cx = Context {
            remat: self.remat,
            key: self.dropout.then_some(key),
            ..Context::new(builder, self.policy)
        };
        let given = Given {
            tokens: inputs.tokens,
            targets: inputs.targets,
            memory: inputs.memory,
            key,
            vocabulary: &self.vocabulary,
        };
        let Loss {
            sum,
            count,
            parts,
            memory,
        } = self.objective.loss(cx, &self.model, given)?;
        let weights: Vec<_> = builder
            .weights()
            .iter()
            .map(|weight| builder.whole(weight))
            .collect();
        let gradients = builder.gradients(sum, &weights);
        Ok(Sums {
            sum,
            count,
            gradients,
            parts,
            memory,
        })
    }

    /// The same, accumulated over `parts` microbatches.
    fn accumulated<'g>(
        &self,
        builder: &'g Builder,
        inputs: Inputs<'g>,
        key: Key<'g>,
        parts: usize,
    ) -> Result<Sums<'g>, WrongModel> {
        // Rows are assigned in turn, so that each device keeps its own and no row moves.
        let dealt = [("batch", self.batch / parts), ("microbatches", parts)];
        let deal = |tensor: Tensor<'g>| {
            let mut order = vec!["microbatches".to_string()];
            order.extend(tensor.shape().axes.iter().map(|axis| axis.name.to_string()));
            tensor.split("batch", dealt).transpose(order)
        };
        let dealt = Inputs {
            tokens: deal(inputs.tokens),
            targets: inputs.targets.map(deal),
            memory: inputs.memory.map(deal),
        };
        let body = builder.open_loop(Axis::new("microbatches", parts), LoopOptions::default());
        let part = |tensor: Tensor<'g>| body.slice(tensor).pin();
        let part = Inputs {
            tokens: part(dealt.tokens),
            targets: dealt.targets.map(part),
            memory: dealt.memory.map(part),
        };
        let sums = self.gradients(builder, part, key.fold(body.index()))?;
        let scalars = 2 + 2 * sums.parts.len();
        let all = [sums.sum, sums.count].into_iter();
        let all = all.chain(sums.parts.iter().flat_map(|(_, sum, count)| [*sum, *count]));
        for (slot, value) in all.chain(sums.gradients.iter().copied()).enumerate() {
            let zeros = body.outside(|| {
                let zeros = builder.full(0.0, value.shape());
                if slot < scalars {
                    zeros
                } else {
                    zeros.pin_state()
                }
            });
            let so_far = body.carry(zeros);
            body.set_next(slot, so_far + value);
        }
        if let Some(memory) = sums.memory {
            body.emit(memory);
        }
        let results = body.close();
        let gradients = scalars..scalars + sums.gradients.len();
        let names = sums.parts.iter().map(|(name, ..)| *name);
        Ok(Sums {
            sum: results[0],
            count: results[1],
            gradients: results[gradients.clone()].to_vec(),
            parts: (names.zip(results[2..].chunks(2)))
                .map(|(name, pair)| (name, pair[0], pair[1]))
                .collect(),
            memory: sums.memory.map(|_| {
                let stacked = results[gradients.end];
                let mut order: Vec<_> = stacked
                    .shape()
                    .axes
                    .iter()
                    .map(|axis| axis.name.to_string())
                    .collect();
                // In the order of the input: rows of all microbatches in turn.
                let microbatches = order.remove(0);
                let batch = order.iter().position(|name| name == "batch").unwrap_or(0);
                order.insert(batch + 1, microbatches);
                stacked
                    .transpose(order)
                    .merge(["batch", "microbatches"], "batch")
            }),
        })
    }
}

/// The inputs of a step or of one microbatch.
#[derive(Clone, Copy)]
struct Inputs<'g> {
    tokens: Tensor<'g>,
    targets: Option<Tensor<'g>>,
    memory: Option<Tensor<'g>>,
}

/// A [`Loss`] with its gradients.
struct Sums<'g> {
    sum: Tensor<'g>,
    count: Tensor<'g>,
    gradients: Vec<Tensor<'g>>,
    parts: Vec<(&'static str, Tensor<'g>, Tensor<'g>)>,
    memory: Option<Tensor<'g>>,
}

/// The global norm of `gradients`.
fn global_norm<'g>(builder: &'g Builder, gradients: &[Tensor<'g>]) -> Tensor<'g> {
    builder.scope("gradient_norm", || {
        let squares = gradients
            .iter()
            .map(|gradient| (*gradient * *gradient).sum_all());
        let zero = builder.constant(0.0, DType::F32);
        squares.fold(zero, |sum, square| sum + square).sqrt()
    })
}

/// The weights, with their node ids in the compacted graph.
fn renumbered(graph: &Graph, weights: Vec<Weight>) -> Vec<Weight> {
    let mut weights = weights;
    for weight in &mut weights {
        if let Some((node, ..)) = graph.parameters().find(|(_, name, _)| *name == weight.name) {
            weight.node = node;
        }
    }
    weights
}

/// The graph that makes a step's initial weights and state from a seed, on the devices. Its outputs have the names and
/// shardings of the step's inputs, so that no host ever holds a whole model.
///
/// # Errors
/// A mistake in the graph.
pub fn initial(step: &Step) -> Result<Checked, GraphError> {
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
            Role::State | Role::Memory => Some(Init::Zeros),
            Role::Step | Role::Seed | Role::Batch => None,
        };
        let Some(init) = init else { continue };
        let value = builder.scope(name, || match init {
            Init::Zeros => builder.full(0.0, shape),
            Init::Ones => builder.full(1.0, shape),
            Init::Normal(deviation) => key.stream("init").normal(&shape.axes) * deviation,
            Init::Near1(deviation) => key.stream("init").normal(&shape.axes) * deviation + 1.0,
        });
        let placed = match role {
            Role::Memory => value.pin(),
            Role::State => value.pin_state(),
            _ => value.pin_weight(),
        };
        builder.output(name, placed);
    }
    builder.compact()
}
