//! Optimizers as graphs. Each takes a weight, its gradient and the learning rate, declares its state as inputs of the step,
//! and returns the next weight. A weight that stacks layers counts as one weight per layer.

mod adafactor;
mod adamw;
mod lamb;
mod moments;
mod momentum;
mod view;

use serde::{Deserialize, Serialize};

pub use adafactor::Adafactor;
pub use adamw::AdamW;
pub use lamb::{Debias, Lamb};
pub use moments::MomentType;
pub use momentum::Momentum;
pub use view::View;

use crate::graph::{Builder, Role, Shape, Tensor, Weight};

/// An optimizer with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Optimizer {
    /// Factored second moments (Shazeer and Stern 2018).
    Adafactor(Adafactor),
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW(AdamW),
    /// Adam with layer-wise scaling (You et al. 2020).
    Lamb(Lamb),
    /// Stochastic gradient descent with momentum (Polyak 1964).
    Momentum(Momentum),
}

/// The update of one weight in a step.
#[derive(Clone, Copy)]
pub struct Update<'a, 'g> {
    /// The graph's builder.
    pub builder: &'g Builder,
    /// The weight to update.
    pub weight: &'a Weight,
    /// Its value.
    pub value: Tensor<'g>,
    /// Its gradient.
    pub gradient: Tensor<'g>,
    /// The learning rate, `f32[]`.
    pub rate: Tensor<'g>,
    /// The number of this step from 1, `f32[]`.
    pub step: Tensor<'g>,
}

impl Optimizer {
    /// The weight's next value. Its state becomes an input and an output of the step.
    pub fn apply<'g>(&self, update: Update<'_, 'g>) -> Tensor<'g> {
        match self {
            Optimizer::Adafactor(settings) => settings.apply(update),
            Optimizer::AdamW(settings) => settings.apply(update),
            Optimizer::Lamb(settings) => settings.apply(update),
            Optimizer::Momentum(settings) => settings.apply(update),
        }
    }
}

impl<'g> Update<'_, 'g> {
    /// The state `kind` of this weight, of `shape`, which starts as zeros.
    fn state(&self, kind: &str, shape: Shape) -> Tensor<'g> {
        self.builder
            .input(&self.state_name(kind), Role::State, shape)
    }

    /// Sets the next value of the state `kind`.
    fn set_state(&self, kind: &str, next: Tensor<'g>) {
        self.builder
            .update(&self.state_name(kind), next.pin_state());
    }

    fn state_name(&self, kind: &str) -> String {
        format!("{kind}/{}", self.weight.name)
    }
}
