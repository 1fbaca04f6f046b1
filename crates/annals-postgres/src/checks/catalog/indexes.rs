//! Indexes.

use super::Probe;

pub(super) const PROBES: &[Probe] = &[
    Probe::new(
        "index.invalid",
        "SELECT 'index ' || rel.name AS subject,
                'it is INVALID: a concurrent build did not finish, no query uses it' AS evidence,
                false AS hidden
           FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
          WHERE rel.relkind = 'i' AND NOT i.indisvalid AND i.indisready AND i.indislive
            AND rel.relname !~ '_cc(new|old)[0-9]*$' ORDER BY 1",
    ),
    Probe::new(
        "index.not_ready",
        "SELECT 'index ' || rel.name AS subject, CASE WHEN i.indislive
                THEN 'it is not ready: rows that are written now are not in it'
                ELSE 'it is not live: it was being dropped' END AS evidence, false AS hidden
           FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
          WHERE rel.relkind = 'i' AND NOT (i.indisready AND i.indislive)
            AND rel.relname !~ '_cc(new|old)[0-9]*$' ORDER BY 1",
    ),
    Probe::new(
        "index.partition_missing",
        "SELECT 'index ' || rel.name AS subject,
                'not every partition has one that is attached to it' AS evidence, false AS hidden
           FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
          WHERE rel.relkind = 'I' AND NOT i.indisvalid ORDER BY 1",
    ),
    // Its name alone says nothing where it is used: a constraint's index may be called like that.
    Probe::new(
        "index.leftover",
        "SELECT 'index ' || rel.name AS subject, CASE WHEN i.indisvalid
                THEN 'it is valid, and doubles another one'
                ELSE 'it is not valid' END AS evidence, false AS hidden
           FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
          WHERE rel.relkind = 'i' AND rel.relname ~ '_cc(new|old)[0-9]*$'
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = rel.oid) ORDER BY 1",
    ),
    // The one that may go is named: no constraint's, and of two alike the younger.
    Probe::new(
        "index.duplicate",
        "SELECT 'index ' || rel.name AS subject, format('index %s has the same keys', min(o.name))
                AS evidence, false AS hidden
           FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
           JOIN pg_index j ON j.indrelid = i.indrelid AND j.indexrelid <> i.indexrelid
           JOIN rel o ON o.oid = j.indexrelid
          WHERE rel.relkind IN ('i', 'I') AND rel.relam = o.relam AND j.indkey = i.indkey
            AND i.indisvalid AND j.indisvalid AND rel.relname !~ '_cc(new|old)[0-9]*$'
            AND o.relname !~ '_cc(new|old)[0-9]*$'
            AND j.indnkeyatts = i.indnkeyatts AND j.indclass = i.indclass
            AND j.indcollation = i.indcollation AND j.indoption = i.indoption
            AND coalesce(pg_get_expr(j.indexprs, j.indrelid), '')
                = coalesce(pg_get_expr(i.indexprs, i.indrelid), '')
            AND coalesce(pg_get_expr(j.indpred, j.indrelid), '')
                = coalesce(pg_get_expr(i.indpred, i.indrelid), '')
            AND (j.indisunique OR NOT i.indisunique)
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
            AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
            AND (j.indexrelid < i.indexrelid OR (j.indisunique AND NOT i.indisunique) OR EXISTS
                 (SELECT FROM pg_constraint k WHERE k.conindid = j.indexrelid))
          GROUP BY rel.name ORDER BY 1",
    ),
    Probe::new(
        "index.missing_for_foreign_key",
        "SELECT subject, format('no index of %s begins with %s', place,
                (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.at)
                   FROM unnest(conkey) WITH ORDINALITY k (num, at)
                   JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.num)) AS evidence,
                false AS hidden
           FROM con WHERE contype = 'f' AND conparentid = 0 AND NOT EXISTS (
                SELECT FROM pg_index i WHERE i.indrelid = conrelid AND i.indpred IS NULL
                   AND i.indnkeyatts >= cardinality(conkey)
                   AND (i.indkey::int2[])[0:cardinality(conkey) - 1] @> conkey
                   AND (i.indkey::int2[])[0:cardinality(conkey) - 1] <@ conkey) ORDER BY 1",
    ),
    // The database's own collation has a version since 15; those of the catalog always had one.
    Probe::new(
        "index.collation_changed",
        "SELECT format('collation %I.%I', n.nspname, c.collname) AS subject,
                format('version %s was used, %s is installed; %s indexes depend on it, such as %s',
                       c.collversion, pg_collation_actual_version(c.oid), count(DISTINCT rel.oid),
                       min(rel.name)) AS evidence, false AS hidden
           FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
           CROSS JOIN LATERAL unnest(i.indcollation::oid[]) u (oid)
           JOIN pg_collation c ON c.oid = u.oid JOIN pg_namespace n ON n.oid = c.collnamespace
          WHERE c.collversion <> pg_collation_actual_version(c.oid)
          GROUP BY n.nspname, c.collname, c.collversion, c.oid ORDER BY 1",
    ),
    Probe {
        check: "index.collation_changed",
        since: 15,
        sql: "SELECT format('database %I', d.datname) AS subject,
                     format('version %s of its collation was used, %s is installed; %s indexes \
                            depend on it, such as %s', d.datcollversion,
                            pg_database_collation_actual_version(d.oid), used.n, used.one)
                            AS evidence, false AS hidden
                FROM pg_database d CROSS JOIN (SELECT count(*) AS n, min(rel.name) AS one
                     FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
                    WHERE 100 = ANY (i.indcollation::oid[])) used
               WHERE d.datname = current_database() AND used.n > 0
                 AND d.datcollversion <> pg_database_collation_actual_version(d.oid)",
    },
];
