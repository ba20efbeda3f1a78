//! Weights as files: what is written is read back the same, whatever the files are cut into; and what does not fit is
//! refused with the tensor's and the file's name.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::run::training;
use ribosome::data::{Dataset, PROT_T5};
use ribosome::graph::Weight;
use ribosome::models::hugging_face::FoundModel;
use ribosome::models::weights::{Export, FolderError, layer_shape};
use ribosome::models::{Families, Model, electra, t5};
use ribosome::runtime::HostArray;
use ribosome::sharding::Partitioner;
use ribosome::train::catalog::CATALOG;
use ribosome::train::checkpoint::Checkpoint;
use ribosome::train::convert::{self, ConvertError};
use ribosome::train::recipe::Recipe;
use ribosome::train::trainer::Trainer;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Larger than any of the tests' files.
const ONE_FILE: u64 = 1 << 40;

fn import(folder: &Path, dropped: &[String], path: &Path) -> Result<Model, ConvertError> {
    convert::import(folder, &Families::standard(), dropped, path)
}

fn export(
    checkpoint: &Checkpoint,
    folder: &Path,
    shard_size: u64,
) -> Result<(Model, Vec<PathBuf>), ConvertError> {
    convert::export(checkpoint, &Families::standard(), folder, shard_size)
}

fn tiny() -> Model {
    Recipe::preset("prot-t5-tiny").unwrap().model
}

/// Numbers that are others for each layer of each weight, and exact in 16 bits of either kind.
fn numbers(weight: &Weight, layer: usize) -> HostArray {
    let seed = weight.name.bytes().fold(layer as u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut state = seed;
    let shape = layer_shape(weight);
    let values: Vec<_> = (0..shape.elements())
        .map(|_| (common::next(&mut state) * 64.0).floor() / 16.0 - 2.0)
        .collect();
    HostArray::from_f64(shape, &values).unwrap()
}

/// The model with those numbers, as Hugging Face would keep it, in `folder`.
fn write(model: &Model, folder: &Path, shard_size: u64) -> Result<Vec<PathBuf>, FolderError> {
    let mut files = Vec::new();
    for part in model.folders().unwrap() {
        let export = Export {
            table: &part.files.table,
            weights: &part.weights,
            zeros: &part.zeros,
            config: &part.files.config,
            shard_size,
        };
        let folder = folder.join(part.files.folder);
        files.extend(export.write(&folder, |weight, layer| {
            Ok::<_, FolderError>(numbers(weight, layer))
        })?);
    }
    Ok(files)
}

/// A temporary folder, and in it a folder `model` with the tiny T5.
fn example() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    write(&tiny(), &model, ONE_FILE).unwrap();
    (folder, model)
}

/// Every file of `folder` by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.path().is_dir() {
            true => all.extend(
                files(&entry.path())
                    .into_iter()
                    .map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            ),
            false => {
                all.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The safetensors file `path` with its tensors changed by `change`.
fn rewrite(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| {
        (
            name.to_string(),
            (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
        )
    });
    let mut tensors: Tensors = tensors.collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (
            name.as_str(),
            TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
        )
    });
    let text = Some([("format".to_string(), "pt".to_string())].into());
    safetensors::serialize_to_file(views, text, path).unwrap();
}

/// What importing the folder says.
fn refusal(folder: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("checkpoint");
    let error = import(folder, &[], &path).unwrap_err();
    assert!(!path.exists(), "{error}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "{error}");
    error.to_string()
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARED: &str = "shared.weight";
const NORM: &str = "encoder.block.1.layer.0.layer_norm.weight";

#[test]
fn every_model_is_the_same_after_a_round_trip() {
    for entry in CATALOG.iter().filter(|entry| entry.is_tiny()) {
        let name = entry.name;
        let preset = Recipe::preset(name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(&preset.model, &path("model"), ONE_FILE).unwrap();
        let model = import(&path("model"), &[], &path("checkpoint")).unwrap();
        assert_eq!(
            model.weights().len(),
            preset.model.weights().len(),
            "{name}"
        );
        let checkpoint = Checkpoint::open(&path("checkpoint")).unwrap();
        assert!(checkpoint.about().is_of_weights());
        assert_eq!(
            checkpoint.about().model(&Families::standard()),
            Some(model),
            "{name}"
        );
        export(&checkpoint, &path("again"), ONE_FILE).unwrap();
        let (before, after) = (files(&path("model")), files(&path("again")));
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (file, bytes) in &before {
            assert!(bytes == &after[file], "{name}: {file}");
        }
    }
}

/// transformers has no BERT without token types: there is one, of zeros, which is none again when read.
#[test]
fn models_without_token_types_have_one_of_zeros() {
    let off = [
        "type_vocab_size",
        "generator.type_vocab_size",
        "discriminator.type_vocab_size",
    ];
    for (preset, keys) in [
        ("prot-bert-tiny", &off[..1]),
        ("prot-albert-tiny", &off[..1]),
        ("prot-electra-tiny", &off[1..]),
    ] {
        let recipe = keys
            .iter()
            .fold(Recipe::preset(preset).unwrap(), |recipe, key| {
                recipe.set(&format!("model.{key}"), "0").unwrap()
            });
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let written = write(&recipe.model, &path("model"), ONE_FILE).unwrap();
        for file in written.iter().filter(|file| file.ends_with(SINGLE)) {
            let bytes = fs::read(file).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let types = |name: &&str| name.ends_with("token_type_embeddings.weight");
            let names: Vec<_> = tensors.names().into_iter().filter(types).collect();
            let [name] = names.as_slice() else {
                panic!("{names:?}")
            };
            let types = tensors.tensor(name).unwrap();
            assert!(types.shape()[0] == 1 && types.data().iter().all(|byte| *byte == 0));
        }
        let found = import(&path("model"), &[], &path("checkpoint")).unwrap();
        assert_eq!(found, recipe.model);
        let checkpoint = Checkpoint::open(&path("checkpoint")).unwrap();
        export(&checkpoint, &path("again"), ONE_FILE).unwrap();
        assert!(files(&path("model")) == files(&path("again")), "{preset}");
    }
}

/// ProteinLM's head has another gelu than its layers, which transformers does not know: export says so.
#[test]
fn what_transformers_cannot_follow_is_said() {
    for entry in &CATALOG {
        let preset = Recipe::preset(entry.name).unwrap();
        let unlike = preset.model.unlike_transformers();
        match entry.name.starts_with("protein-lm") {
            true => assert!(unlike.unwrap().contains("model.head_act"), "{}", entry.name),
            false => assert_eq!(unlike, None, "{}", entry.name),
        }
    }
    let recipe = Recipe::preset("protein-lm-tiny").unwrap();
    let one = recipe.set("model.head_act", "\"gelu_new\"").unwrap();
    assert_eq!(one.model.unlike_transformers(), None);
}

/// What a step trains is what files hold.
#[test]
fn every_weight_of_a_step_is_in_the_files() {
    for entry in CATALOG.iter().filter(|entry| entry.is_tiny()) {
        let recipe = Recipe::preset(entry.name).unwrap();
        let step = recipe.step().unwrap().build().unwrap();
        let names = |weights: &[Weight]| {
            let mut names: Vec<_> = weights
                .iter()
                .map(|it| (it.name.clone(), it.shape.to_string()))
                .collect();
            names.sort();
            names
        };
        assert_eq!(
            names(&step.weights),
            names(&recipe.model.weights()),
            "{}",
            entry.name
        );
    }
}

#[test]
fn parts_hold_what_one_file_holds() {
    let (folder, single) = example();
    let path = |name: &str| folder.path().join(name);
    let written = write(&tiny(), &path("parts"), 300_000).unwrap();
    let names: Vec<_> = written
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert!(names.len() > 4, "{names:?}");
    assert_eq!((names[0], names[names.len() - 1]), ("config.json", INDEX));
    for path in &written[1..names.len() - 1] {
        assert!(fs::metadata(path).unwrap().len() < 310_000, "{names:?}");
    }
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(path("parts").join(INDEX)).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4 * tiny().parameters());
    assert_eq!(index["weight_map"][SHARED], names[names.len() - 2]);
    import(&single, &[], &path("one")).unwrap();
    import(&path("parts"), &[], &path("many")).unwrap();
    assert!(fs::read(path("one")).unwrap() == fs::read(path("many")).unwrap());
    let checkpoint = Checkpoint::open(&path("many")).unwrap();
    export(&checkpoint, &path("again"), 300_000).unwrap();
    assert!(files(&path("parts")) == files(&path("again")));
}

#[test]
fn halves_are_read_as_floats() {
    let (folder, single) = example();
    let path = |name: &str| folder.path().join(name);
    import(&single, &[], &path("whole")).unwrap();
    type Half = fn(f32) -> [u8; 2];
    let kinds: [(Dtype, Half); 2] = [
        (Dtype::F16, |value| half::f16::from_f32(value).to_le_bytes()),
        (Dtype::BF16, |value| {
            half::bf16::from_f32(value).to_le_bytes()
        }),
    ];
    for (kind, half) in kinds {
        let (_folder, halved) = example();
        rewrite(&halved.join(SINGLE), |tensors| {
            for (dtype, _, bytes) in tensors.values_mut() {
                *dtype = kind;
                let (words, _) = bytes.as_chunks::<4>();
                *bytes = words
                    .iter()
                    .flat_map(|word| half(f32::from_le_bytes(*word)))
                    .collect();
            }
        });
        let out = path(&format!("{kind:?}"));
        import(&halved, &[], &out).unwrap();
        assert!(
            fs::read(path("whole")).unwrap() == fs::read(out).unwrap(),
            "{kind:?}"
        );
    }
}

#[test]
fn tied_tensors_may_be_there_and_must_be_equal() {
    let (folder, single) = example();
    let path = |name: &str| folder.path().join(name);
    import(&single, &[], &path("plain")).unwrap();
    let (file, tied) = (
        single.join(SINGLE),
        ["encoder.embed_tokens.weight", "lm_head.weight"],
    );
    rewrite(&file, |tensors| {
        for name in tied {
            tensors.insert(name.into(), tensors[SHARED].clone());
        }
        // What older files have besides.
        let positions = (Dtype::I64, vec![1, 2], vec![0; 16]);
        tensors.insert("encoder.position_ids".into(), positions);
    });
    import(&single, &[], &path("tied")).unwrap();
    assert!(fs::read(path("plain")).unwrap() == fs::read(path("tied")).unwrap());
    rewrite(&file, |tensors| {
        tensors.remove(SHARED);
    });
    import(&single, &[], &path("other name")).unwrap();
    assert!(fs::read(path("plain")).unwrap() == fs::read(path("other name")).unwrap());
    rewrite(&file, |tensors| {
        if let Some((_, _, bytes)) = tensors.get_mut(tied[1]) {
            bytes[7] ^= 1;
        }
    });
    let message = refusal(&single);
    let expected =
        "model.safetensors differs from `encoder.embed_tokens.weight`, which it is tied to";
    assert!(
        message.contains("`lm_head.weight` of ") && message.contains(expected),
        "{message}"
    );
}

#[test]
fn an_output_layer_of_its_own_is_no_tied_tensor() {
    let mut config = tiny().config::<t5::Config>().unwrap().clone();
    config.tie_word_embeddings = false;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&Model::new(config.clone()), &path("model"), ONE_FILE).unwrap();
    let model = import(&path("model"), &[], &path("checkpoint")).unwrap();
    assert_eq!(model, Model::new(config));
    export(
        &Checkpoint::open(&path("checkpoint")).unwrap(),
        &path("again"),
        ONE_FILE,
    )
    .unwrap();
    assert!(files(&path("model")) == files(&path("again")));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let refused = |change: fn(&mut Tensors), expected: &[&str]| {
        let (_folder, model) = example();
        rewrite(&model.join(SINGLE), change);
        let message = refusal(&model);
        for expected in expected {
            assert!(message.contains(expected), "{message}");
        }
    };
    refused(
        |tensors| drop(tensors.remove(NORM)),
        &[
            "/model does not hold the model's weights:",
            &format!(
                "`{NORM}`, which `encoder/layer/attention/norm/scale` is read from, is missing"
            ),
        ],
    );
    refused(
        |tensors| drop(tensors.insert("cls.bias".into(), tensors[NORM].clone())),
        &[
            "`cls.bias` of ",
            "model.safetensors belongs to no weight of the model",
        ],
    );
    refused(
        |tensors| tensors.get_mut(SHARED).unwrap().1.reverse(),
        &[
            "`shared.weight` of ",
            "model.safetensors is [64, 128], but `shared/embedding` is read from [128, 64]",
        ],
    );
    refused(
        |tensors| tensors.get_mut(NORM).unwrap().0 = Dtype::I32,
        &[
            &format!("`{NORM}` of "),
            "model.safetensors has type I32; it must be F32, F16 or BF16",
        ],
    );
    // All at once, but not hundreds.
    refused(
        |tensors| tensors.clear(),
        &["`shared.weight`, which", "and 39 more"],
    );
}

#[test]
fn named_tensors_are_passed_over() {
    let (folder, model) = example();
    rewrite(&model.join(SINGLE), |tensors| {
        tensors.insert("pooler.dense.weight".into(), tensors[NORM].clone());
    });
    let out = folder.path().join("checkpoint");
    assert!(refusal(&model).contains("`pooler.dense.weight` of "));
    import(&model, &["pooler.".into()], &out).unwrap();
}

#[test]
fn damaged_files_are_named() {
    let (_folder, model) = example();
    let file = model.join(SINGLE);
    let whole = fs::read(&file).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        let message = refusal(&model);
        let expected = match length {
            0..8 => format!("model.safetensors is not a safetensors file: it has {length} bytes"),
            _ => format!("model.safetensors has {length} bytes, but its header says "),
        };
        assert!(message.contains(&expected), "{message}");
    }
    fs::remove_file(&file).unwrap();
    assert!(refusal(&model).contains("/model has neither model.safetensors nor "));
    fs::write(model.join("pytorch_model.bin"), b"PK").unwrap();
    assert!(refusal(&model).contains("it has a pytorch_model.bin, which is a program"));
    fs::write(model.join("config.json"), b"{ \"model_type\": \"gpt2\" }").unwrap();
    let message = refusal(&model);
    assert!(
        message.contains("config.json: the config describes a model of type `gpt2`"),
        "{message}"
    );
    fs::write(model.join("config.json"), b"{ \"model_type\": ").unwrap();
    assert!(refusal(&model).contains("config.json cannot be used: "));
    fs::remove_file(model.join("config.json")).unwrap();
    assert!(refusal(&model).contains("cannot read "));
}

#[test]
fn an_index_must_fit_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let written = write(&tiny(), &model, 300_000).unwrap();
    let (index, first) = (model.join(INDEX), &written[1]);
    let whole = fs::read_to_string(&index).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(whole.contains(from), "{whole}");
        fs::write(&index, whole.replace(from, to)).unwrap();
        refusal(&model)
    };
    let message = changed(SHARED, "shared.other");
    assert!(
        message.contains("`shared.other` is not in ")
            && message.contains(", where the index places it"),
        "{message}"
    );
    assert!(
        message.contains("`shared.weight` is in ") && message.contains("but not in the index"),
        "{message}"
    );
    let name = first.file_name().unwrap().to_str().unwrap();
    let message = changed(name, "../model.safetensors");
    assert!(message.contains("no file of the folder has"), "{message}");
    assert!(changed("weight_map", "map").contains("it has no `weight_map`"));
    fs::write(&index, &whole).unwrap();
    let bytes = fs::read(first).unwrap();
    fs::write(first, &bytes[..bytes.len() - 4]).unwrap();
    assert!(refusal(&model).contains(&format!("{name} has {} bytes", bytes.len() - 4)));
    fs::remove_file(first).unwrap();
    assert!(refusal(&model).contains(&format!("there is no file {}", first.display())));
}

#[test]
fn what_is_there_is_not_written_over() {
    let (folder, model) = example();
    let before = files(&model);
    let error = write(&tiny(), &model, 300_000).unwrap_err().to_string();
    assert!(
        error.contains("exists already; choose another folder"),
        "{error}"
    );
    assert!(files(&model) == before);
    // A failure on the way leaves nothing behind.
    let part = tiny().folders().unwrap().remove(0);
    let export = Export {
        table: &part.files.table,
        weights: &part.weights,
        zeros: &part.zeros,
        config: &part.files.config,
        shard_size: 300_000,
    };
    let other = folder.path().join("other");
    let mut count = 0;
    let error = export.write(&other, |weight, layer| {
        count += 1;
        match count {
            20 => Err(FolderError::Exists("stand-in".into())),
            _ => Ok(numbers(weight, layer)),
        }
    });
    assert!(error.unwrap_err().to_string().contains("stand-in"));
    assert_eq!(files(&other), BTreeMap::new());
}

#[test]
fn a_network_of_electra_alone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = Recipe::preset("prot-electra-tiny").unwrap().model;
    write(&model, folder.path(), ONE_FILE).unwrap();
    let message = refusal(&folder.path().join("discriminator"));
    assert!(
        message.contains("it is one of ELECTRA's two networks"),
        "{message}"
    );
    // Networks whose embeddings differ share none.
    let share = |found: &Model| {
        let config: &electra::Config = found.config().unwrap();
        config.share_embeddings
    };
    assert!(share(
        &FoundModel::open(folder.path(), &Families::standard())
            .unwrap()
            .model
    ));
    let file = folder.path().join("generator").join(SINGLE);
    rewrite(&file, |tensors| {
        let name = "electra.embeddings.word_embeddings.weight";
        tensors.get_mut(name).unwrap().2[1] ^= 1;
    });
    assert!(!share(
        &FoundModel::open(folder.path(), &Families::standard())
            .unwrap()
            .model
    ));
}

#[test]
fn damaged_checkpoints_are_not_exported() {
    let (folder, model) = example();
    let path = folder.path().join("checkpoint");
    import(&model, &[], &path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 4;
    fs::write(&path, bytes).unwrap();
    let out = folder.path().join("out");
    let error = export(&Checkpoint::open(&path).unwrap(), &out, ONE_FILE).unwrap_err();
    assert!(matches!(error, ConvertError::Checkpoint(_)), "{error}");
    assert!(
        error.to_string().contains("is damaged") && !out.exists(),
        "{error}"
    );
}

/// Weights from files lie on the devices of a mesh as they are, layer by layer, and a run starts from them.
#[test]
fn a_run_starts_from_imported_weights() {
    let (folder, model) = example();
    let path = folder.path().join("checkpoint");
    import(&model, &[], &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let small = [("batch", "8"), ("length", "24")];
    let preset = Recipe::preset("prot-t5-tiny").unwrap();
    let recipe = (small.iter()).fold(preset, |recipe, (key, value)| {
        recipe.set(key, value).unwrap()
    });
    let proteins = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/proteins.fasta");
    let data = Dataset::from_fasta(&[proteins], &PROT_T5).unwrap();
    let ready = |recipe| training(recipe, "data=4,model=2", Partitioner::Shardy).unwrap();
    let run = ready(&recipe);
    let mut trainer = Trainer::resume(run.setup(&data), &checkpoint).unwrap();
    assert_eq!(trainer.done(), 0);
    assert_eq!(trainer.differences(&checkpoint), [""; 0]);
    let weights = recipe.model.weights();
    for (name, shape) in trainer.tensors() {
        let found = trainer.fetch(&name).unwrap();
        match weights.iter().any(|weight| weight.name == name) {
            true => assert!(found == checkpoint.read(&name, &shape).unwrap(), "{name}"),
            false => assert!(found.to_f64().iter().all(|value| *value == 0.0), "{name}"),
        }
    }
    assert!(trainer.step().unwrap().loss.is_finite());
    // The run's own checkpoint has a model to export too.
    trainer.save(&path).unwrap();
    let out = folder.path().join("trained");
    export(&Checkpoint::open(&path).unwrap(), &out, ONE_FILE).unwrap();
    assert!(files(&out)["config.json"] == files(&model)["config.json"]);
    assert!(files(&out)[SINGLE] != files(&model)[SINGLE]);
    let other = recipe.set("model.d_ff", "128").unwrap();
    let other = ready(&other);
    let error = Trainer::resume(other.setup(&data), &Checkpoint::open(&path).unwrap());
    assert!(
        error
            .err()
            .unwrap()
            .to_string()
            .contains("belongs to another model")
    );
}
