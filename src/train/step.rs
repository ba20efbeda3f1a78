//! One training step as one graph: loss, gradients, clipping and update, with every weight and its state going in and
//! coming out in place. Microbatches are a loop that sums gradients.

use super::objective::{Given, Loss, Objective, WrongModel};
use super::optimizer::{Optimizer, Update};
use super::schedule::Schedule;
use crate::data::Vocabulary;
use crate::graph::{
    Axis, Builder, DType, Graph, GraphError, Init, Key, LoopOptions, Policy, Remat, Role, Shape,
    Tensor, Weight,
};
use crate::models::hugging_face::{ConfigError, check_sizes};
use crate::models::{Context, Model};

/// All that decides what a step computes.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The model.
    pub model: Model,
    /// What it learns.
    pub objective: Objective,
    /// What its tokens are.
    pub vocabulary: Vocabulary,
    /// How weights are updated.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub schedule: Schedule,
    /// How many steps a run has, for a schedule that falls until the last.
    pub steps: u64,
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

/// The longest row: `f32` has all whole numbers up to here.
const MAX_LENGTH: usize = 1 << 24;

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
    /// More microbatches, rows or tokens than 32 bits count.
    #[error("{0} is {1}, and can be at most {max}", max = i32::MAX)]
    Size(&'static str, usize),
    /// A configuration that no model has.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// Rows longer than the model has positions for.
    #[error(
        "rows of {length} tokens are longer than the model's {positions} positions; take --length {positions} or less, or \
         set model.max_position_embeddings"
    )]
    Positions {
        /// Tokens of a row.
        length: usize,
        /// Rows of the position table.
        positions: usize,
    },
    /// Rows so long that numbers of positions are no longer exact.
    #[error(
        "rows of {0} tokens are too long: positions are counted in f32, which is exact up to {MAX_LENGTH}; take --length \
         {MAX_LENGTH} or less"
    )]
    Length(usize),
    /// The tokens or the noise have ids that the embedding has no row for.
    #[error(
        "{what} goes up to id {highest}, and the model has {vocab} embeddings; set model.vocab_size to at least {}",
        i64::from(*highest) + 1
    )]
    Vocabulary {
        /// Where the id comes from.
        what: String,
        /// The highest id.
        highest: i32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// An id below 0.
    #[error("{0} is {1}, and ids count from 0")]
    NegativeId(String, i32),
    /// An objective that does not train the model.
    #[error(transparent)]
    Objective(#[from] WrongModel),
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
    /// The positions to predict, `s32[batch, predictions]`, where the objective asks for them.
    pub const TARGETS: &str = "targets";
    /// What the model remembers, `[layers, batch, memory, embed]`, where it does.
    pub const MEMORY: &str = "memory";
    /// The mean loss; parts of it are called `loss/PART`.
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
            if size > i32::MAX as usize {
                return Err(StepError::Size(what, size));
            }
        }
        if !self.batch.is_multiple_of(self.microbatches) {
            return Err(StepError::Microbatches {
                batch: self.batch,
                microbatches: self.microbatches,
            });
        }
        if self.length > MAX_LENGTH {
            return Err(StepError::Length(self.length));
        }
        self.model.check()?;
        check_sizes(&self.objective)?;
        self.check_ids()?;
        if let Some(positions) = self.model.positions()
            && self.length > positions
        {
            let length = self.length;
            return Err(StepError::Positions { length, positions });
        }
        let builder = Builder::new();
        builder.set_unroll(self.unroll);
        self.record(&builder)?;
        let weights = builder.weights();
        let graph = builder.compact()?.into_graph();
        let weights = renumbered(&graph, weights);
        Ok(Step { graph, weights })
    }

    /// An id without a row would silently take another's.
    fn check_ids(&self) -> Result<(), StepError> {
        let vocab = self.model.vocab_size();
        let table = format!("the vocabulary {}", self.vocabulary.name);
        let residues = (table, self.vocabulary.residue_ids().end - 1);
        let noise = self.objective.noise_ids(&self.vocabulary);
        let noise = noise.into_iter().map(|(what, id)| (what.to_string(), id));
        for (what, highest) in std::iter::once(residues).chain(noise) {
            match usize::try_from(highest) {
                Err(_) => return Err(StepError::NegativeId(what, highest)),
                Ok(id) if id >= vocab => {
                    return Err(StepError::Vocabulary {
                        what,
                        highest,
                        vocab,
                    });
                }
                Ok(_) => {}
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

    /// The loss's sums and their gradient for each weight.
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

    /// The same summed over `parts` microbatches.
    fn accumulated<'g>(
        &self,
        builder: &'g Builder,
        inputs: Inputs<'g>,
        key: Key<'g>,
        parts: usize,
    ) -> Result<Sums<'g>, WrongModel> {
        // Rows are dealt out in turn, so that each device keeps its own and nothing moves.
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
                // As it came: rows of all microbatches in turn.
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

/// What a step reads, or a microbatch of it.
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
    Ok(builder.compact()?.into_graph())
}
