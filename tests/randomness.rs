//! Random numbers are the same however many devices make them, and are distributed as they say.

mod common;

use std::collections::BTreeMap;

use common::{config, cpu, lowered};
use ribosome::graph::{Axis, Builder, DType, Graph, Key, Role, Shape, Tensor};
use ribosome::runtime::{HostArray, Session};

const ROWS: usize = 64;
const COLUMNS: usize = 256;

fn axes() -> [Axis; 2] {
    [Axis::new("batch", ROWS), Axis::new("mlp", COLUMNS)]
}

fn key(builder: &Builder) -> Key<'_> {
    let seed = builder.input("seed", Role::Seed, Shape::scalar(DType::U32));
    let step = builder.input("step", Role::Step, Shape::scalar(DType::S32));
    Key::of_step(seed, step)
}

/// Runs `graph` at seed 3 and step 5 on a mesh.
fn run(graph: Graph, mesh: &str, devices: usize) -> BTreeMap<String, Vec<f64>> {
    let program = lowered(graph, mesh);
    let session = Session::new(&cpu(devices), &program, &config(devices)).expect("it compiles");
    let inputs = [
        ("seed", HostArray::scalar(3u32)),
        ("step", HostArray::scalar(5i32)),
    ];
    let inputs = inputs.map(|(name, array)| (name.to_string(), array)).into();
    let outputs = session.evaluate(&inputs).expect("it runs").into_iter();
    outputs
        .map(|(name, array)| (name, array.to_f64()))
        .collect()
}

#[test]
fn many_devices_make_the_same_numbers_as_one() {
    let graph = || {
        let builder = Builder::new();
        let key = key(&builder).stream("noise");
        builder.output("bits", key.bits(&axes()).pin());
        builder.output("uniform", key.uniform(&axes()).pin());
        builder.output("kept", key.chance(0.3, &axes()).pin());
        builder.output("whole", key.bits(&axes()));
        builder.finish().unwrap()
    };
    let one = run(graph(), "data=1,model=1", 1);
    let many = run(graph(), "data=4,model=2", 8);
    assert_eq!(one, many);
    assert_eq!(one["bits"], one["whole"]);
}

fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count;
    (mean, variance)
}

/// The correlation of two lists of numbers.
fn correlation(left: &[f64], right: &[f64]) -> f64 {
    let ((mean, variance), (other, another)) = (moments(left), moments(right));
    let pairs = left.iter().zip(right);
    let covariance = pairs.map(|(x, y)| (x - mean) * (y - other)).sum::<f64>() / left.len() as f64;
    covariance / (variance * another).sqrt()
}

/// Five standard errors of a mean of as many values as there are here, each of deviation 1: chance passes this one
/// time in two million, and the numbers are the same in every run.
const FAR: f64 = 5.0 / 128.0;

#[test]
fn numbers_are_distributed_as_they_say() {
    let builder = Builder::new();
    let key = key(&builder);
    builder.output("uniform", key.stream("uniform").uniform(&axes()));
    builder.output("normal", key.stream("normal").normal(&axes()));
    for p in [0.0, 0.1, 0.5, 1.0] {
        builder.output(&format!("{p}"), key.stream("chance").chance(p, &axes()));
    }
    builder.output("below", key.stream("below").below(5, &axes()));
    let found = run(builder.finish().unwrap(), "data=1,model=1", 1);

    let (mean, variance) = moments(&found["uniform"]);
    assert!((mean - 0.5).abs() < FAR / 12f64.sqrt(), "{mean}");
    assert!(
        (variance - 1.0 / 12.0).abs() < FAR / 180f64.sqrt(),
        "{variance}"
    );
    assert!(
        found["uniform"]
            .iter()
            .all(|value| (0.0..1.0).contains(value))
    );

    let (mean, variance) = moments(&found["normal"]);
    assert!(mean.abs() < FAR, "{mean}");
    // The square of a normal number has variance 2, its fourth power mean 3 and variance 96.
    assert!((variance - 1.0).abs() < FAR * 2f64.sqrt(), "{variance}");
    let fourth: Vec<_> = found["normal"].iter().map(|value| value.powi(4)).collect();
    assert!(
        (moments(&fourth).0 - 3.0).abs() < FAR * 96f64.sqrt(),
        "{:?}",
        moments(&fourth)
    );

    assert_eq!(moments(&found["0"]), (0.0, 0.0), "never is never");
    assert_eq!(moments(&found["1"]), (1.0, 0.0), "always is always");
    for p in [0.1, 0.5] {
        let (mean, _) = moments(&found[&format!("{p}")]);
        assert!(
            (mean - p).abs() < FAR * (p * (1.0 - p)).sqrt(),
            "{mean} is not {p}"
        );
    }
    for number in 0..5 {
        let hits = found["below"]
            .iter()
            .filter(|value| **value == f64::from(number))
            .count();
        let share = hits as f64 / (ROWS * COLUMNS) as f64;
        assert!(
            (share - 0.2).abs() < FAR * 0.4,
            "{number} comes up {share} of the time"
        );
    }
}

#[test]
fn keys_that_differ_are_unrelated() {
    let builder = Builder::new();
    let key = key(&builder);
    let number = |value: f64| builder.constant(value, DType::S32);
    let keys: Vec<(&str, Key)> = vec![
        ("a stream", key.stream("a")),
        ("another stream", key.stream("b")),
        (
            "a stream of another scope",
            builder.scope("layer", || key.stream("a")),
        ),
        ("layer 0", key.stream("a").fold(number(0.0))),
        ("layer 1", key.stream("a").fold(number(1.0))),
        (
            "layer 0, microbatch 1",
            key.stream("a").fold(number(0.0)).fold(number(1.0)),
        ),
        (
            "layer 1, microbatch 0",
            key.stream("a").fold(number(1.0)).fold(number(0.0)),
        ),
        ("the next step", step(&builder, 6.0).stream("a")),
        ("the next seed", seed(&builder, 4.0).stream("a")),
        // Steps and seeds that trade places.
        (
            "seed 5, step 3",
            Key::of_step(unsigned(&builder, 5.0), number(3.0)).stream("a"),
        ),
    ];
    for (name, key) in &keys {
        builder.output(name, key.uniform(&axes()));
    }
    let names: Vec<_> = keys.into_iter().map(|(name, _)| name).collect();
    let found = run(builder.finish().unwrap(), "data=1,model=1", 1);
    for (at, left) in names.iter().enumerate() {
        for right in &names[..at] {
            let by = correlation(&found[*left], &found[*right]);
            assert!(by.abs() < FAR, "{left} and {right} are correlated by {by}");
        }
        // Neighbours along both axes.
        let values = &found[*left];
        let by = correlation(&values[1..], &values[..values.len() - 1]);
        assert!(by.abs() < FAR, "{left}: neighbours are correlated by {by}");
        let by = correlation(&values[COLUMNS..], &values[..values.len() - COLUMNS]);
        assert!(by.abs() < FAR, "{left}: rows are correlated by {by}");
    }
}

fn unsigned(builder: &Builder, value: f64) -> Tensor<'_> {
    builder.constant(value, DType::U32)
}

fn step(builder: &Builder, step: f64) -> Key<'_> {
    Key::of_step(unsigned(builder, 3.0), builder.constant(step, DType::S32))
}

fn seed(builder: &Builder, seed: f64) -> Key<'_> {
    Key::of_step(unsigned(builder, seed), builder.constant(5.0, DType::S32))
}
