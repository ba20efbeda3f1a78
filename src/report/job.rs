//! What to compile and for what, and the way from there to a lowered program.

use super::error::Error;
use super::stages::Stages;
use crate::graph::{Checked, Cost, Role, cost};
use crate::hlo::{Layout, Port, Program, Signature, lower};
use crate::models::Outline;
use crate::sharding::{Mesh, Partitioner, Rules, ShardingError, Target, Workload, choose_mesh};
use crate::train::recipe::Recipe;

/// A recipe and the machine to compile it for.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to compile.
    pub recipe: Recipe,
    /// For what.
    pub target: Target,
    /// Over which mesh; chosen if none is given.
    pub mesh: Option<Mesh>,
    /// Which partitioner splits the program.
    pub partitioner: Partitioner,
}

/// A lowered step and what is known of it before it is compiled.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Number of weights.
    pub parameters: u64,
    /// The arithmetic of one step.
    pub cost: Cost,
    /// The mesh.
    pub mesh: Mesh,
    /// Why it is this mesh; none where it was given.
    pub mesh_reason: Option<String>,
    /// Large weights and state that every device holds whole.
    pub warnings: Vec<String>,
    /// The step as a graph.
    pub graph: Checked,
    /// The step as HLO with its signature.
    pub program: Program,
}

impl Job {
    /// The mesh of `devices` devices for a model of `parameters` weights, and why it is this one (`None` if it was given).
    ///
    /// # Errors
    /// A mesh that does not multiply to the devices or lacks an axis that the rules name; or none that divides the model
    /// and the batch.
    pub fn place(
        &self,
        devices: usize,
        parameters: u64,
    ) -> Result<(Mesh, Option<String>), ShardingError> {
        match &self.mesh {
            Some(mesh) => {
                mesh.check_devices(devices)?;
                Rules::standard().check(mesh)?;
                Ok((mesh.clone(), None))
            }
            None => {
                let workload = workload(&self.recipe, parameters);
                let (mesh, reason) = choose_mesh(devices, self.target.slices(), &workload)?;
                Ok((mesh, Some(reason)))
            }
        }
    }

    /// Builds, checks, places and lowers the recipe's step for `devices` devices.
    ///
    /// # Errors
    /// A batch that does not come apart, a mesh that does not multiply to the devices, a tensor that the mesh does not
    /// divide: each with the arithmetic.
    pub fn lower(&self, devices: usize, stages: &mut Stages) -> Result<Lowered, Error> {
        let recipe = &self.recipe;
        let rules = Rules::standard();
        let step = stages.time("build", || -> Result<_, Error> {
            Ok(recipe.step()?.build()?)
        })?;
        let weights = step.weights.iter();
        let parameters = weights.map(|weight| weight.shape.elements() as u64).sum();
        let graph = stages
            .time("check", || step.graph.check())
            .map_err(Error::graph)?;
        let (mesh, mesh_reason) = stages.time("place", || self.place(devices, parameters))?;
        let layout = Layout {
            mesh: &mesh,
            rules: &rules,
        };
        let program = stages.time("lower", || lower(&graph, &module_name(recipe), layout))?;
        Ok(Lowered {
            parameters,
            cost: cost(&graph),
            mesh,
            mesh_reason,
            warnings: whole(&program.signature),
            graph,
            program,
        })
    }
}

/// What the choice of a mesh depends on.
pub fn workload(recipe: &Recipe, parameters: u64) -> Workload {
    let Outline {
        embed,
        heads,
        mlp,
        residual_blocks,
    } = recipe.model.outline();
    Workload {
        parameters,
        global_batch: recipe.batch,
        microbatches: recipe.microbatches,
        length: recipe.length,
        embed,
        heads,
        mlp,
        residual_blocks,
    }
}

/// A weight of this many bytes is worth a rule that splits it: 64 MiB, below which gathering it would cost more than holding it.
const LARGE: usize = 64 << 20;

/// A warning for each large weight and state that is whole on every device.
fn whole(signature: &Signature) -> Vec<String> {
    let held = [Role::Weight, Role::State];
    let ports = signature
        .inputs
        .iter()
        .filter(|port| held.iter().any(|role| port.role == *role));
    let warn = |port: &Port| {
        let (sharding, shape) = (&port.sharding, &port.shape);
        sharding.warn_if_whole(&signature.mesh, shape, &port.name, LARGE)
    };
    ports.filter_map(warn).collect()
}

/// The module's name: the recipe's, in the letters that HLO allows.
fn module_name(recipe: &Recipe) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    recipe.name.chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_weight_on_every_device_is_a_warning() {
        let recipe = Recipe::preset("prot-t5-tiny").unwrap();
        let lowered = |recipe: Recipe| {
            let job = Job {
                recipe,
                target: "cpu:8".parse().unwrap(),
                mesh: Some(Mesh::parse("data=1,model=8").unwrap()),
                partitioner: Partitioner::Shardy,
            };
            job.lower(8, &mut Stages::default()).unwrap()
        };
        let none: [&str; 0] = [];
        assert_eq!(lowered(recipe.clone()).warnings, none);
        // 2^19 rows of 64 numbers are 128 MiB, and with one device on `data` nothing splits them.
        let warnings = lowered(recipe.set("model.vocab_size", "524288").unwrap()).warnings;
        assert!(
            warnings[0].starts_with(
                "`shared/embedding` f32[vocab=524288, embed=64] is whole on each of 8 devices"
            ),
            "{warnings:?}"
        );
    }
}
