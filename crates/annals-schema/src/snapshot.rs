//! A schema as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use annals_events::Digest;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::kind::ObjectKind;

/// Version of the stored form of a snapshot and of the fingerprint's formula.
pub const SNAPSHOT_FORMAT: u32 = 2;

/// Before the object of a leaf, and before the leaves of a fingerprint: neither can pass for the
/// other.
const OBJECT_PREFIX: &str = "annals schema object 2\n";
const SCHEMA_PREFIX: &str = "annals schema 2\n";

/// Names one object of a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectKey {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name as SQL would spell it, such as `public.agents` or `public.agents.id`.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// An object with its attributes; no OIDs, no attribute numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// What it is like: each attribute by its name.
    pub attributes: BTreeMap<String, String>,
    /// What it is.
    pub kind: ObjectKind,
    /// Its name as SQL would spell it.
    pub name: String,
}

/// One object of a snapshot. Snapshots share what they have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    // First: entries that differ mostly differ here, and comparing it costs the least.
    pub(crate) digest: Digest,
    pub(crate) key: ObjectKey,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Entry {
    fn new(object: Object, text: &mut String) -> Arc<Self> {
        let Object { attributes, kind, name } = object;
        text.clear();
        text.push_str(OBJECT_PREFIX);
        write_object(text, kind, &name, &attributes);
        let digest = Digest::of(text.as_bytes());
        Arc::new(Self { digest, key: ObjectKey { kind, name }, attributes })
    }
}

/// The schema of a database at one moment.
///
/// Two snapshots are equal when their objects and the server's major version are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    server_major: u32,
    /// Sorted by key, each key once.
    entries: Vec<Arc<Entry>>,
}

impl Snapshot {
    /// Collects objects read from a server of major version `server_major`; of two with one name
    /// the later wins.
    pub fn new(server_major: u32, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut text = String::new();
        let entries = objects.into_iter().map(|object| Entry::new(object, &mut text)).collect();
        Self::of_entries(server_major, entries)
    }

    pub(crate) fn of_entries(server_major: u32, mut entries: Vec<Arc<Entry>>) -> Self {
        // Stable: of equal keys the later stays behind the earlier, and is kept.
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        let mut kept: Vec<Arc<Entry>> = Vec::with_capacity(entries.len());
        for entry in entries {
            match kept.last_mut() {
                Some(last) if last.key == entry.key => *last = entry,
                _ => kept.push(entry),
            }
        }
        Self { server_major, entries: kept }
    }

    /// The same schema without the objects of `removed`, and with `changed` in the place of objects
    /// of their names or besides. What is not named is shared with this one.
    pub fn with(
        &self,
        changed: impl IntoIterator<Item = Object>,
        removed: &BTreeSet<ObjectKey>,
    ) -> Self {
        let mut text = String::new();
        let kept = self.entries.iter().filter(|entry| !removed.contains(&entry.key)).cloned();
        let mut entries: Vec<Arc<Entry>> = kept.collect();
        entries.extend(changed.into_iter().map(|object| Entry::new(object, &mut text)));
        Self::of_entries(self.server_major, entries)
    }

    /// Major version of the server it was read on.
    pub const fn server_major(&self) -> u32 {
        self.server_major
    }

    /// Whether a comparison of the two says anything: servers of two major versions describe one
    /// schema differently.
    pub const fn comparable_with(&self, other: &Self) -> bool {
        self.server_major == other.server_major
    }

    /// Number of objects.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The objects in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &BTreeMap<String, String>)> {
        self.entries.iter().map(|entry| (&entry.key, &entry.attributes))
    }

    /// The objects of one kind in order of their names.
    pub fn of_kind(
        &self,
        kind: ObjectKind,
    ) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        let start = self.entries.partition_point(|entry| entry.key.kind < kind);
        let entries = self.entries[start..].iter().take_while(move |entry| entry.key.kind == kind);
        entries.map(|entry| (entry.key.name.as_str(), &entry.attributes))
    }

    /// One object's attributes.
    pub fn get(&self, key: &ObjectKey) -> Option<&BTreeMap<String, String>> {
        self.entry(key).map(|entry| &entry.attributes)
    }

    /// SHA-256 over one object: its kind, name and attributes.
    pub fn object_digest(&self, key: &ObjectKey) -> Option<Digest> {
        self.entry(key).map(|entry| entry.digest)
    }

    /// Kinds the role that read the schema could not see.
    pub fn unreadable(&self) -> impl Iterator<Item = ObjectKind> {
        self.of_kind(ObjectKind::Unreadable).filter_map(|(name, _)| ObjectKind::parse(name))
    }

    /// SHA-256 over the sorted digests of the objects. What could not be read has no part in it.
    pub fn fingerprint(&self) -> Fingerprint {
        let readable = self.entries.iter().filter(|entry| entry.key.kind != ObjectKind::Unreadable);
        let mut leaves: Vec<&[u8; 32]> = readable.map(|entry| entry.digest.as_bytes()).collect();
        leaves.sort_unstable();
        let mut all = Vec::with_capacity(SCHEMA_PREFIX.len() + 32 * leaves.len());
        all.extend_from_slice(SCHEMA_PREFIX.as_bytes());
        for leaf in leaves {
            all.extend_from_slice(leaf);
        }
        Fingerprint { server_major: self.server_major, digest: Digest::of(&all) }
    }

    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    fn entry(&self, key: &ObjectKey) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by(|entry| entry.key.cmp(key)).ok()?;
        Some(&self.entries[at])
    }
}

/// Appends an object in canonical JSON (RFC 8785).
///
/// Attribute names come in the order of their bytes, which for ASCII is the canonical one; strings
/// are escaped by serde_json as the RFC asks.
pub(crate) fn write_object(
    text: &mut String,
    kind: ObjectKind,
    name: &str,
    attributes: &BTreeMap<String, String>,
) {
    text.push_str("{\"attributes\":{");
    for (at, (attribute, value)) in attributes.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_string(text, attribute);
        text.push(':');
        write_string(text, value);
    }
    text.push_str("},\"kind\":");
    write_string(text, kind.as_str());
    text.push_str(",\"name\":");
    write_string(text, name);
    text.push('}');
}

pub(crate) fn write_string(text: &mut String, value: &str) {
    // Most strings have nothing to escape.
    if value.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        text.push_str(&serde_json::to_string(value).expect("a string is JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: ObjectKind, name: &str, attribute: (&str, &str)) -> Object {
        Object {
            attributes: BTreeMap::from([(attribute.0.to_owned(), attribute.1.to_owned())]),
            kind,
            name: name.to_owned(),
        }
    }

    fn key(kind: ObjectKind, name: &str) -> ObjectKey {
        ObjectKey { kind, name: name.to_owned() }
    }

    #[test]
    fn the_fingerprint_is_the_documented_formula() {
        let table = object(ObjectKind::Table, "public.t", ("owner", "a \"b\"\n"));
        let column = object(ObjectKind::Column, "public.t.é", ("type", "integer"));
        let snapshot = Snapshot::new(15, [table, column]);
        let leaf = |json: &str| Digest::of(format!("annals schema object 2\n{json}").as_bytes());
        let mut leaves = [
            leaf(r#"{"attributes":{"owner":"a \"b\"\n"},"kind":"table","name":"public.t"}"#),
            leaf(r#"{"attributes":{"type":"integer"},"kind":"column","name":"public.t.é"}"#),
        ];
        let table = key(ObjectKind::Table, "public.t");
        assert_eq!(snapshot.object_digest(&table), Some(leaves[0]));
        leaves.sort_by_key(|leaf| *leaf.as_bytes());
        let mut all = b"annals schema 2\n".to_vec();
        leaves.iter().for_each(|leaf| all.extend_from_slice(leaf.as_bytes()));
        let fingerprint = Fingerprint { server_major: 15, digest: Digest::of(&all) };
        assert_eq!(snapshot.fingerprint(), fingerprint);
    }

    #[test]
    fn the_order_of_reading_is_not_part_of_a_snapshot_and_the_later_of_two_wins() {
        let a = || object(ObjectKind::Table, "a", ("x", "1"));
        let b = || object(ObjectKind::Schema, "b", ("x", "1"));
        let other = || object(ObjectKind::Table, "a", ("x", "2"));
        assert_eq!(Snapshot::new(15, [a(), b()]), Snapshot::new(15, [b(), a()]));
        assert_eq!(Snapshot::new(15, [a(), b(), other()]), Snapshot::new(15, [other(), b()]));
        assert_ne!(Snapshot::new(15, [a()]), Snapshot::new(16, [a()]));
        assert!(!Snapshot::new(15, [a()]).comparable_with(&Snapshot::new(16, [a()])));
    }

    #[test]
    fn what_could_not_be_read_is_known_and_not_part_of_the_fingerprint() {
        let table = || object(ObjectKind::Table, "a", ("x", "1"));
        let note = object(ObjectKind::Unreadable, "subscription", ("reason", "no privilege"));
        let seen = Snapshot::new(15, [table()]);
        let partly = Snapshot::new(15, [table(), note]);
        assert_eq!(partly.unreadable().collect::<Vec<_>>(), [ObjectKind::Subscription]);
        assert_eq!(seen.fingerprint(), partly.fingerprint());
        assert_ne!(seen, partly);
    }

    #[test]
    fn a_snapshot_with_changes_is_the_one_read_anew() {
        let of = |name: &str, value: &str| object(ObjectKind::Table, name, ("x", value));
        let before = Snapshot::new(15, [of("a", "1"), of("b", "1"), of("c", "1")]);
        let removed = BTreeSet::from([key(ObjectKind::Table, "a"), key(ObjectKind::Table, "b")]);
        let after = before.with([of("b", "2"), of("d", "1")], &removed);
        assert_eq!(after, Snapshot::new(15, [of("b", "2"), of("c", "1"), of("d", "1")]));
        assert!(Arc::ptr_eq(&before.entries[2], &after.entries[1]), "the rest is shared");
    }

    #[test]
    fn kinds_are_found_by_their_words_and_in_their_order() {
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::parse(kind.as_str()), Some(*kind));
        }
        assert!(ObjectKind::ALL.is_sorted());
        let of = |kind, name| object(kind, name, ("x", "1"));
        let all = ObjectKind::ALL.iter().flat_map(|kind| [of(*kind, "b"), of(*kind, "a")]);
        let snapshot = Snapshot::new(15, all);
        for kind in ObjectKind::ALL {
            let names: Vec<&str> = snapshot.of_kind(*kind).map(|(name, _)| name).collect();
            assert_eq!(names, ["a", "b"]);
        }
    }
}
