//! An S3-compatible store as an anchor: objects that are put once, and a checkpoint that is
//! replaced by compare-and-swap.

use std::path::Path as FilePath;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
};

use crate::connection::{Connection, Trust};
use crate::credentials::{Credentials, Variables, first_of};
use crate::download::LocalFile;
use crate::error::AnchorError;
use crate::exhibit::{ObjectPath, is_layout_root};
use crate::limits::{Limits, MAX_NOTE_BYTES, MAX_OBJECT_BYTES};
use crate::place::S3Place;
use crate::reason::{code, reason, transport};
use crate::shelf::{Found, Held, Placed, Shelf, Swap, Version};

/// An S3-compatible store that keeps copies.
///
/// The store must honour `If-None-Match: *` and `If-Match` on `PutObject`, as AWS and most others
/// do. Worth most in a bucket with versions and object lock: nothing here ever deletes.
pub struct S3Shelf {
    store: AmazonS3,
    place: S3Place,
    credentials: Credentials,
    limits: Limits,
}

/// Names the store, so that two buckets of one name are told apart.
fn name_of(place: &S3Place) -> String {
    match &place.endpoint {
        Some(endpoint) => format!("{place} at {endpoint}"),
        None => place.to_string(),
    }
}

/// Fills what the configuration leaves open from the usual variables.
fn complete(place: &S3Place, variables: &Variables) -> S3Place {
    let mut place = place.clone();
    let endpoint = first_of(variables, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    place.endpoint = place.endpoint.or(endpoint.map(str::to_owned));
    let region = first_of(variables, &["AWS_REGION", "AWS_DEFAULT_REGION"]);
    place.region = place.region.or(region.map(str::to_owned));
    if place.region.is_none() && place.endpoint.is_some() {
        place.region = Some("us-east-1".to_owned());
    }
    place
}

/// How `object_store` repeats a request that may be repeated blindly.
fn retry(limits: &Limits) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: limits.pause(0),
            max_backoff: Limits::max_pause(),
            base: 2.0,
        },
        max_retries: limits.retries as usize,
        // So a request that is never answered is sent twice, not once and not four times.
        retry_timeout: limits.transfer(0) * 3 / 2,
    }
}

fn key(place: &S3Place, path: &str) -> Path {
    // Both were checked to be of characters that no store escapes.
    let parts = place.prefix.split('/').chain(path.split('/')).filter(|part| !part.is_empty());
    Path::from_iter(parts)
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
        let configuration =
            |reason: String| AnchorError::Configuration { place: place.to_string(), reason };
        let place = complete(place, variables);
        place.check().map_err(|error| configuration(error.0))?;
        let Some(region) = place.region.clone() else {
            return Err(configuration("neither a region nor an endpoint is set".to_owned()));
        };
        let credentials =
            Credentials::from_variables(variables).map_err(|error| configuration(error.0))?;
        let http = place.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let trust = match first_of(variables, &["AWS_CA_BUNDLE"]) {
            _ if http => Trust::Unencrypted,
            Some(path) => Trust::Bundle(FilePath::new(path)),
            None => Trust::System,
        };
        let connection = Connection::new(trust, limits.clone()).map_err(configuration)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&place.bucket)
            .with_region(region)
            .with_access_key_id(&credentials.access_key_id)
            .with_secret_access_key(&credentials.secret_access_key)
            .with_allow_http(http)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // A bucket with object lock takes no object without one.
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(retry(&limits))
            .with_http_connector(connection);
        if let Some(token) = &credentials.session_token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = &place.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| configuration(reason(&error)))?;
        Ok(Self { store, place, credentials, limits })
    }

    fn fault(&self, act: &'static str, path: &str, error: &Error) -> AnchorError {
        let place = self.name();
        if code(error).as_deref() == Some("NoSuchBucket") {
            return AnchorError::NoPlace { place };
        }
        let (path, reason) = (path.to_owned(), self.credentials.redact(&reason(error)));
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                AnchorError::Refused { place, act, path, reason }
            }
            Error::InvalidPath { .. } => AnchorError::Stray {
                place,
                path,
                what: "holding a key that is not a name of a published log".to_owned(),
            },
            _ => AnchorError::Unreachable { place, act, path, reason },
        }
    }

    /// Begins to read an object, or `None` if it is not there.
    async fn open_object(&self, path: &ObjectPath) -> Result<Option<GetResult>, AnchorError> {
        match self.store.get(&key(&self.place, path.as_str())).await {
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
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&key(&self.place, path.as_str()), payload, options).await.map(|_| ())
    }

    /// Whether a conditional put that failed may be tried again, once a look has shown that nothing
    /// was written: a conflict of two writers (409, or 412 of one that is gone), or an answer that
    /// never came. Everything else was tried again by `object_store` already, or never helps.
    fn may_repeat(error: &Error) -> bool {
        matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
            || transport(error).is_some()
    }

    /// Waits before attempt `attempt` + 1, or gives up with what the last one came to.
    async fn pause_or_give_up(
        &self,
        path: &ObjectPath,
        attempt: u32,
        error: &Error,
    ) -> Result<(), AnchorError> {
        if attempt >= self.limits.retries || !Self::may_repeat(error) {
            return Err(self.fault("write", path.as_str(), error));
        }
        tokio::time::sleep(self.limits.pause(attempt)).await;
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
        name_of(&self.place)
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
        let prefix = key(&self.place, "");
        let below = if self.place.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", self.place.prefix)
        };
        let names = self.store.list(Some(&prefix));
        let seen = names.map(move |found| {
            found.map_err(|error| self.fault("list", "", &error)).and_then(|meta| {
                let name = meta.location.as_ref();
                let Some(name) = name.strip_prefix(&below) else {
                    return Ok(Found::Other(name.to_owned()));
                };
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
