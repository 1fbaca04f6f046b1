//! A file is there whole, or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use annals_archive::{FileStore, StoreError};
use annals_backup::{Receipt, SealParams, seal};

use crate::common::{ID, NAME, files, key};

fn sealed(store: &FileStore) -> (annals_archive::PartialFile, Receipt) {
    let params = SealParams { backup_id: ID, public_metadata: b"{}" };
    let mut writer = seal(store.begin(NAME).unwrap(), &params, [&key(7)]).unwrap();
    writer.write_all(b"rows").unwrap();
    writer.finish().unwrap()
}

#[test]
fn what_is_dropped_leaves_nothing_and_what_is_sealed_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backups");
    let store = FileStore::new(place.clone());
    let (file, _) = sealed(&store);
    assert_eq!(files(&place), [format!(".{NAME}.partial")]);
    assert!(store.list().unwrap().is_empty(), "what is not whole is no backup");
    drop(file);
    assert_eq!(files(&place), [""; 0]);

    let (file, receipt) = sealed(&store);
    let path = file.seal(&receipt).unwrap();
    assert_eq!(files(&place), [format!("{NAME}.sealed")]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(store.list().unwrap()[0].bytes, receipt.sealed_bytes);

    // A second one of that name never takes its place.
    let (file, other) = sealed(&store);
    assert!(matches!(file.seal(&other), Err(StoreError::Io { .. })));
    assert_eq!(store.examine(NAME).unwrap().receipt, receipt);
    store.remove(NAME).unwrap();
    assert!(matches!(store.remove(NAME), Err(StoreError::Missing(_))));
}

#[test]
fn what_a_dead_process_left_is_swept_and_what_somebody_is_at_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    fs::write(folder.path().join(".old.partial"), b"half").unwrap();
    let (at_work, receipt) = sealed(&store);
    let second = store.begin("second").unwrap();
    assert_eq!(files(folder.path()), [format!(".{NAME}.partial"), ".second.partial".to_owned()]);
    drop(second);
    at_work.seal(&receipt).unwrap();
}

#[test]
fn a_file_that_is_not_what_was_written_gets_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().to_owned());
    let (file, receipt) = sealed(&store);
    let path = folder.path().join(format!(".{NAME}.partial"));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(file.seal(&receipt), Err(StoreError::NotAsWritten { .. })));
    assert_eq!(files(folder.path()), [""; 0]);
}
