//! Reads a container to its authenticated end, and checks all of it against its manifest.

use std::collections::BTreeMap;
use std::io::Read;

use annals_backup::{BackupId, KeyEncryptionKey, Receipt, SealedReader, open};
use annals_schema::{Snapshot, Stored};

use crate::contents::{RecordKind, Records};
use crate::error::ArchiveError;
use crate::manifest::{MANIFEST_FORMAT, Manifest};
use crate::rows::RowSum;
use crate::{Phase, Watcher};

/// What a container that was read to its end holds.
#[derive(Debug)]
pub struct Archive {
    /// What it says of itself; everything in it has been compared with this.
    pub manifest: Manifest,
    /// The picture of the schema.
    pub schema: Snapshot,
    /// The measures of the container.
    pub receipt: Receipt,
}

/// Opens what is sealed, as the backup it must be.
pub(crate) fn unseal<R: Read>(
    source: R,
    keys: &[KeyEncryptionKey],
    expected: BackupId,
) -> Result<Records<SealedReader<R>>, ArchiveError> {
    Records::begin(open(source, keys)?.expect_backup(expected)?)
}

/// Reads all of a container: every tag, every piece, every row is checked, and the sums compared with
/// the manifest. Blocks the thread.
///
/// # Errors
///
/// When a key is missing, a byte was changed, or what is in it is not what the manifest says.
pub fn read_through<R: Read>(
    source: R,
    keys: &[KeyEncryptionKey],
    expected: BackupId,
    watcher: &mut dyn Watcher,
) -> Result<Archive, ArchiveError> {
    watcher.begins(Phase::Authenticate, 0);
    let mut records = unseal(source, keys, expected)?;
    let decompressor = zstd::bulk::Decompressor::new();
    let mut decompressor =
        decompressor.map_err(|error| ArchiveError::Stopped(error.to_string()))?;
    let mut seen = Seen::default();
    while let Some(record) = records.next()? {
        let raw = record.unpack(&mut decompressor)?;
        watcher.advances(record.raw_bytes());
        seen.take(record.kind, raw)?;
    }
    let receipt = records.into_source().finish()?;
    let (manifest, schema) = seen.check()?;
    if manifest.backup != expected.to_string() {
        return Err(not_as_said(format!("it calls itself {}", manifest.backup)));
    }
    Ok(Archive { manifest, schema, receipt })
}

/// What the records held.
#[derive(Default)]
struct Seen {
    pre_data: bool,
    post_data: bool,
    schema: Option<Snapshot>,
    owners: RowSum,
    pages: RowSum,
    tables: BTreeMap<u32, RowSum>,
    manifest: Option<Manifest>,
}

impl Seen {
    fn take(&mut self, kind: RecordKind, raw: Vec<u8>) -> Result<(), ArchiveError> {
        let malformed = |reason: String| ArchiveError::Malformed(reason);
        match kind {
            RecordKind::PreData | RecordKind::PostData => {
                let before = match kind {
                    RecordKind::PreData => &mut self.pre_data,
                    _ => &mut self.post_data,
                };
                if std::mem::replace(before, true) || !self.tables.is_empty() {
                    return Err(malformed("a section of the schema stands where it cannot".into()));
                }
                if std::str::from_utf8(&raw).is_err() {
                    return Err(malformed("a section of the schema is not UTF-8".into()));
                }
            }
            RecordKind::Schema => {
                let stored = Stored::parse(&raw).and_then(Stored::full);
                let schema = stored.map_err(|error| malformed(error.to_string()))?;
                self.schema = Some(schema);
            }
            RecordKind::LargeObjectOwners => self.owners.add(&raw),
            RecordKind::LargeObjectPages => self.pages.add(&raw),
            RecordKind::Rows(table) => self.tables.entry(table).or_default().add(&raw),
            RecordKind::Manifest => {
                let manifest: Manifest = serde_json::from_slice(&raw)
                    .map_err(|error| malformed(format!("the manifest: {error}")))?;
                if manifest.format > MANIFEST_FORMAT
                    || manifest.format != manifest.kind.manifest_format()
                {
                    let found = manifest.format;
                    return Err(malformed(format!("the manifest has format {found}")));
                }
                self.manifest = Some(manifest);
            }
        }
        Ok(())
    }

    fn check(self) -> Result<(Manifest, Snapshot), ArchiveError> {
        let (Some(manifest), Some(schema)) = (self.manifest, self.schema) else {
            return Err(ArchiveError::Malformed("it has no manifest, or no picture".to_owned()));
        };
        if !(self.pre_data && self.post_data) {
            return Err(ArchiveError::Malformed("a section of the schema is missing".to_owned()));
        }
        if schema.fingerprint().to_string() != manifest.schema_fingerprint {
            return Err(not_as_said("the picture of the schema is another one"));
        }
        let mut tables = self.tables;
        for (at, table) in manifest.tables.iter().enumerate() {
            let found =
                u32::try_from(at).ok().and_then(|at| tables.remove(&at)).unwrap_or_default();
            if found.content() != table.content {
                return Err(not_as_said(format!("table {}", table.name)));
            }
        }
        if !tables.is_empty() {
            return Err(not_as_said("there are rows of no table"));
        }
        let large = manifest.large_objects.clone().unwrap_or_default();
        if self.owners.content() != large.owners || self.pages.content() != large.pages {
            return Err(not_as_said("large objects"));
        }
        Ok((manifest, schema))
    }
}

fn not_as_said(what: impl Into<String>) -> ArchiveError {
    ArchiveError::NotAsSaid(what.into())
}
