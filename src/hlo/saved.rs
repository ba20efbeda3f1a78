//! Reads a saved program back: `NAME.hlo.pb` and `NAME.json`, written by [`Program::bytes`] and [`Signature::json`].
//!
//! The two files share many facts, and every such fact is compared. A file that was cut off or changed, or that belongs to
//! another program, is therefore an error and never becomes a program with other numbers.

use std::collections::BTreeSet;

use super::lower::{op_sharding, primitive};
use super::module::{Computation, Module};
use super::program::{Port, PortRecord, Program, Signature, SignatureRecord};
use super::proto::{OpSharding, ShapeProto, decode};
use crate::graph::{DType, Shape};
use crate::sharding::{Mesh, Sharding, sdy_mesh};

/// Why two files are not a saved program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// The JSON file is not a signature.
    #[error("this is not a program's signature: {0}")]
    Signature(String),
    /// The other file is not a module that ribosome wrote.
    #[error("this is not an HLO module that ribosome saved: {0}")]
    Module(String),
    /// Both files could be read, but they belong to different programs.
    #[error("the module and its signature belong to different programs: {0}")]
    Mismatch(String),
}

impl Program {
    /// Reads the program that was saved as `module` (`NAME.hlo.pb`) and `signature` (`NAME.json`).
    ///
    /// # Errors
    /// A file that is cut off or was not written by ribosome, or two files of different programs.
    pub fn from_saved(module: &[u8], signature: &str) -> Result<Self, SavedError> {
        let signature = Signature::from_json(signature)?;
        let bytes = module;
        let cut = "; the file may be cut off, or of another kind";
        let module = decode(bytes).map_err(|error| SavedError::Module(format!("{error}{cut}")))?;
        let Some(entry) = entry(&module) else {
            let reason = format!("its entry computation is missing{cut}");
            return Err(SavedError::Module(reason));
        };
        compare(&module, entry, &signature).map_err(SavedError::Mismatch)?;
        let program = Program::new(module, signature);
        if program.bytes() != bytes {
            let reason = "it holds data that ribosome does not write and would change";
            return Err(SavedError::Module(reason.to_string()));
        }
        Ok(program)
    }
}

impl Signature {
    /// Reads what [`Signature::json`] wrote.
    ///
    /// # Errors
    /// Text of another form; an impossible mesh, shape or sharding.
    pub fn from_json(text: &str) -> Result<Self, SavedError> {
        let record: SignatureRecord =
            serde_json::from_str(text).map_err(|error| SavedError::Signature(error.to_string()))?;
        let mesh =
            Mesh::parse(&record.mesh).map_err(|error| SavedError::Signature(error.to_string()))?;
        let read = |records: &[PortRecord]| -> Result<Vec<Port>, SavedError> {
            let mut names = BTreeSet::new();
            let ports = records.iter().map(|record| {
                let port = match names.insert(record.name.to_string()) {
                    true => port(record, &mesh),
                    false => Err("the name occurs twice".to_string()),
                };
                port.map_err(|reason| SavedError::Signature(format!("`{}`: {reason}", record.name)))
            });
            ports.collect()
        };
        let (inputs, outputs) = (read(&record.inputs)?, read(&record.outputs)?);
        let mut taken = BTreeSet::new();
        for output in &outputs {
            let Some(at) = output.aliases else { continue };
            let like =
                |input: &Port| (&input.shape, &input.sharding) == (&output.shape, &output.sharding);
            if !inputs.get(at).is_some_and(like) || !taken.insert(at) {
                let reason = format!(
                    "`{}` cannot take over the memory of input {at}: that input is missing, has another shape or \
                     sharding, or was already taken over",
                    output.name
                );
                return Err(SavedError::Signature(reason));
            }
        }
        Ok(Signature {
            mesh,
            inputs,
            outputs,
        })
    }
}

fn port(record: &PortRecord, mesh: &Mesh) -> Result<Port, String> {
    let dtype: DType = record.dtype.parse()?;
    if dtype == DType::Tuple {
        return Err("a tuple is not an array".to_string());
    }
    let axes = record.axes.iter();
    let axes = axes.map(|(name, size)| (name.as_ref(), *size));
    let shape = Shape::new(dtype, axes);
    if let Some(name) = shape.repeated_name() {
        return Err(format!("the axis `{name}` occurs twice"));
    }
    let bytes = shape
        .dims()
        .iter()
        .try_fold(dtype.bytes(), |bytes, size| bytes.checked_mul(*size));
    if bytes.is_none_or(|bytes| i64::try_from(bytes).is_err()) {
        return Err(format!("{shape} has more bytes than can be counted"));
    }
    Ok(Port {
        name: record.name.to_string(),
        role: record.role.parse()?,
        sharding: sharding(&record.sharding, mesh, &shape)?,
        shape,
        aliases: record.aliases,
    })
}

/// The sharding that [`Sharding::describe`] prints as `text`.
fn sharding(text: &str, mesh: &Mesh, shape: &Shape) -> Result<Sharding, String> {
    let wrong = |reason: String| format!("{text} is not a sharding of {shape}: {reason}");
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    let parts: Vec<&str> = inner.split(", ").filter(|part| !part.is_empty()).collect();
    if parts.len() != shape.rank() {
        let reason = format!("it has {} axes, not {}", parts.len(), shape.rank());
        return Err(wrong(reason));
    }
    let mesh_axes = |part: &str| -> Result<Vec<usize>, String> {
        let names = part.rsplit_once(':').map_or("", |(_, names)| names);
        let names = names.split('+').filter(|name| !name.is_empty());
        let unknown = |name| wrong(format!("the mesh {mesh} has no axis `{name}`"));
        names
            .map(|name| mesh.position(name).ok_or_else(|| unknown(name)))
            .collect()
    };
    let dims = parts.into_iter().map(mesh_axes).collect::<Result<_, _>>()?;
    let sharding = Sharding { dims };
    let used: Vec<_> = sharding.dims.iter().flatten().collect();
    if used.iter().collect::<BTreeSet<_>>().len() != used.len() {
        return Err(wrong("a mesh axis is used twice".to_string()));
    }
    for (axis, parts) in shape.axes.iter().zip(sharding.parts(mesh)) {
        if !axis.size.is_multiple_of(parts) {
            let left = axis.size % parts;
            return Err(wrong(format!(
                "{axis} does not divide into {parts} parts: {left} would be left"
            )));
        }
    }
    let printed = sharding.describe(mesh, shape);
    match printed == text {
        true => Ok(sharding),
        false => Err(wrong(format!("its axes print as {printed}"))),
    }
}

/// The module's entry computation; `None` if it or the module's program shape is missing.
fn entry(module: &Module) -> Option<&Computation> {
    let id = module.entry_id;
    let mut computations = module.computations.iter();
    module.program_shape.as_ref()?;
    computations.find(|computation| computation.id == id)
}

/// Compares what module and signature both state: inputs and outputs, their shapes and shardings, whose memory is taken
/// over, and the mesh. The error describes the first difference.
fn compare(module: &Module, entry: &Computation, signature: &Signature) -> Result<(), String> {
    let mesh = &signature.mesh;
    let shape = entry.program_shape.clone().unwrap_or_default();
    let results = shape.result.unwrap_or_default();
    let parameters: Vec<_> = shape.parameters.iter().map(AsRef::as_ref).collect();
    let results: Vec<_> = results.tuple_shapes.iter().collect();
    for (way, shapes, ports) in [
        ("input", &parameters, &signature.inputs),
        ("output", &results, &signature.outputs),
    ] {
        if shapes.len() != ports.len() {
            return Err(format!(
                "the module has {} {way}s, and the signature has {}",
                shapes.len(),
                ports.len()
            ));
        }
        for (shape, port) in shapes.iter().zip(ports) {
            if !is(shape, &port.shape) {
                return Err(format!(
                    "the {way} `{}` is {} in the module, and {} in the signature",
                    port.name,
                    describe(shape),
                    port.shape
                ));
            }
        }
    }
    let attributes = module.frontend_attributes.as_ref();
    let written = attributes.and_then(|attributes| attributes.map.get("xla.sdy.meshes"));
    // A program for one device has no shardings.
    let expected = (mesh.devices() > 1).then(|| sdy_mesh(mesh));
    if written != expected.as_ref() {
        return Err(format!(
            "the mesh is {} in the module, and {mesh} in the signature",
            written.map_or("one device", String::as_str),
        ));
    }
    if mesh.devices() > 1 {
        let mut parameters: Vec<_> = (entry.instructions.iter())
            .filter(|instruction| instruction.opcode == "parameter")
            .collect();
        parameters.sort_by_key(|parameter| parameter.parameter_number());
        let inputs = parameters.iter().map(|it| it.sharding.as_deref());
        let root = entry.instructions.iter().find(|it| it.id == entry.root_id);
        let parts = root.and_then(|root| root.sharding.as_deref());
        let outputs = parts.map_or(&[][..], |sharding| &sharding.tuple_shardings);
        same_places("input", inputs, &signature.inputs, mesh)?;
        same_places("output", outputs.iter().map(Some), &signature.outputs, mesh)?;
    }
    let written = module.input_output_alias.iter().flat_map(|it| &it.entries);
    let written: Vec<_> = written
        .map(|entry| (entry.output_shape_index.clone(), entry.parameter_number))
        .collect();
    let expected = signature.outputs.iter().enumerate();
    let expected: Vec<_> = expected
        .filter_map(|(at, port)| Some((vec![at as i64], port.aliases? as i64)))
        .collect();
    match written == expected {
        true => Ok(()),
        false => Err("different outputs take over the memory of inputs".to_string()),
    }
}

/// Compares the shardings in the module with those in the signature.
fn same_places<'m>(
    way: &str,
    mut written: impl Iterator<Item = Option<&'m OpSharding>>,
    ports: &[Port],
    mesh: &Mesh,
) -> Result<(), String> {
    let differs = |port: &&Port| {
        let expected = op_sharding(&port.sharding, mesh);
        written.next().flatten() != Some(&expected)
    };
    match ports.iter().find(differs) {
        None => Ok(()),
        Some(port) => Err(format!(
            "the {way} `{}` is not sharded as {} in the module, as the signature states",
            port.name,
            port.sharding.describe(mesh, &port.shape)
        )),
    }
}

fn is(written: &ShapeProto, shape: &Shape) -> bool {
    let sizes = shape.dims().into_iter().map(|size| size as i64);
    written.element_type == primitive(shape.dtype) as i32
        && written.dimensions.iter().copied().eq(sizes)
}

/// The shape in HLO's form, such as `f32[4,2]`.
fn describe(shape: &ShapeProto) -> String {
    let is = |dtype: &DType| primitive(*dtype) as i32 == shape.element_type;
    let dtype = DType::ELEMENTS.into_iter().find(is);
    let dtype = dtype.map_or("another type", DType::name);
    let sizes: Vec<String> = shape.dimensions.iter().map(i64::to_string).collect();
    format!("{dtype}[{}]", sizes.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Role};
    use crate::hlo::{Layout, lower};
    use crate::sharding::Rules;

    fn program(mesh: &str, rows: usize) -> Program {
        let builder = Builder::new();
        let shape = |axes: [(&str, usize); 2]| Shape::new(DType::F32, axes);
        let weight = builder.input("w", Role::Weight, shape([("embed", 8), ("mlp", 4)]));
        let x = builder.input("x", Role::Batch, shape([("batch", rows), ("embed", 8)]));
        builder.update("w", weight + 1.0);
        builder.output("y", x.dot(weight, ["embed"]).pin());
        builder.output("loss", x.sum_all());
        let graph = builder.compact().unwrap();
        let layout = Layout {
            mesh: &Mesh::parse(mesh).unwrap(),
            rules: &Rules::standard(),
        };
        lower(&graph, "saved", layout).unwrap()
    }

    fn read(module: &[u8], signature: &str) -> String {
        Program::from_saved(module, signature)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_saved_program_reads_back_with_its_fingerprint() {
        for mesh in ["data=2,model=4", "data=1,model=1"] {
            let program = program(mesh, 4);
            let read = Program::from_saved(program.bytes(), &program.signature.json()).unwrap();
            assert_eq!(read.fingerprint(), program.fingerprint());
            assert_eq!(read.signature.json(), program.signature.json());
        }
    }

    #[test]
    fn a_module_that_was_cut_off_anywhere_is_refused() {
        let program = program("data=2,model=4", 4);
        let (bytes, signature) = (program.bytes(), program.signature.json());
        for length in 0..bytes.len() {
            let error = Program::from_saved(&bytes[..length], &signature);
            assert!(
                error.is_err(),
                "of {} bytes, {length} are read",
                bytes.len()
            );
        }
        let message = read(&bytes[..bytes.len() / 2], &signature);
        assert!(message.contains("the file may be cut off"), "{message}");
        // A field that no message has is kept, but would move elsewhere.
        let message = read(&[&[0xF8, 0x07, 1], bytes].concat(), &signature);
        assert!(
            message.contains("data that ribosome does not write"),
            "{message}"
        );
    }

    #[test]
    fn two_files_of_different_programs_are_refused() {
        let (four, eight) = (program("data=2,model=4", 4), program("data=2,model=4", 8));
        let message = read(four.bytes(), &eight.signature.json());
        assert!(
            message.ends_with(
                "the input `x` is f32[4,8] in the module, and f32[batch=8, embed=8] in the signature"
            ),
            "{message}"
        );
        let other = program("data=4,model=2", 4);
        let message = read(four.bytes(), &other.signature.json());
        assert!(
            message.contains("the mesh is {mesh = #sdy.mesh<"),
            "{message}"
        );
        assert!(
            message.ends_with("and data=4,model=2 in the signature"),
            "{message}"
        );
        let one = program("data=1,model=1", 4);
        let message = read(one.bytes(), &four.signature.json());
        assert!(
            message.contains("the mesh is one device in the module"),
            "{message}"
        );
    }

    #[test]
    fn a_signature_is_held_to_the_module_port_by_port() {
        let program = program("data=2,model=4", 4);
        let signature = program.signature.json();
        let changed = |from: &str, to: &str| {
            assert!(signature.contains(from), "no {from} in {signature}");
            read(program.bytes(), &signature.replacen(from, to, 1))
        };
        for (from, to, message) in [
            (
                "[embed:data, mlp:model]",
                "[embed:model, mlp:data]",
                "has another shape or sharding, or was",
            ),
            (
                "[batch:data, embed]",
                "[batch:model, embed]",
                "`x` is not sharded as [batch:model, embed] in the module",
            ),
            (
                "[batch:data, embed]",
                "[batch:rows, embed]",
                "the mesh data=2,model=4 has no axis `rows`",
            ),
            (
                "[batch:data, embed]",
                "[batch:data, embed:data]",
                "a mesh axis is used twice",
            ),
            (
                "[batch:data, embed]",
                "[batch:data]",
                "it has 1 axes, not 2",
            ),
            (
                "[batch:data, embed]",
                "[rows:data, embed]",
                "its axes print as [batch:data, embed]",
            ),
            (
                "\"aliases\": 0",
                "\"aliases\": 7",
                "cannot take over the memory of input 7",
            ),
            ("\"f32\"", "\"f33\"", "unknown element type `f33`"),
            ("\"weight\"", "\"wait\"", "there is no role `wait`"),
            (
                "\"name\": \"x\"",
                "\"name\": \"w\"",
                "`w`: the name occurs twice",
            ),
            ("\"mesh\": \"data=2,", "\"mesh\": \"data=0,", "has size 0"),
            ("\"role\"", "\"roll\"", "unknown field `roll`"),
            ("\"outputs\"", "\"results\"", "unknown field `results`"),
        ] {
            let found = changed(from, to);
            assert!(found.contains(message), "{from} to {to}: {found}");
        }
        // An output that no longer takes over the weight it replaces, and a missing one.
        let mut other = program.signature.clone();
        other.outputs[0].aliases = None;
        let message = read(program.bytes(), &other.json());
        assert!(
            message.contains("different outputs take over the memory"),
            "{message}"
        );
        other.outputs.pop();
        let message = read(program.bytes(), &other.json());
        assert!(
            message.ends_with("the module has 3 outputs, and the signature has 2"),
            "{message}"
        );
        let whole = Sharding::replicated(2);
        let mut other = program.signature.clone();
        other.outputs[1].sharding = whole;
        let message = read(program.bytes(), &other.json());
        assert!(
            message.contains("the output `y` is not sharded as"),
            "{message}"
        );
    }
}
