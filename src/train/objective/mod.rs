//! What a model is trained to do, as a graph from clean tokens to a loss. Noise is a pure function of (seed, step,
//! position), made on the devices. The batch holds only clean tokens (XLNet's also holds which are predicted).

mod causal_lm;
mod denoise;
mod masked_lm;
mod permutation_lm;
mod replaced_tokens;
mod sentence_order;
mod task;

pub use causal_lm::CausalLm;
pub use denoise::Denoise;
pub use masked_lm::{Draw, MaskedLm};
pub use permutation_lm::PermutationLm;
pub use replaced_tokens::{ReplacedTokens, sample};
pub use sentence_order::{Pairs, pairs};
pub use task::{Given, Loss, Surroundings, Task};

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::models::named::Named;
use crate::models::{Context, Model};

/// An objective with its settings, cheap to clone. In TOML and JSON it is its settings and its name as `name`;
/// [`objectives`] reads it.
#[derive(Clone)]
pub struct Objective {
    name: &'static str,
    task: Arc<dyn Task>,
}

/// The objective does not train the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("objective.name = {objective} needs {trains}; model.family is {family}")]
pub struct WrongModel {
    /// The objective's name.
    pub objective: &'static str,
    /// The models that it trains, as settings.
    pub trains: &'static str,
    /// The model's family.
    pub family: &'static str,
}

/// The five built-in objectives, by name.
pub fn objectives() -> Named<Objective> {
    Named::new("name")
        .with::<Denoise>(Denoise::name())
        .with::<MaskedLm>(MaskedLm::name())
        .with::<ReplacedTokens>(ReplacedTokens::name())
        .with::<PermutationLm>(PermutationLm::name())
        .with::<CausalLm>(CausalLm::name())
}

impl Objective {
    /// The objective with the settings `task`.
    pub fn new<T: Task>(task: T) -> Self {
        Objective {
            name: T::name(),
            task: Arc::new(task),
        }
    }

    /// The settings if the objective is a `T`, or `None`.
    pub fn settings<T: Task>(&self) -> Option<&T> {
        let settings: &dyn Any = &*self.task;
        settings.downcast_ref()
    }

    /// The loss of `model` on the inputs `given`.
    ///
    /// # Errors
    /// A model that the objective does not train.
    pub fn loss<'g>(
        &self,
        cx: Context<'g>,
        model: &Model,
        given: Given<'_, 'g>,
    ) -> Result<Loss<'g>, WrongModel> {
        self.task.loss(cx, model, given).ok_or(WrongModel {
            objective: self.name,
            trains: self.task.trains(),
            family: model.family(),
        })
    }
}

impl<T: Task> From<T> for Objective {
    fn from(task: T) -> Self {
        Objective::new(task)
    }
}

impl Deref for Objective {
    type Target = dyn Task;

    fn deref(&self) -> &dyn Task {
        &*self.task
    }
}

impl fmt::Debug for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.task)
    }
}

impl PartialEq for Objective {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.task.equals(&*other.task)
    }
}

impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tagged<'o> {
            name: &'o str,
            #[serde(flatten)]
            task: &'o dyn Task,
        }
        let (name, task) = (self.name, &*self.task);
        Tagged { name, task }.serialize(serializer)
    }
}
