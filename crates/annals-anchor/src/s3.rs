//! An S3-compatible store as an anchor: objects that are put once, and a checkpoint that is
//! replaced by compare-and-swap.

use annals_objects::{
    Bucket, Error, Fault, GetResult, Limits, PutMode, S3Place, UpdateVersion, Variables,
    answer_was_lost,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use crate::download::LocalFile;
use crate::error::AnchorError;
use crate::exhibit::{ObjectPath, is_layout_root};
use crate::limits::{MAX_NOTE_BYTES, MAX_OBJECT_BYTES};
use crate::shelf::{Found, Held, Placed, Shelf, Swap, Version};

/// An S3-compatible store that keeps copies.
///
/// The store must honour `If-None-Match: *` and `If-Match` on `PutObject`, as AWS and most others
/// do. Worth most in a bucket with versions and object lock: nothing here ever deletes.
pub struct S3Shelf {
    bucket: Bucket,
}

impl S3Shelf {
    /// Prepares to speak to a store; nothing is sent yet.
    ///
    /// Of `variables`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` are needed;
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE` are used where they are set and `place` says nothing.
    /// Roles of machines and containers are not asked for.
    ///
    /// # Errors
    ///
    /// [`AnchorError::Configuration`] when something is missing or malformed.
    pub fn open(
        place: &S3Place,
        variables: &Variables,
        limits: Limits,
    ) -> Result<Self, AnchorError> {
        // Not of the completed place: a URL in a variable may hold a password.
        let bucket = Bucket::open(place, variables, limits)
            .map_err(|reason| AnchorError::Configuration { place: place.to_string(), reason })?;
        Ok(Self { bucket })
    }

    fn fault(&self, act: &'static str, path: &str, error: &Error) -> AnchorError {
        let (place, path) = (self.name(), path.to_owned());
        match self.bucket.fault(error) {
            Fault::NoBucket => AnchorError::NoPlace { place },
            Fault::Refused(reason) => AnchorError::Refused { place, act, path, reason },
            Fault::BadKey(_) => AnchorError::Stray {
                place,
                path,
                what: "holding a key that is not a name of a published log".to_owned(),
            },
            Fault::Unreachable(reason) => AnchorError::Unreachable { place, act, path, reason },
        }
    }

    /// Begins to read an object, or `None` if it is not there.
    async fn open_object(&self, path: &ObjectPath) -> Result<Option<GetResult>, AnchorError> {
        match self.bucket.get(path.as_str()).await {
            Ok(object) => Ok(Some(object)),
            Err(error @ Error::NotFound { .. }) => {
                match self.fault("read", path.as_str(), &error) {
                    gone @ AnchorError::NoPlace { .. } => Err(gone),
                    _ => Ok(None),
                }
            }
            Err(error) => Err(self.fault("read", path.as_str(), &error)),
        }
    }

    async fn read(
        &self,
        path: &ObjectPath,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Option<String>)>, AnchorError> {
        let Some(object) = self.open_object(path).await? else { return Ok(None) };
        let (length, e_tag) = (object.meta.size, object.meta.e_tag.clone());
        let too_large = |bytes| AnchorError::TooLarge {
            place: self.name(),
            path: path.to_string(),
            bytes,
            limit,
        };
        if length > limit {
            return Err(too_large(length));
        }
        let mut bytes = Vec::new();
        let mut pieces = object.into_stream();
        while let Some(piece) =
            pieces.try_next().await.map_err(|error| self.fault("read", path.as_str(), &error))?
        {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > limit {
                return Err(too_large(bytes.len() as u64));
            }
        }
        Ok(Some((bytes, e_tag)))
    }

    async fn put(&self, path: &ObjectPath, bytes: &[u8], mode: PutMode) -> Result<(), Error> {
        self.bucket.put(path.as_str(), bytes, mode).await
    }

    /// Whether a conditional put that failed may be tried again, once a look has shown that nothing
    /// was written: a conflict of two writers (409, or 412 of one that is gone), or an answer that
    /// never came. Everything else was tried again by `object_store` already, or never helps.
    fn may_repeat(error: &Error) -> bool {
        matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
            || answer_was_lost(error)
    }

    /// Waits before attempt `attempt` + 1, or gives up with what the last one came to.
    async fn pause_or_give_up(
        &self,
        path: &ObjectPath,
        attempt: u32,
        error: &Error,
    ) -> Result<(), AnchorError> {
        if attempt >= self.bucket.limits().retries || !Self::may_repeat(error) {
            return Err(self.fault("write", path.as_str(), error));
        }
        tokio::time::sleep(self.bucket.limits().pause(attempt)).await;
        Ok(())
    }
}

/// Whether looking at the object cannot change what a failed put means.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. }
    )
}

impl Shelf for S3Shelf {
    type Turn = ();

    fn kind(&self) -> &'static str {
        "s3"
    }

    fn name(&self) -> String {
        self.bucket.name()
    }

    async fn take_turn(&self) -> Result<(), AnchorError> {
        // A store has no lock; every write is conditional instead.
        Ok(())
    }

    async fn checkpoint(&self) -> Result<Option<Held>, AnchorError> {
        let path = ObjectPath::checkpoint();
        match self.read(&path, MAX_NOTE_BYTES).await? {
            None => Ok(None),
            Some((note, Some(e_tag))) => Ok(Some(Held { note, version: Version(e_tag) })),
            Some((_, None)) => Err(AnchorError::Configuration {
                place: self.name(),
                reason: "the store gives no ETag, so a checkpoint cannot be replaced safely"
                    .to_owned(),
            }),
        }
    }

    async fn place(&self, path: &ObjectPath, bytes: &[u8]) -> Result<Placed, AnchorError> {
        let mut attempt = 0;
        loop {
            let Err(error) = self.put(path, bytes, PutMode::Create).await else {
                return Ok(Placed::Written);
            };
            if is_refusal(&error) {
                return Err(self.fault("write", path.as_str(), &error));
            }
            // "Exists" may be said of a write that lost against another one and of nothing at all;
            // an answer that never came may hide a write. Only what lies there counts.
            if let Some((theirs, _)) = self.read(path, MAX_OBJECT_BYTES).await? {
                return Ok(Placed::Present(theirs));
            }
            self.pause_or_give_up(path, attempt, &error).await?;
            attempt += 1;
        }
    }

    async fn swap(&self, base: Option<&Held>, note: &[u8]) -> Result<Swap, AnchorError> {
        let path = ObjectPath::checkpoint();
        let mut attempt = 0;
        loop {
            let mode = match base {
                None => PutMode::Create,
                Some(held) => PutMode::Update(UpdateVersion {
                    e_tag: Some(held.version.0.clone()),
                    version: None,
                }),
            };
            let Err(error) = self.put(&path, note, mode).await else { return Ok(Swap::Done) };
            if is_refusal(&error) {
                return Err(self.fault("write", path.as_str(), &error));
            }
            let now = self.checkpoint().await?;
            if now.as_ref().is_some_and(|held| held.note == note) {
                return Ok(Swap::Done);
            }
            if now.as_ref() != base {
                return Ok(Swap::Lost);
            }
            self.pause_or_give_up(&path, attempt, &error).await?;
            attempt += 1;
        }
    }

    async fn fetch(&self, path: &ObjectPath, limit: u64) -> Result<Option<Vec<u8>>, AnchorError> {
        Ok(self.read(path, limit).await?.map(|(bytes, _)| bytes))
    }

    async fn copy_into(
        &self,
        path: &ObjectPath,
        file: &mut LocalFile,
    ) -> Result<Option<u64>, AnchorError> {
        let Some(object) = self.open_object(path).await? else { return Ok(None) };
        let mut pieces = object.into_stream();
        while let Some(piece) =
            pieces.try_next().await.map_err(|error| self.fault("read", path.as_str(), &error))?
        {
            file.write(&piece)?;
        }
        Ok(Some(file.bytes()))
    }

    fn list(&self) -> BoxStream<'_, Result<Found, AnchorError>> {
        let below = match self.bucket.place().prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let seen = self.bucket.list("").map(move |found| {
            found.map_err(|error| self.fault("list", "", &error)).and_then(|(name, meta)| {
                if !meta.location.as_ref().starts_with(&below) {
                    return Ok(Found::Other(name));
                }
                let top = name.split('/').next().unwrap_or_default();
                if !is_layout_root(top) || name.contains("/.") {
                    return Ok(Found::Other(name.to_owned()));
                }
                let parsed = name.parse().map(Found::Object);
                parsed.map_err(|error| AnchorError::stray(self.name(), error))
            })
        });
        seen.boxed()
    }
}
