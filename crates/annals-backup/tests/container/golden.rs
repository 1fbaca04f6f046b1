//! Backups of earlier releases open for ever.

use annals_backup::{KeyEncryptionKey, SecretText, examine, read_header};

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

/// The key that the passphrase `test only: correct horse battery staple` makes for this backup.
fn passphrase_key(bytes: &[u8]) -> KeyEncryptionKey {
    let recipes = read_header(bytes).expect("a header").passphrases;
    let [recipe] = recipes.as_slice() else { panic!("it is sealed for one passphrase") };
    let passphrase = SecretText::new(b"test only: correct horse battery staple".to_vec());
    recipe.derive(&passphrase).expect("within the limits")
}

const FOR_A_PASSPHRASE: &[u8] = include_bytes!("../golden/v1-passphrase.sealed");

/// A line is added with a format version; none is ever changed or removed.
fn goldens() -> [Golden; 3] {
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
        Golden {
            bytes: FOR_A_PASSPHRASE,
            plaintext: b"for a key and a passphrase\n".to_vec(),
            keys: vec![first_key(), passphrase_key(FOR_A_PASSPHRASE)],
            sha256: "f6a5ccb121c2486849ad73f014871ae82b14ee3e1e7e2e23f7685bde67097f2f",
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
