//! The contract of every home, held by the file log on this machine's disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use annals_conformance::{Clock, FaultyHome, Home, Stored, Writers, at_once};
use annals_event_store::{FILE_HOME, FileLog, Layout, OpenError, OpenOptions};
use annals_events::{Digest, Draft, Origin, Recorded, Seq};
use annals_keys::SecretKey;

/// A folder with a folder for each log.
struct FileHome {
    folder: tempfile::TempDir,
}

impl FileHome {
    fn layout(&self, origin: &Origin) -> Layout {
        Layout::new(self.folder.path().join(origin.as_str()))
    }
}

/// Closed segments may not be written to: who alters one replaces it.
fn put(path: &std::path::Path, content: Option<&[u8]>) {
    let _ = fs::remove_file(path);
    if let Some(content) = content {
        fs::write(path, content).unwrap();
    }
}

impl Home for FileHome {
    type Store = FileLog;
    const WRITERS: Writers = Writers::One;
    const CLOCK: Clock = Clock::Callers;

    async fn name(&self) -> String {
        FILE_HOME.to_owned()
    }

    async fn create(
        &self,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        options: &OpenOptions<'_>,
    ) -> Result<(FileLog, Recorded), OpenError> {
        FileLog::create(self.layout(origin), origin, first, key, options)
    }

    async fn open(
        &self,
        origin: &Origin,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<FileLog, OpenError> {
        FileLog::open(self.layout(origin), options, visit)
    }

    async fn stored(&self, origin: &Origin) -> Stored {
        let layout = self.layout(origin);
        let mut names: Vec<_> =
            fs::read_dir(layout.segments()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let bytes: Vec<u8> = names.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        assert_eq!(lines.pop(), Some(Vec::new()), "the last line has an end");
        Stored { lines, note: fs::read(layout.checkpoint()).ok() }
    }

    async fn replace_lines(&self, origin: &Origin, lines: &[Vec<u8>]) {
        let layout = self.layout(origin);
        fs::remove_dir_all(layout.segments()).unwrap();
        fs::create_dir(layout.segments()).unwrap();
        let bytes: Vec<u8> =
            lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
        put(&layout.segment(Seq(0)), Some(&bytes));
    }

    async fn replace_note(&self, origin: &Origin, note: Option<&[u8]>) {
        put(&self.layout(origin).checkpoint(), note);
    }

    async fn replace_blob(&self, origin: &Origin, digest: &Digest, content: Option<&[u8]>) {
        put(&self.layout(origin).blob(digest), content);
    }
}

fn on_disk(case: impl AsyncFnOnce(&FileHome)) {
    at_once(case(&FileHome { folder: tempfile::tempdir().unwrap() }));
}

fn on_disk_behind_the_wrapper(case: impl AsyncFnOnce(&FaultyHome<'_, FileHome>)) {
    on_disk(async |home: &FileHome| case(&FaultyHome::new(home)).await);
}

annals_conformance::conformance!(on_disk);

mod behind_the_wrapper {
    //! A wrapper without a fault is not noticed: what the suite says of it, it says of the home.

    use super::on_disk_behind_the_wrapper;

    annals_conformance::conformance!(on_disk_behind_the_wrapper);
}
