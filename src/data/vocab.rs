//! A vocabulary: the id of each residue letter, and the special tokens before and after a protein.
//!
//! Every table has the same layout: special tokens from id 0, then one id per residue letter, then (T5 only) the
//! `<extra_id_k>` tokens in descending order of k. The published tables are constants in [`super::vocabularies`].

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

/// The tokens of one model family, and how they encode a protein.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// The family, for messages.
    pub name: Cow<'static, str>,
    /// Names of the special tokens, which have the ids from 0.
    pub specials: Cow<'static, [Cow<'static, str>]>,
    /// Letters with an id of their own, in the order of their ids, which follow the special tokens.
    pub residues: Cow<'static, [u8]>,
    /// Number of `<extra_id_k>` tokens after the residues; the last one is `<extra_id_0>`.
    pub extra_ids: usize,
    /// Letters that are read as another token (rare and ambiguous residues), with that token's id.
    pub replaced: Cow<'static, [(u8, i32)]>,
    /// Tokens before a protein.
    pub prefix: Cow<'static, [i32]>,
    /// Tokens after a protein.
    pub suffix: Cow<'static, [i32]>,
    /// The id that fills a row up to its length.
    pub pad: i32,
    /// Whether padding precedes a protein (XLNet) or follows it.
    pub pads_left: bool,
    /// The id of unknown tokens.
    pub unknown: i32,
    /// The id that replaces a corrupted residue.
    pub mask: i32,
}

/// A letter or an id outside the vocabulary.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VocabError {
    /// A letter without a token.
    #[error(
        "`{}` at position {position} is not a residue of the {vocabulary} vocabulary, which reads {letters}; write X for \
         an unknown residue",
        letter.escape_ascii()
    )]
    Letter {
        /// The letter.
        letter: u8,
        /// Its position in the protein, from 1.
        position: usize,
        /// The name of the vocabulary.
        vocabulary: String,
        /// Every letter that the vocabulary reads, in alphabetical order.
        letters: String,
    },
    /// An id without a token.
    #[error("id {id} at position {position} is outside the {size} ids of the {vocabulary} vocabulary, 0 to {}", size - 1)]
    Id {
        /// The id.
        id: i32,
        /// Its position among the tokens, from 1.
        position: usize,
        /// The name of the vocabulary.
        vocabulary: String,
        /// The number of ids.
        size: usize,
    },
}

impl Vocabulary {
    /// The number of ids.
    pub fn size(&self) -> usize {
        self.specials.len() + self.residues.len() + self.extra_ids
    }

    /// The ids of the residue letters: 3 to 27 for ProtT5.
    pub fn residue_ids(&self) -> Range<i32> {
        let first = self.specials.len() as i32;
        first..first + self.residues.len() as i32
    }

    /// The ids that encoded proteins contain, from which random replacements are drawn: those of the residue letters, without
    /// the letters that are read as another, which come last.
    pub fn written_ids(&self) -> Range<i32> {
        let written = |letter: &&u8| !self.replaced.iter().any(|(from, _)| from == *letter);
        let first = self.specials.len() as i32;
        first..first + self.residues.iter().filter(written).count() as i32
    }

    /// The id of an upper-case residue letter.
    pub fn id(&self, letter: u8) -> Option<i32> {
        if let Some(&(_, id)) = self.replaced.iter().find(|&&(from, _)| from == letter) {
            return Some(id);
        }
        let place = self.residues.iter().position(|&r| r == letter)?;
        Some(self.residue_ids().start + place as i32)
    }

    /// The name of a token: a letter, or a special such as `</s>`.
    pub fn token(&self, id: i32) -> Option<Cow<'static, str>> {
        let place = usize::try_from(id).ok()?;
        if let Some(name) = self.specials.get(place) {
            return Some(name.clone());
        }
        let place = place - self.specials.len();
        if let Some(&letter) = self.residues.get(place) {
            return Some(Cow::Owned((letter as char).to_string()));
        }
        let place = place - self.residues.len();
        let extra = self.extra_ids.checked_sub(1 + place)?;
        Some(Cow::Owned(format!("<extra_id_{extra}>")))
    }

    /// The ids of the residues `sequence` (upper-case letters), without special tokens.
    pub fn encode_residues(&self, sequence: &[u8]) -> Result<Vec<i32>, VocabError> {
        let encode = |(place, &letter): (usize, &u8)| {
            self.id(letter).ok_or_else(|| VocabError::Letter {
                letter,
                position: place + 1,
                vocabulary: self.name.to_string(),
                letters: self.letters(),
            })
        };
        sequence.iter().enumerate().map(encode).collect()
    }

    /// The ids of a whole protein with the family's special tokens: for ProtT5 `</s>` at the end.
    pub fn encode(&self, sequence: &[u8]) -> Result<Vec<i32>, VocabError> {
        let residues = self.encode_residues(sequence)?;
        Ok([&self.prefix[..], &residues, &self.suffix].concat())
    }

    /// The text of `ids`: letters as they are and other tokens by name, without padding and without the tokens that
    /// [`encode`](Self::encode) adds.
    pub fn decode(&self, ids: &[i32]) -> Result<String, VocabError> {
        let mut text = String::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            let token = self.token(*id).ok_or_else(|| VocabError::Id {
                id: *id,
                position: place + 1,
                vocabulary: self.name.to_string(),
                size: self.size(),
            })?;
            if *id != self.pad && !self.prefix.contains(id) && !self.suffix.contains(id) {
                text.push_str(&token);
            }
        }
        Ok(text)
    }

    /// Every letter that has an id or a replacement, in alphabetical order.
    fn letters(&self) -> String {
        let known = (b'A'..=b'Z').filter(|&letter| self.id(letter).is_some());
        known.map(char::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::vocabularies::{PROT_BERT, PROT_T5};

    #[test]
    fn prot_t5_has_the_published_ids() {
        let v = &PROT_T5;
        assert_eq!(v.size(), 128);
        assert_eq!(v.residue_ids(), 3..28);
        let published = [
            (0, "<pad>"),
            (1, "</s>"),
            (2, "<unk>"),
            (3, "A"),
            (4, "L"),
            (5, "G"),
            (6, "V"),
            (7, "S"),
            (8, "R"),
            (9, "E"),
            (10, "D"),
            (11, "T"),
            (12, "I"),
            (13, "P"),
            (14, "K"),
            (15, "F"),
            (16, "Q"),
            (17, "N"),
            (18, "Y"),
            (19, "M"),
            (20, "H"),
            (21, "W"),
            (22, "C"),
            (23, "X"),
            (24, "B"),
            (25, "O"),
            (26, "U"),
            (27, "Z"),
            (28, "<extra_id_99>"),
            (127, "<extra_id_0>"),
        ];
        for (id, token) in published {
            assert_eq!(v.token(id).as_deref(), Some(token));
        }
        assert_eq!(v.token(128), None);
        assert_eq!(v.token(-1), None);
        for k in 0..100 {
            assert_eq!(v.token(127 - k), Some(format!("<extra_id_{k}>").into()));
        }
        assert_eq!(v.token(v.mask).as_deref(), Some("<extra_id_0>"));
        assert_eq!(v.token(v.pad).as_deref(), Some("<pad>"));
        assert_eq!(v.token(v.unknown).as_deref(), Some("<unk>"));
    }

    #[test]
    fn proteins_end_with_eos_and_rare_residues_become_x() {
        assert_eq!(PROT_T5.encode(b"MKV").unwrap(), [19, 14, 6, 1]);
        assert_eq!(PROT_T5.encode(b"UZOBX").unwrap(), [23, 23, 23, 23, 23, 1]);
        assert_eq!(PROT_T5.encode(b"").unwrap(), [1]);
        assert_eq!(PROT_BERT.encode(b"LX").unwrap(), [2, 5, 25, 3]);
    }

    #[test]
    fn decoding_names_what_is_no_residue() {
        assert_eq!(
            PROT_T5.decode(&[19, 127, 2, 6, 1, 0, 0]).unwrap(),
            "M<extra_id_0><unk>V"
        );
        assert_eq!(PROT_T5.decode(&[24, 25, 26, 27]).unwrap(), "BOUZ");
        let error = PROT_T5.decode(&[3, 128]).unwrap_err().to_string();
        assert_eq!(
            error,
            "id 128 at position 2 is outside the 128 ids of the prot-t5 vocabulary, 0 to 127"
        );
        assert!(PROT_T5.decode(&[-1]).is_err());
    }

    #[test]
    fn errors_name_the_letter_and_its_position() {
        let error = PROT_T5.encode(b"MKJ").unwrap_err().to_string();
        assert_eq!(
            error,
            "`J` at position 3 is not a residue of the prot-t5 vocabulary, which reads ABCDEFGHIKLMNOPQRSTUVWXYZ; write X \
             for an unknown residue"
        );
        for junk in [b"m", b"*", b"-", b"1", b"\xff"] {
            assert!(PROT_T5.encode(junk).is_err());
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(sequence in "[ACDEFGHIKLMNPQRSTVWXY]{0,300}", pads in 0usize..9) {
            for v in [&PROT_T5, &PROT_BERT] {
                let mut ids = v.encode(sequence.as_bytes()).unwrap();
                prop_assert_eq!(ids.len(), v.prefix.len() + sequence.len() + v.suffix.len());
                ids.resize(ids.len() + pads, v.pad);
                prop_assert_eq!(&v.decode(&ids).unwrap(), &sequence);
            }
        }
    }
}
