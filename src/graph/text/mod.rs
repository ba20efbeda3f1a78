//! The text form of a graph: one line per node, loop bodies indented below their loop. It reads back exactly.
//!
//! ```text
//! graph {
//!   %0 = parameter name=x role=batch : f32[batch=2, embed=4]
//!   %1 = parameter name=encoder/scale role=weight : f32[layers=3, embed=4]
//!   %2 = loop over=[layers=3] remat=full carries=[%0] slices=[%1] captures=[] : tuple[] #encoder {
//!     arguments [%0, %1, %2]
//!     %0 = argument : s32[]
//!     %1 = argument : f32[batch=2, embed=4] #encoder
//!     %2 = argument : f32[embed=4] #encoder
//!     %3 = broadcast %2 : f32[batch=2, embed=4] #encoder
//!     %4 = multiply %1, %3 : f32[batch=2, embed=4] #encoder
//!     results [%4]
//!   }
//!   %3 = get index=0 %2 : f32[batch=2, embed=4] #encoder
//!   output y = %3
//! }
//! ```
//!
//! A line is the node's number in its region, the operation, its attributes in a fixed order, its operands, a colon,
//! its shape, and its scope path after `#` (nothing for the empty path). Attributes that the shape gives are not
//! repeated: the axes of `broadcast` and `transpose`, the element types of `convert` and `dot`.
//!
//! Names are bare if they are letters, digits, `_`, `.`, `/` and `-` with a letter or `_` first; others are quoted, with
//! `\"`, `\\` and `\u{hex}` inside. Floats are the shortest digits that give the same `f64`, always with a point, an
//! exponent, or as `inf`, `-inf`, `NaN`; a constant without these is a whole number. Lines of code ([`super::Site`]) are
//! not part of the form.

mod cursor;
mod error;
mod lex;
mod operation;
mod parse;
mod print;

use std::collections::BTreeMap;

use super::ir::{Graph, NodeId, RegionId};

pub use error::ParseError;

impl Graph {
    /// The text form. Loop bodies that no node refers to are left out.
    pub fn to_text(&self) -> String {
        print::print(self, &BTreeMap::new())
    }

    /// Reads the text form. The graph may not be well formed; [`Graph::check`] checks that.
    ///
    /// # Errors
    /// The first place where the text departs from the form.
    pub fn from_text(text: &str) -> Result<Graph, ParseError> {
        parse::parse(text)
    }
}

/// The text form with `notes` under the lines of their nodes.
pub(super) fn annotated(
    graph: &Graph,
    notes: &BTreeMap<(RegionId, NodeId), Vec<String>>,
) -> String {
    print::print(graph, notes)
}
