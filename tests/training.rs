//! Training as a whole: the loss falls on real proteins, and one step is the same step however it is cut over devices,
//! partitioned, rematerialised or unrolled.

mod common;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use common::run::{Tensors, assert_same, preset, proteins, training};
use ribosome::data::PROT_T5;
use ribosome::graph::{DType, Remat, Shape};
use ribosome::runtime::{CompileConfig, HostArray, Session};
use ribosome::sharding::{Mesh, Partitioner};
use ribosome::train::optimizer::{Momentum, Optimizer};
use ribosome::train::run::{Event, Flow, RunOptions, run};
use ribosome::train::schedule::Schedule;
use ribosome::train::step::{self, StepConfig, names};
use ribosome::train::trainer::Trainer;

/// Small, and with dropout, whose masks must not depend on the mesh.
const SMALL: [(&str, &str); 3] = [("batch", "8"), ("length", "32"), ("dropout", "true")];

/// The step that is compared: momentum, whose velocity after the first step is the gradient.
fn step_config(settings: &[(&str, &str)]) -> StepConfig {
    let recipe = preset("prot-t5-tiny", &[&SMALL, settings].concat());
    StepConfig {
        optimizer: Optimizer::Momentum(Momentum::default()),
        schedule: Schedule::Constant { rate: 0.1 },
        ..recipe.step().unwrap()
    }
}

/// The first weights, made once on one device.
fn first_weights() -> &'static Tensors {
    static WEIGHTS: OnceLock<Tensors> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let step = step_config(&[]).build().unwrap();
        let program = common::lowered(step::initial(&step).unwrap().into_graph(), "data=1,model=1");
        let session = Session::new(
            &common::cpu(1),
            &program,
            &CompileConfig::for_virtual_devices(1),
        )
        .unwrap();
        let seed = HostArray::scalar(5u32);
        session
            .evaluate(&Tensors::from([(names::SEED.into(), seed)]))
            .unwrap()
    })
}

/// What the first step gives on `mesh`: loss, norm, gradients (the velocities) and the weights after it.
fn first_step(config: &StepConfig, mesh: &str, partitioner: Partitioner) -> Tensors {
    let program = common::lowered(config.build().unwrap().graph.into_graph(), mesh);
    let devices = Mesh::parse(mesh).unwrap().devices();
    let compile = match devices {
        // What the others are compared with compiles as `ribosome` does.
        1 => CompileConfig::for_virtual_devices(1),
        _ => common::config(devices),
    };
    let compile = compile.with_partitioner(partitioner);
    let session = Session::new(&common::cpu(devices), &program, &compile).unwrap();
    let batch = proteins(&PROT_T5)
        .batch(5, 0, config.batch, config.length)
        .unwrap();
    let axes = [("batch", config.batch), ("length", config.length)];
    let tokens: Vec<i32> = batch.tokens.into_iter().collect();
    let tokens = HostArray::from_values(Shape::new(DType::S32, axes), &tokens).unwrap();
    let mut inputs = first_weights().clone();
    inputs.insert(names::STEP.into(), HostArray::scalar(0i32));
    inputs.insert(names::SEED.into(), HostArray::scalar(5u32));
    inputs.insert(names::TOKENS.into(), tokens);
    session.evaluate(&inputs).unwrap()
}

/// The step with dropout on one device, which the others are compared with.
fn reference() -> &'static Tensors {
    static REFERENCE: OnceLock<Tensors> = OnceLock::new();
    REFERENCE.get_or_init(|| first_step(&step_config(&[]), "data=1,model=1", Partitioner::Shardy))
}

fn assert_sharded_is_whole(mesh: &str) {
    for partitioner in Partitioner::ALL {
        let found = first_step(&step_config(&[]), mesh, partitioner);
        assert_same(&format!("{mesh} by {partitioner}"), &found, reference());
    }
}

#[test]
fn a_step_over_data_is_that_of_one_device() {
    assert_sharded_is_whole("data=8,model=1");
}

#[test]
fn a_step_over_data_and_model_is_that_of_one_device() {
    assert_sharded_is_whole("data=4,model=2");
}

#[test]
fn a_step_over_model_and_data_is_that_of_one_device() {
    assert_sharded_is_whole("data=2,model=4");
}

#[test]
fn a_step_over_model_is_that_of_one_device() {
    assert_sharded_is_whole("data=1,model=8");
}

#[test]
fn what_loops_save_changes_no_update() {
    let program = |config: &StepConfig| {
        let graph = config.build().unwrap().graph.into_graph();
        common::lowered(graph, "data=1,model=1").fingerprint()
    };
    let mut programs = BTreeSet::from([program(&step_config(&[]))]);
    for (name, remat) in [
        ("dots", Remat::Dots),
        ("names", Remat::Names),
        ("none", Remat::None),
    ] {
        let config = StepConfig {
            remat,
            ..step_config(&[])
        };
        assert!(
            programs.insert(program(&config)),
            "{name} lowers to a program of its own"
        );
        let found = first_step(&config, "data=1,model=1", Partitioner::Shardy);
        assert_same(name, &found, reference());
    }
}

#[test]
fn unrolled_loops_give_the_same_update() {
    let config = StepConfig {
        unroll: true,
        ..step_config(&[])
    };
    assert_same(
        "unrolled",
        &first_step(&config, "data=1,model=1", Partitioner::Shardy),
        reference(),
    );
}

#[test]
fn microbatches_give_the_update_of_the_whole_batch() {
    // Noise and dropout have other keys in each microbatch, so both are off.
    let quiet = [("dropout", "false"), ("objective.noise_density", "0.0")];
    let step = |parts| {
        let config = StepConfig {
            microbatches: parts,
            ..step_config(&quiet)
        };
        first_step(&config, "data=2,model=1", Partitioner::Shardy)
    };
    assert_same("2 microbatches", &step(2), &step(1));
}

#[test]
fn the_loss_falls_on_real_proteins() {
    let recipe = preset("prot-t5-tiny", &[("steps", "45")]);
    let data = proteins(&PROT_T5);
    let ready = training(&recipe, "data=4,model=2", Partitioner::Shardy).unwrap();
    let mut trainer = Trainer::start(ready.setup(&data)).unwrap();
    let plan = RunOptions {
        steps: recipe.steps,
        ..RunOptions::default()
    };
    let mut losses = Vec::new();
    let summary = run(&mut trainer, &plan, |event| {
        if let Event::Step(report) = event {
            assert_eq!(report.step, losses.len() as u64 + 1);
            assert!(report.tokens_per_second > 0.0 && report.grad_norm > 0.0);
            losses.push(report.loss);
        }
        Flow::Continue
    });
    let summary = summary.unwrap();
    println!("{losses:?}\n{summary:?}");
    assert_eq!((summary.steps, losses.len()), (45, 45));
    assert!(summary.last_loss < summary.first_loss - 0.5, "{losses:?}");
    // Lower than any guess can be that does not look at the input.
    assert!(
        summary.last_loss < summary.constant_guess - 0.05,
        "{summary:?}"
    );
}
