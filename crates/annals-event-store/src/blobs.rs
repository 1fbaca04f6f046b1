//! Content stored beside the log under its SHA-256.

use annals_events::{BlobRef, Digest};
use ring::digest::{Context, SHA256};

use crate::disk::{self, Disk};
use crate::layout::Layout;
use crate::store::Cause;

/// Why content is not available.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not there.
    #[error("blob {place} is missing")]
    Missing {
        /// Where it should be.
        place: String,
    },
    /// What lies below says no.
    #[error("cannot access blob {place}")]
    Io {
        /// Where it is.
        place: String,
        /// Why.
        source: Cause,
    },
    /// The content is not what its name says.
    #[error("blob {place} holds other content than its name says")]
    Damaged {
        /// Where it is.
        place: String,
    },
}

impl BlobError {
    /// Checks `content` against the name it was found under.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn check(
        content: Vec<u8>,
        reference: &BlobRef,
        place: impl FnOnce() -> String,
    ) -> Result<Vec<u8>, Self> {
        let fits =
            content.len() as u64 == reference.size && Digest::of(&content) == reference.digest;
        if fits { Ok(content) } else { Err(Self::Damaged { place: place() }) }
    }
}

/// Stores `content` in the folder of a log, which is there; when this returns `Ok` it is durable.
pub(crate) fn put<D: Disk>(
    disk: &D,
    layout: &Layout,
    content: &[u8],
) -> Result<BlobRef, BlobError> {
    let digest = Digest::of(content);
    let path = layout.blob(&digest);
    let reference = BlobRef { digest, size: content.len() as u64 };
    let stored = match get(disk, layout, &reference) {
        // Its content was durable before it got its name; the name may be of an attempt that was
        // cut before it was.
        Ok(_) => disk::sync_folder(disk, &layout.blobs()),
        Err(_) => disk::replace(disk, &path, content),
    };
    match stored {
        Ok(()) => Ok(reference),
        Err(source) => {
            Err(BlobError::Io { place: path.display().to_string(), source: source.into() })
        }
    }
}

/// Fetches content from the folder of a log and checks it against its name.
pub(crate) fn get<D: Disk>(
    disk: &D,
    layout: &Layout,
    reference: &BlobRef,
) -> Result<Vec<u8>, BlobError> {
    let path = layout.blob(&reference.digest);
    let place = || path.display().to_string();
    let content = disk::read(disk, &path).map_err(|source| not_there(source, place()))?;
    BlobError::check(content, reference, place)
}

enum Stop {
    Disk(std::io::Error),
    TooLong,
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

fn not_there(source: std::io::Error, place: String) -> BlobError {
    match source.kind() {
        std::io::ErrorKind::NotFound => BlobError::Missing { place },
        _ => BlobError::Io { place, source: source.into() },
    }
}

impl Layout {
    /// Checks content against its name in bounded memory.
    ///
    /// # Errors
    ///
    /// When it is missing or altered.
    pub fn check_blob(&self, reference: &BlobRef) -> Result<(), BlobError> {
        let path = self.blob(&reference.digest);
        let place = || path.display().to_string();
        let (mut digest, mut size) = (Context::new(&SHA256), 0);
        let read = disk::read_pieces::<_, Stop>(&crate::RealDisk, &path, |piece| {
            digest.update(piece);
            size += piece.len() as u64;
            // What is longer than it may be need not be read to its end.
            if size > reference.size { Err(Stop::TooLong) } else { Ok(()) }
        });
        match read {
            Ok(()) => {}
            Err(Stop::TooLong) => return Err(BlobError::Damaged { place: place() }),
            Err(Stop::Disk(source)) => return Err(not_there(source, place())),
        }
        let fits = size == reference.size
            && digest.finish().as_ref() == reference.digest.as_bytes().as_slice();
        if fits { Ok(()) } else { Err(BlobError::Damaged { place: place() }) }
    }

    /// Fetches content and checks it against its name.
    ///
    /// # Errors
    ///
    /// When it is missing or altered.
    pub fn get_blob(&self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        get(&crate::RealDisk, self, reference)
    }
}
