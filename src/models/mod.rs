//! The model families, one file each, written once from shared layers.

pub mod adaptive_softmax;
pub mod albert;
pub mod bert;
pub mod convolution_head;
pub mod electra;
pub mod embeddings;
pub mod encoder;
mod encoder_hf;
pub mod heads;
pub mod hf_config;
pub mod hf_folder;
pub mod layers;
pub mod lora;
pub mod megatron;
pub mod model;
pub mod presets;
pub mod relative_attention;
pub mod relative_bias;
pub mod run;
pub mod t5;
mod t5_weights;
pub mod tokens;
pub mod transfo_xl;
mod transfo_xl_weights;
pub mod weights;
pub mod xlnet;
mod xlnet_layers;
mod xlnet_weights;

pub use model::{Model, Outline};
pub use run::Run;
