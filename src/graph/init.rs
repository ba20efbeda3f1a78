//! The initial values of weights.

use serde::{Deserialize, Serialize};

/// The distribution that a weight's first values come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Independent normal values of mean 0 and this standard deviation.
    Normal(f64),
    /// The same around 1.
    #[serde(rename = "near-1")]
    Near1(f64),
}
