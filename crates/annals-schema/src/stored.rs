//! A snapshot in bytes: whole, or as what differs from one stored before.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals_events::Digest;
use serde::Deserialize;

use crate::snapshot::{
    Entry, Object, ObjectKey, SNAPSHOT_FORMAT, Snapshot, write_object, write_string,
};

/// What a blob holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A whole snapshot.
    Full(Snapshot),
    /// What differs from the snapshot of another blob.
    Delta(Delta),
}

/// What differs from the snapshot of another blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    base: Digest,
    server_major: u32,
    changed: Vec<Object>,
    removed: BTreeSet<ObjectKey>,
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not a stored snapshot.
    #[error("not a schema snapshot")]
    Malformed(#[from] serde_json::Error),
    /// Neither whole nor a difference, or both.
    #[error("a schema snapshot is either whole or names the one it differs from")]
    Ambiguous,
    /// Stored by another annals.
    #[error("a schema snapshot of format {0}, this annals reads format {SNAPSHOT_FORMAT}")]
    Format(u32),
    /// A difference on its own.
    #[error("a difference from schema snapshot {0}, which is needed to read it")]
    NeedsBase(Digest),
    /// A difference put onto a snapshot it does not differ from.
    #[error("not the schema snapshot this difference is from: {0}")]
    WrongBase(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blob {
    format: u32,
    server_major: u32,
    objects: Option<Vec<Object>>,
    base: Option<Digest>,
    changed: Option<Vec<Object>>,
    removed: Option<Vec<ObjectKey>>,
}

/// Read before the rest, which another format may have named otherwise.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

impl Stored {
    /// Reads a stored snapshot.
    ///
    /// # Errors
    ///
    /// When the bytes are something else or of another format.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let blob = match serde_json::from_slice::<Blob>(bytes) {
            Ok(blob) => blob,
            Err(error) => {
                return Err(match serde_json::from_slice::<Header>(bytes) {
                    Ok(header) if header.format != SNAPSHOT_FORMAT => {
                        SnapshotError::Format(header.format)
                    }
                    _ => SnapshotError::Malformed(error),
                });
            }
        };
        let Blob { format, server_major, objects, base, changed, removed } = blob;
        if format != SNAPSHOT_FORMAT {
            return Err(SnapshotError::Format(format));
        }
        match (objects, base, changed, removed) {
            (Some(objects), None, None, None) => {
                Ok(Self::Full(Snapshot::new(server_major, objects)))
            }
            (None, Some(base), Some(changed), Some(removed)) => Ok(Self::Delta(Delta {
                base,
                server_major,
                changed,
                removed: removed.into_iter().collect(),
            })),
            _ => Err(SnapshotError::Ambiguous),
        }
    }

    /// The snapshot of a blob that is whole by itself.
    ///
    /// # Errors
    ///
    /// When it is a difference.
    pub fn full(self) -> Result<Snapshot, SnapshotError> {
        match self {
            Self::Full(snapshot) => Ok(snapshot),
            Self::Delta(delta) => Err(SnapshotError::NeedsBase(delta.base)),
        }
    }
}

impl Delta {
    /// The blob it differs from: whole, or a difference as well.
    pub const fn base(&self) -> Digest {
        self.base
    }

    /// The snapshot, from the one of [`Self::base`].
    ///
    /// # Errors
    ///
    /// When `base` is of another major version or lacks what this removes.
    pub fn onto(self, base: Snapshot) -> Result<Snapshot, SnapshotError> {
        if base.server_major() != self.server_major {
            return Err(SnapshotError::WrongBase(format!(
                "it is of PostgreSQL {}, the difference of {}",
                base.server_major(),
                self.server_major
            )));
        }
        if let Some(key) = self.removed.iter().find(|key| base.get(key).is_none()) {
            return Err(SnapshotError::WrongBase(format!("there is no {key} in it")));
        }
        Ok(base.with(self.changed, &self.removed))
    }
}

impl Snapshot {
    /// The stored form of the whole: canonical JSON.
    pub fn to_stored(&self) -> String {
        let mut text = format!("{{\"format\":{SNAPSHOT_FORMAT},\"objects\":[");
        write_entries(&mut text, self.entries().iter());
        text.push_str(&format!("],\"server_major\":{}}}", self.server_major()));
        text
    }

    /// The stored form of what differs from `base`, whose stored form is the blob `base_blob`:
    /// canonical JSON.
    ///
    /// Both are of one major version: a difference between two is not stored.
    pub fn to_delta(&self, base: &Self, base_blob: Digest) -> String {
        assert!(self.comparable_with(base), "invariant: two majors have no difference");
        let unlike = |entry: &&Arc<Entry>| base.object_digest(&entry.key) != Some(entry.digest);
        let mut text = format!("{{\"base\":\"{base_blob}\",\"changed\":[");
        write_entries(&mut text, self.entries().iter().filter(unlike));
        text.push_str(&format!("],\"format\":{SNAPSHOT_FORMAT},\"removed\":["));
        let gone = base.entries().iter().filter(|entry| self.get(&entry.key).is_none());
        for (at, entry) in gone.enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str("{\"kind\":");
            write_string(&mut text, entry.key.kind.as_str());
            text.push_str(",\"name\":");
            write_string(&mut text, &entry.key.name);
            text.push('}');
        }
        text.push_str(&format!("],\"server_major\":{}}}", self.server_major()));
        text
    }
}

fn write_entries<'a>(text: &mut String, entries: impl Iterator<Item = &'a Arc<Entry>>) {
    for (at, entry) in entries.enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_object(text, entry.key.kind, &entry.key.name, &entry.attributes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use annals_events::canonical_json;

    use super::*;
    use crate::kind::ObjectKind;

    fn object(name: &str, value: &str) -> Object {
        Object {
            attributes: BTreeMap::from([
                ("is".into(), value.to_owned()),
                ("owner".into(), "a \"b\"\\\u{1}\n\u{7f}é".into()),
            ]),
            kind: ObjectKind::Table,
            name: name.to_owned(),
        }
    }

    fn assert_canonical(text: &str) {
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical_json(&whole).unwrap(), text);
    }

    #[test]
    fn a_snapshot_survives_its_stored_form_which_is_canonical() {
        for objects in
            [vec![], vec![object("public.a", "1")], vec![object("a", "1"), object("é\"", "2")]]
        {
            let snapshot = Snapshot::new(17, objects);
            let text = snapshot.to_stored();
            assert_canonical(&text);
            assert_eq!(Stored::parse(text.as_bytes()).unwrap(), Stored::Full(snapshot));
        }
    }

    #[test]
    fn a_chain_of_differences_leads_to_the_same_snapshot() {
        let first = Snapshot::new(15, [object("a", "1"), object("b", "1"), object("c", "1")]);
        let second = Snapshot::new(15, [object("b", "2"), object("c", "1"), object("d\"", "1")]);
        let third = Snapshot::new(15, [object("a", "1")]);
        let one = first.to_stored();
        let one_blob = Digest::of(one.as_bytes());
        let two = second.to_delta(&first, one_blob);
        let two_blob = Digest::of(two.as_bytes());
        let three = third.to_delta(&second, two_blob);
        for text in [&two, &three] {
            assert_canonical(text);
        }
        assert!(!two.contains(r#""name":"c""#), "what is unchanged is not stored again: {two}");
        let delta = |text: &str| match Stored::parse(text.as_bytes()).unwrap() {
            Stored::Delta(delta) => delta,
            Stored::Full(_) => panic!("a difference: {text}"),
        };
        assert_eq!((delta(&two).base(), delta(&three).base()), (one_blob, two_blob));
        let read = Stored::parse(one.as_bytes()).unwrap().full().unwrap();
        let read = delta(&two).onto(read).unwrap();
        assert_eq!(read, second);
        assert_eq!(delta(&three).onto(read).unwrap(), third);
        let same = first.to_delta(&first, one_blob);
        assert_eq!(delta(&same).onto(first.clone()).unwrap(), first);
    }

    #[test]
    fn a_difference_is_not_put_onto_another_snapshot() {
        let first = Snapshot::new(15, [object("a", "1")]);
        let blob = Digest::of(b"1");
        let text = Snapshot::new(15, []).to_delta(&first, blob);
        let delta = || match Stored::parse(text.as_bytes()).unwrap() {
            Stored::Delta(delta) => delta,
            Stored::Full(_) => panic!("a difference"),
        };
        let wrong = |base| matches!(delta().onto(base), Err(SnapshotError::WrongBase(_)));
        assert!(wrong(Snapshot::new(16, [object("a", "1")])));
        assert!(wrong(Snapshot::new(15, [object("b", "1")])));
        let alone = Stored::parse(text.as_bytes()).unwrap().full();
        assert!(matches!(alone, Err(SnapshotError::NeedsBase(base)) if base == blob));
    }

    #[test]
    fn other_bytes_are_refused_with_the_reason() {
        let parse = |text: &str| Stored::parse(text.as_bytes());
        let text = Snapshot::new(15, []).to_stored();
        for format in [1, 3] {
            let other = text.replace("\"format\":2", &format!("\"format\":{format}"));
            assert!(matches!(parse(&other), Err(SnapshotError::Format(found)) if found == format));
        }
        let newer = r#"{"format":3,"things":[]}"#;
        assert!(matches!(parse(newer), Err(SnapshotError::Format(3))));
        let unknown = text.replace("\"objects\"", "\"things\"");
        assert!(matches!(parse(&unknown), Err(SnapshotError::Malformed(_))));
        assert!(matches!(parse("[]"), Err(SnapshotError::Malformed(_))));
        let neither = r#"{"format":2,"server_major":15}"#;
        assert!(matches!(parse(neither), Err(SnapshotError::Ambiguous)));
    }
}
