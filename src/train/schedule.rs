//! Learning rates as functions of the step, computed in the graph.

use serde::{Deserialize, Serialize};

use crate::graph::Tensor;

/// The learning rate as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The same rate at every step.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// `rate / sqrt(max(step, warmup))`: constant, then falling (T5). With `ramp`, the rate is at most `ramp * step`.
    InverseSqrt {
        /// The rate at step 1 if there were no warm-up.
        rate: f64,
        /// The step until which the rate is constant.
        warmup: f64,
        /// The slope of an initial linear rise, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ramp: Option<f64>,
        /// Steps that count as done before the run's own: T5's code goes on with the counter of the checkpoint that a run
        /// starts from.
        #[serde(default, skip_serializing_if = "is_zero")]
        first_step: u64,
    },
    /// A linear rise to `rate`, then `end + (rate - end) x left^power`, where `left` falls from 1 to 0 at step `total` and
    /// stays 0. Steps count from 0 here, as in the code of BERT, XLNet, Megatron and Hugging Face: with a warm-up, the rate
    /// of a run's first step is 0.
    Polynomial {
        /// The highest rate.
        rate: f64,
        /// Steps of the rise.
        #[serde(default)]
        warmup: f64,
        /// The step at which `end` is reached; the run's last if it is not set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
        /// The last rate.
        #[serde(default)]
        end: f64,
        /// The power; 1 is a linear decay.
        #[serde(default = "linear")]
        power: f64,
        /// Where the decay counts from.
        #[serde(default)]
        decay_from: DecayFrom,
    },
    /// A linear rise to `rate` (from 0 at the first step), then half a cosine down to 0 at step `total`, as in
    /// Transformer-XL's code.
    Cosine {
        /// The highest rate.
        rate: f64,
        /// Steps of the rise.
        #[serde(default)]
        warmup: f64,
        /// The step at which 0 is reached; the run's last if it is not set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
    },
}

/// Where a polynomial decay counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayFrom {
    /// From the end of the warm-up, at the full rate: XLNet, Megatron, and Hugging Face's linear schedule.
    #[default]
    Warmup,
    /// From the first step. The warm-up only replaces the decay while it lasts, so the full rate is never quite reached:
    /// BERT and ALBERT.
    Start,
}

fn linear() -> f64 {
    1.0
}

fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

impl Schedule {
    /// The schedule of a run of `steps` steps, with its `total` written out.
    pub fn of_run(mut self, steps: u64) -> Self {
        if let Schedule::Polynomial { total, .. } | Schedule::Cosine { total, .. } = &mut self {
            total.get_or_insert(steps as f64);
        }
        self
    }

    /// The rate of `step` (counted from 1, `f32[]`) of a run of `steps` steps, `f32[]`.
    pub fn rate<'g>(&self, step: Tensor<'g>, steps: u64) -> Tensor<'g> {
        let last = steps as f64;
        match *self {
            Schedule::Constant { rate } => step.constant(rate),
            Schedule::InverseSqrt {
                rate,
                warmup,
                ramp,
                first_step,
            } => {
                let step = match first_step {
                    0 => step,
                    before => step + before as f64,
                };
                let flat = step.maximum(step.constant(warmup)).rsqrt() * rate;
                match ramp {
                    Some(slope) => (step * slope).minimum(flat),
                    None => flat,
                }
            }
            Schedule::Polynomial {
                rate,
                warmup,
                total,
                end,
                power,
                decay_from,
            } => {
                let (done, total) = (step - 1.0, total.unwrap_or(last));
                let from = match decay_from {
                    DecayFrom::Warmup => warmup,
                    DecayFrom::Start => 0.0,
                };
                let left = (step.constant(total) - done) * (1.0 / (total - from).max(1.0));
                let mut left = left.maximum(step.constant(0.0));
                if power != 1.0 {
                    left = left.pow(step.constant(power));
                }
                warmed(done, rate, warmup, left * (rate - end) + end)
            }
            Schedule::Cosine {
                rate,
                warmup,
                total,
            } => {
                let (done, total) = (step - 1.0, total.unwrap_or(last));
                let part =
                    done.minimum(done.constant(total)) * (std::f64::consts::PI / total.max(1.0));
                warmed(done, rate, warmup, (part.cos() + 1.0) * (rate / 2.0))
            }
        }
    }
}

/// The rate after `done` steps: rising linearly to `rate` for `warmup` steps, then `fallen`.
fn warmed<'g>(done: Tensor<'g>, rate: f64, warmup: f64, fallen: Tensor<'g>) -> Tensor<'g> {
    match warmup > 0.0 {
        true => {
            let rising = done.lt(done.constant(warmup));
            rising.select(done * (rate / warmup), fallen)
        }
        false => fallen,
    }
}
