//! Backups in an S3-compatible store: an object is there whole, or not at all.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use annals_backup::{Examination, Receipt, examine};
use annals_objects::{Bucket, Error, Fault, Limits, Part, PutMode, S3Place, UploadId, Variables};
use futures_util::TryStreamExt;
use tokio::runtime::Handle;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::error::ArchiveError;
use crate::store::{ENDING, StoreError, StoredBackup};
use crate::stores::Naming;

/// Bytes of a part that is sent. One is on its way while the next one fills, so memory is twice this.
const PART_BYTES: usize = 16 << 20;

/// Parts an object may have.
const MAX_PARTS: usize = 10_000;

/// Bytes that are asked for at once. While they are read the next ones are on their way.
const WINDOW_BYTES: u64 = 8 << 20;

/// What tells of an object that is on its way in parts is called behind its name.
const UNDER_WAY: &str = "upload";

/// The longest identifier of an upload that is read, in bytes.
const MAX_UPLOAD_ID_BYTES: u64 = 4096;

/// How long an upload is given up at the latest after that was asked for, whatever is on its way.
const LAST_PART: Duration = Duration::from_secs(5);

/// A folder of backups in a bucket.
#[derive(Clone)]
pub struct ObjectFolder {
    bucket: Arc<Bucket>,
    folder: String,
    /// Held by every part on its way: a store keeps one that arrives while its upload is given up
    /// (Amazon S3 API reference, `AbortMultipartUpload`).
    parts: Arc<RwLock<()>>,
}

impl ObjectFolder {
    /// The backups below `folder` of a place. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When something is missing or malformed, such as a credential.
    pub fn open(place: &S3Place, folder: &str, variables: &Variables) -> Result<Self, StoreError> {
        let bucket = Bucket::open(place, variables, Limits::default());
        let bucket = bucket.map_err(|reason| StoreError::Objects {
            what: "use",
            place: place.to_string(),
            reason,
        })?;
        let parts = Arc::new(RwLock::new(()));
        Ok(Self { bucket: Arc::new(bucket), folder: folder.to_owned(), parts })
    }

    fn object(&self, name: &str) -> String {
        format!("{}/{name}.{ENDING}", self.folder)
    }

    /// Where the identifier of an upload is kept, so that whoever comes behind a crash can end it.
    fn marker(&self, name: &str) -> String {
        format!("{}/.{name}.{UNDER_WAY}", self.folder)
    }

    /// Where a backup of that name is.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{}", self.bucket.place(), self.object(name))
    }

    fn fault(&self, what: &'static str, object: &str, error: &Error) -> StoreError {
        let place = format!("{}/{object}", self.bucket.place());
        let reason = match self.bucket.fault(error) {
            Fault::NoBucket => "there is no such bucket".to_owned(),
            Fault::Refused(reason) => format!("the store refuses it: {reason}"),
            Fault::BadKey(reason) | Fault::Unreachable(reason) => reason,
        };
        match error {
            Error::NotFound { .. } if self.bucket.fault(error) != Fault::NoBucket => {
                StoreError::Missing(place.into())
            }
            _ => StoreError::Objects { what, place, reason },
        }
    }

    /// Begins an object in parts. What others left half-made is given up: whoever takes a backup holds
    /// the lock of its target, so nobody is at it any more.
    ///
    /// # Errors
    ///
    /// When the store says no.
    pub async fn begin(&self, name: &str) -> Result<ObjectUpload, StoreError> {
        self.sweep().await?;
        let object = self.object(name);
        let id = self.bucket.begin_upload(&object).await;
        let id = id.map_err(|error| self.fault("write", &object, &error))?;
        let marker = self.marker(name);
        if let Err(error) = self.bucket.put(&marker, id.0.as_bytes(), PutMode::Overwrite).await {
            let _ = self.bucket.abort(&object, &id).await;
            return Err(self.fault("write", &marker, &error));
        }
        Ok(ObjectUpload {
            folder: self.clone(),
            name: name.to_owned(),
            id,
            handle: Handle::current(),
            buffer: Vec::new(),
            under_way: None,
            parts: Vec::new(),
            is_over: false,
        })
    }

    /// Gives up what [`Self::begin`] began under that name, while its writer may still be at it.
    pub async fn discard(&self, name: &str) {
        self.give_up(name).await;
    }

    /// Gives up every upload that was begun here.
    async fn sweep(&self) -> Result<(), StoreError> {
        let ending = format!(".{UNDER_WAY}");
        for name in self.names().await?.into_iter().map(|(name, _)| name) {
            let left = name.strip_prefix('.').and_then(|name| name.strip_suffix(&ending));
            if let Some(left) = left {
                self.give_up(left).await;
            }
        }
        Ok(())
    }

    /// Ends the upload of that name, if there is one. Where the store does not answer, what tells of it
    /// stays for the next time.
    async fn give_up(&self, name: &str) {
        let marker = self.marker(name);
        let Ok(found) = self.bucket.get(&marker).await else { return };
        if found.meta.size > MAX_UPLOAD_ID_BYTES {
            return;
        }
        let Ok(id) = found.bytes().await else { return };
        let Ok(id) = String::from_utf8(id.to_vec()) else { return };
        let arrived = tokio::time::timeout(LAST_PART, self.parts.write()).await;
        match self.bucket.abort(&self.object(name), &UploadId(id)).await {
            Ok(()) => {}
            // One that was completed, or given up, is not there any more.
            Err(error) if !annals_objects::answer_was_lost(&error) => {}
            Err(error) => {
                let error = self.fault("give up", &self.object(name), &error);
                tracing::warn!(%error, "an upload that was cut short is left to the next time");
                return;
            }
        }
        // What arrives later is given up by the next one.
        if arrived.is_ok() {
            let _ = self.bucket.delete(&marker).await;
        }
    }

    /// Names and sizes of what is in the folder itself.
    async fn names(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let below = format!("{}/", self.folder);
        let found = self.bucket.list(&self.folder).try_collect::<Vec<_>>().await;
        let found = found.map_err(|error| self.fault("list", &self.folder, &error))?;
        let names = found.into_iter().filter_map(|(name, meta)| {
            let name = name.strip_prefix(&below)?;
            (!name.contains('/')).then(|| (name.to_owned(), meta.size))
        });
        Ok(names.collect())
    }

    /// The backups there are, by name; those taken first come first.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    pub async fn list(&self) -> Result<Vec<StoredBackup>, StoreError> {
        let ending = format!(".{ENDING}");
        let backups = self.names().await?.into_iter().filter_map(|(name, bytes)| {
            let name = name.strip_suffix(&ending).filter(|name| !name.starts_with('.'))?.to_owned();
            let path = self.path(&name).into();
            Some(StoredBackup { name, path, bytes })
        });
        let mut backups: Vec<StoredBackup> = backups.collect();
        backups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(backups)
    }

    /// Opens a backup's object: it is read in ranges, from a thread that may block.
    ///
    /// # Errors
    ///
    /// When it is not there, or the store cannot be asked.
    pub async fn open_object(&self, name: &str) -> Result<ObjectReader, StoreError> {
        let object = self.object(name);
        let meta = self.bucket.head(&object).await;
        let meta = meta.map_err(|error| self.fault("read", &object, &error))?;
        Ok(ObjectReader {
            folder: self.clone(),
            object,
            e_tag: meta.e_tag,
            bytes: meta.size,
            asked: 0,
            handle: Handle::current(),
            window: Vec::new(),
            at: 0,
            next: None,
        })
    }

    /// Reads a backup's object without any key.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no whole container.
    pub async fn examine(&self, name: &str) -> Result<Examination, ArchiveError> {
        let source = self.open_object(name).await?;
        let examined = tokio::task::spawn_blocking(move || examine(source)).await;
        Ok(examined.map_err(|error| ArchiveError::Stopped(error.to_string()))??)
    }

    /// Removes a backup's object.
    ///
    /// # Errors
    ///
    /// When it is not there, or cannot be removed.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let object = self.object(name);
        // Stores say nothing of what was not there.
        let there = self.bucket.head(&object).await;
        there.map_err(|error| self.fault("remove", &object, &error))?;
        let removed = self.bucket.delete(&object).await;
        removed.map_err(|error| self.fault("remove", &object, &error))
    }
}

/// An object that is no backup yet. Dropped before it is completed, it is given up.
pub struct ObjectUpload {
    folder: ObjectFolder,
    name: String,
    id: UploadId,
    handle: Handle,
    buffer: Vec<u8>,
    under_way: Option<JoinHandle<Result<Part, StoreError>>>,
    parts: Vec<Part>,
    is_over: bool,
}

impl ObjectUpload {
    /// Sends what has gathered, and first waits for the part before.
    fn send(&mut self) -> Result<(), StoreError> {
        if let Some(before) = self.under_way.take() {
            self.parts.push(self.handle.block_on(before).map_err(broken_off)??);
        }
        let bytes = std::mem::take(&mut self.buffer);
        self.under_way = Some(self.sending(bytes)?);
        Ok(())
    }

    fn sending(&self, bytes: Vec<u8>) -> Result<JoinHandle<Result<Part, StoreError>>, StoreError> {
        let index = self.parts.len();
        if index >= MAX_PARTS {
            return Err(StoreError::Objects {
                what: "write",
                place: self.folder.path(&self.name),
                reason: format!(
                    "a backup of more than {} GiB does not fit into one object",
                    (PART_BYTES / (1 << 20)) * MAX_PARTS / 1024
                ),
            });
        }
        let (folder, object) = (self.folder.clone(), self.folder.object(&self.name));
        let id = self.id.clone();
        Ok(self.handle.spawn(async move {
            let _on_its_way = folder.parts.read().await;
            let sent = folder.bucket.put_part(&object, &id, index, bytes).await;
            sent.map_err(|error| folder.fault("write", &object, &error))
        }))
    }

    /// Sends what is left: every byte is in the store, checked there by its digest, under no name.
    ///
    /// # Errors
    ///
    /// When the store says no.
    pub async fn send_rest(&mut self) -> Result<(), StoreError> {
        if let Some(before) = self.under_way.take() {
            self.parts.push(before.await.map_err(broken_off)??);
        }
        if !self.buffer.is_empty() {
            let bytes = std::mem::take(&mut self.buffer);
            let part = self.sending(bytes)?.await.map_err(broken_off)??;
            self.parts.push(part);
        }
        Ok(())
    }

    /// Gives the object its name, in the place of one that has it, reads it again, and compares.
    ///
    /// # Errors
    ///
    /// When the store says no, or something else stands there than `receipt` says. A new one is removed
    /// then.
    pub async fn complete(
        mut self,
        receipt: &Receipt,
        naming: Naming,
    ) -> Result<String, ArchiveError> {
        self.send_rest().await?;
        let (folder, name) = (self.folder.clone(), self.name.clone());
        let (object, path) = (folder.object(&name), folder.path(&name));
        let parts = std::mem::take(&mut self.parts);
        let done = folder.bucket.complete(&object, &self.id, parts).await;
        let examined = folder.examine(&name).await;
        let is_whole = examined.as_ref().is_ok_and(|examined| examined.receipt == *receipt);
        match (done, examined) {
            // An answer that was lost may hide that it was done: only what stands there counts.
            _ if is_whole => {}
            (Err(error), _) => return Err(folder.fault("write", &object, &error).into()),
            (Ok(()), examined) => {
                if naming == Naming::New {
                    let _ = folder.bucket.delete(&object).await;
                }
                let reason = match examined {
                    Ok(_) => "its digest is another one".to_owned(),
                    Err(error) => error.to_string(),
                };
                return Err(StoreError::NotAsWritten { path: path.into(), reason }.into());
            }
        }
        self.is_over = true;
        let _ = folder.bucket.delete(&folder.marker(&name)).await;
        Ok(path)
    }
}

fn broken_off(error: tokio::task::JoinError) -> StoreError {
    StoreError::Objects {
        what: "write",
        place: "the store".to_owned(),
        reason: format!("the transfer broke off: {error}"),
    }
}

impl Write for ObjectUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(PART_BYTES);
        }
        let taken = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PART_BYTES {
            self.send().map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectUpload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (folder, name) = (self.folder.clone(), std::mem::take(&mut self.name));
        self.handle.spawn(async move { folder.give_up(&name).await });
    }
}

/// Reads an object in ranges, the next one on its way while one is read. Blocks the thread.
pub struct ObjectReader {
    folder: ObjectFolder,
    object: String,
    /// What the object was when it was opened: another one in its place is noticed.
    e_tag: Option<String>,
    bytes: u64,
    asked: u64,
    handle: Handle,
    window: Vec<u8>,
    at: usize,
    next: Option<JoinHandle<Result<Vec<u8>, StoreError>>>,
}

impl ObjectReader {
    fn ask(&mut self) {
        if self.asked >= self.bytes {
            return;
        }
        let range = self.asked..self.bytes.min(self.asked + WINDOW_BYTES);
        self.asked = range.end;
        let (folder, object, e_tag) =
            (self.folder.clone(), self.object.clone(), self.e_tag.clone());
        self.next = Some(self.handle.spawn(async move {
            let read = folder.bucket.get_range(&object, range, e_tag).await;
            let read = read.map_err(|error| folder.fault("read", &object, &error));
            read.map(|bytes| bytes.to_vec())
        }));
    }

    fn advance(&mut self) -> io::Result<()> {
        if self.next.is_none() {
            self.ask();
        }
        self.window.clear();
        self.at = 0;
        if let Some(next) = self.next.take() {
            self.window =
                self.handle.block_on(next).map_err(io::Error::other)?.map_err(io::Error::other)?;
            self.ask();
        }
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.window.len() {
            self.advance()?;
        }
        let rest = &self.window[self.at..];
        let taken = rest.len().min(out.len());
        out[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        Ok(taken)
    }
}
