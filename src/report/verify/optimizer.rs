//! Optimizer cases: parameters, the gradient of every step, and the parameters after every step.

use ndarray::{ArrayD, Axis as Dimension, stack};
use serde_json::Value;

use super::{Case, Tensors, VerifyError, evaluate, session};
use crate::graph::{Builder, DType, Init, Role, Shape};
use crate::runtime::Client;
use crate::train::optimizer::{Adafactor, Optimizer, Update};
use crate::train::schedule::Schedule;

/// Adafactor as Hugging Face's class has it: with `relative_step` the rate is min(1e-2, 1/sqrt(step)), from 1e-6 x step
/// with `warmup_init`.
pub(super) fn adafactor(case: &Case, client: &Client) -> Result<Tensors, VerifyError> {
    let options = case
        .arguments
        .get("options")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let number = |key: &str| options.get(key).and_then(Value::as_f64);
    let switch =
        |key: &str, default: bool| options.get(key).and_then(Value::as_bool).unwrap_or(default);
    let epsilons = options.get("eps").and_then(Value::as_array);
    let epsilon = |at: usize| {
        epsilons
            .and_then(|list| list.get(at))
            .and_then(Value::as_f64)
    };
    let defaults = Adafactor::default();
    let optimizer = Optimizer::Adafactor(Adafactor {
        decay_exponent: number("decay_rate").unwrap_or(defaults.decay_exponent),
        clip_threshold: number("clip_threshold").unwrap_or(defaults.clip_threshold),
        epsilon: epsilon(0).unwrap_or(defaults.epsilon),
        scale_floor: epsilon(1).unwrap_or(defaults.scale_floor),
        scale_by_weight: switch("scale_parameter", true),
        momentum: number("beta1").unwrap_or(0.0),
        weight_decay: number("weight_decay").unwrap_or(0.0),
        least_factored: 0,
    });
    let schedule = match switch("relative_step", true) {
        true => Schedule::InverseSqrt {
            rate: 1.0,
            warmup: if switch("warmup_init", false) {
                1.0
            } else {
                10_000.0
            },
            ramp: switch("warmup_init", false).then_some(1e-6),
        },
        false => Schedule::Constant {
            rate: number("lr").unwrap_or(1e-3),
        },
    };
    let mut computed = steps(case, client, &optimizer, schedule)?;
    // The case lists the rate that was given to the optimizer, which is none where it finds its own.
    if switch("relative_step", true) {
        computed
            .entry("output.lr".into())
            .and_modify(|rates| rates.fill(0.0));
    }
    Ok(computed)
}

/// Runs every step of the case in turn; the state stays from one to the next.
fn steps(
    case: &Case,
    client: &Client,
    optimizer: &Optimizer,
    schedule: Schedule,
) -> Result<Tensors, VerifyError> {
    let starts = case.below("input.start.");
    let gradients = case.below("input.grad.");
    let builder = Builder::new();
    let step = builder.input("step", Role::Step, Shape::scalar(DType::F32));
    let rate = schedule.rate(step);
    for (name, start) in &starts {
        let axes: Vec<_> = start
            .shape()
            .iter()
            .enumerate()
            .map(|(at, size)| (format!("axis{at}"), *size))
            .collect();
        let shape = Shape::new(DType::F32, axes.clone());
        builder.weight(name, axes, Init::Zeros);
        builder.input(&gradient_name(name), Role::Batch, shape);
    }
    for weight in builder.weights() {
        let gradient = builder.input(
            &gradient_name(&weight.name),
            Role::Batch,
            weight.shape.clone(),
        );
        let value = builder.whole(&weight);
        let update = Update {
            builder: &builder,
            weight: &weight,
            value,
            gradient,
            rate,
            step,
        };
        builder.update(&weight.name, optimizer.apply(update));
    }
    builder.output("rate", rate);
    let session = session(builder.finish()?, client)?;

    let mut state: Tensors = (session.signature().inputs.iter())
        .filter(|port| port.role == Role::State.name())
        .map(|port| (port.name.clone(), ArrayD::zeros(port.shape.dims())))
        .collect();
    state.extend(starts.clone());
    let count = gradients
        .values()
        .next()
        .map_or(0, |gradient| gradient.shape()[0]);
    let mut history: std::collections::BTreeMap<String, Vec<ArrayD<f32>>> = Default::default();
    for at in 0..count {
        state.insert("step".into(), ArrayD::from_elem(vec![], at as f32 + 1.0));
        for (name, gradient) in &gradients {
            state.insert(
                gradient_name(name),
                gradient.index_axis(Dimension(0), at).to_owned(),
            );
        }
        state = evaluate(&session, &state)?;
        for name in starts.keys() {
            history
                .entry(format!("output.param.{name}"))
                .or_default()
                .push(state[name].clone());
        }
        history
            .entry("output.lr".into())
            .or_default()
            .push(state["rate"].clone());
    }
    let stacked = history.into_iter().filter_map(|(name, values)| {
        let views: Vec<_> = values.iter().map(|value| value.view()).collect();
        Some((name, stack(Dimension(0), &views).ok()?))
    });
    Ok(stacked.collect())
}

fn gradient_name(weight: &str) -> String {
    format!("gradient/{weight}")
}
