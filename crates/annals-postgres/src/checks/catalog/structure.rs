//! Tables, views, extensions.

use super::Probe;

pub(super) const PROBES: &[Probe] = &[
    Probe::new(
        "table.no_primary_key",
        "SELECT 'table ' || name AS subject, 'it has no primary key' AS evidence, false AS hidden
           FROM rel WHERE relkind IN ('r', 'p') AND NOT relispartition
            AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = rel.oid AND i.indisprimary)
          ORDER BY 1",
    ),
    Probe::new(
        "table.unlogged",
        "SELECT 'table ' || name AS subject, 'it is UNLOGGED' AS evidence, false AS hidden
           FROM rel WHERE relkind IN ('r', 'p') AND relpersistence = 'u' ORDER BY 1",
    ),
    Probe::new(
        "table.column_budget",
        "SELECT 'table ' || name AS subject, format('%s of 1600 column numbers are used, %s columns \
             are left', max(a.attnum), count(*) FILTER (WHERE NOT a.attisdropped)) AS evidence,
             false AS hidden
           FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > {columns}
          WHERE relkind IN ('r', 'p') GROUP BY rel.name ORDER BY 1",
    ),
    Probe::new(
        "view.unpopulated",
        "SELECT 'view ' || name AS subject, 'it was never populated' AS evidence, false AS hidden
           FROM rel WHERE relkind = 'm' AND NOT relispopulated ORDER BY 1",
    ),
    Probe {
        check: "partition.detach_pending",
        since: 14,
        sql: "SELECT 'table ' || rel.name AS subject, format('it is being detached from %s, and \
                  nobody is at it', p.name) AS evidence, false AS hidden
                FROM pg_inherits h JOIN rel ON rel.oid = h.inhrelid JOIN rel p ON p.oid = h.inhparent
               WHERE h.inhdetachpending ORDER BY 1",
    },
    Probe::new(
        "extension.outdated",
        "SELECT format('extension %I', e.extname) AS subject, format('version %s is installed, the \
             server has %s', e.extversion, a.default_version) AS evidence, false AS hidden
           FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname
          WHERE a.default_version <> e.extversion ORDER BY 1",
    ),
];
