//! Lowering: a checked graph becomes an HLO module. Names become positions here and nowhere else.
//!
//! - Every region becomes a computation; a loop becomes a `while` over a tuple (`loops`).
//! - Each operation becomes one instruction or a few (`ops`); views by name (rename, tag, detach) become none.
//! - Parameters, results and pins carry their sharding in both partitioners' terms (`emit`); inputs are in the order
//!   of their roles, and outputs that replace a parameter take over its memory.
//! - `op_name` is the scope path followed by the HLO opcode.
//!
//! Ids are assigned in one sweep, so the same graph always gives the same bytes.

mod emit;
mod error;
mod loops;
mod ops;
mod pool;

use std::collections::BTreeMap;

use self::emit::Emitter;
pub use self::error::{InternalError, LowerError};
use self::pool::Pool;
pub(super) use self::pool::{op_sharding, primitive};
use super::module::{Computation, Metadata, Module};
use super::program::{Port, PortRole, Program, Signature};
use super::proto::{AliasEntryProto, HloInputOutputAliasProto};
use crate::graph::ir::ROOT;
use crate::graph::{Checked, DType, Node, NodeId, Op, RegionId, Shape};
use crate::sharding::{Kind, Mesh, Rules, Sharding, loop_axes, pin_of, resolve, sdy_mesh};

/// How tensors are sharded: the mesh, and the rules that map axis names to it.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The logical mesh.
    pub mesh: &'a Mesh,
    /// The rules for weights, state and activations.
    pub rules: &'a Rules,
}

/// Lowers `graph` for the mesh of `layout`; the module is called `name`.
///
/// # Errors
/// A tensor that the rules cannot shard over the mesh, with the arithmetic; or a bug in the lowering.
pub fn lower(graph: &Checked, name: &str, layout: Layout) -> Result<Program, LowerError> {
    let rules = layout.rules.with_whole(loop_axes(graph));
    let mut lowering = Lowering {
        graph,
        layout: Layout {
            rules: &rules,
            ..layout
        },
        partitioned: layout.mesh.devices() > 1,
        pool: Pool::new(layout.mesh),
        computations: Vec::new(),
        reducers: BTreeMap::new(),
    };
    lowering.entry(name)
}

struct Lowering<'a> {
    graph: &'a Checked,
    layout: Layout<'a>,
    /// Whether there is more than one device; otherwise pins have no effect.
    partitioned: bool,
    pool: Pool<'a>,
    computations: Vec<Computation>,
    /// Computations of two scalars, by opcode and type.
    reducers: BTreeMap<(&'static str, DType), i64>,
}

/// The instruction that each node of a region became.
type Values = Vec<Option<i64>>;

impl Lowering<'_> {
    fn entry(&mut self, name: &str) -> Result<Program, LowerError> {
        let graph = self.graph;
        let mut computation = Emitter::new("main".into(), &mut self.pool);
        let mut values: Values = vec![None; graph.root().nodes.len()];
        let mut parameters: Vec<_> = graph.parameters().collect();
        parameters.sort_by_key(|(_, _, role)| *role);
        let mut inputs = Vec::new();
        for (number, &(id, name, role)) in parameters.iter().enumerate() {
            let shape = graph.root().shape(id);
            let sharding = self.place(role.into(), shape, name)?;
            computation.set_scope(String::new());
            let parameter = computation.parameter(&mut self.pool, number, shape);
            let instruction = computation.instruction_mut(parameter)?;
            instruction.name = instruction_name(name, parameter).into();
            instruction.metadata = Some(Metadata::of(name));
            if self.partitioned {
                instruction.sharding = Some(self.pool.op_sharding(&sharding));
                instruction.frontend_attributes = Some(self.pool.place(&sharding));
            }
            values[id.index()] = Some(parameter);
            inputs.push(Port {
                name: name.to_string(),
                role: PortRole::Input(role),
                shape: shape.clone(),
                sharding,
                aliases: None,
            });
        }
        self.region(ROOT, &mut computation, &mut values)?;
        let outputs = self.outputs(&inputs)?;
        let mut results = Vec::new();
        for (output, port) in graph.outputs.iter().zip(&outputs) {
            let value = self.value_of(ROOT, &values, output.node)?;
            computation.set_scope(port.name.clone());
            results.push(match self.partitioned {
                true => computation.pinned(&mut self.pool, value, &port.sharding)?,
                false => value,
            });
        }
        computation.set_scope(String::new());
        let root = computation.tuple(&mut self.pool, &results)?;
        if self.partitioned {
            // PJRT shards outputs by the root's own sharding; without it the two ends of an alias could differ.
            let shardings = outputs.iter().map(|port| &port.sharding);
            computation.set_tuple_sharding(&mut self.pool, root, shardings)?;
        }
        let entry = computation.finish(root)?;
        let module = self.module(name, entry, &outputs);
        let signature = Signature {
            mesh: self.layout.mesh.clone(),
            inputs,
            outputs,
        };
        Ok(Program::new(module, signature))
    }

    /// The outputs' shardings: an update has that of what it replaces; anything else is whole on every device.
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<Port>, LowerError> {
        let outputs = self.graph.outputs.iter().map(|output| {
            let shape = self.graph.root().shape(output.node);
            let aliases = output
                .replaces
                .as_ref()
                .and_then(|name| inputs.iter().position(|input| input.name == *name));
            let (role, sharding) = match aliases {
                Some(at) => (inputs[at].role, inputs[at].sharding.clone()),
                // What is neither pinned nor an update (losses, counts) is a figure that every device has.
                None => (
                    PortRole::Metric,
                    match pin_of(self.graph, ROOT, output.node) {
                        Some(kind) => self.place(kind, shape, &output.name)?,
                        None => Sharding::replicated(shape.rank()),
                    },
                ),
            };
            Ok(Port {
                name: output.name.clone(),
                role,
                shape: shape.clone(),
                sharding,
                aliases,
            })
        });
        outputs.collect()
    }

    fn module(&mut self, name: &str, entry: Computation, outputs: &[Port]) -> Module {
        let aliases = outputs.iter().enumerate().filter_map(|(at, output)| {
            Some(AliasEntryProto {
                output_shape_index: vec![at as i64],
                parameter_number: output.aliases? as i64,
                parameter_shape_index: Vec::new(),
                kind: MAY_ALIAS,
            })
        });
        let attributes = (self.partitioned)
            .then(|| pool::attribute("xla.sdy.meshes", sdy_mesh(self.layout.mesh)));
        let program_shape = entry.program_shape.clone();
        let (entry_name, entry_id) = (entry.name.to_string(), entry.id);
        let mut computations = std::mem::take(&mut self.computations);
        computations.push(entry);
        Module {
            name: name.to_string(),
            entry_name,
            entry_id,
            program_shape,
            computations,
            input_output_alias: Some(HloInputOutputAliasProto {
                entries: aliases.collect(),
            }),
            frontend_attributes: attributes,
            ..Module::default()
        }
    }

    /// Lowers the nodes of `region` that have no value yet, in order.
    fn region(
        &mut self,
        region: RegionId,
        computation: &mut Emitter,
        values: &mut Values,
    ) -> Result<(), LowerError> {
        let graph = self.graph;
        let (mut scope, mut operands) = (None, Vec::new());
        for (at, node) in graph.region(region).nodes.iter().enumerate() {
            if values[at].is_some() {
                continue;
            }
            if scope != Some(node.scope) {
                computation.set_scope(graph.scopes.path(node.scope));
                scope = Some(node.scope);
            }
            operands.clear();
            for id in &node.operands {
                operands.push(self.value_of(region, values, *id)?);
            }
            let value = match &node.op {
                Op::Loop(spec) => {
                    scope = None;
                    self.while_loop(spec, node, &operands, computation)?
                }
                _ => {
                    let value = self.node(region, node, &operands, computation);
                    value.map_err(|error| error.at(|| self.describe(node)))?
                }
            };
            values[at] = Some(value);
        }
        Ok(())
    }

    /// The sharding of a tensor of this kind. One device shards nothing, whatever the axes are called.
    fn place(&self, kind: Kind, shape: &Shape, name: &str) -> Result<Sharding, LowerError> {
        if !self.partitioned {
            return Ok(Sharding::replicated(shape.rank()));
        }
        let (rules, mesh) = (self.layout.rules, self.layout.mesh);
        Ok(resolve(rules, mesh, kind, shape, name)?)
    }

    /// The computation that combines two scalars with `opcode`.
    fn reducer(&mut self, opcode: &'static str, dtype: DType) -> Result<i64, LowerError> {
        if let Some(known) = self.reducers.get(&(opcode, dtype)) {
            return Ok(*known);
        }
        let mut computation = Emitter::new(format!("{opcode}.{dtype}"), &mut self.pool);
        let shape = &Shape::scalar(dtype);
        let left = computation.parameter(&mut self.pool, 0, shape);
        let right = computation.parameter(&mut self.pool, 1, shape);
        let root = computation.add(&mut self.pool, opcode, shape, &[left, right], []);
        let id = computation.id();
        self.computations.push(computation.finish(root)?);
        self.reducers.insert((opcode, dtype), id);
        Ok(id)
    }

    /// The instruction of a node's value; nodes only read earlier ones.
    fn value_of(&self, region: RegionId, values: &Values, id: NodeId) -> Result<i64, LowerError> {
        values.get(id.index()).copied().flatten().ok_or_else(|| {
            let nodes = &self.graph.region(region).nodes;
            let place = match nodes.get(id.index()) {
                Some(node) => self.describe(node),
                None => "a node that does not exist".to_string(),
            };
            LowerError::internal(place, "its value is read before it is made")
        })
    }

    /// A node for an error message: its scope path and operation.
    fn describe(&self, node: &Node) -> String {
        format!("{}/{}", self.graph.scopes.path(node.scope), node.op.name())
    }
}

/// `Kind` of HloInputOutputAliasProto: the runtime may refuse the donation.
const MAY_ALIAS: i32 = 1;

/// An HLO name for the model's own: `encoder/layer/q` becomes `encoder.layer.q.7`.
fn instruction_name(path: &str, id: i64) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '.'
        }
    };
    format!("{}.{id}", path.chars().map(clean).collect::<String>())
}
