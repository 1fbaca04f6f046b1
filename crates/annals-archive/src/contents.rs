//! The plaintext of a backup: records one behind the other, each a compressed piece that opens alone.

use std::io::{Read, Write};

use annals_backup::BackupError;

use crate::error::ArchiveError;

/// What the plaintext begins with.
const MAGIC: &[u8; 8] = b"ANNALSDB";

/// Version of the contents.
const VERSION: u16 = 1;

/// zstd's level: as small as 3 or 6 on rows of tables, and far faster.
pub(crate) const LEVEL: i32 = 1;

/// The most a record holds: PostgreSQL sends no row longer than 1 GiB.
const MAX_RAW_BYTES: u32 = (1 << 30) + (64 << 20);

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// SQL that comes before rows.
    PreData,
    /// SQL that comes behind them.
    PostData,
    /// The picture of the schema.
    Schema,
    /// A row for each large object.
    LargeObjectOwners,
    /// Rows of the table with this number in the manifest.
    Rows(u32),
    /// Bytes of large objects.
    LargeObjectPages,
    /// The manifest; the last record.
    Manifest,
}

impl RecordKind {
    const fn code(self) -> (u8, u32) {
        match self {
            Self::PreData => (1, 0),
            Self::PostData => (2, 0),
            Self::Schema => (3, 0),
            Self::LargeObjectOwners => (4, 0),
            Self::Rows(table) => (5, table),
            Self::LargeObjectPages => (6, 0),
            Self::Manifest => (7, 0),
        }
    }

    const fn of_code(code: u8, table: u32) -> Option<Self> {
        Some(match (code, table) {
            (1, 0) => Self::PreData,
            (2, 0) => Self::PostData,
            (3, 0) => Self::Schema,
            (4, 0) => Self::LargeObjectOwners,
            (5, table) => Self::Rows(table),
            (6, 0) => Self::LargeObjectPages,
            (7, 0) => Self::Manifest,
            _ => return None,
        })
    }
}

/// A piece as it is stored: one zstd frame.
pub(crate) struct Record {
    pub(crate) kind: RecordKind,
    raw_bytes: u32,
    stored: Vec<u8>,
}

impl Record {
    /// Compresses a piece.
    pub(crate) fn pack(
        kind: RecordKind,
        raw: &[u8],
        compressor: &mut zstd::bulk::Compressor<'static>,
    ) -> Result<Self, ArchiveError> {
        let raw_bytes = u32::try_from(raw.len()).ok().filter(|bytes| *bytes <= MAX_RAW_BYTES);
        let raw_bytes = raw_bytes.ok_or_else(|| {
            ArchiveError::Malformed(format!("a piece of {} bytes is too long", raw.len()))
        })?;
        let stored = compressor.compress(raw).map_err(BackupError::Write)?;
        Ok(Self { kind, raw_bytes, stored })
    }

    /// Bytes of the piece before it was compressed.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw_bytes.into()
    }

    /// Gives the piece back.
    pub(crate) fn unpack(
        &self,
        decompressor: &mut zstd::bulk::Decompressor<'static>,
    ) -> Result<Vec<u8>, ArchiveError> {
        let length = self.raw_bytes as usize;
        let raw = decompressor.decompress(&self.stored, length);
        let raw =
            raw.map_err(|error| malformed(format!("a piece does not decompress: {error}")))?;
        match raw.len() == length {
            true => Ok(raw),
            false => Err(malformed(format!("a piece has {} bytes, not {length}", raw.len()))),
        }
    }

    pub(crate) fn write(&self, sink: &mut impl Write) -> Result<(), BackupError> {
        let (code, table) = self.kind.code();
        let stored = u32::try_from(self.stored.len()).unwrap_or(u32::MAX);
        let mut head = [0; HEAD_BYTES];
        head[0] = code;
        head[1..5].copy_from_slice(&table.to_be_bytes());
        head[5..9].copy_from_slice(&self.raw_bytes.to_be_bytes());
        head[9..13].copy_from_slice(&stored.to_be_bytes());
        sink.write_all(&head).map_err(refusal)?;
        sink.write_all(&self.stored).map_err(refusal)
    }
}

const HEAD_BYTES: usize = 13;

/// Writes what stands before the first record.
pub(crate) fn begin(sink: &mut impl Write) -> Result<(), BackupError> {
    sink.write_all(MAGIC).map_err(refusal)?;
    sink.write_all(&VERSION.to_be_bytes()).map_err(refusal)
}

/// Reads records, to the end.
pub(crate) struct Records<R> {
    source: R,
    is_over: bool,
}

impl<R: Read> Records<R> {
    /// Reads what stands before the first record.
    pub(crate) fn begin(mut source: R) -> Result<Self, ArchiveError> {
        let mut start = [0; 10];
        read_whole(&mut source, &mut start)?;
        if !start.starts_with(MAGIC) {
            return Err(malformed("it does not begin as a database's"));
        }
        let found = u16::from_be_bytes([start[8], start[9]]);
        if found != VERSION {
            return Err(ArchiveError::NewerContents { found, known: VERSION });
        }
        Ok(Self { source, is_over: false })
    }

    /// The next record; none behind the manifest, where the source is at its verified end.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, ArchiveError> {
        if self.is_over {
            let mut more = [0];
            return match self.source.read(&mut more).map_err(read_refusal)? {
                0 => Ok(None),
                _ => Err(malformed("something stands behind the manifest")),
            };
        }
        let mut head = [0; HEAD_BYTES];
        read_whole(&mut self.source, &mut head)?;
        let number =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (table, raw_bytes, stored_bytes) = (number(1), number(5), number(9));
        let kind = RecordKind::of_code(head[0], table)
            .ok_or_else(|| malformed(format!("there is no record of kind {}", head[0])))?;
        // What does not get smaller grows by less than this.
        let most = u64::from(raw_bytes) + u64::from(raw_bytes) / 128 + 1024;
        if raw_bytes > MAX_RAW_BYTES || u64::from(stored_bytes) > most {
            return Err(malformed("a piece is longer than any"));
        }
        let mut stored = vec![0; stored_bytes as usize];
        read_whole(&mut self.source, &mut stored)?;
        self.is_over = kind == RecordKind::Manifest;
        Ok(Some(Record { kind, raw_bytes, stored }))
    }

    /// Gives the source back.
    pub(crate) fn into_source(self) -> R {
        self.source
    }
}

fn malformed(reason: impl Into<String>) -> ArchiveError {
    ArchiveError::Malformed(reason.into())
}

fn read_whole(source: &mut impl Read, out: &mut [u8]) -> Result<(), ArchiveError> {
    source.read_exact(out).map_err(read_refusal)
}

/// The container's own refusal, where that is what the driver of bytes carries.
fn refusal(error: std::io::Error) -> BackupError {
    match error.downcast::<BackupError>() {
        Ok(refusal) => refusal,
        Err(other) => BackupError::Write(other),
    }
}

fn read_refusal(error: std::io::Error) -> ArchiveError {
    match error.downcast::<BackupError>() {
        Ok(refusal) => refusal.into(),
        // The container has ended, authentic, in the middle of a record.
        Err(other) if other.kind() == std::io::ErrorKind::UnexpectedEof => {
            malformed("it ends in the middle of a piece")
        }
        Err(other) => BackupError::Read(other).into(),
    }
}
