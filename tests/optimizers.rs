//! Optimizers see layers apart, leave norms and biases alone where they should, and keep moments as they are told.

mod common;

use std::collections::BTreeMap;

use ribosome::graph::{Axis, Builder, DType, Graph, Init, LoopOptions, Role, Shape, Tensor};
use ribosome::train::optimizer::{AdamW, Debias, Lamb, MomentType, Optimizer, Update};
use ribosome::train::schedule::{DecayFrom, Schedule};

const AXES: [(&str, usize); 3] = [("embed", 4), ("heads", 2), ("kv", 3)];
const LAYERS: usize = 3;

/// The step of `optimizer` for all weights that `declare` declares; gradients are inputs.
fn step_of(optimizer: &Optimizer, declare: impl FnOnce(&Builder)) -> Graph {
    let builder = Builder::new();
    let step = builder.input("step", Role::Step, Shape::scalar(DType::F32));
    let rate = builder.input("rate", Role::Batch, Shape::scalar(DType::F32));
    declare(&builder);
    for weight in builder.weights() {
        let name = format!("gradient/{}", weight.name);
        let update = Update {
            builder: &builder,
            weight: &weight,
            value: builder.whole(&weight),
            gradient: builder.input(&name, Role::Batch, weight.shape.clone()),
            rate,
            step,
        };
        builder.update(&weight.name, optimizer.apply(update));
    }
    builder.finish().unwrap()
}

/// One weight `kernel` of `LAYERS` layers.
fn stacked(builder: &Builder) {
    let options = LoopOptions {
        stack_weights: true,
        ..LoopOptions::default()
    };
    let body = builder.open_loop(Axis::new("layers", LAYERS), options);
    builder.weight("kernel", AXES, Init::Zeros);
    body.close();
}

type Values = BTreeMap<String, Vec<f64>>;

/// Two steps from `given`, states from zero.
fn two_steps(graph: &Graph, given: &Values) -> Values {
    let mut values = given.clone();
    for (node, name, role) in graph.parameters() {
        if role == Role::State {
            let zeros = vec![0.0; graph.root().shape(node).elements()];
            values.insert(name.to_string(), zeros);
        }
    }
    for step in [1.0, 2.0] {
        values.insert("step".into(), vec![step]);
        let inputs: Vec<_> = values.clone().into_iter().collect();
        values.extend(common::evaluate(graph.clone(), &inputs));
    }
    values
}

fn numbers(count: usize, scale: f64, seed: u64) -> Vec<f64> {
    let mut state = seed;
    (0..count)
        .map(|_| (common::next(&mut state) - 0.5) * scale)
        .collect()
}

#[test]
fn a_stacked_weight_is_updated_layer_by_layer() {
    let size: usize = AXES.iter().map(|(_, size)| size).product();
    // Layers of very different norms: one ratio for all would show.
    let start: Vec<f64> = [0.1, 3.0, 40.0]
        .into_iter()
        .zip(1..)
        .flat_map(|(scale, seed)| numbers(size, scale, seed))
        .collect();
    let gradient = numbers(LAYERS * size, 1.0, 9);
    let debias = [Debias::None, Debias::Moments, Debias::Rate];
    for (debias, clamp) in debias.into_iter().zip([None, Some(10.0), Some(2.0)]) {
        let optimizer = Optimizer::Lamb(Lamb {
            debias,
            clamp,
            ..Lamb::default()
        });
        let graph = step_of(&optimizer, stacked);
        let given = Values::from([
            ("rate".into(), vec![0.1]),
            ("kernel".into(), start.clone()),
            ("gradient/kernel".into(), gradient.clone()),
        ]);
        let together = two_steps(&graph, &given);
        let graph = step_of(&optimizer, |builder| {
            for layer in 0..LAYERS {
                builder.weight(&format!("kernel{layer}"), AXES, Init::Zeros);
            }
        });
        let mut given = Values::from([("rate".into(), vec![0.1])]);
        for layer in 0..LAYERS {
            let part = layer * size..(layer + 1) * size;
            given.insert(format!("kernel{layer}"), start[part.clone()].to_vec());
            let name = format!("gradient/kernel{layer}");
            given.insert(name, gradient[part].to_vec());
        }
        let apart = two_steps(&graph, &given);
        for layer in 0..LAYERS {
            let part = &together["kernel"][layer * size..(layer + 1) * size];
            let name = format!("kernel{layer}");
            assert_ne!(part, &start[layer * size..(layer + 1) * size]);
            common::assert_close(&name, part, &apart[&name], 1e-6);
        }
    }
}

#[test]
fn norms_and_biases_neither_decay_nor_scale() {
    // Without a gradient, decay is all that moves a weight.
    let names = ["norm/scale", "q/bias", "r_w_bias", "q/kernel"];
    let after = |optimizer: &Optimizer, gradient: f64| {
        let graph = step_of(optimizer, |builder| {
            for name in names {
                builder.weight(name, [("embed", 2)], Init::Ones);
            }
        });
        let mut given = Values::from([("rate".into(), vec![0.5])]);
        for name in names {
            given.insert(name.into(), vec![3.0, 4.0]);
            given.insert(format!("gradient/{name}"), vec![gradient; 2]);
        }
        let values = two_steps(&graph, &given);
        names.map(|name| values[name][0])
    };
    for exclude in [true, false] {
        let lamb = Lamb {
            exclude_norm_and_bias: exclude,
            ..Lamb::default()
        };
        let adamw = AdamW {
            exclude_norm_and_bias: exclude,
            ..AdamW::default()
        };
        for optimizer in [Optimizer::Lamb(lamb.clone()), Optimizer::AdamW(adamw)] {
            let [scale, bias, other_bias, kernel] = after(&optimizer, 0.0);
            assert_eq!([scale, bias, other_bias] == [3.0; 3], exclude);
            assert!(kernel < 3.0, "{kernel}");
        }
        // With one, an unscaled first step is (1 - beta1) / sqrt(1 - beta2) = 3.16 times the rate.
        let [scale, .., kernel] = after(&Optimizer::Lamb(lamb), 1.0);
        assert_eq!((scale - kernel).abs() > 0.1, exclude, "{scale} {kernel}");
    }
}

#[test]
fn a_first_moment_in_bf16_is_state_in_bf16() {
    let size = LAYERS * AXES.iter().map(|(_, size)| size).product::<usize>();
    let given = Values::from([
        ("rate".into(), vec![0.1]),
        ("kernel".into(), numbers(size, 1.0, 1)),
        ("gradient/kernel".into(), numbers(size, 1.0, 2)),
    ]);
    let run = |first_moment| {
        let optimizer = Optimizer::Lamb(Lamb {
            first_moment,
            ..Lamb::default()
        });
        let graph = step_of(&optimizer, stacked);
        let states: Vec<_> = (graph.parameters())
            .filter(|(.., role)| *role == Role::State)
            .map(|(node, name, _)| (name.to_string(), graph.root().shape(node).dtype))
            .collect();
        (states, two_steps(&graph, &given))
    };
    let (states, halved) = run(MomentType::Bf16);
    let expected = [
        ("lamb.first/kernel".to_string(), DType::BF16),
        ("lamb.second/kernel".to_string(), DType::F32),
    ];
    assert_eq!(states, expected);
    let (_, whole) = run(MomentType::F32);
    assert_ne!(halved["kernel"], whole["kernel"]);
    // bf16 keeps 8 bits; a step moves a weight by about the rate.
    common::assert_close("kernel", &halved["kernel"], &whole["kernel"], 1e-3);
}

#[test]
fn rates_rise_and_fall() {
    let rates = |schedule: Schedule, steps: &[f64]| -> Vec<f64> {
        let builder = Builder::new();
        let step = builder.input(
            "step",
            Role::Batch,
            Shape::new(DType::F32, [("batch", steps.len())]),
        );
        let rate: Tensor = schedule.rate(step, 12);
        builder.output("rate", rate);
        let given = [("step".to_string(), steps.to_vec())];
        common::evaluate(builder.finish().unwrap(), &given)["rate"].clone()
    };
    let schedule = |decay_from, end, power| Schedule::Polynomial {
        rate: 1.0,
        warmup: 4.0,
        total: None,
        end,
        power,
        decay_from,
    };
    let steps = [1.0, 3.0, 5.0, 9.0, 13.0, 20.0];
    let found = rates(schedule(DecayFrom::Warmup, 0.0, 1.0), &steps);
    common::assert_close("warmup", &found, &[0.0, 0.5, 1.0, 0.5, 0.0, 0.0], 1e-6);
    let found = rates(schedule(DecayFrom::Start, 0.0, 1.0), &steps);
    let third = 1.0 / 3.0;
    common::assert_close(
        "start",
        &found,
        &[0.0, 0.5, 2.0 * third, third, 0.0, 0.0],
        1e-6,
    );
    let found = rates(schedule(DecayFrom::Warmup, 0.2, 2.0), &steps);
    common::assert_close("square", &found, &[0.0, 0.5, 1.0, 0.4, 0.2, 0.2], 1e-6);
    // A total of its own does not follow the run's 12 steps.
    let own = Schedule::Cosine {
        rate: 1.0,
        warmup: 0.0,
        total: Some(8.0),
    };
    let found = rates(own, &[1.0, 5.0, 9.0, 12.0]);
    common::assert_close("cosine", &found, &[1.0, 0.5, 0.0, 0.0], 1e-6);
    // ProtT5-XL-UniRef50's, which goes on with the counter of the run before; and one that starts.
    let inverse = |first_step| Schedule::InverseSqrt {
        rate: 1.0,
        warmup: 10_000.0,
        ramp: None,
        first_step,
    };
    let found = rates(inverse(1_200_000), &[1.0, 240_000.0]);
    common::assert_close("going on", &found, &[9.12871e-4, 8.33333e-4], 1e-8);
    common::assert_close("starting", &rates(inverse(0), &[1.0]), &[0.01], 1e-8);
}
