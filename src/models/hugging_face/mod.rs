//! Hugging Face's side of the models: what `config.json` says ([`config`]), which folders are read and written
//! ([`folder`]), and where each family's files keep its weights (a file each).

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
