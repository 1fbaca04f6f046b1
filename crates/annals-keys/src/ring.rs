//! The keys a verifier trusts, each for as long as it counts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use annals_events::Origin;

use crate::note::VerifierKey;

/// A key and how far it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingKey {
    /// The key.
    pub key: VerifierKey,
    /// A retired key: for each log, the largest size its signature counts for. A log that is not
    /// named is none it counts for. A key in force has none of this.
    pub until: Option<BTreeMap<Origin, u64>>,
}

/// Keys that are pinned: they come from elsewhere than the log.
///
/// As text: one verifier key a line; behind a retired one ` until <origin> <size>`, as often as
/// there are logs. Empty lines and lines that begin with `#` are skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

/// A line that is not part of a key ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseRingError {
    /// The line, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

impl From<VerifierKey> for KeyRing {
    fn from(key: VerifierKey) -> Self {
        Self { keys: vec![RingKey { key, until: None }] }
    }
}

impl KeyRing {
    /// Every key, in the order of the file.
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The newest key in force.
    pub fn current(&self) -> Option<&VerifierKey> {
        self.keys.iter().rev().find(|entry| entry.until.is_none()).map(|entry| &entry.key)
    }

    /// Whether `key` is one of them and in force.
    pub fn is_in_force(&self, key: &VerifierKey) -> bool {
        self.keys.iter().any(|entry| entry.key == *key && entry.until.is_none())
    }

    /// Adds a key in force.
    pub fn add(&mut self, key: VerifierKey) {
        self.keys.push(RingKey { key, until: None });
    }

    /// Retires `key`: for each log, the largest size it still counts for.
    pub fn retire(&mut self, key: &VerifierKey, until: BTreeMap<Origin, u64>) {
        for entry in self.keys.iter_mut().filter(|entry| entry.key == *key) {
            entry.until = Some(until.clone());
        }
    }
}

fn read_line(text: &str) -> Result<RingKey, String> {
    let mut words = text.split_ascii_whitespace();
    let key = words.next().unwrap_or_default();
    let key = key.parse().map_err(|error: crate::ParseKeyError| error.to_string())?;
    let mut until: Option<BTreeMap<Origin, u64>> = None;
    while let Some(word) = words.next() {
        let (Some(origin), Some(size)) = (words.next(), words.next()) else {
            return Err("behind the key stands `until <origin> <size>`".to_owned());
        };
        if word != "until" {
            return Err(format!("behind the key stands `until <origin> <size>`, not {word:?}"));
        }
        let origin = origin.parse().map_err(|e: annals_events::ParseOriginError| e.to_string())?;
        let size = size.parse().map_err(|_| format!("{size:?} is not a number of events"))?;
        until.get_or_insert_default().insert(origin, size);
    }
    Ok(RingKey { key, until })
}

impl FromStr for KeyRing {
    type Err = ParseRingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys: Vec<RingKey> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |reason| ParseRingError { line: n + 1, reason };
            let entry = read_line(line).map_err(refused)?;
            if keys.iter().any(|known| known.key == entry.key) {
                return Err(refused("this key stands above already".to_owned()));
            }
            keys.push(entry);
        }
        if keys.is_empty() {
            return Err(ParseRingError { line: 1, reason: "there is no key".to_owned() });
        }
        Ok(Self { keys })
    }
}

impl fmt::Display for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.keys {
            write!(f, "{}", entry.key)?;
            for (origin, size) in entry.until.iter().flatten() {
                write!(f, " until {origin} {size}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    #[test]
    fn a_ring_survives_its_text() {
        let (old, new) =
            (SecretKey::generate("shop").unwrap(), SecretKey::generate("shop").unwrap());
        let mut ring = KeyRing::from(old.verifier());
        assert_eq!(ring.current(), Some(&old.verifier()));
        ring.add(new.verifier());
        let origin: Origin = "shop/production".parse().unwrap();
        ring.retire(&old.verifier(), BTreeMap::from([(origin, 1200)]));
        assert_eq!(ring.current(), Some(&new.verifier()));
        assert!(!ring.is_in_force(&old.verifier()));
        let text = format!("# keys of shop\n\n{ring}");
        assert_eq!(text.parse::<KeyRing>().unwrap(), ring);
    }

    #[test]
    fn what_is_no_ring_is_refused_with_its_line() {
        let key = SecretKey::generate("shop").unwrap().verifier();
        for (text, line) in [
            (String::new(), 1),
            ("# nothing\n".to_owned(), 1),
            (format!("{key}\nrubbish\n"), 2),
            (format!("{key} until\n"), 1),
            (format!("{key} until shop/a x\n"), 1),
            (format!("{key} since shop/a 1\n"), 1),
            (format!("{key} until shop 1\n"), 1),
            (format!("{key}\n{key}\n"), 2),
        ] {
            assert_eq!(text.parse::<KeyRing>().unwrap_err().line, line, "{text:?}");
        }
    }
}
