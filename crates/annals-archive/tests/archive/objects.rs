//! Backups in a store of objects, on a real S3 server: there whole, or not at all.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use annals_archive::{ArchiveError, Naming, ObjectFolder, Sink, Store, StoreError};
use annals_backup::{Receipt, SealParams, examine, rewrap, seal};
use annals_objects::{S3Place, Variables};
use annals_s3_server::{BUCKET, S3Server};

use crate::common::{ID, NAME, key, runtime};

#[test]
fn s3_server() {
    annals_s3_server::play_or_try("objects::s3_server");
}

fn start() -> S3Server {
    S3Server::start("objects::s3_server")
}

fn store(server: &S3Server) -> Store {
    let place = S3Place::new(BUCKET, "kept/backups").unwrap();
    let place = S3Place { endpoint: Some(server.endpoint()), allow_http: true, ..place };
    let variables: Variables = S3Server::variables();
    Store::Objects(ObjectFolder::open(&place, "db", &variables).unwrap())
}

/// Every file the server keeps for the bucket, parts of what is under way included.
fn kept(server: &S3Server) -> Vec<PathBuf> {
    fn all(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                all(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    all(server.bucket().parent().unwrap(), &mut found);
    found.retain(|path| fs::metadata(path).is_ok_and(|file| file.len() > 4096));
    found
}

/// Waits for the first part, which is sent while the next one is made.
async fn a_part_is_there(server: &S3Server) {
    for _ in 0..3000 {
        if !kept(server).is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no part has come");
}

/// Bytes that do not repeat.
fn rows(mebibytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(mebibytes << 20);
    while bytes.len() < mebibytes << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

/// Seals into the store from a thread of its own, as a backup is taken.
async fn sealed(store: &Store, plain: Vec<u8>) -> Result<(Sink, Receipt), ArchiveError> {
    let sink = store.begin(NAME).await?;
    let work = tokio::task::spawn_blocking(move || {
        let params = SealParams { backup_id: ID, public_metadata: b"{}" };
        let mut writer = seal(sink, &params, [&key(7)])?;
        writer.write_all(&plain).map_err(annals_backup::BackupError::Write)?;
        writer.finish()
    });
    Ok(work.await.unwrap()?)
}

async fn read(store: &Store) -> Result<Vec<u8>, ArchiveError> {
    let mut source = store.open(NAME).await?;
    let work = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map(|_| bytes)
    });
    Ok(work.await.unwrap().map_err(annals_backup::BackupError::Read)?)
}

#[test]
fn an_object_is_there_when_it_is_whole_and_read_in_ranges() {
    let server = start();
    let store = store(&server);
    runtime().block_on(async {
        assert!(store.list().await.unwrap().is_empty());
        assert!(matches!(store.open(NAME).await.err(), Some(StoreError::Missing(_))));
        // Three parts, and ranges that do not fall on their ends.
        let plain = rows(37);
        let (mut sink, receipt) = sealed(&store, plain.clone()).await.unwrap();
        sink.settle(&receipt).await.unwrap();
        assert!(store.list().await.unwrap().is_empty(), "what is under way is no backup");
        let path = sink.publish(&receipt, Naming::New).await.unwrap();
        assert_eq!(path, format!("s3://{BUCKET}/kept/backups/db/{NAME}.sealed"));
        let listed = store.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].bytes), (1, receipt.sealed_bytes));
        assert_eq!(listed[0].name, NAME);

        let bytes = read(&store).await.unwrap();
        assert_eq!(examine(bytes.as_slice()).unwrap().receipt, receipt);
        assert_eq!(store.header(NAME).await.unwrap().recipients, [key(7).id()]);
        assert_eq!(store.examine(NAME).await.unwrap().receipt, receipt);

        store.remove(NAME).await.unwrap();
        assert!(matches!(store.remove(NAME).await, Err(StoreError::Missing(_))));
        assert!(store.list().await.unwrap().is_empty());
    });
    assert_eq!(kept(&server), [""; 0].map(PathBuf::from));
}

#[test]
fn what_is_dropped_discarded_or_left_by_a_crash_is_given_up() {
    let server = start();
    let store = store(&server);
    runtime().block_on(async {
        let (sink, _) = sealed(&store, rows(17)).await.unwrap();
        a_part_is_there(&server).await;
        store.discard(NAME).await;
        assert!(kept(&server).is_empty(), "{:?}", kept(&server));
        drop(sink);

        // As a process that was killed leaves it.
        let (sink, _) = sealed(&store, rows(17)).await.unwrap();
        std::mem::forget(sink);
        a_part_is_there(&server).await;
        assert!(store.list().await.unwrap().is_empty());
        let next = store.begin("next").await.unwrap();
        assert!(kept(&server).is_empty(), "{:?}", kept(&server));
        drop(next);
    });
}

#[test]
fn a_store_that_dies_on_the_way_keeps_nothing_that_looks_like_a_backup() {
    let mut server = start();
    let store = store(&server);
    runtime().block_on(async {
        let (sink, receipt) = sealed(&store, rows(17)).await.unwrap();
        server.kill();
        let failed = sink.publish(&receipt, Naming::New).await.err().unwrap();
        let failed = failed.to_string();
        assert!(failed.contains(NAME) && failed.contains("cannot connect"), "{failed}");
        server.restart();
        assert!(store.list().await.unwrap().is_empty());
        let (sink, receipt) = sealed(&store, rows(1)).await.unwrap();
        sink.publish(&receipt, Naming::New).await.unwrap();
        assert_eq!(store.list().await.unwrap().len(), 1);
    });
    assert_eq!(kept(&server).len(), 1);
}

#[test]
fn an_object_is_replaced_at_once_and_who_reads_the_old_one_is_told() {
    let server = start();
    let store = store(&server);
    runtime().block_on(async {
        let (sink, receipt) = sealed(&store, rows(30)).await.unwrap();
        sink.publish(&receipt, Naming::New).await.unwrap();
        let before = read(&store).await.unwrap();

        let mut reader = store.open(NAME).await.unwrap();
        let source = store.open(NAME).await.unwrap();
        let sink = store.begin(NAME).await.unwrap();
        let work = tokio::task::spawn_blocking(move || rewrap(source, [&key(7)], [&key(8)], sink));
        let (mut sink, done) = work.await.unwrap().unwrap();
        assert_eq!(done.before, receipt);
        sink.settle(&done.after).await.unwrap();
        assert_eq!(store.header(NAME).await.unwrap().recipients, [key(7).id()]);
        sink.publish(&done.after, Naming::Replace).await.unwrap();
        assert_eq!(store.header(NAME).await.unwrap().recipients, [key(8).id()]);
        let after = read(&store).await.unwrap();
        assert_eq!(before.len(), after.len());
        let (header, trailer) = (30 + 2 + 2 + 124 + 32, 80);
        assert!(before[header..before.len() - trailer] == after[header..after.len() - trailer]);

        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mixed = read.await.unwrap().unwrap_err().to_string();
        assert!(mixed.contains("replaced"), "one's beginning, another's end: {mixed}");
    });
}

#[test]
fn what_is_missing_or_wrong_is_named_and_no_secret_is() {
    let server = start();
    let place = S3Place::new("no-such-bucket", "").unwrap();
    let place = S3Place { endpoint: Some(server.endpoint()), allow_http: true, ..place };
    let mut variables: Variables = S3Server::variables();
    let folder = ObjectFolder::open(&place, "db", &variables).unwrap();
    let said = runtime().block_on(folder.list()).unwrap_err().to_string();
    assert!(said.contains("no such bucket") && said.contains("no-such-bucket"), "{said}");

    variables.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "n0t-the-secret".to_owned());
    let place = S3Place { bucket: BUCKET.to_owned(), ..place };
    let folder = ObjectFolder::open(&place, "db", &variables).unwrap();
    let said = runtime().block_on(folder.list()).unwrap_err().to_string();
    assert!(said.contains("403") && !said.contains("n0t-the-secret"), "{said}");

    variables.remove("AWS_SECRET_ACCESS_KEY");
    let said = ObjectFolder::open(&place, "db", &variables).err().unwrap().to_string();
    assert!(said.contains("AWS_SECRET_ACCESS_KEY"), "{said}");
}
