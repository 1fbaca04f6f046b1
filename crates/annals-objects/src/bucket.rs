//! One place in one S3-compatible store.

use std::ops::Range;
use std::path::Path as FilePath;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::body::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload, RetryConfig,
};

use crate::connection::{Connection, Trust};
use crate::credentials::{Credentials, Variables, first_of};
use crate::limits::Limits;
use crate::place::S3Place;
use crate::reason::{code, reason, transport};

/// One place in one S3-compatible store: a bucket, and what every key begins with.
pub struct Bucket {
    store: AmazonS3,
    place: S3Place,
    credentials: Credentials,
    limits: Limits,
}

/// Why a store has not done what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no such bucket.
    NoBucket,
    /// The store says no.
    Refused(String),
    /// It names something that is no key of ours.
    BadKey(String),
    /// It does not answer, or with an error of its own.
    Unreachable(String),
}

/// An object on its way in parts. Nothing is there under its name until it is completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadId(pub String);

/// A part that is in the store.
#[derive(Debug)]
pub struct Part(PartId);

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

/// Whether the answer to a request never came: it may or may not have been carried out.
pub fn answer_was_lost(error: &Error) -> bool {
    transport(error).is_some()
}

impl Bucket {
    /// Prepares to speak to a store; nothing is sent yet.
    ///
    /// Of `variables`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` are needed;
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE` are used where they are set and `place` says nothing.
    /// Roles of machines and containers are not asked for.
    ///
    /// # Errors
    ///
    /// In words, when something is missing or malformed.
    pub fn open(place: &S3Place, variables: &Variables, limits: Limits) -> Result<Self, String> {
        let place = complete(place, variables);
        place.check().map_err(|error| error.0)?;
        let Some(region) = place.region.clone() else {
            return Err("neither a region nor an endpoint is set".to_owned());
        };
        let credentials = Credentials::from_variables(variables).map_err(|error| error.0)?;
        let http = place.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let trust = match first_of(variables, &["AWS_CA_BUNDLE"]) {
            _ if http => Trust::Unencrypted,
            Some(path) => Trust::Bundle(FilePath::new(path)),
            None => Trust::System,
        };
        let connection = Connection::new(trust, limits.clone())?;
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
        let store = builder.build().map_err(|error| reason(&error))?;
        Ok(Self { store, place, credentials, limits })
    }

    /// Its name, with the store where that is not AWS.
    pub fn name(&self) -> String {
        name_of(&self.place)
    }

    /// Where it is, completed from the variables.
    pub fn place(&self) -> &S3Place {
        &self.place
    }

    /// How long it is waited for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What a failure means.
    pub fn fault(&self, error: &Error) -> Fault {
        if code(error).as_deref() == Some("NoSuchBucket") {
            return Fault::NoBucket;
        }
        let reason = self.credentials.redact(&reason(error));
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                Fault::Refused(reason)
            }
            Error::InvalidPath { .. } => Fault::BadKey(reason),
            _ => Fault::Unreachable(reason),
        }
    }

    /// The key of an object; `path` and prefix were checked to be of characters no store escapes.
    fn key(&self, path: &str) -> Path {
        let parts = self.place.prefix.split('/').chain(path.split('/'));
        Path::from_iter(parts.filter(|part| !part.is_empty()))
    }

    /// Begins to read an object.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn get(&self, path: &str) -> Result<GetResult, Error> {
        self.store.get(&self.key(path)).await
    }

    /// Reads a part of an object, as long as it is the one with that tag.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn get_range(
        &self,
        path: &str,
        range: Range<u64>,
        e_tag: Option<String>,
    ) -> Result<Bytes, Error> {
        let range = Some(GetRange::Bounded(range));
        let options = GetOptions { range, if_match: e_tag.clone(), ..GetOptions::default() };
        let key = self.key(path);
        let answer = self.store.get_opts(&key, options).await?;
        // Some stores do not know the condition.
        if e_tag.is_some() && answer.meta.e_tag != e_tag {
            let source = "it was replaced while it was read".into();
            return Err(Error::Precondition { path: key.to_string(), source });
        }
        answer.bytes().await
    }

    /// What is known of an object without reading it.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn head(&self, path: &str) -> Result<ObjectMeta, Error> {
        self.store.head(&self.key(path)).await
    }

    /// Writes an object whole, under a condition.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn put(&self, path: &str, bytes: &[u8], mode: PutMode) -> Result<(), Error> {
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&self.key(path), payload, options).await.map(|_| ())
    }

    /// Removes an object; one that is not there is no error to many stores.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.store.delete(&self.key(path)).await
    }

    /// The objects below `folder`, each with its name below the prefix, or whole where it is not there.
    pub fn list(&self, folder: &str) -> BoxStream<'_, Result<(String, ObjectMeta), Error>> {
        let below = match self.place.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let names = self.store.list(Some(&self.key(folder)));
        let named = names.map(move |found| {
            found.map(|meta| {
                let whole = meta.location.as_ref();
                (whole.strip_prefix(&below).unwrap_or(whole).to_owned(), meta)
            })
        });
        named.boxed()
    }

    /// Begins an object in parts.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn begin_upload(&self, path: &str) -> Result<UploadId, Error> {
        self.store.create_multipart(&self.key(path)).await.map(UploadId)
    }

    /// Sends part `index`, from 0. All but the last must be of at least 5 MiB.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn put_part(
        &self,
        path: &str,
        upload: &UploadId,
        index: usize,
        bytes: Vec<u8>,
    ) -> Result<Part, Error> {
        let payload = PutPayload::from(bytes);
        self.store.put_part(&self.key(path), &upload.0, index, payload).await.map(Part)
    }

    /// Makes the object of its parts: from now on it is there, whole, in the place of one of that name.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn complete(
        &self,
        path: &str,
        upload: &UploadId,
        parts: Vec<Part>,
    ) -> Result<(), Error> {
        let parts = parts.into_iter().map(|part| part.0).collect();
        self.store.complete_multipart(&self.key(path), &upload.0, parts).await.map(|_| ())
    }

    /// Gives the parts up.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn abort(&self, path: &str, upload: &UploadId) -> Result<(), Error> {
        self.store.abort_multipart(&self.key(path), &upload.0).await
    }
}
