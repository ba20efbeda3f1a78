//! The BERT families beyond their references: packed rows, meshes, depth, and what ALBERT's shared weights cost on a TPU.

mod common;

use ndarray::ArrayD;
use ribosome::graph::{Builder, DType, Graph, Key, Policy, Role, Shape, Tensor, Weight};
use ribosome::hlo::proto::decode_with_config;
use ribosome::hlo::{Collective, analyse};
use ribosome::models::tokens::Tokens;
use ribosome::models::weights::{self, Entry};
use ribosome::models::{
    Context, Family, MaskedLanguageModel, albert, bert, electra, layers, megatron,
};
use ribosome::pipeline::Machine;
use ribosome::runtime::Settings;
use ribosome::sharding::{Mesh, Partitioner};

/// A loss of the model's logits and its gradient by every weight, for `batch` rows of `length` tokens. In `bf16`, the type of
/// training, with dropout.
fn gradients(
    policy: Policy,
    (batch, length): (usize, usize),
    loss: impl for<'g> FnOnce(Context<'g>, Tensor<'g>) -> Tensor<'g>,
) -> Graph {
    let builder = Builder::new();
    let shape = Shape::new(DType::S32, [("batch", batch), ("length", length)]);
    let ids = builder.input("ids", Role::Batch, shape);
    let mut cx = Context::new(&builder, policy);
    if policy == Policy::Bf16 {
        let seed = builder.input("seed", Role::Seed, Shape::scalar(DType::U32));
        cx.key = Some(Key::of_seed(seed));
    }
    let loss = loss(cx, ids);
    let weights = builder.weights();
    let values: Vec<_> = weights.iter().map(|weight| builder.whole(weight)).collect();
    builder.output("loss", loss);
    for (weight, gradient) in weights.iter().zip(builder.gradients(loss, &values)) {
        builder.output(&weight.name, gradient.pin_weight());
    }
    builder.finish().unwrap()
}

/// The mean cross-entropy of restoring `ids`.
fn restore<'g>(logits: Tensor<'g>, ids: Tensor<'g>) -> Tensor<'g> {
    let (sum, count) = layers::cross_entropy(logits, ids, ids.ge(ids.constant(0.0)));
    sum / count
}

fn bert(layers: usize) -> bert::Config {
    bert::Config {
        vocab_size: 30,
        hidden_size: 16,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        intermediate_size: 32,
        max_position_embeddings: 24,
        sentence_head: true,
        ..bert::Config::default()
    }
}

fn albert(layers: usize) -> albert::Config {
    albert::Config {
        vocab_size: 34,
        hidden_size: 16,
        embedding_size: 6,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        intermediate_size: 32,
        max_position_embeddings: 24,
        sentence_head: true,
        ..albert::Config::default()
    }
}

fn electra(layers: usize) -> electra::Config {
    let discriminator = electra::Network {
        vocab_size: 30,
        embedding_size: 16,
        hidden_size: 16,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        intermediate_size: 32,
        max_position_embeddings: 24,
        ..electra::Network::default()
    };
    electra::Config {
        generator: electra::Network {
            hidden_size: 8,
            ..discriminator.clone()
        },
        discriminator,
        ..electra::Config::default()
    }
}

/// ProteinLM's kind: no types.
fn megatron(layers: usize) -> megatron::Config {
    megatron::Config {
        vocab_size: 32,
        hidden_size: 16,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        intermediate_size: 32,
        max_position_embeddings: 24,
        type_vocab_size: 0,
        ..megatron::Config::default()
    }
}

/// The graph of a loss and its gradients for each family with `layers` layers.
fn families(layers: usize) -> [(&'static str, Graph); 4] {
    let rows = (4, 8);
    let bf16 = Policy::Bf16;
    [
        (
            "bert",
            gradients(bf16, rows, |cx, ids| {
                restore(bert(layers).logits(cx, Tokens::padded(ids, 0)), ids)
            }),
        ),
        (
            "albert",
            gradients(bf16, rows, |cx, ids| {
                restore(albert(layers).logits(cx, Tokens::padded(ids, 0)), ids)
            }),
        ),
        (
            "electra",
            gradients(bf16, rows, |cx, ids| {
                let model = electra(layers);
                let found = model.discriminator_logits(cx, Tokens::padded(ids, 0));
                let labels = ids.gt(ids.constant(3.0));
                let (sum, _) = layers::binary_cross_entropy(found, labels, labels);
                restore(model.generator_logits(cx, Tokens::padded(ids, 0)), ids) + sum
            }),
        ),
        (
            "megatron",
            gradients(bf16, rows, |cx, ids| {
                let tokens = Tokens {
                    positions: Some(ids),
                    ..Tokens::padded(ids, 0)
                };
                restore(megatron(layers).logits(cx, tokens), ids)
            }),
        ),
    ]
}

/// The heads for pairs of sentences have no reference: their weights are where the published checkpoints have them.
#[test]
fn sentence_heads_have_their_names() {
    let exported = |table: &[Entry], logits: &dyn for<'g> Fn(Context<'g>, Tokens<'g>)| {
        let builder = Builder::new();
        let shape = Shape::new(DType::S32, [("batch", 1), ("length", 2)]);
        let ids = builder.input("ids", Role::Batch, shape);
        logits(Context::new(&builder, Policy::F32), Tokens::new(ids));
        let weights = builder.weights();
        let zeros = |weight: &Weight| {
            let dims = weight.shape.dims();
            (weight.name.clone(), ArrayD::zeros(dims.as_slice()))
        };
        weights::export(table, &weights, &weights.iter().map(zeros).collect()).unwrap()
    };
    let bert = bert(1);
    let tensors = exported(&bert.hugging_face(), &|cx, tokens| {
        bert.logits(cx, tokens);
    });
    assert_eq!(tensors["bert.pooler.dense.weight"].shape(), [16, 16]);
    assert_eq!(tensors["bert.pooler.dense.bias"].shape(), [16]);
    assert_eq!(tensors["cls.seq_relationship.weight"].shape(), [2, 16]);
    assert_eq!(tensors["cls.seq_relationship.bias"].shape(), [2]);
    let albert = albert(1);
    let tensors = exported(&albert.hugging_face(), &|cx, tokens| {
        albert.logits(cx, tokens);
    });
    assert_eq!(tensors["albert.pooler.weight"].shape(), [16, 16]);
    assert_eq!(tensors["sop_classifier.classifier.weight"].shape(), [2, 16]);
}

/// Every axis has a rule, whichever axes the mesh splits, and depth costs no instructions.
#[test]
fn families_lower_for_a_mesh_whatever_their_depth() {
    for ((family, shallow), (_, deep)) in families(2).into_iter().zip(families(6)) {
        for mesh in ["data=1,model=1", "data=2,model=2", "data=4,model=1"] {
            let instructions = |graph: &Graph| common::lowered(graph.clone(), mesh).instructions();
            assert_eq!(
                instructions(&shallow),
                instructions(&deep),
                "{family}, {mesh}"
            );
        }
    }
}

/// ProteinLM packs proteins into a row. With a mask that keeps them apart and positions that start again they give what
/// they give in rows of their own, padded.
#[test]
fn packed_proteins_are_as_in_rows_of_their_own() {
    let (first, second) = ([2, 7, 9, 30, 9], [2, 5, 6, 31, 8, 1, 4]);
    let packed = [first.as_slice(), &second].concat();
    let counted: Vec<i64> = (0..5).chain(0..7).collect();
    let protein: Vec<i64> = packed
        .iter()
        .enumerate()
        .map(|(at, _)| (at >= 5) as i64)
        .collect();
    let apart = [first.as_slice(), &[0, 0], &second].concat();

    let together = gradients(Policy::F32, (1, 12), |cx, ids| {
        let table = |values: &[i64]| cx.builder.table("length", values.to_vec());
        let protein = table(&protein);
        let keys = protein.rename("length", "keys");
        let square = [protein.shape().axes, keys.shape().axes].concat();
        let same = protein.broadcast(square.clone()).eq(keys.broadcast(square));
        let tokens = Tokens {
            mask: Some(same),
            positions: Some(table(&counted).broadcast(ids.shape().axes)),
            ..Tokens::new(ids)
        };
        restore(megatron(2).logits(cx, tokens), ids)
    });
    let separate = gradients(Policy::F32, (2, 7), |cx, ids| {
        let logits = megatron(2).logits(cx, Tokens::padded(ids, 0));
        let (sum, count) = layers::cross_entropy(logits, ids, ids.ne(ids.constant(0.0)));
        sum / count
    });

    let mut inputs = common::numbers(&together, 1);
    let mut evaluate = |graph, ids: &[i64]| {
        inputs.retain(|(name, _)| name != "ids");
        let ids = ids.iter().map(|id| *id as f64).collect();
        inputs.push(("ids".into(), ids));
        common::evaluate(graph, &inputs)
    };
    let together = evaluate(together, &packed);
    let separate = evaluate(separate, &apart);
    assert!(together.contains_key("embeddings/position/embedding"));
    for (name, found) in &together {
        common::assert_close(name, found, &separate[name], 1e-5);
    }
}

/// ALBERT's passes share their weights, which are gathered once a step and not once a pass, and so are their gradients
/// summed: what moves over `data` does not grow with the passes.
#[test]
fn albert_moves_its_weights_once_a_step() {
    let moved = |passes| {
        let model = albert::Config {
            hidden_size: 256,
            intermediate_size: 1024,
            ..albert(passes)
        };
        let graph = gradients(Policy::Bf16, (8, 16), |cx, ids| {
            restore(model.logits(cx, Tokens::padded(ids, 0)), ids)
        });
        let rows = collectives(graph).into_iter();
        let over_data = rows.filter(|row| row.axes.iter().any(|axis| axis == "data"));
        over_data.map(|row| row.bytes).sum::<u64>()
    };
    let (three, six) = (moved(3), moved(6));
    // 786,432 weights in the matrices of a layer, half of which each of two `model` devices gathers as bf16 at least.
    assert!(three >= 786_432, "{three}");
    assert_eq!(three, six);
}

/// What moves between the devices of a v3-8 in one step of `graph`, compiled for `data=4,model=2`.
fn collectives(graph: Graph) -> Vec<Collective> {
    let mesh = "data=4,model=2";
    let program = common::lowered(graph, mesh);
    let settings = Settings::from_environment().unwrap();
    let machine = Machine::open(&"v3-8".parse().unwrap(), &settings).unwrap();
    let built = machine.compile(&program, Partitioner::Shardy).unwrap();
    let bytes = built.executable().optimized_program().unwrap();
    let module = decode_with_config(&bytes).unwrap();
    let axes: Vec<_> = (Mesh::parse(mesh).unwrap().axes().iter())
        .map(|axis| (axis.name.to_string(), axis.size))
        .collect();
    analyse(&module, &axes).collectives
}
