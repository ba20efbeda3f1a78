//! ALBERT's sentence-order prediction (Lan et al. 2020) for proteins: a row is a protein's two halves, `[CLS] A [SEP] B [SEP]`.
//! In half of the rows they are swapped, and the model predicts which. It is not known whether ProtAlbert was trained with it:
//! its checkpoint has the head, and its recipe leaves the objective off.

use crate::data::Vocabulary;
use crate::graph::{DType, Key, Shape, Tensor};

/// Rows of two halves.
#[derive(Clone, Copy)]
pub struct Pairs<'g> {
    /// The tokens, `s32[batch, length]`.
    pub ids: Tensor<'g>,
    /// 1 from the second half on, `s32[batch, length]`.
    pub types: Tensor<'g>,
    /// Whether the halves are swapped, `s32[batch]`.
    pub swapped: Tensor<'g>,
}

/// The proteins of `tokens` (`s32[batch, length]`, one per row after its prefix token), cut in two. A row then holds one
/// more separator, so a protein that fills its row loses its last residue.
pub fn pairs<'g>(tokens: Tensor<'g>, key: Key<'g>, vocabulary: &Vocabulary) -> Pairs<'g> {
    let builder = tokens.builder();
    builder.scope("pairs", || {
        let (axes, length) = (tokens.shape().axes, tokens.size("length"));
        let (batch, row) = (axes[..1].to_vec(), |it: Tensor<'g>| {
            it.broadcast(axes.clone())
        });
        let first = f64::from(vocabulary.residue_ids().start);
        let residues = tokens
            .ge(tokens.constant(first))
            .cast(DType::F32)
            .sum(["length"]);
        let room = residues.constant(length.saturating_sub(3) as f64);
        let residues = residues.minimum(room);
        let half = (residues * 0.5).floor();
        let swapped = key.stream("swapped").chance(0.5, &batch);
        // Lengths and places are whole numbers far below 2^24, exact in f32.
        let front = row(swapped.select(residues - half, half));
        let (half, residues) = (row(half), row(residues));
        let other_way = row(swapped).cast(DType::F32);
        let place = builder.iota("length", Shape::new(DType::F32, axes.clone()));
        let zero = place.constant(0.0);
        // The first half follows the prefix, and the second a separator. Each is copied from its old place.
        let second = place.gt(front + 1.0);
        let source = second.select(
            place - 1.0 - front + half - other_way * half,
            place + other_way * half,
        );
        let source = place.gt(zero).select(source, zero);
        let copied = (source.cast(DType::S32))
            .one_hot("keys", length, DType::F32)
            .dot(tokens.rename("length", "keys").cast(DType::F32), ["keys"])
            .cast(DType::S32);
        let separator = vocabulary.suffix.last().copied().unwrap_or(vocabulary.pad);
        let between = place.eq(front + 1.0).or(place.eq(residues + 2.0));
        let separated = between.select(tokens.constant(f64::from(separator)), copied);
        let behind = place.gt(residues + 2.0);
        Pairs {
            ids: behind.select(tokens.constant(f64::from(vocabulary.pad)), separated),
            types: second.and(behind.not()).cast(DType::S32),
            swapped: swapped.cast(DType::S32),
        }
    })
}
