WITH page AS (
    SELECT pg_catalog.current_setting('block_size')::int8 AS bytes
), here AS (
    SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
), chosen AS (
    SELECT c.*, n.nspname FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'f')
       AND CASE WHEN $2::text[] IS NULL
           THEN n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp\_%'
            AND n.nspname <> ALL ($1::text[])
           ELSE (n.nspname::text, c.relname::text) IN
                (SELECT s, t FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS u (s, t))
           END
), shown AS (
    SELECT * FROM chosen ORDER BY nspname, relname LIMIT $4
), exclusive AS (
    SELECT l.relation, pg_catalog.jsonb_agg(DISTINCT l.pid) AS pids FROM pg_catalog.pg_locks l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid IS NOT NULL
       AND l.database = (SELECT oid FROM here)
     GROUP BY l.relation
)
SELECT jsonb_build_object(
  'count', (SELECT count(*) FROM chosen),
  'tables', (SELECT coalesce(jsonb_agg(q.value), '[]') FROM (
      SELECT jsonb_build_object(
          'schema', c.nspname, 'name', c.relname,
          'kind', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned'
                  WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END,
          'readable', coalesce(pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
              AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), false),
          'locked_by', coalesce((SELECT e.pids FROM exclusive e WHERE e.relation = c.oid), '[]'),
          -- Before 14 nothing and never looked at are both zero.
          'rows', CASE WHEN c.reltuples > 0 OR (c.reltuples = 0 AND (c.relpages > 0
                    OR pg_catalog.current_setting('server_version_num')::int >= 140000))
                  THEN c.reltuples::int8 END,
          'dead_rows', pg_catalog.pg_stat_get_dead_tuples(c.oid),
          'bytes', (c.relpages
              + coalesce((SELECT sum(i.relpages) FROM pg_catalog.pg_index x
                  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid), 0)
              + coalesce((SELECT t.relpages + coalesce((SELECT sum(i.relpages) FROM pg_catalog.pg_index x
                      JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = t.oid), 0)
                  FROM pg_catalog.pg_class t WHERE t.oid = c.reltoastrelid), 0))::int8
              * (SELECT bytes FROM page),
          'rls', c.relrowsecurity, 'rls_forced', c.relforcerowsecurity,
          'policies', (SELECT count(*) FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid),
          'vacuumed_at', pg_catalog.to_char(greatest(pg_catalog.pg_stat_get_last_vacuum_time(c.oid),
              pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
          'analyzed_at', pg_catalog.to_char(greatest(pg_catalog.pg_stat_get_last_analyze_time(c.oid),
              pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        ) AS value
        FROM shown c ORDER BY c.nspname, c.relname) q)
)::text AS found
