//! Cases of low-rank changes of T5: peft's form on the whole model, ProtTrans's on the encoder.

use serde_json::Value;

use super::options::Options;
use super::{Case, Device, Tensors, VerifyError, t5};
use crate::models::Family;
use crate::models::lora::LowRank;
use crate::models::t5::Config;

/// peft's `LoraConfig` on T5.
pub(super) fn peft(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let mut options = Options::of(case, "lora");
    let rank = options.number("r", 8.0)?;
    let mut alpha = options.number("lora_alpha", 8.0)?;
    if options.switch("use_rslora", false)? {
        // alpha / sqrt(r), not alpha / r.
        alpha *= rank.sqrt();
    }
    // T5's linear layers have no biases, so `lora_only` (biases of changed layers only) trains none.
    let biases = options.get("bias", false, |value| match value.as_str()? {
        "none" | "lora_only" => Some(false),
        "all" => Some(true),
        _ => None,
    })?;
    // These change nothing, or the tensors reveal their effect.
    for key in [
        "target_modules",
        "lora_dropout",
        "init_lora_weights",
        "task_type",
        "peft_type",
    ] {
        options.get(key, (), |_| Some(()))?;
    }
    options.get("inference_mode", (), |value| {
        (!value.as_bool()?).then_some(())
    })?;
    options.finish()?;
    let change = LowRank {
        biases,
        targets: targets(case, "lora_A.weight")?,
        ..LowRank::peft(rank as usize, alpha)
    };
    t5::conditional(case, device, Some(&change))
}

/// ProtTrans's form on T5's encoder.
pub(super) fn prottrans(case: &Case, device: &Device) -> Result<Tensors, VerifyError> {
    let rank = |key: &str, default| {
        let rank = case.arguments.get(key).and_then(Value::as_u64);
        rank.map_or(default, |rank| rank as usize)
    };
    let (added, multiplied) = (rank("rank", 4), rank("scaling_rank", 1));
    let name = if added > 0 { "lora_a" } else { "multi_lora_a" };
    let change = LowRank {
        targets: targets(case, name)?,
        ..LowRank::prottrans(added, multiplied)
    };
    t5::encoder(case, device, Some(&change))
}

/// The linear layers that have a weight `name` in the case.
fn targets(case: &Case, name: &str) -> Result<Vec<String>, VerifyError> {
    let table = Config::from_hugging_face(&case.config)?.hugging_face();
    let targets = table.iter().filter_map(|entry| {
        let layer = entry.theirs.strip_suffix("weight")?.replace("{layer}", "0");
        let changed = format!("weight.{layer}{name}");
        let path = entry.ours.strip_suffix("/kernel")?;
        case.tensors
            .contains_key(&changed)
            .then(|| path.to_string())
    });
    Ok(targets.collect())
}
