//! A loop gives the numbers and the gradients that its body gives when it is written out, whatever the backward pass
//! finds saved. Each model here is recorded once under every policy and once unrolled, in one program.

mod common;

use common::{INPUT, assert_close, evaluate, f64_shape, numbers};
use ribosome::graph::{
    Axis, Builder, DType, Graph, Init, Key, LoopOptions, Op, Remat, Role, Shape, Tensor,
};

/// What a model is judged by: one number, and the tensors that its gradient is for.
type Model<'g> = (Tensor<'g>, Vec<Tensor<'g>>);

/// Asserts that `model` has the same loss and gradients under every policy and unrolled; gives those unrolled.
fn agrees(
    tolerance: f64,
    model: impl for<'g> Fn(&'g Builder, Remat) -> Model<'g>,
) -> Vec<Vec<f64>> {
    agrees_on(tolerance, |builder, remat| {
        let (loss, wrt) = model(builder, remat);
        let mut results = vec![loss];
        results.extend(builder.gradients(loss, &wrt));
        results
    })
}

/// [`agrees`] for a model that takes its gradients by itself.
fn agrees_on(
    tolerance: f64,
    model: impl for<'g> Fn(&'g Builder, Remat) -> Vec<Tensor<'g>>,
) -> Vec<Vec<f64>> {
    let builder = Builder::new();
    let mut count = 0;
    let mut record = |name: &str, remat: Remat| {
        let results = builder.scope(name, || model(&builder, remat));
        count = results.len();
        for (at, result) in results.into_iter().enumerate() {
            builder.output(&format!("{name}/{at}"), result);
        }
    };
    for remat in Remat::ALL {
        record(remat.name(), *remat);
    }
    builder.set_unroll(true);
    record("unrolled", Remat::Full);
    let graph = builder.finish().unwrap_or_else(|error| panic!("{error}"));
    let inputs = numbers(&graph, 7);
    let results = evaluate(graph, &inputs);
    for at in 0..count {
        let expected = &results[&format!("unrolled/{at}")];
        assert!(
            expected.iter().any(|value| value.abs() > 1e-6),
            "result {at} is all zeros, which shows nothing"
        );
        for remat in Remat::ALL {
            let name = format!("{remat}/{at}");
            assert_close(&name, &results[&name], expected, tolerance);
        }
    }
    (0..count)
        .map(|at| results[&format!("unrolled/{at}")].clone())
        .collect()
}

const EXACT: f64 = 1e-12;

fn axis(name: &str, size: usize) -> Axis {
    Axis::new(name, size)
}

fn options(remat: Remat) -> LoopOptions {
    LoopOptions {
        remat,
        ..LoopOptions::default()
    }
}

fn input<'g>(builder: &'g Builder, name: &str, axes: &[(&'static str, usize)]) -> Tensor<'g> {
    builder.at_root_scope(|| builder.input(name, INPUT, f64_shape(axes)))
}

fn activations(builder: &Builder) -> Tensor<'_> {
    input(builder, "x", &[("batch", 2), ("embed", 4)])
}

/// One residual layer: a norm, a product up, a nonlinearity, a product down.
fn layer<'g>(x: Tensor<'g>, up: Tensor<'g>, down: Tensor<'g>) -> Tensor<'g> {
    let scale = ((x * x).mean(["embed"]) + 1e-3).rsqrt();
    let hidden = (x * scale).dot(up, ["embed"]).tag("hidden");
    x + hidden.tanh().dot(down, ["mlp"])
}

#[test]
fn stacked_weights() {
    agrees(2e-5, |builder, remat| {
        let shape = Shape::new(DType::F32, [("batch", 2), ("embed", 4)]);
        let x = builder.at_root_scope(|| builder.input("x", INPUT, shape));
        let y = builder.at_root_scope(|| {
            builder.layers(3, remat, x, |_, x| {
                let up = builder.weight("up", [("embed", 4), ("mlp", 6)], Init::Ones);
                let down = builder.weight("down", [("mlp", 6), ("embed", 4)], Init::Ones);
                layer(x, up, down)
            })
        });
        let wrt = builder
            .weights()
            .iter()
            .map(|weight| builder.whole(weight))
            .chain([x])
            .collect();
        ((y * y).sum_all(), wrt)
    });
}

#[test]
fn a_captured_weight_sums_over_iterations() {
    agrees(EXACT, |builder, remat| {
        let x = activations(builder);
        let up = input(builder, "up", &[("embed", 4), ("mlp", 6)]);
        let down = input(builder, "down", &[("mlp", 6), ("embed", 4)]);
        let y = builder.layers(4, remat, x, |_, x| layer(x, up, down));
        ((y * y).sum_all(), vec![x, up, down])
    });
}

#[test]
fn captured_activations() {
    agrees(EXACT, |builder, remat| {
        let x = activations(builder);
        let w = input(builder, "w", &[("embed", 4), ("mlp", 6)]);
        let v = input(builder, "v", &[("layers", 3), ("mlp", 6), ("embed", 4)]);
        let encoded = x.dot(w, ["embed"]).tanh();
        let body = builder.open_loop(axis("layers", 3), options(remat));
        let y = body.carry(x);
        let part = body.slice(v);
        // One axis shared and contracted, one batch axis, and the captured tensor used twice.
        let update = encoded.dot(part, ["mlp"]);
        body.set_next(0, (y * update).sin() + y * encoded.sum(["mlp"]));
        let y = body.close()[0];
        ((y * y).sum_all(), vec![x, w, v, encoded])
    });
}

#[test]
fn emitted_stacks_in_the_loss() {
    agrees(EXACT, |builder, remat| stacks(builder, remat, false));
}

#[test]
fn a_reversed_loop() {
    let forward = agrees(EXACT, |builder, remat| stacks(builder, remat, false));
    let reversed = agrees(EXACT, |builder, remat| stacks(builder, remat, true));
    assert_ne!(
        forward[0], reversed[0],
        "the order has no effect, which shows nothing"
    );
}

fn stacks(builder: &Builder, remat: Remat, reverse: bool) -> Model<'_> {
    let x = activations(builder);
    let w = input(builder, "w", &[("layers", 3), ("embed", 4)]);
    let body = builder.open_loop(
        axis("layers", 3),
        LoopOptions {
            reverse,
            ..options(remat)
        },
    );
    let carry = body.carry(x);
    let part = body.slice(w);
    let next = (carry * part).sin() + carry.exp() * 0.1;
    body.emit(next * part);
    body.set_next(0, next);
    // The same node as the carry's next value, and an argument: both given out as they are.
    body.emit(next);
    body.emit(part);
    let results = body.close();
    let weighted = results[1] * results[2];
    let loss = weighted.sum_all() + (results[0] * results[3].sum(["layers"])).sum_all();
    (loss, vec![x, w])
}

#[test]
fn carries_that_trade_places_start_late_or_end_early() {
    agrees(EXACT, |builder, remat| {
        let x = activations(builder);
        let y = input(builder, "y", &[("batch", 2), ("embed", 4)]);
        let body = builder.open_loop(axis("layers", 4), options(remat));
        let (a, b) = (body.carry(x), body.carry(y));
        // `late` starts from a constant and gets its gradient from inside.
        let late = body.carry(body.outside(|| builder.full(0.5, x.shape())));
        body.set_next(0, b);
        body.set_next(1, a * late.cos());
        body.set_next(2, late + a.detach() * 0.1 + b * 0.2);
        // `early` is used in an iteration and replaced by what depends on nothing.
        let early = body.carry(x);
        body.emit(early * b);
        body.set_next(3, builder.full(0.25, x.shape()));
        let results = body.close();
        let sums = results.iter().map(|result| (*result * *result).sum_all());
        let loss = sums.reduce(|sum, part| sum + part).unwrap();
        (loss, vec![x, y])
    });
}

#[test]
fn integer_carries_and_the_index() {
    agrees(EXACT, |builder, remat| {
        let x = activations(builder);
        let table = input(builder, "table", &[("vocab", 5), ("embed", 4)]);
        let body = builder.open_loop(axis("layers", 5), options(remat));
        let at = body.carry(body.outside(|| builder.constant(3.0, DType::S32)));
        let y = body.carry(x);
        let row = table.gather("vocab", at);
        let turned = (at + 2.0).rem(at.constant(5.0));
        body.set_next(0, turned);
        let weight = (body.index().cast(DType::F64) + 1.0) * 0.3;
        body.set_next(1, (y * row).tanh() + y * weight);
        body.emit(turned);
        let results = body.close();
        let picked = table.gather("vocab", results[2]).sum(["layers"]);
        ((results[1] * picked).sum_all(), vec![x, table])
    });
}

#[test]
fn dropout_inside() {
    let results = agrees(EXACT, |builder, remat| {
        let x = input(builder, "x", &[("batch", 4), ("embed", 16)]);
        let seed =
            builder.at_root_scope(|| builder.input("seed", Role::Seed, Shape::scalar(DType::U32)));
        // Streams are named by the scope, which differs between the policies here: leave it.
        let y = builder.at_root_scope(|| {
            let key = Key::of_seed(seed);
            builder.layers(3, remat, x, |index, x| {
                let key = key.fold(index).stream("dropout");
                builder.dropout(x.sin() + x, 0.4, key)
            })
        });
        ((y * y).sum_all(), vec![x])
    });
    let dropped = results[1].iter().filter(|value| **value == 0.0).count();
    assert!(
        (20..=60).contains(&dropped),
        "{dropped} of 64 elements are dropped in some layer"
    );
}

#[test]
fn a_loop_within_a_loop() {
    agrees(EXACT, |builder, remat| {
        let x = activations(builder);
        let shared = input(builder, "shared", &[("embed", 4), ("mlp", 6)]);
        let down = input(builder, "down", &[("layers", 3), ("mlp", 6), ("embed", 4)]);
        let outer = builder.open_loop(axis("microbatches", 2), options(remat));
        let carry = outer.carry(x);
        let scaled = carry * 0.7;
        let inner = builder.open_loop(axis("layers", 3), options(remat));
        let y = inner.carry(scaled);
        let down = inner.slice(down);
        let next = layer(y, shared, down) + carry.sin();
        inner.set_next(0, next);
        inner.emit(next * next);
        let inside = inner.close();
        outer.set_next(0, inside[0] + inside[1].mean(["layers"]));
        let y = outer.close()[0];
        let down = input(builder, "down", &[("layers", 3), ("mlp", 6), ("embed", 4)]);
        ((y * y).mean(["batch", "embed"]), vec![x, shared, down])
    });
}

/// The form of a training step: gradients are taken in the body of a loop over microbatches, and summed.
#[test]
fn gradients_taken_within_a_loop() {
    let results = agrees_on(EXACT, |builder, remat| {
        let parts = axis("microbatches", 3);
        let x = input(
            builder,
            "x",
            &[("microbatches", 3), ("batch", 2), ("embed", 4)],
        );
        let shared = input(builder, "shared", &[("embed", 4), ("mlp", 6)]);
        let down = input(builder, "down", &[("layers", 3), ("mlp", 6), ("embed", 4)]);
        let outer = builder.open_loop(parts, options(remat));
        let loss = deep(builder, remat, outer.slice(x), shared, down);
        let gradients = builder.gradients(loss, &[shared, down]);
        let mut summed = vec![loss];
        summed.extend(gradients);
        for (slot, part) in summed.into_iter().enumerate() {
            let sum = outer.carry(outer.outside(|| builder.full(0.0, part.shape())));
            outer.set_next(slot, sum + part);
        }
        let mut results = outer.close();
        let whole = x.merge(["microbatches", "batch"], "batch");
        let loss = deep(builder, remat, whole, shared, down);
        results.push(loss);
        results.extend(builder.gradients(loss, &[shared, down]));
        results
    });
    for at in 0..3 {
        assert_close("microbatches", &results[at], &results[at + 3], EXACT);
    }
}

/// A loss that is a sum over rows, through three layers.
fn deep<'g>(
    builder: &'g Builder,
    remat: Remat,
    x: Tensor<'g>,
    shared: Tensor<'g>,
    down: Tensor<'g>,
) -> Tensor<'g> {
    let body = builder.open_loop(axis("layers", 3), options(remat));
    let y = body.carry(x);
    let next = layer(y, shared, body.slice(down));
    body.set_next(0, next);
    let y = body.close()[0];
    (y * y).sum_all()
}

/// The gradient of a loop is a loop like any other, with a gradient of its own.
#[test]
fn the_gradient_of_a_gradient() {
    agrees(1e-10, |builder, remat| {
        let x = activations(builder);
        let shared = input(builder, "shared", &[("embed", 4), ("mlp", 6)]);
        let down = input(builder, "down", &[("layers", 3), ("mlp", 6), ("embed", 4)]);
        let loss = deep(builder, remat, x, shared, down);
        let gradients = builder.gradients(loss, &[x, shared, down]);
        let squares = gradients
            .iter()
            .map(|gradient| (*gradient * *gradient).sum_all());
        (
            squares.reduce(|sum, part| sum + part).unwrap(),
            vec![x, shared, down],
        )
    });
}

/// A tensor that a loop gives may be what a gradient is for.
#[test]
fn the_gradient_for_what_a_loop_gives() {
    agrees(EXACT, |builder, remat| {
        let x = activations(builder);
        let body = builder.open_loop(axis("layers", 2), options(remat));
        let carry = body.carry(x);
        body.set_next(0, carry.sin());
        body.emit(carry * carry);
        let results = body.close();
        let loss = (results[0] * results[1].sum(["layers"])).sum_all();
        (loss, vec![results[0], results[1], x])
    });
}

/// Many small `bf16` parts of a captured weight's gradient are summed in `f32`: 256 times 1/256 and one 1 are 2,
/// where `bf16` would stay at 1.
#[test]
fn bf16_gradients_of_a_captured_weight_are_summed_in_f32() {
    let builder = Builder::new();
    let w = builder.input("w", INPUT, Shape::scalar(DType::BF16));
    let x = builder.input("x", INPUT, Shape::new(DType::BF16, [("layers", 257)]));
    let body = builder.open_loop(axis("layers", 257), options(Remat::Full));
    let part = body.slice(x);
    let sum = body.carry(body.outside(|| builder.constant(0.0, DType::F32)));
    body.set_next(0, sum + (part * w).cast(DType::F32));
    let loss = body.close()[0];
    builder.output("gradient", builder.gradients(loss, &[w])[0]);
    let mut parts = vec![1.0 / 256.0; 257];
    // The backward loop starts from the last.
    parts[256] = 1.0;
    let inputs = [("w".to_string(), vec![1.0]), ("x".to_string(), parts)];
    let results = evaluate(builder.finish().unwrap(), &inputs);
    assert_eq!(results["gradient"], [2.0]);
}

/// The forward loop, of the loss's graph under `remat`: how many values it stacks for the backward pass.
fn saved(remat: Remat) -> usize {
    let builder = Builder::new();
    let x = activations(&builder);
    let shared = input(&builder, "shared", &[("embed", 4), ("mlp", 6)]);
    let down = input(&builder, "down", &[("layers", 3), ("mlp", 6), ("embed", 4)]);
    let loss = deep(&builder, remat, x, shared, down);
    for (at, gradient) in builder
        .gradients(loss, &[shared, down])
        .into_iter()
        .enumerate()
    {
        builder.output(&at.to_string(), gradient);
    }
    let graph = builder.compact().unwrap();
    let forward = graph.root().nodes.iter().find_map(|node| match &node.op {
        Op::Loop(spec) => Some(spec),
        _ => None,
    });
    let forward = forward.expect("a loop");
    graph.region(forward.body).results.len() - forward.carries
}

#[test]
fn policies_save_what_they_say() {
    // The carry; also the first product (the second one's result is not needed); also the tag, which is that product;
    // also whatever the rules ask for.
    assert_eq!(saved(Remat::Full), 1);
    assert_eq!(saved(Remat::Dots), 2);
    assert_eq!(saved(Remat::Names), 2);
    assert!(saved(Remat::None) > 2, "{}", saved(Remat::None));
}

fn stack_of(count: usize) -> Graph {
    let builder = Builder::new();
    let shape = Shape::new(DType::F32, [("batch", 2), ("embed", 4)]);
    let x = builder.input("x", INPUT, shape);
    let y = builder.layers(count, Remat::Dots, x, |_, x| {
        let up = builder.weight("up", [("embed", 4), ("mlp", 6)], Init::Ones);
        let down = builder.weight("down", [("mlp", 6), ("embed", 4)], Init::Ones);
        layer(x, up, down)
    });
    let wrt: Vec<_> = builder
        .weights()
        .iter()
        .map(|weight| builder.whole(weight))
        .collect();
    for (at, gradient) in builder
        .gradients((y * y).sum_all(), &wrt)
        .into_iter()
        .enumerate()
    {
        builder.output(&at.to_string(), gradient);
    }
    builder.finish().unwrap()
}

#[test]
fn a_program_does_not_grow_with_its_depth() {
    let size = |count| {
        let program = common::lowered(stack_of(count), "data=1,model=1");
        program.instructions()
    };
    assert_eq!(size(2), size(24));
}
