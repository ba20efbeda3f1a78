//! XLA's HLO protocol messages, written by hand for `prost`.
//!
//! An `HloModuleProto` is what every PJRT plugin takes as program format "hlo", and what it gives back as the
//! optimized program. Field names and numbers are XLA's own (xla/service/hlo.proto and xla/xla_data.proto), which is
//! also where each field is explained. Three conventions:
//! - maps are ordered, so that the same module always gives the same bytes;
//! - members of a `oneof` are separate optional fields, of which at most one may be set: the bytes are the same;
//! - messages that ribosome only carries along (profiles, original values) are kept as their bytes, which have the
//!   same wire type, so that reading and writing a module of another frontend loses nothing it knows of.

// The fields mirror XLA's, one for one; their meaning stands in XLA's own files.
#![allow(missing_docs)]

mod attributes;
mod module;
mod placement;
mod shape;

pub use attributes::*;
pub use module::*;
pub use placement::*;
pub use shape::*;
