//! Checks that read the catalog only: one set-based query each, as an ordinary role may ask it.

mod constraints;
mod indexes;
mod permissions;
mod state;
mod structure;

use sqlx::Row;

use super::statement::{Guard, Statements};
use super::{CheckOptions, Report, Unmade, Why};
use crate::fault::Fault;

/// A check as a query. Its rows have the columns `subject`, `evidence` and `hidden`: whether the
/// role may not see what is asked for.
pub(super) struct Probe {
    pub(super) check: &'static str,
    /// The first major version that has what is asked for; before it there is nothing to find.
    pub(super) since: u32,
    pub(super) sql: &'static str,
}

impl Probe {
    const fn new(check: &'static str, sql: &'static str) -> Self {
        Self { check, since: 0, sql }
    }
}

/// Every probe.
pub(super) fn probes() -> impl Iterator<Item = &'static Probe> {
    [structure::PROBES, constraints::PROBES, indexes::PROBES, permissions::PROBES, state::PROBES]
        .into_iter()
        .flatten()
}

/// What is the project's own: schemas, and relations in them with their names as SQL spells them.
/// Probes begin behind it.
pub(super) const OWN: &str = "WITH RECURSIVE member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), ns AS (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl, n.nspname::text AS bare FROM pg_namespace n
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT n.nspname = ANY ({excluded})
       AND NOT EXISTS (SELECT FROM member m
                        WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid)
), rel AS (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relowner, c.relacl, c.relrowsecurity,
           c.relpages, c.reltoastrelid, c.relispartition, c.relispopulated, c.relam, c.reloptions,
           c.relnamespace, c.relfrozenxid, c.relminmxid, ns.bare AS schema_name,
           format('%I.%I', ns.nspname, c.relname) AS name
      FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
     WHERE c.relpersistence <> 't' AND NOT EXISTS (
           SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
), con AS (
    SELECT k.*, coalesce(rel.name, format('%I.%I', tn.nspname, t.typname)) AS place,
           rel.name AS table_name,
           CASE WHEN k.contypid = 0 THEN format('constraint %s.%I', rel.name, k.conname)
                ELSE format('constraint %I of domain %I.%I', k.conname, tn.nspname, t.typname) END
               AS subject
      FROM pg_constraint k
      LEFT JOIN rel ON rel.oid = k.conrelid
      LEFT JOIN pg_type t ON t.oid = k.contypid
      LEFT JOIN ns tn ON tn.oid = t.typnamespace
     WHERE rel.oid IS NOT NULL OR tn.oid IS NOT NULL
)";

/// A query behind [`OWN`], with its parameters in their places.
pub(super) fn complete(sql: &str, options: &CheckOptions<'_>) -> String {
    let quoted = options.excluded.iter().map(|name| format!("'{}'", name.replace('\'', "''")));
    let excluded = format!("ARRAY[{}]::name[]", quoted.collect::<Vec<_>>().join(", "));
    format!("{OWN} {sql}")
        .replace("{excluded}", &excluded)
        .replace("{wraparound}", &options.limits.wraparound_age.to_string())
        .replace("{prepared_s}", &options.limits.prepared_s.to_string())
        .replace("{used_percent}", &options.limits.sequence_percent.to_string())
        .replace("{columns}", &options.limits.column_numbers.to_string())
}

/// Asks everything that belongs to the chosen checks.
pub(super) async fn examine(
    statements: &mut Statements,
    options: &CheckOptions<'_>,
    report: &mut Report,
) -> Result<(), Fault> {
    let major = statements.major();
    for probe in probes().filter(|probe| options.has(probe.check)) {
        report.made.insert(probe.check);
        if major < probe.since {
            continue;
        }
        let sql = complete(probe.sql, options);
        match statements.rows(&Guard::Catalog, &sql).await? {
            Err(why) => report.unmade.push(Unmade {
                check: probe.check,
                subject: "catalog".to_owned(),
                why,
            }),
            Ok(rows) => {
                for row in rows {
                    let subject: String = row.try_get("subject")?;
                    let evidence: String = row.try_get("evidence")?;
                    match row.try_get("hidden")? {
                        true => report.unmade.push(Unmade {
                            check: probe.check,
                            subject,
                            why: Why::Privilege(evidence),
                        }),
                        false => report.see(probe.check, subject, evidence),
                    }
                }
            }
        }
    }
    Ok(())
}
