//! Reads the text form.

use super::super::dtype::DType;
use super::super::ir::{
    Graph, Node, NodeId, Output, ROOT, Region, RegionId, ScopeId, Scopes, Site,
};
use super::super::op::{Loop, Op, Remat};
use super::super::shape::Shape;
use super::cursor::{Cursor, Result};
use super::lex::Token;
use super::operation::{attributes, blank, choice, complete};

/// How deeply loops may be nested. No model needs more, and the reader recurses as deeply.
const DEEPEST: usize = 64;

/// Reads the graph in `text`.
pub(super) fn parse(text: &str) -> Result<Graph> {
    let mut parser = Parser {
        cursor: Cursor::new(text)?,
        graph: Graph::default(),
    };
    parser.graph()?;
    Ok(parser.graph)
}

struct Parser {
    cursor: Cursor,
    graph: Graph,
}

impl Parser {
    fn graph(&mut self) -> Result<()> {
        self.cursor.word("graph")?;
        self.cursor.mark('{')?;
        self.end_of_line()?;
        self.nodes(ROOT, 0)?;
        while self.cursor.skip(&Token::Name("output".into())) {
            let name = self.cursor.name("the output's name")?;
            self.cursor.mark('=')?;
            let node = self.cursor.node()?;
            let replaces = match self.cursor.skip(&Token::Name("replaces".into())) {
                true => Some(self.cursor.name("a parameter's name")?),
                false => None,
            };
            self.graph.outputs.push(Output {
                name,
                node,
                replaces,
            });
            self.end_of_line()?;
        }
        if !self.cursor.skip(&Token::Mark('}')) {
            return self
                .cursor
                .wrong("a node such as `%0 = ...`, `output` or `}`");
        }
        self.end_of_line()?;
        self.cursor.expect(Token::End)
    }

    fn end_of_line(&mut self) -> Result<()> {
        self.cursor.expect(Token::Line)
    }

    /// The lines of a region that define nodes.
    fn nodes(&mut self, region: RegionId, depth: usize) -> Result<()> {
        while let Token::Id(id) = *self.cursor.peek() {
            let next = self.graph.region(region).nodes.len();
            if id as usize != next {
                return self.cursor.wrong(format!("`%{next}`, the next node"));
            }
            self.cursor.node()?;
            self.cursor.mark('=')?;
            let (mut op, operands) = self.operation()?;
            self.cursor.mark(':')?;
            // Only a loop gives several values.
            let shape = match (&op, self.cursor.peek()) {
                (Op::Loop(_), Token::Name(word)) if word == DType::Tuple.name() => {
                    self.cursor.word(DType::Tuple.name())?;
                    Shape::new(DType::Tuple, self.cursor.axes()?)
                }
                _ => self.cursor.shape()?,
            };
            complete(&mut op, &shape);
            let scope = self.scope()?;
            let is_loop = matches!(op, Op::Loop(_));
            let node = Node {
                op,
                operands,
                shape,
                scope,
                site: Site::UNKNOWN,
            };
            self.graph.regions[region.index()].nodes.push(node);
            if is_loop {
                self.cursor.mark('{')?;
                self.end_of_line()?;
                let body = self.body(depth + 1)?;
                if let Op::Loop(spec) = &mut self.graph.regions[region.index()].nodes[next].op {
                    spec.body = body;
                }
            }
            self.end_of_line()?;
        }
        Ok(())
    }

    fn scope(&mut self) -> Result<ScopeId> {
        if !self.cursor.skip(&Token::Mark('#')) {
            return Ok(Scopes::ROOT);
        }
        let path = self.cursor.name("a scope path")?;
        let scopes = &mut self.graph.scopes;
        Ok(path
            .split('/')
            .fold(Scopes::ROOT, |parent, name| scopes.child(parent, name)))
    }

    /// A loop's body, up to and including its closing brace.
    fn body(&mut self, depth: usize) -> Result<RegionId> {
        if depth > DEEPEST {
            return self.cursor.wrong(format!("at most {DEEPEST} nested loops"));
        }
        let region = RegionId::from(self.graph.regions.len());
        self.graph.regions.push(Region::default());
        self.cursor.word("arguments")?;
        let args = self.cursor.nodes()?;
        self.end_of_line()?;
        self.nodes(region, depth)?;
        if !self.cursor.skip(&Token::Name("results".into())) {
            return self.cursor.wrong("a node such as `%0 = ...`, or `results`");
        }
        let results = self.cursor.nodes()?;
        self.end_of_line()?;
        self.cursor.mark('}')?;
        let body = &mut self.graph.regions[region.index()];
        (body.args, body.results) = (args, results);
        Ok(region)
    }

    /// An operation with its attributes, and its operands. What follows from the shape is still blank.
    fn operation(&mut self) -> Result<(Op, Vec<NodeId>)> {
        let cursor = &mut self.cursor;
        let start = cursor.peek().clone();
        let Token::Name(word) = &start else {
            return cursor.wrong("an operation");
        };
        let Some(mut op) = blank(word) else {
            return cursor.wrong("an operation");
        };
        cursor.name("an operation")?;
        if let Op::Loop(spec) = &mut op {
            let operands = self.loop_(spec)?;
            return Ok((op, operands));
        }
        attributes(cursor, &mut op)?;
        let mut operands = Vec::new();
        while matches!(cursor.peek(), Token::Id(_)) {
            operands.push(cursor.node()?);
            if !cursor.skip(&Token::Mark(',')) {
                break;
            }
            if !matches!(cursor.peek(), Token::Id(_)) {
                return cursor.wrong("a node such as `%0`");
            }
        }
        Ok((op, operands))
    }

    fn loop_(&mut self, spec: &mut Loop) -> Result<Vec<NodeId>> {
        let cursor = &mut self.cursor;
        cursor.key("over")?;
        cursor.mark('[')?;
        spec.axis.name = cursor.name("an axis")?.into();
        cursor.mark('=')?;
        spec.axis.size = cursor.size()?;
        cursor.mark(']')?;
        if cursor.skip(&Token::Name("reverse".into())) {
            cursor.mark('=')?;
            cursor.word("true")?;
            spec.reverse = true;
        }
        cursor.key("remat")?;
        spec.remat = choice(cursor, "what is saved", Remat::ALL, Remat::name)?;
        let mut operands = Vec::new();
        let mut counts = [0; 3];
        for (count, key) in counts.iter_mut().zip(["carries", "slices", "captures"]) {
            cursor.key(key)?;
            let nodes = cursor.nodes()?;
            *count = nodes.len();
            operands.extend(nodes);
        }
        [spec.carries, spec.slices, _] = counts;
        Ok(operands)
    }
}
