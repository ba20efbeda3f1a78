//! The model families, one file each, written once from shared layers.

pub mod convolution_head;
pub mod hf_config;
pub mod layers;
pub mod lora;
pub mod model;
pub mod presets;
pub mod relative_bias;
pub mod run;
pub mod t5;
mod t5_weights;
pub mod weights;

pub use model::{Model, Outline};
pub use run::Run;
