//! `ribosome plugins`: lists the compilers on this machine, and downloads the pinned ones.

use crate::runtime::{Found, Platform, Settings};
use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::report::table::table;

use super::exit::Status;
use super::output::{print, print_json};

/// Lists the PJRT plugins (XLA's compilers) on this machine, or installs the pinned ones
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome plugins install tpu")]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Prints one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Downloads the pinned wheel of each with pip, checks its hash and unpacks it into the cache
    Install {
        /// The plugins
        #[arg(required = true)]
        platforms: Vec<Which>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Cpu,
    Tpu,
    Cuda,
}

impl From<Which> for Platform {
    fn from(which: Which) -> Self {
        match which {
            Which::Cpu => Platform::Cpu,
            Which::Tpu => Platform::Tpu,
            Which::Cuda => Platform::Cuda,
        }
    }
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Result<Status> {
        let settings = Settings::from_environment()?;
        let found = match &self.action {
            Some(Action::Install { platforms }) => (platforms.iter())
                .map(|which| {
                    let platform = Platform::from(*which);
                    Ok((platform, Some(settings.install(platform)?)))
                })
                .collect::<Result<Vec<_>>>()?,
            None => (Platform::ALL.into_iter())
                .map(|platform| Ok((platform, settings.find(platform)?)))
                .collect::<Result<Vec<_>>>()?,
        };
        if self.json {
            let plugins: Vec<_> = found
                .iter()
                .map(|(platform, found)| record(*platform, found.as_ref()))
                .collect();
            print_json(&json!({ "plugins": plugins }))?;
            return Ok(Status::Done);
        }
        let rows: Vec<_> = found
            .iter()
            .map(|(platform, found)| row(*platform, found.as_ref(), &settings))
            .collect();
        print(&table(
            &["platform", "package", "from", "library"],
            &rows,
            &[],
        ))?;
        Ok(Status::Done)
    }
}

fn row(platform: Platform, found: Option<&Found>, settings: &Settings) -> Vec<String> {
    match found {
        Some(found) => vec![
            platform.to_string(),
            match &found.package {
                Some((name, version)) => format!("{name} {version}"),
                None => "-".to_string(),
            },
            found.source.to_string(),
            found.library.display().to_string(),
        ],
        None => {
            let wheel = settings.wheel(platform);
            let package = format!("{} {}", wheel.name, wheel.version);
            let how = format!("not here; `ribosome plugins install {platform}` downloads it");
            vec![platform.to_string(), package, "-".to_string(), how]
        }
    }
}

fn record(platform: Platform, found: Option<&Found>) -> serde_json::Value {
    let package = found.and_then(|found| found.package.as_ref());
    json!({
        "platform": platform.name(),
        "found": found.is_some(),
        "library": found.map(|found| found.library.display().to_string()),
        "source": found.map(|found| found.source.to_string()),
        "package": package.map(|(name, _)| name),
        "version": package.map(|(_, version)| version),
    })
}
