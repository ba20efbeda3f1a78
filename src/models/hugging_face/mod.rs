//! Models in Hugging Face's format: `config.json` ([`config`]), the folders that are read and written ([`folder`]), and the
//! names of weights (one file per family).

pub mod config;
mod electra;
pub mod encoder;
pub mod folder;
mod found;
mod network;
pub(super) mod t5;
pub(super) mod transfo_xl;
pub(super) mod xlnet;

pub use config::ConfigError;
pub use folder::ModelFolder;
pub use found::FoundModel;
pub use network::NetworkFiles;
