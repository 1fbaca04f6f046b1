//! Backups of earlier releases open for ever.

use annals_backup::{KeyEncryptionKey, examine};

use crate::common::read_by;

struct Golden {
    bytes: &'static [u8],
    plaintext: Vec<u8>,
    keys: Vec<KeyEncryptionKey>,
    sha256: &'static str,
}

fn test_only_key(text: &str) -> KeyEncryptionKey {
    assert!(text.starts_with("# TEST ONLY"), "a committed key says what it is");
    KeyEncryptionKey::from_text(text).expect("a key")
}

fn first_key() -> KeyEncryptionKey {
    test_only_key(include_str!("../golden/test-only-1.key"))
}

fn second_key() -> KeyEncryptionKey {
    test_only_key(include_str!("../golden/test-only-2.key"))
}

/// A line is added with a format version; none is ever changed or removed.
fn goldens() -> [Golden; 2] {
    [
        Golden {
            bytes: include_bytes!("../golden/v1-worked-example.sealed"),
            plaintext: b"bytes in = bytes out\n".to_vec(),
            keys: vec![first_key()],
            sha256: "b6274bf07781f1e5cd71065dd91e4717f2c6776e254dd47c638ba011ea3fc27c",
        },
        Golden {
            bytes: include_bytes!("../golden/v1-three-chunks.sealed"),
            plaintext: (0..40_000_u32).map(|i| (i % 251) as u8).collect(),
            keys: vec![first_key(), second_key()],
            sha256: "124cd3c1d48240b529ff875f2a91f14e8cd96a00f5ce9607e6345f5a670f56d4",
        },
    ]
}

#[test]
fn golden_backups_open_with_each_of_their_keys() {
    for golden in goldens() {
        for key in &golden.keys {
            let (out, end) = read_by(golden.bytes, &[key], 1000);
            let receipt = end.expect("verified to its end");
            assert!(out == golden.plaintext);
            assert_eq!(receipt.sha256.to_string(), golden.sha256);
        }
    }
}

#[test]
fn golden_backups_are_examined_without_a_key() {
    for golden in goldens() {
        let examination = examine(golden.bytes).expect("well formed");
        let ids: Vec<_> = golden.keys.iter().map(KeyEncryptionKey::id).collect();
        assert_eq!(examination.header.recipients, ids);
        assert_eq!(examination.header.public_metadata, br#"{"target":"example"}"#);
        assert_eq!(examination.receipt.sha256.to_string(), golden.sha256);
    }
}
