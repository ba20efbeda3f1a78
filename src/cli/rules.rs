//! `ribosome rules`: the named sets of sharding rules, and one set's rules as a recipe writes them.

use crate::report::table::table;
use crate::sharding::{Rule, RuleSet};
use anyhow::Result;
use serde_json::json;

use super::exit::{Status, Usage};
use super::output::{print, print_json};

/// Lists the named sets of sharding rules: what each shards and when to use it
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome rules zero1")]
pub struct Args {
    /// The set whose rules are printed [default: lists the sets]
    name: Option<String>,
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Result<Status> {
        match &self.name {
            None if self.json => {
                let record = |set: RuleSet| json!({ "name": set.name(), "splits": set.splits(), "when": set.when() });
                print_json(&json!({ "sets": RuleSet::ALL.map(record) }))?;
            }
            None => {
                let row = |set: RuleSet| {
                    [set.name(), set.splits(), set.when()]
                        .map(String::from)
                        .to_vec()
                };
                let rows = RuleSet::ALL.map(row);
                let mut text = table(&["set", "splits", "for"], &rows, &[]);
                text += HOW;
                print(&text)?;
            }
            Some(name) => {
                let set = RuleSet::named(name).map_err(Usage)?;
                match self.json {
                    true => print_json(
                        &json!({ "name": set.name(), "rules": lists(set).into_iter().collect::<serde_json::Map<_, _>>() }),
                    )?,
                    false => print(&text(set))?,
                }
            }
        }
        Ok(Status::Done)
    }
}

const HOW: &str = "
--rules SET uses one. A recipe has rules = \"SET\", or a table [rules] with set = \"SET\" and lists (weights, state, \
activations, residual) of rules that replace the set's for their axes: \"embed->data\", \"batch->data+fsdp\", \
\"kv->whole\". State follows its weight unless a rule says otherwise. In every set the batch is also sharded over replica, if the mesh \
has it: --mesh replica=4,data=64 keeps the weights on 4 groups of devices.
";

/// The lists by their keys.
fn lists(set: RuleSet) -> Vec<(String, serde_json::Value)> {
    let rules = set.rules();
    let lists = [
        ("weights", rules.weights),
        ("state", rules.state),
        ("activations", rules.activations),
        ("residual", rules.residual),
    ];
    (lists.into_iter())
        .map(|(key, list)| {
            let list: Vec<_> = list.iter().map(Rule::to_string).collect();
            (key.to_string(), json!(list))
        })
        .collect()
}

/// The set as TOML for a recipe.
fn text(set: RuleSet) -> String {
    let rules = set.rules();
    let mut text = format!(
        "# {}: {}.\n# For {}.\n[rules]\nset = \"none\"\n",
        set.name(),
        set.splits(),
        set.when()
    );
    for (key, list) in [
        ("weights", rules.weights),
        ("state", rules.state),
        ("activations", rules.activations),
        ("residual", rules.residual),
    ] {
        text += &format!("{key} = [\n");
        for rule in list {
            text += &format!("  \"{rule}\",\n");
        }
        text += "]\n";
    }
    text
}
