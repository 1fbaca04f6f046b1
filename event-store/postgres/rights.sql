-- Who may do what with the tables and functions named log_… in the schema annals. annals runs this
-- behind every installation and upgrade, as their owner; it may be repeated. It sets no default
-- privileges: those would belong to the whole database, and show in a picture of its schema.
--
-- annals_owner   owns them. Nobody logs in as this role, and nobody is a member.
-- annals_writer  reads, and appends by the functions. Granted to whoever runs migrations.
-- annals_reader  reads. Granted to auditors.
--
-- Where the installing role may not create roles, it owns everything itself and there are no others:
-- then whoever can log in as that role can also alter the log, and only heads kept elsewhere show it.

DO $rights$
DECLARE
    own     CONSTANT oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user);
    stray   record;
    grantee text;
BEGIN
    -- Whatever default privileges gave away when the objects were made is taken back.
    FOR stray IN
        SELECT DISTINCT o.what, o.name, a.grantee
        FROM (
            SELECT 'TABLE' AS what, format('%I.%I', 'annals', c.relname) AS name,
                   coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner)) AS acl
            FROM pg_catalog.pg_class c
            WHERE c.relnamespace = 'annals'::regnamespace AND c.relkind = 'r'
              AND c.relname LIKE 'log~_%' ESCAPE '~' AND c.relowner = own
            UNION ALL
            SELECT 'FUNCTION', p.oid::regprocedure::text,
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
            FROM pg_catalog.pg_proc p
            WHERE p.pronamespace = 'annals'::regnamespace
              AND p.proname LIKE 'log~_%' ESCAPE '~' AND p.proowner = own
        ) o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a
        WHERE a.grantee <> own
    LOOP
        grantee := CASE stray.grantee WHEN 0 THEN 'PUBLIC'
                   ELSE quote_ident(pg_catalog.pg_get_userbyid(stray.grantee)) END;
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', stray.what, stray.name, grantee);
    END LOOP;

    -- The schema is shared with the ledger; what a person granted on it stays.
    FOR grantee IN
        SELECT 'PUBLIC' UNION ALL
        SELECT quote_ident(rolname) FROM pg_catalog.pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'service_role')
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA annals FROM %s', grantee);
    END LOOP;

    IF current_user <> 'annals_owner' THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA annals TO annals_writer, annals_reader;
    GRANT SELECT ON annals.log_store, annals.log_head, annals.log_event, annals.log_checkpoint,
        annals.log_blob TO annals_writer, annals_reader;
    GRANT EXECUTE ON FUNCTION annals.log_begin(text), annals.log_lock(text),
        annals.log_append(text, bigint, bytea, bytea[]), annals.log_publish(text, bigint, bytea),
        annals.log_put_blob(bytea, bytea) TO annals_writer;
END
$rights$;
