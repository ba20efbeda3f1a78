//! The arenas: regions of nodes, and the table of scopes. Ids are small numbers; side tables of passes are vectors
//! indexed by them, so that a pass adds no field to a node.

use std::fmt;
use std::panic::Location;

use smol_str::SmolStr;

use super::op::Op;
use super::shape::Shape;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The place in the arena.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                $name(index as u32)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A node within its region. A node refers only to earlier nodes of the same region.
    NodeId, "%"
);
id!(
    /// A region within its graph; region 0 is the root.
    RegionId, "@"
);
id!(
    /// A scope within its graph; scope 0 is the empty path.
    ScopeId, "#"
);

/// The region that holds the program's parameters and outputs.
pub const ROOT: RegionId = RegionId(0);

/// Where in the user's Rust code a node was made. Only error messages show it; it never reaches an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The file as the compiler was given it.
    pub file: &'static str,
    /// The line, from 1; 0 if unknown (a graph read from text).
    pub line: u32,
}

impl Site {
    /// For nodes that no line of code made.
    pub const UNKNOWN: Site = Site { file: "", line: 0 };
}

impl From<&'static Location<'static>> for Site {
    fn from(location: &'static Location<'static>) -> Self {
        Site {
            file: location.file(),
            line: location.line(),
        }
    }
}

/// One operation with its operands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it reads, all earlier in the same region.
    pub operands: Vec<NodeId>,
    /// What it gives.
    pub shape: Shape,
    /// The model's name for the place it belongs to.
    pub scope: ScopeId,
    /// The line of code that made it.
    pub site: Site,
}

/// A list of nodes that runs from first to last: the whole program, or a loop's body.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// The nodes, operands before users.
    pub nodes: Vec<Node>,
    /// A loop body's arguments, in order; empty for the root.
    pub args: Vec<NodeId>,
    /// A loop body's results, in order; empty for the root.
    pub results: Vec<NodeId>,
}

impl Region {
    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The shape that node `id` gives.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.node(id).shape
    }
}

/// A named result of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The name, unique among outputs.
    pub name: String,
    /// The root node that gives it.
    pub node: NodeId,
    /// The parameter whose memory it takes over, if it replaces one.
    pub replaces: Option<String>,
}

/// The tree of scope paths. The same path always has the same id.
#[derive(Clone, Debug)]
pub struct Scopes {
    entries: Vec<(ScopeId, SmolStr)>,
}

impl Default for Scopes {
    fn default() -> Self {
        Scopes {
            entries: vec![(ScopeId(0), SmolStr::default())],
        }
    }
}

impl Scopes {
    /// The empty path.
    pub const ROOT: ScopeId = ScopeId(0);

    /// The scope `name` within `parent`, made if it is new.
    pub fn child(&mut self, parent: ScopeId, name: &str) -> ScopeId {
        let found = self
            .entries
            .iter()
            .skip(1)
            .position(|(up, known)| *up == parent && known == name);
        match found {
            Some(at) => ScopeId::from(at + 1),
            None => {
                self.entries.push((parent, name.into()));
                ScopeId::from(self.entries.len() - 1)
            }
        }
    }

    /// The path of `scope` put below the top-level scope `prefix`, as gradients name what they belong to.
    pub fn below(&mut self, prefix: &str, scope: ScopeId) -> ScopeId {
        if scope == Scopes::ROOT {
            return self.child(Scopes::ROOT, prefix);
        }
        let (parent, name) = self.entries[scope.index()].clone();
        if parent == Scopes::ROOT && name == prefix {
            return scope;
        }
        let parent = self.below(prefix, parent);
        self.child(parent, &name)
    }

    /// The path, names joined by `/`; empty for the root.
    pub fn path(&self, scope: ScopeId) -> String {
        let mut names = Vec::new();
        let mut at = scope;
        while at != Scopes::ROOT {
            let (parent, name) = &self.entries[at.index()];
            names.push(name.as_str());
            at = *parent;
        }
        names.reverse();
        names.join("/")
    }

    /// The scope of a path as printed by [`Scopes::path`].
    pub fn at_path(&mut self, path: &str) -> ScopeId {
        path.split('/')
            .filter(|name| !name.is_empty())
            .fold(Scopes::ROOT, |parent, name| self.child(parent, name))
    }
}

/// A whole program.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Region 0 is the root; the others are loop bodies.
    pub regions: Vec<Region>,
    /// The scope paths.
    pub scopes: Scopes,
    /// The results, in order.
    pub outputs: Vec<Output>,
}

impl Default for Graph {
    fn default() -> Self {
        Graph {
            regions: vec![Region::default()],
            scopes: Scopes::default(),
            outputs: Vec::new(),
        }
    }
}

impl Graph {
    /// The region that holds parameters and outputs.
    pub fn root(&self) -> &Region {
        &self.regions[ROOT.index()]
    }

    /// The region `id`.
    pub fn region(&self, id: RegionId) -> &Region {
        &self.regions[id.index()]
    }

    /// The parameters, in the order in which they were made: node, name, role.
    pub fn parameters(&self) -> impl Iterator<Item = (NodeId, &str, super::op::Role)> {
        let nodes = self.root().nodes.iter().enumerate();
        nodes.filter_map(|(at, node)| match &node.op {
            Op::Parameter { name, role, .. } => Some((NodeId::from(at), name.as_str(), *role)),
            _ => None,
        })
    }

    /// Number of nodes in all regions.
    pub fn nodes(&self) -> usize {
        self.regions.iter().map(|region| region.nodes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_paths() {
        let mut scopes = Scopes::default();
        let layer = scopes.at_path("encoder/layer");
        assert_eq!(scopes.at_path("encoder/layer"), layer);
        let gradient = scopes.below("gradient", layer);
        assert_eq!(scopes.path(gradient), "gradient/encoder/layer");
        assert_eq!(scopes.below("gradient", gradient), gradient);
    }
}
