//! The data room: from protein files to batches of token ids.
//!
//! The path has three steps, one file each. `fasta` reads records (plain or gzip FASTA) and cleans the letters;
//! `vocab` turns letters into the ids a published model was trained with; `batch` keeps the encoded proteins and
//! cuts batches out of them. A batch is a pure function of a seed and a step number, so training that stops at
//! step 1000 and goes on later sees the batches it would have seen, with nothing to save but the step.
//!
//! Noising (which tokens the model has to guess) is not here: it is part of the compiled step, see train/.

pub mod batch;
pub mod fasta;
pub mod vocab;

pub use batch::{Batch, Dataset, DatasetError, entropy};
pub use fasta::{FastaError, FastaFile, Record};
pub use vocab::{PROT_T5, VocabError, Vocabulary};
