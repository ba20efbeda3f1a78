//! The command line: one file per subcommand, which only reads arguments, calls the library and prints.

mod args;
mod compile;
mod doctor;
mod exit;
mod export;
mod import;
mod lower;
mod models;
mod output;
mod plugins;
mod recipes;
mod rules;
mod targets;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::train::registry::Registry;

/// Lowers protein language models to sharded XLA programs, compiles them with the real TPU compiler, and trains them.
#[derive(Parser)]
#[command(name = "ribosome", version, about, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 done; 1 failed; 2 wrong usage; 3 compiled but does not fit the device \
                           memory, or the compiler said so; 4 a check found a difference.";

/// A subcommand, with the arguments in its file.
#[derive(Subcommand)]
enum Command {
    Models(models::Args),
    Targets(targets::Args),
    Compile(compile::Args),
    Recipes(recipes::Args),
    Rules(rules::Args),
    Lower(lower::Args),
    Train(train::Args),
    Import(import::Args),
    Export(export::Args),
    Verify(verify::Args),
    Doctor(doctor::Args),
    Plugins(plugins::Args),
}

/// Runs the process's command with the built-in registry.
pub fn main() -> ExitCode {
    main_with(&Registry::standard())
}

/// Runs the process's command with the families, objectives, vocabularies and recipes of `registry`. A crate adds its own to
/// [`Registry::standard`] and gets all of ribosome's subcommands and flags by calling this from its `main`.
pub fn main_with(registry: &Registry) -> ExitCode {
    let result = match Cli::parse().command {
        Command::Models(args) => args.run(registry),
        Command::Targets(args) => args.run(),
        Command::Compile(args) => args.run(registry),
        Command::Recipes(args) => args.run(registry),
        Command::Rules(args) => args.run(),
        Command::Lower(args) => args.run(registry),
        Command::Train(args) => args.run(registry),
        Command::Import(args) => args.run(registry),
        Command::Export(args) => args.run(registry),
        Command::Verify(args) => args.run(registry),
        Command::Doctor(args) => args.run(),
        Command::Plugins(args) => args.run(),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => exit::report(&error).into(),
    }
}
