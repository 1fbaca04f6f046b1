//! Content stored beside the log under its SHA-256.

use std::fs;
use std::io;
use std::path::PathBuf;

use annals_events::{BlobRef, Digest};

use crate::disk;
use crate::layout::Layout;

/// Why content is not available.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file system says no.
    #[error("cannot access blob {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is not what its name says.
    #[error("blob {} holds other content than its name says", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Layout {
    /// Stores `content`; when this returns `Ok` it is durable.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn put_blob(&self, content: &[u8]) -> Result<BlobRef, BlobError> {
        let digest = Digest::of(content);
        let path = self.blob(&digest);
        let reference = BlobRef { digest, size: content.len() as u64 };
        if self.get_blob(&reference).is_ok() {
            return Ok(reference);
        }
        disk::create_folder(&self.blobs())
            .and_then(|()| disk::replace(&path, content))
            .map_err(|source| BlobError::Io { path, source })?;
        Ok(reference)
    }

    /// Fetches content and checks it against its name.
    ///
    /// # Errors
    ///
    /// When it is missing or altered.
    pub fn get_blob(&self, reference: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let path = self.blob(&reference.digest);
        let content =
            fs::read(&path).map_err(|source| BlobError::Io { path: path.clone(), source })?;
        if Digest::of(&content) == reference.digest && content.len() as u64 == reference.size {
            Ok(content)
        } else {
            Err(BlobError::Damaged { path })
        }
    }
}
