//! A model: a configuration of any family. It is cheap to clone.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::context::Context;
use super::family::Family;
use super::settings::{self, SettingError};
use crate::graph::{Builder, DType, Policy, Role, Shape, Weight};

/// A model of any family. In TOML and JSON it is the configuration and the family's name as `family`;
/// [`super::Families`] reads it.
#[derive(Clone)]
pub struct Model {
    name: &'static str,
    model_type: &'static str,
    config: Arc<dyn Family>,
}

impl Model {
    /// The model that `config` describes.
    pub fn new<F: Family>(config: F) -> Self {
        Model {
            name: F::name(),
            model_type: F::model_type(),
            config: Arc::new(config),
        }
    }

    /// The family's name, as recipes spell it.
    pub fn family(&self) -> &'static str {
        self.name
    }

    /// The family's `model_type` in Hugging Face's `config.json`.
    pub fn model_type(&self) -> &'static str {
        self.model_type
    }

    /// The configuration if the model is of the family `F`, or `None`.
    pub fn config<F: Family>(&self) -> Option<&F> {
        let config: &dyn Any = &*self.config;
        config.downcast_ref()
    }

    /// Refuses settings that are out of range or do not fit together.
    ///
    /// # Errors
    /// The first such settings, by the configuration's keys.
    pub fn check(&self) -> Result<(), SettingError> {
        settings::check_ranges(self, self.config.ranges())?;
        self.config.check()
    }

    /// Every weight, in the order in which the model declares them.
    pub fn weights(&self) -> Vec<Weight> {
        let builder = Builder::new();
        let cx = Context::new(&builder, Policy::F32);
        let shape = Shape::new(DType::S32, [("batch", 2), ("length", 2)]);
        self.declare(cx, builder.input("ids", Role::Batch, shape));
        builder.weights()
    }

    /// The number of weights.
    pub fn parameters(&self) -> usize {
        let weights = self.weights();
        weights.iter().map(|weight| weight.shape.elements()).sum()
    }
}

impl<F: Family> From<F> for Model {
    fn from(config: F) -> Self {
        Model::new(config)
    }
}

impl Deref for Model {
    type Target = dyn Family;

    fn deref(&self) -> &dyn Family {
        &*self.config
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.config)
    }
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.config.equals(&*other.config)
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tagged<'m> {
            family: &'m str,
            #[serde(flatten)]
            config: &'m dyn Family,
        }
        let (family, config) = (self.name, &*self.config);
        Tagged { family, config }.serialize(serializer)
    }
}
