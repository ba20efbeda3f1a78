//! A model as Hugging Face keeps it: a folder with `config.json` and weights. ELECTRA is two of them, `generator` and
//! `discriminator`, in one folder: transformers has each network as a model of its own, and they are trained together.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::{self, ConfigError};
use crate::graph::Weight;
use crate::models::Model;
use crate::models::weights::{Entry, Folder, FolderError};
use crate::models::{albert, bert, electra};

/// One of the folders that a model is kept in.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name within the model's folder; empty where it is that folder.
    pub folder: &'static str,
    /// Its `config.json`.
    pub config: Map<String, Value>,
    /// Where it keeps each weight.
    pub table: Vec<Entry>,
    /// The weights in it.
    pub weights: Vec<Weight>,
    /// Tensors in it that the model lacks, with their sizes: zeros.
    pub zeros: Vec<(String, Vec<usize>)>,
}

const GENERATOR: &str = "generator";
const DISCRIMINATOR: &str = "discriminator";

impl Model {
    /// The folders that the model is kept in.
    ///
    /// # Errors
    /// A configuration that JSON does not hold.
    pub fn parts(&self) -> Result<Vec<Part>, ConfigError> {
        let weights = self.weights();
        let part = |folder, mut config, table: Vec<Entry>| {
            let mut weights = weights.clone();
            weights.retain(|weight| table.iter().any(|entry| entry.ours == weight.name));
            Part {
                folder,
                zeros: without_types(&mut config),
                config,
                table,
                weights,
            }
        };
        if let Model::Electra(config) = self {
            return Ok(vec![
                part(
                    GENERATOR,
                    config::write(&config.generator, "electra", "ElectraForMaskedLM")?,
                    config.generator_names(),
                ),
                part(
                    DISCRIMINATOR,
                    config::write(&config.discriminator, "electra", "ElectraForPreTraining")?,
                    config.discriminator_names(),
                ),
            ]);
        }
        Ok(vec![part("", self.config()?, self.hugging_face())])
    }

    /// What transformers will compute otherwise with the folder that [`Model::parts`] describes; none where it is the same.
    pub fn unlike_transformers(&self) -> Option<String> {
        let Model::Megatron(config) = self else {
            return None;
        };
        let head = config.head_act.filter(|head| *head != config.hidden_act)?;
        let [layers, head] = [config.hidden_act, head].map(|it| json!(it));
        Some(format!(
            "MegatronBertForMaskedLM has one activation for layers and head, {layers}, and this model's head has {head} \
             (model.head_act): its logits are a little others there, its hidden states are not"
        ))
    }

    /// The `config.json` of a model in one folder.
    fn config(&self) -> Result<Map<String, Value>, ConfigError> {
        match self {
            Model::T5(config) => {
                let mut config = config::write(config, "t5", "T5ForConditionalGeneration")?;
                config.insert("is_encoder_decoder".into(), true.into());
                Ok(config)
            }
            Model::Bert(config) => {
                let class = match config.sentence_head {
                    true => "BertForPreTraining",
                    false => "BertForMaskedLM",
                };
                config::write(config, "bert", class)
            }
            Model::Albert(config) => {
                let class = match config.sentence_head {
                    true => "AlbertForPreTraining",
                    false => "AlbertForMaskedLM",
                };
                config::write(config, "albert", class)
            }
            Model::Electra(config) => config::write(config, "electra", "ElectraForPreTraining"),
            Model::Megatron(config) => {
                config::write(config, "megatron-bert", "MegatronBertForMaskedLM")
            }
            Model::Xlnet(config) => {
                let mut object = config::write(config, "xlnet", "XLNetLMHeadModel")?;
                if config.mem_len == 0 {
                    object.insert("mem_len".into(), Value::Null);
                }
                Ok(object)
            }
            Model::TransfoXl(config) => config::write(config, "transfo-xl", "TransfoXLLMHeadModel"),
        }
    }
}

/// transformers cannot run a BERT without token types; one type whose embedding is 0 is the same. The key of their number in
/// `config.json`, and where each family that has it keeps them.
const TYPES: &str = "type_vocab_size";
const TYPE_TABLES: [(&str, &str); 4] = [
    ("bert", "bert.embeddings.token_type_embeddings.weight"),
    (
        "megatron-bert",
        "bert.embeddings.token_type_embeddings.weight",
    ),
    ("albert", "albert.embeddings.token_type_embeddings.weight"),
    ("electra", "electra.embeddings.token_type_embeddings.weight"),
];

/// The name of the table of token types in a folder with the `config`, and its sizes for one type.
fn type_table(config: &Map<String, Value>) -> Option<(String, Vec<usize>)> {
    let family = config.get("model_type")?.as_str()?;
    let (_, name) = TYPE_TABLES.iter().find(|(of, _)| *of == family)?;
    let width = config.get("embedding_size");
    let width = width.or_else(|| config.get("hidden_size"))?.as_u64()?;
    Some((name.to_string(), vec![1, usize::try_from(width).ok()?]))
}

/// Gives the `config` of a model without token types one type; the tensor that it then has.
fn without_types(config: &mut Map<String, Value>) -> Vec<(String, Vec<usize>)> {
    if config.get(TYPES) != Some(&0.into()) {
        return Vec::new();
    }
    let table = type_table(config);
    if table.is_some() {
        config.insert(TYPES.into(), 1.into());
    }
    table.into_iter().collect()
}

/// Takes the one type from a `config` if its embedding in `folder` is 0.
fn take_types(config: &mut Map<String, Value>, folder: &Folder) -> Result<bool, FolderError> {
    let one = config.get(TYPES) == Some(&1.into());
    let Some((name, sizes)) = type_table(config).filter(|_| one) else {
        return Ok(false);
    };
    let none = folder.is_zero(&name, &sizes)?;
    if none {
        config.insert(TYPES.into(), 0.into());
    }
    Ok(none)
}

/// A model that was found in a folder, and the files it is in, one for each of [`Model::parts`].
pub struct Found {
    /// The model.
    pub model: Model,
    /// Its files.
    pub folders: Vec<Folder>,
}

impl Found {
    /// The model in the folder `path`: `config.json` says which.
    ///
    /// # Errors
    /// A configuration of no family that ribosome has, or files that cannot be read.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let pair = [GENERATOR, DISCRIMINATOR].map(|name| path.join(name));
        if !Folder::has_config(path) && pair.iter().all(|path| Folder::has_config(path)) {
            return Found::pair(&pair[0], &pair[1]);
        }
        let mut object = Folder::config(path)?;
        let fit = |error| FolderError::config(path, error);
        if object.get("model_type").and_then(Value::as_str) == Some("electra") {
            let message = "it is one of ELECTRA's two networks, which are trained together: take a folder that has the \
                           two as `generator` and `discriminator`";
            return Err(fit(ConfigError::Unfit(message.into())));
        }
        let mut model = Model::from_hugging_face(&object).map_err(fit)?;
        let folder = Folder::open(path)?;
        if take_types(&mut object, &folder)? {
            model = Model::from_hugging_face(&object).map_err(fit)?;
        }
        // transformers says by the class whether there is a head for sentences; published files are of several classes.
        if !object.contains_key("sentence_head") {
            let has = |names: [&str; 2]| names.iter().all(|name| folder.has(name));
            match &mut model {
                Model::Bert(bert::Config { sentence_head, .. }) => {
                    *sentence_head =
                        has(["bert.pooler.dense.weight", "cls.seq_relationship.weight"]);
                }
                Model::Albert(albert::Config { sentence_head, .. }) => {
                    *sentence_head =
                        has(["albert.pooler.weight", "sop_classifier.classifier.weight"]);
                }
                _ => {}
            }
        }
        Ok(Found {
            model,
            folders: vec![folder],
        })
    }

    /// ELECTRA's two networks. They share embeddings where these are equal in both.
    fn pair(generator: &Path, discriminator: &Path) -> Result<Self, FolderError> {
        let network = |path: &Path| -> Result<(electra::Network, Folder), FolderError> {
            let mut object = Folder::config(path)?;
            let read = |object: &_| {
                let network = electra::Network::from_hugging_face(object);
                network.map_err(|error| FolderError::config(path, error))
            };
            let mut network = read(&object)?;
            let folder = Folder::open(path)?;
            if take_types(&mut object, &folder)? {
                network = read(&object)?;
            }
            Ok((network, folder))
        };
        let (generator, first) = network(generator)?;
        let (network, second) = network(discriminator)?;
        let mut config = electra::Config {
            generator,
            discriminator: network,
            share_embeddings: true,
            ..electra::Config::default()
        };
        let mut shared = config.check().is_ok();
        for name in first
            .names()
            .filter(|name| name.starts_with("electra.embeddings."))
        {
            shared = shared && first.equals(&second, name)?;
        }
        config.share_embeddings = shared;
        let checked = config.check();
        checked.map_err(|error| FolderError::config(discriminator, error.into()))?;
        Ok(Found {
            model: Model::Electra(config),
            folders: vec![first, second],
        })
    }
}
