-- Makes a plain, throwaway PostgreSQL database look like a Supabase one to the
-- migrations that run in it: the roles, schemas, functions, tables and default
-- privileges that Supabase projects may take for granted. This is the part about
-- roles, the database and what a project has in schemas of its own;
-- supabase_schemas.sql, which follows it in the same message, has the schemas of
-- the platform. Both are sent by the superuser supabase_admin, work on PostgreSQL
-- 13 and later, and may be repeated, in the same database or in another of the
-- same server.

-- Roles: policies and grants name them. Roles belong to the whole cluster, so
-- one that is already there (from another database) is left as it is. Only
-- postgres logs in; what Supabase's own services do through the others does not
-- happen here.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT r.name, r.attributes
        FROM (VALUES
            ('anon', 'NOLOGIN NOINHERIT'),
            ('authenticated', 'NOLOGIN NOINHERIT'),
            ('service_role', 'NOLOGIN NOINHERIT BYPASSRLS'),
            ('authenticator', 'NOLOGIN NOINHERIT'),
            -- Migrations run as this role. It may do much, but it is no superuser.
            ('postgres', 'LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS'),
            ('supabase_auth_admin', 'NOLOGIN NOINHERIT CREATEROLE'),
            ('supabase_storage_admin', 'NOLOGIN NOINHERIT CREATEROLE'),
            ('supabase_realtime_admin', 'NOLOGIN NOINHERIT'),
            ('supabase_functions_admin', 'NOLOGIN NOINHERIT CREATEROLE'),
            ('supabase_replication_admin', 'NOLOGIN REPLICATION'),
            ('supabase_read_only_user', 'NOLOGIN BYPASSRLS'),
            ('dashboard_user', 'NOLOGIN CREATEDB CREATEROLE REPLICATION')
        ) AS r (name, attributes)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_roles AS existing WHERE existing.rolname = r.name
        )
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
        EXCEPTION
            -- Another connection preparing its own database was faster.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

-- Membership. The API connects as authenticator and becomes one of three roles;
-- postgres may become, and hand on, any of them. Supabase lets postgres write
-- policies on the tables of storage and realtime by an extension of its own;
-- here it can because it counts as their owner.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT m.granted, m.member, m.admin
        FROM (VALUES
            ('anon', 'authenticator', false),
            ('authenticated', 'authenticator', false),
            ('service_role', 'authenticator', false),
            ('anon', 'postgres', true),
            ('authenticated', 'postgres', true),
            ('service_role', 'postgres', true),
            ('authenticator', 'postgres', true),
            ('supabase_storage_admin', 'postgres', false),
            ('supabase_realtime_admin', 'postgres', false),
            ('supabase_functions_admin', 'postgres', false),
            ('pg_monitor', 'postgres', false),
            ('pg_signal_backend', 'postgres', false),
            ('pg_read_all_data', 'postgres', false),
            ('pg_create_subscription', 'postgres', false),
            ('pg_read_all_data', 'supabase_read_only_user', false)
        ) AS m (granted, member, admin)
        -- Some predefined roles came with later versions.
        JOIN pg_catalog.pg_roles AS r ON r.rolname = m.granted
        WHERE NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_auth_members AS known
            WHERE known.roleid = r.oid AND known.member = m.member::regrole
        )
    LOOP
        EXECUTE format('GRANT %I TO %I', wanted.granted, wanted.member)
            || CASE WHEN wanted.admin THEN ' WITH ADMIN OPTION' ELSE '' END;
    END LOOP;
END
$$;

-- Settings Supabase's extension lets postgres change, though it is no
-- superuser. Such a grant exists since PostgreSQL 15.
DO $$
DECLARE
    allowed text;
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RETURN;
    END IF;
    FOREACH allowed IN ARRAY ARRAY[
        'session_replication_role', 'log_statement', 'log_min_duration_statement',
        'log_min_messages', 'log_lock_waits', 'deadlock_timeout', 'track_functions',
        'track_io_timing', 'wal_compression', 'auto_explain.log_min_duration',
        'pgaudit.log', 'pgrst.db_schemas', 'pgrst.db_extra_search_path',
        'pgrst.db_pre_request', 'pgrst.db_max_rows', 'pgrst.db_aggregates_enabled',
        'pgrst.db_plan_enabled', 'pgrst.openapi_mode', 'app.settings.jwt_secret',
        'app.settings.jwt_exp'
    ]
    LOOP
        EXECUTE format(
            'GRANT SET ON PARAMETER %s TO postgres',
            array_to_string(ARRAY(
                SELECT quote_ident(part) FROM unnest(string_to_array(allowed, '.')) AS part
            ), '.')
        );
    END LOOP;
END
$$;

ALTER ROLE anon SET statement_timeout = '3s';
ALTER ROLE authenticated SET statement_timeout = '8s';
ALTER ROLE authenticator SET statement_timeout = '8s';
ALTER ROLE authenticator SET lock_timeout = '8s';
ALTER ROLE postgres SET search_path = "$user", public, extensions;
ALTER ROLE supabase_auth_admin SET search_path = auth;
ALTER ROLE supabase_auth_admin SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE supabase_storage_admin SET search_path = storage;

-- The database belongs to postgres, and with it, since 15, the schema public.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO postgres', current_database());
    IF current_setting('server_version_num')::int < 150000 THEN
        ALTER SCHEMA public OWNER TO postgres;
    END IF;
END
$$;

-- Default privileges: every new object in public is open to the API roles, so
-- that row level security alone decides. A migration that forgets to switch it
-- on must show here just what it would show there.
ALTER DEFAULT PRIVILEGES FOR ROLE postgres, supabase_admin IN SCHEMA public
    GRANT ALL ON TABLES TO postgres, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres, supabase_admin IN SCHEMA public
    GRANT ALL ON FUNCTIONS TO postgres, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres, supabase_admin IN SCHEMA public
    GRANT ALL ON SEQUENCES TO postgres, anon, authenticated, service_role;

-- Search path: extension functions are found by their bare names. This is a
-- setting of the database and so reaches the connections opened from now on.
DO $$
BEGIN
    EXECUTE format(
        'ALTER DATABASE %I SET search_path TO "$user", public, extensions',
        current_database()
    );
END
$$;

-- The API roles may name what is in public.
GRANT USAGE ON SCHEMA public TO postgres, anon, authenticated, service_role;
