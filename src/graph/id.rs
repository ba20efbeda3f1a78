//! The ids of nodes, regions and scopes, and the line of code that a node comes from.

use std::fmt;
use std::panic::Location;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the arena.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                $name(index as u32)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A node within its region. A node refers only to earlier nodes of the same region.
    NodeId, "%"
);
id!(
    /// A region within its graph; region 0 is the root.
    RegionId, "@"
);
id!(
    /// A scope within its graph; scope 0 is the empty path.
    ScopeId, "#"
);

/// The region that holds the program's parameters and outputs.
pub const ROOT: RegionId = RegionId(0);

/// The line of Rust code that made a node. Only error messages show it; it never reaches an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The file, as passed to the compiler.
    pub file: &'static str,
    /// The line, from 1; 0 if unknown (a graph read from text).
    pub line: u32,
}

impl Site {
    /// The site of nodes that no line of code made.
    pub const UNKNOWN: Site = Site { file: "", line: 0 };
}

impl From<&'static Location<'static>> for Site {
    fn from(location: &'static Location<'static>) -> Self {
        Site {
            file: location.file(),
            line: location.line(),
        }
    }
}
