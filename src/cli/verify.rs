//! `ribosome verify`: how far numeric references are.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ribosome::report::table::table;
use ribosome::report::verify::{Verified, verify};
use ribosome::runtime::{Client, Platform, Purpose, Settings};

use super::exit::Status;
use super::output::{Progress, print};

/// Runs numeric references made by independent implementations, and says how far each tensor is
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome verify t5_relu_tied.safetensors --json")]
pub struct Args {
    /// The cases (.safetensors)
    #[arg(required = true, value_name = "CASE")]
    cases: Vec<PathBuf>,
    /// Prints one JSON object a case instead of text
    #[arg(long)]
    json: bool,
    /// Shows no progress
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Result<Status> {
        let settings = Settings::from_environment()?;
        let plugin = settings.find_or_fetch(Platform::Cpu)?.load(Purpose::Run)?;
        let client = Client::cpu(plugin, 1)?;
        let mut all = true;
        for path in &self.cases {
            let name = path.display().to_string();
            let progress = Progress::new(&name, self.quiet || self.json);
            let verified = verify(path, &client).with_context(|| name.clone())?;
            drop(progress);
            all &= verified.ok;
            print(&match self.json {
                true => serde_json::to_string(&verified)?,
                false => text(&verified),
            })?;
        }
        Ok(if all { Status::Done } else { Status::Differs })
    }
}

fn text(verified: &Verified) -> String {
    let rows: Vec<_> = (verified.tensors.iter())
        .map(|one| {
            vec![
                one.name.clone(),
                format!("{:.2e}", one.max_abs),
                format!("{:.2e}", one.max_rel),
                if one.ok { "ok" } else { "DIFFERS" }.to_string(),
            ]
        })
        .collect();
    let wrong = verified.tensors.iter().filter(|one| !one.ok).count();
    let verdict = match (verified.ok, wrong) {
        (true, _) => format!("all {} tensors within the tolerance", rows.len()),
        (false, wrong) => format!("{wrong} of {} tensors differ", rows.len()),
    };
    let header = ["tensor", "largest difference", "of the largest value", ""];
    format!(
        "{}: {verdict}\n{}",
        verified.case,
        table(&header, &rows, &[1, 2])
    )
}
