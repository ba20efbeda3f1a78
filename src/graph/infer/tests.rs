use super::*;
use crate::graph::op::Comparison;

fn f32(axes: &[(&str, usize)]) -> Shape {
    Shape::new(
        DType::F32,
        axes.iter().map(|(name, size)| Axis::new(*name, *size)),
    )
}

/// Every numbered constraint with a case that breaks it, and only it.
#[test]
fn each_constraint_has_its_refusal() {
    let ab = f32(&[("a", 2), ("b", 3)]);
    let ba = f32(&[("b", 3), ("a", 2)]);
    let ids = ab.with_dtype(DType::S32);
    let bits = ab.with_dtype(DType::Pred);
    let bf16 = ab.with_dtype(DType::BF16);
    let wide = f32(&[("a", 5), ("b", 3)]);
    let cases: Vec<(&str, Op, Vec<&Shape>)> = vec![
        ("C1", Op::Select, vec![&ab]),
        ("C2", Op::Binary(Binary::Add), vec![&ab, &ba]),
        ("C2", Op::Compare(Comparison::Lt), vec![&ab, &bf16]),
        ("C3", Op::Unary(Unary::Exp), vec![&ids]),
        ("C3", Op::Binary(Binary::ShiftLeft), vec![&ab, &ab]),
        ("C3", Op::Binary(Binary::Add), vec![&bits, &bits]),
        ("C4", Op::Select, vec![&ab, &ab, &ab]),
        ("C5", Op::Reverse("z".into()), vec![&ab]),
        (
            "C5",
            Op::Reduce {
                kind: crate::graph::op::Reduction::Sum,
                over: vec!["a".into(), "a".into()],
            },
            vec![&ab],
        ),
        ("C6", Op::Binary(Binary::Add), vec![&ab, &wide]),
        (
            "C6",
            Op::Dot {
                over: vec!["a".into()],
                dtype: DType::F32,
            },
            vec![&ab, &wide],
        ),
        (
            "C7",
            Op::Rename {
                from: "a".into(),
                to: "b".into(),
            },
            vec![&ab],
        ),
        (
            "C8",
            Op::Dot {
                over: vec!["a".into()],
                dtype: DType::BF16,
            },
            vec![&ab, &ba],
        ),
        (
            "C8",
            Op::Dot {
                over: vec!["a".into()],
                dtype: DType::S32,
            },
            vec![&ab, &ab],
        ),
        ("C9", Op::Broadcast(vec![Axis::new("a", 2)]), vec![&ab]),
        (
            "C10",
            Op::Split {
                axis: "a".into(),
                into: vec![Axis::new("x", 3)],
            },
            vec![&ab],
        ),
        (
            "C10",
            Op::Merge {
                axes: vec!["b".into(), "a".into()],
                into: "c".into(),
            },
            vec![&ab],
        ),
        (
            "C11",
            Op::Slice {
                axis: "a".into(),
                start: 1,
                limit: 3,
                stride: 1,
            },
            vec![&ab],
        ),
        ("C12", Op::Gather("a".into()), vec![&ab, &ab]),
        (
            "C12",
            Op::DynamicSlice {
                axis: "a".into(),
                size: 1,
            },
            vec![&ab, &ids],
        ),
        ("C13", Op::Concat("a".into()), vec![&ab, &ba]),
        (
            "C14",
            Op::Constant {
                value: Literal::Int(1),
                shape: Shape::scalar(DType::F32),
            },
            vec![],
        ),
        (
            "C14",
            Op::Constant {
                value: Literal::Int(-1),
                shape: Shape::scalar(DType::U32),
            },
            vec![],
        ),
        (
            "C14",
            Op::Iota {
                axis: "z".into(),
                shape: ids.clone(),
            },
            vec![],
        ),
        (
            "C14",
            Op::Iota {
                axis: "z".into(),
                shape: Shape::new(DType::S32, [("z", (1 << 31) + 1)]),
            },
            vec![],
        ),
        (
            "C14",
            Op::Pad {
                axis: "a".into(),
                low: 1,
                high: 0,
                interior: 0,
                value: f64::NAN,
            },
            vec![&ids],
        ),
        ("C17", Op::Convert(DType::Tuple), vec![&ab]),
        (
            "C15",
            Op::Parameter {
                name: "x".into(),
                role: crate::graph::op::Role::Batch,
                shape: f32(&[("a", 0)]),
            },
            vec![],
        ),
        (
            "C16",
            Op::Pad {
                axis: "a".into(),
                low: usize::MAX,
                high: 1,
                interior: usize::MAX,
                value: 0.0,
            },
            vec![&ab],
        ),
        (
            "C16",
            Op::Broadcast(vec![
                Axis::new("a", 2),
                Axis::new("b", 3),
                Axis::new("c", 1 << 61),
            ]),
            vec![&ab],
        ),
    ];
    for (constraint, op, operands) in &cases {
        let error = infer(op, operands).expect_err(constraint);
        let number = error.constraint();
        assert_eq!(format!("C{number}"), *constraint, "{error}");
        assert!(
            error.to_string().starts_with(&format!("C{number}: ")),
            "{error}"
        );
    }
    for number in 1..=17 {
        let label = format!("C{number}");
        assert!(
            cases.iter().any(|(constraint, ..)| *constraint == label),
            "{label} is untested"
        );
    }
}

#[test]
fn dot_orders_its_axes() {
    let left = f32(&[("batch", 2), ("length", 3), ("heads", 4), ("kv", 5)]);
    let right = f32(&[("batch", 2), ("keys", 6), ("heads", 4), ("kv", 5)]);
    let op = Op::Dot {
        over: vec!["kv".into()],
        dtype: DType::F32,
    };
    let shape = infer(&op, &[&left, &right]).unwrap();
    assert_eq!(shape.to_string(), "f32[batch=2, heads=4, length=3, keys=6]");
}

#[test]
fn gather_puts_ids_first() {
    let table = f32(&[("vocab", 9), ("embed", 4)]);
    let ids = Shape::new(DType::S32, [("batch", 2), ("length", 3)]);
    let shape = infer(&Op::Gather("vocab".into()), &[&table, &ids]).unwrap();
    assert_eq!(shape.to_string(), "f32[batch=2, length=3, embed=4]");
}
