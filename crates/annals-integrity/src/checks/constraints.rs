//! Constraints and the triggers that keep them.

use annals_events::CheckLevel::Quick;
use annals_schema::Family;

use super::Check;
use crate::finding::CheckFamily::{self, Schema};
use crate::finding::Severity::{Error, Note, Warning};

const FAMILY: CheckFamily = Schema(Family::Constraints);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "constraint.not_validated",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a constraint of a table or a domain is NOT VALID: rows from before it may break it",
        remedy: "ALTER TABLE … VALIDATE CONSTRAINT in a migration",
        damage: "ALTER TABLE t ADD CHECK (n > 0) NOT VALID",
    },
    Check {
        id: "constraint.not_enforced",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a constraint is NOT ENFORCED: no row is held to it (PostgreSQL 18 and later)",
        remedy: "ALTER TABLE … ALTER CONSTRAINT … ENFORCED, or drop it",
        damage: "ALTER TABLE t ADD CHECK (n > 0) NOT ENFORCED",
    },
    Check {
        id: "constraint.trigger_disabled",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "the server's own triggers of a foreign key do not fire for everybody: nothing keeps the constraint",
        remedy: "ALTER TABLE … ENABLE TRIGGER ALL, then look for rows without a parent",
        damage: "ALTER TABLE t DISABLE TRIGGER ALL",
    },
    Check {
        id: "trigger.disabled",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a trigger is disabled",
        remedy: "enable it in a migration, or drop it",
        damage: "ALTER TABLE t DISABLE TRIGGER touch",
    },
    Check {
        id: "constraint.duplicate",
        family: FAMILY,
        level: Quick,
        severity: Note,
        looks_at: "two foreign keys of a table say the same: each change is checked twice",
        remedy: "drop one of them in a migration",
        damage: "ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES p, twice",
    },
    Check {
        id: "constraint.type_mismatch",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a column of a foreign key has another type than the column it refers to",
        remedy: "give both columns one type in a migration",
        damage: "a bigint key is referred to by an integer column",
    },
];
