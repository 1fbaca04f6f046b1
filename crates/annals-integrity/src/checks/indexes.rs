//! Indexes.

use annals_events::CheckLevel::{Full, Quick};
use annals_schema::Family;

use super::Check;
use crate::finding::CheckFamily::{self, Schema};
use crate::finding::Severity::{Error, Note, Warning};

const FAMILY: CheckFamily = Schema(Family::Indexes);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "index.invalid",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "an index is INVALID: a concurrent build did not finish, no query uses it",
        remedy: "drop it concurrently and build it again",
        damage: "CREATE INDEX CONCURRENTLY is cancelled",
    },
    Check {
        id: "index.not_ready",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "an index is not ready or not live: changes of rows pass it by",
        remedy: "drop it concurrently and build it again",
        damage: "DROP INDEX CONCURRENTLY is cancelled",
    },
    Check {
        id: "index.partition_missing",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "an index of a partitioned table is not complete: a partition has none that is attached",
        remedy: "build the index on each partition and attach it",
        damage: "CREATE INDEX i ON ONLY partitioned (n)",
    },
    Check {
        id: "index.leftover",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "REINDEX CONCURRENTLY has left an index named _ccnew or _ccold",
        remedy: "DROP INDEX CONCURRENTLY, after a look whether the index beside it is valid",
        damage: "REINDEX INDEX CONCURRENTLY is cancelled",
    },
    Check {
        id: "index.duplicate",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "two indexes of a table have the same keys: each change is written twice",
        remedy: "drop one of them concurrently in a migration",
        damage: "CREATE INDEX a ON t (n); CREATE INDEX b ON t (n)",
    },
    Check {
        id: "index.missing_for_foreign_key",
        family: FAMILY,
        level: Quick,
        severity: Note,
        looks_at: "no index begins with the columns of a foreign key: deleting a parent reads the whole table",
        remedy: "create an index on its columns concurrently, unless parents are never deleted or updated",
        damage: "ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES p",
    },
    Check {
        id: "index.collation_changed",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a collation that indexes are sorted by has another version now: they may be out of order",
        remedy: "REINDEX what depends on it, then ALTER COLLATION (or DATABASE) … REFRESH VERSION",
        damage: "the operating system brings a newer libc or ICU",
    },
    Check {
        id: "index.corrupt",
        family: FAMILY,
        level: Full,
        severity: Error,
        looks_at: "amcheck finds a B-tree index out of order, damaged, or without an entry for a row (heapallindexed), or a GIN index out of order or damaged (PostgreSQL 18 and later)",
        remedy: "keep a copy of the files, find out why (disk, collation, kill -9 without fsync), then REINDEX",
        damage: "a page of the index's file is overwritten",
    },
];
