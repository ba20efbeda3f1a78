//! Sentence-order prediction: what the rows are, and that a model learns from them.

mod common;

use ribosome::data::PROT_ALBERT;
use ribosome::graph::{Builder, DType, Key, Role, Shape};
use ribosome::train::objective::pairs;
use ribosome::train::recipe::Recipe;

/// What [`pairs`] makes of rows of `length` tokens: ids, types, and which are swapped.
fn made(rows: &[Vec<i32>], length: usize) -> Vec<(Vec<i32>, Vec<i32>, bool)> {
    let builder = Builder::new();
    let axes = [("batch", rows.len()), ("length", length)];
    let tokens = builder.input("tokens", Role::Batch, Shape::new(DType::S32, axes));
    let key = Key::of_seed(builder.constant(3.0, DType::U32));
    let pairs = pairs(tokens, key, &PROT_ALBERT);
    builder.output("ids", pairs.ids);
    builder.output("types", pairs.types);
    builder.output("swapped", pairs.swapped);
    let graph = builder.finish().unwrap();
    let values = rows.concat().into_iter().map(f64::from).collect();
    let outputs = common::evaluate(graph, &[("tokens".to_string(), values)]);
    let whole = |values: &[f64]| values.iter().map(|value| *value as i32).collect::<Vec<_>>();
    (0..rows.len())
        .map(|row| {
            let part = row * length..(row + 1) * length;
            let ids = whole(&outputs["ids"][part.clone()]);
            (
                ids,
                whole(&outputs["types"][part]),
                outputs["swapped"][row] == 1.0,
            )
        })
        .collect()
}

/// `[CLS]` 2, `[SEP]` 3, padding 0; residues count up from 13.
#[test]
fn halves_stand_in_either_order() {
    const LENGTH: usize = 14;
    let protein = |residues: i32| {
        let mut row: Vec<i32> = [2]
            .into_iter()
            .chain(13..13 + residues)
            .chain([3])
            .collect();
        row.resize(LENGTH, 0);
        row
    };
    // Of 12 residues a pair has room for 11.
    let sizes: Vec<i32> = (1..=12).cycle().take(48).collect();
    let rows: Vec<_> = sizes.iter().map(|size| protein(*size)).collect();
    let mut orders = [0, 0];
    for (size, (ids, types, swapped)) in sizes.into_iter().zip(made(&rows, LENGTH)) {
        let size = size.min(11);
        let (first, second) = (13..13 + size / 2, 13 + size / 2..13 + size);
        let (front, back) = match swapped {
            true => (second, first),
            false => (first, second),
        };
        let (front, back): (Vec<i32>, Vec<i32>) = (front.collect(), back.collect());
        let mut expected = [&[2], &front[..], &[3], &back, &[3]].concat();
        expected.resize(LENGTH, 0);
        assert_eq!(ids, expected, "{size} residues, swapped: {swapped}");
        let mut parts = vec![0; front.len() + 2];
        parts.resize(size as usize + 3, 1);
        parts.resize(LENGTH, 0);
        assert_eq!(types, parts);
        orders[usize::from(swapped)] += 1;
    }
    assert!(orders.iter().all(|count| *count > 10), "{orders:?}");
}

#[test]
fn the_step_has_both_losses_and_needs_the_head() {
    let recipe = Recipe::preset("prot-albert-tiny").unwrap();
    let recipe = recipe.set("objective.sentence_order", "true").unwrap();
    let step = recipe.step().unwrap().build().unwrap();
    let outputs: Vec<_> = step
        .graph
        .outputs
        .iter()
        .map(|output| output.name.as_str())
        .collect();
    assert!(
        outputs.contains(&"loss/order") && outputs.contains(&"loss/masked"),
        "{outputs:?}"
    );
    let headless = recipe.set("model.sentence_head", "false").unwrap();
    let error = headless.step().unwrap().build().unwrap_err().to_string();
    assert!(error.contains("with model.sentence_head = true"), "{error}");
}
