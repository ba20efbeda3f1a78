//! HLO text, in the form that XLA's own parser reads.
//!
//! One instruction per line, callees before callers and the entry last, so that two texts can be compared line by line.
//! Everything that affects the program's behaviour is printed, with all constants in full; its history (stack frames,
//! profiles, original values) is not. Numbers read back exactly.
//!
//! A dangling reference (a missing operand, callee or entry) prints as `%<missing N>`, which XLA's parser refuses, so a
//! broken module does not become a different one.

mod attributes;
mod literal;
mod placement;
mod shape;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::module::{Computation, Instruction, Module};

/// The text of `module`.
pub fn print(module: &Module) -> String {
    let names: ComputationNames = module
        .computations
        .iter()
        .map(|computation| (computation.id, computation.name.as_str()))
        .collect();
    let mut text = header(module);
    for computation in callees_first(module) {
        text.push('\n');
        print_computation(&mut text, module, computation, &names);
    }
    text
}

/// The name of each computation, by its id.
type ComputationNames<'a> = BTreeMap<i64, &'a str>;

/// The computations, each after those it calls, the entry last.
fn callees_first(module: &Module) -> Vec<&Computation> {
    fn visit<'a>(
        id: i64,
        by_id: &BTreeMap<i64, &'a Computation>,
        seen: &mut BTreeSet<i64>,
        order: &mut Vec<&'a Computation>,
    ) {
        let Some(computation) = by_id.get(&id) else {
            return;
        };
        if !seen.insert(id) {
            return;
        }
        for instruction in &computation.instructions {
            for callee in instruction.called_computation_ids() {
                visit(*callee, by_id, seen, order);
            }
        }
        order.push(computation);
    }

    let by_id = module.computations.iter().map(|c| (c.id, c)).collect();
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    let entry = module.entry_id;
    for computation in module.computations.iter().filter(|c| c.id != entry) {
        visit(computation.id, &by_id, &mut seen, &mut order);
    }
    visit(entry, &by_id, &mut seen, &mut order);
    order
}

/// The lines that name the module and hold its attributes: a line for each aliased pair, parameter and result, so that
/// a diff shows only what differs.
fn header(module: &Module) -> String {
    let mut parts = vec![format!("HloModule {}", module.name)];
    if module.schedule.is_some() {
        parts.push("is_scheduled=true".into());
    }
    if let Some(alias) = &module.input_output_alias
        && !alias.entries.is_empty()
    {
        let entries = alias.entries.iter().map(|entry| {
            // xla::Kind: 1 may alias, 2 must alias.
            let kind = if entry.kind == 2 { "must" } else { "may" };
            format!(
                "{}: ({}, {}, {kind}-alias)",
                braces(&entry.output_shape_index),
                entry.parameter_number,
                braces(&entry.parameter_shape_index),
            )
        });
        parts.push(format!("input_output_alias={{{}}}", lines(entries)));
    }
    if let Some(donors) = &module.buffer_donor
        && !donors.entries.is_empty()
    {
        let entries = donors.entries.iter().map(|donor| {
            let path = braces(&donor.parameter_shape_index);
            format!("({}, {path})", donor.parameter_number)
        });
        parts.push(format!("buffer_donor={{{}}}", lines(entries)));
    }
    if let Some(program) = &module.program_shape {
        let parameters = lines(program.parameters.iter().map(|it| shape::shape(it)));
        let result = match &program.result {
            Some(result) if !result.tuple_shapes.is_empty() => {
                format!("({})", lines(result.tuple_shapes.iter().map(shape::shape)))
            }
            Some(result) => shape::shape(result),
            None => "<no result>".into(),
        };
        let layout = format!("entry_computation_layout={{({parameters})->{result}}}");
        parts.push(layout);
    }
    if let Some(attributes) = &module.frontend_attributes {
        parts.extend(attributes::frontend(attributes));
    }
    parts.join(",\n  ") + "\n"
}

/// Items of the header, each on its own line.
fn lines(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.map(|item| format!("\n    {item}")).collect();
    match items.is_empty() {
        true => String::new(),
        false => items.join(",") + "\n  ",
    }
}

fn print_computation(
    text: &mut String,
    module: &Module,
    computation: &Computation,
    names: &ComputationNames,
) {
    if computation.id == module.entry_id {
        text.push_str("ENTRY ");
    }
    let _ = writeln!(text, "%{} {{", computation.name);
    let by_id: BTreeMap<i64, &Instruction> = computation
        .instructions
        .iter()
        .map(|instruction| (instruction.id, instruction))
        .collect();
    for instruction in in_order(module, computation, &by_id) {
        let root = if instruction.id == computation.root_id {
            "ROOT "
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {root}{}",
            print_instruction(instruction, &by_id, names)
        );
    }
    text.push('}');
    if !matches!(computation.execution_thread.as_str(), "" | "main") {
        let thread = quoted(computation.execution_thread.as_bytes());
        let _ = write!(text, ", execution_thread={thread}");
    }
    text.push('\n');
}

/// The instructions in their order of execution if there is a schedule, else in the module's order.
fn in_order<'a>(
    module: &Module,
    computation: &'a Computation,
    by_id: &BTreeMap<i64, &'a Instruction>,
) -> Vec<&'a Instruction> {
    let sequence = module
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.sequences.get(&computation.id));
    match sequence {
        Some(sequence) => sequence
            .instruction_ids
            .iter()
            .filter_map(|id| by_id.get(id).copied())
            .collect(),
        None => computation.instructions.iter().collect(),
    }
}

fn print_instruction(
    instruction: &Instruction,
    by_id: &BTreeMap<i64, &Instruction>,
    names: &ComputationNames,
) -> String {
    let arguments = match instruction.opcode.as_str() {
        "parameter" => instruction.parameter_number().to_string(),
        "constant" => instruction
            .literal()
            .map(literal::literal)
            .unwrap_or_default(),
        _ => join(
            instruction
                .operand_ids
                .iter()
                .map(|id| reference(by_id, *id)),
        ),
    };
    let mut line = format!(
        "%{} = {} {}({arguments})",
        instruction.name,
        instruction
            .shape
            .as_ref()
            .map(|it| shape::shape(it))
            .unwrap_or_default(),
        instruction.opcode,
    );
    for attribute in attributes::attributes(instruction, by_id, names) {
        line.push_str(", ");
        line.push_str(&attribute);
    }
    line
}

/// `%name` of an instruction.
fn reference(by_id: &BTreeMap<i64, &Instruction>, id: i64) -> String {
    by_id
        .get(&id)
        .map(|instruction| format!("%{}", instruction.name))
        .unwrap_or_else(|| format!("%<missing {id}>"))
}

/// Items separated by commas.
fn join(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

/// Numbers separated by `separator`.
fn numbers<T: ToString>(values: &[T], separator: &str) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(separator)
}

/// `{1,0}`.
fn braces(values: &[i64]) -> String {
    format!("{{{}}}", numbers(values, ","))
}

/// A string in quotes, escaped as in C, so that any bytes read back the same.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'"' => text.push_str("\\\""),
            b'\'' => text.push_str("\\'"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests;
