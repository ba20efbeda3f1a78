//! What the checker refuses, with the place; and that a graph which it lets through makes no pass panic.

mod common;

use common::{INPUT, next};
use proptest::prelude::*;
use ribosome::graph::check::render;
use ribosome::graph::ir::Output;
use ribosome::graph::{
    Axis, Builder, DType, Graph, LoopOptions, NodeId, Op, RegionId, ScopeId, Shape, cost,
};
use ribosome::hlo::{Layout, lower};
use ribosome::sharding::{Mesh, Rules};

/// A loop within a loop with gradients, and a parameter that is replaced.
fn nested() -> Graph {
    let builder = Builder::new();
    let input = |name: &str, axes: [(&'static str, usize); 2]| {
        builder.input(name, INPUT, Shape::new(DType::F32, axes))
    };
    let x = input("x", [("microbatches", 2), ("embed", 4)]);
    let w = input("w", [("layers", 3), ("embed", 4)]);
    let outer = builder.open_loop(Axis::new("microbatches", 2), LoopOptions::default());
    let inner = builder.open_loop(Axis::new("layers", 3), LoopOptions::default());
    let carry = inner.carry(outer.slice(x));
    inner.set_next(0, (carry * inner.slice(w)).sin());
    inner.emit(carry);
    let results = inner.close();
    let loss = (results[0] * results[1].sum(["layers"])).sum_all();
    let sum = outer.carry(outer.outside(|| builder.full(0.0, w.shape())));
    outer.set_next(0, sum + builder.gradients(loss, &[w])[0]);
    builder.scope("update", || builder.update("w", w - outer.close()[0]));
    builder.finish().unwrap()
}

/// Asserts that the checker says `expected` of `graph`, and shows it, without a panic.
fn refused(graph: Graph, expected: &str) {
    let errors = graph.clone().check().expect_err(expected);
    let shown = render(&graph, &errors);
    assert!(shown.contains(expected), "expected {expected}\n{shown}");
}

/// The text of a graph of two parameters with these outputs.
fn outputs(lines: &str) -> Graph {
    let text = format!(
        "graph {{
  %0 = parameter name=w role=weight : f32[embed=4]
  %1 = parameter name=x role=batch : f32[embed=3]
  %2 = negate %0 : f32[embed=4]
{lines}}}
"
    );
    Graph::from_text(&text).unwrap()
}

#[test]
fn outputs_replace_parameters_of_their_shape_once() {
    let good = outputs("output w = %2 replaces w\n");
    good.check().expect("one output for one parameter");
    refused(
        outputs("output w = %2 replaces v\n"),
        "output `w` replaces `v`, which is not a parameter",
    );
    refused(
        outputs("output w = %1 replaces w\n"),
        "output `w` replaces `w`, f32[embed=4], with f32[embed=3]",
    );
    refused(
        outputs("output w = %2 replaces w\noutput again = %2 replaces w\n"),
        "two outputs replace `w`",
    );
    refused(
        outputs("output w = %2\noutput w = %2\n"),
        "two outputs are called `w`",
    );
    refused(
        outputs("output w = %7\n"),
        "output `w` is %7, which does not exist",
    );
}

#[test]
fn ids_that_are_not_there() {
    let mut graph = nested();
    graph.regions[0].nodes[1].scope = ScopeId(999);
    refused(graph, "its scope #999 does not exist");
    let text = "graph {
  %0 = loop over=[layers=2] remat=full carries=[] slices=[] captures=[] : tuple[] {
    arguments [%0]
    %0 = argument : s32[]
    results []
  }
  %1 = get index=7 %0 : f32[]
}
";
    refused(
        Graph::from_text(text).unwrap(),
        "get: the loop has no result 7",
    );
    refused(
        Graph {
            regions: Vec::new(),
            ..Graph::default()
        },
        "it has no root region",
    );
    let mut graph = nested();
    graph.regions[0].args.push(NodeId(0));
    refused(graph, "its root has arguments or results");
}

/// Changes one number of `graph` to another one, drawn from `state`.
fn change(graph: &mut Graph, state: &mut u64) {
    let mut below = |limit: usize| (next(state) * limit as f64) as usize;
    let region = below(graph.regions.len());
    let id = |number: usize| match number {
        0 => NodeId(u32::MAX),
        number => NodeId(number as u32 - 1),
    };
    let regions = graph.regions.len();
    let region = &mut graph.regions[region];
    let any = id(below(region.nodes.len() + 2));
    match below(8) {
        0 if !region.args.is_empty() => {
            let at = below(region.args.len());
            region.args[at] = any;
        }
        1 if !region.results.is_empty() => {
            let at = below(region.results.len());
            region.results[at] = any;
        }
        2 => drop(region.args.pop()),
        3 => drop(region.results.pop()),
        4 => graph.outputs.push(Output {
            name: "another".into(),
            node: any,
            replaces: (below(2) == 0).then(|| "x".into()),
        }),
        _ => {
            let at = below(region.nodes.len());
            let node = &mut region.nodes[at];
            match below(6) {
                0 => node.scope = ScopeId(below(20) as u32),
                1 => node.shape.axes.truncate(below(2)),
                2 if !node.operands.is_empty() => {
                    let operand = below(node.operands.len());
                    node.operands[operand] = any;
                }
                _ => match &mut node.op {
                    Op::Loop(spec) => match below(4) {
                        0 => spec.carries = [0, 1, 2, usize::MAX][below(4)],
                        1 => spec.slices = [0, 1, 2, usize::MAX][below(4)],
                        2 => spec.body = RegionId(below(regions + 1) as u32),
                        _ => spec.axis.size = [0, 1, 3, usize::MAX][below(4)],
                    },
                    Op::Get { index, .. } => *index = [0, 1, 5, usize::MAX][below(4)],
                    _ => node.operands.push(any),
                },
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a graph, it is either refused or goes through every pass.
    #[test]
    fn no_graph_makes_a_panic(seed in any::<u64>(), changes in 1usize..4) {
        let mut graph = nested();
        let mut state = seed;
        for _ in 0..changes {
            change(&mut graph, &mut state);
        }
        let text = graph.to_text();
        match graph.clone().check() {
            Err(errors) => prop_assert!(render(&graph, &errors).contains('^')),
            Ok(checked) => {
                prop_assert!(Graph::from_text(&text).is_ok(), "{}", text);
                let (mesh, rules) = (Mesh::parse("data=2,model=2").unwrap(), Rules::standard());
                let layout = Layout { mesh: &mesh, rules: &rules };
                let compact = checked.compact();
                prop_assert!(cost(&compact).model.total() >= 0.0);
                // Axes without a rule are refused; all that matters is that there is an answer.
                let _ = (lower(&checked, "whole", layout), lower(&compact, "compact", layout));
                prop_assert!(compact.into_graph().check().is_ok());
            }
        }
    }
}
