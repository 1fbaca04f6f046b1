//! Constraints and triggers.

use super::Probe;

pub(super) const PROBES: &[Probe] = &[
    // What is not enforced is not validated either; it is told once. Before 18 nothing is not enforced.
    Probe::new(
        "constraint.not_validated",
        "SELECT subject, 'it is NOT VALID: rows from before it may break it' AS evidence,
                false AS hidden
           FROM con WHERE NOT convalidated AND conparentid = 0
            AND coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true) ORDER BY 1",
    ),
    Probe {
        check: "constraint.not_enforced",
        since: 18,
        sql: "SELECT subject, 'it is NOT ENFORCED' AS evidence, false AS hidden
                FROM con WHERE NOT conenforced AND conparentid = 0 ORDER BY 1",
    },
    Probe::new(
        "constraint.trigger_disabled",
        "SELECT format('constraint %s.%I', rel.name, k.conname) AS subject,
                format('%s of its triggers %s', count(*), CASE min(g.tgenabled) WHEN 'D'
                       THEN 'are disabled' ELSE 'fire on replicas only' END) AS evidence,
                false AS hidden
           FROM pg_trigger g JOIN pg_constraint k ON k.oid = g.tgconstraint
           JOIN rel ON rel.oid = k.conrelid
          WHERE g.tgisinternal AND g.tgenabled IN ('D', 'R') AND k.contype = 'f'
          GROUP BY rel.name, k.conname ORDER BY 1",
    ),
    Probe::new(
        "trigger.disabled",
        "SELECT format('trigger %s.%I', rel.name, g.tgname) AS subject, 'it is disabled' AS evidence,
                false AS hidden
           FROM pg_trigger g JOIN rel ON rel.oid = g.tgrelid
          WHERE NOT g.tgisinternal AND g.tgenabled = 'D' ORDER BY 1",
    ),
    Probe::new(
        "constraint.duplicate",
        "SELECT a.subject, format('constraint %I says the same', b.conname) AS evidence,
                false AS hidden
           FROM con a JOIN con b ON b.conrelid = a.conrelid AND b.confrelid = a.confrelid
            AND b.contype = 'f' AND b.conkey = a.conkey AND b.confkey = a.confkey
            AND b.oid < a.oid AND b.conparentid = 0
          WHERE a.contype = 'f' AND a.conparentid = 0 ORDER BY 1, 2",
    ),
    Probe::new(
        "constraint.type_mismatch",
        "SELECT subject, format('%I is %s, the column it refers to is %s', ca.attname,
                format_type(ca.atttypid, NULL), format_type(pa.atttypid, NULL)) AS evidence,
                false AS hidden
           FROM con CROSS JOIN LATERAL unnest(conkey, confkey) AS k (own, other)
           JOIN pg_attribute ca ON ca.attrelid = conrelid AND ca.attnum = k.own
           JOIN pg_attribute pa ON pa.attrelid = confrelid AND pa.attnum = k.other
          WHERE contype = 'f' AND conparentid = 0 AND ca.atttypid <> pa.atttypid ORDER BY 1, 2",
    ),
];
