//! The order of the rooms: what each folder of `src` may import, and that no two files of a room import each other in a
//! circle. Both are read from the sources, so that the drawing in docs/architecture.md stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms, lowest line first. A room imports from lower lines only.
const LINES: [&[&str]; 9] = [
    &["graph"],
    &["sharding"],
    &["hlo", "runtime"],
    &["models"],
    &["data", "forecast", "infer", "train"],
    &["pipeline"],
    &["plan"],
    &["report", "verify"],
    &["cli"],
];

/// Rooms of one line of which the first may import the second.
const BESIDE: [[&str; 2]; 4] = [
    ["runtime", "hlo"],
    ["train", "data"],
    ["infer", "data"],
    ["report", "verify"],
];

/// Files that belong together: each set is one idea in several files, which know each other.
const TOGETHER: [&[&str]; 7] = [
    // A loop operation holds the id of its body, and a body's nodes hold operations.
    &["graph::ir", "graph::op"],
    // Tensors record into the builder that makes them, and loops are recorded between the two.
    &["graph::builder", "graph::loops", "graph::tensor"],
    // The context hands out weights, and an adapter wraps how it does.
    &["models::context", "models::lora"],
    // A family's names in other people's files are a file of their own.
    &["models::t5", "models::hugging_face::t5"],
    &["models::transfo_xl", "models::hugging_face::transfo_xl"],
    &["models::xlnet", "models::hugging_face::xlnet"],
    // A recipe is read by the registry that knows its names, and keeps it to be read again with other settings.
    &["train::recipe", "train::registry"],
];

/// A module's path below the crate, such as `["hlo", "lower", "emit"]`.
type Module = Vec<String>;

struct Sources {
    /// The code of each module, without comments, texts and unit tests.
    code: BTreeMap<Module, String>,
    /// What each module gives on from elsewhere: the name, and its absolute path.
    exports: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry of it").path();
        match path.is_dir() {
            true => files(&path, into),
            false => into.push(path),
        }
    }
}

/// `text` without comments and string literals.
fn stripped(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut before = ' ';
        for (at, c) in line.char_indices() {
            if !quoted && line[at..].starts_with("//") {
                break;
            }
            // A quote character in single quotes begins no text.
            if c == '"' && before != '\\' && before != '\'' {
                quoted = !quoted;
            } else if !quoted {
                code.push(c);
            }
            before = c;
        }
        code.push('\n');
    }
    code
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut paths = Vec::new();
        files(&root, &mut paths);
        let mut code = BTreeMap::new();
        for path in paths {
            let relative = path.strip_prefix(&root).expect("a file of src");
            let name = relative.with_extension("");
            let mut module: Module = (name.iter())
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            // Tests may look at anything below them.
            if matches!(
                module.last().map(String::as_str),
                Some("tests" | "main" | "lib")
            ) {
                continue;
            }
            module.retain(|part| part != "mod");
            let text = std::fs::read_to_string(&path).expect("a source file");
            let text = stripped(&text);
            let unit_tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            code.insert(module, text[..unit_tests].to_string());
        }
        assert!(code.len() > 100, "the sources were not found");
        let mut sources = Sources {
            code,
            exports: BTreeMap::new(),
        };
        for (module, text) in &sources.code {
            let given = uses(text).into_iter().filter(|(_, public)| *public);
            let given = given.filter_map(|(path, _)| {
                let path = sources.absolute(module, &path)?;
                Some((path.last()?.clone(), path))
            });
            let given = given.collect();
            sources.exports.insert(module.clone(), given);
        }
        sources
    }

    /// `path` as seen in `module`, from the crate's root; none where it leads out of the crate.
    fn absolute(&self, module: &Module, path: &str) -> Option<Vec<String>> {
        let mut parts: Vec<String> = path.split("::").map(String::from).collect();
        let mut base = module.clone();
        match parts[0].as_str() {
            "crate" | "ribosome" => base.clear(),
            "self" => {}
            "super" => {
                while parts.first().is_some_and(|part| part == "super") {
                    base.pop();
                    parts.remove(0);
                }
                parts.insert(0, String::new());
            }
            first => {
                let child = [module.clone(), vec![first.to_string()]].concat();
                return (self.code.contains_key(&child))
                    .then(|| [module.clone(), parts.clone()].concat());
            }
        }
        Some([base, parts.split_off(1)].concat())
    }

    /// The module that an absolute path is of, through what modules give on.
    fn module_of(&self, path: &[String], depth: usize) -> Module {
        let known = (0..=path.len()).rev();
        let len = known
            .into_iter()
            .find(|&len| self.code.contains_key(&path[..len]))
            .unwrap_or(0);
        let (module, rest) = path.split_at(len);
        let given = self.exports.get(module).zip(rest.first());
        match given.and_then(|(exports, name)| exports.get(name)) {
            Some(target) if depth < 5 => {
                let target = [target.as_slice(), &rest[1..]].concat();
                self.module_of(&target, depth + 1)
            }
            _ => module.to_vec(),
        }
    }
}

/// The paths of all `use` lines, and whether the line gives them on.
fn uses(code: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        let Some(at) = statement.rfind("use ") else {
            continue;
        };
        let before = statement[..at].lines().last().unwrap_or_default().trim();
        if !(before.is_empty() || before.starts_with("pub")) {
            continue;
        }
        let path: String = statement[at + 4..]
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        expand("", &path, before.starts_with("pub"), &mut found);
    }
    found
}

/// `a::{b, c::{d, e}}` as its single paths.
fn expand(prefix: &str, path: &str, public: bool, into: &mut Vec<(String, bool)>) {
    let Some((head, inner)) = path.split_once('{') else {
        let path = path.split(" as ").next().unwrap_or_default().trim();
        if !path.is_empty() {
            into.push((format!("{prefix}{path}"), public));
        }
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        let end = depth == 0 && matches!(c, ',' | '}');
        if end {
            expand(&prefix, &inner[start..at], public, into);
            start = at + 1;
        }
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            _ => {}
        }
    }
}

/// Every room that `code` names, in a `use` line or in a path.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for start in ["crate::", "ribosome::"] {
        for (at, _) in code.match_indices(start) {
            let name = code[at + start.len()..].split(|c: char| !(c.is_alphanumeric() || c == '_'));
            rooms.extend(name.take(1).map(String::from));
        }
        // `use crate::{graph::..., hlo::...}` names several.
        for (path, _) in uses(code) {
            let parts: Vec<_> = path.split("::").collect();
            if parts.len() > 1 && format!("{}::", parts[0]) == start {
                rooms.insert(parts[1].to_string());
            }
        }
    }
    rooms.remove("");
    rooms
}

fn line_of(room: &str) -> Option<usize> {
    LINES.iter().position(|line| line.contains(&room))
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let sources = Sources::read();
    let mut wrong = BTreeSet::new();
    for (module, code) in &sources.code {
        let room = module[0].as_str();
        let Some(line) = line_of(room) else {
            wrong.insert(format!("src/{room} is on no line; put it on one"));
            continue;
        };
        for named in rooms_named(code) {
            let Some(below) = line_of(&named) else {
                continue; // a macro or an item of the crate's root
            };
            let beside = BESIDE.contains(&[room, &named]);
            if named != room && below >= line && !beside {
                let file = module.join("/");
                wrong.insert(format!(
                    "{room} must not import {named}, and src/{file}.rs does"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Modules that can be reached from `from`, which is among them only if there is a circle.
fn reach(from: &Module, arrows: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in arrows.get(module).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

#[test]
fn no_two_files_of_a_room_import_each_other() {
    let sources = Sources::read();
    let mut arrows: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, code) in &sources.code {
        for (path, _) in uses(code) {
            let Some(path) = sources.absolute(module, &path) else {
                continue;
            };
            let target = sources.module_of(&path, 0);
            // A folder's own file and the files in the folder may know each other.
            let related = target.starts_with(module) || module.starts_with(&target);
            if target.first() == module.first() && !related {
                arrows.entry(module.clone()).or_default().insert(target);
            }
        }
    }
    assert!(arrows.len() > 50, "the use lines were not understood");
    let mut circles = BTreeSet::new();
    for module in arrows.keys() {
        let reached = reach(module, &arrows);
        if !reached.contains(module) {
            continue;
        }
        let circle: Vec<String> = (reached.iter())
            .filter(|other| reach(other, &arrows).contains(module))
            .map(|module| module.join("::"))
            .collect();
        let known = |set: &&[&str]| circle.iter().all(|module| set.contains(&module.as_str()));
        if !TOGETHER.iter().any(known) {
            circles.insert(circle);
        }
    }
    assert!(circles.is_empty(), "these import each other: {circles:#?}");
}

#[test]
fn use_lines_are_taken_apart() {
    let code = stripped(
        "//! use crate::cli;\nuse crate::graph::{Axis, op::{self, Loop}};\npub use super::b as c; // use x::y;\n",
    );
    assert_eq!(
        uses(&code),
        [
            ("crate::graph::Axis".to_string(), false),
            ("crate::graph::op::self".to_string(), false),
            ("crate::graph::op::Loop".to_string(), false),
            ("super::b".to_string(), true),
        ]
    );
    let named = rooms_named("use crate::{graph::Axis, hlo};\nlet x = crate::train::step();");
    assert_eq!(
        named.into_iter().collect::<Vec<_>>(),
        ["graph", "hlo", "train"]
    );
}
