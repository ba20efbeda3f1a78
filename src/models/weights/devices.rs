//! Weights onto devices, layer by layer. A stacked weight starts as zeros on the devices, and each layer is copied there and
//! written into its place. The host therefore holds only one layer, whatever the number of devices.

use std::collections::BTreeMap;

use super::{layer_shape, layers};
use crate::graph::{Axis, Builder, DType, Role, Shape, Weight};
use crate::hlo::{Layout, Port, lower};
use crate::runtime::{self, DeviceArray, DeviceArrays, HostArray, Session};
use crate::sharding::Rules;

/// Returns the `weights` as `session` takes them. `read` returns one layer of a weight, or all of it (layer 0) if it stacks
/// none.
///
/// # Errors
/// A weight that the session does not take, and errors of `read` and the plugin.
pub fn load<E: From<runtime::Error>>(
    session: &Session,
    weights: &[Weight],
    mut read: impl FnMut(&Weight, usize) -> Result<HostArray, E>,
) -> Result<DeviceArrays, E> {
    // Weights of one shape share the programs that assemble them.
    let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
    let mut loaded = DeviceArrays::new();
    for weight in weights {
        let array = match weight.stacked {
            0 => session.put(&weight.name, &read(weight, 0)?)?,
            _ => {
                let key = weight.shape.to_string();
                let stack = match stacks.remove(&key) {
                    Some(stack) => stack,
                    None => Stack::new(session, weight)?,
                };
                let array = stack.fill(weight, &mut read)?;
                stacks.insert(key, stack);
                array
            }
        };
        loaded.insert(weight.name.clone(), array);
    }
    Ok(loaded)
}

/// The two programs for weights of one shape: one makes zeros, one writes a layer.
struct Stack {
    zeros: Session,
    write: Session,
}

const STACK: &str = "stack";
const LAYER: &str = "layer";
const INDEX: &str = "index";

impl Stack {
    fn new(session: &Session, weight: &Weight) -> runtime::Result<Self> {
        let shape = &weight.shape;
        let builder = Builder::new();
        builder.output(STACK, builder.full(0.0, shape.clone()).pin_weight());
        let zeros = compiled(session, weight, builder)?;
        let builder = Builder::new();
        let stack = builder.input(STACK, Role::Weight, shape.clone());
        // Not sharded as the weight is, which may be sharded by layers.
        let layer = builder.input(LAYER, Role::Batch, one_layer(weight));
        let index = builder.input(INDEX, Role::Step, Shape::scalar(DType::S32));
        let axis = shape.axes[0].name.as_str();
        builder.update(STACK, stack.dynamic_update(axis, layer, index).pin_weight());
        let write = compiled(session, weight, builder)?;
        Ok(Stack { zeros, write })
    }

    fn fill<E: From<runtime::Error>>(
        &self,
        weight: &Weight,
        read: &mut impl FnMut(&Weight, usize) -> Result<HostArray, E>,
    ) -> Result<DeviceArray, E> {
        let mut arrays = self.zeros.run(&DeviceArrays::new())?;
        for layer in 0..layers(weight) {
            let array = read(weight, layer)?;
            if *array.shape() != layer_shape(weight) {
                let (found, expected) = (array.shape(), layer_shape(weight));
                let message = format!(
                    "a layer of `{}` is {expected}, but {found} was read",
                    weight.name
                );
                return Err(runtime::Error::Invalid(message).into());
            }
            let array = HostArray::from_bytes(one_layer(weight), array.into_bytes())?;
            arrays.insert(LAYER.into(), self.write.put(LAYER, &array)?);
            drop(array);
            let index = HostArray::scalar(layer as i32);
            arrays.insert(INDEX.into(), self.write.put(INDEX, &index)?);
            arrays = self.write.run(&arrays)?;
        }
        let filled = arrays.remove(STACK);
        let none = || {
            runtime::Error::Invalid(format!(
                "the program returned nothing for `{}`",
                weight.name
            ))
        };
        Ok(filled.ok_or_else(none)?)
    }
}

/// A layer of `weight` as a stack of one.
fn one_layer(weight: &Weight) -> Shape {
    let axis = Axis::new(weight.shape.axes[0].name.clone(), 1);
    layer_shape(weight).stacked(axis)
}

/// The graph, compiled for the devices of `session`. Its stack must be sharded as `weight` is there.
fn compiled(session: &Session, weight: &Weight, builder: Builder) -> runtime::Result<Session> {
    let name = weight.name.as_str();
    let invalid = |error: String| runtime::Error::Invalid(format!("`{name}`: {error}"));
    let graph = builder
        .compact()
        .map_err(|error| invalid(error.to_string()))?;
    let signature = session.signature();
    let sharding = |ports: &[Port], name: &str| {
        let port = ports.iter().find(|port| port.name == name);
        port.map(|port| port.sharding.clone())
    };
    let Some(own) = sharding(&signature.inputs, name) else {
        return Err(invalid("the program has no such input".to_string()));
    };
    let weights = own.as_rules(&signature.mesh, &weight.shape);
    let mut activations = weights.clone();
    activations[0].mesh_axes.clear();
    let rules = Rules {
        weights,
        activations,
        ..Rules::default()
    };
    let layout = Layout {
        mesh: &signature.mesh,
        rules: &rules,
    };
    let program = lower(&graph, "stack", layout).map_err(|error| invalid(error.to_string()))?;
    let here = sharding(&program.signature.outputs, STACK);
    if here.as_ref() != Some(&own) {
        return Err(invalid(format!(
            "it is sharded as {own:?}, but made as {here:?}"
        )));
    }
    session.beside(&program)
}
