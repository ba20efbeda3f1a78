//! XLA's protocol messages: the edge where modules become bytes and bytes modules.
//!
//! An `HloModuleProto` is what every PJRT plugin takes as program format "hlo", and what it gives back as the optimized
//! program. [`encode()`] writes one and [`decode()`] reads one, field by field, from and into [`super::module`]. What an
//! attribute or a shape consists of stands here as `prost` messages. Field names and numbers are XLA's own
//! (xla/service/hlo.proto and xla/xla_data.proto), which is also where each field is explained. Three conventions:
//! - maps are ordered, so that the same module always gives the same bytes;
//! - members of a `oneof` are separate optional fields, of which at most one may be set: the bytes are the same;
//! - fields that ribosome only carries along (profiles, original values) are kept as their bytes, so that reading and
//!   writing a module of another frontend loses nothing.

// The fields mirror XLA's, one for one; their meaning stands in XLA's own files.
#![allow(missing_docs)]

mod attributes;
mod decode;
mod encode;
mod error;
mod module;
pub mod payload;
mod placement;
mod shape;
mod wire;

pub use attributes::*;
pub use decode::{decode, decode_with_config};
pub use encode::encode;
pub use error::ModuleError;
pub use module::*;
pub use placement::*;
pub use shape::*;
