//! Keys, sealed bytes and ways to open them.

use std::io::{Read, Write};

use annals_backup::{BackupError, BackupId, KeyEncryptionKey, Receipt, SealParams, open, seal};

pub(crate) const CHUNK: usize = annals_backup::CHUNK_BYTES;
pub(crate) const SEALED_CHUNK: usize = CHUNK + 16;
pub(crate) const TRAILER: usize = 80;
pub(crate) const METADATA: &[u8] = b"{}";
/// The bytes before the first chunk, with [`METADATA`] and one recipient.
pub(crate) const BEFORE_CHUNKS: usize = 30 + METADATA.len() + 2 + 4 + 120 + 32 + 56;

pub(crate) fn key(fill: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::from_bytes(&[fill; 32]).expect("32 bytes are a key")
}

pub(crate) fn id(fill: u8) -> BackupId {
    BackupId::from_bytes([fill; 16])
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

pub(crate) fn sealed_as(
    backup: u8,
    keys: &[&KeyEncryptionKey],
    plain: &[u8],
) -> (Vec<u8>, Receipt) {
    let params = SealParams { backup_id: id(backup), public_metadata: METADATA };
    let mut writer = seal(Vec::new(), &params, keys.iter().copied()).expect("sealing starts");
    writer.write_all(plain).expect("sealing goes on");
    writer.finish().expect("sealing ends")
}

/// Backup 1 of `plain`, for key 1.
pub(crate) fn sealed(plain: &[u8]) -> Vec<u8> {
    sealed_as(1, &[&key(1)], plain).0
}

/// Opens with `keys` and reads in steps of `step`; returns what was handed out, and how it ended.
pub(crate) fn read_by(
    bytes: &[u8],
    keys: &[&KeyEncryptionKey],
    step: usize,
) -> (Vec<u8>, Result<Receipt, BackupError>) {
    let mut out = Vec::new();
    let mut reader = match open(bytes, keys.iter().copied()) {
        Ok(reader) => reader,
        Err(error) => return (out, Err(error)),
    };
    let mut buffer = vec![0; step];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (out, reader.finish()),
            Ok(read) => out.extend_from_slice(&buffer[..read]),
            Err(error) => {
                let again = reader.read(&mut buffer).expect_err("a refusal is for ever");
                assert!(matches!(refusal(again), BackupError::AlreadyRefused));
                assert!(matches!(reader.finish(), Err(BackupError::AlreadyRefused)));
                return (out, Err(refusal(error)));
            }
        }
    }
}

/// Opens with key 1.
pub(crate) fn read(bytes: &[u8]) -> (Vec<u8>, Result<Receipt, BackupError>) {
    read_by(bytes, &[&key(1)], 4096)
}

/// Opens with key 1 and returns why it is refused; it must be, before the end.
pub(crate) fn refused(bytes: &[u8]) -> BackupError {
    read(bytes).1.expect_err("the altered backup is refused")
}

/// Takes the refusal out of an I/O error.
pub(crate) fn refusal(error: std::io::Error) -> BackupError {
    let inner = error.into_inner().expect("a refusal inside the error");
    *inner.downcast().expect("the refusal is a BackupError")
}
