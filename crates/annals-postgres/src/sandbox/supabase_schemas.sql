-- The schemas that Supabase manages in a project's database, as far as migrations
-- refer to them. It follows supabase.sql. Statement by statement, it may also be
-- sent by a role that is no superuser to an empty database of its own, on a
-- server that has the roles: what the server does not let that role do is left
-- out then, and what is left is enough for what refers to these schemas.

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
            ('graphql_public', 'supabase_admin'),
            ('supabase_functions', 'supabase_admin'),
            ('extensions', 'postgres')
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
GRANT USAGE ON SCHEMA
    auth, storage, realtime, graphql_public, supabase_functions, extensions
    TO postgres, anon, authenticated, service_role;
GRANT ALL ON SCHEMA auth TO supabase_auth_admin, dashboard_user;
GRANT ALL ON SCHEMA storage TO supabase_storage_admin, dashboard_user;
GRANT ALL ON SCHEMA realtime TO supabase_realtime_admin;
GRANT ALL ON SCHEMA supabase_functions TO supabase_functions_admin;
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
        WHERE e.name IN ('pgcrypto', 'uuid-ossp', 'pg_stat_statements')
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
    email_change_token_new varchar(255),
    email_change varchar(255),
    email_change_sent_at timestamptz,
    last_sign_in_at timestamptz,
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    is_super_admin boolean,
    created_at timestamptz,
    updated_at timestamptz,
    phone text UNIQUE,
    phone_confirmed_at timestamptz,
    phone_change text DEFAULT '',
    phone_change_token varchar(255) DEFAULT '',
    phone_change_sent_at timestamptz,
    confirmed_at timestamptz
        GENERATED ALWAYS AS (LEAST(email_confirmed_at, phone_confirmed_at)) STORED,
    email_change_token_current varchar(255) DEFAULT '',
    email_change_confirm_status smallint DEFAULT 0,
    banned_until timestamptz,
    reauthentication_token varchar(255) DEFAULT '',
    reauthentication_sent_at timestamptz,
    is_sso_user boolean NOT NULL DEFAULT false,
    deleted_at timestamptz,
    is_anonymous boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX IF NOT EXISTS users_email_partial_key
    ON auth.users (email) WHERE is_sso_user = false;

-- Seeds and sign-up functions write or join these two.
CREATE TABLE IF NOT EXISTS auth.identities (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    provider_id text NOT NULL,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    identity_data jsonb NOT NULL,
    provider text NOT NULL,
    last_sign_in_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    email text GENERATED ALWAYS AS (lower(identity_data ->> 'email')) STORED,
    UNIQUE (provider_id, provider)
);
CREATE TABLE IF NOT EXISTS auth.sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    created_at timestamptz,
    updated_at timestamptz,
    factor_id uuid,
    not_after timestamptz,
    refreshed_at timestamp,
    user_agent text,
    ip inet,
    tag text
);
DO $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['users', 'identities', 'sessions']
    LOOP
        EXECUTE format('ALTER TABLE auth.%I OWNER TO supabase_auth_admin', table_name);
        EXECUTE format('ALTER TABLE auth.%I ENABLE ROW LEVEL SECURITY', table_name);
        -- Everything but ownership: references and triggers, yes; columns, no.
        EXECUTE format('GRANT ALL ON auth.%I TO postgres, dashboard_user', table_name);
    END LOOP;
END
$$;

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
    TO postgres, anon, authenticated, service_role, dashboard_user;

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

-- Realtime: policies on the messages decide who may send and hear on a topic,
-- triggers broadcast changes. Nobody listens here, so nothing is sent.
CREATE TABLE IF NOT EXISTS realtime.messages (
    topic text NOT NULL,
    extension text NOT NULL,
    payload jsonb,
    event text,
    private boolean DEFAULT false,
    updated_at timestamp NOT NULL DEFAULT now(),
    inserted_at timestamp NOT NULL DEFAULT now(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    PRIMARY KEY (id, inserted_at)
) PARTITION BY RANGE (inserted_at);
ALTER TABLE realtime.messages OWNER TO supabase_realtime_admin;
ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON realtime.messages
    TO postgres, anon, authenticated, service_role;

CREATE OR REPLACE FUNCTION realtime.topic() RETURNS text
    LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('realtime.topic', true), '') $$;

CREATE OR REPLACE FUNCTION realtime.send(
    payload jsonb, event text, topic text, private boolean DEFAULT true
) RETURNS void
    LANGUAGE sql
    AS $$ SELECT $$;

CREATE OR REPLACE FUNCTION realtime.broadcast_changes(
    topic_name text, event_name text, operation text, table_name text,
    table_schema text, new record, old record, level text DEFAULT 'ROW'
) RETURNS void
    LANGUAGE plpgsql
    AS $$ BEGIN END $$;

ALTER FUNCTION realtime.topic() OWNER TO supabase_realtime_admin;
ALTER FUNCTION realtime.send(jsonb, text, text, boolean) OWNER TO supabase_realtime_admin;
ALTER FUNCTION realtime.broadcast_changes(text, text, text, text, text, record, record, text)
    OWNER TO supabase_realtime_admin;

-- Webhooks: triggers made in the dashboard call this function. It calls nobody.
CREATE OR REPLACE FUNCTION supabase_functions.http_request() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;
ALTER FUNCTION supabase_functions.http_request() OWNER TO supabase_functions_admin;

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
ALTER PUBLICATION supabase_realtime OWNER TO postgres;
