//! A directory as an anchor.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use annals_anchor::{Anchor, AnchorError, AnchorPlace, DirectoryShelf, Limits, Shelf};
use annals_testkit::SmallDisk;

use crate::fits;
use crate::sample::{OPEN, Sample};
use crate::whole::{check, directory, download_and_check, files, quick};

#[tokio::test]
async fn a_growing_log_stays_whole_in_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    fits::a_growing_log_stays_whole(&directory(folder.path())).await;
    check(folder.path(), &Sample::new(700));
    for (name, _) in files(folder.path()) {
        let mode = fs::metadata(folder.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o222 == 0, name != "lock", "{name} has mode {mode:o}");
        assert!(!name.contains(".tmp"), "{name}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    fits::what_does_not_fit_is_refused(&directory(folder.path())).await;
}

#[tokio::test]
async fn a_log_that_shows_other_lines_is_not_signed_for_in_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    fits::a_log_that_shows_other_lines_is_not_signed_for(&directory(folder.path())).await;
}

#[test]
fn publishers_at_once_leave_a_whole_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (directory(folder.path()), directory(folder.path()));
    fits::publishers_at_once_end_well_or_cleanly(one, other);
    assert!(check(folder.path(), &Sample::new(600)) >= 539);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = directory(&folder.path().join("unmounted"));
    let error = anchor.publish(&Sample::new(1), OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::NoPlace { .. }), "{error}");
    assert!(matches!(anchor.read_checkpoint().await, Err(AnchorError::NoPlace { .. })));
    let into = folder.path().join("copy");
    assert!(matches!(anchor.download(&into).await, Err(AnchorError::NoPlace { .. })));
    assert!(!folder.path().join("unmounted").exists());
}

#[tokio::test]
async fn an_altered_object_is_a_conflict_and_stays_as_it_is() {
    let objects = Sample::new(300);
    for object in objects.fixed_objects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(object.path.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = object.bytes.clone();
        bytes[0] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = directory(folder.path()).publish(&objects, OPEN).await.unwrap_err();
        let named =
            matches!(&error, AnchorError::Conflict { path, .. } if *path == object.path.as_str());
        assert!(named, "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(!folder.path().join("checkpoint").exists());
    }
}

#[tokio::test]
async fn a_segment_of_no_line_or_of_half_a_line_is_a_conflict() {
    let log = Sample::new(5);
    let text = log.text(5);
    for bytes in [&b""[..], &text[..10], &text[..text.len() - 1]] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("segments")).unwrap();
        fs::write(folder.path().join("segments/00000000000000000000.jsonl"), bytes).unwrap();
        let error = directory(folder.path()).publish(&log, OPEN).await.unwrap_err();
        assert!(matches!(error, AnchorError::Conflict { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_anchor_without_its_checkpoint_is_completed_from_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = directory(folder.path());
    anchor.publish(&Sample::new(120), OPEN).await.unwrap();
    fs::remove_file(folder.path().join("checkpoint")).unwrap();
    let receipt = anchor.publish(&Sample::new(310), OPEN).await.unwrap();
    assert!(receipt.objects_present > 0);
    assert_eq!(receipt.since_size, 0);
    assert_eq!(check(folder.path(), &Sample::new(310)), 310);
}

#[tokio::test]
async fn a_note_that_is_no_checkpoint_is_not_replaced() {
    for content in [&b""[..], b"nonsense", &[0xff; 100]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("checkpoint"), content).unwrap();
        let error = directory(folder.path()).publish(&Sample::new(5), OPEN).await.unwrap_err();
        assert!(matches!(error, AnchorError::Unverified { .. }), "{error}");
        assert_eq!(fs::read(folder.path().join("checkpoint")).unwrap(), content);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("checkpoint"), vec![b'a'; 70_000]).unwrap();
    let error = directory(folder.path()).publish(&Sample::new(5), OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::TooLarge { bytes: 70_000, .. }), "{error}");
}

#[tokio::test]
async fn unfinished_files_of_a_crashed_publisher_are_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("segments")).unwrap();
    for name in [".checkpoint.tmp", "segments/.00000000000000000000.jsonl.tmp"] {
        fs::write(folder.path().join(name), "half of somethi").unwrap();
    }
    let anchor = directory(folder.path());
    anchor.publish(&Sample::new(50), OPEN).await.unwrap();
    assert_eq!(check(folder.path(), &Sample::new(50)), 50);
    fs::write(folder.path().join("segments/.00000000000000000077.jsonl.tmp"), "{").unwrap();
    assert_eq!(download_and_check(&anchor, &Sample::new(50)).await, 50);
}

#[tokio::test]
async fn a_locked_directory_is_waited_for_and_then_left() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { lock_timeout_ms: 100, ..quick() };
    let place = AnchorPlace::Directory { path: folder.path().to_owned() };
    let anchor = Anchor::open(&place, &Default::default(), limits.clone()).unwrap();
    let turn = DirectoryShelf::new(folder.path(), limits).take_turn().await.unwrap();
    let error = anchor.publish(&Sample::new(5), OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Busy { waited_ms: 100, .. }), "{error}");
    assert_eq!(files(folder.path()).len(), 1);
    drop(turn);
    anchor.publish(&Sample::new(5), OPEN).await.unwrap();
}

#[tokio::test]
async fn a_publisher_that_waited_while_the_log_grew_was_overtaken() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = directory(folder.path());
    anchor.publish(&Sample::new(10), OPEN).await.unwrap();
    let shelf = DirectoryShelf::new(folder.path(), quick());
    let turn = shelf.take_turn().await.unwrap();
    let slow = Sample::new(20);
    let waiting = anchor.publish(&slow, OPEN);
    let faster = async {
        // What a publisher of 30 events leaves that held the lock meanwhile.
        let aside = tempfile::tempdir().unwrap();
        fs::write(
            aside.path().join("checkpoint"),
            fs::read(folder.path().join("checkpoint")).unwrap(),
        )
        .unwrap();
        directory(aside.path()).publish(&Sample::new(30), OPEN).await.unwrap();
        for (name, bytes) in files(aside.path()) {
            let path = folder.path().join(&name);
            if name == "checkpoint" {
                fs::rename(aside.path().join(&name), path).unwrap();
            } else if !path.exists() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
        drop(turn);
    };
    // `join` polls the waiting one first: it has looked before the faster one writes.
    let (waited, ()) = tokio::join!(waiting, faster);
    let error = waited.unwrap_err();
    assert!(matches!(error, AnchorError::Overtaken { size: 30, ours: 20, .. }), "{error}");
    assert_eq!(check(folder.path(), &Sample::new(30)), 30);
}

#[tokio::test]
async fn links_and_folders_in_place_of_files_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let log = Sample::new(5);

    let folder = tempfile::tempdir().unwrap();
    symlink(outside.path(), folder.path().join("segments")).unwrap();
    let error = directory(folder.path()).publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Stray { .. }), "{error}");
    assert_eq!(files(outside.path()).len(), 1);

    let folder = tempfile::tempdir().unwrap();
    symlink(outside.path().join("secret"), folder.path().join("checkpoint")).unwrap();
    let error = directory(folder.path()).publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Stray { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    symlink(outside.path().join("secret"), folder.path().join("lock")).unwrap();
    let error = directory(folder.path()).publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Io { act: "lock", .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let error = directory(folder.path()).publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Stray { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tile"), "a file").unwrap();
    let error = directory(folder.path()).publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Stray { .. }), "{error}");
    assert!(!folder.path().join("checkpoint").exists());
}

#[tokio::test]
async fn a_download_takes_the_published_log_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = directory(folder.path());
    anchor.publish(&Sample::new(20), OPEN).await.unwrap();
    fs::write(folder.path().join("README"), "hello").unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("keys/log.key"), "secret").unwrap();
    let aside = tempfile::tempdir().unwrap();
    let brought = anchor.download(&aside.path().join("copy")).await.unwrap();
    assert_eq!(brought.left, 3, "lock, README, keys");
    assert_eq!(check(&aside.path().join("copy"), &Sample::new(20)), 20);
    let again = anchor.download(&aside.path().join("copy")).await.unwrap_err();
    assert!(matches!(again, AnchorError::Target { .. }), "{again}");

    let stray = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, "x").unwrap();
        path
    };
    for name in ["segments/Evil", "tile/a b", "blobs/a\nb"] {
        let path = stray(name);
        let error = anchor.download(&aside.path().join("stray")).await.unwrap_err();
        assert!(matches!(error, AnchorError::Stray { .. }), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        fs::remove_file(path).unwrap();
        fs::remove_dir_all(aside.path().join("stray")).unwrap();
    }
    symlink("/etc/passwd", folder.path().join("segments/link")).unwrap();
    let error = anchor.download(&aside.path().join("linked")).await.unwrap_err();
    assert!(matches!(error, AnchorError::Stray { .. }), "{error}");
}

fn disk(folder: &Path, pages: u64) -> (SmallDisk, Anchor) {
    let disk = SmallDisk::over(&folder.join("disk"), pages);
    let anchor = directory(&disk.inside());
    (disk, anchor)
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_checkpoint_and_the_next_publication_completes() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, anchor) = disk(folder.path(), 400);
    anchor.publish(&Sample::new(30), OPEN).await.unwrap();
    for pages in [0, 1, 2, 5, 9] {
        disk.fill(pages);
        let error = anchor.publish(&Sample::new(300), OPEN).await.unwrap_err();
        let full = matches!(
            &error,
            AnchorError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull
        );
        assert!(full, "{pages} pages: {error:?}");
        disk.make_room();
        assert_eq!(check(&disk.inside(), &Sample::new(300)), 30, "{pages} pages");
    }
    anchor.publish(&Sample::new(310), OPEN).await.unwrap();
    assert_eq!(check(&disk.inside(), &Sample::new(310)), 310);
}

#[tokio::test]
async fn a_read_only_directory_is_read_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, anchor) = disk(folder.path(), 400);
    let log = Sample::new(30);
    anchor.publish(&log, OPEN).await.unwrap();
    disk.make_read_only();
    assert_eq!(download_and_check(&anchor, &log).await, 30);
    assert_eq!(anchor.publish(&log, OPEN).await.unwrap().objects_written, 0);
    let error = anchor.publish(&Sample::new(31), OPEN).await.unwrap_err();
    let read_only = matches!(
        &error,
        AnchorError::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem
    );
    assert!(read_only, "{error:?}");
}
