//! ESM-2 (Lin et al. 2023): pre-norm blocks with rotary positions, trained to restore masked residues. Reference: `EsmForMaskedLM`
//! of Hugging Face transformers; the keys of [`Config`] are those of its `config.json`.

use std::borrow::Cow::Borrowed as B;

use ribosome::data::Vocabulary;
use ribosome::graph::Tensor;
use ribosome::models::embeddings::Embeddings;
use ribosome::models::encoder::{Encoded, Encoder, Norm};
use ribosome::models::heads::MaskedHead;
use ribosome::models::hugging_face::config::{self, ConfigError};
use ribosome::models::hugging_face::encoder::{self as names, BERT_LAYER, LayerNames};
use ribosome::models::layers::Activation;
use ribosome::models::settings::{self, SettingError};
use ribosome::models::tokens::Tokens;
use ribosome::models::weights::Entry;
use ribosome::models::{Context, Family, MaskedLanguageModel};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The sizes and switches of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    /// The activation of the feed-forward layers; a gated one (`gated-gelu`, `gated-silu`) multiplies two projections.
    #[serde(default)]
    hidden_act: Activation,
    layer_norm_eps: f64,
    pad_token_id: i32,
    mask_token_id: i32,
    /// Whether masks are zeros and the rest is scaled up in return.
    token_dropout: bool,
}

impl Config {
    fn embeddings(&self) -> Embeddings {
        Embeddings::of_tokens(self.vocab_size, self.hidden_size, self.pad_token_id, 0.02)
    }

    fn encoder(&self) -> Encoder {
        Encoder {
            layers: self.num_hidden_layers,
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            mlp: self.intermediate_size,
            activation: self.hidden_act,
            rotary: Some(10_000.0),
            norm: Norm::Before,
            epsilon: self.layer_norm_eps,
            ..Encoder::default()
        }
    }

    /// The embeddings `[batch, length, embed]` of `tokens`. Padding is zeros. With token dropout, masks are zeros too, and the
    /// rest is scaled by the unmasked share of a row in training over that of this row.
    fn embed<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>) -> Tensor<'g> {
        let (ids, exact) = (tokens.ids, cx.policy.exact());
        let count = |which: Tensor<'g>| which.cast(exact).sum(["length"]);
        let embedded = self.embeddings().embed(cx, tokens);
        let real = ids.ne(ids.constant(f64::from(self.pad_token_id)));
        let masked = ids.eq(ids.constant(f64::from(self.mask_token_id)));
        let scale = match self.token_dropout {
            false => real.cast(exact),
            true => {
                let kept = real.and(masked.not()).cast(exact);
                // In training 80 % of 15 % are masks.
                kept * (1.0 - 0.15 * 0.8) / (-(count(masked) / count(real)) + 1.0)
            }
        };
        (embedded * scale.cast(cx.policy.compute())).pin_residual()
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "esm"
    }

    fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let mut config = config.clone();
        let only = [
            ("position_embedding_type", json!("rotary")),
            ("emb_layer_norm_before", json!(false)),
            ("hidden_dropout_prob", json!(0.0)),
            ("attention_probs_dropout_prob", json!(0.0)),
            ("tie_word_embeddings", json!(true)),
            ("is_folding_model", json!(false)),
        ];
        config::take_only(&mut config, &only)?;
        // Settings of other kinds of positions, and of what surrounds the model.
        for key in ["max_position_embeddings", "esmfold_config", "vocab_list"] {
            config.remove(key);
        }
        config::read(&config, settings::MODEL)
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        let mut object = config::write(self, model_type, "EsmForMaskedLM")?;
        object.insert("position_embedding_type".into(), "rotary".into());
        Ok(object)
    }

    fn check(&self) -> Result<(), SettingError> {
        self.encoder().check()
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn masked_language_model(&self) -> Option<&dyn MaskedLanguageModel> {
        Some(self)
    }

    fn hugging_face(&self) -> Vec<Entry> {
        let decoder = "lm_head.decoder.weight";
        let head = [
            "lm_head.dense",
            "lm_head.layer_norm",
            decoder,
            "lm_head.bias",
        ];
        let layer = LayerNames {
            attention_norm: "attention.LayerNorm",
            mlp_norm: "LayerNorm",
            ..BERT_LAYER
        };
        [
            names::embeddings("embeddings", "esm.embeddings", decoder),
            names::layer("encoder/layer", "esm.encoder.layer.{layer}", &layer),
            names::norm("encoder/final_norm", "esm.encoder.emb_layer_norm_after"),
            names::masked_head("masked_lm", head),
        ]
        .concat()
    }

    fn unused(&self) -> &'static [&'static str] {
        &["esm.contact_head.", "esm.embeddings.position_embeddings."]
    }
}

impl MaskedLanguageModel for Config {
    fn encode<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>, inputs: bool) -> Encoded<'g> {
        let embedded = self.embed(cx, tokens);
        self.encoder().stack(cx, embedded, tokens.mask, inputs)
    }

    fn token_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Tensor<'g> {
        MaskedHead::tied(self.embeddings(), self.layer_norm_eps).logits(cx, encoded)
    }
}

/// ESM-2's 33 tokens: `<cls>` protein `<eos>`. Its last two, `<null_1>` and `<mask>`, are called `<extra_id_1>` and
/// `<extra_id_0>` here. No residue becomes `.` or `-`.
pub fn vocabulary() -> Vocabulary {
    Vocabulary {
        name: B("esm2"),
        specials: B(&[B("<cls>"), B("<pad>"), B("<eos>"), B("<unk>")]),
        residues: B(b"LAGVSERTIDPKQNFYMHWCXBUZO.-"),
        extra_ids: 2,
        replaced: B(&[(b'.', 3), (b'-', 3)]),
        prefix: B(&[0]),
        suffix: B(&[2]),
        pad: 1,
        pads_left: false,
        unknown: 3,
        mask: 32,
    }
}
