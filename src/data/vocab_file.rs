//! A vocabulary from a model's own file: `vocab.txt` (one token per line) or a SentencePiece model (`spiece.model`). It
//! settles the ids of published models for which they are not certain.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use prost::Message;
use thiserror::Error;

use super::vocab::Vocabulary;

/// Errors of a vocabulary file.
#[derive(Debug, Error)]
pub enum VocabFileError {
    /// It cannot be read.
    #[error("cannot read the vocabulary {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a protein vocabulary.
    #[error("{} is not a protein vocabulary: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// The part of SentencePiece's `ModelProto` that holds its pieces (sentencepiece_model.proto).
#[derive(Clone, PartialEq, Message)]
struct SentencePieceModel {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, tag = "1")]
    text: String,
}

/// The vocabulary in `path`. It frames proteins as `like` does, whose special tokens are looked up in the file by name.
///
/// # Errors
/// The file cannot be read or is of neither kind, its residues do not have consecutive ids, or a special token is missing.
pub fn read_vocabulary(path: &Path, like: &Vocabulary) -> Result<Vocabulary, VocabFileError> {
    let bytes = std::fs::read(path).map_err(|source| VocabFileError::Unreadable {
        path: path.into(),
        source,
    })?;
    let tokens = match path.extension().is_some_and(|ending| ending == "txt") {
        true => String::from_utf8(bytes)
            .map(|text| text.lines().map(str::to_string).collect())
            .map_err(|error| error.to_string()),
        false => SentencePieceModel::decode(&bytes[..])
            .map(|model| model.pieces.into_iter().map(|piece| piece.text).collect())
            .map_err(|error| format!("it is not a SentencePiece model ({error})")),
    };
    tokens
        .and_then(|tokens: Vec<String>| vocabulary(&tokens, like))
        .map_err(|message| VocabFileError::Invalid {
            path: path.into(),
            message,
        })
}

fn vocabulary(tokens: &[String], like: &Vocabulary) -> Result<Vocabulary, String> {
    // SentencePiece marks the start of a word.
    let bare = |token: &String| token.trim_start_matches('\u{2581}').to_string();
    let letter = |token: &String| match bare(token).as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(*letter),
        _ => None,
    };
    let first = tokens.iter().position(|token| letter(token).is_some());
    let first = first.ok_or("it has no single-letter token")?;
    let residues: Vec<u8> = tokens[first..].iter().map_while(letter).collect();
    let later = &tokens[first + residues.len()..];
    if let Some(stray) = later.iter().find(|token| letter(token).is_some()) {
        return Err(format!(
            "the residue `{}` is not next to the other residues, whose ids must be consecutive",
            bare(stray)
        ));
    }
    let specials: Vec<Cow<'static, str>> = tokens[..first]
        .iter()
        .map(|token| Cow::Owned(token.clone()))
        .collect();
    let id = |known: i32| -> Result<i32, String> {
        let name = like.token(known).unwrap_or_default();
        // T5's sentinels are not in the file; they follow its pieces.
        let found = tokens.iter().position(|token| *token == name);
        match (found, known as usize >= like.size() - like.extra_ids) {
            (Some(at), _) => Ok(at as i32),
            (None, true) => Ok(known - like.size() as i32 + (tokens.len() + like.extra_ids) as i32),
            (None, false) => Err(format!("it has no token `{name}`")),
        }
    };
    let ids = |known: &[i32]| {
        known
            .iter()
            .map(|known| id(*known))
            .collect::<Result<Vec<_>, _>>()
    };
    let place = |letter: u8| residues.iter().position(|known| *known == letter);
    let unknown = id(like.unknown)?;
    let replaced = like.replaced.iter().map(|&(from, to)| {
        let to = match like.token(to).as_deref() {
            Some("X") => place(b'X').map_or(unknown, |at| (first + at) as i32),
            _ => unknown,
        };
        (from, to)
    });
    Ok(Vocabulary {
        name: format!("{} (from a file)", like.name).into(),
        replaced: replaced.collect::<Vec<_>>().into(),
        specials: specials.into(),
        residues: residues.clone().into(),
        prefix: ids(&like.prefix)?.into(),
        suffix: ids(&like.suffix)?.into(),
        pad: id(like.pad)?,
        unknown,
        mask: id(like.mask)?,
        extra_ids: like.extra_ids,
        pads_left: like.pads_left,
    })
}

#[cfg(test)]
mod tests {
    use super::super::vocabularies::{PROT_ALBERT, PROT_BERT, PROT_T5};
    use super::*;

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn a_vocab_txt_is_a_token_a_line() {
        let lines: Vec<_> = (0..30).map(|id| PROT_BERT.token(id).unwrap()).collect();
        let (_folder, path) = written("vocab.txt", lines.join("\n").as_bytes());
        let read = read_vocabulary(&path, &PROT_BERT).unwrap();
        assert_eq!(read.residues, PROT_BERT.residues);
        assert_eq!(
            read.encode(b"MKU").unwrap(),
            PROT_BERT.encode(b"MKU").unwrap()
        );
        assert_eq!(read.mask, 4);
    }

    #[test]
    fn a_sentence_piece_model_gives_the_true_order() {
        let mut texts: Vec<String> = PROT_ALBERT
            .specials
            .iter()
            .map(ToString::to_string)
            .collect();
        texts.extend(
            "XWCHMYFQNPTDRKIVEGASL"
                .chars()
                .map(|c| format!("\u{2581}{c}")),
        );
        let pieces = texts.into_iter().map(|text| Piece { text }).collect();
        let (_folder, path) = written(
            "spiece.model",
            &SentencePieceModel { pieces }.encode_to_vec(),
        );
        let read = read_vocabulary(&path, &PROT_ALBERT).unwrap();
        assert_eq!(read.encode(b"XLU").unwrap(), [2, 13, 33, 13, 3]);
    }

    #[test]
    fn t5_s_sentinels_follow_its_pieces() {
        let mut texts: Vec<String> = PROT_T5.specials.iter().map(ToString::to_string).collect();
        texts.extend(
            "ALGVSREDTIPKFQNYMHWCXBOUZ"
                .chars()
                .map(|c| format!("\u{2581}{c}")),
        );
        let pieces = texts.into_iter().map(|text| Piece { text }).collect();
        let (_folder, path) = written(
            "spiece.model",
            &SentencePieceModel { pieces }.encode_to_vec(),
        );
        let read = read_vocabulary(&path, &PROT_T5).unwrap();
        assert_eq!((read.mask, read.size()), (127, 128));
        assert_eq!(
            read.encode(b"MKVU").unwrap(),
            PROT_T5.encode(b"MKVU").unwrap()
        );
    }

    #[test]
    fn other_files_are_refused() {
        let refused = |name: &str, bytes: &[u8]| {
            let (_folder, path) = written(name, bytes);
            read_vocabulary(&path, &PROT_BERT).unwrap_err().to_string()
        };
        assert!(refused("vocab.txt", b"[PAD]\nhello\n").contains("no single-letter token"));
        assert!(
            refused("vocab.txt", b"[PAD]\nA\n[UNK]\nC\n")
                .contains("`C` is not next to the other residues")
        );
        assert!(refused("vocab.txt", b"[PAD]\n[UNK]\nA\n").contains("no token `[CLS]`"));
        assert!(refused("spiece.model", b"\xff\xff").contains("not a SentencePiece model"));
        let missing = read_vocabulary(Path::new("no/vocab.txt"), &PROT_BERT).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("cannot read the vocabulary no/vocab.txt")
        );
    }
}
