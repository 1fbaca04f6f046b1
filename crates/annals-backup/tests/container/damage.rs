//! Every altered bit and every cut is refused.

use annals_backup::{BackupError, examine};

use crate::common::*;

/// The backup whose every bit is altered: every part of the format in a few hundred bytes.
fn small() -> Vec<u8> {
    sealed_as(1, &[&key(1), &key(2)], b"a small backup").0
}

#[test]
fn every_single_bit_flip_of_a_small_backup_is_refused() {
    let bytes = small();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let (out, end) = read(&altered);
        assert!(end.is_err(), "bit {bit} of {} was not missed", bytes.len() * 8);
        assert!(out.is_empty(), "bit {bit}: nothing of a refused chunk is released");
    }
}

#[test]
fn every_single_bit_flip_of_a_small_backup_is_seen_without_a_key() {
    // All but those in the trailer's own code, which only a key can check.
    let bytes = small();
    for bit in 0..(bytes.len() - 32) * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(examine(altered.as_slice()).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_of_a_small_backup_is_refused() {
    let bytes = small();
    for length in 0..bytes.len() {
        let (out, end) = read(&bytes[..length]);
        let error = end.expect_err("a cut backup is refused");
        assert!(out.is_empty(), "cut to {length}");
        let plain = matches!(
            error,
            BackupError::NotABackup | BackupError::Truncated { .. } | BackupError::TrailerMissing
        );
        assert!(plain, "cut to {length}: {error}");
        assert!(examine(&bytes[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn every_byte_appended_or_inserted_is_refused() {
    let bytes = small();
    for at in 0..=bytes.len() {
        let mut altered = bytes.clone();
        altered.insert(at, 0x41);
        refused(&altered);
    }
    for extra in [1, 16, TRAILER, SEALED_CHUNK, SEALED_CHUNK + TRAILER] {
        refused(&[bytes.as_slice(), &vec![0; extra]].concat());
        refused(&[bytes.as_slice(), &bytes[bytes.len().saturating_sub(extra)..]].concat());
    }
}

#[test]
fn cuts_around_every_boundary_of_a_backup_of_chunks_are_refused() {
    let plain = pattern(2 * CHUNK + 100);
    let bytes = sealed(&plain);
    let mut boundaries = vec![BEFORE_CHUNKS, bytes.len() - TRAILER, bytes.len()];
    boundaries.extend([1, 2].map(|chunks| BEFORE_CHUNKS + chunks * SEALED_CHUNK));
    boundaries.extend([1, 2].map(|chunks| BEFORE_CHUNKS + chunks * SEALED_CHUNK + TRAILER));
    for boundary in boundaries {
        for length in boundary - 20..(boundary + 20).min(bytes.len()) {
            let (out, end) = read(&bytes[..length]);
            assert!(end.is_err(), "cut to {length}");
            assert!(plain.starts_with(&out) && out.len() % CHUNK == 0, "cut to {length}");
        }
    }
}

#[test]
fn flips_all_over_a_backup_of_chunks_release_only_the_chunks_before() {
    let plain = pattern(2 * CHUNK + 100);
    let bytes = sealed(&plain);
    for at in (BEFORE_CHUNKS..bytes.len()).step_by(211) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x10;
        let (out, end) = read(&altered);
        let chunk = ((at - BEFORE_CHUNKS) / SEALED_CHUNK).min(2);
        assert!(end.is_err(), "byte {at}");
        assert!(out == plain[..chunk * CHUNK], "byte {at}");
    }
}
