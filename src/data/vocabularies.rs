//! The vocabularies of the published models: one constant per family, with its source.

use std::borrow::Cow::{self, Borrowed as B};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::vocab::Vocabulary;

/// The published vocabularies.
pub static PUBLISHED: [&Vocabulary; 6] = [
    &PROT_T5,
    &PROT_BERT,
    &PROT_ALBERT,
    &PROT_XLNET,
    &PROT_TXL,
    &PROTEIN_LM,
];

/// A vocabulary that recipes name, cheap to clone; in a recipe it is its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedVocabulary(Arc<Vocabulary>);

impl From<Vocabulary> for NamedVocabulary {
    fn from(table: Vocabulary) -> Self {
        NamedVocabulary(Arc::new(table))
    }
}

impl Deref for NamedVocabulary {
    type Target = Vocabulary;

    fn deref(&self) -> &Vocabulary {
        &self.0
    }
}

impl Serialize for NamedVocabulary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.name)
    }
}

/// All four ProtT5 models: 128 ids, `</s>` after the protein and nothing before it, one id for all masked positions
/// (`<extra_id_0>`, the last id). U, Z, O and B are read as X, as the model cards say, so [`Vocabulary::encode`] never
/// gives the ids 24 to 27, which the SentencePiece model has for them. It has no J.
///
/// Source: Rostlab/prot_t5_xl_uniref50 (its SentencePiece model and card), and the answers of the authors in the
/// issues 42, 137, 147 and 158 of agemagician/ProtTrans.
pub static PROT_T5: Vocabulary = Vocabulary {
    name: B("prot-t5"),
    specials: B(&[B("<pad>"), B("</s>"), B("<unk>")]),
    residues: B(b"ALGVSREDTIPKFQNYMHWCXBOUZ"),
    extra_ids: 100,
    replaced: B(&[(b'U', 23), (b'Z', 23), (b'O', 23), (b'B', 23)]),
    prefix: B(&[]),
    suffix: B(&[1]),
    pad: 0,
    pads_left: false,
    unknown: 2,
    mask: 127,
};

const WORD_PIECE: Cow<'static, [Cow<'static, str>]> =
    B(&[B("[PAD]"), B("[UNK]"), B("[CLS]"), B("[SEP]"), B("[MASK]")]);

/// ProtBert, ProtBert-BFD and both networks of ProtElectra: 30 ids, `[CLS]` protein `[SEP]`; U, Z, O and B are read as X.
///
/// Source: vocab.txt and the cards of Rostlab/prot_bert and Rostlab/prot_electra_generator_bfd.
pub static PROT_BERT: Vocabulary = Vocabulary {
    name: B("prot-bert"),
    specials: WORD_PIECE,
    residues: B(b"LAGVESIKRDTPNQFYMHCWXUBZO"),
    extra_ids: 0,
    replaced: B(&[(b'U', 25), (b'Z', 25), (b'O', 25), (b'B', 25)]),
    prefix: B(&[2]),
    suffix: B(&[3]),
    pad: 0,
    pads_left: false,
    unknown: 1,
    mask: 4,
};

/// ProtAlbert: 34 ids, `[CLS]` protein `[SEP]`; U, Z, O and B are read as X.
///
/// The size, the special tokens and the ids of L, S and V are known; the order of the other residues is not. To use the
/// published weights, set `vocabulary_file` in the recipe to the model's own `spiece.model`.
///
/// Source: the checkpoint's size, ALBERT's recipe for SentencePiece models, and a model that quotes three ids.
pub static PROT_ALBERT: Vocabulary = Vocabulary {
    name: B("prot-albert"),
    specials: B(&[
        B("<pad>"),
        B("<unk>"),
        B("[CLS]"),
        B("[SEP]"),
        B("[MASK]"),
        B("("),
        B(")"),
        B("\""),
        B("-"),
        B("."),
        B("–"),
        B("£"),
        B("€"),
    ]),
    residues: B(b"LSAGEVIKRDTPNQFYMHCWX"),
    extra_ids: 0,
    replaced: B(&[(b'U', 33), (b'Z', 33), (b'O', 33), (b'B', 33)]),
    prefix: B(&[2]),
    suffix: B(&[3]),
    pad: 0,
    pads_left: false,
    unknown: 1,
    mask: 4,
};

/// ProtXLNet: 37 ids, padding first, then the protein, then `<sep><cls>`; X, U, Z, O and B are unknown.
///
/// The size and the special tokens up to id 8 are known; the order of the residues is not. To use the published weights,
/// set `vocabulary_file` in the recipe to the model's own `spiece.model`.
///
/// Source: the checkpoint's size, XLNet's recipe for SentencePiece models, and the notebooks of agemagician/ProtTrans.
pub static PROT_XLNET: Vocabulary = Vocabulary {
    name: B("prot-xlnet"),
    specials: B(&[
        B("<unk>"),
        B("<s>"),
        B("</s>"),
        B("<cls>"),
        B("<sep>"),
        B("<pad>"),
        B("<mask>"),
        B("<eod>"),
        B("<eop>"),
        B("."),
        B("("),
        B(")"),
        B("\""),
        B("-"),
        B("–"),
        B("£"),
        B("€"),
    ]),
    residues: B(b"LAGVESIKRDTPNQFYMHCW"),
    extra_ids: 0,
    replaced: B(&[(b'X', 0), (b'U', 0), (b'Z', 0), (b'O', 0), (b'B', 0)]),
    prefix: B(&[]),
    suffix: B(&[4, 3]),
    pad: 5,
    pads_left: true,
    unknown: 0,
    mask: 6,
};

/// ProtTXL and ProtTXL-BFD: 30 ids. The original table was never released; this one has ProtBert's ids, with `[SEP]`
/// between proteins.
pub static PROT_TXL: Vocabulary = Vocabulary {
    name: B("prot-txl"),
    specials: WORD_PIECE,
    residues: B(b"LAGVESIKRDTPNQFYMHCWXUBZO"),
    extra_ids: 0,
    replaced: B(&[(b'U', 25), (b'Z', 25), (b'O', 25), (b'B', 25)]),
    prefix: B(&[]),
    suffix: B(&[3]),
    pad: 0,
    pads_left: false,
    unknown: 1,
    mask: 4,
};

/// ProteinLM: 31 ids, 25 letters as they are (no J), `[CLS]` before each protein and nothing after it. Megatron pads the
/// embedding to 128 rows.
///
/// Source: pretrain/protein_tools/iupac_vocab.txt and pretrain/megatron/data/tape_dataset.py of THUDM/ProteinLM.
pub static PROTEIN_LM: Vocabulary = Vocabulary {
    name: B("protein-lm"),
    specials: B(&[
        B("[PAD]"),
        B("[MASK]"),
        B("[CLS]"),
        B("[SEP]"),
        B("[UNK]"),
        B("[unused1]"),
    ]),
    residues: B(b"ABCDEFGHIKLMNOPQRSTUVWXYZ"),
    extra_ids: 0,
    replaced: B(&[]),
    prefix: B(&[2]),
    suffix: B(&[]),
    pad: 0,
    pads_left: false,
    unknown: 4,
    mask: 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        for v in PUBLISHED {
            let mut letters = v.residues.to_vec();
            letters.sort_unstable();
            letters.dedup();
            assert_eq!(
                letters.len(),
                v.residues.len(),
                "a letter twice in {}",
                v.name
            );
            for &(letter, id) in v.replaced.iter() {
                let read_as = v.token(id).unwrap();
                assert!(read_as == "X" || id == v.unknown, "{letter} of {}", v.name);
            }
            // Letters that are read as another come last, so that the rest have consecutive ids.
            assert!(v.written_ids().all(|id| {
                let letter = v.token(id).unwrap().as_bytes()[0];
                v.id(letter) == Some(id)
            }));
            // Data sets store an id in one byte.
            assert!(v.size() <= 256);
        }
    }

    #[test]
    fn published_sizes_and_ids() {
        let sizes = PUBLISHED.map(Vocabulary::size);
        assert_eq!(sizes, [128, 30, 34, 37, 30, 31]);
        // vocab.txt of ProtBert, line by line.
        assert_eq!(PROT_BERT.encode(b"LAGVX").unwrap(), [2, 5, 6, 7, 8, 25, 3]);
        assert_eq!(PROT_BERT.written_ids(), 5..26);
        // The three ids of ProtAlbert that are known.
        assert_eq!(PROT_ALBERT.encode_residues(b"LSV").unwrap(), [13, 14, 18]);
        // XLNet does not know X, and ends with <sep><cls>.
        assert_eq!(PROT_XLNET.encode(b"LX").unwrap(), [17, 0, 4, 3]);
        // iupac_vocab.txt of ProteinLM.
        let ids = PROTEIN_LM.encode(b"ABCDZ").unwrap();
        assert_eq!(ids, [2, 6, 7, 8, 9, 30]);
        assert_eq!(PROTEIN_LM.written_ids(), 6..31);
        assert_eq!(PROT_TXL.encode(b"LA").unwrap(), [5, 6, 3]);
    }
}
