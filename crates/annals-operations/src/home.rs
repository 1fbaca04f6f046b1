//! Where a target's log lives, and the two ways to meet it: open for writing, or read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use annals_event_store::{
    AppendError, BlobError, EventStore, FILE_HOME, FileLog, Head, Layout, LogFiles, ReadError,
    StoreError, split_export,
};
use annals_event_store_postgres::{Limits, LogReader, PgLog, StoreFault};
use annals_events::{
    BlobRef, Chain, Draft, LeafHash, Origin, Recorded, Scanned, Scanner, Seq, Timestamp,
};
use annals_keys::Checkpoint;
use annals_postgres::ConnectionSpec;

use crate::error::LogFailure;

/// A log open for writing, wherever it lives.
pub(crate) enum Log {
    /// In a folder.
    File(Box<FileLog>),
    /// In a database.
    Postgres(Box<PgLog>),
}

macro_rules! each {
    ($self:ident, $log:ident => $do:expr) => {
        match $self {
            Log::File($log) => $do,
            Log::Postgres($log) => $do,
        }
    };
}

impl EventStore for Log {
    fn place(&self) -> String {
        each!(self, log => log.place())
    }

    fn origin(&self) -> &Origin {
        each!(self, log => log.origin())
    }

    fn head(&self) -> Head {
        each!(self, log => log.head())
    }

    fn checkpoint(&self) -> Checkpoint {
        each!(self, log => log.checkpoint())
    }

    fn signed(&self) -> u64 {
        each!(self, log => log.signed())
    }

    async fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        each!(self, log => log.append(expected, drafts, now).await)
    }

    async fn write(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        each!(self, log => log.write(expected, drafts, now).await)
    }

    async fn sync(&mut self) -> Result<(), AppendError> {
        each!(self, log => log.sync().await)
    }

    async fn publish(&mut self, checkpoint: &Checkpoint, note: &str) -> Result<(), StoreError> {
        each!(self, log => log.publish(checkpoint, note).await)
    }

    async fn read(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, &[u8]),
    ) -> Result<(), StoreError> {
        each!(self, log => log.read(from, visit).await)
    }

    async fn put_blob(&mut self, content: &[u8]) -> Result<BlobRef, BlobError> {
        each!(self, log => log.put_blob(content).await)
    }

    async fn get_blob(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        each!(self, log => log.get_blob(reference).await)
    }
}

/// Where a log is read from, without locking it.
#[derive(Debug, Clone)]
pub(crate) enum LogHome {
    /// A folder.
    Folder(Layout),
    /// An export file.
    Export(PathBuf),
    /// Tables in a database.
    Postgres(Box<PostgresHome>),
}

/// A log in the tables of a database.
#[derive(Clone)]
pub(crate) struct PostgresHome {
    pub(crate) spec: ConnectionSpec,
    pub(crate) origin: Origin,
    /// Where a copy in a folder is made when one is needed.
    pub(crate) scratch: PathBuf,
}

impl std::fmt::Debug for PostgresHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresHome").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl PostgresHome {
    pub(crate) fn place(&self) -> String {
        format!("the database {} on {}", self.spec.database(), self.spec.address())
    }

    fn failed(&self) -> impl Fn(StoreFault) -> LogFailure + '_ {
        |fault| LogFailure::Store { place: self.place(), fault }
    }

    pub(crate) async fn reader(&self) -> Result<LogReader, LogFailure> {
        LogReader::connect(&self.spec, Limits::default()).await.map_err(self.failed())
    }

    async fn exists(&self) -> Result<bool, LogFailure> {
        let mut reader = match LogReader::connect(&self.spec, Limits::default()).await {
            Ok(reader) => reader,
            Err(StoreFault::NotInstalled) => return Ok(false),
            Err(fault) => return Err(self.failed()(fault)),
        };
        let origins = reader.origins().await.map_err(self.failed())?;
        reader.close().await;
        Ok(origins.contains(&self.origin))
    }

    async fn extent(&self) -> Result<u64, LogFailure> {
        let mut reader = self.reader().await?;
        let snapshot = reader.log(&self.origin).await.map_err(self.failed())?;
        let size = snapshot.head().size;
        snapshot.close().await;
        reader.close().await;
        Ok(size)
    }

    async fn read(
        &self,
        marks: impl FnOnce(Option<&[u8]>) -> Vec<u64>,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<(Option<Vec<u8>>, Scanned), LogFailure> {
        let mut reader = self.reader().await?;
        let mut snapshot = match reader.log(&self.origin).await {
            Ok(snapshot) => snapshot,
            Err(StoreFault::Missing(_)) => return Err(ReadError::Missing(self.place()).into()),
            Err(fault) => return Err(self.failed()(fault)),
        };
        let note = snapshot.checkpoint().map(<[u8]>::to_vec);
        let head = snapshot.head();
        let scanner = Scanner::new(&marks(note.as_deref()));
        let scanned = snapshot.scan(scanner, visit).await.map_err(self.failed())?;
        snapshot.close().await;
        reader.close().await;
        let found = Head { size: scanned.chain.size(), leaf: scanned.chain.last() };
        if scanned.damage.is_none() && found != head {
            let reason =
                format!("its head row says {} events, its lines are {}", head.size, found.size);
            return Err(LogFailure::Damaged { place: self.place(), reason });
        }
        Ok((note, scanned))
    }

    async fn read_behind(
        &self,
        chain: &mut Chain,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<(), LogFailure> {
        let mut reader = self.reader().await?;
        let mut snapshot = reader.log(&self.origin).await.map_err(self.failed())?;
        let (mut lines, known) = (Vec::new(), chain.next_seq());
        let mut keep = |_: Seq, line: &[u8]| lines.push(line.to_vec());
        snapshot.lines(known, &mut keep).await.map_err(self.failed())?;
        snapshot.close().await;
        reader.close().await;
        for line in lines {
            let recorded = chain.accept(&line).map_err(|error| LogFailure::Damaged {
                place: self.place(),
                reason: error.to_string(),
            })?;
            visit(&recorded);
        }
        Ok(())
    }

    /// Copies the log into a folder: checkpoint, lines, the content they name.
    async fn copy(&self) -> Result<FolderCopy, LogFailure> {
        let folder = FolderCopy { layout: Layout::new(&self.scratch), is_scratch: true };
        let layout = &folder.layout;
        let failed =
            |source| LogFailure::from(ReadError::Io { path: self.scratch.clone(), source });
        let _ = std::fs::remove_dir_all(layout.root());
        std::fs::create_dir_all(layout.segments())
            .and_then(|()| std::fs::create_dir_all(layout.blobs()))
            .map_err(failed)?;
        let segment = std::fs::File::create(layout.segment(Seq(0))).map_err(failed)?;
        let (mut segment, mut written) = (io::BufWriter::new(segment), Ok(()));
        let mut blobs = std::collections::BTreeMap::new();
        let mut write = |recorded: &Recorded, line: &[u8]| {
            if written.is_ok() {
                written = segment.write_all(line).and_then(|()| segment.write_all(b"\n"));
            }
            blobs.extend(recorded.event.blob().map(|blob| (blob.digest, blob)));
        };
        let (note, scanned) = self.read(|_| Vec::new(), &mut write).await?;
        written.and_then(|()| segment.flush()).map_err(failed)?;
        if let Some(damage) = scanned.damage {
            return Err(LogFailure::Damaged { place: self.place(), reason: damage.to_string() });
        }
        if let Some(note) = note {
            std::fs::write(layout.checkpoint(), note).map_err(failed)?;
        }
        let mut reader = BlobReader::of(&LogHome::Postgres(Box::new(self.clone()))).await?;
        for (digest, blob) in blobs {
            let content = reader.get(&blob).await?;
            std::fs::write(layout.blob(&digest), content).map_err(failed)?;
        }
        reader.close().await;
        Ok(folder)
    }
}

/// A log as a folder: its own, or a copy that goes away with this value.
pub(crate) struct FolderCopy {
    pub(crate) layout: Layout,
    is_scratch: bool,
}

impl Drop for FolderCopy {
    fn drop(&mut self) {
        if self.is_scratch {
            // What stays of it is removed before the next one is made.
            let _ = std::fs::remove_dir_all(self.layout.root());
        }
    }
}

/// Fetches content beside a log, one piece after the other.
pub(crate) enum BlobReader {
    /// Of a folder.
    Folder(Layout),
    /// Of an export file, which has none.
    None(String),
    /// Of a database.
    Postgres { reader: Box<LogReader>, origin: Origin, place: String },
}

impl BlobReader {
    pub(crate) async fn of(home: &LogHome) -> Result<Self, LogFailure> {
        Ok(match home {
            LogHome::Folder(layout) => Self::Folder(layout.clone()),
            LogHome::Export(path) => {
                Self::None(format!("{} (an export file holds lines only)", path.display()))
            }
            LogHome::Postgres(home) => Self::Postgres {
                reader: Box::new(home.reader().await?),
                origin: home.origin.clone(),
                place: home.place(),
            },
        })
    }

    pub(crate) async fn get(&mut self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        match self {
            Self::Folder(layout) => layout.get_blob(reference),
            Self::None(place) => Err(BlobError::Missing { place: place.clone() }),
            Self::Postgres { reader, origin, place } => {
                let failed = |fault: StoreFault| BlobError::Io {
                    place: place.clone(),
                    source: fault.into(),
                };
                let mut snapshot = reader.log(origin).await.map_err(failed)?;
                let content = snapshot.blob(reference).await;
                snapshot.close().await;
                content
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Self::Postgres { reader, .. } = self {
            reader.close().await;
        }
    }
}

impl LogHome {
    /// Names it for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Folder(layout) => layout.root().display().to_string(),
            Self::Export(path) => path.display().to_string(),
            Self::Postgres(home) => home.place(),
        }
    }

    /// What `log_moved` events call it.
    pub(crate) async fn home_name(&self) -> Result<String, LogFailure> {
        match self {
            Self::Folder(_) | Self::Export(_) => Ok(FILE_HOME.to_owned()),
            Self::Postgres(home) => {
                let reader = home.reader().await?;
                let name = reader.home();
                reader.close().await;
                Ok(name)
            }
        }
    }

    /// Whether there is a log.
    pub(crate) async fn exists(&self) -> Result<bool, LogFailure> {
        match self {
            Self::Folder(layout) => Ok(layout.segments().exists()),
            Self::Export(path) => Ok(path.exists()),
            Self::Postgres(home) => home.exists().await,
        }
    }

    /// How far it reaches: grows with every append.
    pub(crate) async fn extent(&self) -> Result<u64, LogFailure> {
        Ok(match self {
            Self::Folder(layout) => {
                let entries = std::fs::read_dir(layout.segments()).into_iter().flatten().flatten();
                entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
            }
            Self::Export(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Self::Postgres(home) if home.exists().await? => home.extent().await?,
            Self::Postgres(_) => 0,
        })
    }

    /// Reads all of it in bounded memory: the signed head first, from which `marks` says whose
    /// roots are noted, then every whole event.
    pub(crate) async fn read(
        &self,
        marks: impl FnOnce(Option<&[u8]>) -> Vec<u64>,
        visit: &mut dyn FnMut(&Recorded, &[u8]),
    ) -> Result<(Option<Vec<u8>>, Scanned), LogFailure> {
        match self {
            Self::Folder(layout) => {
                let files = LogFiles::find(layout)?;
                let scanned = files.scan(&marks(files.checkpoint.as_deref()), visit)?;
                Ok((files.checkpoint, scanned))
            }
            Self::Export(path) => read_export(path, marks, visit)
                .map_err(|source| ReadError::Io { path: path.clone(), source }.into()),
            Self::Postgres(home) => home.read(marks, visit).await,
        }
    }

    /// The log as a folder.
    pub(crate) async fn folder(&self) -> Result<FolderCopy, LogFailure> {
        match self {
            Self::Folder(layout) => Ok(FolderCopy { layout: layout.clone(), is_scratch: false }),
            Self::Export(path) => Err(ReadError::Foreign(path.clone()).into()),
            Self::Postgres(home) => home.copy().await,
        }
    }

    /// Gives what was appended behind `chain` to `visit`, whole events only, and steps over it.
    ///
    /// Reads from the segment that holds the end of `chain`: what a follower of a log asks for
    /// again and again. Links are verified; signatures are not, as none may be there yet.
    pub(crate) async fn read_behind(
        &self,
        chain: &mut Chain,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<(), LogFailure> {
        match self {
            Self::Folder(layout) => read_behind(LogFiles::find(layout)?, chain, visit),
            // It was written once and does not grow.
            Self::Export(_) => Ok(()),
            Self::Postgres(home) => home.read_behind(chain, visit).await,
        }
    }
}

fn read_behind(
    mut files: LogFiles,
    chain: &mut Chain,
    visit: &mut dyn FnMut(&Recorded),
) -> Result<(), LogFailure> {
    let known = chain.size();
    let place = |files: &LogFiles| {
        let folder = files.segments.first().and_then(|(_, path)| path.parent());
        folder.map(|folder| folder.display().to_string()).unwrap_or_default()
    };
    let place = place(&files);
    let damaged = |reason: String| LogFailure::Damaged { place: place.clone(), reason };
    // The last known event is looked at again: a log that was replaced is not followed.
    let last_known = known.saturating_sub(1);
    let passed = files.segments.partition_point(|(first, _)| first.0 <= last_known);
    files.segments.drain(..passed.saturating_sub(1));
    let first = files.segments.first().map_or(0, |(first, _)| first.0);
    let mut lines = files.lines().skip(usize::try_from(last_known - first).unwrap_or(usize::MAX));
    if known > 0 {
        let again = lines.next().transpose()?;
        if again.map(|line| LeafHash::of_line(&line)) != Some(chain.last()) {
            return Err(damaged(format!("event {last_known}: it is not what it was before")));
        }
    }
    for line in lines {
        let recorded = chain.accept(&line?).map_err(|error| damaged(error.to_string()))?;
        visit(&recorded);
    }
    Ok(())
}

fn read_export(
    path: &Path,
    marks: impl FnOnce(Option<&[u8]>) -> Vec<u64>,
    visit: &mut dyn FnMut(&Recorded, &[u8]),
) -> io::Result<(Option<Vec<u8>>, Scanned)> {
    let mut file = std::fs::File::open(path)?;
    let (note, first) = split_export(&mut file)?;
    let note = (!note.is_empty()).then_some(note);
    let mut scanner = Scanner::new(&marks(note.as_deref()));
    let mut fed = scanner.begin_segment(Seq(0)).and_then(|()| scanner.feed(&first, visit));
    let mut buffer = vec![0; 128 * 1024];
    while fed.is_ok() {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(n) => fed = scanner.feed(&buffer[..n], visit),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What stopped it, if anything did, the scanner says.
    Ok((note, scanner.finish()))
}
