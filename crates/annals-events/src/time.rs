//! Points in time as the log stores them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC with microsecond resolution, stored as `2026-01-31T23:59:59.123456Z`.
///
/// Six digits and `Z`, always: the text is hashed, so there is exactly one spelling of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

/// A string that is not a timestamp in the stored spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is spelled YYYY-MM-DDTHH:MM:SS.ffffffZ in UTC, got {0:?}")]
pub struct ParseTimestampError(String);

const STORED: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

impl Timestamp {
    /// Cuts `time` down to microseconds.
    pub fn from_datetime(time: DateTime<Utc>) -> Self {
        Self::from_micros(time.timestamp_micros())
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Panics
    ///
    /// Outside the years chrono can represent (about ±262,000).
    pub fn from_micros(micros: i64) -> Self {
        Self(DateTime::from_timestamp_micros(micros).expect("the year is within chrono's range"))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// The same moment as a chrono value.
    pub fn datetime(self) -> DateTime<Utc> {
        self.0
    }

    /// The moment `micros` later.
    pub fn plus_micros(self, micros: i64) -> Self {
        Self::from_micros(self.micros() + micros)
    }

    /// `2026-01-31 23:59:59Z`, for people.
    pub fn to_human(self) -> String {
        self.0.format("%Y-%m-%d %H:%M:%SZ").to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTimestampError(text.to_owned());
        if text.len() != 27 {
            return Err(refused());
        }
        let time = NaiveDateTime::parse_from_str(text, STORED).map_err(|_| refused())?.and_utc();
        // Leap seconds and the like would not print as they were read.
        let parsed = Self::from_datetime(time);
        if parsed.to_string() == text { Ok(parsed) } else { Err(refused()) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_spelling() {
        let text = "2026-01-31T23:59:59.000007Z";
        assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        for bad in [
            "2026-01-31T23:59:59Z",
            "2026-01-31T23:59:59.0000070Z",
            "2026-01-31T23:59:59.000007+00:00",
            "2026-02-31T23:59:59.000007Z",
            "2026-01-31T23:59:60.000007Z",
            "2026-01-31t23:59:59.000007Z",
            "",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
