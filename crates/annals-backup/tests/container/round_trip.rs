//! Bytes in are bytes out.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use annals_backup::{BackupError, SealParams, examine, open, seal};
use proptest::prelude::*;

use crate::common::*;

#[test]
fn every_length_around_the_chunk_boundaries_survives() {
    let mut lengths = vec![0, 1, 2, 57, CHUNK / 2];
    for chunks in 1..=3 {
        lengths.extend([chunks * CHUNK - 1, chunks * CHUNK, chunks * CHUNK + 1]);
    }
    for length in lengths {
        let plain = pattern(length);
        let (bytes, receipt) = sealed_as(1, &[&key(1)], &plain);
        assert_eq!(bytes.len(), BEFORE_CHUNKS + length + (length / CHUNK + 1) * 16 + TRAILER);
        assert_eq!(receipt.plaintext_bytes, length as u64);
        assert_eq!(receipt.sealed_bytes, bytes.len() as u64);
        let (out, end) = read(&bytes);
        assert!(out == plain, "{length} bytes");
        assert_eq!(end.expect("verified to its end"), receipt);
        assert_eq!(examine(bytes.as_slice()).expect("well formed").receipt, receipt);
    }
}

#[test]
fn several_megabytes_survive_a_stream_of_uneven_pieces() {
    let plain = pattern(5 * 1024 * 1024 + 4321);
    let params = SealParams { backup_id: id(1), public_metadata: METADATA };
    let mut writer = seal(Vec::new(), &params, [&key(1)]).expect("sealing starts");
    for piece in plain.chunks(70_001) {
        writer.write_all(piece).expect("sealing goes on");
        writer.flush().expect("flushing changes nothing");
    }
    let (bytes, receipt) = writer.finish().expect("sealing ends");
    let (out, end) = read_by(&bytes, &[&key(1)], 99_991);
    assert!(out == plain);
    assert_eq!(end.expect("verified to its end"), receipt);
}

#[test]
fn the_receipt_names_the_sha256_of_the_file() {
    let (bytes, receipt) = sealed_as(1, &[&key(1)], &pattern(20_000));
    let expected = ring::digest::digest(&ring::digest::SHA256, &bytes);
    assert_eq!(receipt.sha256.as_bytes(), expected.as_ref());
    assert_eq!(receipt.sha256.to_string().len(), 64);
}

#[test]
fn each_recipient_opens_alone_and_a_stranger_does_not() {
    let keys = [&key(1), &key(2), &key(3)];
    let (bytes, receipt) = sealed_as(1, &keys, b"rows");
    for key in keys {
        let (out, end) = read_by(&bytes, &[key], 7);
        assert_eq!((out.as_slice(), end.ok()), (b"rows".as_slice(), Some(receipt)));
    }
    let (_, end) = read_by(&bytes, &[&key(9)], 7);
    let expected = keys.map(|key| key.id());
    assert!(matches!(end, Err(BackupError::NoKeyFits { recipients }) if recipients == expected));
    assert_eq!(read_by(&bytes, &[&key(9), &key(2)], 7).0, b"rows");
}

#[test]
fn the_header_is_readable_with_and_without_a_key() {
    let metadata = pattern(annals_backup::MAX_METADATA_BYTES);
    let params = SealParams { backup_id: id(8), public_metadata: &metadata };
    let (bytes, _) = seal(Vec::new(), &params, [&key(1)]).and_then(|w| w.finish()).expect("sealed");
    let keyless = examine(bytes.as_slice()).expect("well formed").header;
    let reader = open(bytes.as_slice(), [&key(1)]).expect("opens");
    assert_eq!(reader.header(), &keyless);
    assert_eq!((keyless.version, keyless.backup_id), (1, id(8)));
    assert_eq!(keyless.public_metadata, metadata);
    assert_eq!(keyless.recipients, [key(1).id()]);
    assert_eq!(keyless.backup_id.to_string(), "08080808-0808-0808-0808-080808080808");
}

#[test]
fn two_sealings_of_the_same_bytes_share_no_secret_dependent_byte_run() {
    let (first, second) = (sealed(&pattern(1000)), sealed(&pattern(1000)));
    let from = 30 + METADATA.len() + 2 + 4 + 16;
    // Only the trailer's magic with its length field stands in both. A byte beside it may be the
    // same by chance, once in 128 pairs, so that runs across its edges say nothing.
    let fixed = first.len() - TRAILER..first.len() - TRAILER + 16;
    assert_eq!(first[fixed.clone()], second[fixed.clone()]);
    let runs_of = |bytes: &[u8]| -> HashSet<Vec<u8>> {
        let secret = [&bytes[from..fixed.start], &bytes[fixed.end..]];
        secret.iter().flat_map(|part| part.windows(16)).map(<[u8]>::to_vec).collect()
    };
    assert!(runs_of(&first).is_disjoint(&runs_of(&second)));
}

/// Gives one byte at a time and is interrupted before each.
struct Dribble<'b>(&'b [u8], bool);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = out.len().min(1);
        self.0.read(&mut out[..length])
    }
}

#[test]
fn a_source_that_gives_single_bytes_and_is_interrupted_makes_no_difference() {
    let plain = pattern(CHUNK + 3);
    let bytes = sealed(&plain);
    let mut reader = open(Dribble(&bytes, false), [&key(1)]).expect("opens");
    let mut out = Vec::new();
    reader.read_to_end(&mut out).expect("verified to its end");
    assert!(out == plain);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..Default::default() })]

    #[test]
    fn any_bytes_in_any_pieces_survive(
        plain in proptest::collection::vec(any::<u8>(), 0..3 * CHUNK),
        piece in 1..2 * CHUNK,
        step in 1..2 * CHUNK,
        metadata in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let params = SealParams { backup_id: id(1), public_metadata: &metadata };
        let mut writer = seal(Vec::new(), &params, [&key(1)]).expect("sealing starts");
        for piece in plain.chunks(piece) {
            writer.write_all(piece).expect("sealing goes on");
        }
        let (bytes, receipt) = writer.finish().expect("sealing ends");
        let (out, end) = read_by(&bytes, &[&key(1)], step);
        prop_assert!(out == plain);
        prop_assert_eq!(end.ok(), Some(receipt));
    }
}
