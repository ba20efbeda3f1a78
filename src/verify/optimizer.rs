//! Optimizer cases: parameters, the gradient of every step, and the parameters after every step.

use ndarray::{ArrayD, Axis as Dimension, stack};
use serde_json::Value;

use super::options::Options;
use super::{Case, Device, Tensors, VerifyError, evaluate, session};
use crate::graph::{Builder, DType, Init, Role, Shape};
use crate::train::optimizer::{Adafactor, AdamW, Debias, Lamb, MomentType, Optimizer, Update};
use crate::train::schedule::{DecayFrom, Schedule};

/// The optimizer that the case names, with the options and defaults of its class: Hugging Face's Adafactor, PyTorch's AdamW,
/// or LAMB of `torch_optimizer`.
pub(super) fn optimizer(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let mut options = Options::of(case, "options");
    let mut finds_its_rate = false;
    let (optimizer, rate) = match case.argument("name") {
        Some("adafactor") => {
            finds_its_rate = options.switch("relative_step", true)?;
            adafactor(&mut options)?
        }
        Some("adamw") => adamw(&mut options)?,
        Some("lamb") => lamb(&mut options)?,
        name => {
            return Err(VerifyError::UnknownKind {
                case: case.name.clone(),
                kind: format!("Optimizer ({})", name.unwrap_or_default()),
            });
        }
    };
    options.finish()?;
    let schedule = match finds_its_rate {
        // min(1e-2, 1/sqrt(step)), or min(1e-6 x step, 1/sqrt(step)) with `warmup_init`.
        true => rate,
        false => schedule(case, rate)?,
    };
    let mut computed = steps(case, device, &optimizer, schedule)?;
    if finds_its_rate {
        // The case lists the rate given to the optimizer: none.
        computed
            .entry("output.lr".into())
            .and_modify(|rates| rates.fill(0.0));
    }
    Ok(computed)
}

fn adafactor(options: &mut Options) -> Result<(Optimizer, Schedule), VerifyError> {
    let defaults = Adafactor::default();
    let [epsilon, scale_floor] = options.pair("eps", [defaults.epsilon, defaults.scale_floor])?;
    let optimizer = Optimizer::Adafactor(Adafactor {
        decay_exponent: options.number("decay_rate", defaults.decay_exponent)?,
        clip_threshold: options.number("clip_threshold", defaults.clip_threshold)?,
        epsilon,
        scale_floor,
        scale_by_weight: options.switch("scale_parameter", true)?,
        momentum: options.number("beta1", 0.0)?,
        weight_decay: options.number("weight_decay", 0.0)?,
        least_factored: 0,
    });
    let warms_up = options.switch("warmup_init", false)?;
    let rate = options.number("lr", 1e-3)?;
    let schedule = match options.switch("relative_step", true)? {
        true => Schedule::InverseSqrt {
            rate: 1.0,
            warmup: if warms_up { 1.0 } else { 10_000.0 },
            ramp: warms_up.then_some(1e-6),
            first_step: 0,
        },
        false => Schedule::Constant { rate },
    };
    Ok((optimizer, schedule))
}

fn adamw(options: &mut Options) -> Result<(Optimizer, Schedule), VerifyError> {
    let [beta1, beta2] = options.pair("betas", [0.9, 0.999])?;
    let optimizer = Optimizer::AdamW(AdamW {
        beta1,
        beta2,
        epsilon: options.number("eps", 1e-8)?,
        weight_decay: options.number("weight_decay", 0.01)?,
        debias: true,
        exclude_norm_and_bias: false,
        first_moment: MomentType::F32,
    });
    let rate = options.number("lr", 1e-3)?;
    Ok((optimizer, Schedule::Constant { rate }))
}

fn lamb(options: &mut Options) -> Result<(Optimizer, Schedule), VerifyError> {
    let [beta1, beta2] = options.pair("betas", [0.9, 0.999])?;
    let optimizer = Optimizer::Lamb(Lamb {
        beta1,
        beta2,
        epsilon: options.number("eps", 1e-6)?,
        weight_decay: options.number("weight_decay", 0.0)?,
        debias: match options.switch("debias", false)? {
            true => Debias::Rate,
            false => Debias::None,
        },
        clamp: Some(options.number("clamp_value", 10.0)?),
        trust_ratio: !options.switch("adam", false)?,
        exclude_norm_and_bias: false,
        first_moment: MomentType::F32,
    });
    let rate = options.number("lr", 1e-3)?;
    Ok((optimizer, Schedule::Constant { rate }))
}

/// The case's schedule of the optimizer's `rate`: `linear` is Hugging Face's, over the case's steps.
fn schedule(case: &Case, rate: Schedule) -> Result<Schedule, VerifyError> {
    let given = |key: &str| case.arguments.get(key).filter(|value| !value.is_null());
    let number = |key: &str| given(key).and_then(Value::as_f64);
    match (given("schedule").map(Value::as_str), rate) {
        (None | Some(Some("constant")), rate) => Ok(rate),
        (Some(Some("linear")), Schedule::Constant { rate }) => Ok(Schedule::Polynomial {
            rate,
            warmup: number("warmup").unwrap_or(0.0),
            total: number("total"),
            end: 0.0,
            power: 1.0,
            decay_from: DecayFrom::Warmup,
        }),
        _ => Err(VerifyError::option(case, "schedule", given("schedule"))),
    }
}

/// Runs the case's steps in order; each continues with the state of the last.
fn steps(
    case: &Case,
    device: &Device,
    optimizer: &Optimizer,
    schedule: Schedule,
) -> Result<Tensors, VerifyError> {
    let starts = case.below("input.start.");
    let gradients = case.below("input.grad.");
    let count = gradients
        .values()
        .next()
        .map_or(0, |gradient| gradient.shape()[0]);
    let builder = Builder::new();
    let step = builder.input("step", Role::Step, Shape::scalar(DType::F32));
    let rate = schedule.rate(step, count as u64);
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
    let session = session(builder.finish()?, device)?;

    let mut state: Tensors = (session.signature().inputs.iter())
        .filter(|port| port.role == Role::State)
        .map(|port| (port.name.clone(), ArrayD::zeros(port.shape.dims())))
        .collect();
    state.extend(starts.clone());
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
