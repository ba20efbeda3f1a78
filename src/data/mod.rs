//! Data: from protein files to batches of token ids.
//!
//! There are three steps. `fasta` reads records (plain or gzip FASTA) and cleans the letters. `vocab` turns letters into
//! the ids that a published model was trained with (from `vocabularies`, or from the model's own file: `vocab_file`).
//! `batch` keeps the encoded proteins, and `rows` lays them out: one per row, several packed into a row, or rows that
//! continue from step to step. A batch is a pure function of a seed and a step number, so a resumed run sees the batches
//! that it would have seen, and saves only the step.
//!
//! Corruption (which tokens the model has to predict) is part of the compiled step, see train/. XLNet's spans are the
//! exception: they are drawn one after the other, so `spans` draws them here.

pub mod batch;
pub mod fasta;
pub mod rows;
pub mod spans;
pub mod vocab;
pub mod vocab_file;
pub mod vocabularies;

pub use batch::{Batch, Dataset, DatasetError, entropy};
pub use fasta::{FastaError, FastaFile, Record};
pub use rows::{Batches, Rows};
pub use spans::Spans;
pub use vocab::{VocabError, Vocabulary};
pub use vocab_file::{VocabFileError, read_vocabulary};
pub use vocabularies::{NamedVocabulary, PROT_ALBERT, PROT_T5, PUBLISHED};
