//! The golden backups are exactly what sealing with fixed random bytes gives.
//!
//! The first of them is the worked example of `docs/reference/backup-format.md`.

use std::io::Write;

use crate::entropy::Entropy;
use crate::error::BackupError;
use crate::header::BackupId;
use crate::key::KeyEncryptionKey;
use crate::seal::{SealParams, seal_from};

/// Gives the bytes 0, 1, 2, … so that data key and salts can be written in a document.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), BackupError> {
        for byte in out {
            *byte = self.0;
            self.0 += 1;
        }
        Ok(())
    }
}

const ID: BackupId = BackupId::from_bytes([
    0x01, 0x9a, 0xb2, 0xc3, 0xd4, 0xe5, 0x7f, 0x60, 0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8,
]);

fn test_only_key(first: u8) -> KeyEncryptionKey {
    let bytes: Vec<u8> = (first..).take(32).collect();
    KeyEncryptionKey::from_bytes(&bytes).expect("32 bytes")
}

fn sealed(keys: &[&KeyEncryptionKey], plaintext: &[u8]) -> Vec<u8> {
    let params = SealParams { backup_id: ID, public_metadata: br#"{"target":"example"}"# };
    let mut writer =
        seal_from(Vec::new(), &params, keys, &mut Counting(0)).expect("sealing starts");
    writer.write_all(plaintext).expect("sealing goes on");
    writer.finish().expect("sealing ends").0
}

#[test]
fn the_worked_example_is_what_sealing_gives() {
    let golden = include_bytes!("../tests/golden/v1-worked-example.sealed");
    assert!(sealed(&[&test_only_key(0xa0)], b"bytes in = bytes out\n") == golden);
}

#[test]
fn the_golden_backup_of_three_chunks_is_what_sealing_gives() {
    let golden = include_bytes!("../tests/golden/v1-three-chunks.sealed");
    let plaintext: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
    let keys = [&test_only_key(0xa0), &test_only_key(0xc0)];
    assert!(sealed(&keys, &plaintext) == golden);
}
