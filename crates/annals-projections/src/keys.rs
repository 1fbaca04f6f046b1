//! Which keys count, as the log itself tells it.
//!
//! For orientation only: what a verifier trusts comes from elsewhere than the log.

use annals_events::{KeyAdded, KeyPurpose, KeyRetired, Recorded, Seq, Timestamp};
use serde::{Deserialize, Serialize};

/// The retiring of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    /// A log key: the largest log its signature counts for.
    pub size: Option<u64>,
    /// The event.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A key the log speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownKey {
    /// C2SP verifier key.
    pub key: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// The event that added it, and when; none of a key the log only retires.
    pub added: Option<(Seq, Timestamp)>,
    /// Its retiring.
    pub retired: Option<Retirement>,
}

/// Every key the log speaks of, in the order of their first mention.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KnownKeys {
    keys: Vec<KnownKey>,
}

impl KnownKeys {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, KnownKey> {
        self.keys.iter()
    }

    /// The key for that purpose.
    pub fn get(&self, purpose: KeyPurpose, key: &str) -> Option<&KnownKey> {
        self.keys.iter().find(|known| known.purpose == purpose && known.key == key)
    }

    fn entry(&mut self, purpose: KeyPurpose, key: &str) -> &mut KnownKey {
        let known = self.keys.iter().position(|k| k.purpose == purpose && k.key == key);
        let at = known.unwrap_or_else(|| {
            self.keys.push(KnownKey { key: key.to_owned(), purpose, added: None, retired: None });
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    /// The first signer's key, as the log's first event repeats it.
    pub(crate) fn began_with(&mut self, recorded: &Recorded, key: &str) {
        let entry = self.entry(KeyPurpose::Log, key);
        entry.added.get_or_insert((recorded.seq, recorded.recorded_at));
    }

    pub(crate) fn added(&mut self, recorded: &Recorded, added: &KeyAdded) {
        let entry = self.entry(added.purpose, &added.key);
        entry.added = Some((recorded.seq, recorded.recorded_at));
        entry.retired = None;
    }

    pub(crate) fn retired(&mut self, recorded: &Recorded, retired: &KeyRetired) {
        let (seq, at) = (recorded.seq, recorded.recorded_at);
        let entry = self.entry(retired.purpose, &retired.key);
        entry.retired = Some(Retirement { size: retired.size, seq, at });
    }
}
