//! Typed identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// An event's place in its log, from 0 without gaps. The only order there is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_type! {
    /// Names one event for ever (UUIDv7).
    EventId
}
uuid_type! {
    /// Names one execution of a plan (UUIDv7).
    RunId
}

uuid_type! {
    /// Names one approval of a plan (UUIDv7).
    ApprovalId
}
uuid_type! {
    /// Names one backup (UUIDv7).
    BackupId
}

impl RunId {
    /// The last eight hexadecimal digits: UUIDv7's random end, for people to tell runs apart.
    pub fn short(&self) -> String {
        let text = self.0.simple().to_string();
        text[24..].to_owned()
    }
}

/// Names one log: `<workspace>/<target>`, also the first line of its checkpoints.
///
/// 1 to 200 characters of `[a-z0-9._-]` in two or more parts joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Origin(String);

/// A string that cannot name a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a log's origin is <workspace>/<target> in [a-z0-9._-], got {0:?}")]
pub struct ParseOriginError(String);

impl Origin {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part_ok = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
                })
        };
        let mut parts = text.split('/');
        let well_formed = text.len() <= 200 && text.contains('/') && parts.all(part_ok);
        if well_formed { Ok(Self(text.to_owned())) } else { Err(ParseOriginError(text.to_owned())) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parsed(deserializer)
    }
}
