//! What a compiled step will be like, from what the compiler says of it: how long it takes and what moves between devices
//! ([`step`]), where a device's memory goes ([`memory`]), and how much arithmetic it is ([`flops`]). Memory and cycles
//! come from the compiler, never from a formula.

pub mod flops;
pub mod memory;
pub mod step;

pub use flops::FlopsReport;
pub use memory::{MemoryReport, port_bytes};
pub use step::{CollectiveReport, Forecast, forecast};
