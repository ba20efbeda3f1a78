//! What to change when a program does not fit the device's memory, with the numbers.

use super::table::size;
use crate::forecast::MemoryReport;
use crate::graph::Graph;
use crate::sharding::{Mesh, Rules, over_rows, wider};
use crate::train::recipe::{Recipe, RematName};

/// The remedies for the recipe's step `graph` on `mesh`, the cheapest first. Each line starts with what to type.
pub fn advice(recipe: &Recipe, graph: &Graph, mesh: &Mesh, memory: &MemoryReport) -> Vec<String> {
    let mut lines = Vec::new();
    let kept = memory.kept();
    if let Some(capacity) = memory.capacity
        && kept >= capacity
    {
        let devices = mesh.devices() as u64 * (kept / capacity + 1);
        lines.push(format!(
            "--on a target of at least {devices} devices: weights and optimizer state alone take {} of {} per device",
            size(kept),
            size(capacity)
        ));
        return lines;
    }
    if recipe.remat != RematName::Full {
        let now = match recipe.remat {
            RematName::Full => "full",
            RematName::Dots => "dots",
            RematName::Names => "names",
            RematName::None => "none",
        };
        lines.push(format!(
            "--remat full: the backward pass recomputes each layer instead of saving its results (now: {now})"
        ));
    }
    let rules = recipe.rules.rules();
    let data = row_groups(graph, &rules, mesh);
    let (batch, parts) = (recipe.batch, recipe.microbatches);
    // Rows that a device processes at one time.
    let rows = batch / data / parts;
    if let Some(factor) = smallest_factor(rows) {
        let (parts, fewer) = (parts * factor, rows / factor);
        lines.push(format!(
            "--microbatches {parts}: a device processes {fewer} of its {} rows at a time (now: {rows})",
            batch / data
        ));
        lines.push(format!(
            "--batch {}: a device processes {fewer} rows at a time (now: {rows})",
            batch / factor
        ));
    }
    if let Some(wider) = wider(graph, &rules, mesh) {
        let share = |mesh: &Mesh| mesh.devices() / row_groups(graph, &rules, mesh);
        lines.push(format!(
            "--mesh {wider}: a device computes 1/{} of each layer (now: 1/{}) on {} rows (now: {rows})",
            share(&wider),
            share(mesh),
            batch / row_groups(graph, &rules, &wider) / parts
        ));
    }
    lines.push(format!(
        "--on a target with more than {} devices, or with more memory per device",
        mesh.devices()
    ));
    lines
}

fn smallest_factor(number: usize) -> Option<usize> {
    (2..=number).find(|&factor| number.is_multiple_of(factor))
}

/// How many groups of devices the rows of a batch are shared out to.
fn row_groups(graph: &Graph, rules: &Rules, mesh: &Mesh) -> usize {
    let split = over_rows(graph, rules, mesh);
    split.iter().map(|&at| mesh.axes()[at].size).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(kept: u64) -> MemoryReport {
        MemoryReport {
            weights: kept,
            optimizer_state: 0,
            memories: 0,
            batch: 0,
            arguments: None,
            outputs: None,
            aliased: None,
            temporaries: None,
            code: None,
            peak: None,
            capacity: Some(16_624_107_520),
            fits: false,
        }
    }

    fn step(recipe: &Recipe) -> Graph {
        recipe.step().unwrap().build().unwrap().graph.into_graph()
    }

    #[test]
    fn advice_has_the_numbers() {
        let recipe = Recipe::preset("prot-t5-xl").unwrap();
        let recipe = recipe.set("remat", "none").unwrap();
        let mesh = Mesh::parse("data=256,model=4").unwrap();
        assert_eq!(
            advice(&recipe, &step(&recipe), &mesh, &memory(1 << 30)),
            [
                "--remat full: the backward pass recomputes each layer instead of saving its results (now: none)",
                "--microbatches 2: a device processes 8 of its 16 rows at a time (now: 16)",
                "--batch 2048: a device processes 8 rows at a time (now: 16)",
                "--mesh data=128,model=8: a device computes 1/8 of each layer (now: 1/4) on 32 rows (now: 16)",
                "--on a target with more than 1024 devices, or with more memory per device",
            ]
        );
    }

    #[test]
    fn weights_that_do_not_fit_need_more_devices() {
        let recipe = Recipe::preset("prot-t5-xxl").unwrap();
        let mesh = Mesh::parse("data=2,model=4").unwrap();
        assert_eq!(
            advice(&recipe, &step(&recipe), &mesh, &memory(40 << 30)),
            [
                "--on a target of at least 24 devices: weights and optimizer state alone take 40.00 GiB of 15.48 GiB \
                 per device"
            ]
        );
    }
}
