//! The model families, one file each, written once from shared layers.

pub mod adaptive_softmax;
pub mod albert;
pub mod bert;
mod bert_fields;
pub mod configuration;
pub mod context;
pub mod convolution_head;
pub mod electra;
pub mod embeddings;
pub mod encoder;
pub mod families;
pub mod family;
pub mod heads;
pub mod hugging_face;
pub mod layers;
pub mod lora;
pub mod megatron;
pub mod model;
pub mod named;
pub mod relative_attention;
pub mod relative_bias;
pub mod rotary;
pub mod settings;
pub mod t5;
pub mod tokens;
pub mod transfo_xl;
pub mod weights;
pub mod xlnet;
mod xlnet_layers;

pub use configuration::Configuration;
pub use context::Context;
pub use families::Families;
pub use family::{CausalLanguageModel, Family, MaskedLanguageModel, Segment, SequenceToSequence};
pub use model::Model;
