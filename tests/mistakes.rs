//! What the builder says of mistakes in model code: the operation, its operands by name, scopes and lines.

mod common;

use common::INPUT;
use ribosome::graph::{Axis, Builder, DType, GraphError, Init, LoopOptions, Remat, Shape, Tensor};

/// What `mistaken` is told, with lines of code as `LINE` so that code may move.
fn told(mistaken: impl FnOnce(&Builder)) -> String {
    let builder = Builder::new();
    mistaken(&builder);
    let error: GraphError = builder.finish().expect_err("a mistake");
    let text = error.to_string();
    let mut told = String::new();
    for (at, line) in text.lines().enumerate() {
        let (line, number) = line.rsplit_once(".rs:").unwrap_or((line, ""));
        let file = if number.is_empty() { "" } else { ".rs:LINE" };
        assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        told += if at > 0 { "\n" } else { "" };
        told += &format!("{line}{file}");
    }
    // Windows builds say the same.
    told.replace('\\', "/")
}

fn input<'g>(
    builder: &'g Builder,
    name: &str,
    dtype: DType,
    axes: &[(&'static str, usize)],
) -> Tensor<'g> {
    builder.input(name, INPUT, Shape::new(dtype, axes.iter().copied()))
}

/// f32[batch=8, length=512, embed=1024]
fn activations(builder: &Builder) -> Tensor<'_> {
    input(
        builder,
        "x",
        DType::F32,
        &[("batch", 8), ("length", 512), ("embed", 1024)],
    )
}

#[test]
fn sizes_that_differ_in_a_dot() {
    let text = told(|builder| {
        let x = activations(builder);
        builder.scope("encoder/layer/mlp", || {
            let wi = builder.weight("wi", [("embed", 512), ("mlp", 2048)], Init::Normal(0.1));
            // What follows a mistake is poisoned and says nothing more.
            x.dot(wi, ["embed"]).tanh().sum(["nothing"])
        });
    });
    insta::assert_snapshot!(text);
}

#[test]
fn axes_that_do_not_broadcast() {
    let text = told(|builder| {
        let x = activations(builder);
        let bias = input(
            builder,
            "bias",
            DType::F32,
            &[("length", 512), ("keys", 512)],
        );
        builder.scope("attention", || x + bias);
    });
    insta::assert_snapshot!(text);
}

#[test]
fn element_types_that_differ() {
    let text = told(|builder| {
        let x = activations(builder);
        let _ = x + x.cast(DType::BF16);
    });
    insta::assert_snapshot!(text);
}

#[test]
fn a_name_that_means_two_things() {
    let text = told(|builder| {
        builder.scope("layer", || {
            builder.weight("w", [("embed", 4)], Init::Ones);
            builder.weight("w", [("embed", 5)], Init::Ones);
        });
    });
    insta::assert_snapshot!(text);
}

#[test]
fn a_carry_that_changes() {
    let text = told(|builder| {
        let x = activations(builder);
        builder.scope("encoder", || {
            builder.layers(24, Remat::Full, x, |_, x| x.cast(DType::BF16))
        });
    });
    insta::assert_snapshot!(text);
}

#[test]
fn a_carry_without_a_next_value() {
    let text = told(|builder| {
        let body = builder.open_loop(Axis::new("layers", 2), LoopOptions::default());
        body.carry(activations(builder));
        assert!(body.close()[0].is_poison());
    });
    insta::assert_snapshot!(text);
}

#[test]
fn a_stack_of_another_axis() {
    let text = told(|builder| {
        let x = activations(builder);
        let body = builder.open_loop(Axis::new("layers", 2), LoopOptions::default());
        body.slice(x);
        body.close();
    });
    insta::assert_snapshot!(text);
}

#[test]
fn a_tensor_of_a_finished_body() {
    let text = told(|builder| {
        let x = activations(builder);
        let mut inner = None;
        builder.layers(2, Remat::Full, x, |_, x| *inner.insert(x.tanh()));
        let _ = inner.unwrap() + x;
    });
    insta::assert_snapshot!(text);
}

#[test]
fn gradients_of_many_numbers() {
    let text = told(|builder| {
        let x = activations(builder);
        builder.gradients(x * x, &[x]);
    });
    insta::assert_snapshot!(text);
}

#[test]
fn gradients_for_a_tensor_of_a_finished_body() {
    let text = told(|builder| {
        let x = activations(builder);
        let mut inner = None;
        let y = builder.layers(2, Remat::Full, x, |_, x| *inner.insert(x.tanh()));
        builder.gradients(y.sum_all(), &[inner.unwrap()]);
    });
    insta::assert_snapshot!(text);
}

#[test]
fn an_output_that_does_not_fit_what_it_replaces() {
    let text = told(|builder| {
        builder.scope("layer", || builder.weight("w", [("embed", 4)], Init::Ones));
        builder.update("layer/w", builder.constant(1.0, DType::F32));
    });
    insta::assert_snapshot!(text);
}

#[test]
fn an_output_that_replaces_nothing() {
    let text = told(|builder| builder.update("layer/w", builder.constant(1.0, DType::F32)));
    insta::assert_snapshot!(text);
}

#[test]
fn an_output_of_a_name_that_is_taken() {
    let text = told(|builder| {
        builder.output("loss", builder.constant(1.0, DType::F32));
        builder.output("loss", builder.constant(2.0, DType::F32));
    });
    insta::assert_snapshot!(text);
}
