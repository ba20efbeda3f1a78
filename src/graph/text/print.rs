//! Writes the text form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::super::ir::{Graph, Node, NodeId, ROOT, RegionId};
use super::super::op::{Literal, Loop, Op};
use super::super::shape::{Axis, Shape};
use super::lex::is_bare;

/// The text of `graph`, with `notes` under the lines of their nodes.
pub(super) fn print(graph: &Graph, notes: &BTreeMap<(RegionId, NodeId), Vec<String>>) -> String {
    let mut printer = Printer {
        graph,
        notes,
        printed: BTreeSet::new(),
        depth: 1,
        text: "graph {\n".to_string(),
    };
    printer.region(ROOT);
    for output in &graph.outputs {
        let replaces = match &output.replaces {
            Some(replaced) => format!(" replaces {}", name(replaced)),
            None => String::new(),
        };
        printer.line(&format!(
            "output {} = {}{replaces}",
            name(&output.name),
            output.node
        ));
    }
    printer.text.push_str("}\n");
    printer.text
}

struct Printer<'a> {
    graph: &'a Graph,
    notes: &'a BTreeMap<(RegionId, NodeId), Vec<String>>,
    /// Regions printed so far. In a broken graph, two loops may share a body, or a body may contain itself.
    printed: BTreeSet<RegionId>,
    depth: usize,
    text: String,
}

impl Printer<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn region(&mut self, region: RegionId) {
        self.printed.insert(region);
        let graph = self.graph;
        let nodes = graph.regions.get(region.index());
        for (at, node) in nodes.iter().flat_map(|region| &region.nodes).enumerate() {
            let id = NodeId::from(at);
            let scope = graph.scopes.path(node.scope);
            let scope = match scope.is_empty() {
                true => scope,
                false => format!(" #{}", name(&scope)),
            };
            let mut line = format!("{id} = {} : {}{scope}", operation(node), shape(&node.shape));
            let body = match &node.op {
                Op::Loop(spec) => Some(spec.body),
                _ => None,
            };
            if body.is_some() {
                line.push_str(" {");
            }
            self.line(&line);
            for note in self.notes.get(&(region, id)).into_iter().flatten() {
                self.line(&format!("^ {note}"));
            }
            if let Some(body) = body {
                self.body(body);
            }
        }
    }

    fn body(&mut self, body: RegionId) {
        self.depth += 1;
        if body.index() < self.graph.regions.len() && !self.printed.contains(&body) {
            let region = self.graph.region(body);
            self.line(&format!("arguments {}", list(&region.args)));
            self.region(body);
            self.line(&format!("results {}", list(&region.results)));
        } else {
            self.line(&format!("({body}, which is not a body of its own)"));
        }
        self.depth -= 1;
        self.line("}");
    }
}

/// The operation, its attributes and its operands.
fn operation(node: &Node) -> String {
    let word = node.op.name();
    let attributes = match &node.op {
        Op::Parameter {
            name: called, role, ..
        } => {
            format!("name={} role={}", name(called), role.name())
        }
        Op::Constant { value, .. } => format!("value={}", literal(value)),
        Op::Iota { axis, .. } => format!("axis={}", name(axis)),
        Op::Compare(direction) => format!("direction={direction}"),
        Op::Dot { over, .. } => format!("over={}", list(&names(over))),
        Op::Reduce { kind, over } => format!("kind={kind} over={}", list(&names(over))),
        Op::Rename { from, to } => format!("from={} to={}", name(from), name(to)),
        Op::Split { axis, into } => format!("axis={} into={}", name(axis), axes(into)),
        Op::Merge { axes, into } => format!("axes={} into={}", list(&names(axes)), name(into)),
        Op::Slice {
            axis,
            start,
            limit,
            stride,
        } => {
            format!(
                "axis={} start={start} limit={limit} stride={stride}",
                name(axis)
            )
        }
        Op::Pad {
            axis,
            low,
            high,
            interior,
            value,
        } => {
            format!(
                "axis={} low={low} high={high} interior={interior} value={value:?}",
                name(axis)
            )
        }
        Op::Concat(axis)
        | Op::Reverse(axis)
        | Op::DynamicUpdate(axis)
        | Op::Gather(axis)
        | Op::ScatterAdd(axis) => format!("axis={}", name(axis)),
        Op::DynamicSlice { axis, size } => format!("axis={} size={size}", name(axis)),
        // Its operands are part of its attributes.
        Op::Loop(spec) => return loop_(spec, &node.operands),
        Op::Get { index, .. } => format!("index={index}"),
        Op::Pin(kind) => format!("kind={kind}"),
        Op::Tag(tag) => format!("name={}", name(tag)),
        Op::Argument { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Convert(_)
        | Op::Broadcast(_)
        | Op::Transpose(_)
        | Op::Barrier
        | Op::Detach => String::new(),
    };
    let parts = [word.to_string(), attributes, separated(&node.operands)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn loop_(spec: &Loop, operands: &[NodeId]) -> String {
    let (carries, rest) = operands.split_at(spec.carries.min(operands.len()));
    let (slices, captures) = rest.split_at(spec.slices.min(rest.len()));
    let reverse = if spec.reverse { " reverse=true" } else { "" };
    format!(
        "loop over={}{reverse} remat={} carries={} slices={} captures={}",
        axes(std::slice::from_ref(&spec.axis)),
        spec.remat,
        list(carries),
        list(slices),
        list(captures)
    )
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Float(value) => format!("{value:?}"),
        Literal::Int(value) => value.to_string(),
        Literal::Bool(value) => value.to_string(),
        Literal::Table(values) => list(values),
    }
}

fn shape(shape: &Shape) -> String {
    format!("{}{}", shape.dtype, axes(&shape.axes))
}

fn axes(axes: &[Axis]) -> String {
    let axes: Vec<_> = axes
        .iter()
        .map(|axis| format!("{}={}", name(&axis.name), axis.size))
        .collect();
    list(&axes)
}

fn names<N: AsRef<str>>(names: &[N]) -> Vec<String> {
    names.iter().map(|it| name(it.as_ref())).collect()
}

fn list<T: Display>(items: &[T]) -> String {
    format!("[{}]", separated(items))
}

fn separated<T: Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

/// A name as the text has it, quoted if need be.
fn name(text: &str) -> String {
    if is_bare(text) {
        return text.to_string();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
