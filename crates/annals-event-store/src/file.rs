//! The file log: JSONL segments, one writer.

use std::fs::{self, File, OpenOptions as FileOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use annals_events::{
    BlobRef, Chain, Damage, Digest, Draft, Origin, Recorded, Seq, TailRepaired, Timestamp, seal,
};
use annals_keys::{Checkpoint, CheckpointError, SecretKey, VerifierKey};

use crate::disk;
use crate::layout::Layout;
use crate::read::{LogFiles, ReadError, read_files};
use crate::store::{AppendError, EventStore, Head};

/// A segment is closed when it has grown beyond this. Rewriting the open one takes milliseconds.
const SEGMENT_BYTES: u64 = 1 << 20;

/// What is needed to open a log for writing.
pub struct OpenOptions<'a> {
    /// Checks the checkpoint.
    pub verifier: &'a VerifierKey,
    /// Events the log must have at least, because somebody else has seen them: the target's ledger.
    pub known_size: u64,
    /// The clock's reading.
    pub now: Timestamp,
    /// Shown to whoever finds the log locked: process, host, command.
    pub holder: &'a str,
    /// The envelope of a [`TailRepaired`] event, should one be needed.
    pub repair: &'a dyn Fn(TailRepaired) -> Draft,
}

/// Why a log cannot be opened for writing. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The files cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another process writes to it.
    #[error("the event log in {} is locked by {holder}", folder.display())]
    Locked {
        /// The log.
        folder: PathBuf,
        /// Who.
        holder: String,
    },
    /// It has been altered.
    #[error("the event log in {} is damaged at {damage}", folder.display())]
    Damaged {
        /// The log.
        folder: PathBuf,
        /// The first thing wrong.
        damage: Damage,
    },
    /// It is shorter than its checkpoint says.
    #[error(
        "the event log in {} has {size} whole events, its checkpoint vouches for {signed}: the tail is cut",
        folder.display()
    )]
    CutTail {
        /// The log.
        folder: PathBuf,
        /// Whole events.
        size: u64,
        /// Events the checkpoint vouches for.
        signed: u64,
    },
    /// The target's ledger knows events this log does not have.
    #[error(
        "the event log in {} has {size} events, the target's ledger knows {known}: this is an older copy",
        folder.display()
    )]
    Older {
        /// The log.
        folder: PathBuf,
        /// Whole events.
        size: u64,
        /// Events the ledger knows of.
        known: u64,
    },
    /// Its checkpoint is gone.
    #[error("the event log in {} has no checkpoint: nothing vouches for it", folder.display())]
    NeverSigned {
        /// The log.
        folder: PathBuf,
    },
    /// The checkpoint is not acceptable.
    #[error("the checkpoint of the event log in {}: {source}", folder.display())]
    Checkpoint {
        /// The log.
        folder: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// The signed root is not the root of these events.
    #[error(
        "the event log in {}: its {signed} first events are not those the checkpoint vouches for",
        folder.display()
    )]
    OtherHistory {
        /// The log.
        folder: PathBuf,
        /// Events the checkpoint vouches for.
        signed: u64,
    },
    /// It holds what only a newer annals understands.
    #[error("the event log in {} was written by a newer annals ({what})", folder.display())]
    Newer {
        /// The log.
        folder: PathBuf,
        /// What is not understood.
        what: String,
    },
    /// The disk says no.
    #[error("cannot write the event log in {}", folder.display())]
    Io {
        /// The log.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The event of a repair cannot be stored.
    #[error("cannot record the repair of the event log in {}", folder.display())]
    Repair {
        /// The log.
        folder: PathBuf,
        /// Why.
        source: annals_events::SealError,
    },
}

/// A log in a folder, open for writing, locked against other writers until dropped.
pub struct FileLog {
    layout: Layout,
    origin: Origin,
    events: Vec<Recorded>,
    chain: Chain,
    segment: File,
    segment_first: Seq,
    segment_bytes: u64,
    signed: u64,
    stopped: bool,
    _lock: File,
}

fn take_lock(layout: &Layout, holder: &str) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { folder: layout.root().to_owned(), source };
    let path = layout.lock();
    let mut options = FileOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The text is a courtesy: whoever holds the lock may not have written it yet.
            let _ = file.read_to_string(&mut text);
            let holder = match text.trim() {
                "" => "another process".to_owned(),
                text => text.to_owned(),
            };
            return Err(OpenError::Locked { folder: layout.root().to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(io)?;
    Ok(file)
}

impl FileLog {
    /// Starts a log with its first event, signed. The folder must not hold one yet.
    ///
    /// The checkpoint is there before the first segment is, so a log without one has lost it.
    ///
    /// # Errors
    ///
    /// When there is one, it is locked, or the disk says no.
    pub fn create(
        layout: Layout,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        options: &OpenOptions<'_>,
    ) -> Result<Self, OpenError> {
        let folder = layout.root().to_owned();
        let io = |source| OpenError::Io { folder: folder.clone(), source };
        disk::create_folder(layout.root()).map_err(io)?;
        let lock = take_lock(&layout, options.holder)?;
        if layout.segments().exists() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(io(source));
        }
        let (mut chain, mut lines) = (Chain::default(), Vec::new());
        let recorded = seal(&mut chain, origin, first, options.now, &mut lines)
            .map_err(|source| OpenError::Repair { folder: folder.clone(), source })?;
        let checkpoint =
            Checkpoint { origin: origin.clone(), size: chain.size(), root: chain.root() };
        // A crash before the rename leaves a folder that counts as no log at all.
        let staging = folder.join(".segments.new");
        let _ = fs::remove_dir_all(&staging);
        fs::create_dir(&staging)
            .and_then(|()| {
                disk::replace(&layout.checkpoint(), checkpoint.sign(key).as_bytes())?;
                disk::replace(&staging.join(format!("{:020}.jsonl", 0)), &lines)?;
                fs::rename(&staging, layout.segments())?;
                File::open(&folder)?.sync_all()
            })
            .map_err(io)?;
        let files = LogFiles { segments: vec![(Seq(0), lines)], checkpoint: None };
        Self::over(layout, lock, &files, vec![recorded], chain, checkpoint.size)
    }

    /// Opens a log for writing: locks it, verifies all of it, moves an unacknowledged tail aside.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; any damage but a torn tail refuses.
    pub fn open(layout: Layout, options: &OpenOptions<'_>) -> Result<Self, OpenError> {
        let folder = layout.root().to_owned();
        if !layout.segments().is_dir() {
            return Err(ReadError::Missing(folder).into());
        }
        let lock = take_lock(&layout, options.holder)?;
        let mut files = read_files(&layout)?;
        let Some(note) = &files.checkpoint else {
            return Err(OpenError::NeverSigned { folder });
        };
        let checkpoint = Checkpoint::open(note, options.verifier)
            .map_err(|source| OpenError::Checkpoint { folder: folder.clone(), source })?;
        let mut scan = files.scan(&[checkpoint.size]);
        if let Some(damage) = scan.damage.take() {
            return Err(OpenError::Damaged { folder, damage });
        }
        check_signed(&folder, &checkpoint, &scan)?;
        check_understood(&folder, &scan)?;
        // Before anything is written: what is appended to an older copy would fork the history.
        let (size, known) = (scan.chain.size(), options.known_size);
        if size < known {
            return Err(OpenError::Older { folder, size, known });
        }
        let (mut events, mut chain) = (scan.events, scan.chain);
        if !scan.torn.is_empty() {
            let torn = scan.torn;
            repair_tail(&layout, options, &mut files, &torn, &mut chain, &mut events)?;
        }
        Self::over(layout, lock, &files, events, chain, checkpoint.size)
    }

    /// Rewrites the open segment to a new inode and keeps it open for appending.
    ///
    /// After a failed `fsync` in an earlier life the page cache may show bytes the disk never got;
    /// writing them anew is the only way to know that what was verified is what is stored.
    fn over(
        layout: Layout,
        lock: File,
        files: &LogFiles,
        events: Vec<Recorded>,
        chain: Chain,
        signed: u64,
    ) -> Result<Self, OpenError> {
        let folder = layout.root().to_owned();
        let (segment_first, bytes) = files.segments.last().expect("a log has a segment");
        let path = layout.segment(*segment_first);
        let segment = disk::replace(&path, bytes)
            .and_then(|()| FileOptions::new().append(true).open(&path))
            .map_err(|source| OpenError::Io { folder, source })?;
        let origin = chain.origin().expect("a log has a first event").clone();
        Ok(Self {
            layout,
            origin,
            events,
            chain,
            segment,
            segment_first: *segment_first,
            segment_bytes: bytes.len() as u64,
            signed,
            stopped: false,
            _lock: lock,
        })
    }

    /// Where it lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Events the published checkpoint vouches for.
    pub fn signed(&self) -> u64 {
        self.signed
    }

    /// Stores content beside the log.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn put_blob(&self, content: &[u8]) -> Result<BlobRef, crate::BlobError> {
        self.layout.put_blob(content)
    }

    /// Signs the head and publishes it.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn publish_checkpoint(&mut self, key: &SecretKey) -> io::Result<Checkpoint> {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: self.chain.size(),
            root: self.chain.root(),
        };
        disk::replace(&self.layout.checkpoint(), checkpoint.sign(key).as_bytes())?;
        self.signed = checkpoint.size;
        Ok(checkpoint)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        // One write of whole lines. A crash inside it leaves bytes without a line feed at the end,
        // or nothing: both are an append that was never acknowledged.
        self.segment.write_all(lines)?;
        // A crash here may keep or lose the lines; nobody has been told that they are there.
        self.segment.sync_data()
    }

    fn start_segment(&mut self) -> io::Result<()> {
        self.segment.set_permissions(fs::Permissions::from_mode(0o444))?;
        let first = self.chain.next_seq();
        let path = self.layout.segment(first);
        // An empty last segment is a valid end of a log, so a crash after this changes nothing.
        disk::replace(&path, b"")?;
        self.segment = FileOptions::new().append(true).open(&path)?;
        (self.segment_first, self.segment_bytes) = (first, 0);
        tracing::debug!(segment = %self.segment_first, "started a log segment");
        Ok(())
    }

    fn append_now(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        if expected != self.head() {
            return Err(AppendError::HeadMoved { expected, found: self.head() });
        }
        // Sealed onto a copy: a refused event must leave the chain where it was.
        let mut chain = self.chain.clone();
        let (mut lines, mut batch) = (Vec::new(), Vec::with_capacity(drafts.len()));
        for draft in drafts {
            batch.push(seal(&mut chain, &self.origin, draft, now, &mut lines)?);
        }
        if self.segment_bytes > SEGMENT_BYTES {
            self.start_segment().map_err(|error| self.stop(error))?;
        }
        self.write(&lines).map_err(|error| self.stop(error))?;
        self.segment_bytes += lines.len() as u64;
        self.chain = chain;
        self.events.extend_from_slice(&batch);
        Ok(batch)
    }

    fn stop(&mut self, error: io::Error) -> AppendError {
        self.stopped = true;
        AppendError::NotDurable(error)
    }
}

impl EventStore for FileLog {
    fn head(&self) -> Head {
        Head { size: self.chain.size(), leaf: self.chain.last() }
    }

    fn events(&self) -> &[Recorded] {
        &self.events
    }

    async fn append(
        &mut self,
        expected: Head,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Recorded>, AppendError> {
        self.append_now(expected, drafts, now)
    }
}

fn check_signed(
    folder: &std::path::Path,
    checkpoint: &Checkpoint,
    scan: &annals_events::Scan,
) -> Result<(), OpenError> {
    let (folder, signed) = (folder.to_owned(), checkpoint.size);
    match scan.root_at(signed) {
        None => Err(OpenError::CutTail { folder, size: scan.chain.size(), signed }),
        Some(root)
            if root == checkpoint.root && scan.chain.origin() == Some(&checkpoint.origin) =>
        {
            Ok(())
        }
        Some(_) => Err(OpenError::OtherHistory { folder, signed }),
    }
}

/// A newer format may be read, never written.
fn check_understood(folder: &std::path::Path, scan: &annals_events::Scan) -> Result<(), OpenError> {
    let newer = |what: String| OpenError::Newer { folder: folder.to_owned(), what };
    if let Some(unknown) = scan.first_unknown() {
        let (kind, schema) = (unknown.event.kind(), unknown.event.schema());
        return Err(newer(format!("event {}: {kind}, schema {schema}", unknown.seq)));
    }
    match scan.events.first().map(|recorded| &recorded.event) {
        Some(annals_events::Event::LogCreated(created))
            if created.format > annals_events::FORMAT_VERSION =>
        {
            Err(newer(format!("format {}", created.format)))
        }
        _ => Ok(()),
    }
}

/// Moves `torn` to the quarantine and records it.
///
/// First the copy becomes durable, then the caller rewrites the segment with the event in place of
/// the torn bytes: a crash between the two finds the torn tail again and does the same again.
fn repair_tail(
    layout: &Layout,
    options: &OpenOptions<'_>,
    files: &mut LogFiles,
    torn: &[u8],
    chain: &mut Chain,
    events: &mut Vec<Recorded>,
) -> Result<(), OpenError> {
    let folder = layout.root().to_owned();
    let digest = Digest::of(torn);
    let name = format!("tail-{}-{}", chain.size(), digest.short(12));
    disk::create_folder(&layout.quarantine())
        .and_then(|()| disk::replace(&layout.quarantine().join(&name), torn))
        .map_err(|source| OpenError::Io { folder: folder.clone(), source })?;
    let origin = chain.origin().expect("a log has a first event").clone();
    let fact = TailRepaired { bytes: torn.len() as u64, digest, quarantined_as: name };
    let (_, bytes) = files.segments.last_mut().expect("a log has a segment");
    bytes.truncate(bytes.len() - torn.len());
    let recorded = seal(chain, &origin, &(options.repair)(fact), options.now, bytes)
        .map_err(|source| OpenError::Repair { folder, source })?;
    tracing::warn!(bytes = torn.len(), "moved an unacknowledged tail of the event log aside");
    events.push(recorded);
    Ok(())
}
