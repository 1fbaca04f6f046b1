//! What a rehearsal has seen, as it is stored: JSON of format 1, described in
//! `docs/reference/proof.md`.

use annals_events::{Digest, FileRef, ProofVerdict, Version};
use annals_schema::{Difference, diff};
use serde::Serialize;

use crate::judge::Likeness;
use crate::relations::rank;
use crate::scale::ScaleReport;

/// Version of the report.
pub const REPORT_FORMAT: u32 = 1;

/// How one attribute of an object differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// The attribute.
    pub attribute: String,
    /// What it was; none if it was not there.
    pub before: Option<String>,
    /// What it is; none if it is not there any more.
    pub after: Option<String>,
}

/// An object that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectDifference {
    /// `missing` (it was there before), `left` (it was not) or `changed`.
    pub difference: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Attribute by attribute, where it is changed.
    pub changes: Vec<ObjectChange>,
}

impl ObjectDifference {
    pub(crate) fn between(
        before: &annals_schema::Snapshot,
        after: &annals_schema::Snapshot,
    ) -> Vec<Self> {
        diff(before, after).into_iter().map(Self::from).collect()
    }
}

impl From<Difference> for ObjectDifference {
    fn from(difference: Difference) -> Self {
        let (word, key, changes) = match difference {
            Difference::Added(key) => ("left", key, Vec::new()),
            Difference::Removed(key) => ("missing", key, Vec::new()),
            Difference::Changed(key, changes) => ("changed", key, changes),
        };
        let changes = changes.into_iter().map(|change| ObjectChange {
            attribute: change.attribute,
            before: change.before,
            after: change.after,
        });
        Self {
            difference: word,
            kind: key.kind.as_str(),
            name: key.name,
            changes: changes.collect(),
        }
    }
}

/// How two schemas compare, given what differs.
pub(crate) fn likeness(differences: &[ObjectDifference]) -> Likeness {
    let moved = |difference: &ObjectDifference| {
        difference.kind == "column"
            && difference.difference == "changed"
            && difference.changes.iter().all(|change| change.attribute == "position")
    };
    match differences {
        [] => Likeness::Equal,
        all if all.iter().all(moved) => Likeness::ColumnOrder,
        _ => Likeness::Differs,
    }
}

/// A lock a statement took on a relation that was there before its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockSeen {
    /// As `LOCK TABLE` spells it, such as `ACCESS EXCLUSIVE`.
    pub mode: &'static str,
    /// The relation.
    pub relation: String,
}

/// A statement of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementSeen {
    /// Line of the file.
    pub line: u32,
    /// How long it took, in microseconds.
    pub us: u64,
    /// What it locked that was not locked before, strongest first; none where it cannot be seen.
    pub locks: Option<Vec<LockSeen>>,
    /// Tables that were there before and have been written anew.
    pub rewrites: Vec<String>,
}

/// Why a file failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFailure {
    /// The file, relative to the workspace.
    pub file: String,
    /// Line in it; none for its commit.
    pub line: Option<u64>,
    /// SQLSTATE, where the server gave one.
    pub code: Option<String>,
    /// What the server said.
    pub message: String,
}

impl std::fmt::Display for FileFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        self.code.iter().try_for_each(|code| write!(f, " (SQLSTATE {code})"))
    }
}

/// A file as it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FileSeen {
    /// How long all of it took, in microseconds.
    pub us: u64,
    /// Statement by statement.
    pub statements: Vec<StatementSeen>,
}

/// Values of one column that are not what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostColumn {
    /// The column.
    pub column: String,
    /// In how many rows.
    pub values: u64,
}

/// What became of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostRows {
    /// The table.
    pub table: String,
    /// Rows there were.
    pub of: u64,
    /// Rows that are gone.
    pub rows: u64,
    /// Values that are gone or others, in rows that are there.
    pub columns: Vec<LostColumn>,
}

/// A table that got no sample rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The table.
    pub table: String,
    /// Why.
    pub reason: String,
}

/// The rehearsal with rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RowsReport {
    /// Sample rows that were written before the migration.
    pub before: u64,
    /// Sample rows that were written behind it.
    pub behind: u64,
    /// What was there before the migration and is not behind its rollback.
    pub lost: Vec<LostRows>,
    /// What was written behind the migration and goes with its rollback.
    pub would_be_lost: Vec<LostRows>,
    /// Tables without sample rows.
    pub skipped: Vec<Skipped>,
    /// What the migration fails with once there are rows: then nothing is known of the rest.
    pub up_failure: Option<FileFailure>,
    /// What the rollback fails with once there are rows.
    pub down_failure: Option<FileFailure>,
}

impl RowsReport {
    /// Rows that were there before and are not behind the rollback.
    pub fn lost_rows(&self) -> u64 {
        self.lost.iter().map(|lost| lost.rows).sum()
    }
}

/// One place of the whole chain, rolled back from the newest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainPlace {
    /// What it came to.
    pub verdict: ProofVerdict,
    /// What differs here and did not differ one place above.
    pub differences: Vec<ObjectDifference>,
    /// Why its rollback failed.
    pub failure: Option<FileFailure>,
}

/// What is known of one migration and its rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepProof {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// The version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// The migration.
    pub file: FileRef,
    /// The rollback, if there is one.
    pub rollback: Option<FileRef>,
    /// Major version of the server.
    pub server_major: u32,
    /// Fingerprint of the schema it began with.
    pub before: Digest,
    /// Fingerprint of the schema it left; none if it failed.
    pub after: Option<Digest>,
    /// What it came to.
    pub verdict: ProofVerdict,
    /// The versions that were rolled back together for it; this one alone, usually.
    pub group: Vec<Version>,
    /// Why there is no way back, as the files say.
    pub irreversible: Option<String>,
    /// Why the migration or the rollback failed.
    pub failure: Option<FileFailure>,
    /// What the rollback left unlike it was.
    pub differences: Vec<ObjectDifference>,
    /// What going up again left unlike the first time.
    pub again: Vec<ObjectDifference>,
    /// What differs each time the migration is applied: its file says so, not its rollback.
    pub unstable: Vec<ObjectDifference>,
    /// The migration as it ran.
    pub up: FileSeen,
    /// The rollback as it ran.
    pub down: FileSeen,
    /// With rows.
    pub rows: Option<RowsReport>,
    /// On as many rows as the files ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleReport>,
    /// In the whole chain; none if it was not reached.
    pub chain: Option<ChainPlace>,
    /// What else should be known.
    pub notes: Vec<String>,
}

impl StepProof {
    /// `<version>_<name>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    /// The stored form: JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has string keys only")
    }

    /// Sample rows that were lost.
    pub fn lost_rows(&self) -> u64 {
        self.rows.as_ref().map_or(0, RowsReport::lost_rows)
    }

    /// The strongest lock of both files.
    pub fn strongest_lock(&self) -> Option<&LockSeen> {
        let statements = self.up.statements.iter().chain(&self.down.statements);
        let locks = statements.filter_map(|statement| statement.locks.as_ref()).flatten();
        // Of equally strong ones the first: a table before its indexes.
        locks.reduce(|strongest, lock| match rank(lock.mode) > rank(strongest.mode) {
            true => lock,
            false => strongest,
        })
    }

    /// Tables that were written anew.
    pub fn rewrites(&self) -> Vec<&str> {
        let statements = self.up.statements.iter().chain(&self.down.statements);
        let mut all: Vec<&str> =
            statements.flat_map(|statement| &statement.rewrites).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What came of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Each migration that was to be proven, in order.
    pub steps: Vec<StepProof>,
    /// Migrations behind one that fails: nothing is known of them.
    pub not_reached: Vec<(Version, String)>,
    /// Major version of the server.
    pub server_major: u32,
    /// In how many databases side by side: durations are those of a server that had so much to do.
    pub lanes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(kind: &'static str, attribute: &str) -> ObjectDifference {
        let change = ObjectChange { attribute: attribute.into(), before: None, after: None };
        let name = "public.t.a".to_owned();
        ObjectDifference { difference: "changed", kind, name, changes: vec![change] }
    }

    #[test]
    fn only_columns_elsewhere_are_a_class_of_their_own() {
        assert_eq!(likeness(&[]), Likeness::Equal);
        assert_eq!(likeness(&[changed("column", "position")]), Likeness::ColumnOrder);
        assert_eq!(likeness(&[changed("type", "position")]), Likeness::Differs);
        let both = [changed("column", "position"), changed("column", "type")];
        assert_eq!(likeness(&both), Likeness::Differs);
        let left = ObjectDifference { difference: "left", ..changed("column", "position") };
        assert_eq!(likeness(&[left]), Likeness::Differs);
    }

    #[test]
    fn a_failure_names_its_place() {
        let (file, message) = ("rollbacks/1_a_rollback.sql".to_owned(), "no".to_owned());
        let failure = FileFailure { file, line: Some(3), code: Some("42P01".into()), message };
        assert_eq!(failure.to_string(), "rollbacks/1_a_rollback.sql:3: no (SQLSTATE 42P01)");
    }
}
