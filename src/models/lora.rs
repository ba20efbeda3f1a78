//! LoRA (Hu et al. 2022): kernels of linear layers are fixed, and only a product of two thin matrices that changes them is
//! trained. Every family whose layers are [`super::layers::Linear`] accepts one through
//! [`Context::low_rank`].
//!
//! ProtT5 is tuned with two forms. Hugging Face's peft adds `b·a x alpha / r`. ProtTrans's own fine-tuning also multiplies
//! the kernel by a product of rank 1 that starts near 1 (after Liu et al. 2022), and trains the norms.
//!
//! ```text
//! ribosome verify golden/numeric/lora_prottrans.safetensors
//! ```

use super::context::Context;
use super::weights::{Entry, Kept};
use crate::graph::{Axis, Init, Tensor};

/// A low-rank change of some linear layers.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// The rank of the added product (`r`); 0 adds nothing.
    pub rank: usize,
    /// The factor of the added product.
    pub scale: f64,
    /// The rank of the product that first multiplies the kernel, which is divided by this rank; 0 multiplies by nothing.
    pub multiplier_rank: usize,
    /// The linear layers that change, by the last names of their scopes, such as `q` or `cross_attention/q`.
    pub targets: Vec<String>,
    /// Whether norms are trained too.
    pub norms: bool,
    /// Whether biases are trained too, including those of relative positions.
    pub biases: bool,
    /// The names of the new weights in files.
    pub names: Names,
}

/// The names of a layer `L`'s new weights in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `L.lora_A.weight`, `L.lora_B.weight`.
    Peft,
    /// `L.lora_a`, `L.lora_b`, `L.multi_lora_a`, `L.multi_lora_b`.
    ProtTrans,
}

/// The weights of one layer's change: the factors of the added and of the multiplied product, from the inputs and to the
/// outputs.
const ADDED: [&str; 2] = ["lora_a", "lora_b"];
const MULTIPLIED: [&str; 2] = ["multi_lora_a", "multi_lora_b"];

/// The linear layers of attention, which both forms change in ProtT5.
const ATTENTION: [&str; 4] = ["q", "k", "v", "o"];

impl LowRank {
    /// peft's form on the linear layers of attention.
    pub fn peft(rank: usize, alpha: f64) -> Self {
        LowRank {
            rank,
            scale: alpha / rank as f64,
            multiplier_rank: 0,
            targets: ATTENTION.map(String::from).to_vec(),
            norms: false,
            biases: false,
            names: Names::Peft,
        }
    }

    /// ProtTrans's form, as its notebooks fine-tune ProtT5's encoder (there with `rank` 4 and `scaling_rank` 1).
    pub fn prottrans(rank: usize, scaling_rank: usize) -> Self {
        LowRank {
            rank,
            scale: 1.0 / rank as f64,
            multiplier_rank: scaling_rank,
            targets: ATTENTION.map(String::from).to_vec(),
            norms: true,
            biases: false,
            names: Names::ProtTrans,
        }
    }

    /// The changed `kernel` of the current scope, whose first axes are `inputs`. It is unchanged if the scope is not a
    /// target.
    pub fn apply<'g>(&self, cx: Context<'g>, kernel: Tensor<'g>, inputs: &[&str]) -> Tensor<'g> {
        if !self.changes(&cx.builder.path()) {
            return kernel;
        }
        let fan_in: usize = inputs.iter().map(|name| kernel.size(name)).product();
        let mut changed = kernel;
        if self.multiplier_rank > 0 {
            let starts = [Init::Near1(0.01), Init::Ones];
            let product = product(cx, kernel, inputs, self.multiplier_rank, MULTIPLIED, starts);
            changed = changed * product * (1.0 / self.multiplier_rank as f64);
        }
        let start = match self.names {
            // The standard deviation of a uniform distribution within fan_in^-1/2.
            Names::Peft => (3.0 * fan_in as f64).powf(-0.5),
            Names::ProtTrans => 0.01,
        };
        if self.rank > 0 {
            let starts = [Init::Normal(start), Init::Zeros];
            let product = product(cx, kernel, inputs, self.rank, ADDED, starts);
            changed = changed + product * self.scale;
        }
        changed
    }

    /// Whether the linear layer at the scope `path` changes.
    fn changes(&self, path: &str) -> bool {
        self.targets.iter().any(|target| {
            let rest = path.strip_suffix(target.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        })
    }

    /// Whether the weight `name` is trained; other weights are fixed.
    pub fn trains(&self, name: &str) -> bool {
        let (path, last) = name.rsplit_once('/').unwrap_or(("", name));
        ADDED.contains(&last)
            || MULTIPLIED.contains(&last)
            || (self.norms && last == "scale")
            || (self.norms && last == "bias" && path.ends_with("norm"))
            || (self.biases && (last == "bias" || path.ends_with("_bias")))
    }

    /// The names and layouts in files of a model's own weights (`table`) and of its change.
    pub fn entries(&self, table: &[Entry]) -> Vec<Entry> {
        let mut all = table.to_vec();
        for entry in table {
            let (Some(path), Kept::Linear { inputs }) =
                (entry.ours.strip_suffix("/kernel"), entry.kept)
            else {
                continue;
            };
            if !self.changes(path) {
                continue;
            }
            let layer = entry.theirs.trim_end_matches(".weight");
            let mut add = |ours: &str, theirs: String, inputs| {
                let kept = Kept::Linear { inputs };
                all.push(Entry::new(format!("{path}/{ours}"), theirs, kept));
            };
            // Inputs to rank, and rank to outputs.
            match self.names {
                Names::Peft => {
                    add(ADDED[0], format!("{layer}.lora_A.weight"), inputs);
                    add(ADDED[1], format!("{layer}.lora_B.weight"), 1);
                }
                Names::ProtTrans => {
                    let products = [(self.rank, ADDED), (self.multiplier_rank, MULTIPLIED)];
                    for (_, [from, to]) in products.into_iter().filter(|(rank, _)| *rank > 0) {
                        add(from, format!("{layer}.{from}"), inputs);
                        add(to, format!("{layer}.{to}"), 1);
                    }
                }
            }
        }
        all
    }
}

/// The product of the weights `names` of the current scope, in the kernel's shape: `[inputs.., rank]` and
/// `[rank, outputs..]`.
fn product<'g>(
    cx: Context<'g>,
    kernel: Tensor<'g>,
    inputs: &[&str],
    rank: usize,
    names: [&str; 2],
    starts: [Init; 2],
) -> Tensor<'g> {
    let axes = kernel.shape().axes;
    let (ins, outs) = axes.split_at(inputs.len());
    let rank = Axis::new("rank", rank);
    let from = ins.iter().cloned().chain([rank.clone()]);
    let to = [rank].into_iter().chain(outs.iter().cloned());
    let from = cx.builder.weight(names[0], from, starts[0]);
    let to = cx.builder.weight(names[1], to, starts[1]);
    from.dot(to, ["rank"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_whole_names() {
        let mut change = LowRank::peft(4, 8.0);
        assert!(change.changes("encoder/layer/attention/q") && change.changes("q"));
        assert!(!change.changes("encoder/layer/mlp/wi_q") && !change.changes("encoder/q/norm"));
        change.targets = vec!["cross_attention/q".into()];
        assert!(change.changes("decoder/layer/cross_attention/q"));
        assert!(!change.changes("decoder/layer/attention/q"));
    }

    #[test]
    fn only_the_change_and_what_is_asked_for_is_trained() {
        let names = [
            "encoder/layer/attention/q/kernel",
            "encoder/layer/attention/q/lora_a",
            "encoder/layer/attention/q/multi_lora_b",
            "encoder/final_norm/scale",
            "encoder/relative_bias/embedding",
            "encoder/layer/attention/q/bias",
        ];
        let trained = |change: &LowRank| names.map(|name| change.trains(name));
        let peft = LowRank::peft(4, 8.0);
        assert_eq!(trained(&peft), [false, true, true, false, false, false]);
        let prottrans = LowRank::prottrans(4, 1);
        assert_eq!(trained(&prottrans), [false, true, true, true, false, false]);
        let biases = LowRank {
            biases: true,
            ..peft
        };
        assert_eq!(trained(&biases), [false, true, true, false, true, true]);
    }
}
