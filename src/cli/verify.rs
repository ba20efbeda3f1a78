//! `ribosome verify`: compares ribosome's numbers with those of independent implementations.

use std::path::{Path, PathBuf};

use crate::report::table::table;
use crate::runtime::{Client, Platform, Purpose, Settings};
use crate::train::registry::Registry;
use crate::verify::{Device, Verified, VerifyError, verify};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::exit::{Status, Usage};
use super::output::{Progress, print, print_json};

/// Runs numeric cases of independent implementations, and shows how far each tensor is from them
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome verify --all golden/numeric")]
pub struct Args {
    /// The cases (.safetensors); several give one table with a row per case
    #[arg(required_unless_present = "all", value_name = "CASE")]
    cases: Vec<PathBuf>,
    /// Also runs every case in this folder
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Hides the progress
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        let mut paths = self.cases.clone();
        if let Some(folder) = &self.all {
            paths.extend(cases(folder)?);
        }
        let settings = Settings::from_environment()?;
        let plugin = settings.find_or_fetch(Platform::Cpu)?.load(Purpose::Run)?;
        let device = Device::of(Client::cpu(plugin, 1)?)?;
        match paths.as_slice() {
            [path] if self.all.is_none() => self.one(path, &device, registry),
            paths => self.several(paths, &device, registry),
        }
    }

    fn verify(
        &self,
        path: &Path,
        device: &Device,
        registry: &Registry,
    ) -> Result<Verified, VerifyError> {
        let _progress = Progress::new(&path.display().to_string(), self.quiet || self.json);
        verify(path, device, registry.families())
    }

    fn one(&self, path: &Path, device: &Device, registry: &Registry) -> Result<Status> {
        let verified = self.verify(path, device, registry);
        let verified = verified.with_context(|| path.display().to_string())?;
        print(&match self.json {
            true => serde_json::to_string(&verified)?,
            false => text(&verified),
        })?;
        Ok(match verified.ok {
            true => Status::Done,
            false => Status::Differs,
        })
    }

    fn several(&self, paths: &[PathBuf], device: &Device, registry: &Registry) -> Result<Status> {
        let all: Vec<Outcome> = paths
            .iter()
            .map(|path| Outcome {
                case: path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into(),
                result: self.verify(path, device, registry),
            })
            .collect();
        let differing = all.iter().filter(|one| one.differs()).count();
        let failed = all.iter().filter(|one| one.result.is_err()).count();
        if self.json {
            let cases: Result<Vec<_>, _> = all.iter().map(Outcome::json).collect();
            print_json(&json!({ "cases": cases?, "ok": differing + failed == 0 }))?;
        } else {
            let rows: Vec<_> = all.iter().map(Outcome::row).collect();
            let header = [
                "case",
                "kind",
                "tensors",
                "largest difference",
                "of tolerance",
                "",
            ];
            let within = all.len() - differing - failed;
            print(&format!(
                "{}{within} of {} cases within the tolerance, {differing} differ, {failed} failed\n",
                table(&header, &rows, &[2, 3, 4]),
                all.len(),
            ))?;
        }
        Ok(match (differing, failed) {
            (0, 0) => Status::Done,
            (0, _) => Status::Failed,
            _ => Status::Differs,
        })
    }
}

/// The cases in `folder`, by name.
fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = || -> std::io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths =
        listed().with_context(|| format!("cannot read the folder {}", folder.display()))?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|ending| ending == "safetensors")
    });
    paths.sort();
    if paths.is_empty() {
        let message = format!("there is no .safetensors file in {}", folder.display());
        return Err(Usage(message).into());
    }
    Ok(paths)
}

/// The result of one case of several.
struct Outcome {
    case: String,
    result: Result<Verified, VerifyError>,
}

impl Outcome {
    fn differs(&self) -> bool {
        self.result.as_ref().is_ok_and(|verified| !verified.ok)
    }

    fn row(&self) -> Vec<String> {
        let (kind, tensors, largest, part, verdict) = match &self.result {
            Ok(verified) => {
                let worst = verified.worst();
                (
                    verified.kind.clone(),
                    verified.tensors.len().to_string(),
                    worst.map_or(String::new(), |worst| format!("{:.2e}", worst.max_abs)),
                    worst.map_or(String::new(), |worst| percent(worst.of_tolerance())),
                    if verified.ok { "ok" } else { "DIFFERS" }.to_string(),
                )
            }
            Err(error) => {
                let none = String::new;
                // One line, so that the table keeps its rows.
                let error = error.to_string().replace('\n', "; ");
                (none(), none(), none(), none(), format!("failed: {error}"))
            }
        };
        vec![self.case.clone(), kind, tensors, largest, part, verdict]
    }

    fn json(&self) -> Result<Value> {
        Ok(match &self.result {
            Ok(verified) => serde_json::to_value(verified)?,
            Err(error) => json!({ "case": self.case, "error": error.to_string(), "ok": false }),
        })
    }
}

fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
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
