//! `schema show`, `fingerprint`, `diff`.

use annals_operations::{SchemaDiff, SchemaView};
use annals_schema::{Difference, Sameness, Snapshot, render};
use serde::Serialize;
use serde_json::Value;

use crate::exit::ExitCode;

/// The event that recorded a schema.
#[derive(Debug, Clone, Serialize)]
pub struct PictureDocument {
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub recorded_at: String,
    /// Whether the log was verified up to where it was read.
    pub verified: bool,
}

/// `annals schema fingerprint`.
#[derive(Debug, Clone, Serialize)]
pub struct FingerprintDocument {
    /// `annals.schema_fingerprint/1`.
    pub format: &'static str,
    /// Where it is from: `live`, `expected`, `version:003`, …
    pub source: String,
    /// Major version and SHA-256: `pg15:<hex>`.
    pub fingerprint: String,
    /// Major version of the server.
    pub server_major: u32,
    /// Number of objects.
    pub objects: usize,
    /// What recorded it, if it is from a log.
    pub recorded: Option<PictureDocument>,
}

/// `annals schema show`.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaDocument {
    /// `annals.schema/1`.
    pub format: &'static str,
    /// Where it is from.
    pub source: String,
    /// Major version and SHA-256: `pg15:<hex>`.
    pub fingerprint: String,
    /// Number of objects.
    pub objects: usize,
    /// What recorded it, if it is from a log.
    pub recorded: Option<PictureDocument>,
    /// The schema, as a log stores it; `--file` and `file:` read it.
    pub snapshot: Value,
    /// As text for people.
    #[serde(skip)]
    pub text: String,
}

/// How one attribute differs.
#[derive(Debug, Clone, Serialize)]
pub struct AttributeDifference {
    /// The attribute.
    pub attribute: String,
    /// In the first schema.
    pub before: Option<String>,
    /// In the second.
    pub after: Option<String>,
}

/// How one object differs.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectDifference {
    /// What it is.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub what: &'static str,
    /// Each attribute that differs; all of them where it was added or removed.
    pub attributes: Vec<AttributeDifference>,
}

/// `annals schema diff`.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaDiffDocument {
    /// `annals.schema_diff/1`.
    pub format: &'static str,
    /// The first.
    pub from: FingerprintDocument,
    /// The second.
    pub to: FingerprintDocument,
    /// `equal`, `column_order` or `differs`.
    pub sameness: &'static str,
    /// What the two do not share.
    pub differences: Vec<ObjectDifference>,
    /// The process's exit code.
    pub exit_code: u8,
}

fn picture(view: &SchemaView) -> Option<PictureDocument> {
    view.recorded.map(|recorded| PictureDocument {
        seq: recorded.seq,
        recorded_at: recorded.at.to_string(),
        verified: recorded.verified,
    })
}

impl From<&SchemaView> for FingerprintDocument {
    fn from(view: &SchemaView) -> Self {
        Self {
            format: "annals.schema_fingerprint/1",
            source: view.source.clone(),
            fingerprint: view.snapshot.fingerprint().to_string(),
            server_major: view.snapshot.server_major(),
            objects: view.snapshot.len(),
            recorded: picture(view),
        }
    }
}

impl From<&SchemaView> for SchemaDocument {
    fn from(view: &SchemaView) -> Self {
        let stored = view.snapshot.to_stored();
        Self {
            format: "annals.schema/1",
            source: view.source.clone(),
            fingerprint: view.snapshot.fingerprint().to_string(),
            objects: view.snapshot.len(),
            recorded: picture(view),
            snapshot: serde_json::from_str(&stored).expect("invariant: a stored schema is JSON"),
            text: render(&view.snapshot),
        }
    }
}

/// Every attribute of an object only one schema has.
fn whole(schema: &Snapshot, difference: &Difference, is_before: bool) -> Vec<AttributeDifference> {
    let attributes = schema.get(difference.key()).into_iter().flatten();
    let attribute = |(attribute, value): (&String, &String)| AttributeDifference {
        attribute: attribute.clone(),
        before: is_before.then(|| value.clone()),
        after: (!is_before).then(|| value.clone()),
    };
    attributes.map(attribute).collect()
}

impl From<&SchemaDiff> for SchemaDiffDocument {
    fn from(view: &SchemaDiff) -> Self {
        let differences = view.differences.iter().map(|difference| {
            let (what, attributes) = match difference {
                Difference::Added(_) => ("added", whole(&view.to.snapshot, difference, false)),
                Difference::Removed(_) => ("removed", whole(&view.from.snapshot, difference, true)),
                Difference::Changed(_, changes) => {
                    let change = |change: &annals_schema::Change| AttributeDifference {
                        attribute: change.attribute.clone(),
                        before: change.before.clone(),
                        after: change.after.clone(),
                    };
                    ("changed", changes.iter().map(change).collect())
                }
            };
            let key = difference.key();
            ObjectDifference { kind: key.kind.as_str(), name: key.name.clone(), what, attributes }
        });
        let differences: Vec<ObjectDifference> = differences.collect();
        let code = match differences.as_slice() {
            [] => ExitCode::Success,
            _ => ExitCode::Findings,
        };
        Self {
            format: "annals.schema_diff/1",
            from: FingerprintDocument::from(&view.from),
            to: FingerprintDocument::from(&view.to),
            sameness: match view.sameness {
                Sameness::Equal => "equal",
                Sameness::ColumnOrder => "column_order",
                Sameness::Differs => "differs",
            },
            differences,
            exit_code: code.code(),
        }
    }
}
