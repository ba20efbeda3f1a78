//! Models that read a text in segments: the shift that turns distances into keys, and that many devices, another policy
//! of what loops save, and dropout leave the numbers as they are on one.

mod common;

use std::collections::BTreeMap;

use common::{INPUT, assert_close};
use ribosome::graph::{Builder, DType, Graph, Key, Policy, Remat, Role, Shape, Tensor};
use ribosome::hlo::Program;
use ribosome::models::relative_attention::relative_shift;
use ribosome::models::{CausalLanguageModel, Context, transfo_xl, xlnet};
use ribosome::runtime::{HostArray, Session};
use ribosome::sharding::Partitioner;

#[test]
fn the_shift_gives_each_key_its_distance() {
    for (length, keys, after) in [
        (1, 1, false),
        (3, 3, true),
        (5, 8, false),
        (5, 8, true),
        (1, 4, true),
    ] {
        let distances = keys + if after { length } else { 1 };
        let builder = Builder::new();
        let shape = Shape::new(DType::F64, [("length", length), ("distance", distances)]);
        let count = |axis: &str| builder.iota(axis, shape.clone());
        // A query's number before the point, its distance's after.
        let scores = count("length") + count("distance") * 1e-3;
        builder.output("shifted", relative_shift(scores, keys));
        let found = &common::evaluate(builder.finish().unwrap(), &[])["shifted"];
        for query in 0..length {
            for key in 0..keys {
                // Distances run down from `keys`, and this pair is `keys - length + query - key` apart.
                let at = length + key - query;
                if at < distances {
                    let expected = query as f64 + at as f64 * 1e-3;
                    assert_close("score", &[found[query * keys + key]], &[expected], 1e-12);
                }
            }
        }
    }
}

#[test]
fn an_odd_batch_has_no_second_half() {
    let builder = Builder::new();
    let config = xlnet::Config {
        bi_data: true,
        n_layer: 1,
        ..xlnet::Config::default()
    };
    let shape = Shape::new(DType::S32, [("batch", 3), ("length", 2)]);
    let input = xlnet::Input {
        ids: builder.input("ids", INPUT, shape),
        types: None,
        mask: None,
        permutation: None,
        targets: None,
        memory: None,
    };
    config.forward(Context::new(&builder, Policy::F32), input);
    let error = builder.finish().unwrap_err().to_string();
    assert!(
        error.contains("batch=2") && error.contains("batch=3"),
        "{error}"
    );
}

const BATCH: usize = 4;
const LENGTH: usize = 8;
const MEMORY: usize = 6;

fn tokens<'g>(builder: &'g Builder, name: &str) -> Tensor<'g> {
    let shape = Shape::new(DType::S32, [("batch", BATCH), ("length", LENGTH)]);
    builder.input(name, INPUT, shape)
}

/// The next segment's memory, and the loss as a sum and a number.
type Read<'g> = (Option<Tensor<'g>>, (Tensor<'g>, Tensor<'g>));

/// Records a segment with a memory: the loss with its gradients, and the next memory.
fn record(
    policy: Policy,
    remat: Remat,
    model: impl for<'g> Fn(Context<'g>, Tensor<'g>) -> Read<'g>,
) -> Graph {
    let builder = Builder::new();
    let seed = builder.input("seed", Role::Seed, Shape::scalar(DType::U32));
    let cx = Context {
        remat,
        key: Some(Key::of_seed(seed)),
        ..Context::new(&builder, policy)
    };
    let axes = [
        ("layers", 3),
        ("batch", BATCH),
        ("memory", MEMORY),
        ("embed", 16),
    ];
    let memory = builder.input("memory", INPUT, Shape::new(policy.compute(), axes));
    let (next, (sum, count)) = model(cx, memory);
    let loss = sum / count;
    let weights = builder.weights();
    let values: Vec<_> = weights.iter().map(|it| builder.whole(it)).collect();
    builder.output("loss", loss);
    builder.output("next", next.unwrap());
    for (weight, gradient) in weights.iter().zip(builder.gradients(loss, &values)) {
        builder.output(&weight.name, gradient);
    }
    builder.finish().unwrap_or_else(|error| panic!("{error}"))
}

fn transformer_xl<'g>(cx: Context<'g>, memory: Tensor<'g>) -> Read<'g> {
    let config = transfo_xl::Config {
        vocab_size: 12,
        cutoffs: vec![5, 9],
        d_model: 16,
        d_embed: 8,
        n_head: 4,
        d_head: 6,
        d_inner: 24,
        div_val: 2,
        n_layer: 3,
        mem_len: MEMORY,
        untie_r: false,
        ..transfo_xl::Config::default()
    };
    let builder = cx.builder;
    let (ids, labels) = (tokens(builder, "ids"), tokens(builder, "labels"));
    let output = config.read(cx, ids, Some(memory));
    let counted = labels.gt(labels.constant(0.0));
    (
        output.memory,
        config.losses(cx, output.hidden, labels, counted),
    )
}

fn two_streams<'g>(cx: Context<'g>, memory: Tensor<'g>) -> Read<'g> {
    let config = xlnet::Config {
        vocab_size: 12,
        d_model: 16,
        n_layer: 3,
        n_head: 4,
        d_inner: 24,
        mem_len: MEMORY,
        bi_data: true,
        ..xlnet::Config::default()
    };
    let builder = cx.builder;
    let ids = tokens(builder, "ids");
    let axes = [("batch", BATCH), ("length", LENGTH), ("keys", LENGTH)];
    let key = |axis: &str| builder.iota(axis, Shape::new(DType::S32, axes));
    // Every third position is to be told from those before it.
    let at = builder.table("predictions", vec![1, 4, 7]);
    let axes = [("batch", BATCH).into(), ("predictions", 3).into()];
    let targets = at.broadcast(axes).one_hot("length", LENGTH, DType::F32);
    let output = config.forward(
        cx,
        xlnet::Input {
            ids,
            types: Some(ids.gt(ids.constant(1.0)).cast(DType::S32)),
            mask: Some(ids.ge(ids.constant(0.0))),
            permutation: Some(key("keys").ge(key("length"))),
            targets: Some(targets),
            memory: Some(memory),
        },
    );
    let labels = ids.slice("length", 0, 3).rename("length", "predictions");
    let counted = labels.ge(labels.constant(0.0));
    let logits = config.logits(cx, output.hidden);
    let loss = ribosome::models::layers::cross_entropy(logits, labels, counted);
    (output.memory, loss)
}

/// Runs `program` on its mesh's devices with weights and tokens from a fixed seed.
fn outputs(
    program: &Program,
    devices: usize,
    partitioner: Partitioner,
) -> BTreeMap<String, Vec<f64>> {
    let mut state = 11;
    let inputs = program.signature.inputs.iter().map(|port| {
        let floats = port.shape.dtype.is_float();
        let value = |_| match floats {
            true => common::next(&mut state) - 0.5,
            false => (common::next(&mut state) * 12.0).floor(),
        };
        let values: Vec<_> = (0..port.shape.elements()).map(value).collect();
        let array = HostArray::from_f64(port.shape.clone(), &values).unwrap();
        (port.name.clone(), array)
    });
    let config = common::config(devices).with_partitioner(partitioner);
    let session = Session::new(&common::cpu(devices), program, &config).unwrap();
    let outputs = session.evaluate(&inputs.collect()).unwrap();
    let outputs = outputs.into_iter();
    outputs
        .map(|(name, array)| (name, array.to_f64()))
        .collect()
}

fn agrees(model: impl for<'g> Fn(Context<'g>, Tensor<'g>) -> Read<'g> + Copy) {
    let graph = |remat| record(Policy::F32, remat, model);
    let one = common::lowered(graph(Remat::Full), "data=1,model=1");
    let expected = outputs(&one, 1, Partitioner::Shardy);
    let four = common::lowered(graph(Remat::Names), "data=2,model=2");
    for partitioner in Partitioner::ALL {
        for (name, values) in outputs(&four, 4, partitioner) {
            assert_close(&name, &values, &expected[&name], 2e-5);
        }
    }
    assert!(expected["loss"][0] > 0.1);
    // The element types fit together in the policy for TPUs, too.
    record(Policy::Bf16, Remat::Dots, model);
}

#[test]
fn transformer_xl_on_four_devices() {
    agrees(transformer_xl);
}

#[test]
fn xlnet_on_four_devices() {
    agrees(two_streams);
}
