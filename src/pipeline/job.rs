//! What to compile, the machine to compile it for, and the steps from there to a lowered program.

use super::error::Error;
use super::stages::Stages;
use crate::graph::{Checked, Cost, Graph, Role, cost};
use crate::hlo::{Layout, LowerError, Port, Program, Signature, lower};
use crate::sharding::{Choice, Mesh, Partitioner, ShardingError, Target, check_mesh, choose_mesh};
use crate::train::recipe::Recipe;
use crate::train::step::Step;

/// A recipe and the machine to compile it for.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to compile.
    pub recipe: Recipe,
    /// The target to compile for.
    pub target: Target,
    /// The mesh; chosen if `None`.
    pub mesh: Option<Mesh>,
    /// The partitioner that splits the program.
    pub partitioner: Partitioner,
}

/// A lowered program and what is known of it before compilation.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Its name in reports and files: the recipe's, or the module's.
    pub name: String,
    /// Number of weights.
    pub parameters: u64,
    /// The mesh.
    pub mesh: Mesh,
    /// Why this mesh was chosen; `None` if it was given.
    pub mesh_reason: Option<String>,
    /// What is lost on this mesh, and the large weights, state and results that every device holds whole.
    pub warnings: Vec<String>,
    /// The program as a graph; `None` for a saved program.
    pub graph: Option<Checked>,
    /// The program as HLO with its signature.
    pub program: Program,
}

/// The mesh of a job.
#[derive(Clone, Debug)]
pub struct Arranged {
    /// The mesh.
    pub mesh: Mesh,
    /// Why this mesh was chosen; `None` if it was given.
    pub reason: Option<String>,
    /// What is lost on it, one line each.
    pub lost: Vec<String>,
}

impl Lowered {
    /// What a program alone reveals; its weights are the ports with that role.
    pub fn of(program: Program) -> Self {
        let Signature { mesh, inputs, .. } = &program.signature;
        let weights = inputs.iter().filter(|it| it.role == Role::Weight);
        Lowered {
            name: module_name(&program.module().name),
            parameters: weights.map(|port| port.shape.elements() as u64).sum(),
            mesh: mesh.clone(),
            mesh_reason: None,
            warnings: whole(&program.signature),
            graph: None,
            program,
        }
    }

    /// The arithmetic of one run; `None` if the graph is not known.
    pub fn cost(&self) -> Option<Cost> {
        self.graph.as_ref().map(cost)
    }

    /// What `program` and its graph reveal, and what is lost on the mesh.
    pub(super) fn with_graph(graph: Checked, program: Program, lost: Vec<String>) -> Self {
        let lowered = Lowered::of(program);
        Lowered {
            warnings: lost.into_iter().chain(lowered.warnings).collect(),
            graph: Some(graph),
            ..lowered
        }
    }
}

impl Job {
    /// The mesh of `devices` devices for the step `graph`: the given one, or else the one that moves the fewest bytes.
    ///
    /// # Errors
    /// The given mesh does not multiply to the devices, has an axis over which nothing is split, or cannot place a tensor; or
    /// no mesh divides the model and the batch.
    pub fn place(&self, devices: usize, graph: &Graph) -> Result<Arranged, ShardingError> {
        self.recipe.rules.check(graph)?;
        let rules = self.recipe.rules.rules();
        let (mesh, reason) = match &self.mesh {
            Some(mesh) => {
                mesh.check_devices(devices)?;
                (mesh.clone(), None)
            }
            None => {
                let Choice { mesh, reason } =
                    choose_mesh(graph, &rules, devices, self.target.slices())?;
                (mesh, Some(reason))
            }
        };
        let lost = check_mesh(graph, &rules, &mesh)?;
        Ok(Arranged { mesh, reason, lost })
    }

    /// Builds, checks, places and lowers the recipe's step for `devices` devices.
    ///
    /// # Errors
    /// The batch is not divisible, the mesh does not multiply to the devices, or the mesh does not divide a tensor. Each
    /// message has the arithmetic.
    pub fn lower(&self, devices: usize, stages: &mut Stages) -> Result<Lowered, Error> {
        let step = self.build(stages)?;
        self.lower_step(step, devices, stages)
    }

    /// The recipe's step as a graph.
    pub(super) fn build(&self, stages: &mut Stages) -> Result<Step, Error> {
        stages.time("build", || Ok(self.recipe.step()?.build()?))
    }

    /// Places and lowers `step`, the recipe's graph.
    pub(super) fn lower_step(
        &self,
        step: Step,
        devices: usize,
        stages: &mut Stages,
    ) -> Result<Lowered, Error> {
        let weights = step.weights.iter();
        let parameters = weights.map(|weight| weight.shape.elements() as u64).sum();
        let graph = step.graph;
        let placed = stages.time("place", || self.place(devices, &graph))?;
        let layout = Layout {
            mesh: &placed.mesh,
            rules: &self.recipe.rules.rules(),
        };
        let program = lower_for(&graph, &module_name(&self.recipe.name), layout, stages)?;
        Ok(Lowered {
            name: self.recipe.name.clone(),
            parameters,
            mesh_reason: placed.reason,
            ..Lowered::with_graph(graph, program, placed.lost)
        })
    }
}

/// Checks that the graph is well formed.
pub(super) fn checked(graph: Graph, stages: &mut Stages) -> Result<Checked, Error> {
    (stages.time("check", || graph.check())).map_err(Error::graph)
}

/// Lowers `graph` for the mesh of `layout`; the module is called `name`.
pub(super) fn lower_for(
    graph: &Checked,
    name: &str,
    layout: Layout,
    stages: &mut Stages,
) -> Result<Program, LowerError> {
    stages.time("lower", || lower(graph, name, layout))
}

/// The size from which a weight is worth splitting: 64 MiB. Gathering a smaller one would cost more than holding it.
const LARGE: usize = 64 << 20;

/// Returns a warning for each large weight, state and result that is whole on every device. A result is whole unless it is
/// pinned or replaces an input.
fn whole(signature: &Signature) -> Vec<String> {
    let held = |port: &Port| {
        [Role::Weight, Role::State]
            .iter()
            .any(|role| port.role == *role)
    };
    let inputs = (signature.inputs.iter()).filter(|port| held(port));
    let results = (signature.outputs.iter()).filter(|port| port.aliases.is_none());
    let warn = |port: &Port| {
        let (sharding, shape) = (&port.sharding, &port.shape);
        sharding.warn_if_whole(&signature.mesh, shape, &port.name, LARGE)
    };
    inputs.chain(results).filter_map(warn).collect()
}

/// `name` in the characters that HLO allows.
pub(super) fn module_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(allowed).collect()
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
