//! How proteins lie in the rows of a batch, and the batches of a run.
//!
//! Packed and running rows are laid out once a run, from one order of the proteins that the seed picks; after that every
//! batch is found by its step alone.

use ndarray::Array2;

use super::batch::{Batch, Dataset, DatasetError, permute, splitmix64};

/// How proteins lie in the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One protein a row, cut or padded to its length.
    Padded,
    /// Whole proteins one after the other, as many as a row holds, then padding; a protein longer than a row is cut
    /// (ProteinLM).
    Packed,
    /// All proteins are one long text, and each row goes on in it from step to step: what memories need.
    Running {
        /// How many tokens further a row is in the next step.
        stride: usize,
        /// Whether the second half of the rows runs through the text from its end to its beginning (XLNet's bi_data).
        both_ways: bool,
    },
}

/// The batches of a run.
#[derive(Debug)]
pub struct Batches<'a> {
    data: &'a Dataset,
    seed: u64,
    length: usize,
    plan: Packing,
}

#[derive(Debug)]
enum Packing {
    Padded,
    /// The proteins in order, and where each row of them starts.
    Packed {
        order: Vec<usize>,
        starts: Vec<usize>,
    },
    Running {
        text: Vec<u8>,
        stride: usize,
        both_ways: bool,
    },
}

impl<'a> Batches<'a> {
    /// Batches of `data` with rows of `length` tokens laid out as `rows`.
    ///
    /// # Errors
    /// An empty data set, or rows too short for a residue.
    pub fn new(
        data: &'a Dataset,
        rows: Rows,
        seed: u64,
        length: usize,
    ) -> Result<Self, DatasetError> {
        data.check(length)?;
        let plan = match rows {
            Rows::Padded => Packing::Padded,
            Rows::Packed => packed(data, seed, length),
            Rows::Running { stride, both_ways } => Packing::Running {
                text: text(data, seed),
                stride,
                both_ways,
            },
        };
        Ok(Batches {
            data,
            seed,
            length,
            plan,
        })
    }

    /// The batch of training step `step` (from 0). The same arguments give the same batch, on every machine.
    ///
    /// # Errors
    /// A batch of no rows.
    pub fn batch(&self, step: u64, batch: usize) -> Result<Batch, DatasetError> {
        if batch == 0 {
            return Err(DatasetError::Batch);
        }
        match &self.plan {
            Packing::Padded => self.data.batch(self.seed, step, batch, self.length),
            Packing::Packed { order, starts } => Ok(self.filled(step, batch, order, starts)),
            Packing::Running {
                text,
                stride,
                both_ways,
            } => Ok(self.running(step, batch, text, *stride, *both_ways)),
        }
    }

    /// Rows of several proteins. An epoch is every row once, in an order of its own.
    fn filled(&self, step: u64, batch: usize, order: &[usize], starts: &[usize]) -> Batch {
        let mut tokens = Array2::from_elem((batch, self.length), self.data.vocabulary().pad);
        let mut token_count = 0;
        let rows = starts.len() as u128;
        for (at, mut cells) in tokens.outer_iter_mut().enumerate() {
            let draw = u128::from(step) * batch as u128 + at as u128;
            let key = splitmix64(self.seed ^ splitmix64((draw / rows) as u64));
            let row = permute(key, (draw % rows) as u64, rows as u64) as usize;
            let end = starts.get(row + 1).copied().unwrap_or(order.len());
            let ids = order[starts[row]..end]
                .iter()
                .flat_map(|protein| self.data.row(*protein, self.length));
            for (cell, id) in cells.iter_mut().zip(ids) {
                *cell = id;
                token_count += 1;
            }
        }
        Batch {
            tokens,
            token_count,
        }
    }

    /// Rows that start evenly spread over the text and move on by `stride` a step, round and round.
    fn running(
        &self,
        step: u64,
        batch: usize,
        text: &[u8],
        stride: usize,
        both_ways: bool,
    ) -> Batch {
        let size = text.len() as u128;
        let forward = if both_ways { batch.div_ceil(2) } else { batch };
        let token = |(row, column): (usize, usize)| {
            let (lane, lanes) = match row < forward {
                true => (row, forward),
                false => (row - forward, batch - forward),
            };
            let start = lane as u128 * size / lanes as u128;
            let place = (start + u128::from(step) * stride as u128 + column as u128) % size;
            let place = match row < forward {
                true => place,
                false => size - 1 - place,
            };
            i32::from(text[place as usize])
        };
        let tokens = Array2::from_shape_fn((batch, self.length), token);
        let token_count = tokens.len();
        Batch {
            tokens,
            token_count,
        }
    }
}

/// The proteins in the order that `seed` picks.
fn order(data: &Dataset, seed: u64) -> impl Iterator<Item = usize> {
    (0..data.len() as u128).map(move |draw| data.protein(seed, draw))
}

/// Fills rows with the proteins in order, each row until the next protein does not fit.
fn packed(data: &Dataset, seed: u64, length: usize) -> Packing {
    let order: Vec<usize> = order(data, seed).collect();
    let mut starts = Vec::new();
    let mut filled = length;
    for (at, protein) in order.iter().enumerate() {
        let tokens = data.tokens_of(*protein).min(length);
        if filled + tokens > length {
            starts.push(at);
            filled = 0;
        }
        filled += tokens;
    }
    Packing::Packed { order, starts }
}

/// All proteins, each with the tokens around it, one after the other. Ids fit a byte.
fn text(data: &Dataset, seed: u64) -> Vec<u8> {
    order(data, seed)
        .flat_map(|protein| data.row(protein, usize::MAX))
        .map(|id| id as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::vocabularies::{PROT_TXL, PROTEIN_LM};
    use super::*;

    fn dataset(vocabulary: &super::super::Vocabulary, proteins: &[&str]) -> Dataset {
        let mut data = Dataset::new(vocabulary);
        for protein in proteins {
            data.push(protein.as_bytes()).unwrap();
        }
        data
    }

    #[test]
    fn packed_rows_hold_whole_proteins() {
        let data = dataset(&PROTEIN_LM, &["AAA", "CC", "DDDD", "E", "FFFFFFFFFFFF"]);
        let batches = Batches::new(&data, Rows::Packed, 3, 8).unwrap();
        let Packing::Packed { starts, .. } = &batches.plan else {
            panic!("packed")
        };
        let rows = starts.len();
        let batch = batches.batch(0, rows).unwrap();
        let mut proteins: Vec<Vec<i32>> = Vec::new();
        for row in batch.tokens.outer_iter() {
            assert_eq!(row[0], 2, "a row starts with a protein");
            let row: Vec<i32> = row.iter().copied().filter(|id| *id != 0).collect();
            proteins.extend(row.split(|id| *id == 2).skip(1).map(<[i32]>::to_vec));
        }
        proteins.sort();
        // Every protein once an epoch; the one that is too long for a row is cut to 7 residues.
        let expected = [vec![6; 3], vec![8; 2], vec![9; 4], vec![10], vec![11; 7]];
        assert_eq!(proteins, expected);
        let filled = batch.tokens.iter().filter(|id| **id != 0).count();
        assert_eq!(batch.token_count, filled);
        assert_eq!(batches.batch(5, 3).unwrap(), batches.batch(5, 3).unwrap());
    }

    #[test]
    fn running_rows_go_on() {
        let data = dataset(&PROT_TXL, &["LAGV", "ESIK", "RDTP"]);
        let rows = Rows::Running {
            stride: 3,
            both_ways: false,
        };
        let batches = Batches::new(&data, rows, 0, 4).unwrap();
        let step = |step| batches.batch(step, 2).unwrap().tokens;
        for row in 0..2 {
            // The last token of one step is the first of the next: 4 read, 3 moved on.
            assert_eq!(step(0)[[row, 3]], step(1)[[row, 0]]);
        }
        // After the whole text (15 tokens) a row is where it began.
        assert_eq!(step(0), step(5));
        let both = Rows::Running {
            stride: 3,
            both_ways: true,
        };
        let both = Batches::new(&data, both, 0, 15).unwrap();
        let tokens = both.batch(0, 2).unwrap().tokens;
        let backwards: Vec<i32> = tokens.row(0).iter().rev().copied().collect();
        assert_eq!(tokens.row(1).to_vec(), backwards);
    }
}
