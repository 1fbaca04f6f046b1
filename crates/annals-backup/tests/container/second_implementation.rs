//! Two implementations of AES-GCM and of the format open each other's backups.

use annals_backup::{BackupId, KeyEncryptionKey};
use proptest::prelude::*;

use crate::common::*;
use crate::ring_format::{self, Drawn};

#[test]
fn the_second_reader_opens_what_is_sealed_here() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 300 * CHUNK + 9] {
        let plain = pattern(length);
        let (bytes, _) = sealed_as(1, &[&key(2), &key(1)], &plain);
        assert!(ring_format::open(&[1; 32], &bytes) == plain, "{length} bytes");
        assert!(ring_format::open(&[2; 32], &bytes) == plain, "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..Default::default() })]

    #[test]
    fn what_the_second_writer_seals_opens_here(
        kek in any::<[u8; 32]>(),
        backup in any::<[u8; 16]>(),
        data_key in any::<[u8; 32]>(),
        wrap_salt in any::<[u8; 24]>(),
        payload_salt in any::<[u8; 24]>(),
        metadata in proptest::collection::vec(any::<u8>(), 0..64),
        stranger in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4096)),
        plain in proptest::collection::vec(any::<u8>(), 0..3 * CHUNK),
    ) {
        let drawn = Drawn { data_key, wrap_salt, payload_salt };
        let bytes = ring_format::seal(&kek, (&backup, &metadata, stranger.as_deref()), &plain, &drawn);
        let key = KeyEncryptionKey::from_bytes(&kek).expect("32 bytes");
        let (out, end) = read_by(&bytes, &[&key], 5000);
        prop_assert!(out == plain);
        prop_assert_eq!(end.expect("verified").backup_id, BackupId::from_bytes(backup));
    }
}
