//! XLA's protocol messages, which turn modules into bytes and bytes into modules.
//!
//! Every PJRT plugin takes an `HloModuleProto` as program format "hlo", and returns one as the optimized program.
//! [`encode()`] writes one and [`decode()`] reads one, field by field, from and into [`super::module`]. The parts of
//! attributes and shapes are `prost` messages here. Field names and numbers are XLA's own (xla/service/hlo.proto and
//! xla/xla_data.proto, which explain each field). Three conventions:
//! - maps are ordered, so that the same module always gives the same bytes;
//! - members of a `oneof` are separate optional fields, of which at most one may be set: the bytes are the same;
//! - fields that ribosome does not interpret (profiles, original values) are kept as bytes, so reading and writing another
//!   frontend's module loses nothing.

// The fields mirror XLA's one for one; XLA's own files explain them.
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
