//! A publisher that dies at each of its writes, with and without the write being kept.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals_anchor::{
    AnchorError, DirectoryShelf, Found, Held, LocalFile, ObjectPath, Placed, Shelf, Swap,
    publish_to,
};

use crate::fits;
use tempfile::TempDir;

use crate::sample::{OPEN, Sample};
use crate::whole::{check, directory, download_and_check, quick};

/// Whether the write at which the publisher dies is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    No,
    Yes,
}

/// Dies at write `dies_at`, from 0.
struct Dying {
    shelf: DirectoryShelf,
    writes: AtomicUsize,
    dies_at: usize,
    kept: Kept,
}

impl Dying {
    fn death(&self) -> AnchorError {
        AnchorError::Unreachable {
            place: self.name(),
            act: "write",
            path: String::new(),
            reason: "the publisher died".to_owned(),
        }
    }

    /// Whether this write is the last one, and whether it is made at all.
    fn next_write(&self) -> Option<Kept> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        (number >= self.dies_at).then_some(self.kept)
    }
}

impl Shelf for Dying {
    type Turn = <DirectoryShelf as Shelf>::Turn;

    fn kind(&self) -> &'static str {
        self.shelf.kind()
    }

    fn name(&self) -> String {
        self.shelf.name()
    }

    async fn take_turn(&self) -> Result<Self::Turn, AnchorError> {
        self.shelf.take_turn().await
    }

    async fn checkpoint(&self) -> Result<Option<Held>, AnchorError> {
        self.shelf.checkpoint().await
    }

    async fn place(&self, path: &ObjectPath, bytes: &[u8]) -> Result<Placed, AnchorError> {
        match self.next_write() {
            None => self.shelf.place(path, bytes).await,
            Some(kept) => {
                if kept == Kept::Yes {
                    self.shelf.place(path, bytes).await?;
                }
                Err(self.death())
            }
        }
    }

    async fn swap(&self, base: Option<&Held>, note: &[u8]) -> Result<Swap, AnchorError> {
        match self.next_write() {
            None => self.shelf.swap(base, note).await,
            Some(kept) => {
                if kept == Kept::Yes {
                    self.shelf.swap(base, note).await?;
                }
                Err(self.death())
            }
        }
    }

    async fn fetch(&self, path: &ObjectPath, limit: u64) -> Result<Option<Vec<u8>>, AnchorError> {
        self.shelf.fetch(path, limit).await
    }

    async fn copy_into(
        &self,
        path: &ObjectPath,
        file: &mut LocalFile,
    ) -> Result<Option<u64>, AnchorError> {
        self.shelf.copy_into(path, file).await
    }

    fn list(&self) -> futures_util::stream::BoxStream<'_, Result<Found, AnchorError>> {
        self.shelf.list()
    }
}

/// A folder that costs nothing to sync: what a crash of the machine leaves is not asked here.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Publishes 40 events, then dies at write `dies_at` of publishing 290, then publishes `next`.
/// Returns whether the publisher lived.
async fn die_and_go_on(dies_at: usize, kept: Kept, next: usize) -> bool {
    let folder = in_memory();
    let anchor = directory(folder.path());
    anchor.publish(&Sample::new(40), OPEN).await.unwrap();
    let shelf = DirectoryShelf::new(folder.path(), quick());
    let dying = Dying { shelf, writes: AtomicUsize::new(0), dies_at, kept };
    let lived = publish_to(&dying, &Sample::new(290), OPEN).await.is_ok();
    let size = check(folder.path(), &Sample::new(290));
    assert!(size == 40 || size == 290, "write {dies_at}, {kept:?}: {size}");
    assert!(!lived || size == 290, "write {dies_at}, {kept:?}");
    anchor.publish(&Sample::new(next), OPEN).await.unwrap();
    assert_eq!(check(folder.path(), &Sample::new(next)), next as u64, "write {dies_at}, {kept:?}");
    assert_eq!(download_and_check(&anchor, &Sample::new(next)).await, next as u64);
    lived
}

#[tokio::test]
async fn a_publisher_may_die_at_any_write() {
    let mut tried = 0;
    for kept in [Kept::No, Kept::Yes] {
        // The same log again; one that has grown a little; one that has grown by segments.
        for next in [290, 291, 520] {
            let mut dies_at = 0;
            while !die_and_go_on(dies_at, kept, next).await {
                dies_at += 1;
            }
            tried += dies_at;
        }
    }
    println!("{tried} deaths");
    assert!(tried >= 6 * 20, "three segments, 25 blobs, tiles and bundles, one checkpoint");
}

#[tokio::test]
async fn publishers_may_die_one_after_the_other_while_the_log_grows() {
    let folder = tempfile::tempdir().unwrap();
    for (round, size) in [7, 60, 61, 130, 131, 132, 270, 300].into_iter().enumerate() {
        let shelf = DirectoryShelf::new(folder.path(), quick());
        let dies_at = round % 4;
        let dying = Dying { shelf, writes: AtomicUsize::new(0), dies_at, kept: Kept::Yes };
        publish_to(&dying, &Sample::new(size), OPEN).await.unwrap_err();
        assert_eq!(check(folder.path(), &Sample::new(size)), 0);
    }
    directory(folder.path()).publish(&Sample::new(333), OPEN).await.unwrap();
    assert_eq!(check(folder.path(), &Sample::new(333)), 333);
}

#[tokio::test]
async fn lines_beyond_this_log_are_not_signed_for_in_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = directory(folder.path());
    fits::lines_beyond_this_log_are_not_signed_for(&anchor, async |log| {
        let shelf = DirectoryShelf::new(folder.path(), quick());
        let writes = AtomicUsize::new(0);
        let dying = Dying { shelf, writes, dies_at: 6, kept: Kept::No };
        publish_to(&dying, log, OPEN).await.unwrap_err();
    })
    .await;
}
