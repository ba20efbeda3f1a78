//! ProtTrans's secondary-structure head (Elnaggar et al. 2021): a convolution over the positions of a protein's embeddings,
//! followed by one convolution per task to its classes.
//!
//! Reference: the convolutional network of bio_embeddings, whose weights Rost's lab published (its kernels are `(7, 1)`
//! over `[batch, channels, length, 1]`).
//!
//! ```text
//! ribosome verify golden/numeric/conv_head_small.safetensors
//! ```

use super::context::Context;
use super::layers::{Activation, cross_entropy};
use super::weights::{Entry, Kept};
use crate::graph::{Init, Tensor};

/// One thing that the head predicts for each position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    /// Its name.
    pub name: String,
    /// The number of classes.
    pub classes: usize,
}

/// The sizes of the head.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The size of an embedding.
    pub features: usize,
    /// Channels between the two convolutions.
    pub channels: usize,
    /// The width of a convolution's window in positions; odd.
    pub kernel: usize,
    /// The dropout rate of channels.
    pub dropout: f64,
    /// What is predicted for each position.
    pub tasks: Vec<Classification>,
}

impl Config {
    /// The published head on embeddings of size `features`: 32 channels, 7 positions, and three tasks (secondary structure in
    /// 3 and in 8 classes, and disorder).
    pub fn published(features: usize) -> Self {
        let task = |name: &str, classes| Classification {
            name: name.into(),
            classes,
        };
        Config {
            features,
            channels: 32,
            kernel: 7,
            dropout: 0.25,
            tasks: vec![task("dssp3", 3), task("dssp8", 8), task("diso", 2)],
        }
    }

    /// The logits of each task, `[batch, length, classes]`, in the order of the tasks, from embeddings
    /// `[batch, length, embed]`.
    pub fn logits<'g>(&self, cx: Context<'g>, embeddings: Tensor<'g>) -> Vec<Tensor<'g>> {
        let seen = convolution(
            cx,
            "features",
            embeddings,
            "embed",
            ("channels", self.channels),
            self.kernel,
        );
        let seen = cx.dropout(Activation::Relu.of(seen), self.dropout, "features");
        let task = |task: &Classification| {
            let classes = ("classes", task.classes);
            convolution(cx, &task.name, seen, "channels", classes, self.kernel)
                .cast(cx.policy.exact())
        };
        self.tasks.iter().map(task).collect()
    }

    /// The sum over tasks of the mean cross-entropy at `labels` (`s32[batch, length]` each), without labels below 0.
    pub fn loss<'g>(&self, logits: &[Tensor<'g>], labels: &[Tensor<'g>]) -> Option<Tensor<'g>> {
        let losses = logits.iter().zip(labels).map(|(logits, labels)| {
            let counted = labels.ge(labels.constant(0.0));
            let (sum, count) = cross_entropy(logits.rename("classes", "vocab"), *labels, counted);
            sum / count
        });
        losses.reduce(|sum, loss| sum + loss)
    }

    /// The name and layout of each weight in the published file.
    pub fn published_names(&self) -> Vec<Entry> {
        let both = |ours: &str, theirs: &str| {
            [
                Entry::new(
                    format!("{ours}/kernel"),
                    format!("{theirs}.0.weight"),
                    Kept::Turned { ones: 1 },
                ),
                Entry::new(
                    format!("{ours}/bias"),
                    format!("{theirs}.0.bias"),
                    Kept::Same,
                ),
            ]
        };
        let tasks = self.tasks.iter().map(|task| &task.name);
        let tasks = tasks.flat_map(|name| both(name, &format!("{name}_classifier")));
        both("features", "elmo_feature_extractor")
            .into_iter()
            .chain(tasks)
            .collect()
    }
}

/// A convolution along `length`, padded so that every position has a result: `x` `[batch, length, input]` to
/// `[batch, length, output]`, by a weight `[window, input, output]`.
///
/// It is a sum of one product per position of the window, each with `x` shifted. With few channels that is as fast as a
/// convolution, and the gradient consists of the same operations.
fn convolution<'g>(
    cx: Context<'g>,
    name: &str,
    x: Tensor<'g>,
    input: &str,
    (output, size): (&str, usize),
    window: usize,
) -> Tensor<'g> {
    let (builder, dtype) = (cx.builder, cx.policy.compute());
    builder.scope(name, || {
        let (length, inputs) = (x.size("length"), x.size(input));
        let axes = [("window", window), (input, inputs), (output, size)];
        // Initialised like a linear layer over all that one result sees.
        let init = Init::Normal(((window * inputs) as f64).powf(-0.5));
        let kernel = builder.weight("kernel", axes, init).cast(dtype);
        let bias = builder
            .weight("bias", [(output, size)], Init::Zeros)
            .cast(dtype);
        let before = window.saturating_sub(1) / 2;
        let padded = x
            .cast(dtype)
            .pad("length", before, window.saturating_sub(1) - before, 0.0);
        let product = |at: usize| {
            let moved = padded.slice("length", at, at + length);
            let part = kernel
                .slice("window", at, at + 1)
                .merge(["window", input], input);
            moved.dot(part, [input])
        };
        (1..window).fold(product(0), |sum, at| sum + product(at)) + bias
    })
}
