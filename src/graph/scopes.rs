//! Scope paths such as `encoder/layer/attention`: a tree of names. The same path always has the same id.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::id::ScopeId;

/// The tree of scope paths. The same path always has the same id.
#[derive(Clone, Debug)]
pub struct Scopes {
    /// Each scope's parent and name, parents first.
    entries: Vec<(ScopeId, SmolStr)>,
    /// The ids by parent and name.
    known: BTreeMap<(ScopeId, SmolStr), ScopeId>,
    /// The results of [`Scopes::below`], by the prefix's scope and the scope.
    moved: BTreeMap<(ScopeId, ScopeId), ScopeId>,
}

impl Default for Scopes {
    fn default() -> Self {
        Scopes {
            entries: vec![(Scopes::ROOT, SmolStr::default())],
            known: BTreeMap::new(),
            moved: BTreeMap::new(),
        }
    }
}

impl Scopes {
    /// The empty path.
    pub const ROOT: ScopeId = ScopeId(0);

    /// Whether `scope` exists.
    pub fn has(&self, scope: ScopeId) -> bool {
        scope.index() < self.entries.len()
    }

    /// The scope `name` within `parent`, added if it is new. A `parent` that does not exist counts as the empty path.
    pub fn child(&mut self, parent: ScopeId, name: &str) -> ScopeId {
        let parent = if self.has(parent) {
            parent
        } else {
            Scopes::ROOT
        };
        let name = SmolStr::new(name);
        let next = ScopeId::from(self.entries.len());
        *(self.known.entry((parent, name.clone()))).or_insert_with(|| {
            self.entries.push((parent, name));
            next
        })
    }

    /// The scope with the path of `scope` below the top-level scope `prefix`, as for gradients.
    pub fn below(&mut self, prefix: &str, scope: ScopeId) -> ScopeId {
        let top = self.child(Scopes::ROOT, prefix);
        self.moved_below(top, scope)
    }

    fn moved_below(&mut self, top: ScopeId, scope: ScopeId) -> ScopeId {
        if scope == Scopes::ROOT || scope == top || !self.has(scope) {
            return top;
        }
        if let Some(&known) = self.moved.get(&(top, scope)) {
            return known;
        }
        let (parent, name) = self.entries[scope.index()].clone();
        // A scope that is already below the prefix stays as it is.
        let parent = match parent {
            Scopes::ROOT => top,
            parent => self.moved_below(top, parent),
        };
        let moved = self.child(parent, &name);
        self.moved.insert((top, scope), moved);
        moved
    }

    /// The path, names joined by `/`; empty for the root. An id that does not exist is printed itself.
    pub fn path(&self, scope: ScopeId) -> String {
        let mut names = Vec::new();
        let mut at = scope;
        while at != Scopes::ROOT {
            let Some((parent, name)) = self.entries.get(at.index()) else {
                return at.to_string();
            };
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
