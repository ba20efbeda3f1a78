//! The models by name: the published shapes, and for each family a `-tiny` one that trains on a laptop.

use super::layers::Activation;
use super::model::Model;
use super::{albert, bert, electra, megatron, t5, transfo_xl, xlnet};

/// A model by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// The name that people type.
    pub name: &'static str,
    /// One line of what it is.
    pub about: &'static str,
    /// The family and its configuration.
    pub model: Model,
}

/// Every preset, in the order in which they are listed.
pub fn presets() -> Vec<Preset> {
    let preset = |name, about, model| Preset { name, about, model };
    vec![
        preset(
            "prot-t5-xl",
            "ProtT5-XL (Elnaggar et al. 2021)",
            prot_t5(1024, 128, 16384, 24, 32),
        ),
        preset(
            "prot-t5-xxl",
            "ProtT5-XXL (Elnaggar et al. 2021)",
            prot_t5(1024, 128, 65536, 24, 128),
        ),
        preset(
            "prot-bert",
            "ProtBert and ProtBert-BFD (Elnaggar et al. 2021)",
            prot_bert(),
        ),
        preset(
            "prot-albert",
            "ProtAlbert (Elnaggar et al. 2021)",
            prot_albert(),
        ),
        preset(
            "prot-electra",
            "ProtElectra, generator and discriminator (Elnaggar et al. 2021)",
            prot_electra(),
        ),
        preset(
            "prot-xlnet",
            "ProtXLNet (Elnaggar et al. 2021)",
            prot_xlnet(),
        ),
        preset(
            "prot-txl",
            "ProtTXL (Elnaggar et al. 2021)",
            prot_txl(30, 16, 64),
        ),
        preset(
            "prot-txl-bfd",
            "ProtTXL-BFD (Elnaggar et al. 2021)",
            prot_txl(32, 14, 128),
        ),
        preset(
            "protein-lm-200m",
            "ProteinLM with 200 million weights (Xiao et al. 2021)",
            protein_lm(1024, 16, 16),
        ),
        preset(
            "protein-lm-3b",
            "ProteinLM with 3 billion weights (Xiao et al. 2021); its shape is not published, this one is ours",
            protein_lm(2560, 38, 40),
        ),
        preset(
            "prot-t5-tiny",
            "a ProtT5 that trains on a laptop",
            prot_t5(64, 16, 256, 2, 8),
        ),
        preset(
            "prot-bert-tiny",
            "a ProtBert that trains on a laptop",
            prot_bert_tiny(),
        ),
        preset(
            "prot-albert-tiny",
            "a ProtAlbert that trains on a laptop",
            prot_albert_tiny(),
        ),
        preset(
            "prot-electra-tiny",
            "a ProtElectra that trains on a laptop",
            prot_electra_tiny(),
        ),
        preset(
            "prot-xlnet-tiny",
            "a ProtXLNet that trains on a laptop",
            prot_xlnet_tiny(),
        ),
        preset(
            "prot-txl-tiny",
            "a ProtTXL that trains on a laptop",
            prot_txl_tiny(),
        ),
        preset(
            "protein-lm-tiny",
            "a ProteinLM that trains on a laptop",
            protein_lm_tiny(),
        ),
    ]
}

/// A published ProtT5 shape: 128 ids, tied embeddings, relu, as its `config.json`.
fn prot_t5(d_model: usize, d_kv: usize, d_ff: usize, layers: usize, heads: usize) -> Model {
    Model::new(t5::Config {
        vocab_size: 128,
        d_model,
        d_kv,
        d_ff,
        num_layers: layers,
        num_decoder_layers: layers,
        num_heads: heads,
        relative_attention_num_buckets: 32,
        relative_attention_max_distance: 128,
        dropout_rate: 0.1,
        layer_norm_epsilon: 1e-6,
        feed_forward_proj: Activation::Relu,
        tie_word_embeddings: true,
        pad_token_id: 0,
        decoder_start_token_id: 0,
    })
}

/// ProtBert's `config.json`; its checkpoint has the pooler and the head for sentences too.
fn bert_config() -> bert::Config {
    bert::Config {
        vocab_size: 30,
        hidden_size: 1024,
        num_hidden_layers: 30,
        num_attention_heads: 16,
        intermediate_size: 4096,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: 40_000,
        sentence_head: true,
        ..bert::Config::default()
    }
}

fn prot_bert() -> Model {
    Model::new(bert_config())
}

fn prot_bert_tiny() -> Model {
    Model::new(bert::Config {
        hidden_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 8,
        intermediate_size: 256,
        max_position_embeddings: 512,
        ..bert_config()
    })
}

/// ALBERT-xxlarge with 34 ids. Whether gelu is the exact one is not known; google's code computes the tanh form.
fn albert_config() -> albert::Config {
    albert::Config {
        vocab_size: 34,
        hidden_size: 4096,
        embedding_size: 128,
        num_hidden_layers: 12,
        num_hidden_groups: 1,
        inner_group_num: 1,
        num_attention_heads: 64,
        intermediate_size: 16_384,
        hidden_act: Activation::GeluNew,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: 40_000,
        sentence_head: true,
        ..albert::Config::default()
    }
}

fn prot_albert() -> Model {
    Model::new(albert_config())
}

fn prot_albert_tiny() -> Model {
    Model::new(albert::Config {
        hidden_size: 128,
        embedding_size: 64,
        num_hidden_layers: 3,
        num_attention_heads: 8,
        intermediate_size: 256,
        max_position_embeddings: 512,
        ..albert_config()
    })
}

/// One of ProtElectra's networks, by the sizes of its checkpoint; dropout 0 as recalled from the paper.
fn electra_network(hidden: usize) -> electra::Network {
    electra::Network {
        vocab_size: 30,
        embedding_size: 1024,
        hidden_size: hidden,
        num_hidden_layers: 30,
        num_attention_heads: hidden / 64,
        intermediate_size: 4 * hidden,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: 40_000,
        ..electra::Network::default()
    }
}

fn prot_electra() -> Model {
    Model::new(electra::Config {
        generator: electra_network(256),
        discriminator: electra_network(1024),
        share_embeddings: true,
        discriminator_weight: 50.0,
    })
}

fn prot_electra_tiny() -> Model {
    let network = |hidden: usize| electra::Network {
        embedding_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 8,
        intermediate_size: 2 * hidden,
        max_position_embeddings: 512,
        ..electra_network(hidden)
    };
    Model::new(electra::Config {
        generator: network(64),
        discriminator: network(128),
        share_embeddings: true,
        discriminator_weight: 50.0,
    })
}

/// XLNet-large with 37 ids. Memory, reuse and both directions are of the official example command; the rest of the
/// published config is not known, and is the official code's default.
fn xlnet_config() -> xlnet::Config {
    xlnet::Config {
        vocab_size: 37,
        d_model: 1024,
        n_layer: 30,
        n_head: 16,
        d_inner: 4096,
        ff_activation: Activation::Relu,
        untie_r: true,
        dropout: 0.1,
        mem_len: 384,
        reuse_len: 256,
        bi_data: true,
        ..xlnet::Config::default()
    }
}

fn prot_xlnet() -> Model {
    Model::new(xlnet_config())
}

fn prot_xlnet_tiny() -> Model {
    Model::new(xlnet::Config {
        d_model: 128,
        n_layer: 2,
        n_head: 8,
        d_inner: 256,
        dropout: 0.0,
        mem_len: 32,
        reuse_len: 32,
        ..xlnet_config()
    })
}

/// A published Transformer-XL shape; the settings are the official code's defaults, with a plain softmax.
fn txl_config(layers: usize, heads: usize, kv: usize) -> transfo_xl::Config {
    transfo_xl::Config {
        vocab_size: 30,
        cutoffs: Vec::new(),
        d_model: 1024,
        d_embed: 1024,
        n_head: heads,
        d_head: kv,
        d_inner: 4096,
        div_val: 1,
        pre_lnorm: false,
        n_layer: layers,
        mem_len: 512,
        clamp_len: -1,
        same_length: false,
        dropout: 0.15,
        dropatt: 0.0,
        untie_r: false,
        ..transfo_xl::Config::default()
    }
}

fn prot_txl(layers: usize, heads: usize, kv: usize) -> Model {
    Model::new(txl_config(layers, heads, kv))
}

fn prot_txl_tiny() -> Model {
    Model::new(transfo_xl::Config {
        d_model: 128,
        d_embed: 128,
        d_inner: 256,
        mem_len: 64,
        dropout: 0.0,
        ..txl_config(2, 8, 16)
    })
}

/// A ProteinLM: Megatron's BERT without token types, its 31 ids padded to 128, feed-forward layers with the tanh form of
/// gelu and the head with the exact one.
fn megatron_config(hidden: usize, layers: usize, heads: usize) -> megatron::Config {
    megatron::Config {
        vocab_size: 128,
        hidden_size: hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        intermediate_size: 4 * hidden,
        hidden_act: Activation::GeluNew,
        head_act: Some(Activation::Gelu),
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        max_position_embeddings: 2176,
        type_vocab_size: 0,
        layer_norm_eps: 1e-12,
        ..megatron::Config::default()
    }
}

fn protein_lm(hidden: usize, layers: usize, heads: usize) -> Model {
    Model::new(megatron_config(hidden, layers, heads))
}

fn protein_lm_tiny() -> Model {
    Model::new(megatron::Config {
        intermediate_size: 256,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        max_position_embeddings: 512,
        ..megatron_config(128, 2, 8)
    })
}

/// The preset called `name`, or the names that are nearest to it.
pub fn preset(name: &str) -> Result<Preset, Vec<&'static str>> {
    let all = presets();
    if let Some(found) = all.iter().find(|preset| preset.name == name) {
        return Ok(found.clone());
    }
    let mut names: Vec<_> = all.iter().map(|preset| preset.name).collect();
    names.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
    names.truncate(3);
    Err(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by the originals' code, or found from the sizes of their checkpoints.
    #[test]
    fn parameter_counts_are_the_published_ones() {
        let count = |name| preset(name).unwrap().model.parameters();
        assert_eq!(count("prot-t5-xl"), 2_818_830_336);
        assert_eq!(count("prot-t5-xxl"), 11_274_553_344);
        assert_eq!(count("prot-bert"), 420_984_864);
        assert_eq!(count("prot-albert"), 224_347_300);
        assert_eq!(count("prot-xlnet"), 409_413_669);
        assert_eq!(count("protein-lm-200m"), 204_952_704);
        let millions = |name| (count(name) as f64 / 1e4).round() / 1e2;
        assert_eq!(millions("prot-txl"), 409.25);
        assert_eq!(millions("prot-txl-bfd"), 562.37);
        assert_eq!((count("protein-lm-3b") as f64 / 1e9).round(), 3.0);
        // Both networks less the tables they share: words, positions, types and their norm.
        let shared = (30 + 40_000 + 2 + 2) * 1024;
        assert_eq!(count("prot-electra"), 419_932_161 + 65_215_262 - shared);
    }

    #[test]
    fn unknown_names_give_near_ones() {
        let near = preset("prot-t5-lx").unwrap_err();
        assert_eq!(near[0], "prot-t5-xl");
    }
}
