//! Grants, row level security, owners.

use annals_events::CheckLevel::Quick;
use annals_schema::Family;

use super::Check;
use crate::finding::CheckFamily::{self, Schema};
use crate::finding::Severity::{Error, Note, Warning};

const FAMILY: CheckFamily = Schema(Family::Permissions);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "policy.without_row_security",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "a table has policies, and its row level security is off: they protect nothing",
        remedy: "ALTER TABLE … ENABLE ROW LEVEL SECURITY in a migration",
        damage: "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
    },
    Check {
        id: "policy.always_true",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a permissive policy for writing is true for every row, for PUBLIC, anon or authenticated",
        remedy: "say in the policy whose rows they are",
        damage: "CREATE POLICY p ON t FOR UPDATE USING (true)",
    },
    Check {
        id: "row_security.without_policy",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "row level security is on and there is no policy: only the owner sees rows",
        remedy: "create policies, or turn row level security off",
        damage: "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    },
    Check {
        id: "grant.exposed",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "PUBLIC, anon or authenticated may read or write a table whose row level security is off, or a materialized view or foreign table, which has none",
        remedy: "enable row level security and write policies, or revoke the grant",
        damage: "GRANT SELECT ON t TO PUBLIC",
    },
    Check {
        id: "grant.create_in_schema",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "PUBLIC or anon may create objects in a schema: names in it can be taken by anybody (the default of PostgreSQL before 15)",
        remedy: "REVOKE CREATE ON SCHEMA … FROM PUBLIC",
        damage: "GRANT CREATE ON SCHEMA public TO PUBLIC",
    },
    Check {
        id: "grant.unknown_role",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "a grant names a role that is not there: a new role may get its number",
        remedy: "REVOKE it by the number it is shown with",
        damage: "a row of pg_authid is deleted by hand",
    },
    Check {
        id: "default_privileges.exposed",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "default privileges give PUBLIC or anon rights on tables, sequences or schemas that are made later",
        remedy: "ALTER DEFAULT PRIVILEGES … REVOKE … FROM PUBLIC (or anon)",
        damage: "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    },
    Check {
        id: "owner.missing",
        family: FAMILY,
        level: Quick,
        severity: Error,
        looks_at: "the owner of a schema, relation or function is a role that is not there",
        remedy: "give it an owner: ALTER … OWNER TO",
        damage: "a row of pg_authid is deleted by hand",
    },
    Check {
        id: "owner.different",
        family: FAMILY,
        level: Quick,
        severity: Note,
        looks_at: "a relation belongs to another role than most relations of its schema",
        remedy: "ALTER … OWNER TO, unless it is meant",
        damage: "ALTER TABLE t OWNER TO somebody",
    },
    Check {
        id: "function.definer_search_path",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "a SECURITY DEFINER function has no search_path of its own: its caller chooses what its names mean",
        remedy: "ALTER FUNCTION … SET search_path = ''",
        damage: "CREATE FUNCTION f() … SECURITY DEFINER",
    },
    Check {
        id: "function.definer_exposed",
        family: FAMILY,
        level: Quick,
        severity: Note,
        looks_at: "a SECURITY DEFINER function that is no trigger may be called by PUBLIC or anon",
        remedy: "REVOKE EXECUTE ON FUNCTION … FROM PUBLIC, and grant it to whom it is for",
        damage: "CREATE FUNCTION f() … SECURITY DEFINER SET search_path = ''",
    },
    Check {
        id: "view.bypasses_row_security",
        family: FAMILY,
        level: Quick,
        severity: Warning,
        looks_at: "PUBLIC, anon or authenticated may read a view that reads a table with row level security as the view's owner",
        remedy: "ALTER VIEW … SET (security_invoker = true) (PostgreSQL 15 and later), or revoke the grant",
        damage: "CREATE VIEW v AS SELECT * FROM protected; GRANT SELECT ON v TO PUBLIC",
    },
];
