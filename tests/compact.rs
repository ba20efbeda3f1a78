//! Compacting drops what no output needs, and nothing else.

mod common;

use common::{INPUT, evaluate_program, f64_shape, lowered, lowered_whole, next, numbers};
use proptest::prelude::*;
use ribosome::graph::op::Loop;
use ribosome::graph::{Axis, Builder, DType, Graph, LoopOptions, Op, Shape, Tensor};

const MESH: &str = "data=1,model=1";

/// A program of `size` steps drawn from `seed`. With `dead`, nodes, loops and results of loops that no output needs
/// stand between those of the program without.
fn program(seed: u64, size: usize, dead: bool) -> Graph {
    let builder = Builder::new();
    let x = builder.input("x", INPUT, f64_shape(&[("embed", 3)]));
    let unused = builder.input("unused", INPUT, Shape::scalar(DType::S32));
    let w = builder.input("w", INPUT, f64_shape(&[("layers", 2), ("embed", 3)]));
    let mut draw = Draw {
        state: seed,
        dead,
        w,
    };
    let mut values = vec![x, w.sum(["layers"])];
    for _ in 0..size {
        let value = draw.value(&builder, &values, 2);
        values.push(value);
    }
    let mut loss = x;
    for value in &values {
        if draw.below(3) == 0 {
            loss = loss + *value;
        }
    }
    if dead {
        let _ = (unused * unused, loss.exp());
    }
    builder.output("loss", loss);
    builder.output("gradient", builder.gradients(loss.sum_all(), &[w])[0]);
    builder.finish().unwrap_or_else(|error| panic!("{error}"))
}

struct Draw<'g> {
    state: u64,
    dead: bool,
    w: Tensor<'g>,
}

impl<'g> Draw<'g> {
    fn below(&mut self, limit: usize) -> usize {
        (next(&mut self.state) * limit as f64) as usize
    }

    fn pick(&mut self, values: &[Tensor<'g>]) -> Tensor<'g> {
        values[self.below(values.len())]
    }

    /// A function of some of `values`; loops stand up to `depth` deep.
    fn value(&mut self, builder: &'g Builder, values: &[Tensor<'g>], depth: usize) -> Tensor<'g> {
        let (left, right) = (self.pick(values), self.pick(values));
        if self.dead {
            let _ = (left * 2.0).tanh() + right;
        }
        match self.below(if depth > 0 { 5 } else { 3 }) {
            0 => left + right,
            1 => left * right.sin(),
            2 => left.tanh(),
            _ => self.scan(builder, left, right, depth - 1),
        }
    }

    /// A loop whose body reads what is around it, and one of its results.
    fn scan(
        &mut self,
        builder: &'g Builder,
        left: Tensor<'g>,
        right: Tensor<'g>,
        depth: usize,
    ) -> Tensor<'g> {
        let body = builder.open_loop(Axis::new("layers", 2), LoopOptions::default());
        if self.dead {
            // A carry that only keeps itself up, and the slice and the capture that it needs.
            let idle = body.carry(right);
            body.set_next(
                0,
                idle * body.slice(body.outside(|| self.w * 3.0)) + left.cos(),
            );
            body.emit(idle.exp());
        }
        let first = usize::from(self.dead);
        let (a, b) = (body.carry(left), body.carry(right));
        let row = body.slice(self.w);
        let inside = self.value(builder, &[a, b, row, right], depth);
        let again = self.value(builder, &[a, row, inside], depth);
        body.set_next(first, inside * 0.5);
        body.set_next(first + 1, again * 0.5);
        body.emit(inside);
        if self.dead {
            body.emit(again.exp());
        }
        let emitted = 2 + 2 * first;
        let results = body.close();
        match self.below(3) {
            0 => results[first],
            1 => results[first + 1],
            _ => results[emitted].sum(["layers"]),
        }
    }
}

fn loops(graph: &Graph) -> Vec<&Loop> {
    let nodes = graph.regions.iter().flat_map(|region| &region.nodes);
    nodes
        .filter_map(|node| match &node.op {
            Op::Loop(spec) => Some(&**spec),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What nobody needs changes nothing: the text is the same to the letter.
    #[test]
    fn dead_nodes_leave_no_trace(seed in any::<u64>(), size in 1usize..8) {
        let (with, without) = (program(seed, size, true), program(seed, size, false));
        let compact = with.clone().check().unwrap().compact();
        prop_assert!(compact.nodes() < with.nodes());
        prop_assert_eq!(compact.to_text(), without.check().unwrap().compact().to_text());
        prop_assert_eq!(compact.compact().to_text(), compact.to_text(), "twice is once");
        prop_assert!(compact.into_graph().check().is_ok(), "it stays well formed");
    }
}

#[test]
fn results_stay() {
    for seed in 0..6 {
        let whole = program(seed, 5, true);
        let inputs = numbers(&whole, seed);
        let compact = lowered(whole.clone(), MESH);
        let whole = lowered_whole(whole, MESH);
        assert!(compact.bytes().len() < whole.bytes().len());
        let [compact, whole] = [compact, whole].map(|program| evaluate_program(&program, &inputs));
        // The two are compiled apart, and so may be fused, and rounded, apart.
        for (name, values) in &whole {
            common::assert_close(name, &compact[name], values, 1e-12);
        }
    }
}

#[test]
fn loops_lose_what_nothing_reads() {
    let builder = Builder::new();
    let x = builder.input("x", INPUT, f64_shape(&[("embed", 3)]));
    let unused = builder.input("unused", INPUT, f64_shape(&[("layers", 2), ("embed", 3)]));
    let w = builder.input("w", INPUT, f64_shape(&[("layers", 2), ("embed", 3)]));
    let body = builder.open_loop(Axis::new("layers", 2), LoopOptions::default());
    let [idle, kept, read] = [body.carry(x), body.carry(x), body.carry(x)];
    body.set_next(0, idle * body.slice(unused) + x.cos());
    // Needed by no output, but by the next iteration's `kept`.
    body.set_next(2, read.sin());
    body.set_next(1, kept * body.slice(w) + read);
    body.emit(idle);
    body.emit(kept);
    let results = body.close();
    builder.output("carry", results[1]);
    builder.output("stack", results[4]);
    let graph = builder.compact().unwrap();
    let [spec] = loops(&graph)[..] else {
        panic!("one loop")
    };
    assert_eq!((spec.carries, spec.slices), (2, 1));
    let body = graph.region(spec.body);
    assert_eq!(
        body.args.len(),
        1 + 2 + 1,
        "the index, two carries, one slice, no capture"
    );
    assert_eq!(body.results.len(), 3, "two carries, one stack");
    let names: Vec<_> = graph.parameters().map(|(_, name, _)| name).collect();
    assert_eq!(
        names,
        ["x", "unused", "w"],
        "parameters are the program's signature"
    );
    assert!(graph.into_graph().check().is_ok());
}

/// As many loops within each other as a text may have: the work grows with their number, and does not double with each.
#[test]
fn deep_loops_take_no_time() {
    fn nest<'g>(builder: &'g Builder, x: Tensor<'g>, depth: usize) -> Tensor<'g> {
        if depth == 0 {
            return x.sin();
        }
        let body = builder.open_loop(Axis::new("layers", 2), LoopOptions::default());
        let carry = body.carry(x);
        // The stack alone is read outside, and needs the carry, which is seen only after all within.
        let inside = nest(builder, carry, depth - 1);
        body.set_next(0, inside);
        body.emit(inside);
        body.close()[1].sum(["layers"])
    }
    let builder = Builder::new();
    let x = builder.input("x", INPUT, f64_shape(&[("embed", 3)]));
    builder.output("y", nest(&builder, x, 64));
    let text = builder.finish().unwrap().to_text();
    let graph = Graph::from_text(&text).unwrap().check().unwrap().compact();
    assert_eq!(loops(&graph).len(), 64);
}
