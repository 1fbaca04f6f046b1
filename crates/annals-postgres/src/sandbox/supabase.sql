-- Makes a plain, throwaway PostgreSQL database look like a Supabase one to the
-- migrations that run in it: the roles, schemas, functions, tables and default
-- privileges that Supabase projects may take for granted. It is sent as one
-- batch by a superuser, works on PostgreSQL 13 and later, and may be repeated.

-- Roles: policies and grants name them. Roles belong to the whole cluster, so
-- one that is already there (from another database) is left as it is. None can
-- log in; what Supabase's own services do through them does not happen here.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT r.name, r.attributes
        FROM (VALUES
            ('anon', 'NOINHERIT'),
            ('authenticated', 'NOINHERIT'),
            ('service_role', 'NOINHERIT BYPASSRLS'),
            ('authenticator', 'NOINHERIT'),
            ('supabase_admin', 'SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS'),
            ('supabase_auth_admin', 'NOINHERIT CREATEROLE'),
            ('supabase_storage_admin', 'NOINHERIT CREATEROLE'),
            ('dashboard_user', 'CREATEDB CREATEROLE REPLICATION')
        ) AS r (name, attributes)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_roles AS existing WHERE existing.rolname = r.name
        )
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN %s', wanted.name, wanted.attributes);
        EXCEPTION
            -- Another connection preparing its own database was faster.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

-- Membership: the API connects as authenticator and becomes one of the three.
-- Granted only where it is missing, so that repeating the batch stays quiet.
DO $$
DECLARE
    api_role name;
BEGIN
    FOREACH api_role IN ARRAY ARRAY['anon', 'authenticated', 'service_role']::name[]
    LOOP
        IF NOT pg_has_role('authenticator', api_role, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO authenticator', api_role);
        END IF;
    END LOOP;
END
$$;

-- Schemas: migrations refer to them and expect to find them ready.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT s.name, s.owner
        FROM (VALUES
            ('auth', 'supabase_admin'),
            ('storage', 'supabase_admin'),
            ('realtime', 'supabase_admin'),
            ('extensions', current_user::text)
        ) AS s (name, owner)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_namespace AS existing WHERE existing.nspname = s.name
        )
    LOOP
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', wanted.name, wanted.owner);
    END LOOP;
END
$$;

-- Schema access: without USAGE no API role could even name what is inside.
GRANT USAGE ON SCHEMA public, auth, storage, extensions, realtime
    TO anon, authenticated, service_role;
GRANT ALL ON SCHEMA auth TO supabase_auth_admin, dashboard_user;
GRANT ALL ON SCHEMA storage TO supabase_storage_admin, dashboard_user;
GRANT ALL ON SCHEMA extensions TO dashboard_user;

-- Extensions: Supabase has these installed, apart from the public schema. A
-- server without the contrib modules goes without them.
DO $$
DECLARE
    wanted name;
BEGIN
    FOR wanted IN
        SELECT e.name
        FROM pg_catalog.pg_available_extensions AS e
        WHERE e.name IN ('pgcrypto', 'uuid-ossp', 'pg_trgm')
          AND e.installed_version IS NULL
        ORDER BY e.name
    LOOP
        BEGIN
            EXECUTE format('CREATE EXTENSION %I WITH SCHEMA extensions', wanted);
        EXCEPTION
            -- Listed, but its library or script is not usable on this server.
            WHEN OTHERS THEN
                RAISE WARNING 'extension "%" is left out: %', wanted, SQLERRM;
        END;
    END LOOP;
END
$$;

-- Request functions: policies ask them who is calling. The claims come from
-- settings the API makes for each request: the older way is one setting per
-- claim, the newer one a JSON document. Outside a request they give NULL.
CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE sql STABLE
    AS $$
        SELECT coalesce(
            nullif(current_setting('request.jwt.claim.sub', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
        )::uuid
    $$;

CREATE OR REPLACE FUNCTION auth.role() RETURNS text
    LANGUAGE sql STABLE
    AS $$
        SELECT coalesce(
            nullif(current_setting('request.jwt.claim.role', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
        )
    $$;

CREATE OR REPLACE FUNCTION auth.email() RETURNS text
    LANGUAGE sql STABLE
    AS $$
        SELECT coalesce(
            nullif(current_setting('request.jwt.claim.email', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
        )
    $$;

CREATE OR REPLACE FUNCTION auth.jwt() RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
        SELECT coalesce(
            nullif(current_setting('request.jwt.claim', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')
        )::jsonb
    $$;

ALTER FUNCTION auth.uid() OWNER TO supabase_auth_admin;
ALTER FUNCTION auth.role() OWNER TO supabase_auth_admin;
ALTER FUNCTION auth.email() OWNER TO supabase_auth_admin;
ALTER FUNCTION auth.jwt() OWNER TO supabase_auth_admin;

-- Users: foreign keys point at this table and sign-up triggers hang on it.
CREATE TABLE IF NOT EXISTS auth.users (
    instance_id uuid,
    id uuid PRIMARY KEY,
    aud varchar(255),
    role varchar(255),
    email varchar(255),
    encrypted_password varchar(255),
    email_confirmed_at timestamptz,
    invited_at timestamptz,
    confirmation_token varchar(255),
    confirmation_sent_at timestamptz,
    recovery_token varchar(255),
    recovery_sent_at timestamptz,
    last_sign_in_at timestamptz,
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    is_super_admin boolean,
    created_at timestamptz,
    updated_at timestamptz,
    phone text UNIQUE,
    phone_confirmed_at timestamptz,
    confirmed_at timestamptz
        GENERATED ALWAYS AS (LEAST(email_confirmed_at, phone_confirmed_at)) STORED,
    banned_until timestamptz,
    is_sso_user boolean NOT NULL DEFAULT false,
    deleted_at timestamptz,
    is_anonymous boolean NOT NULL DEFAULT false
);
ALTER TABLE auth.users OWNER TO supabase_auth_admin;
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
CREATE UNIQUE INDEX IF NOT EXISTS users_email_partial_key
    ON auth.users (email) WHERE is_sso_user = false;
GRANT ALL ON auth.users TO dashboard_user;

-- Storage: migrations insert buckets and put policies on the objects. Row level
-- security is on and no policy is there, as in a new project.
CREATE TABLE IF NOT EXISTS storage.buckets (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    owner uuid,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    public boolean DEFAULT false,
    avif_autodetection boolean DEFAULT false,
    file_size_limit bigint,
    allowed_mime_types text[],
    owner_id text
);

CREATE TABLE IF NOT EXISTS storage.objects (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    bucket_id text REFERENCES storage.buckets (id),
    name text,
    owner uuid,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    last_accessed_at timestamptz DEFAULT now(),
    metadata jsonb,
    path_tokens text[] GENERATED ALWAYS AS (string_to_array(name, '/')) STORED,
    version text,
    owner_id text,
    user_metadata jsonb,
    UNIQUE (bucket_id, name)
);

ALTER TABLE storage.buckets OWNER TO supabase_storage_admin;
ALTER TABLE storage.objects OWNER TO supabase_storage_admin;
ALTER TABLE storage.buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
GRANT ALL ON storage.buckets, storage.objects
    TO anon, authenticated, service_role, dashboard_user;

-- Path functions: policies on storage.objects commonly take a name apart.
CREATE OR REPLACE FUNCTION storage.foldername(name text) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $$
        SELECT (string_to_array(name, '/'))
            [1 : cardinality(string_to_array(name, '/')) - 1]
    $$;

CREATE OR REPLACE FUNCTION storage.filename(name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
        SELECT (string_to_array(name, '/'))[cardinality(string_to_array(name, '/'))]
    $$;

CREATE OR REPLACE FUNCTION storage.extension(name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
        SELECT reverse(split_part(reverse(storage.filename(name)), '.', 1))
    $$;

ALTER FUNCTION storage.foldername(text) OWNER TO supabase_storage_admin;
ALTER FUNCTION storage.filename(text) OWNER TO supabase_storage_admin;
ALTER FUNCTION storage.extension(text) OWNER TO supabase_storage_admin;

-- Publication: migrations add their tables to it. The server's hint about
-- wal_level is kept back, for nothing subscribes to a throwaway database.
DO $$
DECLARE
    level_before text := current_setting('client_min_messages');
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_publication WHERE pubname = 'supabase_realtime'
    ) THEN
        PERFORM set_config('client_min_messages', 'error', true);
        CREATE PUBLICATION supabase_realtime;
        PERFORM set_config('client_min_messages', level_before, true);
    END IF;
END
$$;

-- Default privileges: every new object in public is open to the API roles, so
-- that row level security alone decides. A migration that forgets to switch it
-- on must show here just what it would show there.
ALTER DEFAULT PRIVILEGES FOR ROLE CURRENT_USER, supabase_admin IN SCHEMA public
    GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE CURRENT_USER, supabase_admin IN SCHEMA public
    GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE CURRENT_USER, supabase_admin IN SCHEMA public
    GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;

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
