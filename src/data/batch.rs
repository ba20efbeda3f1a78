//! A data set of encoded proteins, and batches of it that are a pure function of a seed and a step.
//!
//! Row `r` of step `s` is draw number `s * batch + r`. The draws form epochs. Each epoch passes once over all proteins in
//! its own order, so every protein occurs exactly once per epoch whatever the batch size, and a batch larger than the data
//! set runs into the next epochs. The order of an epoch is a keyed permutation: a Feistel network over the index, with
//! splitmix64 as its round function, evaluated one index at a time. A batch therefore costs the same at any step of any
//! data set, and resuming from step `s` needs only `s`.
//!
//! Rows are cut and padded as published for ProtT5. A protein longer than the row loses its end, so that its first
//! residues and `</s>` fill the row. A shorter one is padded at the end (for XLNet at the start). Each row holds one
//! protein; [`super::rows`] packs several into a row, or continues them from row to row.

use std::path::Path;

use ndarray::Array2;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::fasta::{FastaError, FastaFile, Record};
use super::vocab::{VocabError, Vocabulary};

/// Encoded proteins.
#[derive(Debug)]
pub struct Dataset {
    vocabulary: Vocabulary,
    /// The residues of all proteins, one id per byte, without special tokens.
    residues: Vec<u8>,
    /// Where each protein ends in `residues`.
    ends: Vec<usize>,
}

/// The tokens of one training step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Ids of shape (batch, length): residues with their special tokens, then padding.
    pub tokens: Array2<i32>,
    /// The number of ids that are not padding.
    pub token_count: usize,
}

/// Errors of a data set and of requests to it.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// A file cannot be read.
    #[error(transparent)]
    Fasta(#[from] FastaError),
    /// A protein has a letter without a token in the vocabulary.
    #[error("{file}, line {line}: in {id}, {source}")]
    Letter {
        /// The path as given.
        file: String,
        /// The header line of the protein.
        line: u64,
        /// The protein.
        id: String,
        /// The letter.
        source: VocabError,
    },
    /// There are no proteins.
    #[error("the data set is empty; give at least one FASTA file with a protein in it")]
    Empty,
    /// Rows are too short for even one residue.
    #[error(
        "a length of {length} leaves no room for a protein: special tokens take {around}; use a \
         length of at least {}",
        around + 1
    )]
    Length {
        /// The requested length, in tokens.
        length: usize,
        /// The number of special tokens that the vocabulary adds to a protein.
        around: usize,
    },
    /// The batch has no rows.
    #[error("a batch needs at least one protein, not 0")]
    Batch,
}

impl Dataset {
    /// Reads and encodes every protein of `files` (FASTA, plain or gzip), in order.
    pub fn from_fasta<P: AsRef<Path>>(
        files: &[P],
        vocabulary: &Vocabulary,
    ) -> Result<Self, DatasetError> {
        let mut data = Dataset::new(vocabulary);
        for path in files {
            for record in FastaFile::open(path.as_ref())? {
                let Record { id, line, sequence } = record?;
                data.push(&sequence)
                    .map_err(|source| DatasetError::Letter {
                        file: path.as_ref().display().to_string(),
                        line,
                        id,
                        source,
                    })?;
            }
        }
        if data.is_empty() {
            return Err(DatasetError::Empty);
        }
        Ok(data)
    }

    /// A data set without proteins.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        Dataset {
            vocabulary: vocabulary.clone(),
            residues: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Adds a protein of upper-case residue letters.
    pub fn push(&mut self, sequence: &[u8]) -> Result<(), VocabError> {
        let ids = self.vocabulary.encode_residues(sequence)?;
        // Every vocabulary has at most 256 ids, which its tests check.
        self.residues.extend(ids.into_iter().map(|id| id as u8));
        self.ends.push(self.residues.len());
        Ok(())
    }

    /// The number of proteins.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no proteins.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The number of residues in all proteins.
    pub fn residue_count(&self) -> usize {
        self.residues.len()
    }

    /// `sha256:` and the hash of the vocabulary's name and of every protein's ids in order. Data sets that give equal batches
    /// have equal fingerprints; the names of proteins and files do not matter.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.vocabulary.name.as_bytes());
        let mut start = 0;
        for &end in &self.ends {
            // The length separates one protein from the next.
            hash.update(((end - start) as u64).to_le_bytes());
            hash.update(&self.residues[start..end]);
            start = end;
        }
        let hex: String = (hash.finalize().iter())
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{hex}")
    }

    /// The vocabulary of the ids.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The batch of training step `step` (from 0): `batch` proteins as rows of `length` tokens. The same arguments give
    /// the same batch, on every machine.
    pub fn batch(
        &self,
        seed: u64,
        step: u64,
        batch: usize,
        length: usize,
    ) -> Result<Batch, DatasetError> {
        self.check(length)?;
        if batch == 0 {
            return Err(DatasetError::Batch);
        }
        let mut tokens = Array2::from_elem((batch, length), self.vocabulary.pad);
        let mut token_count = 0;
        for (row, mut cells) in tokens.outer_iter_mut().enumerate() {
            let draw = u128::from(step) * batch as u128 + row as u128;
            let ids: Vec<i32> = self.row(self.protein(seed, draw), length).collect();
            let skipped = match self.vocabulary.pads_left {
                true => length - ids.len(),
                false => 0,
            };
            token_count += ids.len();
            for (cell, id) in cells.iter_mut().skip(skipped).zip(ids) {
                *cell = id;
            }
        }
        Ok(Batch {
            tokens,
            token_count,
        })
    }

    /// The frequency of each id among those that are `counted`, when every protein occurs once in rows of `length` tokens
    /// and padding is left out: one fraction per id of the vocabulary, with sum 1.
    ///
    /// # Errors
    /// The data set is empty, or rows are too short for a residue.
    pub fn frequencies(
        &self,
        length: usize,
        counted: impl Fn(i32) -> bool,
    ) -> Result<Vec<f64>, DatasetError> {
        self.check(length)?;
        let mut counts = vec![0u64; self.vocabulary.size()];
        for protein in 0..self.len() {
            for id in self.row(protein, length).filter(|id| counted(*id)) {
                counts[id as usize] += 1;
            }
        }
        let all = counts.iter().sum::<u64>().max(1);
        Ok(counts.into_iter().map(|n| n as f64 / all as f64).collect())
    }

    /// The index of the protein of draw number `draw`.
    pub(super) fn protein(&self, seed: u64, draw: u128) -> usize {
        let proteins = self.len() as u128;
        let (epoch, place) = (draw / proteins, draw % proteins);
        let key = splitmix64(seed ^ splitmix64(epoch as u64));
        permute(key, place as u64, self.len() as u64) as usize
    }

    /// The length of a whole protein in tokens, special tokens included.
    pub(super) fn tokens_of(&self, protein: usize) -> usize {
        let Vocabulary { prefix, suffix, .. } = &self.vocabulary;
        let start = protein.checked_sub(1).map_or(0, |before| self.ends[before]);
        prefix.len() + self.ends[protein] - start + suffix.len()
    }

    /// The tokens of a protein in a row of `length`, without padding.
    pub(super) fn row(&self, protein: usize, length: usize) -> impl Iterator<Item = i32> {
        let Vocabulary { prefix, suffix, .. } = &self.vocabulary;
        let start = protein.checked_sub(1).map_or(0, |before| self.ends[before]);
        let residues = &self.residues[start..self.ends[protein]];
        let kept = residues.len().min(length - prefix.len() - suffix.len());
        let residues = residues[..kept].iter().map(|&id| i32::from(id));
        prefix
            .iter()
            .copied()
            .chain(residues)
            .chain(suffix.iter().copied())
    }

    /// Refuses an empty data set, and a length without room for one residue.
    pub(super) fn check(&self, length: usize) -> Result<(), DatasetError> {
        let around = self.vocabulary.prefix.len() + self.vocabulary.suffix.len();
        if self.is_empty() {
            return Err(DatasetError::Empty);
        }
        if length <= around {
            return Err(DatasetError::Length { length, around });
        }
        Ok(())
    }
}

/// The entropy, in nats, of a distribution: the mean loss of a model that knows the frequencies of the ids and nothing
/// else. A training loss below it shows that the model looks at its input.
pub fn entropy(frequencies: &[f64]) -> f64 {
    let terms = frequencies
        .iter()
        .filter(|&&p| p > 0.0)
        .map(|&p| -p * p.ln());
    terms.sum()
}

/// The splitmix64 generator's output function after one step (Steele, Lea and Flood, OOPSLA 2014): a bijection of the
/// 64-bit integers that scatters its argument.
pub(super) fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The image of `index` under the permutation of `0..count` that `key` selects.
///
/// A balanced Feistel network permutes the smallest range of 4^k numbers that holds `count`. An image outside `0..count`
/// is permuted again until it falls inside (cycle walking: Black and Rogaway, CT-RSA 2002), which takes fewer than four
/// rounds on average.
pub(super) fn permute(key: u64, index: u64, count: u64) -> u64 {
    const ROUNDS: u64 = 6;
    let bits = u64::BITS - (count - 1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut image = index;
    loop {
        let (mut left, mut right) = (image >> half, image & mask);
        for round in 0..ROUNDS {
            let scattered = splitmix64(key ^ splitmix64(right ^ (round << 32)));
            (left, right) = (right, left ^ (scattered & mask));
        }
        image = (left << half) | right;
        if image < count {
            return image;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vocabularies::{PROT_T5, PROT_XLNET};
    use super::*;

    fn dataset(proteins: &[&str]) -> Dataset {
        let mut data = Dataset::new(&PROT_T5);
        for protein in proteins {
            data.push(protein.as_bytes()).unwrap();
        }
        data
    }

    /// `count` different proteins of one to four residues.
    fn numbered(count: usize) -> Dataset {
        let mut data = Dataset::new(&PROT_T5);
        for mut number in 0..count {
            let mut protein = Vec::new();
            while protein.is_empty() || number > 0 {
                protein.push(b"ACDEFGHIKLMNPQRSTVWY"[number % 20]);
                number /= 20;
            }
            data.push(&protein).unwrap();
        }
        data
    }

    #[test]
    fn rows_are_cut_and_padded_as_published() {
        let data = dataset(&["MKV"]);
        let rows = |length| data.batch(7, 0, 1, length).unwrap();
        assert_eq!(rows(6).tokens.as_slice().unwrap(), [19, 14, 6, 1, 0, 0]);
        assert_eq!(rows(6).token_count, 4);
        assert_eq!(rows(4).tokens.as_slice().unwrap(), [19, 14, 6, 1]);
        assert_eq!(rows(3).tokens.as_slice().unwrap(), [19, 14, 1]);
        assert_eq!(rows(2).tokens.as_slice().unwrap(), [19, 1]);
        assert_eq!(rows(2).token_count, 2);
    }

    #[test]
    fn xlnet_pads_in_front() {
        let mut data = Dataset::new(&PROT_XLNET);
        data.push(b"LA").unwrap();
        let batch = data.batch(0, 0, 1, 6).unwrap();
        assert_eq!(batch.tokens.as_slice().unwrap(), [5, 5, 17, 18, 4, 3]);
        assert_eq!(batch.token_count, 4);
    }

    #[test]
    fn batches_are_pinned() {
        // These numbers may never change, or every run that resumes from a checkpoint would see other batches.
        let order = |seed, step| -> Vec<i32> {
            let batch = numbered(10).batch(seed, step, 10, 2).unwrap();
            batch.tokens.column(0).to_vec()
        };
        assert_eq!(order(0, 0), [9, 15, 4, 12, 5, 20, 14, 22, 3, 10]);
        assert_eq!(order(0, 1), [12, 9, 14, 22, 3, 20, 4, 15, 10, 5]);
        assert_eq!(order(1, 0), [3, 22, 20, 4, 10, 9, 5, 15, 12, 14]);
        // The first outputs of the published generator for seed 0.
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn orders_differ_by_seed_and_epoch_and_mix_well() {
        let data = numbered(64);
        let order = |seed, epoch| data.batch(seed, epoch, 64, 5).unwrap().tokens;
        assert_ne!(order(0, 0), order(0, 1));
        assert_ne!(order(0, 0), order(1, 0));
        // Over many epochs each protein is first about equally often: 64 x 6400 draws, mean 100 and deviation 10.
        let mut first = vec![0; 64];
        for epoch in 0..6400u128 {
            first[data.protein(3, epoch * 64)] += 1;
        }
        assert!(first.iter().all(|n| (50..=150).contains(n)), "{first:?}");
    }

    #[test]
    fn any_step_of_a_large_data_set_is_at_hand() {
        let data = numbered(50_000);
        let batch = data.batch(1, u64::MAX, 3, 4).unwrap();
        assert_eq!(batch, data.batch(1, u64::MAX, 3, 4).unwrap());
    }

    #[test]
    fn frequencies_count_every_target_once() {
        let data = dataset(&["AAL", "AU"]);
        let f = data.frequencies(10, |_| true).unwrap();
        assert_eq!(f.len(), 128);
        assert_eq!(
            (f[3], f[4], f[23], f[1], f[0]),
            (3.0 / 7.0, 1.0 / 7.0, 1.0 / 7.0, 2.0 / 7.0, 0.0)
        );
        // Cut to two tokens, each protein is one A and `</s>`.
        let cut = data.frequencies(2, |_| true).unwrap();
        assert_eq!((cut[3], cut[1]), (0.5, 0.5));
        assert!((entropy(&cut) - 2f64.ln()).abs() < 1e-15);
        assert!((entropy(&[0.05; 20]) - 20f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn fingerprints_tell_data_sets_apart() {
        let data = dataset(&["MKV", "GA"]);
        assert_eq!(data.fingerprint(), dataset(&["MKV", "GA"]).fingerprint());
        assert_eq!(data.fingerprint().len(), "sha256:".len() + 64);
        for other in [&["MK", "VGA"][..], &["GA", "MKV"], &["MKV"], &["MKL", "GA"]] {
            assert_ne!(
                data.fingerprint(),
                dataset(other).fingerprint(),
                "{other:?}"
            );
        }
    }

    #[test]
    fn impossible_batches_are_refused() {
        let data = dataset(&["MKV"]);
        let error = |batch, length| data.batch(0, 0, batch, length).unwrap_err().to_string();
        assert_eq!(
            error(1, 1),
            "a length of 1 leaves no room for a protein: special tokens take 1; use a length of \
             at least 2"
        );
        assert!(error(1, 0).contains("a length of 0"));
        assert_eq!(error(0, 8), "a batch needs at least one protein, not 0");
        let empty = dataset(&[]);
        assert!(matches!(empty.batch(0, 0, 1, 8), Err(DatasetError::Empty)));
        assert!(matches!(
            empty.frequencies(8, |_| true),
            Err(DatasetError::Empty)
        ));
        let no_files: [&str; 0] = [];
        assert!(matches!(
            Dataset::from_fasta(&no_files, &PROT_T5),
            Err(DatasetError::Empty)
        ));
    }

    #[test]
    fn files_are_read_in_order_and_bad_letters_are_located() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = path("one.fasta", ">a\nMK\n>b\nGU\n");
        let two = path("two.fasta", ">c\nAAA\n");
        let bad = path("bad.fasta", ">d\nMK\n>e\nAJ\n");
        let data = Dataset::from_fasta(&[&one, &two], &PROT_T5).unwrap();
        assert_eq!((data.len(), data.residue_count()), (3, 7));
        let rows: Vec<Vec<i32>> = (0..3).map(|i| data.row(i, 9).collect()).collect();
        assert_eq!(rows, [vec![19, 14, 1], vec![5, 23, 1], vec![3, 3, 3, 1]]);
        let error = Dataset::from_fasta(&[&one, &bad], &PROT_T5)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("bad.fasta, line 3: in e, `J` at position 2"),
            "{error}"
        );
        let missing = Dataset::from_fasta(&["no/such.fasta"], &PROT_T5).unwrap_err();
        assert!(missing.to_string().contains("no/such.fasta"));
    }

    proptest! {
        #[test]
        fn a_permutation_hits_every_place(key: u64, count in 1u64..3000) {
            let mut images: Vec<u64> = (0..count).map(|i| permute(key, i, count)).collect();
            images.sort_unstable();
            prop_assert!(images.into_iter().eq(0..count));
        }

        #[test]
        fn every_protein_comes_once_per_epoch(
            seed: u64, proteins in 1usize..40, batch in 1usize..100, epochs in 1usize..4,
        ) {
            let data = numbered(proteins);
            let mut seen = Vec::new();
            for step in 0.. {
                if seen.len() >= epochs * proteins {
                    break;
                }
                let rows = data.batch(seed, step, batch, 6).unwrap().tokens;
                seen.extend(rows.outer_iter().map(|row| row.to_vec()));
            }
            let mut all: Vec<Vec<i32>> = seen[..proteins].to_vec();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), proteins);
            for epoch in seen.chunks_exact(proteins) {
                let mut epoch = epoch.to_vec();
                epoch.sort();
                prop_assert_eq!(&epoch, &all);
            }
        }

        #[test]
        fn batches_repeat_and_need_no_history(
            seed: u64, step in 0u64..1_000_000, batch in 1usize..20, length in 2usize..12,
        ) {
            let data = numbered(30);
            let later = data.batch(seed, step, batch, length).unwrap();
            data.batch(seed, step + 1, batch, length).unwrap();
            let again = numbered(30).batch(seed, step, batch, length).unwrap();
            prop_assert_eq!(&later, &again);
            let filled = later.tokens.iter().filter(|&&id| id != 0).count();
            prop_assert_eq!(later.token_count, filled);
            for row in later.tokens.outer_iter() {
                prop_assert_eq!(row.iter().filter(|&&id| id == 1).count(), 1);
            }
        }
    }
}
