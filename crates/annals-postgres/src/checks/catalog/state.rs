//! What the server keeps of itself: files, ages, slots, what has been counted.

use super::Probe;

pub(super) const PROBES: &[Probe] = &[
    // The size is looked up by the file's name, so it takes a lock: only where there were pages.
    Probe::new(
        "storage.missing_file",
        "SELECT CASE relkind WHEN 'i' THEN 'index ' WHEN 'm' THEN 'view ' ELSE 'table ' END || name
                AS subject, format('it had %s pages, and its file is gone or empty', relpages)
                AS evidence, false AS hidden
           FROM rel WHERE relkind IN ('r', 'm', 'i') AND relpages > 0
            AND pg_relation_size(oid) = 0 ORDER BY 1",
    ),
    Probe::new(
        "storage.checksum_failures",
        "SELECT format('database %I', datname) AS subject, format('%s checksum failures, the last \
                at %s', checksum_failures, date_trunc('second', checksum_last_failure)) AS evidence,
                false AS hidden
           FROM pg_stat_database WHERE datname = current_database() AND checksum_failures > 0",
    ),
    Probe::new(
        "database.wraparound",
        "SELECT 'table ' || rel.name AS subject, format('its oldest transaction number is %s old, \
                its oldest multixact number %s', greatest(age(rel.relfrozenxid), age(t.relfrozenxid)),
                greatest(mxid_age(rel.relminmxid), mxid_age(t.relminmxid))) AS evidence,
                false AS hidden
           FROM rel LEFT JOIN pg_class t ON t.oid = rel.reltoastrelid
          WHERE rel.relkind IN ('r', 'm')
            AND (greatest(age(rel.relfrozenxid), age(t.relfrozenxid)) > {wraparound}
              OR greatest(mxid_age(rel.relminmxid), mxid_age(t.relminmxid)) > {wraparound})
          ORDER BY 1",
    ),
    Probe::new(
        "sequence.exhausted",
        "SELECT 'sequence ' || name AS subject, CASE WHEN hidden
                THEN 'this role may not read its last value'
                ELSE format('%s %% of its values are used, up to %s', round(used * 100), last) END
                AS evidence, hidden
           FROM (SELECT rel.name, v.last, c.hidden,
                        CASE WHEN s.seqincrement > 0
                             THEN (v.last - s.seqmin::numeric) / nullif(least(s.seqmax, w.top) - s.seqmin::numeric, 0)
                             ELSE (s.seqmax - v.last::numeric) / nullif(s.seqmax::numeric - greatest(s.seqmin, -w.top), 0)
                        END AS used
                   FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid
                   LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = rel.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
                    AND d.deptype IN ('a', 'i')
                   LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                  CROSS JOIN LATERAL (SELECT CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                        WHEN 'int4'::regtype THEN 2147483647
                        ELSE 9223372036854775807 END::int8 AS top) w
                  CROSS JOIN LATERAL (SELECT NOT has_sequence_privilege(rel.oid, 'USAGE, SELECT')
                        AS hidden) c
                  CROSS JOIN LATERAL (SELECT CASE WHEN c.hidden THEN NULL
                        ELSE pg_sequence_last_value(rel.oid) END AS last) v
                  WHERE NOT s.seqcycle) q
          WHERE hidden OR used * 100 > {used_percent} ORDER BY 1",
    ),
    Probe::new(
        "transaction.prepared",
        "SELECT format('prepared transaction %L', gid) AS subject, format('of %s, since %s', owner,
                date_trunc('second', prepared)) AS evidence, false AS hidden
           FROM pg_prepared_xacts WHERE database = current_database()
            AND prepared < clock_timestamp() - {prepared_s} * interval '1 second' ORDER BY 1",
    ),
    Probe::new(
        "slot.holds_wal",
        "SELECT format('replication slot %I', slot_name) AS subject, CASE wal_status
                WHEN 'lost' THEN 'the WAL it needs is gone'
                ELSE format('nobody reads from it, and it keeps %s of WAL', pg_size_pretty(
                     pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                     ELSE pg_current_wal_lsn() END, restart_lsn))) END AS evidence, false AS hidden
           FROM pg_replication_slots
          WHERE (database IS NULL OR database = current_database()) AND NOT temporary
            AND (wal_status = 'lost' OR (NOT active AND restart_lsn IS NOT NULL)) ORDER BY 1",
    ),
];
