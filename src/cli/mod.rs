//! The command line: one file a subcommand, each of which only reads arguments, calls the library and prints.

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

/// Lowers protein language models to sharded XLA programs, compiles them with the real TPU compiler, and trains them.
#[derive(Parser)]
#[command(name = "ribosome", version, about, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 done; 1 failed; 2 wrong usage; 3 compiled but does not fit the device \
                           memory, or the compiler said so; 4 a check found a difference.";

/// A subcommand: its file's arguments.
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

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Models(args) => args.run(),
        Command::Targets(args) => args.run(),
        Command::Compile(args) => args.run(),
        Command::Recipes(args) => args.run(),
        Command::Rules(args) => args.run(),
        Command::Lower(args) => args.run(),
        Command::Train(args) => args.run(),
        Command::Import(args) => args.run(),
        Command::Export(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Plugins(args) => args.run(),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => exit::report(&error).into(),
    }
}
