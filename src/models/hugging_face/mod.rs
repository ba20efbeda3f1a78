//! Hugging Face's side of the models: what `config.json` says ([`config`]), which folders are read and written
//! ([`folder`]), and where each family's files keep its weights (a file each).

pub mod config;
pub(super) mod encoder;
pub mod folder;
mod t5;
mod transfo_xl;
mod xlnet;

pub use config::ConfigError;
pub use folder::Found;
