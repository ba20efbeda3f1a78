//! Cases of the BERT families: a model with a masked-LM head, ELECTRA's discriminator, and both ELECTRA networks.

use super::model::{
    compute, differentiate, hidden_states, input, input_of, join_hidden_states, real,
};
use super::{Case, Device, Tensors, VerifyError};
use crate::graph::{Builder, DType, Policy, Tensor};
use crate::models::encoder::Encoded;
use crate::models::hugging_face::ConfigError;
use crate::models::tokens::Tokens;
use crate::models::weights::Entry;
use crate::models::{Context, Families, Family, Model, electra, layers};

/// A masked language model of any of the `families`, by the case's `model_type`.
pub(super) fn masked_language_model(
    case: &Case,
    device: &Device,
    families: &Families,
) -> Result<Tensors, VerifyError> {
    let model = model(case, families)?;
    let network = (model.masked_language_model()).ok_or_else(|| not_masked(&model))?;
    let (used, gradients) = without_unused(case, &model);
    let mut computed = masked(&used, device, &model.hugging_face(), |cx, tokens| {
        let encoded = network.encode(cx, tokens, true);
        (encoded, network.token_logits(cx, encoded.last))
    })?;
    computed.extend(gradients);
    Ok(computed)
}

/// The same with a head for pairs of sentences; `names` are the case's names of its labels and logits. The loss is the sum
/// of both means.
pub(super) fn pretraining(
    case: &Case,
    device: &Device,
    families: &Families,
    names: [&str; 2],
) -> Result<Tensors, VerifyError> {
    let model = model(case, families)?;
    let network = (model.masked_language_model()).ok_or_else(|| not_masked(&model))?;
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let encoded = network.encode(cx, tokens(&builder, case, "input_ids")?, true);
    let order = network.sentence_logits(cx, encoded.last);
    let order = order.ok_or_else(|| {
        let kind = &case.kind;
        ConfigError::Unfit(format!(
            "{kind} has a sentence head, but the case has no weights for it"
        ))
    })?;
    let logits = network.token_logits(cx, encoded.last);
    if let Some(inputs) = encoded.inputs {
        hidden_states(&builder, inputs, encoded.last);
    }
    builder.output("output.prediction_logits", logits);
    builder.output(&format!("output.{}", names[1]), order);
    let right = input_of(&builder, case, names[0], DType::S32, &["batch"])?;
    let order = token_loss(order.rename("classes", "vocab"), right);
    let masked = token_loss(logits, input(&builder, case, "labels")?);
    differentiate(&builder, masked + order);
    let mut computed = compute(case, device, &model.hugging_face(), builder)?;
    join_hidden_states(&mut computed, "output.hidden_states");
    Ok(computed)
}

/// The case's model, of one of the `families`.
fn model(case: &Case, families: &Families) -> Result<Model, VerifyError> {
    let has = |name: &str| case.tensors.contains_key(&format!("weight.{name}"));
    Ok(families.from_hugging_face(&case.config, &has)?)
}

fn not_masked(model: &Model) -> ConfigError {
    let family = model.family();
    ConfigError::Unfit(format!(
        "models of the family `{family}` are not masked language models"
    ))
}

/// The case without the weights that the model does not use, and their gradients: zeros, since nothing depends on them.
fn without_unused(case: &Case, model: &Model) -> (Case, Tensors) {
    let unused = |name: &str| model.unused().iter().any(|start| name.starts_with(start));
    let (mut used, mut gradients) = (case.clone(), Tensors::new());
    for (name, weight) in case.below("weight.") {
        if unused(&name) {
            used.tensors.remove(&format!("weight.{name}"));
            gradients.insert(format!("grad.{name}"), weight * 0.0);
        }
    }
    (used, gradients)
}

pub(super) fn electra_generator(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let network = electra::Network::from_hugging_face(&case.config)?;
    let part = network.generator();
    masked(case, device, &part.hugging_face(""), |cx, tokens| {
        let encoded = part.encode(cx, tokens, true);
        (encoded, part.token_logits(cx, encoded.last))
    })
}

/// A model with a masked-LM head; the loss is the mean over the labels.
fn masked(
    case: &Case,
    device: &Device,
    table: &[Entry],
    model: impl for<'g> FnOnce(Context<'g>, Tokens<'g>) -> (Encoded<'g>, Tensor<'g>),
) -> Result<Tensors, VerifyError> {
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let (encoded, logits) = model(cx, tokens(&builder, case, "input_ids")?);
    let loss = token_loss(logits, input(&builder, case, "labels")?);
    give(&builder, encoded, logits, loss);
    let mut computed = compute(case, device, table, builder)?;
    join_hidden_states(&mut computed, "output.hidden_states");
    Ok(computed)
}

/// ELECTRA's discriminator; the loss is the mean over the positions that the mask keeps.
pub(super) fn electra_discriminator(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let network = electra::Network::from_hugging_face(&case.config)?;
    let part = network.discriminator();
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let tokens = tokens(&builder, case, "input_ids")?;
    let encoded = part.encode(cx, tokens, true);
    let logits = part.replaced_logits(cx, encoded.last);
    let loss = replaced_loss(logits, input(&builder, case, "labels")?, tokens);
    give(&builder, encoded, logits, loss);
    let mut computed = compute(case, device, &part.hugging_face(""), builder)?;
    join_hidden_states(&mut computed, "output.hidden_states");
    Ok(computed)
}

/// Both of ELECTRA's networks, with the generator's guesses given.
pub(super) fn electra_joint(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let network = |name: &str| {
        let config = case.config.get(name).and_then(serde_json::Value::as_object);
        electra::Network::from_hugging_face(&config.cloned().unwrap_or_default())
    };
    let argument = |name: &str| {
        let missing = || ConfigError::Unfit(format!("the case has no `args.{name}`"));
        case.arguments.get(name).ok_or_else(missing)
    };
    let model = electra::Config {
        generator: network("generator")?,
        discriminator: network("discriminator")?,
        share_embeddings: argument("share_embeddings")? == &serde_json::Value::Bool(true),
        discriminator_weight: argument("disc_weight")?.as_f64().unwrap_or(f64::NAN),
    };
    model.check().map_err(ConfigError::from)?;
    let builder = Builder::new();
    let cx = Context::new(&builder, Policy::F32);
    let seen = tokens(&builder, case, "input_ids")?;
    let logits = model.generator_logits(cx, seen);
    let generator_loss = token_loss(logits, input(&builder, case, "labels")?);
    builder.output("output.generator_logits", logits);
    builder.output("output.generator_loss", generator_loss);
    let corrupted = tokens(&builder, case, "corrupted_ids")?;
    let logits = model.discriminator_logits(cx, corrupted);
    let replaced = input(&builder, case, "is_replaced")?;
    let discriminator_loss = replaced_loss(logits, replaced, corrupted);
    builder.output("output.discriminator_logits", logits);
    builder.output("output.discriminator_loss", discriminator_loss);
    differentiate(
        &builder,
        generator_loss + discriminator_loss * model.discriminator_weight,
    );
    compute(case, device, &model.hugging_face(), builder)
}

/// The case's model inputs: `ids`, and the mask, types and positions it has.
fn tokens<'g>(builder: &'g Builder, case: &Case, ids: &str) -> Result<Tokens<'g>, VerifyError> {
    let optional = |name: &str| {
        let given = case.tensors.contains_key(&format!("input.{name}"));
        given.then(|| input(builder, case, name)).transpose()
    };
    let mask = optional("attention_mask")?;
    Ok(Tokens {
        ids: input(builder, case, ids)?,
        mask: mask.map(|mask| real(mask).rename("length", "keys")),
        types: optional("token_type_ids")?,
        positions: optional("position_ids")?,
    })
}

/// The mean cross-entropy over the labels that are ids (-100 is not a label).
fn token_loss<'g>(logits: Tensor<'g>, labels: Tensor<'g>) -> Tensor<'g> {
    let counted = labels.ge(labels.constant(0.0));
    let (sum, count) = layers::cross_entropy(logits, labels, counted);
    sum / count
}

/// The mean binary cross-entropy over the real positions.
fn replaced_loss<'g>(logits: Tensor<'g>, replaced: Tensor<'g>, tokens: Tokens<'g>) -> Tensor<'g> {
    let counted = match tokens.mask {
        Some(mask) => mask.rename("keys", "length"),
        None => logits
            .builder()
            .full(1.0, logits.shape().with_dtype(DType::Pred)),
    };
    let (sum, count) = layers::binary_cross_entropy(logits, real(replaced), counted);
    sum / count
}

/// Adds the outputs that cases of one network have.
fn give<'g>(builder: &'g Builder, encoded: Encoded<'g>, logits: Tensor<'g>, loss: Tensor<'g>) {
    if let Some(inputs) = encoded.inputs {
        hidden_states(builder, inputs, encoded.last);
    }
    builder.output("output.logits", logits);
    differentiate(builder, loss);
}
