//! Migration versions: digits of any length, compared as numbers.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A migration's version: `\d+` (`001`, `20250921171500`) or `YYYYMMDD_HHMMSS`.
///
/// The spelling is kept for people; equality, order and hashing go by the number it spells, with
/// `_` removed and of any length.
#[derive(Debug, Clone)]
pub struct Version {
    spelling: String,
    digits: String,
}

/// A string that is not a migration version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version is digits (001, 20250921171500) or YYYYMMDD_HHMMSS, got {0:?}")]
pub struct ParseVersionError(String);

/// A version's longest spelling in bytes; file systems allow 255 bytes for the whole file name.
const MAX_SPELLING_BYTES: usize = 100;

impl Version {
    /// As the file name spells it.
    pub fn as_str(&self) -> &str {
        &self.spelling
    }

    /// The number alone, in decimal: no `_`, no leading zero (`0` for zero).
    pub fn number(&self) -> &str {
        &self.digits
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = match text.split_once('_') {
            None => is_digits(text),
            Some((date, time)) => {
                date.len() == 8 && time.len() == 6 && is_digits(date) && is_digits(time)
            }
        };
        if !well_formed || text.len() > MAX_SPELLING_BYTES {
            return Err(ParseVersionError(text.to_owned()));
        }
        let joined = text.replace('_', "");
        let digits = match joined.trim_start_matches('0') {
            "" => "0".to_owned(),
            significant => significant.to_owned(),
        };
        Ok(Self { spelling: text.to_owned(), digits })
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.digits == other.digits
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading zeroes the longer number is the larger one.
        (self.digits.len(), &self.digits).cmp(&(other.digits.len(), &other.digits))
    }
}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digits.hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.spelling)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.spelling)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_compare_as_numbers_of_any_length() {
        assert!(v("2") < v("10"));
        assert!(v("003") < v("20250921_171500"));
        assert!(v("20250921_171500") < v("20250921171501"));
        assert!(v("99999999999999999999") < v("100000000000000000000000"));
        assert_eq!(v("20250921_171500"), v("20250921171500"));
        assert_eq!(v("0"), v("000"));
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in ["", "_", "1_2", "2025_0921171500", "v1", "1.2", "-1", "20250921_1715", "١"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
        assert!("1".repeat(101).parse::<Version>().is_err());
    }
}
