//! Noise as a step makes it, and how far a random count may be from what is expected.

use std::collections::BTreeMap;

use ribosome::graph::{Builder, DType, Key, Role, Shape, Tensor};

/// What `record` makes of rows of `length` tokens with the key of step `step` in a run with `seed`, by name.
pub fn noise(
    tokens: &[i32],
    length: usize,
    (seed, step): (u32, i32),
    record: impl for<'g> FnOnce(Tensor<'g>, Key<'g>) -> Vec<(&'static str, Tensor<'g>)>,
) -> BTreeMap<String, Vec<f64>> {
    let axes = [("batch", tokens.len() / length), ("length", length)];
    let builder = Builder::new();
    let given = builder.input("tokens", Role::Batch, Shape::new(DType::S32, axes));
    let seed = builder.constant(f64::from(seed), DType::U32);
    let key = Key::of_step(seed, builder.constant(f64::from(step), DType::S32));
    for (name, tensor) in record(given, key) {
        builder.output(name, tensor);
    }
    let graph = builder.finish().unwrap();
    let values = tokens.iter().map(|id| f64::from(*id)).collect();
    super::evaluate(graph, &[("tokens".to_string(), values)])
}

/// Asserts that `count` of `trials` is what a chance of `p` gives: within four standard deviations of a binomial count,
/// sqrt(trials p (1 - p)), which a fair generator leaves once in 16,000 times.
pub fn assert_share(what: &str, count: usize, trials: usize, p: f64) {
    let (count, trials) = (count as f64, trials as f64);
    let (expected, deviation) = (trials * p, (trials * p * (1.0 - p)).sqrt());
    println!("{what}: {count} of {trials}, expected {expected:.1} +- {deviation:.1}");
    // A normal approximation needs some counts on both sides.
    assert!(trials * p.min(1.0 - p) > 20.0, "{what}: too few trials");
    assert!(
        (count - expected).abs() < 4.0 * deviation,
        "{what}: {count} of {trials}, expected {expected:.1} +- {deviation:.1}"
    );
}
