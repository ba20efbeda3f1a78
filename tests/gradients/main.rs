//! Every operation's gradient against central differences, in `f64` on the CPU, over random shapes and values.
//!
//! All cases of a seed are one program, since compiling is what takes time: it gives each case's loss and gradients,
//! and is run twice for each element, with that element moved up and down in all cases at once.

mod cases;
#[path = "../common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};

use cases::{Case, Random, cases};
use common::{INPUT, assert_close, config, cpu, f64_shape, lowered, next};
use ribosome::graph::op::{Binary, Op, Reduction, Unary};
use ribosome::graph::{Axis, Builder, DType, Graph, Remat, Shape, Tensor};
use ribosome::runtime::{HostArray, Session};

/// Defines the names of all operations, and which one an operation has. Being a match, it makes the compiler ask for a
/// line here for each new operation; being a list, it makes the test ask for a case.
macro_rules! operations {
    ($($pattern:pat => $name:literal),* $(,)?) => {
        const OPERATIONS: &[&str] = &[$($name),*];

        fn operation(op: &Op) -> &'static str {
            match op { $($pattern => $name),* }
        }
    };
}

operations! {
    Op::Parameter { .. } => "parameter",
    Op::Argument { .. } => "argument",
    Op::Constant { .. } => "constant",
    Op::Iota { .. } => "iota",
    Op::Unary(Unary::Neg) => "negate",
    Op::Unary(Unary::Abs) => "abs",
    Op::Unary(Unary::Sign) => "sign",
    Op::Unary(Unary::Exp) => "exponential",
    Op::Unary(Unary::Expm1) => "exponential-minus-one",
    Op::Unary(Unary::Log) => "log",
    Op::Unary(Unary::Log1p) => "log-plus-one",
    Op::Unary(Unary::Sqrt) => "sqrt",
    Op::Unary(Unary::Rsqrt) => "rsqrt",
    Op::Unary(Unary::Tanh) => "tanh",
    Op::Unary(Unary::Logistic) => "logistic",
    Op::Unary(Unary::Erf) => "erf",
    Op::Unary(Unary::Sin) => "sine",
    Op::Unary(Unary::Cos) => "cosine",
    Op::Unary(Unary::Floor) => "floor",
    Op::Unary(Unary::Not) => "not",
    Op::Binary(Binary::Add) => "add",
    Op::Binary(Binary::Sub) => "subtract",
    Op::Binary(Binary::Mul) => "multiply",
    Op::Binary(Binary::Div) => "divide",
    Op::Binary(Binary::Max) => "maximum",
    Op::Binary(Binary::Min) => "minimum",
    Op::Binary(Binary::Pow) => "power",
    Op::Binary(Binary::Rem) => "remainder",
    Op::Binary(Binary::And) => "and",
    Op::Binary(Binary::Or) => "or",
    Op::Binary(Binary::Xor) => "xor",
    Op::Binary(Binary::ShiftLeft) => "shift-left",
    Op::Binary(Binary::ShiftRight) => "shift-right-logical",
    Op::Compare(_) => "compare",
    Op::Select => "select",
    Op::Convert(_) => "convert",
    Op::Dot { .. } => "dot",
    Op::Reduce { kind: Reduction::Sum, .. } => "reduce sum",
    Op::Reduce { kind: Reduction::Max, .. } => "reduce max",
    Op::Reduce { kind: Reduction::Min, .. } => "reduce min",
    Op::Broadcast(_) => "broadcast",
    Op::Transpose(_) => "transpose",
    Op::Rename { .. } => "rename",
    Op::Split { .. } => "split",
    Op::Merge { .. } => "merge",
    Op::Slice { .. } => "slice",
    Op::Pad { .. } => "pad",
    Op::Concat(_) => "concatenate",
    Op::Reverse(_) => "reverse",
    Op::DynamicSlice { .. } => "dynamic-slice",
    Op::DynamicUpdate(_) => "dynamic-update-slice",
    Op::Gather(_) => "gather",
    Op::ScatterAdd(_) => "scatter-add",
    Op::Loop(_) => "loop",
    Op::Get { .. } => "get",
    Op::Pin(_) => "pin",
    Op::Barrier => "barrier",
    Op::Tag(_) => "tag",
    Op::Detach => "detach",
}

#[test]
fn every_operation_has_a_case() {
    let cases = cases(&mut Random(0));
    let cases: BTreeSet<_> = cases.iter().map(|case| case.operation).collect();
    let missing: Vec<_> = OPERATIONS
        .iter()
        .filter(|name| !cases.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "no gradient is checked of {missing:?}: add to tests/gradients/cases.rs"
    );
}

#[test]
fn every_case_holds_its_operation() {
    for case in cases(&mut Random(0)) {
        let builder = Builder::new();
        let inputs: Vec<_> = (case.inputs.iter().enumerate())
            .map(|(at, (shape, _))| builder.input(&at.to_string(), INPUT, shape.clone()))
            .collect();
        (case.build)(&builder, &inputs);
        let graph = builder
            .finish()
            .unwrap_or_else(|error| panic!("{}: {error}", case.operation));
        let held = graph.regions.iter().flat_map(|region| &region.nodes);
        let held: BTreeSet<_> = held.map(|node| operation(&node.op)).collect();
        assert!(
            held.contains(case.operation),
            "the case of {} has only {held:?}",
            case.operation
        );
    }
}

#[test]
fn gradients_are_slopes() {
    for seed in 1..=3 {
        let mut random = Random(seed);
        let cases = cases(&mut random);
        Differences::new(&cases, &mut random).check(seed);
    }
}

/// The cases as one compiled program, and where its inputs stand.
struct Differences<'a> {
    cases: &'a [Case],
    session: Session,
    /// By input's name: its shape and values.
    inputs: BTreeMap<String, (Shape, Vec<f64>)>,
}

fn input_name(case: usize, input: usize) -> String {
    format!("{case}/input/{input}")
}

impl<'a> Differences<'a> {
    fn new(cases: &'a [Case], random: &mut Random) -> Self {
        let graph = program(cases);
        let parameters: Vec<_> = (graph.parameters())
            .map(|(id, name, _)| (name.to_string(), graph.root().shape(id).clone()))
            .collect();
        let mut inputs = BTreeMap::new();
        for (name, shape) in parameters {
            // What is no case's own input is a weight of its result.
            let mut parts = name.split('/');
            let case: usize = parts.next().unwrap().parse().unwrap();
            let (low, high) = match parts.nth(1) {
                Some(input) => cases[case].inputs[input.parse::<usize>().unwrap()].1,
                None => (-1.0, 1.0),
            };
            let value = |_| low + (high - low) * next(&mut random.0);
            let values = (0..shape.elements()).map(value).collect();
            inputs.insert(name, (shape, values));
        }
        let program = lowered(graph, "data=1,model=1");
        let session = Session::new(&cpu(1), &program, &config(1)).expect("it compiles");
        Differences {
            cases,
            session,
            inputs,
        }
    }

    fn check(&self, seed: u64) {
        let gradients = self.run(0, 0.0);
        let sizes: Vec<Vec<usize>> = (self.cases.iter())
            .map(|case| {
                case.inputs
                    .iter()
                    .map(|(shape, _)| shape.elements())
                    .collect()
            })
            .collect();
        let most = sizes
            .iter()
            .map(|sizes| sizes.iter().sum())
            .max()
            .unwrap_or(0);
        let mut slopes = vec![Vec::new(); self.cases.len()];
        for element in 0..most {
            let (above, below) = (self.run(element, 1.0), self.run(element, -1.0));
            for (at, case) in self.cases.iter().enumerate() {
                let loss = format!("{at}/loss");
                slopes[at].push((above[&loss][0] - below[&loss][0]) / (2.0 * case.step));
            }
        }
        for (at, case) in self.cases.iter().enumerate() {
            let mut start = 0;
            for (input, size) in sizes[at].iter().enumerate() {
                let mut expected = slopes[at][start..start + size].to_vec();
                if case.frozen.contains(&input) {
                    assert!(
                        expected.iter().any(|slope| *slope != 0.0),
                        "it has no slope to hide"
                    );
                    expected.fill(0.0);
                }
                let what = format!("seed {seed}, case {at} ({}), input {input}", case.operation);
                let found = &gradients[&format!("{at}/gradient/{input}")];
                assert_close(&what, found, &expected, case.tolerance);
                start += size;
            }
        }
    }

    /// The program's results with the element numbered `element` of each case's inputs moved by `steps` of its steps.
    fn run(&self, element: usize, steps: f64) -> BTreeMap<String, Vec<f64>> {
        let mut arrays = BTreeMap::new();
        for (name, (shape, values)) in &self.inputs {
            arrays.insert(
                name.clone(),
                HostArray::from_f64(shape.clone(), values).unwrap(),
            );
        }
        for (at, case) in self.cases.iter().enumerate() {
            let mut start = 0;
            for (input, (shape, _)) in case.inputs.iter().enumerate() {
                if (start..start + shape.elements()).contains(&element) {
                    let name = input_name(at, input);
                    let mut values = self.inputs[&name].1.clone();
                    values[element - start] += steps * case.step;
                    arrays.insert(name, HostArray::from_f64(shape.clone(), &values).unwrap());
                }
                start += shape.elements();
            }
        }
        let outputs = self.session.evaluate(&arrays).expect("it runs").into_iter();
        outputs
            .map(|(name, array)| (name, array.to_f64()))
            .collect()
    }
}

/// The graph of all cases: each one's loss (its result weighted at random, so that no two elements are alike) and the
/// gradients for its inputs.
fn program(cases: &[Case]) -> Graph {
    let builder = Builder::new();
    for (at, case) in cases.iter().enumerate() {
        builder.scope(case.operation, || {
            let inputs: Vec<_> = (case.inputs.iter().enumerate())
                .map(|(input, (shape, _))| {
                    builder.input(&input_name(at, input), INPUT, shape.clone())
                })
                .collect();
            let result = (case.build)(&builder, &inputs);
            let weights = result.shape().with_dtype(DType::F64);
            let weights = builder.input(&format!("{at}/weights"), INPUT, weights);
            let loss = (result.cast(DType::F64) * weights).sum_all();
            builder.output(&format!("{at}/loss"), loss);
            for (input, gradient) in builder.gradients(loss, &inputs).into_iter().enumerate() {
                builder.output(&format!("{at}/gradient/{input}"), gradient);
            }
        });
    }
    builder.finish().unwrap_or_else(|error| panic!("{error}"))
}

/// Where there is no slope, the gradient is one of the sensible choices, always the same.
#[test]
fn ties_and_corners() {
    let builder = Builder::new();
    let x = builder.input("x", INPUT, common::f64_shape(&[("embed", 4)]));
    let gradient = |name: &str, loss| builder.output(name, builder.gradients(loss, &[x])[0]);
    gradient("max", x.max(["embed"]));
    gradient("relu", x.maximum(x.constant(0.0)).sum_all());
    gradient("abs", x.abs().sum_all());
    gradient("unused", builder.constant(1.0, DType::F64));
    gradient("integers", x.cast(DType::S32).cast(DType::F64).sum_all());
    let inputs = [("x".to_string(), vec![3.0, 0.0, 3.0, -1.0])];
    let found = common::evaluate(builder.finish().unwrap(), &inputs);
    assert_eq!(found["max"], [0.5, 0.0, 0.5, 0.0], "the largest share it");
    assert_eq!(found["relu"], [1.0, 0.0, 1.0, 0.0], "relu is flat at 0");
    assert_eq!(found["abs"], [1.0, 0.0, 1.0, -1.0]);
    assert_eq!(found["unused"], [0.0; 4]);
    assert_eq!(
        found["integers"], [0.0; 4],
        "whole numbers let no gradient through"
    );
}

/// Powers at 0 have the gradients that JAX gives them, and no number is lost: 0^2, 0^0, 0^1, 2^0.
#[test]
fn powers_of_nothing() {
    let builder = Builder::new();
    let [x, p] = ["x", "p"].map(|name| builder.input(name, INPUT, f64_shape(&[("embed", 4)])));
    let gradients = builder.gradients(x.pow(p).sum_all(), &[x, p]);
    builder.output("x", gradients[0]);
    builder.output("p", gradients[1]);
    let inputs = [
        ("x".to_string(), vec![0.0, 0.0, 0.0, 2.0]),
        ("p".to_string(), vec![2.0, 0.0, 1.0, 0.0]),
    ];
    let found = common::evaluate(builder.finish().unwrap(), &inputs);
    assert_eq!(found["x"], [0.0, 0.0, 1.0, 0.0]);
    assert_eq!(found["p"], [0.0, 0.0, 0.0, 2f64.ln()]);
}

/// Rows with ids outside are left out, and so is their gradient, where a lookup takes the nearest row.
#[test]
fn rows_that_are_left_out() {
    for (dtype, outside) in [
        (DType::S32, 7.0),
        (DType::S32, -1.0),
        (DType::S32, 3.0),
        (DType::U32, 3.0),
        (DType::U32, 4294967295.0),
    ] {
        let builder = Builder::new();
        let t = builder.input("t", INPUT, f64_shape(&[("vocab", 3)]));
        let r = builder.input("r", INPUT, f64_shape(&[("batch", 2)]));
        let ids = builder.input("ids", INPUT, Shape::new(dtype, [("batch", 2)]));
        let weights = builder.input("weights", INPUT, f64_shape(&[("vocab", 3)]));
        let y = t.scatter_add("vocab", ids, r);
        builder.output("y", y);
        let gradients = builder.gradients((y * weights).sum_all(), &[t, r]);
        builder.output("t", gradients[0]);
        builder.output("r", gradients[1]);
        let inputs = [
            ("t", vec![0.5; 3]),
            ("r", vec![2.0, 4.0]),
            ("ids", vec![1.0, outside]),
            ("weights", vec![10.0, 20.0, 30.0]),
        ];
        let inputs = inputs.map(|(name, values)| (name.to_string(), values));
        let found = common::evaluate(builder.finish().unwrap(), &inputs);
        assert_eq!(found["y"], [0.5, 2.5, 0.5], "{dtype} {outside}");
        assert_eq!(found["t"], [10.0, 20.0, 30.0]);
        assert_eq!(found["r"], [20.0, 0.0], "{dtype} {outside}");
    }
}

/// However often a `bf16` tensor is used, its gradient is the sum: 600 ones are 600, where `bf16` would stay at 256.
#[test]
fn bf16_gradients_are_summed_in_f32() {
    let bf16 = |axes: &[(&'static str, usize)]| Shape::new(DType::BF16, axes.iter().copied());
    let ones = |count: usize| vec![1.0; count];
    let gradient = |x: Shape, loss: &dyn for<'g> Fn(Tensor<'g>) -> Tensor<'g>| {
        let builder = Builder::new();
        let count = x.elements();
        let x = builder.input("x", INPUT, x);
        builder.output("gradient", builder.gradients(loss(x), &[x])[0]);
        let inputs = [("x".to_string(), ones(count))];
        common::evaluate(builder.finish().unwrap(), &inputs)["gradient"].clone()
    };
    // Readers of one tensor, each of which gives it a slope of 1.
    for uses in [1, 2, 3, 5, 6, 7, 258, 512, 600] {
        let found = gradient(bf16(&[]), &|x| {
            let each = (0..uses).map(|_| x.cast(DType::F32));
            each.reduce(|sum, part| sum + part).unwrap()
        });
        assert_eq!(found, [uses as f64], "{uses} uses");
    }
    // Uses within one body of a loop, and a loop written out.
    for unroll in [false, true] {
        let found = gradient(bf16(&[]), &|x| {
            x.builder().set_unroll(unroll);
            let zero = x.builder().constant(0.0, DType::F32);
            x.builder().layers(2, Remat::Full, zero, |_, sum| {
                (0..300).fold(sum, |sum, _| sum + x.cast(DType::F32))
            })
        });
        assert_eq!(found, [600.0]);
    }
    // Lookups of one row of a table.
    let found = gradient(bf16(&[("vocab", 2), ("embed", 3)]), &|x| {
        let ids = x.builder().table("batch", vec![1; 600]);
        x.gather("vocab", ids).cast(DType::F32).sum_all()
    });
    assert_eq!(found, [0.0, 0.0, 0.0, 600.0, 600.0, 600.0]);
    // A broadcast, and sums that an addition into a table makes.
    let found = gradient(bf16(&[]), &|x| {
        let many = x.broadcast([Axis::new("batch", 600)]);
        many.cast(DType::F32).sum_all()
    });
    assert_eq!(found, [600.0]);
    let builder = Builder::new();
    let rows = builder.input("rows", INPUT, bf16(&[("batch", 600)]));
    let table = builder.full(0.0, bf16(&[("vocab", 2)]));
    let ids = builder.table("batch", vec![1; 600]);
    builder.output("table", table.scatter_add("vocab", ids, rows));
    let inputs = [("rows".to_string(), ones(600))];
    let found = common::evaluate(builder.finish().unwrap(), &inputs);
    assert_eq!(found["table"], [0.0, 600.0]);
}
