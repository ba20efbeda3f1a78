//! How the rows of a batch hold proteins, and the batches of a run.
//!
//! Packed and running rows are laid out once per run, with the proteins in an order that the seed selects. After that the
//! step alone determines a batch.

use ndarray::Array2;

use super::batch::{Batch, Dataset, DatasetError, permute, splitmix64};

/// How the rows of a batch hold proteins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One protein per row, cut or padded to the row's length.
    Padded,
    /// Several whole proteins, as many as a row holds, then padding; a protein longer than a row is cut (ProteinLM).
    Packed,
    /// All proteins form one long text, and each row continues in it from step to step, as memories require.
    Running {
        /// How many tokens a row advances per step.
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
    /// The proteins in order, and where each row starts among them.
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
    /// The data set is empty, or rows are too short for a residue.
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
    /// The batch has no rows.
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

    /// Rows of several proteins. An epoch visits every row once, in its own order.
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

    /// Rows that start evenly spaced over the text and advance by `stride` per step, wrapping at its end.
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

/// The proteins in the order that `seed` selects.
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

/// All proteins, each with its special tokens, one after the other. Ids fit a byte.
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
        // Each protein occurs once per epoch; the one that is too long for a row is cut to 7 residues.
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
            // The last token of one step is the first of the next: rows read 4 tokens and advance by 3.
            assert_eq!(step(0)[[row, 3]], step(1)[[row, 0]]);
        }
        // After the whole text (15 tokens) a row is back at its start.
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

    #[test]
    fn running_rows_go_round_and_round() {
        let data = dataset(&PROT_TXL, &["LAGV", "ESIK", "RDTP"]);
        let batch = |both_ways, step, rows, length| {
            let running = Rows::Running {
                stride: 4,
                both_ways,
            };
            let batches = Batches::new(&data, running, 0, length).unwrap();
            batches.batch(step, rows).unwrap().tokens
        };
        // The whole text: each protein once, with its end.
        let text = batch(false, 0, 1, 15).row(0).to_vec();
        let mut proteins: Vec<_> = text.split(|id| *id == 3).map(<[i32]>::to_vec).collect();
        proteins.sort();
        let encoded = |protein: &str| PROT_TXL.encode_residues(protein.as_bytes()).unwrap();
        let mut expected = ["LAGV", "ESIK", "RDTP", ""].map(encoded);
        expected.sort();
        assert_eq!(proteins, expected);

        let at = |places: [usize; 6]| places.map(|place| text[place]).to_vec();
        // Two rows start at 0 and 7. In step 3 they are 12 further, and in step 4 the first is in its second round.
        let rows = |step| batch(false, step, 2, 6);
        assert_eq!(rows(3).row(0).to_vec(), at([12, 13, 14, 0, 1, 2]));
        assert_eq!(rows(3).row(1).to_vec(), at([4, 5, 6, 7, 8, 9]));
        assert_eq!(rows(4).row(0).to_vec(), at([1, 2, 3, 4, 5, 6]));
        // 15 steps of 4 are four rounds, and however many follow, the text is the same.
        assert_eq!(rows(15), rows(0));
        assert_eq!(rows(15 * 1_000_000_007 + 4), rows(4));
        // The other way, the second row is the first read from the text's end.
        let row = batch(true, 3, 2, 6).row(1).to_vec();
        assert_eq!(row, at([2, 1, 0, 14, 13, 12]));
        let row = batch(true, 4, 2, 6).row(1).to_vec();
        assert_eq!(row, at([13, 12, 11, 10, 9, 8]));
    }
}
