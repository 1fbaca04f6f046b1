//! Grants, row level security, owners.

use super::Probe;

pub(super) const PROBES: &[Probe] = &[
    Probe::new(
        "policy.without_row_security",
        "SELECT format('policy %s.%I', rel.name, p.polname) AS subject,
                format('row level security is off for %s, so it protects nothing', rel.name)
                AS evidence, false AS hidden
           FROM pg_policy p JOIN rel ON rel.oid = p.polrelid
          WHERE NOT rel.relrowsecurity ORDER BY 1",
    ),
    Probe::new(
        "policy.always_true",
        "SELECT format('policy %s.%I', rel.name, p.polname) AS subject,
                format('it lets %s %s every row', (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC'
                       ELSE pg_get_userbyid(o) END, ', ' ORDER BY o) FROM unnest(p.polroles) o),
                       CASE p.polcmd WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                       WHEN 'd' THEN 'delete' ELSE 'write' END) AS evidence, false AS hidden
           FROM pg_policy p JOIN rel ON rel.oid = p.polrelid
          WHERE rel.relrowsecurity AND p.polpermissive AND p.polcmd <> 'r'
            AND coalesce(CASE WHEN p.polcmd = 'a' THEN 'true' ELSE pg_get_expr(p.polqual, rel.oid)
                         END, 'true') = 'true'
            AND coalesce(pg_get_expr(p.polwithcheck, rel.oid), 'true') = 'true'
            AND EXISTS (SELECT FROM unnest(p.polroles) o WHERE o = 0 OR pg_get_userbyid(o)
                        IN ('anon', 'authenticated')) ORDER BY 1",
    ),
    Probe::new(
        "row_security.without_policy",
        "SELECT 'table ' || name AS subject, 'row level security is on, and there is no policy'
                AS evidence, false AS hidden
           FROM rel WHERE relkind IN ('r', 'p') AND relrowsecurity
            AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = rel.oid) ORDER BY 1",
    ),
    Probe::new(
        "grant.exposed",
        "SELECT CASE relkind WHEN 'm' THEN 'view ' ELSE 'table ' END || name AS subject,
                'no row is held back from ' || string_agg(DISTINCT CASE a.grantee WHEN 0
                    THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END || ' ('
                    || a.privilege_type || ')', ', ') AS evidence, false AS hidden
           FROM rel CROSS JOIN LATERAL aclexplode(relacl) a
          WHERE relkind IN ('r', 'p', 'm', 'f') AND NOT relrowsecurity
            AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
            AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) IN ('anon', 'authenticated'))
          GROUP BY relkind, name ORDER BY 1",
    ),
    Probe::new(
        "grant.create_in_schema",
        "SELECT format('schema %I', nspname) AS subject,
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
                || ' may create objects in it' AS evidence, false AS hidden
           FROM ns CROSS JOIN LATERAL aclexplode(nspacl) a
          WHERE a.privilege_type = 'CREATE'
            AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) IN ('anon', 'authenticated'))
          ORDER BY 1, 2",
    ),
    Probe::new(
        "grant.unknown_role",
        "SELECT subject, format('a grant is for role number %s', string_agg(DISTINCT grantee::text,
                ', ')) AS evidence, false AS hidden
           FROM (SELECT format('schema %I', nspname) AS subject, (aclexplode(nspacl)).grantee FROM ns
                 UNION ALL
                 SELECT 'relation ' || name, (aclexplode(relacl)).grantee FROM rel
                 UNION ALL
                 SELECT 'relation ' || rel.name, (aclexplode(a.attacl)).grantee
                   FROM pg_attribute a JOIN rel ON rel.oid = a.attrelid WHERE a.attacl IS NOT NULL
                 UNION ALL
                 SELECT format('function %I.%I', ns.nspname, p.proname), (aclexplode(p.proacl)).grantee
                   FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace) g
          WHERE grantee <> 0 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.grantee)
          GROUP BY subject ORDER BY 1",
    ),
    // What is built in, EXECUTE and USAGE for PUBLIC, stands in every entry of these kinds.
    Probe::new(
        "default_privileges.exposed",
        "SELECT format('default privileges of %s %s', pg_get_userbyid(d.defaclrole),
                coalesce('in schema ' || quote_ident(ns.bare), 'in every schema')) AS subject,
                format('%s gets %s on %s made later', CASE a.grantee WHEN 0 THEN 'PUBLIC'
                       ELSE pg_get_userbyid(a.grantee) END, string_agg(a.privilege_type, ', '
                       ORDER BY a.privilege_type), CASE d.defaclobjtype WHEN 'r' THEN 'tables'
                       WHEN 'S' THEN 'sequences' ELSE 'schemas' END) AS evidence, false AS hidden
           FROM pg_default_acl d LEFT JOIN ns ON ns.oid = d.defaclnamespace
           CROSS JOIN LATERAL aclexplode(d.defaclacl) a
          WHERE d.defaclobjtype IN ('r', 'S', 'n') AND (d.defaclnamespace = 0 OR ns.oid IS NOT NULL)
            AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) = 'anon')
          GROUP BY d.defaclrole, ns.bare, d.defaclobjtype, a.grantee ORDER BY 1, 2",
    ),
    Probe::new(
        "owner.missing",
        "SELECT subject, format('its owner is role number %s', owner) AS evidence, false AS hidden
           FROM (SELECT format('schema %I', nspname) AS subject, nspowner AS owner FROM ns
                 UNION ALL
                 SELECT CASE relkind WHEN 'i' THEN 'index ' WHEN 'S' THEN 'sequence '
                        WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view ' ELSE 'table ' END || name,
                        relowner FROM rel WHERE relkind NOT IN ('i', 'I')
                 UNION ALL
                 SELECT format('function %I.%I(%s)', ns.nspname, p.proname,
                               pg_get_function_identity_arguments(p.oid)), p.proowner
                   FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace) o
          WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = o.owner) ORDER BY 1",
    ),
    Probe::new(
        "owner.different",
        "SELECT 'relation ' || name AS subject, format('it belongs to %s, %s of %s relations of its \
                schema to %s', pg_get_userbyid(rel.relowner), most.n, most.of, most.owner) AS evidence,
                false AS hidden
           FROM rel JOIN LATERAL (
                SELECT pg_get_userbyid(o.relowner) AS owner, o.relowner, count(*) AS n,
                       sum(count(*)) OVER () AS of
                  FROM rel o WHERE o.relnamespace = rel.relnamespace
                   AND o.relkind IN ('r', 'p', 'v', 'm', 'f')
                 GROUP BY o.relowner ORDER BY count(*) DESC, 1 LIMIT 1) most ON true
          WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND rel.relowner <> most.relowner
            AND most.n * 2 > most.of
            AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = rel.relowner) ORDER BY 1",
    ),
    Probe::new(
        "function.definer_search_path",
        "SELECT format('function %I.%I(%s)', ns.nspname, p.proname,
                pg_get_function_identity_arguments(p.oid)) AS subject,
                format('it runs as %s with the search_path of whoever calls it',
                pg_get_userbyid(p.proowner)) AS evidence, false AS hidden
           FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
          WHERE p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c
                WHERE c LIKE 'search_path=%')
            AND NOT EXISTS (SELECT FROM member m
                WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid) ORDER BY 1",
    ),
    Probe::new(
        "function.definer_exposed",
        "SELECT format('function %I.%I(%s)', ns.nspname, p.proname,
                pg_get_function_identity_arguments(p.oid)) AS subject,
                format('%s may call it, and it runs as %s', string_agg(DISTINCT CASE a.grantee
                       WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END, ', '),
                       pg_get_userbyid(p.proowner)) AS evidence, false AS hidden
           FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
           CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
          WHERE p.prosecdef AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
            AND a.privilege_type = 'EXECUTE'
            AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) = 'anon')
            AND NOT EXISTS (SELECT FROM member m
                WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
          GROUP BY ns.nspname, p.proname, p.oid, p.proowner ORDER BY 1",
    ),
    Probe::new(
        "view.bypasses_row_security",
        "SELECT DISTINCT 'view ' || rel.name AS subject, format('%s may read it, and it reads %s as \
                its owner %s', CASE a.grantee WHEN 0 THEN 'PUBLIC'
                ELSE pg_get_userbyid(a.grantee) END, t.name, pg_get_userbyid(rel.relowner))
                AS evidence, false AS hidden
           FROM rel JOIN pg_rewrite w ON w.ev_class = rel.oid
           JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> rel.oid
           JOIN rel t ON t.oid = d.refobjid AND t.relrowsecurity
           CROSS JOIN LATERAL aclexplode(rel.relacl) a
          WHERE rel.relkind = 'v' AND a.privilege_type = 'SELECT'
            AND NOT EXISTS (SELECT FROM unnest(rel.reloptions) o
                WHERE o IN ('security_invoker=true', 'security_invoker=on', 'security_invoker=1',
                            'security_invoker=yes'))
            AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) IN ('anon', 'authenticated'))
          ORDER BY 1, 2",
    ),
];
