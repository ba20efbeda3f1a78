//! Rules of a recipe: every named set, and rules of one's own over other mesh axes, compute on eight or sixteen devices what one
//! device computes. And what is said of meshes and rules that do not go together.

mod common;

use common::run::{Tensors, assert_same, on, preset, proteins, state};
use ribosome::graph::{Axis, Builder, DType, Graph, LoopOptions, Role, Shape};
use ribosome::hlo::{Layout, lower};
use ribosome::pipeline::{Job, Stages};
use ribosome::sharding::{Mesh, Partitioner, Rule, Rules, check_mesh, choose_mesh};
use ribosome::train::recipe::Recipe;
use ribosome::train::trainer::Trainer;

const SMALL: &[(&str, &str)] = &[
    ("batch", "16"),
    ("length", "32"),
    ("seed", "5"),
    ("model.hidden_dropout_prob", "0.1"),
    // The velocity after the first step is the gradient.
    ("optimizer.name", "momentum"),
    ("schedule", "{ name = \"constant\", rate = 0.1 }"),
];

/// Weights whose gradient is rounding alone: softmax takes away what moves all scores of a query alike, and the heads for
/// sentences learn nothing here.
const STILL: [&str; 3] = ["/k/bias", "pooler/", "sentence/"];

/// Weights and state after two steps on `mesh`.
fn after_two_steps(recipe: &Recipe, mesh: &str, partitioner: Partitioner) -> Tensors {
    let data = proteins(&recipe.tokens().unwrap());
    on(recipe, mesh, partitioner, &data, |setup| {
        let mut trainer = Trainer::start(setup).unwrap();
        for _ in 0..2 {
            trainer.step().unwrap();
        }
        let mut state = state(&trainer);
        state.retain(|name, _| !STILL.iter().any(|still| name.contains(still)));
        state
    })
}

#[test]
fn every_set_computes_what_one_device_does() {
    let recipe = preset("prot-bert-tiny", SMALL);
    let whole = after_two_steps(&recipe, "data=1", Partitioner::Shardy);
    for (rules, mesh) in [
        ("standard", "replica=2,data=2,model=2"),
        ("data", "data=8"),
        ("zero1", "data=8"),
        ("fsdp", "data=8"),
        ("fsdp", "replica=2,data=4"),
        ("tensor", "data=2,model=4"),
        ("megatron", "data=2,model=4"),
    ] {
        let recipe = recipe.set("rules", rules).unwrap();
        let found = after_two_steps(&recipe, mesh, Partitioner::Shardy);
        assert_same(&format!("{rules} on {mesh}"), &found, &whole);
    }
    let recipe = recipe.set("rules", "zero1").unwrap();
    let found = after_two_steps(&recipe, "data=8", Partitioner::Gspmd);
    assert_same("zero1 by GSPMD", &found, &whole);
}

#[test]
fn state_is_split_apart_from_its_weight_in_microbatches_too() {
    let recipe = preset(
        "prot-bert-tiny",
        &[SMALL, &[("microbatches", "2"), ("rules", "zero1")]].concat(),
    );
    let whole = after_two_steps(&recipe, "data=1", Partitioner::Shardy);
    let found = after_two_steps(&recipe, "data=8", Partitioner::Shardy);
    assert_same("zero1 in microbatches", &found, &whole);
    let job = Job {
        recipe,
        target: "cpu:8".parse().unwrap(),
        mesh: Some(Mesh::parse("data=8").unwrap()),
        partitioner: Partitioner::Shardy,
    };
    let program = job.lower(8, &mut Stages::default()).unwrap().program;
    let signature = &program.signature;
    for port in &signature.inputs {
        let split = port.sharding.copies(&signature.mesh) == 1;
        let expected = match port.role.name() {
            "state" => port.shape.has("embed"),
            "weight" => false,
            _ => continue,
        };
        assert_eq!(split, expected, "{}", port.name);
    }
}

/// What of the mesh has a name is up to the rules.
#[test]
fn rules_name_mesh_axes_of_their_own() {
    let rules = "{ weights = [\"embed->fsdp\", \"mlp->tensor\", \"heads->tensor\"], \
                   state = [\"embed->fsdp+data\"], \
                   activations = [\"batch->data+fsdp\", \"length->context\", \"mlp->tensor\", \"heads->tensor\"], \
                   residual = [\"batch->data+fsdp\", \"length->context+tensor\"] }";
    let recipe = preset("prot-bert-tiny", SMALL);
    let whole = after_two_steps(&recipe, "data=1", Partitioner::Shardy);
    let recipe = recipe.set("rules", rules).unwrap();
    let mesh = "data=2,fsdp=2,context=2,tensor=2";
    let found = after_two_steps(&recipe, mesh, Partitioner::Shardy);
    assert_same(mesh, &found, &whole);
}

/// The step of a small preset, with rules.
fn step(settings: &[(&str, &str)]) -> (Graph, Rules) {
    let recipe = preset("prot-t5-tiny", settings);
    let graph = recipe.step().unwrap().build().unwrap().graph.into_graph();
    (graph, recipe.rules.rules())
}

fn refused(settings: &[(&str, &str)], mesh: &str) -> String {
    let (graph, rules) = step(settings);
    let mesh = Mesh::parse(mesh).unwrap();
    check_mesh(&graph, &rules, &mesh).unwrap_err().to_string()
}

#[test]
fn devices_that_would_repeat_work_are_refused() {
    insta::assert_snapshot!(refused(&[], "expert=3,data=8"));
    insta::assert_snapshot!(refused(&[], "data=4,modle=2"));
    insta::assert_snapshot!(refused(&[("rules", "data")], "data=4,model=2"));
    let experts = "{ activations = [\"experts->expert\"] }";
    insta::assert_snapshot!(refused(&[("rules", experts)], "data=4,expert=2"));
}

#[test]
fn what_is_lost_is_said() {
    let lost = |settings: &[(&str, &str)], mesh: &str| {
        let (graph, rules) = step(settings);
        let lost = check_mesh(&graph, &rules, &Mesh::parse(mesh).unwrap()).unwrap();
        lost.join("\n")
    };
    assert_eq!(lost(&[], "data=8"), "");
    insta::assert_snapshot!(lost(&[], "replica=2,data=4"));
    insta::assert_snapshot!(lost(&[], "unused=3,data=4"));
    let weights = "{ weights = [\"embed->fsdp\"] }";
    insta::assert_snapshot!(lost(&[("rules", weights)], "data=4,fsdp=2"));
}

#[test]
fn a_mesh_is_chosen_of_the_axes_that_the_rules_name() {
    let chosen = |settings: &[(&str, &str)], devices: usize| {
        let (graph, rules) = step(settings);
        choose_mesh(&graph, &rules, devices, 1).map(|choice| choice.mesh.to_string())
    };
    assert_eq!(chosen(&[("rules", "zero1")], 8), Ok("data=8".into()));
    assert_eq!(
        chosen(&[("rules", "tensor")], 1),
        Ok("data=1,model=1".into())
    );
    let tensor = chosen(&[("rules", "tensor"), ("batch", "2")], 8);
    assert_eq!(tensor, Ok("data=2,model=4".into()));
    let own = "{ weights = [\"embed->fsdp\"], activations = [\"batch->fsdp\"], residual = [\"batch->fsdp\"] }";
    let mesh = chosen(&[("rules", own)], 8).unwrap();
    assert!(mesh.starts_with("fsdp="), "{mesh}");
    let message = chosen(&[("rules", "none")], 8).unwrap_err().to_string();
    assert!(message.contains("no rule for axis"), "{message}");
    let message = chosen(&[("batch", "5"), ("rules", "fsdp")], 8)
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(message);
}

/// A loop over an axis that no list of rules has, whose rows are pinned.
fn loop_of_pins() -> Graph {
    let builder = Builder::new();
    let shape = Shape::new(DType::F32, [("batch", 4), ("embed", 8)]);
    let x = builder.input("x", Role::Batch, shape);
    let body = builder.open_loop(Axis::new("turns", 3), LoopOptions::default());
    let carry = body.carry(x);
    let next = (carry * 2.0).pin_residual();
    body.set_next(0, next);
    body.emit(next);
    let results = body.close();
    builder.output("last", results[0]);
    builder.output("all", results[1]);
    builder.finish().unwrap()
}

#[test]
fn the_axis_of_a_loop_needs_no_rule() {
    let checked = loop_of_pins().check().unwrap();
    let mesh = Mesh::parse("data=4").unwrap();
    let rules = Rules::standard();
    let layout = Layout {
        mesh: &mesh,
        rules: &rules,
    };
    lower(&checked, "turns", layout).unwrap();
    assert_eq!(check_mesh(&checked, &rules, &mesh), Ok(Vec::new()));
    // Any other axis does.
    let unknown = Rules {
        residual: vec![Rule::split("batch", "data")],
        ..rules
    };
    let message = check_mesh(&checked, &unknown, &mesh)
        .unwrap_err()
        .to_string();
    assert!(message.contains("no rule for axis `embed`"), "{message}");
    assert!(message.ends_with("to rules.residual"), "{message}");
}
