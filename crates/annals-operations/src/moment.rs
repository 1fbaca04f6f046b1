//! Moments as people write them.

use annals_events::{Seq, Timestamp};
use annals_projections::AsOf;
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
}

impl Moment {
    pub(crate) fn as_of(&self) -> AsOf {
        match self {
            Self::Now => AsOf::Now,
            Self::At(time) => AsOf::Time(*time),
            Self::Seq(seq) => AsOf::Seq(Seq(*seq)),
        }
    }
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
