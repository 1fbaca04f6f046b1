//! Empties a database that is somebody's: everything a backup of it holds goes, and what the platform
//! manages stays.
//!
//! In the transaction that is open. A schema of the project's own goes as a whole; `public`, and one that an extension
//! lives in, stays, and loses what is in it piece by piece. What this role may not drop, outside of schemas,
//! stays as it is: whoever compares afterwards sees whether it is what it should be. An event log is never dropped.

use std::collections::BTreeSet;

use annals_postgres::Session;
use annals_schema::{ObjectKind, Snapshot, attachments};

use crate::catalog::{literal, words};
use crate::error::ArchiveError;
use crate::savepoints::{attempt, refused};

/// Tables that are named in one `LOCK`.
const LOCKED_AT_ONCE: usize = 100;

/// Statements that are sent in one message.
const DROPPED_AT_ONCE: usize = 50;

/// Schemas that are a project's own, each with whether it stays: an extension's objects are in it, or it is the
/// one every database has.
const OWN: &str = "own AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspname = 'public'
           OR EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid)
           OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
                       AND d.deptype = 'e')
           OR EXISTS (SELECT FROM pg_depend d JOIN pg_depend m ON m.classid = d.classid AND m.objid = d.objid
                       AND m.deptype = 'e'
                       WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid)
           OR n.nspname = 'annals' AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid
                       AND c.relname = 'log_store') AS stays
      FROM pg_namespace n
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT n.nspname = ANY ({excluded}::text[]))";

/// Tables, in the order of their names: all who lock them do so in this one.
const TABLES: &str = " SELECT format('%I.%I', own.nspname, c.relname) FROM pg_class c
    JOIN own ON own.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p') AND NOT (own.nspname = 'annals' AND starts_with(c.relname, 'log_'))
     AND NOT EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
   ORDER BY 1";

/// What is in no schema.
const OUTSIDE: &str = "SELECT format('DROP %s IF EXISTS %s CASCADE',
        CASE i.type WHEN 'foreign-data wrapper' THEN 'foreign data wrapper' ELSE i.type END,
        replace(i.identity, ' on language ', ' language '))
  FROM (SELECT 1 AS at, 'pg_event_trigger'::regclass::oid AS class, oid AS id FROM pg_event_trigger
        UNION ALL SELECT 2, 'pg_publication'::regclass, oid FROM pg_publication
        UNION ALL SELECT 3, 'pg_transform'::regclass, oid FROM pg_transform
        UNION ALL SELECT 4, 'pg_cast'::regclass, oid FROM pg_cast
        UNION ALL SELECT 5, 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
        UNION ALL SELECT 6, 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
        UNION ALL SELECT 7, 'pg_language'::regclass, oid FROM pg_language
        UNION ALL SELECT 8, 'pg_am'::regclass, oid FROM pg_am) o,
       LATERAL pg_identify_object(o.class, o.id, 0) i
 WHERE o.id >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d
       WHERE d.classid = o.class AND d.objid = o.id AND d.deptype = 'e')
 ORDER BY o.at, i.identity";

/// Schemas that go, and what is in those that stay. What comes and goes with something else is not named.
const INSIDE: &str = " SELECT sql FROM (
    SELECT 0 AS at, own.nspname::text AS name, format('DROP SCHEMA %I CASCADE', own.nspname) AS sql
      FROM own WHERE NOT own.stays
    UNION ALL
    SELECT CASE WHEN i.type IN ('table', 'foreign table') THEN 1
                WHEN i.type IN ('view', 'materialized view') THEN 2
                WHEN i.type = 'sequence' THEN 3 ELSE 4 END, i.identity,
           format('DROP %s IF EXISTS %s CASCADE', CASE i.type WHEN 'composite type' THEN 'type'
                  WHEN 'statistics object' THEN 'statistics' ELSE i.type END, i.identity)
      FROM own JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = own.oid
       AND d.deptype = 'n' AND d.objsubid = 0, LATERAL pg_identify_object(d.classid, d.objid, 0) i
     WHERE own.stays AND i.identity IS NOT NULL AND NOT starts_with(i.identity, 'annals.log_')
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.objsubid = 0
                        AND e.deptype IN ('e', 'i'))) s
  ORDER BY at, name";

/// Rights to a schema that stays are what they are in a new database; its comment too.
const RIGHTS: &str = " SELECT sql FROM (
    SELECT 1 AS at, format('REVOKE ALL ON SCHEMA %I FROM %s CASCADE', own.nspname, CASE a.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS sql
      FROM own JOIN pg_namespace n ON n.oid = own.oid, LATERAL aclexplode(n.nspacl) a
     WHERE own.stays AND a.grantee <> n.nspowner AND own.nspname <> 'annals'
    UNION
    SELECT 2, format('GRANT %s ON SCHEMA %I TO %s', a.privilege_type, own.nspname, CASE a.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
      FROM own JOIN pg_namespace n ON n.oid = own.oid
      JOIN pg_init_privs p ON p.classoid = 'pg_namespace'::regclass AND p.objoid = n.oid,
           LATERAL aclexplode(p.initprivs) a
     WHERE own.stays AND a.grantee <> n.nspowner AND a.grantee <> a.grantor AND own.nspname <> 'annals'
    UNION
    SELECT 3, format('COMMENT ON SCHEMA %I IS %L', own.nspname,
                CASE own.nspname WHEN 'public' THEN 'standard public schema' END)
      FROM own WHERE own.stays AND own.nspname <> 'annals' AND obj_description(own.oid, 'pg_namespace') IS DISTINCT FROM
                CASE own.nspname WHEN 'public' THEN 'standard public schema' END) s
  ORDER BY at, sql";

/// Default privileges: those in one schema are given on top, and are taken away; those everywhere are instead of
/// the usual ones, which come back.
const DEFAULTS: &str = "SELECT sql FROM (
    SELECT 1 AS at, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %s',
               pg_get_userbyid(d.defaclrole),
               CASE d.defaclnamespace WHEN 0 THEN '' ELSE ' IN SCHEMA ' || d.defaclnamespace::regnamespace END,
               w.words, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS sql
      FROM pg_default_acl d, LATERAL aclexplode(d.defaclacl) a, LATERAL (SELECT {kinds} AS words) w
     WHERE d.defaclnamespace = 0
        OR NOT d.defaclnamespace::regnamespace::text = ANY ({excluded}::text[] || '{annals}'::text[])
    UNION
    SELECT 2, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT %s ON %s TO %s', pg_get_userbyid(d.defaclrole),
               a.privilege_type, w.words,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
      FROM pg_default_acl d,
           LATERAL aclexplode(acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)) a,
           LATERAL (SELECT {kinds} AS words) w
     WHERE d.defaclnamespace = 0) s
  ORDER BY at, sql";

const KINDS: &str = "CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' \
    WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END";

/// What stands in schemas of the project, or is one, and belongs to a role this one does not count as.
const OF_OTHERS: &str = " SELECT format('%s (owned by %I)', o.name, pg_get_userbyid(o.owner)) FROM (
    SELECT 'pg_namespace'::regclass AS class, n.oid, format('schema %I', n.nspname) AS name, n.nspowner AS owner
      FROM pg_namespace n JOIN own ON own.oid = n.oid WHERE NOT own.stays
    UNION ALL SELECT 'pg_class'::regclass, c.oid, format('%I.%I', own.nspname, c.relname), c.relowner
      FROM pg_class c JOIN own ON own.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, p.proowner
      FROM pg_proc p JOIN own ON own.oid = p.pronamespace
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.oid::regtype::text, t.typowner
      FROM pg_type t JOIN own ON own.oid = t.typnamespace WHERE t.typtype IN ('d', 'e', 'r')) o
  WHERE NOT pg_has_role(o.owner, 'USAGE') AND NOT starts_with(o.name, 'annals.log_') AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0 AND d.deptype IN ('e', 'i'))
  ORDER BY 1 LIMIT 5";

const UNLINK: &str =
    "SELECT count(pg_catalog.lo_unlink(oid))::text FROM pg_catalog.pg_largeobject_metadata";

fn array(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    format!("ARRAY[{}]", names.join(", "))
}

fn about(query: &str, excluded: &[String]) -> String {
    format!("WITH {}{query}", OWN.replace("{excluded}", &array(excluded)))
}

/// What of a project's schemas belongs to others, five things at most: this role cannot replace it.
///
/// # Errors
///
/// When the server does not answer.
pub async fn of_others(
    session: &mut Session,
    excluded: &[String],
) -> Result<Vec<String>, ArchiveError> {
    Ok(words(session, &about(OF_OTHERS, excluded)).await?)
}

/// Takes every table of the project for this transaction, so that nobody waits in the middle of it.
pub(crate) async fn lock(
    session: &mut Session,
    excluded: &[String],
) -> Result<Vec<String>, ArchiveError> {
    let tables = words(session, &about(TABLES, excluded)).await?;
    for some in tables.chunks(LOCKED_AT_ONCE) {
        let names: Vec<String> = some.iter().map(|name| format!("ONLY {name}")).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "));
        session.run(&sql).await.map_err(refused("the lock on every table"))?;
    }
    Ok(tables)
}

/// Whether an event log lives here.
pub(crate) async fn has_log(session: &mut Session) -> Result<bool, ArchiveError> {
    let store = "SELECT 'is' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = 'annals' AND c.relname = 'log_store'";
    Ok(!words(session, store).await?.is_empty())
}

/// Drops it all. `before` is the picture of the schema, `wanted` the one that is coming.
pub(crate) async fn clear(
    session: &mut Session,
    excluded: &[String],
    (before, wanted): (&Snapshot, &Snapshot),
) -> Result<(), ArchiveError> {
    for it in attachments(before, excluded) {
        let own = it.key.name.get(it.table.len() + 1..).unwrap_or_default();
        let kind = if it.key.kind == ObjectKind::Policy { "POLICY" } else { "TRIGGER" };
        // On a table of somebody else's it may still go with its function.
        attempt(session, &format!("DROP {kind} {own} ON {}", it.table)).await?;
    }
    for sql in words(session, OUTSIDE).await? {
        attempt(session, &sql).await?;
    }
    let inside = words(session, &about(INSIDE, excluded)).await?;
    for some in inside.chunks(DROPPED_AT_ONCE) {
        let begins = some.first().map(String::as_str).unwrap_or_default();
        let what = format!("the place of what is there ({begins}, …)");
        session.run(&some.join("; ")).await.map_err(refused(what))?;
    }
    let names = |picture: &Snapshot| -> BTreeSet<String> {
        picture.of_kind(ObjectKind::Extension).map(|(name, _)| name.to_owned()).collect()
    };
    for extension in names(before).difference(&names(wanted)) {
        attempt(session, &format!("DROP EXTENSION IF EXISTS {extension} CASCADE")).await?;
    }
    let defaults = DEFAULTS.replace("{kinds}", KINDS).replace("{excluded}", &array(excluded));
    for query in [about(RIGHTS, excluded), defaults] {
        for sql in words(session, &query).await? {
            attempt(session, &sql).await?;
        }
    }
    words(session, UNLINK).await.map_err(refused("the large objects that are there"))?;
    Ok(())
}

/// The rows an extension leaves to the database, in tables that stay.
pub(crate) async fn empty_tables_of_extensions(
    session: &mut Session,
    tables: &[(&str, Option<&str>)],
) -> Result<(), ArchiveError> {
    for (name, condition) in tables {
        let member = format!(
            "SELECT 'is' FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             AND objid = pg_catalog.to_regclass({}) AND deptype = 'e'",
            literal(name)
        );
        if words(session, &member).await?.is_empty() {
            continue;
        }
        let sql = format!("DELETE FROM {name} {}", condition.unwrap_or_default());
        session.run(&sql).await.map_err(refused(format!("rows of {name}")))?;
    }
    Ok(())
}
