//! Counter-based randomness: every number is a hash of (seed, step, stream, position). So a mask is the same on one
//! device and on a thousand, and a resumed run draws the same numbers.
//!
//! A [`Key`] is one `u32`. Positions are mixed in one axis at a time, major first, so only the last mixing is as
//! large as the tensor. The mixing is the finalizer of MurmurHash3 (Austin Appleby, public domain), which flips each
//! output bit with probability near 1/2 for any flipped input bit.

use std::panic::Location;

use super::builder::{Builder, Tensor};
use super::dtype::DType;
use super::shape::{Axis, Shape};

/// A source of randomness: a hashed counter that streams and positions are mixed into.
#[derive(Clone, Copy, Debug)]
pub struct Key<'g> {
    word: Tensor<'g>,
}

impl<'g> Key<'g> {
    /// The key of one step: `seed` is `u32[]`, `step` is `s32[]`.
    #[track_caller]
    pub fn of_step(seed: Tensor<'g>, step: Tensor<'g>) -> Self {
        Key { word: mix(seed) }.fold(step)
    }

    /// The key of a seed alone, for example for initial weights; `seed` is `u32[]`.
    #[track_caller]
    pub fn of_seed(seed: Tensor<'g>) -> Self {
        Key { word: mix(seed) }
    }

    /// A different key for each value of `number`, a whole number such as a layer's or a microbatch's index.
    #[track_caller]
    pub fn fold(self, number: Tensor<'g>) -> Self {
        Key {
            word: absorb(self.word, number.cast(DType::U32)),
        }
    }

    /// The stream `name` of the current scope. Different scopes or names give unrelated numbers.
    #[track_caller]
    pub fn stream(self, name: &str) -> Self {
        let builder = self.word.builder();
        let path = builder.path();
        let stream = builder.constant(f64::from(fnv1a(&[&path, name])), DType::U32);
        Key {
            word: absorb(self.word, stream),
        }
    }

    /// 32 random bits for each position of `axes`, `u32`.
    #[track_caller]
    pub fn bits(self, axes: &[Axis]) -> Tensor<'g> {
        let builder = self.word.builder();
        let mut word = self.word;
        for (at, axis) in axes.iter().enumerate() {
            let so_far = Shape::new(DType::U32, axes[..=at].iter().cloned());
            let position = builder.iota(&axis.name, so_far);
            word = absorb(word, position);
        }
        word
    }

    /// Numbers uniform in [0, 1) for each position of `axes`, in steps of 2^-24 as `f32`.
    #[track_caller]
    pub fn uniform(self, axes: &[Axis]) -> Tensor<'g> {
        let bits = self.bits(axes);
        let high = bits.shift_right(bits.constant(8.0)).cast(DType::S32);
        high.cast(DType::F32) * 2f64.powi(-24)
    }

    /// Whole numbers from 0 to below `limit` for each position of `axes`, `s32`, equally likely to within `limit` / 2^32.
    /// A `limit` that is not from 1 to 2^31 is a mistake.
    #[track_caller]
    pub fn below(self, limit: usize, axes: &[Axis]) -> Tensor<'g> {
        if !(1..=1 << 31).contains(&limit) {
            let problem = format!("the limit {limit} is not from 1 to 2^31");
            return self.mistake("below", problem, Location::caller());
        }
        let bits = self.bits(axes);
        bits.rem(bits.constant(limit as f64)).cast(DType::S32)
    }

    /// Normal numbers of mean 0 and deviation 1 for each position of `axes`, `f32` (Box and Muller 1958).
    #[track_caller]
    pub fn normal(self, axes: &[Axis]) -> Tensor<'g> {
        let builder = self.word.builder();
        let (first, second) = (self.number(1), self.number(2));
        // 1 - u is in (0, 1], so its logarithm is finite.
        let away = builder.constant(1.0, DType::F32) - first.uniform(axes);
        let angle = second.uniform(axes) * (2.0 * std::f64::consts::PI);
        (away.log() * -2.0).sqrt() * angle.cos()
    }

    /// `true` with probability `p` at each position of `axes`. A `p` outside [0, 1] is a mistake.
    #[track_caller]
    pub fn chance(self, p: f64, axes: &[Axis]) -> Tensor<'g> {
        if !(0.0..=1.0).contains(&p) {
            let problem = format!("the probability {p} is not from 0 to 1");
            return self.mistake("chance", problem, Location::caller());
        }
        let bits = self.bits(axes);
        // Comparing bits needs no float of the tensor's size. Certain outcomes stay certain.
        let threshold = (p * 2f64.powi(32)).round();
        if threshold > f64::from(u32::MAX) {
            return bits.ge(bits.constant(0.0));
        }
        bits.lt(bits.constant(threshold))
    }

    fn mistake(self, what: &str, problem: String, site: &'static Location<'static>) -> Tensor<'g> {
        self.word.builder().fail(what, &[], problem, site.into())
    }

    #[track_caller]
    fn number(self, number: u32) -> Self {
        let builder = self.word.builder();
        Key {
            word: absorb(self.word, builder.constant(f64::from(number), DType::U32)),
        }
    }
}

/// Mixes `number` into `word`.
#[track_caller]
fn absorb<'g>(word: Tensor<'g>, number: Tensor<'g>) -> Tensor<'g> {
    // The golden ratio's bits spread the numbers before they meet the word, so that neighbours do not cancel.
    let parted = (number + number.constant(1.0)) * number.constant(f64::from(0x9E37_79B9u32));
    mix(parted.xor(word))
}

/// MurmurHash3's 32-bit finalizer.
#[track_caller]
fn mix(word: Tensor<'_>) -> Tensor<'_> {
    let word = word.xor_shift(16.0);
    let word = word * word.constant(f64::from(0x85EB_CA6Bu32));
    let word = word.xor_shift(13.0);
    let word = word * word.constant(f64::from(0xC2B2_AE35u32));
    word.xor_shift(16.0)
}

impl<'g> Tensor<'g> {
    #[track_caller]
    fn xor_shift(self, by: f64) -> Tensor<'g> {
        self.xor(self.shift_right(self.constant(by)))
    }
}

impl Builder {
    /// Zeroes each element of `tensor` with probability `rate` and scales the others so that the mean stays. A `rate`
    /// outside [0, 1) is a mistake: with 1 nothing is left to scale.
    #[track_caller]
    pub fn dropout<'g>(&'g self, tensor: Tensor<'g>, rate: f64, key: Key<'g>) -> Tensor<'g> {
        if !(0.0..1.0).contains(&rate) {
            let problem = format!("the rate {rate} is not at least 0 and below 1");
            return self.fail("dropout", &[tensor], problem, Location::caller().into());
        }
        let axes = tensor.shape().axes;
        let keep = key.chance(1.0 - rate, &axes);
        keep.select(tensor * (1.0 / (1.0 - rate)), tensor.constant(0.0))
    }
}

/// The FNV-1a hash (Fowler, Noll and Vo) of some words, with a separator between them.
fn fnv1a(words: &[&str]) -> u32 {
    let mut hash = 0x811C_9DC5u32;
    for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash
}
