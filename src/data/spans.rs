//! Which tokens XLNet predicts: spans drawn one after the other, as the official code's `_sample_mask` does.

use super::batch::splitmix64;

/// How spans are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// The number of predicted tokens in a row.
    pub predictions: usize,
    /// A span of n tokens has a context of n x `alpha` / `beta` tokens around it.
    pub alpha: usize,
    /// See `alpha`.
    pub beta: usize,
    /// The longest span.
    pub longest: usize,
}

impl Spans {
    /// The predicted positions of row `row` in step `step`, in order, filled up with -1. Only `predictable` tokens are
    /// predicted: no separators and no padding.
    pub fn draw(
        &self,
        seed: u64,
        step: u64,
        row: usize,
        tokens: &[i32],
        predictable: impl Fn(i32) -> bool,
    ) -> Vec<i32> {
        let mut random = Random(splitmix64(seed ^ splitmix64(step)) ^ splitmix64(row as u64));
        let allowed: Vec<usize> = (0..tokens.len())
            .filter(|at| predictable(tokens[*at]))
            .collect();
        let goal = self.predictions.min(allowed.len());
        // Indices into `allowed`.
        let mut chosen = vec![false; allowed.len()];
        let (mut count, mut start) = (0, 0);
        while start < allowed.len() && count < goal {
            let size = self.size(&mut random).min(goal - count);
            let context = size * self.alpha / self.beta.max(1);
            let before = random.below(context);
            let first = start + before;
            let end = first + size;
            if end > allowed.len() {
                break;
            }
            chosen[first..end].fill(true);
            count += size;
            start = end + context - before;
        }
        // The rest are drawn from anywhere.
        while count < goal {
            let at = random.below(allowed.len());
            if !chosen[at] {
                chosen[at] = true;
                count += 1;
            }
        }
        let places = allowed.iter().zip(&chosen).filter(|(_, chosen)| **chosen);
        let mut places: Vec<i32> = places.map(|(at, _)| *at as i32).collect();
        places.resize(self.predictions, -1);
        places
    }

    /// A span's size: n with a probability proportional to 1/n.
    fn size(&self, random: &mut Random) -> usize {
        let weights = (1..=self.longest.max(1)).map(|size| 1.0 / size as f64);
        let mut left = random.unit() * weights.clone().sum::<f64>();
        for (at, weight) in weights.enumerate() {
            left -= weight;
            if left < 0.0 {
                return at + 1;
            }
        }
        self.longest.max(1)
    }
}

/// splitmix64 as a generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let value = splitmix64(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in 0..limit; 0 if `limit` is 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.unit() * limit as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: Spans = Spans {
        predictions: 85,
        alpha: 6,
        beta: 1,
        longest: 5,
    };

    #[test]
    fn as_many_as_published_and_only_residues() {
        let tokens: Vec<i32> = (0..512)
            .map(|at| if at % 50 == 0 { 4 } else { 17 })
            .collect();
        for row in 0..50 {
            let places = PUBLISHED.draw(1, 2, row, &tokens, |id| id != 4);
            assert_eq!(places.len(), 85);
            assert!(places.iter().all(|at| tokens[*at as usize] == 17));
            assert!(places.is_sorted_by(|a, b| a < b));
            assert_eq!(places, PUBLISHED.draw(1, 2, row, &tokens, |id| id != 4));
        }
        assert_ne!(
            PUBLISHED.draw(1, 2, 0, &tokens, |_| true),
            PUBLISHED.draw(1, 3, 0, &tokens, |_| true)
        );
    }

    #[test]
    fn a_short_row_has_fewer() {
        let places = PUBLISHED.draw(0, 0, 0, &[17, 18, 4], |id| id != 4);
        assert_eq!(places[..3], [0, 1, -1]);
        assert_eq!(places.len(), 85);
        let none = PUBLISHED.draw(0, 0, 0, &[4], |id| id != 4);
        assert!(none.iter().all(|at| *at == -1));
    }

    /// Sizes 1 to 5 occur in proportion to 1/n: of 137 spans, 60, 30, 20, 15 and 12.
    #[test]
    fn sizes_are_as_published() {
        let mut random = Random(7);
        let mut counts = [0f64; 6];
        for _ in 0..137_000 {
            counts[PUBLISHED.size(&mut random)] += 1.0;
        }
        for (size, expected) in [(1, 60e3), (2, 30e3), (3, 20e3), (4, 15e3), (5, 12e3)] {
            assert!((counts[size] / expected - 1.0).abs() < 0.03, "{counts:?}");
        }
    }
}
