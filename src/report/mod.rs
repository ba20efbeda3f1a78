//! What people see of a compiled step: the [`CompileReport`], which prints as text or as one JSON object, what to change if
//! the program does not fit ([`advice`]), and aligned tables ([`table`]).

pub mod advice;
pub mod compile;
pub mod table;
mod text;

pub use compile::CompileReport;
