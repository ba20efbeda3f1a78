//! A forecast of a compiled step from the compiler's own figures: its duration and the traffic between devices ([`step`]),
//! the memory of a device ([`memory`]), and the arithmetic ([`flops`]). Memory and cycles come from the compiler, never
//! from a formula.

pub mod flops;
pub mod memory;
pub mod step;

pub use flops::FlopsReport;
pub use memory::{MemoryReport, port_bytes};
pub use step::{CollectiveReport, Forecast, forecast};
