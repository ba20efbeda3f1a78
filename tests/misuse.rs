//! No use of the builder panics or computes something else than was said: each of these is a mistake, with its place.

mod common;

use common::INPUT;
use ribosome::graph::{
    Axis, Builder, DType, Init, Key, LoopOptions, Problem, Remat, Shape, ShapeError, Tensor,
};

/// Asserts that `misused` is told `expected` at a line of this file.
fn told(expected: &str, misused: impl FnOnce(&Builder)) {
    let builder = Builder::new();
    misused(&builder);
    let error = builder.finish().expect_err(expected);
    let told = error.to_string();
    assert!(told.contains(expected), "expected {expected}, told {told}");
    assert!(error.at.site.file.ends_with("misuse.rs"), "{told}");
}

/// What is made of a mistake is of no interest.
fn ignore<T>(_: T) {}

fn x(builder: &Builder) -> Tensor<'_> {
    let shape = Shape::new(DType::F32, [("batch", 2), ("embed", 3)]);
    builder.input("x", INPUT, shape)
}

fn ids(builder: &Builder) -> Tensor<'_> {
    builder.input("ids", INPUT, Shape::new(DType::S32, [("batch", 2)]))
}

fn layers() -> Axis {
    Axis::new("layers", 2)
}

fn options() -> LoopOptions {
    LoopOptions::default()
}

/// Every way to hand a tensor of one builder to another. Both have the same nodes, so that mixing them up would go
/// unseen.
#[test]
fn tensors_of_two_builders() {
    let told = |misused: &dyn Fn(&Builder)| {
        told("which belongs to another builder's graph", |builder| {
            let _ = (x(builder), ids(builder));
            misused(builder);
        });
    };
    let other = Builder::new();
    let (foreign, rows) = (x(&other), ids(&other));
    let seed = other.constant(1.0, DType::U32);
    told(&|builder| ignore(x(builder) - foreign));
    told(&|builder| ignore(x(builder).eq(foreign)));
    told(&|builder| ignore(x(builder).dot(foreign, ["embed"])));
    told(&|builder| ignore(x(builder).gather("embed", rows)));
    told(&|builder| ignore(x(builder).scatter_add("batch", ids(builder), foreign)));
    told(&|builder| ignore((x(builder).gt(x(builder))).select(x(builder), foreign)));
    told(&|builder| ignore(builder.concat("batch", &[x(builder), foreign])));
    told(&|builder| builder.output("y", foreign));
    told(&|builder| builder.update("x", foreign));
    told(&|builder| ignore(builder.gradients(foreign.sum_all(), &[x(builder)])));
    told(&|builder| ignore(builder.gradients(x(builder).sum_all(), &[foreign])));
    told(&|builder| ignore(builder.layers(2, Remat::Full, foreign, |_, x| x)));
    told(&|builder| ignore(builder.layers(2, Remat::Full, x(builder), |_, _| foreign)));
    told(&|builder| ignore(builder.open_loop(layers(), options()).slice(foreign)));
    told(&|builder| builder.open_loop(layers(), options()).emit(foreign));
    // Numbers from the other's key are the other's.
    told(&|builder| builder.output("y", Key::of_seed(seed).uniform(&[])));
    told(&|builder| {
        builder.output("y", builder.dropout(x(builder), 0.5, Key::of_seed(seed)));
    });
}

/// Mixing leaves the other builder as it is.
#[test]
fn a_lent_tensor_is_no_mistake_of_its_own_builder() {
    let (one, other) = (Builder::new(), Builder::new());
    assert!((x(&one) - x(&other)).is_poison());
    assert!(one.finish().is_err());
    assert_eq!(other.finish().unwrap().nodes(), 1);
}

#[test]
fn a_weight_that_is_not_here() {
    let other = Builder::new();
    other.weight("w", [("embed", 4)], Init::Ones);
    let foreign = other.weights().remove(0);
    let expected = "whole: there is no weight `w` of f32[embed=4]";
    told(expected, |builder| ignore(builder.whole(&foreign)));
    told(expected, |builder| {
        builder.weight("w", [("embed", 5)], Init::Ones);
        builder.whole(&foreign);
    });
    told(expected, |builder| {
        builder.input("w", INPUT, foreign.shape.clone());
        builder.whole(&foreign);
    });
}

#[test]
fn one_weight_with_two_starts() {
    let expected = "`w` is already declared to start as Zeros, and here as Normal(0.1)";
    told(expected, |builder| {
        builder.weight("w", [("embed", 4)], Init::Zeros);
        builder.weight("w", [("embed", 4)], Init::Normal(0.1));
    });
    let expected = "`w` is already declared within 0 loops that stack weights, and here within 1";
    told(expected, |builder| {
        builder.weight("w", [("layers", 2), ("embed", 3)], Init::Ones);
        builder.layers(2, Remat::Full, x(builder), |_, x| {
            x * builder.weight("w", [("embed", 3)], Init::Ones)
        });
    });
    // The same weight is still had by asking again.
    let builder = Builder::new();
    for _ in 0..2 {
        builder.weight("w", [("embed", 4)], Init::Normal(0.1));
    }
    assert_eq!(builder.weights().len(), 1);
    builder.finish().unwrap();
}

/// A handle is of one loop, for as long as that is open.
#[test]
fn a_closed_loop_is_not_used_again() {
    let told = |misused: &dyn Fn(&Builder, ribosome::graph::LoopBody)| {
        told("it is not open here", |builder| {
            let body = builder.open_loop(layers(), options());
            let carry = body.carry(x(builder));
            body.set_next(0, carry * 2.0);
            assert_eq!(body.close().len(), 1);
            // Another loop at its place, which nothing may be written into.
            let next = builder.open_loop(layers(), options());
            misused(builder, body);
            assert_eq!(next.close().len(), 0);
        });
    };
    told(&|_, body| ignore(body.index()));
    told(&|builder, body| ignore(body.carry(x(builder))));
    told(&|builder, body| ignore(body.slice(x(builder))));
    told(&|builder, body| body.set_next(0, x(builder)));
    told(&|builder, body| body.emit(x(builder)));
    told(&|builder, body| ignore(body.outside(|| x(builder))));
    told(&|_, body| assert!(body.close()[0].is_poison()));
}

#[test]
fn loops_are_closed_from_the_inside() {
    told("it is closed before a loop within it", |builder| {
        let outer = builder.open_loop(layers(), options());
        let inner = builder.open_loop(Axis::new("inner", 2), options());
        outer.emit(outer.index());
        assert_eq!(outer.close().len(), 1);
        assert_eq!(inner.close().len(), 0);
    });
    told("it is never closed", |builder| {
        builder.open_loop(layers(), options());
    });
}

#[test]
fn values_stay_within_their_loops() {
    // The inner loop's index as a result of the outer one.
    told("a result belongs to another loop's body", |builder| {
        let outer = builder.open_loop(layers(), options());
        let inner = builder.open_loop(Axis::new("inner", 2), options());
        outer.emit(inner.index());
        inner.close();
        outer.close();
    });
    told(
        "it reads a tensor of its own body from outside",
        |builder| {
            let body = builder.open_loop(layers(), options());
            body.carry(body.index());
            body.close();
        },
    );
    let is_left = "the closure of `outside` closes a loop around it or leaves one open";
    told(is_left, |builder| {
        let body = builder.open_loop(layers(), options());
        body.outside(|| builder.open_loop(layers(), options()).index());
        body.close();
    });
    told(is_left, |builder| {
        let outer = builder.open_loop(layers(), options());
        let inner = builder.open_loop(Axis::new("inner", 2), options());
        inner.outside(|| outer.close());
        inner.emit(inner.index());
        assert!(inner.close()[0].is_poison());
    });
    told("it is not open here", |builder| {
        let body = builder.open_loop(layers(), options());
        body.outside(|| body.emit(x(builder)));
        body.close();
    });
}

/// Model code that panics, and is caught, leaves a builder that goes on saying what is wrong.
#[test]
fn a_panic_of_model_code() {
    let caught = |body: &dyn Fn()| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        assert!(result.is_err());
    };
    told("it is not open here", |builder| {
        let body = builder.open_loop(layers(), options());
        caught(&|| body.outside(|| panic!("model code")));
        assert!(body.close().is_empty());
    });
    let builder = Builder::new();
    caught(&|| builder.scope("inner", || panic!("model code")));
    assert_eq!(builder.path(), "");
}

/// What an outer loop is told while an inner one is open belongs to the outer one.
#[test]
fn an_outer_loop_is_told_from_within_an_inner_one() {
    let builder = Builder::new();
    let outer = builder.open_loop(layers(), options());
    let inner = builder.open_loop(Axis::new("inner", 3), options());
    let carry = outer.carry(x(&builder));
    inner.emit(carry * 2.0);
    outer.emit(carry);
    outer.set_next(0, carry);
    let stack = inner.close()[0];
    outer.emit(stack);
    for (at, result) in outer.close().into_iter().enumerate() {
        builder.output(&at.to_string(), result);
    }
    let graph = builder.finish().unwrap().check().unwrap();
    let shape = |at: usize| graph.root().shape(graph.outputs[at].node).to_string();
    assert_eq!(shape(0), "f32[batch=2, embed=3]");
    assert_eq!(shape(1), "f32[layers=2, batch=2, embed=3]");
    assert_eq!(shape(2), "f32[layers=2, inner=3, batch=2, embed=3]");
}

#[test]
fn carries_and_axes_that_a_loop_does_not_have() {
    told("it has no carry 0", |builder| {
        let body = builder.open_loop(layers(), options());
        body.set_next(0, body.index());
        body.close();
    });
    told("its carry 0 already has a next value", |builder| {
        let body = builder.open_loop(layers(), options());
        let carry = body.carry(x(builder));
        body.set_next(0, carry);
        body.set_next(0, carry * 2.0);
        body.close();
    });
    for size in [0, 1 << 31] {
        told("its s32 index allows 1 to 2^31 - 1 iterations", |builder| {
            builder
                .open_loop(Axis::new("layers", size), options())
                .close();
        });
    }
    told(
        "it slices s32[], whose first axis is not layers=2",
        |builder| {
            let number = builder.constant(1.0, DType::S32);
            let body = builder.open_loop(layers(), options());
            body.slice(number);
            body.close();
        },
    );
}

/// After a mistake a loop has as many results as it was asked for.
#[test]
fn a_mistake_leaves_the_number_of_results() {
    told("neither operand has all axes of the other", |builder| {
        let wrong = x(builder) + ids(builder).rename("batch", "rows").cast(DType::F32);
        let body = builder.open_loop(layers(), options());
        let carry = body.carry(wrong);
        body.set_next(0, carry);
        for _ in 0..40 {
            body.emit(wrong);
        }
        assert!(body.close()[40].is_poison());
    });
}

#[test]
fn a_size_of_an_axis_that_is_not_there() {
    let builder = Builder::new();
    assert_eq!(x(&builder).size("embed"), 3);
    assert_eq!(x(&builder).size("head_dim"), 1);
    let error = builder.finish().unwrap_err();
    let Problem::Shape(shape) = &error.problem else {
        panic!("{error}")
    };
    assert!(matches!(&**shape, ShapeError::NoAxis { axis, .. } if axis == "head_dim"));
    assert_eq!(shape.constraint(), 5);
    told("f32[batch=2, embed=3] has no axis `head_dim`", |builder| {
        x(builder).size("head_dim");
    });
    told("no axis `head_dim`", |builder| {
        ignore(x(builder).mean(["head_dim"]))
    });
}

#[test]
fn rates_and_probabilities_out_of_range() {
    fn key(builder: &Builder) -> Key<'_> {
        Key::of_seed(builder.constant(1.0, DType::U32))
    }
    for rate in [1.0, 1.5, -0.1, f64::NAN, f64::INFINITY] {
        let expected = format!("the rate {rate} is not at least 0 and below 1");
        told(&expected, |builder| {
            builder.dropout(x(builder), rate, key(builder));
        });
    }
    for p in [1.0 + 1e-9, -1e-9, f64::NAN, f64::NEG_INFINITY] {
        let expected = format!("the probability {p} is not from 0 to 1");
        told(&expected, |builder| ignore(key(builder).chance(p, &[])));
    }
    for limit in [0, (1 << 31) + 1] {
        let expected = format!("the limit {limit} is not from 1 to 2^31");
        told(&expected, |builder| ignore(key(builder).below(limit, &[])));
    }
    let builder = Builder::new();
    builder.dropout(x(&builder), 0.0, key(&builder));
    key(&builder).below(1 << 31, &[]);
    key(&builder).chance(1.0, &[]);
    builder.finish().unwrap();
}

/// A mistake within a method is placed at its call.
#[test]
fn mistakes_are_placed_at_the_call() {
    told("C9: f32[rows=2] cannot be broadcast to", |builder| {
        let rows = ids(builder).rename("batch", "rows").cast(DType::F32);
        let x = x(builder);
        x.gt(x).select(x, rows);
    });
    told("C5: f32[batch=2, embed=3] has no axis `kv`", |builder| {
        x(builder).sum(["kv"]);
    });
}

/// What a whole-number type does not have is not taken as what it has.
#[test]
fn numbers_of_another_type() {
    for (value, dtype) in [
        (2.5, DType::S32),
        (f64::NAN, DType::S32),
        (2f64.powi(31), DType::S32),
        (-1.0, DType::U32),
    ] {
        let expected = format!("C14: {dtype} cannot hold {value}");
        told(&expected, |builder| ignore(builder.constant(value, dtype)));
    }
    told("C14: s32 cannot hold 0.5", |builder| {
        let _ = ids(builder) * 0.5;
    });
    told("C14: s32 cannot hold 0.5", |builder| {
        ids(builder).pad("batch", 1, 0, 0.5);
    });
    told("C8: f32 times f32 does not give s32", |builder| {
        x(builder).dot_as(x(builder), ["embed"], DType::S32);
    });
    told("C17: it gives tuple[batch=2, embed=3]", |builder| {
        x(builder).cast(DType::Tuple);
    });
}

#[test]
fn gradients_of_what_has_none() {
    told("only floats have them, not s32[batch=2]", |builder| {
        let ids = ids(builder);
        builder.gradients((ids.cast(DType::F32) * 2.5).sum_all(), &[ids]);
    });
    told("the loss belongs to the body of a closed loop", |builder| {
        let mut inner = None;
        let x = x(builder);
        builder.layers(2, Remat::Full, x, |_, x| {
            inner = Some(x.sum_all());
            x
        });
        builder.gradients(inner.unwrap(), &[x]);
    });
    told("the loss belongs to a loop around this one", |builder| {
        let loss = x(builder).sum_all();
        let body = builder.open_loop(layers(), options());
        builder.gradients(loss, &[loss]);
        body.close();
    });
}

/// Sizes up to the largest are refused, or counted, and overflow nothing.
#[test]
fn sizes_beyond_all_bounds() {
    let builder = Builder::new();
    let x = builder.input("x", INPUT, Shape::new(DType::F32, [("embed", 1)]));
    let y = x.pad_between("embed", 0, 0, usize::MAX, 0.0);
    let y = y.slice_by("embed", 0, 1, usize::MAX);
    builder.gradients(y.sum_all(), &[x]);
    builder.finish().unwrap();
    told("C5: `embed` is named twice", |builder| {
        let long = Shape::new(DType::F32, [("embed", 1 << 40)]);
        builder.input("x", INPUT, long).mean(["embed", "embed"]);
    });
}
