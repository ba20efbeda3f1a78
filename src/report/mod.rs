//! What users see of a compiled step: the [`CompileReport`], as text or as one JSON object, advice if the program does not
//! fit ([`advice`]), and aligned tables ([`table`]).

pub mod advice;
pub mod compile;
pub mod table;
mod text;

pub use compile::CompileReport;
