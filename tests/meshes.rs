//! The meshes that are chosen: for each published recipe on every machine, held by a snapshot
//! (`INSTA_UPDATE=always cargo test --test meshes`), and for machines whose factors the model does not have.

use std::fs;

use ribosome::graph::Graph;
use ribosome::pipeline::{Arranged, Job, Stages};
use ribosome::sharding::{Partitioner, Target, Torus, known_targets};
use ribosome::train::recipe::Recipe;

/// Every named machine, and some of other shapes.
fn targets() -> Vec<Target> {
    let more = [
        "cpu:1",
        "cpu:2",
        "cpu:4",
        "cpu:8",
        "cpu:16",
        "v3:16x32",
        "4xv6e-256",
        "2xv4-128",
    ];
    let more = more.iter().map(|name| name.parse().unwrap());
    known_targets().into_iter().chain(more).collect()
}

fn graph(recipe: &Recipe) -> Graph {
    recipe.step().unwrap().build().unwrap().graph.into_graph()
}

fn place(recipe: &Recipe, graph: &Graph, target: Target) -> Result<Arranged, String> {
    let devices = target.devices().unwrap();
    let job = Job {
        recipe: recipe.clone(),
        target,
        mesh: None,
        partitioner: Partitioner::Shardy,
    };
    job.place(devices, graph).map_err(|error| error.to_string())
}

#[test]
fn the_published_recipes_on_every_machine() {
    let files = fs::read_dir("recipes").unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().path().to_str().unwrap().to_string())
        .collect();
    names.sort();
    let mut lines = String::new();
    for name in names {
        let recipe = Recipe::load(&name).unwrap();
        for number in 1..=recipe.phases.len().max(1) {
            let phase = recipe.phase(number).unwrap();
            let graph = graph(&phase);
            lines += &format!("{}, phase {number}\n", phase.name);
            let mut seen = Vec::new();
            for target in targets() {
                let Some(devices) = target.devices() else {
                    continue;
                };
                let slices = target.slices();
                if seen.contains(&(devices, slices)) {
                    continue;
                }
                seen.push((devices, slices));
                let mesh = match place(&phase, &graph, target) {
                    Ok(placed) => placed.mesh.to_string(),
                    Err(_) => "no mesh".to_string(),
                };
                lines += &format!("  {slices} x {}: {mesh}\n", devices / slices);
            }
        }
    }
    insta::assert_snapshot!(lines);
}

/// A batch that divides: the odd factor splits the batch alone, and weights are held once a group.
#[test]
fn machines_with_a_factor_that_no_weight_has() {
    for (target, batch, mesh, lost) in [
        (
            "v4-384",
            "4224",
            "replica=3,data=64,model=1",
            "held on 3 groups of devices",
        ),
        (
            "v5p-384",
            "4224",
            "replica=3,data=64,model=1",
            "held on 3 groups of devices",
        ),
        (
            "v4-1536",
            "4608",
            "replica=3,data=128,model=2",
            "held on 3 groups of devices",
        ),
        (
            "v5p-1280",
            "4480",
            "replica=5,data=64,model=2",
            "held on 5 groups of devices",
        ),
        (
            "v5p-12288",
            "4608",
            "replica=3,data=256,model=8",
            "held on 3 groups of devices",
        ),
    ] {
        let recipe = Recipe::preset("prot-t5-xl").unwrap();
        let recipe = recipe.set("batch", batch).unwrap();
        let target: Target = target.parse().unwrap();
        let placed = place(&recipe, &graph(&recipe), target.clone()).unwrap();
        assert_eq!(placed.mesh.to_string(), mesh, "{target}");
        assert_eq!(placed.lost.len(), 1, "{target}: {:?}", placed.lost);
        assert!(placed.lost[0].contains(lost), "{target}: {:?}", placed.lost);
        // The torus has room for it, and the program is one.
        Torus::of(target.topology().unwrap())
            .order(&placed.mesh)
            .unwrap();
    }
}

/// The published batch, 4096, does not divide either: the mesh uses what divides, and says which batches would use all.
#[test]
fn machines_with_a_factor_that_nothing_has() {
    let recipe = Recipe::preset("prot-t5-xl").unwrap();
    let graph = graph(&recipe);
    let mut lines = String::new();
    for target in ["v4-384", "v5p-384", "v4-1536", "v5p-1280", "v5p-12288"] {
        let target: Target = target.parse().unwrap();
        let placed = place(&recipe, &graph, target.clone()).unwrap();
        Torus::of(target.topology().unwrap())
            .order(&placed.mesh)
            .unwrap();
        lines += &format!(
            "{target}: {}\n  {}\n",
            placed.mesh,
            placed.lost.join("\n  ")
        );
    }
    insta::assert_snapshot!(lines);
}

/// Placing the tensors beforehand finds what lowering finds: a mesh passes one if it passes the other.
#[test]
fn what_fits_is_what_lowers() {
    let (mut fit, mut not) = (0, 0);
    for preset in [
        "prot-t5-tiny",
        "prot-electra-tiny",
        "prot-txl-tiny",
        "prot-xlnet-tiny",
    ] {
        let recipe = Recipe::preset(preset).unwrap();
        let recipe = recipe.set("microbatches", "2").unwrap();
        let graph = graph(&recipe);
        let checked = graph.clone().check().unwrap();
        for mesh in [
            "data=2,model=2",
            "data=16,model=1",
            "data=1,model=16",
            "data=3,model=1",
            "replica=2,data=32",
        ] {
            let mesh = mesh.parse().unwrap();
            let rules = recipe.rules.rules();
            let placed = ribosome::sharding::check_mesh(&graph, &rules, &mesh);
            let layout = ribosome::hlo::Layout {
                mesh: &mesh,
                rules: &rules,
            };
            let lowered = ribosome::hlo::lower(&checked, "step", layout);
            assert_eq!(
                placed.is_ok(),
                lowered.is_ok(),
                "{preset} on {mesh}: {placed:?}"
            );
            match placed {
                Ok(_) => fit += 1,
                Err(_) => not += 1,
            }
        }
    }
    assert!(fit > 4 && not > 4, "{fit} fit, {not} do not");
}

#[test]
fn a_choice_is_deterministic_and_lowers() {
    let recipe = Recipe::preset("prot-t5-tiny").unwrap();
    let job = Job {
        recipe,
        target: "cpu:8".parse().unwrap(),
        mesh: None,
        partitioner: Partitioner::Shardy,
    };
    let lowered = |job: &Job| job.lower(8, &mut Stages::default()).unwrap();
    let (first, second) = (lowered(&job), lowered(&job));
    assert_eq!(first.mesh_reason, second.mesh_reason);
    assert_eq!(first.program.fingerprint(), second.program.fingerprint());
}
