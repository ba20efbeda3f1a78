//! Adaptive input and softmax (Baevski and Auli 2019, Grave et al. 2017), as Transformer-XL uses them. The vocabulary is
//! cut into clusters by frequency. The softmax has the words of the first cluster and one entry for each other cluster,
//! whose words have their own softmax. With `div_val` each cluster's vectors are shorter by that factor than those of the
//! one before. Without cutoffs it is a plain embedding and a plain softmax.
//!
//! The original computes a cluster's softmax only for the tokens in it. Here every token gets that of every cluster:
//! protein vocabularies have tens of words, and shapes do not depend on data.

use std::fmt::Display;

use super::context::Context;
use super::layers::{self, Linear, log_softmax};
use super::settings::SettingError;
use super::weights::{Entry, Kept};
use crate::graph::{Init, Tensor};

/// A vocabulary in clusters, and the weights that input and output share.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveVocabulary<'c> {
    /// The number of words.
    pub vocab: usize,
    /// The residual stream's size (`embed`).
    pub embed: usize,
    /// The size of a vector of the first cluster (`factor`).
    pub factor: usize,
    /// The first word of each cluster except the first.
    pub cutoffs: &'c [usize],
    /// The factor by which each cluster's vectors are shorter than those before; 1 makes one table of all clusters.
    pub div_val: usize,
    /// Whether the softmax uses the embedding's vectors.
    pub tied: bool,
    /// Whether each cluster's softmax uses the embedding's projection. Clusters that are not listed have their own.
    pub tied_projections: &'c [bool],
    /// The standard deviation of the initial vectors.
    pub init: f64,
    /// The standard deviation of the initial projections.
    pub projection_init: f64,
}

impl AdaptiveVocabulary<'_> {
    /// Refuses clusters that cannot exist.
    ///
    /// # Errors
    /// Cutoffs that do not rise within the vocabulary, vectors without elements, or too many `tie_projs`.
    pub fn check(&self) -> Result<(), SettingError> {
        let cutoffs = format!("{:?}", self.cutoffs);
        let cutoffs = ("cutoffs", &cutoffs as &dyn Display);
        let ends = [&[0], self.cutoffs, &[self.vocab]].concat();
        let rising = ends.is_sorted_by(|before, after| before < after);
        SettingError::require(rising, [cutoffs, ("vocab_size", &self.vocab)], || {
            "cutoffs must rise, from above 0 to below vocab_size".into()
        })?;
        let last = self.cutoffs.len();
        let sizes: [(_, &dyn Display); 3] = [
            ("div_val", &self.div_val),
            ("d_embed", &self.factor),
            cutoffs,
        ];
        SettingError::require(self.factor(last) > 0, sizes, || {
            format!(
                "the vectors of cluster {last} have d_embed / div_val^{last} elements, which is less than 1"
            )
        })?;
        let (tied, count) = (format!("{:?}", self.tied_projections), last + 1);
        let fits = self.tied_projections.len() <= count;
        SettingError::require(fits, [("tie_projs", &tied), cutoffs], || {
            format!("{last} cutoffs make {count} clusters, and tie_projs must not list more")
        })
    }

    /// The range of each cluster's words.
    fn clusters(&self) -> impl Iterator<Item = (usize, usize)> {
        let starts = [0].into_iter().chain(self.cutoffs.iter().copied());
        let ends = self.cutoffs.iter().copied().chain([self.vocab]);
        starts.zip(ends)
    }

    /// The words of each table.
    fn tables(&self) -> Vec<(usize, usize)> {
        match self.div_val {
            1 => vec![(0, self.vocab)],
            _ => self.clusters().collect(),
        }
    }

    /// The size of a vector of `cluster`.
    fn factor(&self, cluster: usize) -> usize {
        match self.div_val {
            1 => self.factor,
            // A divisor beyond any size gives 0.
            div => (self.factor)
                .checked_div(div.saturating_pow(cluster as u32))
                .unwrap_or(0),
        }
    }

    /// Whether vectors go through a projection to and from the residual stream.
    fn projected(&self) -> bool {
        self.div_val != 1 || self.factor != self.embed
    }

    /// The axis of `cluster`'s vectors.
    fn axis(&self, cluster: usize) -> (&'static str, usize) {
        let name = if self.projected() { "factor" } else { "embed" };
        (name, self.factor(cluster))
    }

    fn tied_projection(&self, cluster: usize) -> bool {
        self.tied_projections.get(cluster) == Some(&true)
    }

    /// The vectors of `table`'s words, `[vocab, factor]`, in the current scope.
    fn vectors<'g>(&self, cx: Context<'g>, table: usize) -> Tensor<'g> {
        let (start, end) = self.tables()[table];
        let axes = [("vocab", end - start), self.axis(table)];
        let init = Init::Normal(self.init);
        cx.builder.weight("embedding", axes, init)
    }

    /// Runs `body` in the scope of one cluster's weights in the embedding or the softmax.
    fn scope<'g, T>(
        &self,
        cx: Context<'g>,
        half: &str,
        index: usize,
        body: impl FnOnce() -> T,
    ) -> T {
        let path = format!("{half}/cluster_{index}");
        cx.builder.at_root_scope(|| cx.builder.scope(&path, body))
    }

    /// The vectors of `ids` (`s32`, any axes) times embed^1/2: the ids' axes and `embed`.
    pub fn embed<'g>(&self, cx: Context<'g>, ids: Tensor<'g>) -> Tensor<'g> {
        let parts = self
            .tables()
            .into_iter()
            .enumerate()
            .map(|(table, (start, _))| {
                self.scope(cx, "embedding", table, || {
                    // Words of other clusters are not in the table and become zeros.
                    let own = match start {
                        0 => ids,
                        start => ids - ids.constant(start as f64),
                    };
                    let vectors = layers::embed(cx, self.vectors(cx, table), own);
                    match self.projected() {
                        true => self.project(cx, vectors),
                        false => vectors,
                    }
                })
            });
        let sum = parts.reduce(|sum, part| sum + part);
        // There is at least one table.
        sum.unwrap_or(ids) * (self.embed as f64).sqrt()
    }

    fn project<'g>(&self, cx: Context<'g>, vectors: Tensor<'g>) -> Tensor<'g> {
        let layer = Linear::new("projection", self.projection_init)
            .biased(false)
            .residual();
        layer.of(cx, vectors, &["factor"], &[("embed", self.embed)])
    }

    /// `hidden` `[.., embed]` as a vector of `cluster`, `[.., factor]`.
    fn unproject<'g>(&self, cx: Context<'g>, cluster: usize, hidden: Tensor<'g>) -> Tensor<'g> {
        if !self.projected() {
            return hidden;
        }
        let (tied, init) = (
            self.tied_projection(cluster),
            Init::Normal(self.projection_init),
        );
        let axes = [self.axis(cluster), ("embed", self.embed)];
        let kernel = match tied {
            true => {
                // One table has one projection, which all clusters share.
                let table = if self.div_val == 1 { 0 } else { cluster };
                self.scope(cx, "embedding", table, || {
                    cx.builder.weight("projection/kernel", axes, init)
                })
            }
            false => self.scope(cx, "softmax", cluster, || {
                let [factor, embed] = axes;
                cx.builder
                    .weight("projection/kernel", [embed, factor], init)
            }),
        };
        hidden.dot(kernel.cast(cx.policy.compute()), ["embed"])
    }

    /// The vectors `[vocab, factor]` and biases `[vocab]` of `cluster`'s words in the softmax.
    fn words<'g>(&self, cx: Context<'g>, cluster: usize) -> (Tensor<'g>, Tensor<'g>) {
        let table = if self.div_val == 1 { 0 } else { cluster };
        let half = if self.tied { "embedding" } else { "softmax" };
        let vectors = self.scope(cx, half, table, || self.vectors(cx, table));
        let (start, end) = self.tables()[table];
        let bias = self.scope(cx, "softmax", table, || {
            cx.builder
                .weight("bias", [("vocab", end - start)], Init::Zeros)
        });
        let (first, last) = self.clusters().nth(cluster).unwrap_or((start, end));
        match (first, last) == (start, end) {
            true => (vectors, bias),
            false => {
                let part = |of: Tensor<'g>| of.slice("vocab", first - start, last - start);
                (part(vectors), part(bias))
            }
        }
    }

    /// The log-probabilities of all words after `hidden` `[.., embed]`: `[.., vocab]` in the exact type.
    pub fn log_probabilities<'g>(&self, cx: Context<'g>, hidden: Tensor<'g>) -> Tensor<'g> {
        let builder = cx.builder;
        let scores = |cluster: usize, (vectors, bias): (Tensor<'g>, Tensor<'g>)| {
            let own = self.unproject(cx, cluster, hidden);
            let (axis, _) = self.axis(cluster);
            let vectors = vectors.cast(cx.policy.compute());
            let logits = own.dot_as(vectors, [axis], cx.policy.exact()).pin();
            log_softmax(logits + bias.cast(cx.policy.exact()), "vocab")
        };
        let (vectors, bias) = self.words(cx, 0);
        let tails = self.cutoffs.len();
        let Some(&shortlist) = self.cutoffs.first() else {
            return scores(0, (vectors, bias));
        };
        // The other clusters' entries follow the words of the first.
        let (others, others_bias) = builder.at_root_scope(|| {
            builder.scope("softmax/clusters", || {
                let axes = [("clusters", tails), self.axis(0)];
                let others = builder.weight("embedding", axes, Init::Normal(self.init));
                let bias = builder.weight("bias", [("clusters", tails)], Init::Zeros);
                (
                    others.rename("clusters", "vocab"),
                    bias.rename("clusters", "vocab"),
                )
            })
        });
        let vectors = builder.concat("vocab", &[vectors, others]);
        let bias = builder.concat("vocab", &[bias, others_bias]);
        let head = scores(0, (vectors, bias));
        let mut parts = vec![head.slice("vocab", 0, shortlist)];
        for cluster in 1..=tails {
            let at = shortlist + cluster - 1;
            let gate = head.slice("vocab", at, at + 1).sum(["vocab"]);
            parts.push(scores(cluster, self.words(cx, cluster)) + gate);
        }
        builder.concat("vocab", &parts).pin()
    }

    /// The name and layout of each weight in Hugging Face's files.
    pub fn hugging_face(&self) -> Vec<Entry> {
        let (linear, tables) = (Kept::Linear { inputs: 1 }, self.tables().len());
        let mut table = Vec::new();
        for at in 0..tables {
            let (ours, theirs) = (format!("embedding/cluster_{at}"), "transformer.word_emb");
            let vectors = format!("{theirs}.emb_layers.{at}.weight");
            let vectors = Entry::new(format!("{ours}/embedding"), vectors, Kept::Same);
            table.push(vectors.also([format!("crit.out_layers.{at}.weight")]));
            let projection = format!("{theirs}.emb_projs.{at}");
            let projection = Entry::new(format!("{ours}/projection/kernel"), projection, linear);
            // One table serves all clusters.
            let clusters = match tables {
                1 => 0..=self.cutoffs.len(),
                _ => at..=at,
            };
            table.push(projection.also(clusters.map(|at| format!("crit.out_projs.{at}"))));
        }
        let mut add = |ours: String, theirs: String, kept| {
            table.push(Entry::new(ours, theirs, kept));
        };
        for at in 0..tables {
            let (ours, theirs) = (
                format!("softmax/cluster_{at}"),
                format!("crit.out_layers.{at}"),
            );
            add(
                format!("{ours}/embedding"),
                format!("{theirs}.weight"),
                Kept::Same,
            );
            add(format!("{ours}/bias"), format!("{theirs}.bias"), Kept::Same);
        }
        for at in 0..=self.cutoffs.len() {
            let ours = format!("softmax/cluster_{at}/projection/kernel");
            add(ours, format!("crit.out_projs.{at}"), Kept::Same);
        }
        for (ours, theirs) in [("embedding", "weight"), ("bias", "bias")] {
            let ours = format!("softmax/clusters/{ours}");
            add(ours, format!("crit.cluster_{theirs}"), Kept::Same);
        }
        table
    }
}
