//! Reads protein FASTA files, plain or gzip (recognised by the first two bytes, not by the name).
//!
//! `needletail` finds the records. The rules for the content of a record are:
//!
//! - the id is the first word of the header; the rest of the header is not kept; two records may share an id;
//! - lower-case letters become upper case;
//! - gaps (`-`, `.`), spaces, tabs and blank lines between residues are dropped, and so is one stop (`*`) at the end;
//! - every other byte that is not a letter is refused with its line and column: digits, a stop in the middle,
//!   anything outside ASCII. The vocabulary decides which of the 26 letters have an id;
//! - a header without an id, a record without residues and a file without records are refused;
//! - Windows line ends and a missing final newline are accepted, and sequences may have any length.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use needletail::parser::{FastaReader, FastxReader};
use thiserror::Error;

/// The first two bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// One protein of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// First word of the header, for example `sp|P01308|INS_HUMAN`.
    pub id: String,
    /// Line of the header in the (unpacked) file, from 1.
    pub line: u64,
    /// Residues, at least one, each a letter `A` to `Z`.
    pub sequence: Vec<u8>,
}

/// Errors of a FASTA file.
#[derive(Debug, Error)]
pub enum FastaError {
    /// The file does not open.
    #[error("cannot open {file}: {source}")]
    Open {
        /// The path as given.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file ends early or is damaged: a truncated gzip file, a failing disk.
    #[error(
        "cannot read {file} past the record of line {line}: {reason}; the file is cut off or damaged, \
         fetch it again"
    )]
    Broken {
        /// The path as given.
        file: String,
        /// The header line of the incomplete record, from 1; 0 if the file ends before any.
        line: u64,
        /// The reader's error.
        reason: String,
    },
    /// The file is empty.
    #[error(
        "{file} holds no protein; in a FASTA file each protein has a line `>id` and lines of residue letters"
    )]
    Empty {
        /// The path as given.
        file: String,
    },
    /// The first byte is not `>`.
    #[error(
        "{file}, line 1: a FASTA file starts with `>`, but this one starts with {found}; remove what is before the \
         first `>`, or convert the file to plain or gzip FASTA"
    )]
    Start {
        /// The path as given.
        file: String,
        /// The first byte.
        found: Byte,
    },
    /// A header line without an id.
    #[error(
        "{file}, line {line}: the header has no id; write `>id`, where id is any word that names the protein"
    )]
    NoId {
        /// The path as given.
        file: String,
        /// The line of the header.
        line: u64,
    },
    /// A header whose id is not UTF-8.
    #[error("{file}, line {line}: the id in the header is not UTF-8; convert the file to UTF-8")]
    IdEncoding {
        /// The path as given.
        file: String,
        /// The line of the header.
        line: u64,
    },
    /// A header without residues.
    #[error("{file}, line {line}: {id} has no residues; remove the record or add its sequence")]
    NoResidues {
        /// The path as given.
        file: String,
        /// The line of the header.
        line: u64,
        /// The protein.
        id: String,
    },
    /// A byte that is not a residue letter.
    #[error("{file}, line {line}, column {column}: {found} in the sequence of {id}; {}", found.way_out())]
    Junk {
        /// The path as given.
        file: String,
        /// The line of the byte.
        line: u64,
        /// The byte's column, from 1.
        column: usize,
        /// The protein.
        id: String,
        /// The byte.
        found: Byte,
    },
}

/// A byte of a file, printed as a character if it is ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Byte(pub u8);

impl Byte {
    /// How to fix such a byte in a sequence.
    fn way_out(self) -> &'static str {
        match self.0 {
            b'*' => {
                "a stop may only end a protein: cut the sequence there, or write X for an unknown residue"
            }
            b'>' => "the `>` of a header belongs in the first column",
            b'0'..=b'9' => "remove position numbers from the sequence",
            b';' => "remove comment lines",
            _ => {
                "a sequence consists of the letters A to Z: remove it, or write X for an unknown residue"
            }
        }
    }
}

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b if b.is_ascii_graphic() => write!(f, "`{}`", b as char),
            b if b.is_ascii() => write!(f, "`{}`", b.escape_ascii()),
            b => write!(f, "byte 0x{b:02x}"),
        }
    }
}

/// The records of a FASTA file, in order. The iterator ends after the first error.
pub struct FastaFile {
    file: String,
    reader: FastaReader<Box<dyn Read + Send>>,
    finished: bool,
}

impl FastaFile {
    /// Opens `path`, plain or gzip, and looks at its first byte.
    pub fn open(path: &Path) -> Result<Self, FastaError> {
        let file = path.display().to_string();
        let unreadable = |source| FastaError::Open {
            file: file.clone(),
            source,
        };
        let mut packed = BufReader::new(File::open(path).map_err(unreadable)?);
        let gzip = packed
            .fill_buf()
            .map_err(unreadable)?
            .starts_with(&GZIP_MAGIC);
        let unpacked: Box<dyn Read + Send> = if gzip {
            Box::new(MultiGzDecoder::new(packed))
        } else {
            Box::new(packed)
        };
        let mut bytes = BufReader::new(unpacked);
        match bytes.fill_buf() {
            Ok([b'>', ..]) => {}
            Ok([]) => return Err(FastaError::Empty { file }),
            Ok(&[first, ..]) => {
                let found = Byte(first);
                return Err(FastaError::Start { file, found });
            }
            Err(error) => {
                let reason = error.to_string();
                return Err(FastaError::Broken {
                    file,
                    line: 0,
                    reason,
                });
            }
        }
        // needletail drops a final header with nothing after it unless two more line ends follow.
        let bytes: Box<dyn Read + Send> = Box::new(bytes.chain(&b"\n\n"[..]));
        Ok(FastaFile {
            file,
            reader: FastaReader::new(bytes),
            finished: false,
        })
    }

    /// The next record, or `None` after the last one.
    fn read(&mut self) -> Result<Option<Record>, FastaError> {
        let file = self.file.clone();
        let record = match self.reader.next() {
            None => return Ok(None),
            Some(Ok(record)) => record,
            Some(Err(error)) => {
                return Err(FastaError::Broken {
                    file,
                    line: self.reader.position().line(),
                    reason: error.msg,
                });
            }
        };
        let line = record.start_line_number();
        let mut words = record.id().split(u8::is_ascii_whitespace);
        let Some(word) = words.find(|word| !word.is_empty()) else {
            return Err(FastaError::NoId { file, line });
        };
        let Ok(id) = String::from_utf8(word.to_vec()) else {
            return Err(FastaError::IdEncoding { file, line });
        };
        match clean(record.raw_seq()) {
            Ok(sequence) if sequence.is_empty() => Err(FastaError::NoResidues { file, line, id }),
            Ok(sequence) => Ok(Some(Record { id, line, sequence })),
            Err(junk) => Err(FastaError::Junk {
                file,
                line: line + 1 + junk.line,
                column: junk.column,
                id,
                found: Byte(junk.byte),
            }),
        }
    }
}

impl Iterator for FastaFile {
    type Item = Result<Record, FastaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let record = self.read().transpose();
        self.finished = !matches!(record, Some(Ok(_)));
        record
    }
}

/// A byte that does not belong in a sequence: its line within the sequence (from 0) and its column (from 1).
struct Junk {
    line: u64,
    column: usize,
    byte: u8,
}

/// The residues of the lines `raw`, by the rules at the top of this file.
fn clean(raw: &[u8]) -> Result<Vec<u8>, Junk> {
    let mut residues = Vec::with_capacity(raw.len());
    let mut stop: Option<Junk> = None;
    for (line, bytes) in (0u64..).zip(raw.split(|&b| b == b'\n')) {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        for (column, &byte) in (1usize..).zip(bytes) {
            let here = Junk { line, column, byte };
            match byte {
                b'-' | b'.' | b' ' | b'\t' => {}
                // If anything follows a stop, the stop is the mistake.
                _ if stop.is_some() => return stop.map_or(Ok(residues), Err),
                b'*' => stop = Some(here),
                b'A'..=b'Z' | b'a'..=b'z' => residues.push(byte.to_ascii_uppercase()),
                _ => return Err(here),
            }
        }
    }
    Ok(residues)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// Reads `bytes` as a file called `in.fasta`.
    fn read(bytes: &[u8]) -> Result<Vec<Record>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.fasta");
        std::fs::write(&path, bytes).unwrap();
        let strip = |error: FastaError| {
            let folder = format!("{}/", folder.path().display());
            error.to_string().replace(&folder, "")
        };
        let records = FastaFile::open(&path).map_err(strip)?;
        records.map(|record| record.map_err(strip)).collect()
    }

    fn record(id: &str, line: u64, sequence: &str) -> Record {
        Record {
            id: id.to_string(),
            line,
            sequence: sequence.as_bytes().to_vec(),
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Asserts that `bytes` are refused, and that the message contains all of `parts`.
    fn refused(bytes: &[u8], parts: &[&str]) {
        let message = read(bytes).expect_err("the file should be refused");
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
    }

    #[test]
    fn records_have_ids_lines_and_joined_sequences() {
        let text = b">sp|P1|A_X first protein\nMKV\nLLA\n>b\nGG\n";
        let expected = vec![record("sp|P1|A_X", 1, "MKVLLA"), record("b", 4, "GG")];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(&gzip(text)).unwrap(), expected);
        let two_members = [gzip(b">a\nMK\n"), gzip(b">b\nGG\n")].concat();
        assert_eq!(read(&two_members).unwrap()[1], record("b", 3, "GG"));
    }

    #[test]
    fn harmless_variants_are_cleaned() {
        let plain = vec![record("a", 1, "MKVLA")];
        for text in [
            ">a\nmkVla",
            ">a x\r\nMKV\r\nLA\r\n",
            ">a\nMK-V..LA--\n",
            ">a\nMKV LA\t\n",
            ">a\nMKVLA*\n",
            ">a\nMKVLA\n*\n\n",
            "> a\n\nMKV\n\nLA\n\n\n",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), plain, "{text:?}");
        }
        let windows = read(b">a\r\nMK\r\nV\r\n>b\r\nGG").unwrap();
        assert_eq!(windows, vec![record("a", 1, "MKV"), record("b", 4, "GG")]);
    }

    #[test]
    fn very_long_sequences_are_whole() {
        let titin: String = "MTTQAPTFTQ".repeat(3_500);
        let lines: Vec<&str> = (0..titin.len())
            .step_by(50)
            .map(|i| &titin[i..i + 50])
            .collect();
        let text = format!(">titin\n{}\n>next\nMK\n", lines.join("\n"));
        let expected = vec![record("titin", 1, &titin), record("next", 702, "MK")];
        assert_eq!(read(text.as_bytes()).unwrap(), expected);
        assert_eq!(read(&gzip(text.as_bytes())).unwrap(), expected);
        // One line, longer than any buffer.
        let line = "MTTQAPTFTQ".repeat(100_000);
        let records = read(format!(">one\n{line}").as_bytes()).unwrap();
        assert_eq!(records, vec![record("one", 1, &line)]);
    }

    #[test]
    fn files_without_records_are_refused() {
        refused(b"", &["in.fasta holds no protein", "`>id`"]);
        refused(&gzip(b""), &["in.fasta holds no protein"]);
        refused(b"\n\n", &["line 1", "starts with `>`", "`\\n`"]);
        refused(b"MKV\n", &["in.fasta, line 1", "`M`"]);
        refused(b"@read\nMK\n+\n!!\n", &["line 1", "`@`"]);
        refused(b"\xef\xbb\xbf>a\nMK\n", &["line 1", "byte 0xef"]);
        refused(&[0x42, 0x5a, 0x68], &["`B`", "gzip FASTA"]);
    }

    #[test]
    fn junk_is_refused_with_its_line_and_column() {
        refused(
            b">a\nMK\n>b\nMKV\nL?A\n",
            &["line 5, column 2", "`?`", "of b", "write X"],
        );
        refused(
            b">a\n1 MKV 60\n",
            &["line 2, column 1", "`1`", "position numbers"],
        );
        refused(
            b">a\nMK*VL*\n",
            &["line 2, column 3", "`*`", "cut the sequence"],
        );
        refused(b">a\nMK**\n", &["line 2, column 3", "`*`"]);
        refused(
            b">a\nMK >b\nMK\n",
            &["line 2, column 4", "`>`", "first column"],
        );
        refused(b">a\n;note\nMK\n", &["line 2, column 1", "`;`", "comment"]);
        refused(
            "\u{3e}a\nMK\u{e9}\n".as_bytes(),
            &["line 2, column 3", "byte 0xc3"],
        );
        refused(b">a\r\nMK\r\nL\rA\r\n", &["line 3, column 2", "`\\r`"]);
        refused(b">a\nMK\0\n", &["line 2, column 3", "`\\x00`"]);
    }

    #[test]
    fn headers_without_an_id_or_residues_are_refused() {
        refused(b">a\nMK\n>\nMK\n", &["line 3", "no id"]);
        refused(b">  \nMK\n", &["line 1", "no id"]);
        refused(b">a\nMK\n>\xff\xfe\nMK\n", &["line 3", "not UTF-8"]);
        for text in [
            ">a\n>b\nMK\n",
            ">a\n\n--\n>b\nMK\n",
            ">a\n*\n>b\nMK",
            ">a",
            ">a\n",
            ">a\r\n",
        ] {
            refused(text.as_bytes(), &["line 1", "a has no residues"]);
        }
        refused(b">a\nMK\n>b", &["line 3", "b has no residues"]);
    }

    #[test]
    fn cut_off_and_damaged_gzip_files_are_refused() {
        let text: String = (0..2_000u32)
            .map(|i| {
                format!(
                    ">p{i}\n{}\n",
                    "ACDEFGHIKLMNPQRSTVWY".repeat(1 + i as usize % 7)
                )
            })
            .collect();
        let whole = gzip(text.as_bytes());
        assert_eq!(read(&whole).unwrap().len(), 2_000);
        for cut in [3, 9, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            refused(&whole[..cut], &["in.fasta", "cut off or damaged"]);
        }
        let mut wrong_checksum = whole.clone();
        let last = wrong_checksum.len() - 6;
        wrong_checksum[last] ^= 1;
        refused(&wrong_checksum, &["cut off or damaged"]);
    }

    #[test]
    fn a_missing_file_and_a_folder_are_refused() {
        let missing = FastaFile::open(Path::new("no/such.fasta")).err().unwrap();
        assert!(
            missing
                .to_string()
                .starts_with("cannot open no/such.fasta: ")
        );
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            FastaFile::open(folder.path()),
            Err(FastaError::Open { .. })
        ));
    }

    #[test]
    fn reading_ends_after_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.fasta");
        std::fs::write(&path, ">a\nM1\n>b\nMK\n").unwrap();
        let mut file = FastaFile::open(&path).unwrap();
        assert!(file.next().unwrap().is_err());
        assert!(file.next().is_none());
    }

    proptest! {
        #[test]
        fn wrapping_and_packing_do_not_change_a_file(
            proteins in prop::collection::vec("[A-Z]{1,200}", 1..20),
            width in 1usize..80,
            windows in any::<bool>(),
        ) {
            let end = if windows { "\r\n" } else { "\n" };
            let mut text = String::new();
            let mut expected = Vec::new();
            let mut line = 1;
            for (i, protein) in proteins.iter().enumerate() {
                expected.push(record(&format!("p{i}"), line, protein));
                text += &format!(">p{i} some words{end}");
                for chunk in protein.as_bytes().chunks(width) {
                    text += std::str::from_utf8(chunk).unwrap();
                    text += end;
                    line += 1;
                }
                line += 1;
            }
            prop_assert_eq!(&read(text.as_bytes()).unwrap(), &expected);
            prop_assert_eq!(&read(&gzip(text.as_bytes())).unwrap(), &expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[b">".as_slice(), &bytes].concat());
        }
    }
}
