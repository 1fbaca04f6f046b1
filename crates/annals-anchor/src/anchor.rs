//! One anchor, whatever its kind.

use std::path::Path;

use annals_objects::{Limits, Variables};

use crate::directory::DirectoryShelf;
use crate::download::{Download, download_from};
use crate::error::AnchorError;
use crate::exhibit::{Exhibit, ObjectPath};
use crate::limits::MAX_OBJECT_BYTES;
use crate::place::AnchorPlace;
use crate::publish::{OpenNote, Receipt, publish_to};
use crate::s3::S3Shelf;
use crate::shelf::Shelf;

/// An anchor that is ready to be spoken to.
///
/// A directory is read and written on the calling thread; a store needs a tokio runtime with its
/// IO and time drivers.
pub struct Anchor(Kind);

enum Kind {
    Directory(DirectoryShelf),
    S3(Box<S3Shelf>),
}

/// The same for each kind.
macro_rules! on_shelf {
    ($anchor:expr, $shelf:ident => $does:expr) => {
        match &$anchor.0 {
            Kind::Directory($shelf) => $does,
            Kind::S3(boxed) => {
                let $shelf: &S3Shelf = boxed;
                $does
            }
        }
    };
}

impl Anchor {
    /// Prepares to speak to `place`; nothing is sent or opened yet.
    ///
    /// `variables` are the environment variables of the process, of which a store needs
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; see [`S3Shelf::open`] for the others.
    ///
    /// # Errors
    ///
    /// [`AnchorError::Configuration`] when the place or the credentials are not usable.
    pub fn open(
        place: &AnchorPlace,
        variables: &Variables,
        limits: Limits,
    ) -> Result<Self, AnchorError> {
        let kind = match place {
            AnchorPlace::Directory { path } => Kind::Directory(DirectoryShelf::new(path, limits)),
            AnchorPlace::S3(place) => Kind::S3(Box::new(S3Shelf::open(place, variables, limits)?)),
        };
        Ok(Self(kind))
    }

    /// The place in words, without any secret.
    pub fn name(&self) -> String {
        on_shelf!(self, shelf => shelf.name())
    }

    /// The kind of place, in one word: `directory` or `s3`.
    pub fn kind(&self) -> &'static str {
        on_shelf!(self, shelf => shelf.kind())
    }

    /// Publishes a log; see [`publish_to`].
    ///
    /// # Errors
    ///
    /// See [`publish_to`].
    pub async fn publish(
        &self,
        exhibit: &dyn Exhibit,
        open: OpenNote<'_>,
    ) -> Result<Receipt, AnchorError> {
        on_shelf!(self, shelf => publish_to(shelf, exhibit, open).await)
    }

    /// The note the anchor holds, not verified, or `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// When the place does not work.
    pub async fn read_checkpoint(&self) -> Result<Option<Vec<u8>>, AnchorError> {
        let held = on_shelf!(self, shelf => shelf.checkpoint().await)?;
        Ok(held.map(|held| held.note))
    }

    /// Reads one object of at most [`MAX_OBJECT_BYTES`].
    ///
    /// # Errors
    ///
    /// When it is not there, or the place does not work.
    pub async fn fetch(&self, path: &ObjectPath) -> Result<Vec<u8>, AnchorError> {
        let found = on_shelf!(self, shelf => shelf.fetch(path, MAX_OBJECT_BYTES).await)?;
        found.ok_or_else(|| AnchorError::Absent { place: self.name(), path: path.to_string() })
    }

    /// Brings the whole copy into a folder; see [`download_from`].
    ///
    /// # Errors
    ///
    /// See [`download_from`].
    pub async fn download(&self, into: &Path) -> Result<Download, AnchorError> {
        on_shelf!(self, shelf => download_from(shelf, into).await)
    }
}
