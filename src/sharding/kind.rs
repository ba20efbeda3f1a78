//! The kinds of tensors that rules distinguish, each with its own list.

use crate::graph::{Pin, Role};

/// The tensors that a rule list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A weight.
    Weight,
    /// Optimizer state, and the gradient that updates it.
    State,
    /// A batch, an intermediate, or a result.
    Activation,
    /// The residual stream between blocks, and its gradient.
    Residual,
}

impl Kind {
    /// The word used in messages and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Weight => "weight",
            Kind::State => "state",
            Kind::Activation => "activation",
            Kind::Residual => "residual",
        }
    }

    /// The recipe key of the list.
    pub fn key(self) -> &'static str {
        match self {
            Kind::Weight => "rules.weights",
            Kind::State => "rules.state",
            Kind::Activation => "rules.activations",
            Kind::Residual => "rules.residual",
        }
    }
}

impl From<Role> for Kind {
    fn from(role: Role) -> Self {
        match role {
            Role::Weight => Kind::Weight,
            Role::State => Kind::State,
            Role::Memory | Role::Step | Role::Seed | Role::Batch => Kind::Activation,
        }
    }
}

impl From<Pin> for Kind {
    fn from(pin: Pin) -> Self {
        match pin {
            Pin::Weight => Kind::Weight,
            Pin::State => Kind::State,
            Pin::Activation => Kind::Activation,
            Pin::Residual => Kind::Residual,
        }
    }
}
