SELECT a.pid IS NOT NULL AS alive,
    a.backend_start::text AS began,
    a.state,
    (extract(epoch FROM clock_timestamp() - a.state_change) * 1000)::int8 AS state_age_ms,
    a.wait_event_type,
    a.wait_event,
    (extract(epoch FROM clock_timestamp() - a.query_start) * 1000)::int8 AS query_age_ms,
    (SELECT jsonb_agg(jsonb_build_object(
            'pid', held.pid,
            'user', b.usename,
            'application', b.application_name,
            'state', CASE WHEN held.pid = 0 THEN 'prepared transaction' ELSE b.state END,
            'query_age_s', extract(epoch FROM clock_timestamp() - b.query_start)::int8,
            'transaction_age_s', extract(epoch FROM clock_timestamp() - b.xact_start)::int8)
        ORDER BY b.xact_start, held.pid)
     FROM (SELECT DISTINCT unnest(CASE WHEN a.wait_event_type = 'Lock'
            THEN pg_catalog.pg_blocking_pids(a.pid) END) AS pid) held
        LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = held.pid)::text AS blockers,
    coalesce(
        (SELECT jsonb_build_object('command', p.command, 'phase', p.phase,
            'relation', CASE WHEN p.datname = current_database() THEN p.relid::regclass::text END,
            'blocks_done', p.blocks_done, 'blocks_total', p.blocks_total,
            'tuples_done', p.tuples_done, 'tuples_total', p.tuples_total,
            'partitions_done', p.partitions_done, 'partitions_total', p.partitions_total,
            'lockers_done', p.lockers_done, 'lockers_total', p.lockers_total)
         FROM pg_catalog.pg_stat_progress_create_index p WHERE p.pid = a.pid),
        (SELECT jsonb_build_object('command', 'VACUUM', 'phase', p.phase,
            'relation', CASE WHEN p.datname = current_database() THEN p.relid::regclass::text END,
            'blocks_done', p.heap_blks_scanned, 'blocks_total', p.heap_blks_total)
         FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.pid = a.pid),
        (SELECT jsonb_build_object('command', p.command, 'phase', p.phase,
            'relation', CASE WHEN p.datname = current_database() THEN p.relid::regclass::text END,
            'blocks_done', p.heap_blks_scanned, 'blocks_total', p.heap_blks_total,
            'tuples_done', p.heap_tuples_written)
         FROM pg_catalog.pg_stat_progress_cluster p WHERE p.pid = a.pid),
        (SELECT jsonb_build_object('command', 'ANALYZE', 'phase', p.phase,
            'relation', CASE WHEN p.datname = current_database() THEN p.relid::regclass::text END,
            'blocks_done', p.sample_blks_scanned, 'blocks_total', p.sample_blks_total)
         FROM pg_catalog.pg_stat_progress_analyze p WHERE p.pid = a.pid),
        -- PostgreSQL 13 has no progress of COPY; there this asks for one that has been told already.
        (SELECT jsonb_build_object('command', 'COPY', 'phase', 'copying rows',
            'relation', nullif(p.relid, 0)::regclass::text,
            'bytes_done', p.param1, 'bytes_total', p.param2, 'tuples_done', p.param3)
         FROM pg_catalog.pg_stat_get_progress_info(CASE
            WHEN current_setting('server_version_num')::int4 >= 140000
            THEN 'COPY' ELSE 'VACUUM' END) p
         WHERE p.pid = a.pid AND p.datid =
            (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()))
    )::text AS progress
FROM (SELECT) AS once LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid =
