//! Moments as people write them.

use std::path::{Path, PathBuf};

use annals_events::{Seq, Timestamp};
use annals_integrity::KeptNote;
use annals_keys::{Checkpoint, KeyRing};
use annals_projections::AsOf;
use annals_verify::kept_note;
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::error::Failure;

/// The moment a state is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Moment {
    /// Now.
    #[default]
    Now,
    /// After everything recorded at or before this time.
    At(Timestamp),
    /// After this event.
    Seq(u64),
    /// After the events that the signed checkpoint in this file vouches for.
    Checkpoint(PathBuf),
}

/// A moment as a log's reader needs it.
pub(crate) struct Asked {
    pub(crate) as_of: AsOf,
    /// The checkpoint that chose it: the log must begin with what it vouches for.
    pub(crate) kept: Option<KeptNote>,
}

impl Moment {
    /// Reads the checkpoint, if that is what chooses the moment, and verifies it with `ring`.
    pub(crate) fn asked(&self, ring: Option<&KeyRing>) -> Result<Asked, Failure> {
        let as_of = match self {
            Self::Now => AsOf::Now,
            Self::At(time) => AsOf::Time(*time),
            Self::Seq(seq) => AsOf::Seq(Seq(*seq)),
            Self::Checkpoint(path) => return kept(path, ring),
        };
        Ok(Asked { as_of, kept: None })
    }
}

fn kept(path: &Path, ring: Option<&KeyRing>) -> Result<Asked, Failure> {
    let refused = |reason: String| Failure::Argument {
        subject: format!("the checkpoint {}", path.display()),
        reason,
    };
    let kept = kept_note(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let ring = ring.ok_or_else(|| refused("needs the log's public keys to count".to_owned()))?;
    let checkpoint =
        Checkpoint::open(&kept.note, ring).map_err(|error| refused(error.to_string()))?;
    Ok(Asked { as_of: AsOf::Size(checkpoint.size), kept: Some(kept) })
}

/// Reads a time: RFC 3339, or `YYYY-MM-DD[ T]HH:MM[:SS[.f]]` or `YYYY-MM-DD` in UTC.
///
/// # Errors
///
/// When the text is none of these.
pub fn parse_moment(text: &str) -> Result<Moment, Failure> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Moment::At(Timestamp::from_datetime(time.to_utc())));
    }
    let formats =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let time = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(bare, format).ok())
        .or_else(|| NaiveDate::parse_from_str(bare, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0));
    match time {
        Some(time) => Ok(Moment::At(Timestamp::from_datetime(time.and_utc()))),
        None => Err(Failure::Argument {
            subject: format!("time {text:?}"),
            reason: "write it like 2026-01-31T16:30:00Z, or 2026-01-31 16:30 for UTC".to_owned(),
        }),
    }
}

/// As [`parse_moment`], for a time.
///
/// # Errors
///
/// As [`parse_moment`].
pub fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    match parse_moment(text)? {
        Moment::At(time) => Ok(time),
        _ => unreachable!("invariant: a text is a time or refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let at = |text: &str| parse_moment(text).unwrap();
        let expected = Moment::At("2026-01-31T16:30:00.000000Z".parse().unwrap());
        for text in [
            "2026-01-31T16:30:00Z",
            "2026-01-31T17:30:00+01:00",
            "2026-01-31 16:30",
            "2026-01-31T16:30Z",
            "2026-01-31 16:30:00.0",
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        assert!(parse_moment("yesterday").is_err());
    }
}
