//! Key files are for their owner alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use annals_backup::{BackupError, KeyEncryptionKey};

use crate::common::key;

fn reason(error: Option<BackupError>) -> &'static str {
    match error {
        Some(BackupError::KeyFileRefused { reason, .. }) => reason,
        other => panic!("not refused for its file: {other:?}"),
    }
}

#[test]
fn a_created_key_file_is_private_and_loads_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backup.key");
    key(7).create_file(&path).expect("created");
    let mode = fs::metadata(&path).expect("exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(KeyEncryptionKey::load(&path).ok().map(|k| k.id()), Some(key(7).id()));
}

#[test]
fn an_existing_key_file_is_never_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backup.key");
    key(7).create_file(&path).expect("created");
    assert!(matches!(key(8).create_file(&path), Err(BackupError::KeyFile { .. })));
    assert_eq!(KeyEncryptionKey::load(&path).ok().map(|k| k.id()), Some(key(7).id()));
}

#[test]
fn a_key_file_that_others_may_touch_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backup.key");
    key(7).create_file(&path).expect("created");
    for mode in [0o640, 0o604, 0o620, 0o610, 0o601, 0o602, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let error = KeyEncryptionKey::load(&path).err();
        assert_eq!(reason(error), "group or others have access to it", "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("chmod");
    assert!(KeyEncryptionKey::load(&path).is_ok());
}

#[test]
fn a_link_a_folder_and_a_long_file_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backup.key");
    key(7).create_file(&path).expect("created");
    let link = folder.path().join("link.key");
    symlink(&path, &link).expect("linked");
    assert_eq!(reason(KeyEncryptionKey::load(&link).err()), "it is not a plain file");
    assert_eq!(reason(KeyEncryptionKey::load(folder.path()).err()), "it is not a plain file");
    fs::write(&path, vec![b'#'; 5000]).expect("written");
    assert_eq!(reason(KeyEncryptionKey::load(&path).err()), "it is longer than 4096 bytes");
    let absent = KeyEncryptionKey::load(&folder.path().join("absent")).err();
    assert!(matches!(absent, Some(BackupError::KeyFile { .. })));
}

#[test]
fn a_key_file_is_never_seen_half_made() {
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..200 {
        let path = folder.path().join(format!("{n}.key"));
        let looking = path.clone();
        let (begun, begins) = std::sync::mpsc::channel();
        let looks = std::thread::spawn(move || {
            begun.send(()).expect("awaited");
            loop {
                if let Ok(seen) = fs::metadata(&looking) {
                    return seen.len();
                }
            }
        });
        begins.recv().expect("begun");
        key(7).create_file(&path).expect("created");
        let seen = looks.join().expect("looked");
        assert_eq!(seen, fs::metadata(&path).expect("exists").len());
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 200, "nothing is left over");
}
