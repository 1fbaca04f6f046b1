WITH clients AS (
    -- Of sessions this role may not see everything of, the kind is hidden, and the role is not.
    SELECT * FROM pg_catalog.pg_stat_activity
     WHERE backend_type = 'client backend' OR (backend_type IS NULL AND usesysid IS NOT NULL)
), here AS (
    SELECT oid, datfrozenxid, datminmxid FROM pg_catalog.pg_database
     WHERE datname = pg_catalog.current_database()
), long AS (
    SELECT a.* FROM clients a
     WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
       AND ((a.state = 'active' AND a.query_start < pg_catalog.clock_timestamp() - $LONG_MS * interval '1 millisecond')
         OR a.xact_start < pg_catalog.clock_timestamp() - $LONG_MS * interval '1 millisecond')
), waits AS (
    SELECT l.pid, l.locktype, l.mode, l.relation, l.database,
           (pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz AS waitstart
      FROM pg_catalog.pg_locks l
     WHERE NOT l.granted AND l.pid IS NOT NULL
       AND (l.database = (SELECT oid FROM here) OR l.database IS NULL OR l.database = 0)
)
SELECT jsonb_build_object(
  'connections', (SELECT jsonb_build_object('used', count(*),
        'here', count(*) FILTER (WHERE datname = pg_catalog.current_database()),
        'active', count(*) FILTER (WHERE state = 'active'),
        'idle_in_transaction', count(*) FILTER (WHERE state LIKE 'idle in transaction%'),
        'hidden', count(*) FILTER (WHERE state IS NULL)) FROM clients),
  'max', pg_catalog.current_setting('max_connections')::int8,
  'reserved', pg_catalog.current_setting('superuser_reserved_connections')::int8,
  'long_count', (SELECT count(*) FROM long),
  'long', (SELECT coalesce(jsonb_agg(q.value), '[]') FROM (
      SELECT jsonb_build_object('pid', a.pid, 'user', coalesce(a.usename, ''),
          'application', coalesce(a.application_name, ''), 'state', coalesce(a.state, ''),
          'query_s', CASE WHEN a.state = 'active'
              THEN extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::int8 END,
          'transaction_s', extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int8,
          'waits_for', a.wait_event_type || ': ' || a.wait_event) AS value
        FROM long a ORDER BY least(a.query_start, a.xact_start) LIMIT 20) q),
  'wait_count', (SELECT count(DISTINCT pid) FROM waits),
  'waits', (SELECT coalesce(jsonb_agg(q.value), '[]') FROM (
      SELECT jsonb_build_object('pid', w.pid, 'user', coalesce(a.usename, ''),
          'application', coalesce(a.application_name, ''), 'kind', w.locktype, 'mode', w.mode,
          'relation', CASE WHEN w.database = (SELECT oid FROM here)
              THEN w.relation::pg_catalog.regclass::text END,
          'waited_s', extract(epoch FROM pg_catalog.clock_timestamp()
              - coalesce(w.waitstart, a.query_start))::int8,
          'blocked_by', pg_catalog.to_jsonb(pg_catalog.pg_blocking_pids(w.pid))) AS value
        FROM waits w LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
       ORDER BY coalesce(w.waitstart, a.query_start) LIMIT 20) q),
  'cache_hit', (SELECT CASE WHEN blks_hit + blks_read > 0
        THEN round((blks_hit::numeric / (blks_hit + blks_read)), 6) END
      FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()),
  'deadlocks', (SELECT deadlocks FROM pg_catalog.pg_stat_database
      WHERE datname = pg_catalog.current_database()),
  'statistics_since', (SELECT pg_catalog.to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
      FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()),
  'xid_age', (SELECT pg_catalog.age(datfrozenxid) FROM here),
  'multixact_age', (SELECT pg_catalog.mxid_age(datminmxid) FROM here),
  'freeze_max_age', pg_catalog.current_setting('autovacuum_freeze_max_age')::int8
)::text AS found
