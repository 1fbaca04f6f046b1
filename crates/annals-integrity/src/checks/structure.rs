//! Tables, views, functions, extensions.

use annals_events::CheckLevel::Quick;
use annals_schema::Family;

use super::Check;
use crate::finding::CheckFamily::{self, Schema};
use crate::finding::Severity::{Error, Note, Warning};

const FAMILY: CheckFamily = Schema(Family::TableStructure);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "schema.missing",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "an object that was there after the last run is gone; counted in the family of the object",
        remedy: "bring it back with a new migration, or restore it by hand",
        damage: "DROP INDEX of something a migration made",
    },
    Check {
        id: "schema.unexpected",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "an object is not part of what the migrations left; counted in the family of the object",
        remedy: "write a migration for it, or remove it by hand",
        damage: "CREATE TABLE by hand",
    },
    Check {
        id: "schema.changed",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "an object differs from what the last run left; counted in the family of the object",
        remedy: "undo the change by hand, or write a migration for it",
        damage: "ALTER TABLE … ALTER COLUMN … DROP NOT NULL by hand",
    },
    Check {
        id: "table.no_primary_key",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a table has no primary key: its rows cannot be told apart, and logical replication cannot update them",
        remedy: "add a primary key in a migration",
        damage: "CREATE TABLE t (id int)",
    },
    Check {
        id: "table.unlogged",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a table is UNLOGGED: a crash empties it, and no standby has it",
        remedy: "ALTER TABLE … SET LOGGED in a migration, if its rows matter",
        damage: "ALTER TABLE t SET UNLOGGED",
    },
    Check {
        id: "table.column_budget",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a table has used up more than 1400 of the 1600 column numbers it can ever have; dropped columns count",
        remedy: "copy the table to a new one before the next columns are added",
        damage: "columns are added and dropped 1400 times",
    },
    Check {
        id: "view.unpopulated",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a materialized view was never populated: reading it is an error",
        remedy: "REFRESH MATERIALIZED VIEW",
        damage: "REFRESH MATERIALIZED VIEW v WITH NO DATA",
    },
    Check {
        id: "partition.detach_pending",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a partition was being detached concurrently, and that did not finish (PostgreSQL 14 and later)",
        remedy: "ALTER TABLE … DETACH PARTITION … FINALIZE",
        damage: "DETACH PARTITION … CONCURRENTLY is cancelled while it waits",
    },
    Check {
        id: "extension.outdated",
        family: FAMILY,
        level: Quick,
        severity: Note,
        looks_at: "an extension has another version than the one the server's files would install",
        remedy: "ALTER EXTENSION … UPDATE in a migration",
        damage: "CREATE EXTENSION amcheck VERSION '1.0'",
    },
];
