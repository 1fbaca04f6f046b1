//! A schema as a value.

use std::collections::BTreeMap;
use std::fmt;

use annals_events::{Digest, canonical_json};
use serde::{Deserialize, Serialize};

/// Version of the stored form of a snapshot.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// A family of checks, as reports group them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Tables, columns, types, views, functions, triggers, sequences.
    TableStructure,
    /// Constraints.
    Constraints,
    /// Indexes.
    Indexes,
    /// Policies, row level security and grants.
    Permissions,
}

macro_rules! object_kinds {
    ($( $(#[$doc:meta])* $variant:ident = $word:literal in $family:ident, )*) => {
        /// What an object is.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum ObjectKind {
            $( $(#[$doc])* #[serde(rename = $word)] $variant, )*
        }

        impl ObjectKind {
            /// The stored word.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }

            /// The family it is checked in.
            pub const fn family(self) -> Family {
                match self { $( Self::$variant => Family::$family, )* }
            }

            /// Reads the stored word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $( $word => Some(Self::$variant), )*
                    _ => None,
                }
            }
        }
    };
}

object_kinds! {
    /// A schema.
    Schema = "schema" in TableStructure,
    /// An extension; what belongs to it is not listed.
    Extension = "extension" in TableStructure,
    /// An enum, domain, composite or range type.
    Type = "type" in TableStructure,
    /// A table, partitioned or not.
    Table = "table" in TableStructure,
    /// A column of a table or view.
    Column = "column" in TableStructure,
    /// A sequence.
    Sequence = "sequence" in TableStructure,
    /// A view or materialized view.
    View = "view" in TableStructure,
    /// A function, procedure or aggregate.
    Function = "function" in TableStructure,
    /// A trigger that is not part of a constraint.
    Trigger = "trigger" in TableStructure,
    /// A primary key, unique, check, foreign key or exclusion constraint.
    Constraint = "constraint" in Constraints,
    /// An index.
    Index = "index" in Indexes,
    /// Whether row level security is on for a table.
    RowSecurity = "row_security" in Permissions,
    /// A row level security policy.
    Policy = "policy" in Permissions,
    /// What one role may do with one object.
    Grant = "grant" in Permissions,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str().replace('_', " "))
    }
}

/// Names one object of a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// The schema of a database at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    objects: BTreeMap<ObjectKey, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    objects: Vec<Object>,
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not a stored snapshot.
    #[error("not a schema snapshot")]
    Malformed(#[from] serde_json::Error),
    /// Stored by a newer annals.
    #[error("a schema snapshot of format {0}, this annals reads up to {SNAPSHOT_FORMAT}")]
    Newer(u32),
}

impl Snapshot {
    /// Collects objects; of two with one name the later wins.
    pub fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let objects = objects
            .into_iter()
            .map(|Object { attributes, kind, name }| (ObjectKey { kind, name }, attributes))
            .collect();
        Self { objects }
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The objects in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &BTreeMap<String, String>)> {
        self.objects.iter()
    }

    /// One object's attributes.
    pub fn get(&self, key: &ObjectKey) -> Option<&BTreeMap<String, String>> {
        self.objects.get(key)
    }

    /// The stored form: canonical JSON.
    pub fn to_canonical_json(&self) -> String {
        // One object after the other: a tree of all of them is many times as large as their text.
        let mut text = format!("{{\"format\":{SNAPSHOT_FORMAT},\"objects\":[");
        for (at, (key, attributes)) in self.objects.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            let (attributes, name) = (attributes.clone(), key.name.clone());
            let object = Object { attributes, kind: key.kind, name };
            let value = serde_json::to_value(object).expect("an object has string keys only");
            let object = canonical_json(&value);
            text += &object.expect("invariant: attribute names are ASCII, values are strings");
        }
        text + "]}"
    }

    /// SHA-256 over the stored form. Only pictures of one server major version compare.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.to_canonical_json().as_bytes())
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// When the bytes are something else or come from a newer annals.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let stored: Stored = serde_json::from_slice(bytes)?;
        if stored.format > SNAPSHOT_FORMAT {
            return Err(SnapshotError::Newer(stored.format));
        }
        Ok(Self::new(stored.objects))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_object_by_object_is_the_canonical_form_of_the_whole() {
        let object = |name: &str| Object {
            attributes: BTreeMap::from([("is".into(), "a \"table\"\n".into())]),
            kind: ObjectKind::Table,
            name: name.to_owned(),
        };
        for objects in [vec![], vec![object("public.a")], vec![object("public.a"), object("b.é")]]
        {
            let written = Snapshot::new(objects).to_canonical_json();
            let whole: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(canonical_json(&whole).unwrap(), written);
        }
    }

    #[test]
    fn a_snapshot_survives_its_stored_form() {
        let object = |kind, name: &str, attribute: (&str, &str)| Object {
            attributes: BTreeMap::from([(attribute.0.to_owned(), attribute.1.to_owned())]),
            kind,
            name: name.to_owned(),
        };
        let snapshot = Snapshot::new([
            object(ObjectKind::Table, "public.t", ("owner", "alice")),
            object(ObjectKind::Column, "public.t.id", ("type", "integer")),
        ]);
        let stored = snapshot.to_canonical_json();
        let read = Snapshot::from_json(stored.as_bytes()).unwrap();
        assert_eq!(read, snapshot);
        assert_eq!(read.fingerprint(), snapshot.fingerprint());
        let newer = stored.replace("\"format\":1", "\"format\":2");
        assert!(matches!(Snapshot::from_json(newer.as_bytes()), Err(SnapshotError::Newer(2))));
    }
}
