//! The text form: what is printed is read back as the same program, and what is no program is refused with the place.

#[allow(dead_code)] // what the gradients are compared by
#[path = "gradients/cases.rs"]
mod cases;
mod common;

use cases::{Random, cases};
use common::INPUT;
use proptest::prelude::*;
use ribosome::graph::check::render;
use ribosome::graph::op::{Literal, Op};
use ribosome::graph::{Axis, Builder, DType, Graph, Init, LoopOptions, Node, Remat, Shape};
use ribosome::hlo::{Layout, lower};
use ribosome::sharding::{Mesh, Rules};

/// A scaled stack of layers with its gradient: small enough to read.
fn small() -> Graph {
    let builder = Builder::new();
    let x = builder.input(
        "x",
        INPUT,
        Shape::new(DType::F32, [("batch", 2), ("embed", 4)]),
    );
    let y = builder.scope("encoder", || {
        builder.layers(3, Remat::Full, x, |_, x| {
            let scale = builder.weight("scale", [("embed", 4)], Init::Ones);
            (x * scale).tanh()
        })
    });
    let loss = (y * 0.5).sum_all();
    let weight = &builder.weights()[0];
    let gradient = builder.gradients(loss, &[builder.whole(weight)])[0];
    builder.update("encoder/scale", builder.whole(weight) - gradient * 1e-3);
    builder.output("the loss", loss);
    builder.compact().unwrap().into_graph()
}

/// Every operation, with its gradient.
fn every(seed: u64) -> Graph {
    let builder = Builder::new();
    for (at, case) in cases(&mut Random(seed)).iter().enumerate() {
        builder.scope(case.operation, || {
            let inputs: Vec<_> = (case.inputs.iter().enumerate())
                .map(|(input, (shape, _))| {
                    builder.input(&format!("{at}/{input}"), INPUT, shape.clone())
                })
                .collect();
            let loss = (case.build)(&builder, &inputs).cast(DType::F64).sum_all();
            for (input, gradient) in builder.gradients(loss, &inputs).into_iter().enumerate() {
                builder.output(&format!("{at}/{input}"), gradient);
            }
        });
    }
    builder.finish().unwrap()
}

/// A loop over microbatches around a loop over layers, gradients taken inside.
fn nested() -> Graph {
    let builder = Builder::new();
    let x = builder.input(
        "x",
        INPUT,
        common::f64_shape(&[("microbatches", 2), ("embed", 4)]),
    );
    let w = builder.input(
        "w",
        INPUT,
        common::f64_shape(&[("layers", 3), ("embed", 4)]),
    );
    let options = LoopOptions {
        reverse: true,
        ..LoopOptions::default()
    };
    let outer = builder.open_loop(Axis::new("microbatches", 2), options);
    let inner = builder.open_loop(Axis::new("layers", 3), LoopOptions::default());
    let carry = inner.carry(outer.slice(x));
    inner.set_next(0, (carry * inner.slice(w)).sin());
    let loss = inner.close()[0].sum_all();
    let sum = outer.carry(outer.outside(|| builder.full(0.0, w.shape())));
    outer.set_next(0, sum + builder.gradients(loss, &[w])[0]);
    builder.output("gradient", outer.close()[0]);
    builder.finish().unwrap()
}

fn compact(graph: Graph) -> Graph {
    graph.check().unwrap().compact().into_graph()
}

fn bytes(graph: Graph, mesh: &str) -> Vec<u8> {
    let graph = graph.check().unwrap_or_else(|errors| panic!("{errors:#?}"));
    let (mesh, rules) = (Mesh::parse(mesh).unwrap(), Rules::standard());
    lower(
        &graph,
        "text",
        Layout {
            mesh: &mesh,
            rules: &rules,
        },
    )
    .unwrap()
    .bytes()
    .to_vec()
}

fn comes_back(graph: Graph, mesh: &str) {
    let text = graph.to_text();
    let read = Graph::from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_text(), text);
    assert_eq!(
        bytes(read, mesh),
        bytes(graph, mesh),
        "the two graphs lower to different programs"
    );
}

#[test]
fn text_of_a_small_graph() {
    insta::assert_snapshot!(small().to_text());
}

#[test]
fn what_is_printed_is_read_back() {
    comes_back(small(), "data=2,model=2");
    // Uncompacted graphs have nodes and bodies that nothing reads.
    comes_back(nested(), "data=2,model=2");
    comes_back(compact(nested()), "data=2,model=2");
    for seed in 0..3 {
        comes_back(every(seed), "data=1,model=1");
        comes_back(compact(every(seed)), "data=1,model=1");
    }
}

#[test]
fn numbers_and_names_are_exact() {
    let builder = Builder::new();
    let floats = [
        0.1,
        -0.0,
        1e300,
        5e-324,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        16777217.0,
    ];
    for (at, value) in floats.into_iter().enumerate() {
        builder.output(&at.to_string(), builder.constant(value, DType::F64));
    }
    let names = [
        "", " ", "a b", "\"", "\\", "é", "\n", "#x", "9", "{}", "tuple", "inf", "//a/",
    ];
    for name in names {
        builder.scope(name, || {
            let x = builder.input(
                &format!("in{name}"),
                INPUT,
                Shape::new(DType::F64, [(name, 2)]),
            );
            builder.output(name, (x * 2.0).tag(name).sum([name]));
        });
    }
    builder.output("int", builder.constant(f64::from(i32::MIN), DType::S32));
    builder.output("word", builder.constant(f64::from(u32::MAX), DType::U32));
    builder.output("bool", builder.constant(1.0, DType::Pred));
    builder.output(
        "table",
        builder.table("batch", vec![-1, 0, i64::from(i32::MAX)]),
    );
    let graph = builder.finish().unwrap();
    let text = graph.to_text();
    let read = Graph::from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_text(), text);
    for (before, after) in graph.root().nodes.iter().zip(&read.root().nodes) {
        let nan = |op: &Op| matches!(op, Op::Constant { value: Literal::Float(value), .. } if value.is_nan());
        assert!(
            before.op == after.op || nan(&before.op) && nan(&after.op),
            "{:?}",
            after.op
        );
        assert_eq!(
            graph.scopes.path(before.scope),
            read.scopes.path(after.scope)
        );
    }
    assert_eq!(graph.outputs, read.outputs);
    assert!(
        text.contains("value=-0.0 ") && text.contains("value=5e-324 "),
        "{text}"
    );
}

/// `good` with one line changed, and the message that this gives.
#[test]
fn mistakes_are_placed() {
    let good = "graph {\n  %0 = parameter name=x role=batch : f32[embed=4]\n  output y = %0\n}\n";
    assert!(Graph::from_text(good).is_ok());
    let cases = [
        (
            "",
            "",
            "line 1, column 1: expected `graph`, found the end of the text",
        ),
        (
            "%0 = p",
            "%1 = p",
            "line 2, column 3: expected `%0`, the next node, found `%1`",
        ),
        (
            "%0 = p",
            "%99999999999 = p",
            "line 2, column 3: expected a node such as `%0`, found `%`",
        ),
        (
            "parameter",
            "parametre",
            "line 2, column 8: expected an operation, found `parametre`",
        ),
        (
            "role=batch ",
            "",
            "line 2, column 25: expected `role=`, found `:`",
        ),
        (
            "role=batch",
            "role=bath",
            "line 2, column 30: expected a role (weight, state, memory, step, seed, batch), found `bath`",
        ),
        (
            "f32[",
            "f31[",
            "line 2, column 38: expected an element type (pred, s32, u32, bf16, f32, f64), \
             found `f31`",
        ),
        (
            "f32[",
            "tuple[",
            "line 2, column 38: expected an element type (pred, s32, u32, bf16, f32, f64), found `tuple`",
        ),
        (
            "embed=4]",
            "embed=4.5]",
            "line 2, column 48: expected a size, found `4.5`",
        ),
        (
            "embed=4]",
            "embed=4",
            "line 2, column 49: expected `,` or `]`, found the end of the line",
        ),
        (
            "embed=4]",
            "embed=4] $",
            "line 2, column 51: expected a name, a number, a node, or one of `= , : # [ ] { }`, found `$`",
        ),
        (
            "name=x",
            "name=\"x",
            "line 2, column 51: expected a closing `\"`, found the end of the line",
        ),
        (
            "name=x",
            "name=\"\\x\"",
            "line 2, column 24: expected `\\\"`, `\\\\` or `\\u{hex}`, found `\\`",
        ),
        (
            "output y",
            "outputs y",
            "line 3, column 3: expected a node such as `%0 = ...`, `output` or `}`, found `outputs`",
        ),
        (
            "= %0",
            "= x",
            "line 3, column 14: expected a node such as `%0`, found `x`",
        ),
        (
            "}\n",
            "}\n}\n",
            "line 5, column 1: expected the end of the text, found `}`",
        ),
        (
            "}\n",
            "",
            "line 4, column 1: expected a node such as `%0 = ...`, `output` or `}`, found the end of the text",
        ),
    ];
    for (from, to, expected) in cases {
        let text = if from.is_empty() {
            String::new()
        } else {
            good.replacen(from, to, 1)
        };
        let error = Graph::from_text(&text).expect_err(expected);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn loops_within_loops_have_an_end() {
    let mut text = "graph {\n".to_string();
    for _ in 0..100_000 {
        text +=
            "%0 = loop over=[layers=2] remat=full carries=[] slices=[] captures=[] : tuple[] {\n";
        text += "arguments []\n";
    }
    let error = Graph::from_text(&text).unwrap_err().to_string();
    assert!(error.contains("at most 64 nested loops"), "{error}");
}

#[test]
fn errors_stand_under_their_lines() {
    let text = "graph {
  %0 = parameter name=x role=batch : f32[batch=2, embed=4]
  %1 = parameter name=x role=weight : f32[embed=3, mlp=8]
  %2 = dot over=[embed] %0, %1 : f32[batch=2, mlp=8] #encoder/mlp
  %3 = loop over=[layers=3] remat=full carries=[%0] slices=[] captures=[] : tuple[] #encoder {
    arguments [%0, %1]
    %0 = argument : s32[]
    %1 = argument : f32[batch=2, embed=4]
    %2 = argument : f32[]
    %3 = transpose %1 : f32[embed=4, batch=2]
    %4 = tanh %3 : f64[embed=4, batch=2]
    results [%3]
  }
  %4 = tanh %3 : tuple[] #encoder
  output y = %2
  output y = %9
}
"
    .replace("%4 = tanh %3 : tuple[]", "%4 = pin kind=weight %3 : f32[]");
    let graph = Graph::from_text(&text).unwrap();
    let errors = graph.clone().check().unwrap_err();
    insta::assert_snapshot!(render(&graph, &errors));
}

/// A graph that no text says, since bodies stand within their loops there.
#[test]
fn a_body_has_one_loop() {
    let mut graph = nested();
    let is_loop = |node: &&Node| matches!(node.op, Op::Loop(_));
    let again = graph.root().nodes.iter().find(is_loop).cloned();
    graph.regions[0].nodes.extend(again);
    let errors = graph.clone().check().unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .contains("is also another loop's body"),
        "{}",
        errors[0]
    );
    assert!(render(&graph, &errors).contains("which is not a body of its own"));
    // A body within itself: printing ends.
    let mut graph = nested();
    let region = graph.regions.len() - 1;
    for node in &mut graph.regions[region].nodes {
        if let Op::Loop(spec) = &mut node.op {
            spec.body = region.into();
        }
    }
    assert!(!graph.to_text().is_empty());
}

/// Whatever is read, checked and lowered, nothing panics.
fn goes_through(text: &str) {
    let Ok(graph) = Graph::from_text(text) else {
        return;
    };
    let printed = graph.to_text();
    assert_eq!(
        Graph::from_text(&printed).expect("its own text").to_text(),
        printed
    );
    match graph.clone().check() {
        Ok(checked) => {
            let (mesh, rules) = (Mesh::parse("data=2,model=2").unwrap(), Rules::standard());
            // Axes without a rule are refused; all that matters is that there is an answer.
            let _ = lower(
                &checked,
                "text",
                Layout {
                    mesh: &mesh,
                    rules: &rules,
                },
            );
            let compact = checked.compact().into_graph();
            compact.check().expect("compacting keeps it well formed");
        }
        Err(errors) => assert!(render(&graph, &errors).contains('^')),
    }
}

/// One change of a text: at a place (a share of its length), characters taken out and others put in.
fn change() -> impl Strategy<Value = (f64, usize, String)> {
    let pieces = prop_oneof![
        "[ -~\n]{0,3}",
        prop::sample::select(vec![
            "%0",
            "%1",
            "%7",
            "%4294967295",
            "0",
            "1",
            "18446744073709551615",
            "-1",
            "1e999",
            "[]",
            "tuple",
            "f64",
            "pred",
            "loop",
            "batch",
            "layers=3",
            "\n",
            " {\n",
            "}\n",
            "\"",
            "\\u{0}",
            "#",
            "tanh",
            "gather",
            "pad",
            "get",
            "é",
        ])
        .prop_map(str::to_string),
    ];
    (0.0..1.0, 0usize..12, pieces)
}

fn changed(text: &str, changes: &[(f64, usize, String)]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (share, taken, put) in changes {
        let at = (share * text.len() as f64) as usize;
        let end = (at + taken).min(text.len());
        text.splice(at..end, put.chars());
    }
    text.into_iter().collect()
}

/// Texts with tokens swapped among each other: these get further than changes of characters do.
fn shuffled(text: &str, swaps: &[(f64, f64)]) -> String {
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', ',', '=', '[']).collect();
    for (from, to) in swaps {
        let [from, to] = [from, to].map(|share| (share * words.len() as f64) as usize);
        words[to] = words[from];
    }
    words.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_panic(changes in prop::collection::vec(change(), 1..4)) {
        goes_through(&changed(&small().to_text(), &changes));
    }

    #[test]
    fn no_order_of_words_makes_a_panic(swaps in prop::collection::vec((0.0..1.0, 0.0..1.0), 1..4)) {
        goes_through(&shuffled(&small().to_text(), &swaps));
        goes_through(&shuffled(&compact(nested()).to_text(), &swaps));
    }

    #[test]
    fn no_change_of_any_operation_makes_a_panic(swaps in prop::collection::vec((0.0..1.0, 0.0..1.0), 1..3)) {
        goes_through(&shuffled(every_text(), &swaps));
    }
}

fn every_text() -> &'static str {
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| compact(every(1)).to_text())
}
