//! The DSL on one page: a small network, its gradients, its HLO, and a run on two virtual devices.
//!
//! ```text
//! cargo run --example dsl
//! ```

use std::collections::BTreeMap;

use ribosome::graph::{Builder, DType, Init, Remat, Role, Shape};
use ribosome::hlo::{Layout, lower, text};
use ribosome::runtime::{Client, CompileConfig, HostArray, Platform, Purpose, Session, open};
use ribosome::sharding::{Mesh, Rules};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Builder::new();
    let shape = Shape::new(DType::F32, [("batch", 4), ("embed", 8)]);
    let x = builder.input("x", Role::Batch, shape);

    // A loop of four layers, each with its own weights. Axes have names, and no line mentions devices.
    let y = builder.layers(4, Remat::Full, x, |_, x| {
        let wi = builder.weight("wi", [("embed", 8), ("mlp", 16)], Init::Normal(0.3));
        let wo = builder.weight("wo", [("mlp", 16), ("embed", 8)], Init::Normal(0.2));
        let hidden = x.dot(wi, ["embed"]).tanh().pin();
        (x + hidden.dot(wo, ["mlp"])).pin()
    });
    let error = y - x * 2.0;
    let loss = (error * error).mean(["batch", "embed"]);
    builder.output("loss", loss);
    for weight in builder.weights() {
        let value = builder.whole(&weight);
        let gradient = builder.gradients(loss, &[value])[0];
        builder.update(&weight.name, value - gradient * 0.1);
    }
    let graph = builder.compact()?;

    // Rules map axes to the mesh, and the module states the sharding of every tensor.
    let (mesh, rules) = (&Mesh::parse("data=2,model=1")?, &Rules::standard());
    let program = lower(&graph, "example", Layout { mesh, rules })?;
    println!("{}", text::print(program.module()));

    let client = Client::cpu(open(Platform::Cpu, Purpose::Run)?, 2)?;
    let session = Session::new(&client, &program, &CompileConfig::for_virtual_devices(2))?;
    let mut state = BTreeMap::new();
    for port in &session.signature().inputs {
        let values: Vec<_> = (0..port.shape.elements())
            .map(|at| (at as f64).sin() * 0.3)
            .collect();
        let array = HostArray::from_f64(port.shape.clone(), &values)?;
        state.insert(port.name.clone(), array);
    }
    for step in 0..5 {
        let mut outputs = session.evaluate(&state)?;
        let loss = outputs.remove("loss").expect("an output of the graph");
        println!("step {step}: loss {:.4}", loss.to_f64()[0]);
        state.extend(outputs); // the next weights
    }
    Ok(())
}
