//! Damaged, cut, swapped: refused before anything reaches a database.

use std::fs;

use annals_archive::{ArchiveError, FileStore};
use annals_backup::BackupError;
use annals_testkit::Server;

use crate::common::{NAME, Source, read, restore_into};

fn small(server: &Server) -> (tempfile::TempDir, FileStore) {
    server.sql("CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 2000)");
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    Source::of(server).take(&store).unwrap();
    (folder, store)
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let server = Server::start();
    let (_folder, store) = small(&server);
    let path = store.path(NAME);
    let whole = fs::read(&path).unwrap();
    // Every 97th byte, another bit each time; the container's own tests flip every bit.
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        assert!(read(&store, 7).is_err(), "bit {} of byte {at}", at % 8);
        // Only the code at the very end says nothing without a key.
        let is_code = at >= whole.len() - 32;
        assert_eq!(store.examine(NAME).is_err(), !is_code, "byte {at} without a key");
    }
    for length in (0..whole.len()).step_by(61) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(read(&store, 7).is_err(), "cut to {length} bytes");
        assert!(store.examine(NAME).is_err(), "cut to {length} bytes");
    }
    fs::write(&path, &whole).unwrap();
    assert!(read(&store, 7).is_ok());
}

#[test]
fn another_key_opens_nothing() {
    let server = Server::start();
    let (_folder, store) = small(&server);
    let error = read(&store, 8).unwrap_err();
    assert!(matches!(error, ArchiveError::Container(BackupError::NoKeyFits { .. })), "{error}");
}

#[test]
fn a_file_that_changes_between_the_two_readings_is_refused() {
    let server = Server::start();
    let (_folder, store) = small(&server);
    let archive = read(&store, 7).unwrap();
    let path = store.path(NAME);
    // Another backup of the same name, authentic in itself.
    server.sql("INSERT INTO a VALUES (0)");
    fs::remove_file(&path).unwrap();
    Source::of(&server).take(&store).unwrap();
    server.sql("CREATE DATABASE back TEMPLATE template0");
    let error = restore_into(&store, &archive, &server, "back").unwrap_err();
    assert!(matches!(error, ArchiveError::NotAsSaid(_)), "{error}");
}
