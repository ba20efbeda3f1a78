//! The example proteins match their description in examples/data/README.md, and they can be encoded and batched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ribosome::data::{Dataset, FastaFile, PROT_T5, Record, entropy};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/proteins.fasta")
}

/// The records by UniProt entry name, after a check of the id `sp|accession|name`.
fn proteins() -> BTreeMap<String, Record> {
    let mut proteins = BTreeMap::new();
    let mut accessions = Vec::new();
    for record in FastaFile::open(&file()).unwrap() {
        let record = record.unwrap();
        let parts: Vec<String> = record.id.split('|').map(String::from).collect();
        assert_eq!((parts.len(), parts[0].as_str()), (3, "sp"), "{}", record.id);
        accessions.push(parts[1].clone());
        assert!(
            proteins.insert(parts[2].clone(), record).is_none(),
            "{} twice",
            parts[2]
        );
    }
    assert!(accessions.is_sorted(), "not in the order of accessions");
    accessions.dedup();
    assert_eq!(accessions.len(), proteins.len(), "an accession twice");
    proteins
}

#[test]
fn proteins_have_their_published_lengths() {
    let proteins = proteins();
    assert_eq!(proteins.len(), 77);
    let lengths = [
        ("INS_HUMAN", 110),
        ("RS27A_HUMAN", 156),
        ("LYSC_CHICK", 147),
        ("HBA_HUMAN", 142),
        ("HBB_HUMAN", 147),
        ("MYG_PHYMC", 154),
        ("GFP_AEQVI", 238),
        ("CYC_HUMAN", 105),
        ("RNAS1_BOVIN", 150),
        ("P53_HUMAN", 393),
        ("CALM1_HUMAN", 149),
        ("ACTB_HUMAN", 375),
        ("THIO_ECOLI", 109),
        ("DYR_ECOLI", 159),
        ("ALBU_HUMAN", 609),
        ("BGAL_ECOLI", 1024),
    ];
    for (name, length) in lengths {
        assert_eq!(proteins[name].sequence.len(), length, "{name}");
    }
    // The selenocysteine of glutathione peroxidase 1.
    assert_eq!(proteins["GPX1_HUMAN"].sequence[48], b'U');
}

#[test]
fn proteins_encode_and_batch() {
    let data = Dataset::from_fasta(&[file()], &PROT_T5).unwrap();
    assert_eq!((data.len(), data.residue_count()), (77, 15_208));
    let batch = data.batch(0, 0, 8, 64).unwrap();
    assert_eq!(batch.tokens.dim(), (8, 64));
    assert!(batch.token_count > 8 * 50);
    let frequencies = data.frequencies(512, |_| true).unwrap();
    // The one U reads as X, and no other protein has a rare residue.
    assert!(frequencies[23] > 0.0 && frequencies[24..].iter().all(|&f| f == 0.0));
    // Leucine is the most frequent residue of proteins; 20 residues and `</s>` bound the entropy.
    assert!(frequencies.iter().all(|&f| f <= frequencies[4]));
    let nats = entropy(&frequencies);
    assert!((2.85..22f64.ln()).contains(&nats), "{nats}");
}
