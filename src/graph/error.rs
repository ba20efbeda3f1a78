//! Mistakes as the builder and the checker report them: what is wrong, the operation, and every operand's shape by name
//! with its scope and line.

use std::fmt;

use super::ir::{Graph, Node, NodeId, RegionId, Site};
use super::shape_error::ShapeError;

/// Where a node comes from: its scope path and the line of code that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// What the line is about: an operand's shape, or an operation's name.
    pub what: String,
    /// The scope path.
    pub scope: String,
    /// The line of code.
    pub site: Site,
}

impl Place {
    /// The place of `node`, described as `what`.
    pub fn of(graph: &Graph, node: &Node, what: String) -> Self {
        Place {
            what,
            scope: graph.scopes.path(node.scope),
            site: node.site,
        }
    }

    /// The line of code as `file:line`; empty if unknown.
    fn line(&self) -> String {
        match self.site {
            Site::UNKNOWN => String::new(),
            site => format!("{}:{}", site.file, site.line),
        }
    }
}

/// What is wrong with an operation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// It has no shape. Boxed to keep results small.
    #[error(transparent)]
    Shape(Box<ShapeError>),
    /// It is misused or misplaced.
    #[error("{0}")]
    Use(String),
}

impl From<ShapeError> for Problem {
    fn from(problem: ShapeError) -> Self {
        Problem::Shape(Box::new(problem))
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Problem::Use(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Problem::Use(problem.to_string())
    }
}

/// A mistake in a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct GraphError {
    /// The invalid operation and where it was requested. Boxed as well.
    pub at: Box<Place>,
    /// What is wrong with it.
    pub problem: Problem,
    /// Its operands.
    pub operands: Vec<Place>,
    /// The node, if it is already in a graph (found by the checker).
    pub node: Option<(RegionId, NodeId)>,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at.what, self.problem)?;
        let [scope, line] = [self.at.scope.clone(), self.at.line()];
        if !(scope.is_empty() && line.is_empty()) {
            let gap = match scope.is_empty() || line.is_empty() {
                true => "",
                false => "   ",
            };
            write!(f, "\n  at {scope}{gap}{line}")?;
        }
        let label = |at: usize| match (self.operands.len(), at) {
            (1, _) => "of".to_string(),
            (2, 0) => "left".to_string(),
            (2, _) => "right".to_string(),
            (_, at) => format!("operand {at}"),
        };
        let rows: Vec<_> = (self.operands.iter().enumerate())
            .map(|(at, place)| {
                [
                    label(at),
                    place.what.clone(),
                    place.scope.clone(),
                    place.line(),
                ]
            })
            .collect();
        let widest = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths = [0, 1, 2].map(widest);
        for [label, what, scope, line] in &rows {
            let [labels, whats, scopes] = widths;
            let row = format!("{label:labels$}   {what:whats$}   {scope:scopes$}   {line}");
            write!(f, "\n  {}", row.trim_end())?;
        }
        Ok(())
    }
}
