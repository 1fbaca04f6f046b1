//! Objects in an S3-compatible store: whole, in parts, by ranges, under conditions.
//!
//! Nothing here knows what an object holds, reads an environment variable, or follows a redirect.
//!
//! A [`Bucket`] is one place in one store. Who keeps something there maps a [`Fault`] to words of its
//! own; no fault holds a credential, or an answer of a server as it came.

mod bucket;
mod connection;
mod credentials;
mod limits;
mod place;
mod reason;

pub use bucket::{Bucket, Fault, Part, UploadId, answer_was_lost};
pub use credentials::{Credentials, Variables};
pub use limits::Limits;
pub use object_store::{Error, GetResult, ObjectMeta, PutMode, UpdateVersion};
pub use place::{ParsePlaceError, S3Place};
