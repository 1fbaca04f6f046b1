//! Chunks, headers and trailers stay where they were sealed.

use annals_backup::{BackupError, open};

use crate::common::*;

/// A backup taken apart at its seams: before the chunks, each chunk, trailer.
fn parts(bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
    let (rest, trailer) = bytes.split_at(bytes.len() - TRAILER);
    let (before, chunks) = rest.split_at(BEFORE_CHUNKS);
    let chunks = chunks.chunks(SEALED_CHUNK).map(<[u8]>::to_vec).collect();
    (before.to_vec(), chunks, trailer.to_vec())
}

fn joined(before: &[u8], chunks: &[Vec<u8>], trailer: &[u8]) -> Vec<u8> {
    [before, &chunks.concat(), trailer].concat()
}

/// Three full chunks and a short one, two of the full ones with the same plaintext.
fn plain() -> Vec<u8> {
    let mut plain = pattern(3 * CHUNK + 77);
    plain.copy_within(0..CHUNK, CHUNK);
    plain
}

#[test]
fn chunks_swapped_repeated_or_dropped_are_refused_where_they_stand() {
    let bytes = sealed(&plain());
    let (before, chunks, trailer) = parts(&bytes);
    assert_eq!(joined(&before, &chunks, &trailer), bytes);
    assert_ne!(chunks[0], chunks[1], "equal plaintext does not show");
    let orders: [(&[usize], usize); 9] = [
        (&[1, 0, 2, 3], 0),
        (&[0, 2, 1, 3], 1),
        (&[0, 0, 2, 3], 1),
        (&[0, 0, 1, 2, 3], 1),
        (&[0, 1, 1, 3], 2),
        (&[1, 2, 3], 0),
        (&[0, 2, 3], 1),
        (&[0, 1, 3], 2),
        (&[0, 1, 2, 2, 3], 3),
    ];
    for (order, released) in orders {
        let order: Vec<_> = order.iter().map(|&index| chunks[index].clone()).collect();
        let (out, end) = read(&joined(&before, &order, &trailer));
        assert!(
            matches!(end, Err(BackupError::ChunkRefused { position }) if position == released as u64)
        );
        assert!(out == plain()[..released * CHUNK]);
    }
}

#[test]
fn a_backup_without_its_final_chunk_has_no_end() {
    let (before, chunks, trailer) = parts(&sealed(&plain()));
    let (out, end) = read(&joined(&before, &chunks[..3], &trailer));
    assert!(matches!(end, Err(BackupError::Truncated { part: "final chunk" })));
    assert_eq!(out.len(), 3 * CHUNK);
    assert!(matches!(read(&joined(&before, &chunks, &[])).1, Err(BackupError::TrailerMissing)));
}

#[test]
fn nothing_moves_between_two_backups_of_the_same_key_and_bytes() {
    let (first, second) = (parts(&sealed(&plain())), parts(&sealed(&plain())));
    let same_id_other_time = joined(&first.0, &first.1, &second.2);
    assert!(matches!(refused(&same_id_other_time), BackupError::TrailerRefused { .. }));
    for index in 0..4 {
        let mut chunks = first.1.clone();
        chunks[index] = second.1[index].clone();
        let (out, end) = read(&joined(&first.0, &chunks, &first.2));
        assert!(
            matches!(end, Err(BackupError::ChunkRefused { position }) if position == index as u64)
        );
        assert_eq!(out.len(), index * CHUNK);
    }
}

#[test]
fn a_header_from_another_backup_does_not_open_these_chunks() {
    let (bytes, _) = sealed_as(1, &[&key(1)], &plain());
    let (other, _) = sealed_as(2, &[&key(1)], &plain());
    let header = BEFORE_CHUNKS - 56;
    let stanzas = 30 + METADATA.len()..header - 32;
    let prologue = ..30 + METADATA.len();

    let moved = [&other[..header], &bytes[header..]].concat();
    assert!(matches!(refused(&moved), BackupError::PayloadRefused));
    let moved = [&other[..BEFORE_CHUNKS], &bytes[BEFORE_CHUNKS..]].concat();
    assert!(matches!(refused(&moved), BackupError::ChunkRefused { position: 0 }));
    let moved = [&other[prologue], &bytes[stanzas.start..]].concat();
    assert!(matches!(refused(&moved), BackupError::WrappedKeyRefused { .. }));
    let moved = [&bytes[prologue], &other[stanzas.clone()], &bytes[stanzas.end..]].concat();
    assert!(matches!(refused(&moved), BackupError::WrappedKeyRefused { .. }));
}

#[test]
fn a_recipient_added_or_removed_is_refused_by_those_who_remain() {
    let one = sealed_as(1, &[&key(1)], b"rows").0;
    let two = sealed_as(1, &[&key(1), &key(2)], b"rows").0;
    let count = 30 + METADATA.len()..32 + METADATA.len();
    let first = count.end..count.end + 124;

    let removed =
        [&two[..count.start], &[0, 1], &two[first.clone()], &two[first.end + 124..]].concat();
    assert!(matches!(refused(&removed), BackupError::HeaderRefused));
    let added =
        [&one[..count.start], &[0, 2], &one[first.clone()], &two[first.clone()], &one[first.end..]]
            .concat();
    assert!(matches!(refused(&added), BackupError::HeaderRefused));
    let unknown = [&one[..count.start], &[0, 2], &[0, 9, 0, 0], &one[first.start..]].concat();
    assert!(matches!(refused(&unknown), BackupError::HeaderRefused));
}

#[test]
fn a_whole_backup_in_the_place_of_another_is_told_by_its_id() {
    let (other, _) = sealed_as(2, &[&key(1)], b"rows");
    let opened = open(other.as_slice(), [&key(1)]).and_then(|reader| reader.expect_backup(id(1)));
    let error = opened.err().expect("another backup was expected");
    assert_eq!(
        error.to_string(),
        "sealed backup is 02020202-0202-0202-0202-020202020202, \
         not the expected 01010101-0101-0101-0101-010101010101"
    );
    let opened = open(other.as_slice(), [&key(1)]).and_then(|reader| reader.expect_backup(id(2)));
    assert!(opened.is_ok());
}
