//! Points in time as the log stores them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Timelike, Utc};
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

/// The stored spelling; `0` stands for any digit.
const STORED: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

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

impl Timestamp {
    /// The stored spelling, if the year has four digits.
    fn stored(self) -> Option<[u8; STORED.len()]> {
        let (date, time) = (self.0.date_naive(), self.0.time());
        let year = u32::try_from(date.year()).ok().filter(|year| *year < 10_000)?;
        let mut text = *STORED;
        let mut put = |from: usize, to: usize, mut number: u32| {
            for digit in text[from..to].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 7, date.month());
        put(8, 10, date.day());
        put(11, 13, time.hour());
        put(14, 16, time.minute());
        put(17, 19, time.second());
        put(20, 26, time.nanosecond() / 1_000);
        Some(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stored() {
            Some(text) => f.pad(std::str::from_utf8(&text).expect("digits are ASCII")),
            None => f.pad(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true)),
        }
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTimestampError(text.to_owned());
        let bytes: &[u8; STORED.len()] = text.as_bytes().try_into().map_err(|_| refused())?;
        let fits = |(byte, pattern): (&u8, &u8)| match pattern {
            b'0' => byte.is_ascii_digit(),
            _ => byte == pattern,
        };
        if !bytes.iter().zip(STORED).all(fits) {
            return Err(refused());
        }
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
        };
        let year = number(0, 4).cast_signed();
        NaiveDate::from_ymd_opt(year, number(5, 7), number(8, 10))
            .and_then(|date| {
                let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
                date.and_hms_micro_opt(hour, minute, second, number(20, 26))
            })
            .map(|time| Self(time.and_utc()))
            .ok_or_else(refused)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.stored() {
            Some(text) => {
                serializer.serialize_str(std::str::from_utf8(&text).expect("digits are ASCII"))
            }
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_time_is_spelled_as_chrono_spells_it_and_read_back(
            micros in -70_000_000_000_000_000i64..260_000_000_000_000_000
        ) {
            let time = Timestamp::from_micros(micros);
            let text = time.0.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(time.to_string(), &*text);
            prop_assert_eq!(serde_json::to_string(&time).unwrap(), format!("\"{text}\""));
            // Only years of four digits are read: no other is ever stored.
            prop_assert_eq!(text.parse().ok(), (text.len() == STORED.len()).then_some(time));
        }

        #[test]
        fn a_text_is_a_time_exactly_when_that_time_is_spelled_so(
            at in 0..STORED.len(), byte in b' '..b'~'
        ) {
            let mut text = *b"2026-01-31T23:59:59.000007Z";
            text[at] = byte;
            let text = std::str::from_utf8(&text).unwrap();
            let read = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.6fZ");
            let read = read.map(|time| Timestamp::from_datetime(time.and_utc()));
            let spelled = read.ok().filter(|time| time.to_string() == text);
            prop_assert_eq!(text.parse::<Timestamp>().ok(), spelled);
        }
    }

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
