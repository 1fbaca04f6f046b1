-- One row for each object: kind, name as SQL spells it, attributes as a JSON object of strings.
-- $1: schemas that are not the project's own. The search path is empty.
WITH member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), ns AS (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl
    FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT n.nspname = ANY ($1)
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid)
), rel AS (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relowner, c.relacl, c.reloptions,
           c.relrowsecurity, c.relforcerowsecurity, c.relpartbound, c.relispartition, c.relreplident,
           c.relam, format('%I.%I', ns.nspname, c.relname) AS name, ns.nspname
    FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
), grants AS (
    SELECT format('%s %s to %s', g.what, g.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS name,
           string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ', '
                      ORDER BY a.privilege_type) AS privileges
    FROM (
        SELECT 'schema' AS what, format('%I', nspname) AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM ns
        UNION ALL
        SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, name,
               coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
        FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'column', format('%s.%I', rel.name, att.attname), att.attacl
        FROM pg_attribute att JOIN rel ON rel.oid = att.attrelid
        WHERE att.attnum > 0 AND NOT att.attisdropped AND att.attacl IS NOT NULL
        UNION ALL
        SELECT 'function', format('%I.%I(%s)', ns.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               coalesce(p.proacl, acldefault('f', p.proowner))
        FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
        WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
        UNION ALL
        SELECT 'type', format('%I.%I', ns.nspname, t.typname), coalesce(t.typacl, acldefault('T', t.typowner))
        FROM pg_type t JOIN ns ON ns.oid = t.typnamespace
        WHERE t.typtype IN ('e', 'd', 'r')
          AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
        UNION ALL
        SELECT format('default privileges of %s for %s in', pg_get_userbyid(d.defaclrole),
                      CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                           WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE d.defaclobjtype::text END),
               coalesce(format('%I', ns.nspname), 'every schema'), d.defaclacl
        FROM pg_default_acl d LEFT JOIN ns ON ns.oid = d.defaclnamespace
        WHERE d.defaclnamespace = 0 OR ns.oid IS NOT NULL
    ) g CROSS JOIN LATERAL aclexplode(g.acl) a
    GROUP BY g.what, g.name, a.grantee
), objects (kind, name, attributes) AS (
    SELECT 'schema', format('%I', nspname),
           jsonb_build_object('owner', pg_get_userbyid(nspowner)::text)
    FROM ns
    UNION ALL
    SELECT 'extension', format('%I', e.extname),
           jsonb_build_object('version', e.extversion, 'schema', e.extnamespace::regnamespace::text)
    FROM pg_extension e
    UNION ALL
    SELECT 'type', format('%I.%I', ns.nspname, t.typname),
           jsonb_build_object(
               'owner', pg_get_userbyid(t.typowner)::text,
               'is', CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' ELSE 'composite' END,
               'labels', (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
               'base', CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
               'not_null', CASE WHEN t.typtype = 'd' THEN t.typnotnull::text END,
               'default', CASE WHEN t.typtype = 'd' THEN t.typdefault END,
               'subtype', (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid),
               'fields', (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
                          FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
               'comment', obj_description(t.oid, 'pg_type'))
    FROM pg_type t JOIN ns ON ns.oid = t.typnamespace
    WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')))
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
    UNION ALL
    SELECT 'table', rel.name,
           jsonb_build_object(
               'owner', pg_get_userbyid(rel.relowner)::text,
               'is', CASE rel.relkind WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table' ELSE 'table' END,
               'persistence', CASE rel.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' ELSE 'permanent' END,
               'access_method', (SELECT amname FROM pg_am WHERE oid = rel.relam),
               'partition_key', CASE WHEN rel.relkind = 'p' THEN pg_get_partkeydef(rel.oid) END,
               'partition_bound', pg_get_expr(rel.relpartbound, rel.oid),
               'inherits', (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = rel.oid),
               'replica_identity', rel.relreplident::text,
               'options', array_to_string(rel.reloptions, ', '),
               'comment', obj_description(rel.oid, 'pg_class'))
    FROM rel WHERE rel.relkind IN ('r', 'p', 'f')
    UNION ALL
    SELECT 'column', format('%s.%I', rel.name, a.attname),
           jsonb_build_object(
               'position', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum)::text,
               'type', format_type(a.atttypid, a.atttypmod),
               'not_null', a.attnotnull::text,
               'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
               'generated', CASE WHEN a.attgenerated <> '' THEN a.attgenerated::text || ' ' || pg_get_expr(d.adbin, d.adrelid) END,
               'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
               'collation', CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
               'storage', CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END,
               'comment', col_description(a.attrelid, a.attnum))
    FROM pg_attribute a
    JOIN rel ON rel.oid = a.attrelid AND rel.relkind IN ('r', 'p', 'f', 'v', 'm')
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'sequence', rel.name,
           jsonb_build_object(
               'owner', pg_get_userbyid(rel.relowner)::text,
               'type', format_type(s.seqtypid, NULL), 'start', s.seqstart::text, 'increment', s.seqincrement::text,
               'min', s.seqmin::text, 'max', s.seqmax::text, 'cache', s.seqcache::text, 'cycle', s.seqcycle::text,
               'owned_by', (SELECT format('%s.%I', d.refobjid::regclass, a.attname)
                            FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.deptype IN ('a', 'i')
                              AND d.refclassid = 'pg_class'::regclass LIMIT 1))
    FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid
    UNION ALL
    SELECT 'view', rel.name,
           jsonb_build_object(
               'owner', pg_get_userbyid(rel.relowner)::text,
               'is', CASE rel.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
               'definition', pg_get_viewdef(rel.oid),
               'options', array_to_string(rel.reloptions, ', '),
               'comment', obj_description(rel.oid, 'pg_class'))
    FROM rel WHERE rel.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'function', format('%I.%I(%s)', ns.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           jsonb_build_object(
               'owner', pg_get_userbyid(p.proowner)::text,
               'definition', CASE WHEN p.prokind = 'a'
                                  THEN 'aggregate returning ' || pg_get_function_result(p.oid)
                                  ELSE pg_get_functiondef(p.oid) END,
               'comment', obj_description(p.oid, 'pg_proc'))
    FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
    UNION ALL
    SELECT 'trigger', format('%s.%I', rel.name, t.tgname),
           jsonb_build_object(
               'definition', pg_get_triggerdef(t.oid),
               'enabled', CASE t.tgenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' ELSE 'always' END,
               'comment', obj_description(t.oid, 'pg_trigger'))
    FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'constraint', format('%s.%I', coalesce(rel.name, format('%I.%I', ns.nspname, ty.typname)), c.conname),
           jsonb_build_object(
               'definition', pg_get_constraintdef(c.oid),
               'validated', c.convalidated::text,
               'comment', obj_description(c.oid, 'pg_constraint'))
    FROM pg_constraint c
    LEFT JOIN rel ON rel.oid = c.conrelid
    LEFT JOIN (pg_type ty JOIN ns ON ns.oid = ty.typnamespace) ON ty.oid = c.contypid
    WHERE c.contype IN ('c', 'f', 'p', 'u', 'x') AND (rel.oid IS NOT NULL OR ty.oid IS NOT NULL)
    UNION ALL
    SELECT 'index', rel.name,
           jsonb_build_object(
               'table', i.indrelid::regclass::text,
               'definition', pg_get_indexdef(i.indexrelid),
               'valid', (i.indisvalid AND i.indisready)::text,
               'clustered', CASE WHEN i.indisclustered THEN 'true' END,
               'replica_identity', CASE WHEN i.indisreplident THEN 'true' END,
               'comment', obj_description(i.indexrelid, 'pg_class'))
    FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
    UNION ALL
    SELECT 'row_security', rel.name,
           jsonb_build_object('enabled', rel.relrowsecurity::text, 'forced', rel.relforcerowsecurity::text)
    FROM rel WHERE rel.relkind IN ('r', 'p')
    UNION ALL
    SELECT 'policy', format('%s.%I', rel.name, p.polname),
           jsonb_build_object(
               'command', CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
               'permissive', p.polpermissive::text,
               'roles', (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r = 0, pg_get_userbyid(r))
                         FROM unnest(p.polroles) r),
               'using', pg_get_expr(p.polqual, p.polrelid),
               'check', pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pg_policy p JOIN rel ON rel.oid = p.polrelid
    UNION ALL
    SELECT 'grant', name, jsonb_build_object('privileges', privileges) FROM grants
)
SELECT kind, name, jsonb_strip_nulls(attributes)::text AS attributes FROM objects
