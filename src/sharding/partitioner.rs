//! The choice of XLA's partitioner, which splits a program over the devices. A lowered program is annotated for both.

use std::fmt;

/// A partitioner of XLA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Partitioner {
    /// The newer one, which works on MLIR and reads the `sdy` attributes.
    #[default]
    Shardy,
    /// The older one, which works on HLO and reads the instructions' shardings.
    Gspmd,
}

impl Partitioner {
    /// Both.
    pub const ALL: [Partitioner; 2] = [Partitioner::Shardy, Partitioner::Gspmd];

    /// The name on the command line: `shardy` or `gspmd`.
    pub fn name(self) -> &'static str {
        match self {
            Partitioner::Shardy => "shardy",
            Partitioner::Gspmd => "gspmd",
        }
    }
}

impl fmt::Display for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
