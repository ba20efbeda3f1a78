//! The data room: from protein files to batches of token ids.
//!
//! The path has three steps. `fasta` reads records (plain or gzip FASTA) and cleans the letters; `vocab` turns letters
//! into the ids a published model was trained with (`vocabularies`, or the model's own file: `vocab_file`); `batch` keeps
//! the encoded proteins, and `rows` lays them out: one a row, several packed into a row, or rows that go on from step to
//! step. A batch is a pure function of a seed and a step number, so training that stops at step 1000 and goes on later
//! sees the batches it would have seen, with nothing to save but the step.
//!
//! Noising (which tokens the model has to guess) is part of the compiled step, see train/; but for XLNet's spans, which
//! are drawn one after the other and so come from here (`spans`).

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
