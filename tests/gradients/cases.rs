//! The cases: at least one for each operation, with shapes drawn anew for each seed.

use ribosome::graph::op::Unary;
use ribosome::graph::{Axis, Builder, DType, LoopOptions, Policy, Remat, Shape, Tensor};
use ribosome::models::Context;
use ribosome::models::rotary::rotate;

use crate::common::{f64_shape, next};

/// A function of some inputs, whose gradients are to be checked.
pub struct Case {
    /// The operation that it is about.
    pub operation: &'static str,
    /// Shapes, and the ranges that values are drawn from.
    pub inputs: Vec<(Shape, (f64, f64))>,
    /// The function.
    pub build: Build,
    /// The inputs whose gradient is zero though their slope is not.
    pub frozen: Vec<usize>,
    /// How far an element is moved to either side.
    pub step: f64,
    /// The largest difference allowed, in parts of the largest element (or of 1).
    pub tolerance: f64,
}

/// An input's axes, and the range that its values are drawn from.
type Input<'a> = (&'a [(&'static str, usize)], (f64, f64));

type Build = Box<dyn for<'g> Fn(&'g Builder, &[Tensor<'g>]) -> Tensor<'g>>;

/// The state of a generator of numbers.
pub struct Random(pub u64);

impl Random {
    /// A whole number from `low` to `high`, both possible.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (next(&mut self.0) * (high - low + 1) as f64) as usize
    }

    /// The same things in another order.
    fn shuffled<T: Clone>(&mut self, things: &[T]) -> Vec<T> {
        let mut things = things.to_vec();
        for at in (1..things.len()).rev() {
            things.swap(at, self.between(0, at));
        }
        things
    }

    /// Axes of these names, of 1 to 4 elements, in any order.
    fn axes(&mut self, names: &[&'static str]) -> Vec<(&'static str, usize)> {
        let axes: Vec<_> = names
            .iter()
            .map(|name| (*name, self.between(1, 4)))
            .collect();
        self.shuffled(&axes)
    }
}

const WIDE: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.3, 2.0);

fn case(
    operation: &'static str,
    inputs: &[Input],
    build: impl for<'g> Fn(&'g Builder, &[Tensor<'g>]) -> Tensor<'g> + 'static,
) -> Case {
    Case {
        operation,
        inputs: inputs
            .iter()
            .map(|(axes, range)| (f64_shape(axes), *range))
            .collect(),
        build: Box::new(build),
        frozen: Vec::new(),
        step: 1e-5,
        tolerance: 1e-6,
    }
}

/// A case of one input.
fn one(
    operation: &'static str,
    axes: &[(&'static str, usize)],
    build: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g> + 'static,
) -> Case {
    case(operation, &[(axes, WIDE)], move |_, inputs| {
        build(inputs[0])
    })
}

/// A case of two inputs.
fn two(
    operation: &'static str,
    left: &[(&'static str, usize)],
    right: &[(&'static str, usize)],
    build: impl for<'g> Fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g> + 'static,
) -> Case {
    case(
        operation,
        &[(left, WIDE), (right, WIDE)],
        move |_, inputs| build(inputs[0], inputs[1]),
    )
}

/// All cases, with shapes from `random`.
pub fn cases(random: &mut Random) -> Vec<Case> {
    let mut all = elementwise(random);
    all.extend(products(random));
    all.extend(reductions(random));
    all.extend(views(random));
    all.extend(lookups(random));
    all.extend(loops(random));
    all.extend(marks(random));
    all.extend(layers(random));
    all
}

/// What models are put together from.
fn layers(random: &mut Random) -> Vec<Case> {
    let length = random.between(1, 4);
    let axes = [("batch", 2), ("length", length), ("heads", 2), ("kv", 4)];
    vec![case("concatenate", &[(&axes, WIDE)], |builder, inputs| {
        rotate(Context::new(builder, Policy::F64), inputs[0], 100.0)
    })]
}

fn elementwise(random: &mut Random) -> Vec<Case> {
    let mut all = Vec::new();
    for kind in Unary::ALL {
        let range = match kind {
            Unary::Log | Unary::Sqrt | Unary::Rsqrt => POSITIVE,
            Unary::Log1p => (-0.6, 2.0),
            _ => WIDE,
        };
        let axes = random.axes(&["batch", "embed"]);
        all.push(case(kind.name(), &[(&axes, range)], move |_, inputs| {
            unary(*kind, inputs[0])
        }));
    }
    let axes = random.axes(&["batch", "length", "embed"]);
    // The same axes, then fewer axes in another order: the builder broadcasts by name.
    let fewer = random.shuffled(&axes[..2]);
    all.push(two("add", &axes, &fewer, |x, y| x + y));
    all.push(two("add", &fewer, &axes, |x, y| x + y + x));
    all.push(two("subtract", &axes, &fewer, |x, y| x - y));
    all.push(two("multiply", &axes, &axes, |x, y| x * y * x));
    all.push(two("maximum", &axes, &fewer, |x, y| x.maximum(y)));
    all.push(two("minimum", &axes, &axes, |x, y| x.minimum(y)));
    all.push(case(
        "divide",
        &[(&axes, WIDE), (&fewer, POSITIVE)],
        |_, of| of[0] / of[1],
    ));
    all.push(case(
        "power",
        &[(&axes, POSITIVE), (&fewer, WIDE)],
        |_, of| of[0].pow(of[1]),
    ));
    all.push(one("power", &fewer, |x| x.pow(x.constant(3.0))));
    all.push(case(
        "remainder",
        &[(&axes, (-5.0, 5.0)), (&axes, POSITIVE)],
        |_, of| of[0].rem(of[1]),
    ));
    for (operation, both) in [
        (
            "and",
            (|x, y| x.and(y)) as for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
        ),
        ("or", |x, y| x.or(y)),
        ("xor", |x, y| x.xor(y)),
    ] {
        all.push(two(operation, &axes, &axes, move |x, y| {
            both(x.gt(x.constant(0.0)), y.gt(y.constant(0.5))).select(x * y, x.sin())
        }));
    }
    for (operation, shift) in [
        (
            "shift-left",
            (|x, y| x.shift_left(y)) as for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
        ),
        ("shift-right-logical", |x, y| x.shift_right(y)),
    ] {
        all.push(one(operation, &fewer, move |x| {
            let whole = x.abs().cast(DType::S32) + 1.0;
            x * shift(whole, whole.constant(1.0)).cast(DType::F64)
        }));
    }
    all.push(two("compare", &axes, &axes, |x, y| {
        x.lt(y).cast(DType::F64) * x * y
    }));
    all.push(two("select", &axes, &fewer, |x, y| {
        x.gt(y).select(x * x, y)
    }));
    all.push(one("select", &axes, |x| {
        x.le(x.constant(0.1)).select(x.constant(0.0), x.exp())
    }));
    all.push(inexact(
        1e-5,
        two("convert", &fewer, &fewer, |x, y| {
            x.cast(DType::F32) * y.cast(DType::F32)
        }),
    ));
    all.push(inexact(
        2e-2,
        one("convert", &fewer, |x| x.cast(DType::BF16)),
    ));
    all
}

/// A case that is linear in each element, computed in shorter floats: long steps keep the rounding small.
fn inexact(tolerance: f64, case: Case) -> Case {
    Case {
        step: 0.5,
        tolerance,
        ..case
    }
}

fn unary(kind: Unary, x: Tensor<'_>) -> Tensor<'_> {
    match kind {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => x * x.sign(),
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.log(),
        Unary::Log1p => x.log1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => x.rsqrt(),
        Unary::Tanh => x.tanh(),
        Unary::Logistic => x.logistic(),
        Unary::Erf => x.erf(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Floor => x * x.floor(),
        Unary::Not => x.gt(x.constant(0.0)).not().select(x * x, x),
    }
}

fn products(random: &mut Random) -> Vec<Case> {
    let pool = random.axes(&["batch", "heads", "length", "keys", "embed", "kv"]);
    let mut of = |names: &[&str]| {
        let axes: Vec<_> = pool
            .iter()
            .filter(|(name, _)| names.contains(name))
            .copied()
            .collect();
        random.shuffled(&axes)
    };
    vec![
        // A matrix product; batch axes on both sides in any order; two contracted axes; none; a square.
        two(
            "dot",
            &of(&["length", "embed"]),
            &of(&["embed", "kv"]),
            |x, y| x.dot(y, ["embed"]),
        ),
        two(
            "dot",
            &of(&["batch", "heads", "length", "kv"]),
            &of(&["batch", "heads", "keys", "kv"]),
            |x, y| x.dot(y, ["kv"]),
        ),
        two(
            "dot",
            &of(&["batch", "heads", "kv"]),
            &of(&["heads", "kv", "embed"]),
            |x, y| x.dot(y, ["kv", "heads"]),
        ),
        two("dot", &of(&["length"]), &of(&["keys"]), |x, y| {
            x.dot(y, [""; 0])
        }),
        two(
            "dot",
            &of(&["batch", "embed"]),
            &of(&["batch", "embed"]),
            |x, y| x.dot(y, ["embed"]),
        ),
        one("dot", &of(&["batch", "embed"]), |x| x.dot(x, ["batch"])),
        inexact(
            1e-5,
            two(
                "dot",
                &of(&["length", "embed"]),
                &of(&["embed", "kv"]),
                |x, y| {
                    x.cast(DType::F32)
                        .dot_as(y.cast(DType::F32), ["embed"], DType::F64)
                },
            ),
        ),
        inexact(
            3e-2,
            two(
                "dot",
                &of(&["length", "embed"]),
                &of(&["embed", "kv"]),
                |x, y| {
                    x.cast(DType::BF16)
                        .dot_as(y.cast(DType::BF16), ["embed"], DType::F32)
                },
            ),
        ),
    ]
}

fn reductions(random: &mut Random) -> Vec<Case> {
    let axes = random.axes(&["batch", "length", "embed"]);
    let (first, last) = (axes[0].0, axes[2].0);
    vec![
        one("reduce sum", &axes, move |x| x.sin().sum([last, first])),
        one("reduce sum", &axes, |x| x.sin().sum_all()),
        one("reduce max", &axes, move |x| x.max([first, last])),
        one("reduce max", &axes, move |x| (x - x.max([first])).exp()),
        one("reduce min", &axes, move |x| x.min([last])),
    ]
}

fn views(random: &mut Random) -> Vec<Case> {
    let axes = random.axes(&["batch", "length"]);
    let (first, size) = axes[0];
    let wide: Vec<_> = axes
        .iter()
        .copied()
        .chain([("heads", random.between(1, 3))])
        .collect();
    let order = random.shuffled(&wide);
    let more: Vec<_> = order
        .iter()
        .map(|(name, size)| Axis::new(*name, *size))
        .collect();
    let turned: Vec<_> = order.iter().map(|(name, _)| *name).collect();
    let (outer, inner) = (random.between(1, 3), random.between(1, 3));
    let long = random.between(3, 6);
    let (start, stride) = (random.between(0, 2), random.between(1, 3));
    let limit = random.between(start + 1, long);
    let [low, high, interior] = [(); 3].map(|()| random.between(0, 2));
    vec![
        one("broadcast", &axes, move |x| x.broadcast(more.clone())),
        one("transpose", &wide, move |x| {
            // Twice, so that one of them moves something.
            let back: Vec<_> = x
                .shape()
                .axes
                .into_iter()
                .rev()
                .map(|axis| axis.name)
                .collect();
            x.transpose(back).transpose(turned.clone())
        }),
        one("rename", &[("length", 3)], |x| {
            x.rename("length", "keys").sin()
        }),
        one(
            "split",
            &[("embed", outer * inner), ("batch", 2)],
            move |x| x.split("embed", [("heads", outer), ("kv", inner)]),
        ),
        one("split", &[("length", 3), ("embed", 1), ("batch", 2)], |x| {
            x.split("embed", [("", 0); 0])
        }),
        one(
            "merge",
            &[("batch", 2), ("heads", outer), ("kv", inner)],
            |x| x.merge(["heads", "kv"], "embed"),
        ),
        one("slice", &[("batch", 2), ("length", long)], move |x| {
            x.slice_by("length", start, limit, stride)
        }),
        one("pad", &axes, move |x| {
            x.pad_between(first, low, high + 1, interior, 0.5)
        }),
        two("concatenate", &axes, &axes, move |x, y| {
            let fixed = x.builder().full(1.0, x.shape());
            x.builder().concat(first, &[x, fixed, y, x])
        }),
        one("reverse", &[(first, size), ("embed", 3)], move |x| {
            x.reverse(first)
        }),
    ]
}

fn lookups(random: &mut Random) -> Vec<Case> {
    let long = random.between(2, 5);
    let size = random.between(1, long);
    // Also starts that are too high, which are taken as the highest that fits.
    let start = random.between(0, long) as f64;
    let table = random.shuffled(&[("vocab", 4), ("embed", 3)]);
    let ids: Vec<_> = (0..6).map(|_| random.between(0, 3) as i64).collect();
    // Also ids outside, whose rows are left out.
    let wide: Vec<_> = (0..6).map(|_| random.between(0, 5) as i64 - 1).collect();
    vec![
        one(
            "dynamic-slice",
            &[("batch", 2), ("length", long)],
            move |x| {
                let start = x.builder().constant(start, DType::S32);
                x.dynamic_slice("length", start, size)
            },
        ),
        two(
            "dynamic-update-slice",
            &[("length", long), ("batch", 2)],
            &[("length", size), ("batch", 2)],
            move |x, y| {
                let start = x.builder().constant(start, DType::S32);
                x.dynamic_update("length", y, start)
            },
        ),
        one("gather", &table, move |x| {
            x.gather("vocab", rows(x.builder(), ids.clone()))
        }),
        one("gather", &table, |x| {
            x.gather("vocab", x.builder().constant(2.0, DType::S32))
        }),
        two(
            "scatter-add",
            &table,
            &[("batch", 2), ("length", 3), ("embed", 3)],
            move |x, y| x.scatter_add("vocab", rows(x.builder(), wide.clone()), y),
        ),
    ]
}

/// Ids of axes `batch` and `length`.
fn rows(builder: &Builder, ids: Vec<i64>) -> Tensor<'_> {
    builder
        .table("batch", ids)
        .split("batch", [("batch", 2), ("length", 3)])
}

fn loops(random: &mut Random) -> Vec<Case> {
    let mut all = Vec::new();
    for operation in ["loop", "get", "argument"] {
        for remat in [Remat::Full, Remat::Dots] {
            let count = random.between(1, 3);
            let reverse = random.between(0, 1) == 1;
            let [batch, embed] = [(); 2].map(|()| random.between(1, 3));
            let x: &[_] = &[("batch", batch), ("embed", embed)];
            let stack: &[_] = &[("layers", count), ("embed", embed)];
            let inputs = [(x, WIDE), (stack, WIDE), (&stack[1..], WIDE)];
            all.push(case(operation, &inputs, move |builder, of| {
                let options = LoopOptions {
                    reverse,
                    remat,
                    ..LoopOptions::default()
                };
                let body = builder.open_loop(Axis::new("layers", count), options);
                let carry = body.carry(of[0]);
                let part = body.slice(of[1]);
                let outer = carry.dot(part, ["embed"]).tanh();
                let next = (carry * of[2]).sin() * outer + part;
                body.set_next(0, next);
                body.emit(next * part);
                let results = body.close();
                results[0] * results[1].sum(["layers"])
            }));
        }
    }
    all
}

fn marks(random: &mut Random) -> Vec<Case> {
    let axes = random.axes(&["batch", "embed"]);
    let name = axes[0].0;
    let shape = f64_shape(&axes);
    vec![
        one("parameter", &axes, |x| x),
        one("constant", &axes, |x| x * 3.0 - 2.0),
        one("iota", &axes, move |x| {
            x * x.builder().iota(name, shape.clone())
        }),
        one("pin", &axes, |x| {
            x.pin().sin().pin_weight().cos().pin_residual()
        }),
        one("barrier", &axes, |x| (x * x).barrier()),
        one("tag", &axes, |x| (x * x).tag("square")),
        Case {
            frozen: vec![1],
            ..two("detach", &axes, &axes, |x, y| x * (y * y).detach())
        },
    ]
}
