//! How often a loop runs, found by running its counter.
//!
//! A compiled loop does not state its trip count, unless the backend does in its configuration. But its condition depends
//! on a few whole numbers of the loop's tuple, and these depend only on one another and on constants. So those numbers
//! are computed, iteration by iteration, from their values before the loop until the condition fails. This works for any
//! start, step, direction and comparison, and through fusions and copies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::super::module::Instruction;
use super::super::proto::{LiteralProto, PrimitiveType};
use super::Index;

/// Loops that run longer than this are not followed.
const MOST_TRIPS: u64 = 1_000_000;

/// Instructions evaluated before a loop is given up, so no module can take long (about a second).
const MOST_STEPS: u64 = 5_000_000;

/// How far one value may be followed back through operands and calls.
const MOST_DEPTH: u32 = 200;

/// The trip count of the loop `instruction` in `computation`; `None` if it depends on data.
pub(super) fn trip_count(
    index: &Index,
    computation: i64,
    instruction: &Instruction,
) -> Option<u64> {
    if let Some(trips) = known_trip_count(instruction) {
        return Some(trips);
    }
    let [body, condition] = instruction.called_computation_ids()[..] else {
        return None;
    };
    let machine = Machine {
        index,
        steps: Cell::new(0),
        depth: Cell::new(0),
    };

    // The part of the loop's tuple that the condition depends on, directly or through the body, before the first trip.
    let before = *instruction.operand_ids.first()?;
    let asked = RefCell::new(BTreeMap::new());
    let first = |_: i64, path: &[i64]| {
        let value = machine.value(computation, before, path, &|_, _| None)?;
        asked.borrow_mut().insert(path.to_vec(), value);
        Some(value)
    };
    machine.root(condition, &[], &first)?;
    let mut followed: Vec<Vec<i64>> = Vec::new();
    loop {
        let path = asked
            .borrow()
            .keys()
            .find(|path| !followed.contains(path))
            .cloned();
        let Some(path) = path else { break };
        machine.root(body, &path, &first)?;
        followed.push(path);
    }

    let mut state: BTreeMap<Vec<i64>, i64> = asked.into_inner();
    for trips in 0..=MOST_TRIPS {
        let current = |_: i64, path: &[i64]| state.get(path).copied();
        if machine.root(condition, &[], &current)? == 0 {
            return Some(trips);
        }
        let next = state.keys().map(|path| {
            let value = machine.root(body, path, &current)?;
            Some((path.clone(), value))
        });
        state = next.collect::<Option<_>>()?;
    }
    None
}

/// `"known_trip_count":{"n":"24"}`, as XLA's CPU and GPU backends write it.
fn known_trip_count(instruction: &Instruction) -> Option<u64> {
    let config = super::backend_config(instruction);
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    match config.get("known_trip_count")?.get("n")? {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    }
}

/// Looks up an element (by its path) of a computation's argument (by its number).
type Arguments<'a> = &'a dyn Fn(i64, &[i64]) -> Option<i64>;

/// Computes single whole numbers of a module, on demand.
struct Machine<'a> {
    index: &'a Index<'a>,
    steps: Cell<u64>,
    depth: Cell<u32>,
}

impl Machine<'_> {
    fn root(&self, computation: i64, path: &[i64], arguments: Arguments) -> Option<i64> {
        let root = self.index.computations.get(&computation)?.root_id;
        self.value(computation, root, path, arguments)
    }

    /// The element at `path` of the value of instruction `id`; `None` if it is not a number that can be computed.
    fn value(&self, computation: i64, id: i64, path: &[i64], arguments: Arguments) -> Option<i64> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MOST_STEPS || self.depth.get() >= MOST_DEPTH {
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        let value = self.compute(computation, id, path, arguments);
        self.depth.set(self.depth.get() - 1);
        value
    }

    fn compute(
        &self,
        computation: i64,
        id: i64,
        path: &[i64],
        arguments: Arguments,
    ) -> Option<i64> {
        let instruction = self.index.instructions.get(&(computation, id))?;
        let operand = |index: usize, path: &[i64]| {
            let id = *instruction.operand_ids.get(index)?;
            self.value(computation, id, path, arguments)
        };
        let number = |index: usize| operand(index, &[]);
        Some(match instruction.opcode.as_str() {
            "parameter" => arguments(instruction.parameter_number(), path)?,
            "constant" => scalar(instruction.literal()?)?,
            "get-tuple-element" => {
                let path: Vec<i64> = [&[instruction.tuple_index()], path].concat();
                operand(0, &path)?
            }
            "tuple" => operand(usize::try_from(*path.first()?).ok()?, &path[1..])?,
            "copy" | "bitcast" | "reshape" | "convert" | "opt-barrier" => operand(0, path)?,
            "fusion" | "call" => {
                let arguments =
                    |number: i64, path: &[i64]| operand(usize::try_from(number).ok()?, path);
                let callee = *instruction.called_computation_ids().first()?;
                self.root(callee, path, &arguments)?
            }
            "add" => number(0)?.checked_add(number(1)?)?,
            "subtract" => number(0)?.checked_sub(number(1)?)?,
            "multiply" => number(0)?.checked_mul(number(1)?)?,
            "divide" => number(0)?.checked_div(number(1)?)?,
            "remainder" => number(0)?.checked_rem(number(1)?)?,
            "maximum" => number(0)?.max(number(1)?),
            "minimum" => number(0)?.min(number(1)?),
            "negate" => number(0)?.checked_neg()?,
            "and" => number(0)? & number(1)?,
            "or" => number(0)? | number(1)?,
            "select" if number(0)? != 0 => operand(1, path)?,
            "select" => operand(2, path)?,
            "compare" => {
                let (left, right) = (number(0)?, number(1)?);
                i64::from(match instruction.comparison_direction() {
                    "EQ" => left == right,
                    "NE" => left != right,
                    "LT" => left < right,
                    "LE" => left <= right,
                    "GT" => left > right,
                    "GE" => left >= right,
                    _ => return None,
                })
            }
            _ => return None,
        })
    }
}

/// The value of a literal of one whole number or truth value.
fn scalar(literal: &LiteralProto) -> Option<i64> {
    let shape = literal.shape.as_ref()?;
    if shape.dimensions.iter().any(|&size| size != 1) {
        return None;
    }
    match shape.element_type() {
        PrimitiveType::Pred => literal.preds.first().map(|&p| p.into()),
        PrimitiveType::S32 => literal.s32s.first().map(|&v| v.into()),
        PrimitiveType::U32 => literal.u32s.first().map(|&v| v.into()),
        PrimitiveType::S64 => literal.s64s.first().copied(),
        PrimitiveType::U64 => literal.u64s.first().and_then(|&v| v.try_into().ok()),
        _ => None,
    }
}
