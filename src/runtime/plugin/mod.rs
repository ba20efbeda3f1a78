//! Where plugins come from, in this order: a path that the user gave, this crate's cache, Python's site-packages, or the
//! pinned wheel, fetched with pip.
//!
//! | variable | meaning |
//! |---|---|
//! | `RIBOSOME_CPU_PLUGIN`, `RIBOSOME_TPU_PLUGIN`, `RIBOSOME_CUDA_PLUGIN` | the library's path |
//! | `RIBOSOME_CACHE` | the cache folder (default: `ribosome` in the user's cache folder) |
//! | `RIBOSOME_WHEELS` | a folder of wheels to install from instead of using pip |
//! | `RIBOSOME_NO_FETCH` | anything but empty or `0`: never fetch |
//! | `RIBOSOME_PYTHON` | the Python to use (default: `python3`) |

mod install;
mod pip;
mod wheel;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use wheel::Wheel;

use super::error::{Error, Result};
use super::pjrt::Plugin;
use super::platform::Platform;

/// The purpose of loading a TPU plugin. libtpu reads its settings when it is loaded, so a process decides once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Compiling for described machines, on a host that may have no device.
    Compile,
    /// Running on the attached devices.
    Run,
}

/// Variables that let libtpu compile on a host without TPUs: no search for the cloud's metadata server (which takes minutes
/// if there is none), no lock against a second process, a made-up one-host machine as its own, and no log lines but errors.
/// On a real pod these would be wrong, so they are set for [`Purpose::Compile`] only, and only if the user has not set them.
const TPU_WITHOUT_A_TPU: [(&str, &str); 8] = [
    ("TPU_SKIP_MDS_QUERY", "1"),
    ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ("TPU_ACCELERATOR_TYPE", "v3-8"),
    ("TPU_WORKER_HOSTNAMES", "localhost"),
    ("TPU_WORKER_ID", "0"),
    ("TPU_MIN_LOG_LEVEL", "3"),
    ("TPU_STDERR_LOG_LEVEL", "3"),
    ("TF_CPP_MIN_LOG_LEVEL", "3"),
];

/// Silences plugins that print warnings on stderr.
const QUIET: [(&str, &str); 1] = [("TF_CPP_MIN_LOG_LEVEL", "3")];

/// Where a plugin was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path given by the caller, such as a flag.
    Given,
    /// A path in the environment variable.
    Environment,
    /// This crate's cache.
    Cache,
    /// An installed Python package.
    SitePackages,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Given => "the given path",
            Source::Environment => "the environment",
            Source::Cache => "ribosome's cache",
            Source::SitePackages => "Python's site-packages",
        })
    }
}

/// A plugin's library on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The platform.
    pub platform: Platform,
    /// The library.
    pub library: PathBuf,
    /// Where it was found.
    pub source: Source,
    /// The package's name and version, if known.
    pub package: Option<(String, String)>,
}

impl Found {
    /// Loads the library.
    ///
    /// # Errors
    /// Those of [`Plugin::load`].
    pub fn load(&self, purpose: Purpose) -> Result<Plugin> {
        let environment: &[(&str, &str)] = match (self.platform, purpose) {
            (Platform::Tpu, Purpose::Compile) => &TPU_WITHOUT_A_TPU,
            (Platform::Tpu, Purpose::Run) => &[],
            (Platform::Cpu | Platform::Cuda, _) => &QUIET,
        };
        Plugin::load(&self.library, environment)
    }
}

/// Finds the plugin of `platform` by this process's environment, fetches it if needed, and loads it.
///
/// # Errors
/// Those of [`Settings::from_environment`], [`Settings::find_or_fetch`] and [`Found::load`].
pub fn open(platform: Platform, purpose: Purpose) -> Result<Plugin> {
    Settings::from_environment()?
        .find_or_fetch(platform)?
        .load(purpose)
}

/// How to find and fetch plugins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Libraries given by the user, each with where it was given.
    pub paths: BTreeMap<Platform, (PathBuf, Source)>,
    /// The cache folder.
    pub cache: PathBuf,
    /// A folder with wheels to install from instead of pip.
    pub wheels: Option<PathBuf>,
    /// Whether to fetch a missing plugin.
    pub fetch: bool,
    /// The Python with the site-packages and pip to use.
    pub python: PathBuf,
    /// Wheels to install instead of the pinned ones ([`Wheel::pinned`]).
    pub other_wheels: BTreeMap<Platform, Wheel>,
}

impl Settings {
    /// The settings from this process's environment (see the module's table).
    ///
    /// # Errors
    /// Neither `RIBOSOME_CACHE` nor the user's home gives a folder for plugins.
    pub fn from_environment() -> Result<Settings> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = match variable("RIBOSOME_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => dirs::cache_dir()
                .map(|folder| folder.join("ribosome"))
                .ok_or_else(|| {
                    Error::Invalid(
                        "there is no cache folder for plugins; set RIBOSOME_CACHE or HOME"
                            .to_string(),
                    )
                })?,
        };
        let paths = Platform::ALL
            .into_iter()
            .filter_map(|platform| {
                let path = PathBuf::from(variable(platform.variable())?);
                Some((platform, (path, Source::Environment)))
            })
            .collect();
        Ok(Settings {
            paths,
            cache,
            wheels: variable("RIBOSOME_WHEELS").map(PathBuf::from),
            fetch: variable("RIBOSOME_NO_FETCH").is_none_or(|value| value == "0"),
            python: variable("RIBOSOME_PYTHON")
                .map_or_else(|| PathBuf::from("python3"), PathBuf::from),
            other_wheels: BTreeMap::new(),
        })
    }

    /// Adds the library of `platform` at `path`, which has priority over all other sources.
    pub fn with_path(mut self, platform: Platform, path: impl Into<PathBuf>) -> Settings {
        self.paths.insert(platform, (path.into(), Source::Given));
        self
    }

    /// The plugin of `platform` if it is on this machine; fetches nothing.
    ///
    /// # Errors
    /// [`Error::BadPath`] if a given path is not a file: it is not ignored silently.
    pub fn find(&self, platform: Platform) -> Result<Option<Found>> {
        let wheel = &self.wheel(platform);
        if let Some((path, source)) = self.paths.get(&platform) {
            if !path.is_file() {
                let from = match source {
                    Source::Environment => platform.variable().to_string(),
                    other => other.to_string(),
                };
                return Err(Error::BadPath {
                    platform,
                    path: path.clone(),
                    from,
                });
            }
            let (library, source) = (path.clone(), source.clone());
            return Ok(Some(Found {
                platform,
                library,
                source,
                package: None,
            }));
        }
        if let Some(library) = install::installed(&self.plugins(), wheel) {
            return Ok(Some(self.cached(platform, library)));
        }
        Ok(pip::site_packages(&self.python).iter().find_map(|folder| {
            let library = folder.join(&wheel.library);
            let version = version_beside(folder, &wheel.distribution());
            library.is_file().then(|| Found {
                platform,
                library,
                source: Source::SitePackages,
                package: version.map(|version| (wheel.name.clone(), version)),
            })
        }))
    }

    /// The plugin of `platform`, fetched if it is not on this machine and fetching is allowed.
    ///
    /// # Errors
    /// Those of [`Settings::find`] and [`Settings::install`]; [`Error::NoPlugin`] if fetching is not allowed.
    pub fn find_or_fetch(&self, platform: Platform) -> Result<Found> {
        match self.find(platform)? {
            Some(found) => Ok(found),
            None if self.fetch => self.install(platform),
            None => Err(Error::NoPlugin {
                platform,
                reason: "it is not on this machine, and RIBOSOME_NO_FETCH forbids fetching it"
                    .to_string(),
            }),
        }
    }

    /// Installs the pinned wheel of `platform` into the cache unless it is complete there. Any number of processes may do
    /// this at once: one installs, the others wait and find it.
    ///
    /// # Errors
    /// [`Error::NoPlugin`] if the wheel is not available (no Python, no pip, no network, no such wheel for this machine),
    /// [`Error::BadWheel`] if it is truncated, not the pinned one or damaged, [`Error::Io`] otherwise.
    pub fn install(&self, platform: Platform) -> Result<Found> {
        let wheel = &self.wheel(platform);
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(Error::NoPlugin {
                platform,
                reason: format!(
                    "the wheel {} is for linux on x86_64; set {} to a library for this machine",
                    wheel.file,
                    platform.variable()
                ),
            });
        }
        let library = install::install(&self.plugins(), wheel, |folder| match &self.wheels {
            Some(wheels) => wheel_in(wheels, platform, wheel),
            None => pip::download(&self.python, platform, wheel, folder),
        })?;
        Ok(self.cached(platform, library))
    }

    /// The wheel to install for `platform`.
    pub fn wheel(&self, platform: Platform) -> Wheel {
        let other = self.other_wheels.get(&platform);
        other.cloned().unwrap_or_else(|| Wheel::pinned(platform))
    }

    fn cached(&self, platform: Platform, library: PathBuf) -> Found {
        let wheel = self.wheel(platform);
        let package = Some((wheel.name, wheel.version));
        Found {
            platform,
            library,
            source: Source::Cache,
            package,
        }
    }

    fn plugins(&self) -> PathBuf {
        self.cache.join("plugins")
    }
}

/// The wheel's path in a folder that the user gave.
fn wheel_in(folder: &Path, platform: Platform, wheel: &Wheel) -> Result<PathBuf> {
    let path = folder.join(&wheel.file);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::NoPlugin {
        platform,
        reason: format!(
            "{} (RIBOSOME_WHEELS) has no {}",
            folder.display(),
            wheel.file
        ),
    })
}

/// The version of an installed Python package, by the name of its `.dist-info` folder.
fn version_beside(site_packages: &Path, distribution: &str) -> Option<String> {
    let mut versions: Vec<String> = std::fs::read_dir(site_packages)
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let version = name
                .strip_prefix(distribution)?
                .strip_prefix('-')?
                .strip_suffix(".dist-info")?;
            Some(version.to_string())
        })
        .collect();
    versions.sort();
    versions.pop()
}

#[cfg(test)]
mod tests;
