//! ELECTRA (Clark et al. 2020), as ProtElectra uses it (Elnaggar et al. 2021): a small generator restores masked tokens,
//! and a discriminator, which is kept after training, predicts for each token whether the generator replaced it. Both are
//! BERT's encoder. By default they share the embeddings, and a linear layer takes these to a smaller residual stream.
//!
//! Reference: `ElectraForMaskedLM` and `ElectraForPreTraining` of Hugging Face transformers, and google's electra for joint
//! training. Config keys are those of each network's `config.json`.
//!
//! ```text
//! ribosome verify golden/numeric/electra_joint_shared.safetensors
//! ```

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bert_fields::bert_config;
use super::context::Context;
use super::embeddings::Embeddings;
use super::encoder::Encoded;
use super::family::Family;
use super::heads::{self, MaskedHead};
use super::hugging_face::NetworkFiles;
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::encoder as files;
use super::hugging_face::encoder::BERT_LAYER;
use super::layers::{Activation, project};
use super::settings::SettingError;
use super::tokens::Tokens;
use super::weights::Entry;
use crate::graph::Tensor;

bert_config! {
    /// The sizes and switches of one of the two networks; the defaults are Hugging Face's. `hidden_act` is also the
    /// function of the discriminator's output layer; the generator's is gelu.
    pub struct Network {
        common hidden_size = 256,
        common num_attention_heads = 4,
        common intermediate_size = 1024,
        /// The size of an embedding. If it is not the residual stream's, a linear layer leads there.
        pub embedding_size: usize = 128,
    }
}

/// Both networks and how they are trained together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The network that fills in masked tokens.
    pub generator: Network,
    /// The network that finds replaced tokens.
    pub discriminator: Network,
    /// Whether the discriminator uses the generator's embeddings, with their norm.
    pub share_embeddings: bool,
    /// The weight of the discriminator's loss in the sum with the generator's.
    pub discriminator_weight: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            generator: Network::default(),
            discriminator: Network::default(),
            share_embeddings: true,
            discriminator_weight: 50.0,
        }
    }
}

/// A network in its role: the scope of its weights, and where its embeddings are.
#[derive(Clone, Copy, Debug)]
pub struct RoledNetwork<'c> {
    network: &'c Network,
    scope: &'static str,
    tables: Embeddings,
}

impl Network {
    /// This network as a generator.
    pub fn generator(&self) -> RoledNetwork<'_> {
        RoledNetwork {
            network: self,
            scope: "generator",
            tables: self.embeddings("generator/embeddings"),
        }
    }

    /// This network as a discriminator with its own embeddings.
    pub fn discriminator(&self) -> RoledNetwork<'_> {
        RoledNetwork {
            network: self,
            scope: "discriminator",
            tables: self.embeddings("discriminator/embeddings"),
        }
    }

    fn embeddings(&self, scope: &'static str) -> Embeddings {
        Embeddings {
            size: self.embedding_size,
            ..self.common().embeddings(scope)
        }
    }

    /// Refuses settings that no network can have.
    ///
    /// # Errors
    /// Sizes or switches that do not fit one another.
    pub fn check(&self) -> Result<(), SettingError> {
        self.common().check(self.generator().tables)
    }

    /// The configuration in a Hugging Face `config.json`.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong kind, or values that do not fit one another.
    pub fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let network: Self = files::config(config)?;
        network.check()?;
        Ok(network)
    }
}

impl RoledNetwork<'_> {
    /// Encodes `tokens`. With `inputs` each layer's input comes too.
    pub fn encode<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>, inputs: bool) -> Encoded<'g> {
        let network = self.network;
        cx.builder.scope(self.scope, || {
            let embedded = self.tables.embed(cx, tokens);
            let embedded = cx.dropout(embedded, network.hidden_dropout_prob, "embedded");
            let projected = match network.embedding_size == network.hidden_size {
                true => embedded,
                false => {
                    let (to, init) = (("embed", network.hidden_size), network.initializer_range);
                    project(cx, "projection", embedded, "embed", to, init).pin_residual()
                }
            };
            network
                .common()
                .encoder()
                .stack(cx, projected, tokens.mask, inputs)
        })
    }

    /// The logits `[batch, length, vocab]` of `encoded` `[batch, length, embed]`, in the exact type.
    pub fn token_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Tensor<'g> {
        let head = MaskedHead {
            embeddings: self.tables,
            tied: self.network.tie_word_embeddings,
            activation: Activation::Gelu,
            epsilon: self.network.layer_norm_eps,
            init: self.network.initializer_range,
        };
        cx.builder.scope(self.scope, || head.logits(cx, encoded))
    }

    /// The logits `[batch, length]` that each token of `encoded` `[batch, length, embed]` was replaced, in the exact type.
    pub fn replaced_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Tensor<'g> {
        let Network {
            hidden_size,
            hidden_act,
            initializer_range: init,
            ..
        } = *self.network;
        cx.builder.scope(&format!("{}/replaced", self.scope), || {
            let to = ("embed", hidden_size);
            let dense = project(cx, "dense", encoded, "embed", to, init);
            let hidden = hidden_act.of(dense).pin_residual();
            heads::classify(cx, "output", hidden, &[], init).pin()
        })
    }

    /// The name and layout of each weight in Hugging Face's files of the network and of either head, below `prefix`.
    pub fn hugging_face(&self, prefix: &str) -> Vec<Entry> {
        let own = |name: &str| format!("{}/{name}", self.scope);
        let file = |name: &str| format!("{prefix}{name}");
        let head = [
            file("generator_predictions.dense"),
            file("generator_predictions.LayerNorm"),
            file("generator_lm_head.weight"),
            file("generator_lm_head.bias"),
        ];
        let head = [&*head[0], &*head[1], &*head[2], &*head[3]];
        let (layer, predictions) = (own("encoder/layer"), "discriminator_predictions");
        [
            files::embeddings(self.tables.scope, &file("electra.embeddings"), head[2]),
            files::linear(&own("projection"), &file("electra.embeddings_project"), 1),
            files::layer(&layer, &file("electra.encoder.layer.{layer}"), &BERT_LAYER),
            files::masked_head(&own("masked_lm"), head),
            files::linear(
                &own("replaced/dense"),
                &file(&format!("{predictions}.dense")),
                1,
            ),
            files::linear(
                &own("replaced/output"),
                &file(&format!("{predictions}.dense_prediction")),
                1,
            ),
        ]
        .concat()
    }
}

impl Config {
    fn shared_discriminator(&self) -> RoledNetwork<'_> {
        let part = self.discriminator.discriminator();
        match self.share_embeddings {
            true => RoledNetwork {
                tables: self.generator.generator().tables,
                ..part
            },
            false => part,
        }
    }

    /// The generator's logits `[batch, length, vocab]` for `tokens`, some of which are masked, in the exact type.
    pub fn generator_logits<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>) -> Tensor<'g> {
        let generator = self.generator.generator();
        let encoded = generator.encode(cx, tokens, false).last;
        generator.token_logits(cx, encoded)
    }

    /// The discriminator's logits `[batch, length]` that each of `tokens` was replaced, in the exact type.
    pub fn discriminator_logits<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>) -> Tensor<'g> {
        let discriminator = self.shared_discriminator();
        let encoded = discriminator.encode(cx, tokens, false).last;
        discriminator.replaced_logits(cx, encoded)
    }

    /// The names and layouts of the generator's weights in its own Hugging Face file.
    pub fn generator_names(&self) -> Vec<Entry> {
        self.generator.generator().hugging_face("")
    }

    /// The same for the discriminator's file, which includes shared embeddings.
    pub fn discriminator_names(&self) -> Vec<Entry> {
        self.shared_discriminator().hugging_face("")
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "electra"
    }

    /// A `config.json` describes one network; the pair is found by its folder's name.
    fn from_hugging_face(_: &Map<String, Value>) -> Result<Self, ConfigError> {
        let message = "it is one of ELECTRA's two networks, which are trained together: take a folder that has the two as \
                       `generator` and `discriminator`";
        Err(ConfigError::Unfit(message.into()))
    }

    fn vocab_size(&self) -> usize {
        self.generator.vocab_size
    }

    fn positions(&self) -> Option<usize> {
        let [one, other] = [&self.generator, &self.discriminator];
        Some((one.max_position_embeddings).min(other.max_position_embeddings))
    }

    fn vocab_keys(&self) -> &'static [&'static str] {
        &["generator.vocab_size", "discriminator.vocab_size"]
    }

    fn position_keys(&self) -> &'static [&'static str] {
        &[
            "generator.max_position_embeddings",
            "discriminator.max_position_embeddings",
        ]
    }

    fn layer_keys(&self) -> &'static [&'static str] {
        &[
            "generator.num_hidden_layers",
            "discriminator.num_hidden_layers",
        ]
    }

    fn declare<'g>(&self, cx: Context<'g>, ids: Tensor<'g>) {
        self.generator_logits(cx, Tokens::new(ids));
        self.discriminator_logits(cx, Tokens::new(ids));
    }

    fn check(&self) -> Result<(), SettingError> {
        let (ours, theirs) = (&self.generator, &self.discriminator);
        ours.check().map_err(|error| error.below("generator"))?;
        theirs
            .check()
            .map_err(|error| error.below("discriminator"))?;
        let sizes = |it: &Network| {
            [
                ("vocab_size", it.vocab_size),
                ("embedding_size", it.embedding_size),
                ("max_position_embeddings", it.max_position_embeddings),
                ("type_vocab_size", it.type_vocab_size),
            ]
        };
        for ((key, our), (_, their)) in sizes(ours).into_iter().zip(sizes(theirs)) {
            let same = match key {
                "vocab_size" if !self.share_embeddings => our <= their,
                _ => our == their || !self.share_embeddings,
            };
            let [ours, theirs] = ["generator", "discriminator"].map(|it| format!("{it}.{key}"));
            let settings: [(&str, &dyn Display); 2] = [(&ours, &our), (&theirs, &their)];
            SettingError::require(same, settings, || match self.share_embeddings {
                true => "with share_embeddings = true the two must be equal".into(),
                false => "the discriminator must have every token of the generator".into(),
            })?;
        }
        Ok(())
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        config::write(self, model_type, "ElectraForPreTraining")
    }

    fn networks(&self, model_type: &str) -> Result<Vec<NetworkFiles>, ConfigError> {
        self.files(model_type)
    }

    /// The name and layout of each weight in Hugging Face's files: as in each network's own file, below `generator.`
    /// and `discriminator.`, with shared embeddings below `generator.`.
    fn hugging_face(&self) -> Vec<Entry> {
        let discriminator = self.shared_discriminator();
        let shared = |entry: &Entry| entry.ours.starts_with(self.generator.generator().scope);
        let mut table = self.generator.generator().hugging_face("generator.");
        let rest = discriminator.hugging_face("discriminator.");
        table.extend(rest.into_iter().filter(|entry| !shared(entry)));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;

    fn prot_electra() -> Config {
        let discriminator = Network {
            vocab_size: 30,
            embedding_size: 1024,
            hidden_size: 1024,
            num_hidden_layers: 30,
            num_attention_heads: 16,
            intermediate_size: 4096,
            max_position_embeddings: 40000,
            ..Network::default()
        };
        let generator = Network {
            hidden_size: 256,
            num_attention_heads: 4,
            intermediate_size: 1024,
            ..discriminator.clone()
        };
        Config {
            generator,
            discriminator,
            ..Config::default()
        }
    }

    /// ProtElectra's two checkpoints, each with its own tables.
    #[test]
    fn parameter_counts_are_the_published_ones() {
        let model = prot_electra();
        let names = model.generator_names();
        let mut weights = Model::new(model.clone()).weights();
        weights.retain(|weight| names.iter().any(|entry| entry.ours == weight.name));
        let generator: usize = weights.iter().map(|it| it.shape.elements()).sum();
        assert_eq!(generator, 65_215_262);
        let apart = Config {
            share_embeddings: false,
            ..model.clone()
        };
        assert_eq!(
            Model::new(apart.clone()).parameters() - generator,
            419_932_161
        );
        let shared = (40000 + 30 + 2 + 2) * 1024;
        assert_eq!(
            Model::new(apart.clone()).parameters() - Model::new(model.clone()).parameters(),
            shared
        );
    }

    #[test]
    fn shared_embeddings_of_two_sizes_are_refused() {
        let mut model = prot_electra();
        model.check().unwrap();
        model.generator.max_position_embeddings = 512;
        let error = model.check().unwrap_err().to_string();
        assert!(
            error.contains("generator.max_position_embeddings is 512"),
            "{error}"
        );
        model.share_embeddings = false;
        model.check().unwrap();
    }
}
