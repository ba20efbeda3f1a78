//! Analysis of a compiled module: cycles, matrix-product flops, and every collective with its place in the model.
//!
//! XLA's own cost figures count a loop's body once. Here each computation is summed once and multiplied by how often it
//! runs, from the entry down: a loop's body by its trip count (`trips`), the costliest branch of a conditional by one.
//! All figures are for one device and one run of the program.
//!
//! - Cycles are the TPU compiler's own estimates (`estimated_cycles` in the backend configuration of fusions, copies
//!   and the like). A fusion's estimate covers what is in it. Collectives have none: their time must come from the
//!   bytes in the ledger, so `cycles` is computation alone. Other backends write no estimates, which gives 0.
//! - Reshapes that are not bitcasts rearrange their elements and have no estimate either: their bytes are reported
//!   separately. In a fusion they are part of its estimate.
//! - What an asynchronous start wraps runs alongside the computation: its collective is in the ledger (counted at the
//!   start, not at update and done), and its cycles are not counted.

mod flops;
mod groups;
mod trips;

use std::collections::BTreeMap;

use super::module::{Computation, Instruction, Module};
use super::proto::{PrimitiveType, ShapeProto};

/// What one device does in one run of a module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Estimated cycles of computation, loops multiplied out; 0 if the backend gives no estimates.
    pub cycles: f64,
    /// Bytes of the results of reshapes without an estimate, loops multiplied out.
    pub reshaped: u64,
    /// Floating-point operations of matrix products and convolutions, a multiply and an add being two.
    pub flops: f64,
    /// Data moved between devices, most bytes first.
    pub collectives: Vec<Collective>,
    /// Instructions in the module, each counted once.
    pub instructions: usize,
    /// Loops whose trip count could not be determined, by name; their bodies are counted once.
    pub unknown_trips: Vec<String>,
}

/// The collectives of one kind, over the same axes, from the same scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collective {
    /// The opcode, such as `all-reduce`, whether it runs asynchronously or not.
    pub kind: String,
    /// The mesh axes that each of its groups spans; empty if the groups are not such a set of devices.
    pub axes: Vec<String>,
    /// The scope path of the model code it serves; empty if the compiler left none.
    pub scope: String,
    /// Bytes of its results on one device, over all its runs.
    pub bytes: u64,
    /// How often it runs.
    pub count: u64,
}

/// Analyses `module`, compiled for a mesh of the given axes (major first, partition ids in row-major order).
pub fn analyse(module: &Module, mesh: &[(String, usize)]) -> Analysis {
    let mut reader = Reader {
        mesh,
        index: Index::new(module),
        done: BTreeMap::new(),
        depth: 0,
        unknown_trips: Vec::new(),
    };
    let totals = reader.computation(module.entry_id);
    let mut collectives: Vec<Collective> = totals
        .ledger
        .into_iter()
        .map(|(key, sum)| Collective {
            kind: key.kind,
            axes: key.axes,
            scope: key.scope,
            bytes: sum.bytes,
            count: sum.count,
        })
        .collect();
    // Stable: rows of equal bytes stay in the ledger's order.
    collectives.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    Analysis {
        cycles: totals.cycles,
        reshaped: totals.reshaped,
        flops: totals.flops,
        collectives,
        instructions: module
            .computations
            .iter()
            .map(|c| c.instructions.len())
            .sum(),
        unknown_trips: reader.unknown_trips,
    }
}

/// The key of one row of the ledger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: String,
    axes: Vec<String>,
    scope: String,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    bytes: u64,
    count: u64,
}

/// The totals of one run of a computation.
#[derive(Clone, Default)]
struct Totals {
    cycles: f64,
    reshaped: u64,
    flops: f64,
    ledger: BTreeMap<Key, Sum>,
}

impl Totals {
    /// Adds `other`, run `times` times.
    fn add(&mut self, other: &Totals, times: u64) {
        self.cycles += other.cycles * times as f64;
        self.flops += other.flops * times as f64;
        let reshaped = other.reshaped.saturating_mul(times);
        self.reshaped = self.reshaped.saturating_add(reshaped);
        for (key, sum) in &other.ledger {
            let row = self.ledger.entry(key.clone()).or_default();
            row.bytes = row.bytes.saturating_add(sum.bytes.saturating_mul(times));
            row.count = row.count.saturating_add(sum.count.saturating_mul(times));
        }
    }
}

/// The parts of a module by their ids; an instruction's is unique only within its computation.
struct Index<'a> {
    computations: BTreeMap<i64, &'a Computation>,
    instructions: BTreeMap<(i64, i64), &'a Instruction>,
}

impl<'a> Index<'a> {
    fn new(module: &'a Module) -> Self {
        let computations = module.computations.iter();
        let instructions = computations
            .clone()
            .flat_map(|c| c.instructions.iter().map(|i| ((c.id, i.id), i)));
        Index {
            instructions: instructions.collect(),
            computations: computations.map(|c| (c.id, c)).collect(),
        }
    }

    /// The shape of an operand.
    fn operand_shape(
        &self,
        computation: i64,
        instruction: &Instruction,
        operand: usize,
    ) -> Option<&'a ShapeProto> {
        let id = *instruction.operand_ids.get(operand)?;
        self.instructions.get(&(computation, id))?.shape.as_deref()
    }
}

/// The deepest nesting of calls; no program needs more.
const MOST_CALLS: usize = 200;

struct Reader<'a> {
    mesh: &'a [(String, usize)],
    index: Index<'a>,
    /// The totals of each computation met so far.
    done: BTreeMap<i64, Totals>,
    /// How many calls deep this computation is.
    depth: usize,
    unknown_trips: Vec<String>,
}

impl Reader<'_> {
    /// The totals of one run of a computation. HLO has no recursion. In a broken file, a computation that calls itself
    /// adds nothing, and neither does one that is nested too deeply.
    fn computation(&mut self, id: i64) -> Totals {
        if let Some(totals) = self.done.get(&id) {
            return totals.clone();
        }
        if self.depth == MOST_CALLS {
            return Totals::default();
        }
        self.depth += 1;
        let mut totals = Totals::default();
        self.done.insert(id, totals.clone());
        if let Some(&computation) = self.index.computations.get(&id) {
            for instruction in &computation.instructions {
                self.instruction(&mut totals, id, instruction);
            }
        }
        self.depth -= 1;
        self.done.insert(id, totals.clone());
        totals
    }

    fn instruction(&mut self, totals: &mut Totals, computation: i64, instruction: &Instruction) {
        let cycles = estimated_cycles(instruction);
        totals.cycles += cycles.unwrap_or(0.0);
        if let ("reshape", None, Some(shape)) =
            (instruction.opcode.as_str(), cycles, &instruction.shape)
        {
            totals.reshaped = totals.reshaped.saturating_add(bytes(shape));
        }
        totals.flops += flops::flops(&self.index, computation, instruction);
        if let Some(kind) = collective_kind(&instruction.opcode) {
            let key = Key {
                kind: kind.into(),
                axes: groups::axes(instruction, self.mesh),
                scope: scope(instruction),
            };
            let row = totals.ledger.entry(key).or_default();
            row.bytes = row.bytes.saturating_add(result_bytes(instruction));
            row.count = row.count.saturating_add(1);
        }
        let callees = instruction.called_computation_ids();
        match (instruction.opcode.as_str(), callees) {
            ("while", [body, condition]) => {
                let trips = trips::trip_count(&self.index, computation, instruction);
                if trips.is_none() {
                    self.unknown_trips.push(instruction.name.to_string());
                }
                let trips = trips.unwrap_or(1);
                totals.add(&self.computation(*body), trips);
                totals.add(&self.computation(*condition), trips.saturating_add(1));
            }
            ("conditional", branches) => {
                let branches = branches.iter().map(|branch| self.computation(*branch));
                let costly = branches.max_by(|a, b| {
                    let by_cycles = a.cycles.total_cmp(&b.cycles);
                    by_cycles.then(a.flops.total_cmp(&b.flops))
                });
                totals.add(&costly.unwrap_or_default(), 1);
            }
            // Newer TPUs run collectives on a separate core, as a custom call of a computation that holds them.
            ("fusion" | "async-start" | "custom-call", [callee]) => {
                let mut inner = self.computation(*callee);
                if cycles.is_some() || instruction.opcode == "async-start" {
                    inner.cycles = 0.0;
                }
                if instruction.opcode != "custom-call" {
                    inner.reshaped = 0;
                }
                totals.add(&in_scope(inner, &scope(instruction)), 1);
            }
            ("call", [callee]) => totals.add(&self.computation(*callee), 1),
            // The rest applies to single elements (the sum of a reduction) or repeats what was counted (async-done).
            _ => {}
        }
    }
}

/// Gives collectives without a scope that of the instruction that wraps them.
fn in_scope(mut totals: Totals, scope: &str) -> Totals {
    let rows = std::mem::take(&mut totals.ledger);
    for (mut key, sum) in rows {
        if key.scope.is_empty() {
            key.scope = scope.into();
        }
        let row = totals.ledger.entry(key).or_default();
        row.bytes = row.bytes.saturating_add(sum.bytes);
        row.count = row.count.saturating_add(sum.count);
    }
    totals
}

/// The kind of a collective, from the opcode that moves its data; `None` for other opcodes and for `-done`.
fn collective_kind(opcode: &str) -> Option<&str> {
    let kind = opcode.strip_suffix("-start").unwrap_or(opcode);
    let known = [
        "all-reduce",
        "all-gather",
        "all-to-all",
        "reduce-scatter",
        "collective-permute",
        "collective-broadcast",
        "ragged-all-to-all",
    ];
    known.contains(&kind).then_some(kind)
}

/// Bytes of a collective's result. Some starts give a tuple (operands, results and flags); only the results count.
fn result_bytes(instruction: &Instruction) -> u64 {
    let Some(shape) = &instruction.shape else {
        return 0;
    };
    match (instruction.opcode.as_str(), shape.tuple_shapes.as_slice()) {
        ("all-gather-start" | "collective-permute-start", [_, result, ..]) => bytes(result),
        _ => bytes(shape),
    }
}

/// Bytes of a shape's elements, all parts of a tuple together.
fn bytes(shape: &ShapeProto) -> u64 {
    let parts = shape.tuple_shapes.iter().map(bytes);
    let parts = parts.fold(0, u64::saturating_add);
    let sizes = shape.dimensions.iter().map(|&size| size.max(0) as u64);
    let bits = sizes.fold(element_bits(shape.element_type()), u64::saturating_mul);
    parts.saturating_add(bits.div_ceil(8))
}

/// Bits of one element in memory, as XLA sizes them.
fn element_bits(element: PrimitiveType) -> u64 {
    use PrimitiveType as P;
    match element {
        P::Tuple | P::Opaque | P::Token | P::Buffer | P::Invalid => 0,
        P::S1 | P::U1 => 1,
        P::S2 | P::U2 => 2,
        P::S4 | P::U4 | P::F4E2M1FN => 4,
        P::Pred | P::S8 | P::U8 => 8,
        P::F8E5M2 | P::F8E4M3 | P::F8E4M3FN | P::F8E4M3B11FNUZ => 8,
        P::F8E3M4 | P::F8E5M2FNUZ | P::F8E4M3FNUZ | P::F8E8M0FNU => 8,
        P::S16 | P::U16 | P::F16 | P::BF16 => 16,
        P::S32 | P::U32 | P::F32 => 32,
        P::S64 | P::U64 | P::F64 | P::C64 => 64,
        P::C128 => 128,
    }
}

/// The scope path of an instruction: its `op_name` without the op itself and without the wrappers that tracing
/// frontends put around a whole program.
fn scope(instruction: &Instruction) -> String {
    let Some(metadata) = &instruction.metadata else {
        return String::new();
    };
    let path = metadata
        .op_name
        .rsplit_once('/')
        .map_or("", |(path, _)| path);
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.starts_with("jit(") && !part.starts_with("pjit("))
        .collect();
    parts.join("/")
}

/// The estimate in an instruction's backend configuration, wherever the backend puts it.
fn estimated_cycles(instruction: &Instruction) -> Option<f64> {
    fn find(value: &serde_json::Value) -> Option<f64> {
        match value {
            serde_json::Value::Object(fields) => match fields.get("estimated_cycles") {
                Some(serde_json::Value::String(text)) => text.parse().ok(),
                Some(number) => number.as_f64(),
                None => fields.values().find_map(find),
            },
            _ => None,
        }
    }
    let text = backend_config(instruction);
    let mentioned = text
        .windows(b"estimated_cycles".len())
        .any(|window| window == b"estimated_cycles");
    mentioned
        .then(|| serde_json::from_slice(text).ok())
        .flatten()
        .and_then(|config| find(&config))
        .filter(|&cycles| cycles < NO_ESTIMATE)
}

/// The largest 64-bit integer, which the TPU compiler writes if it has no estimate (work for the sparse cores).
const NO_ESTIMATE: f64 = i64::MAX as f64;

/// The backend configuration, from whichever field holds it.
fn backend_config(instruction: &Instruction) -> &[u8] {
    let payload = instruction.backend_config_payload();
    match payload.and_then(|payload| payload.text.as_ref()) {
        Some(text) if instruction.backend_config().is_empty() => text.as_bytes(),
        _ => instruction.backend_config(),
    }
}

#[cfg(test)]
mod tests;
