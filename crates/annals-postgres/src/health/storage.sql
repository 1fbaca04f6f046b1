WITH page AS (
    SELECT pg_catalog.current_setting('block_size')::int8 AS bytes
), user_tables AS (
    SELECT c.oid, c.relname, n.nspname, c.relpages::int8 AS pages, c.reltuples::float8 AS tuples,
           coalesce((SELECT option_value::float8 FROM pg_catalog.pg_options_to_table(c.reloptions)
                      WHERE option_name = 'fillfactor'), 100) AS fillfactor
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp\_%'
), large AS (
    SELECT t.* FROM user_tables t, page p WHERE t.pages * p.bytes >= 1048576
), widths AS (
    SELECT s.schemaname, s.tablename, sum((1 - s.null_frac) * s.avg_width) AS width
      FROM pg_catalog.pg_stats s JOIN large l ON l.nspname = s.schemaname AND l.relname = s.tablename
     WHERE NOT s.inherited GROUP BY s.schemaname, s.tablename
), bloat AS (
    -- A page has a head of 24 bytes, a row one of 24 and a pointer of 4; rows are aligned to 8.
    SELECT l.nspname, l.relname, l.pages * p.bytes AS bytes,
           greatest(0, (l.pages - ceil(l.tuples * (28 + 8 * ceil(w.width / 8))
               / ((p.bytes - 24) * l.fillfactor / 100))) * p.bytes)::int8 AS wasted
      FROM large l JOIN widths w ON w.schemaname = l.nspname AND w.tablename = l.relname, page p
     WHERE l.tuples >= 0
), indexes AS (
    SELECT x.*, c.relname AS index_name, c.relkind, c.relpages::int8 * p.bytes AS bytes,
           t.relname AS table_name, n.nspname, pg_catalog.pg_stat_get_numscans(c.oid) AS scans
      FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
      JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace, page p
     WHERE t.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp\_%'
)
SELECT jsonb_build_object(
  'index_scans', (SELECT CASE WHEN sum(u.idx + u.seq) > 0
        THEN round(sum(u.idx)::numeric / sum(u.idx + u.seq), 6) END
      FROM (SELECT pg_catalog.pg_stat_get_numscans(l.oid) AS seq,
                   coalesce((SELECT sum(pg_catalog.pg_stat_get_numscans(x.indexrelid))
                               FROM pg_catalog.pg_index x WHERE x.indrelid = l.oid), 0) AS idx
              FROM large l) u),
  'unused', (SELECT coalesce(jsonb_agg(q.value), '[]') FROM (
      SELECT jsonb_build_object('index', i.nspname || '.' || i.index_name,
          'table', i.nspname || '.' || i.table_name, 'bytes', i.bytes) AS value
        FROM indexes i WHERE i.scans = 0 AND i.bytes >= 1048576 AND i.relkind = 'i'
         AND NOT i.indisunique AND NOT i.indisexclusion
       ORDER BY i.bytes DESC, i.index_name LIMIT 20) q),
  'invalid', (SELECT coalesce(jsonb_agg(q.value), '[]') FROM (
      SELECT jsonb_build_object('index', i.nspname || '.' || i.index_name,
          'table', i.nspname || '.' || i.table_name, 'bytes', i.bytes) AS value
        FROM indexes i WHERE NOT i.indisvalid ORDER BY i.nspname, i.index_name LIMIT 20) q),
  'live_rows', (SELECT coalesce(sum(pg_catalog.pg_stat_get_live_tuples(t.oid)), 0)::int8 FROM user_tables t),
  'dead_rows', (SELECT coalesce(sum(pg_catalog.pg_stat_get_dead_tuples(t.oid)), 0)::int8 FROM user_tables t),
  'bloat', (SELECT coalesce(jsonb_agg(q.value), '[]') FROM (
      SELECT jsonb_build_object('table', b.nspname || '.' || b.relname, 'bytes', b.bytes,
          'wasted_bytes', b.wasted) AS value
        FROM bloat b WHERE b.wasted > 0 ORDER BY b.wasted DESC, b.relname LIMIT 20) q)
)::text AS found
