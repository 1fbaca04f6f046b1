-- Everything that hangs neither on a relation nor is a function or a type. It is little, and read
-- as a whole: `unit` is 0.

-- query database
SELECT 'database' AS kind, 0 AS unit, 'current' AS name,
       @acl(b.datacl, 'd', b.datdba) AS acl, quote_ident(pg_get_userbyid(b.datdba)) AS owner,
       d.description AS comment
FROM pg_database b
LEFT JOIN pg_shdescription d ON d.classoid = 'pg_database'::regclass AND d.objoid = b.oid
WHERE b.datname = current_database()

-- query settings
SELECT 'setting' AS kind, 0 AS unit,
       quote_ident(split_part(v.setting, '=', 1))
           || CASE WHEN s.setrole <> 0 THEN ' of ' || quote_ident(pg_get_userbyid(s.setrole)) ELSE '' END
           || CASE WHEN s.setdatabase = 0 THEN ' in every database' ELSE '' END AS name,
       NULL AS acl, NULL AS owner,
       CASE WHEN split_part(v.setting, '=', 1) ~* '@secret' THEN '(hidden)'
            ELSE substr(v.setting, strpos(v.setting, '=') + 1) END AS value
FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) v(setting)
WHERE s.setdatabase IN (0, (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()))

-- query schemas
WITH @ns
SELECT 'schema' AS kind, 0 AS unit, ns.name,
       @acl(n.nspacl, 'n', n.nspowner) AS acl, quote_ident(pg_get_userbyid(n.nspowner)) AS owner,
       d.description AS comment
FROM ns JOIN pg_namespace n ON n.oid = ns.oid
@comment(pg_namespace, n.oid)

-- query extensions
SELECT 'extension' AS kind, 0 AS unit, quote_ident(e.extname) AS name, NULL AS acl, NULL AS owner,
       e.extversion AS version, e.extnamespace::regnamespace::text AS schema, d.description AS comment
FROM pg_extension e
@comment(pg_extension, e.oid)

-- query extension_dependencies
SELECT 'extension_dependency' AS kind, 0 AS unit, i.type || ' ' || i.identity || ' on ' || quote_ident(e.extname) AS name,
       NULL AS acl, NULL AS owner
FROM pg_depend x
JOIN pg_extension e ON e.oid = x.refobjid
CROSS JOIN LATERAL pg_identify_object(x.classid, x.objid, x.objsubid) i
WHERE x.refclassid = 'pg_extension'::regclass AND x.deptype = 'x'
  AND coalesce(i.schema, '') <> ALL (@excluded)

-- query languages
SELECT 'language' AS kind, 0 AS unit, quote_ident(l.lanname) AS name,
       @acl(l.lanacl, 'l', l.lanowner) AS acl, quote_ident(pg_get_userbyid(l.lanowner)) AS owner,
       CASE WHEN l.lanpltrusted THEN 'true' END AS trusted,
       CASE WHEN l.lanplcallfoid <> 0 THEN l.lanplcallfoid::regprocedure::text END AS handler,
       CASE WHEN l.laninline <> 0 THEN l.laninline::regprocedure::text END AS inline,
       CASE WHEN l.lanvalidator <> 0 THEN l.lanvalidator::regprocedure::text END AS validator,
       d.description AS comment
FROM pg_language l
@comment(pg_language, l.oid)
WHERE l.lanispl AND @own(pg_language, l.oid)

-- query access_methods
SELECT 'access_method' AS kind, 0 AS unit, quote_ident(m.amname) AS name, NULL AS acl, NULL AS owner,
       CASE m.amtype WHEN 't' THEN 'table' ELSE 'index' END AS "is", m.amhandler::regproc::text AS handler,
       d.description AS comment
FROM pg_am m
@comment(pg_am, m.oid)
WHERE m.oid >= 16384 AND @own(pg_am, m.oid)

-- query collations
WITH @ns
SELECT 'collation' AS kind, 0 AS unit,
       ns.name || '.' || quote_ident(c.collname)
           || CASE WHEN c.collencoding <> -1 THEN ' for ' || pg_encoding_to_char(c.collencoding) ELSE '' END AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(c.collowner)) AS owner,
       CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' END AS provider,
       CASE WHEN NOT c.collisdeterministic THEN 'false' END AS deterministic,
       c.collcollate AS lc_collate, c.collctype AS lc_ctype,
       --[15-16] c.colliculocale AS locale,
       --[17+] c.colllocale AS locale,
       --[16+] c.collicurules AS rules,
       d.description AS comment
FROM pg_collation c
JOIN ns ON ns.oid = c.collnamespace
@comment(pg_collation, c.oid)
WHERE @own(pg_collation, c.oid)

-- query conversions
WITH @ns
SELECT 'conversion' AS kind, 0 AS unit, ns.name || '.' || quote_ident(c.conname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(c.conowner)) AS owner,
       pg_encoding_to_char(c.conforencoding) AS source, pg_encoding_to_char(c.contoencoding) AS target,
       c.conproc::text AS function, CASE WHEN c.condefault THEN 'true' END AS "default", d.description AS comment
FROM pg_conversion c
JOIN ns ON ns.oid = c.connamespace
@comment(pg_conversion, c.oid)
WHERE @own(pg_conversion, c.oid)

-- query foreign_data_wrappers
SELECT 'foreign_data_wrapper' AS kind, 0 AS unit, quote_ident(f.fdwname) AS name,
       @acl(f.fdwacl, 'F', f.fdwowner) AS acl, quote_ident(pg_get_userbyid(f.fdwowner)) AS owner,
       CASE WHEN f.fdwhandler <> 0 THEN f.fdwhandler::regprocedure::text END AS handler,
       CASE WHEN f.fdwvalidator <> 0 THEN f.fdwvalidator::regprocedure::text END AS validator,
       @options(f.fdwoptions) AS options, d.description AS comment
FROM pg_foreign_data_wrapper f
@comment(pg_foreign_data_wrapper, f.oid)
WHERE @own(pg_foreign_data_wrapper, f.oid)

-- query foreign_servers
SELECT 'foreign_server' AS kind, 0 AS unit, quote_ident(s.srvname) AS name,
       @acl(s.srvacl, 'S', s.srvowner) AS acl, quote_ident(pg_get_userbyid(s.srvowner)) AS owner,
       (SELECT quote_ident(f.fdwname) FROM pg_foreign_data_wrapper f WHERE f.oid = s.srvfdw) AS wrapper,
       s.srvtype AS type, s.srvversion AS version,
       @options(s.srvoptions) AS options, d.description AS comment
FROM pg_foreign_server s
@comment(pg_foreign_server, s.oid)
WHERE @own(pg_foreign_server, s.oid)

-- query user_mappings
SELECT 'user_mapping' AS kind, 0 AS unit,
       CASE WHEN m.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(m.usename) END || ' on ' || quote_ident(m.srvname) AS name,
       NULL AS acl, NULL AS owner
FROM pg_user_mappings m

-- query operators
WITH @ns
SELECT 'operator' AS kind, 0 AS unit,
       ns.name || '.' || o.oprname || '('
           || CASE o.oprleft WHEN 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END || ','
           || CASE o.oprright WHEN 0 THEN 'NONE' ELSE format_type(o.oprright, NULL) END || ')' AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(o.oprowner)) AS owner,
       CASE WHEN o.oprcode <> 0 THEN o.oprcode::regprocedure::text END AS function,
       CASE WHEN o.oprresult <> 0 THEN format_type(o.oprresult, NULL) END AS returns,
       CASE WHEN o.oprcom <> 0 THEN o.oprcom::regoperator::text END AS commutator,
       CASE WHEN o.oprnegate <> 0 THEN o.oprnegate::regoperator::text END AS negator,
       CASE WHEN o.oprrest <> 0 THEN o.oprrest::regprocedure::text END AS "restrict",
       CASE WHEN o.oprjoin <> 0 THEN o.oprjoin::regprocedure::text END AS "join",
       CASE WHEN o.oprcanhash THEN 'true' END AS hashes,
       CASE WHEN o.oprcanmerge THEN 'true' END AS merges,
       d.description AS comment
FROM pg_operator o
JOIN ns ON ns.oid = o.oprnamespace
@comment(pg_operator, o.oid)
WHERE @own(pg_operator, o.oid)

-- query operator_families
WITH @ns
SELECT 'operator_family' AS kind, 0 AS unit, ns.name || '.' || quote_ident(f.opfname) || ' using ' || quote_ident(m.amname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(f.opfowner)) AS owner,
       (SELECT string_agg(format('%s %s%s', o.amopstrategy, o.amopopr::regoperator::text,
                                 CASE WHEN o.amopsortfamily <> 0 THEN ' for order by '
                                      || (SELECT quote_ident(sn.nspname) || '.' || quote_ident(sf.opfname) FROM pg_opfamily sf JOIN pg_namespace sn ON sn.oid = sf.opfnamespace WHERE sf.oid = o.amopsortfamily)
                                      ELSE '' END),
                          ', ' ORDER BY o.amopstrategy, o.amopopr::regoperator::text COLLATE "C")
        FROM pg_amop o WHERE o.amopfamily = f.oid) AS operators,
       (SELECT string_agg(format('%s (%s, %s) %s', p.amprocnum, format_type(p.amproclefttype, NULL), format_type(p.amprocrighttype, NULL), p.amproc::regprocedure::text),
                          ', ' ORDER BY p.amprocnum, format_type(p.amproclefttype, NULL) COLLATE "C", format_type(p.amprocrighttype, NULL) COLLATE "C")
        FROM pg_amproc p WHERE p.amprocfamily = f.oid) AS functions,
       d.description AS comment
FROM pg_opfamily f
JOIN ns ON ns.oid = f.opfnamespace
JOIN pg_am m ON m.oid = f.opfmethod
@comment(pg_opfamily, f.oid)
WHERE @own(pg_opfamily, f.oid)

-- query operator_classes
WITH @ns
SELECT 'operator_class' AS kind, 0 AS unit, ns.name || '.' || quote_ident(o.opcname) || ' using ' || quote_ident(m.amname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(o.opcowner)) AS owner,
       format_type(o.opcintype, NULL) AS type, CASE WHEN o.opcdefault THEN 'true' END AS "default",
       quote_ident(fn.nspname) || '.' || quote_ident(f.opfname) AS family,
       CASE WHEN o.opckeytype <> 0 THEN format_type(o.opckeytype, NULL) END AS storage,
       -- Those that are dropped with the class; the family lists all.
       (SELECT string_agg(format('%s %s', a.amopstrategy, a.amopopr::regoperator::text), ', ' ORDER BY a.amopstrategy, a.amopopr::regoperator::text COLLATE "C")
        FROM pg_depend x JOIN pg_amop a ON a.oid = x.objid
        WHERE x.refclassid = 'pg_opclass'::regclass AND x.refobjid = o.oid AND x.classid = 'pg_amop'::regclass) AS operators,
       (SELECT string_agg(format('%s %s', a.amprocnum, a.amproc::regprocedure::text), ', ' ORDER BY a.amprocnum, a.amproc::regprocedure::text COLLATE "C")
        FROM pg_depend x JOIN pg_amproc a ON a.oid = x.objid
        WHERE x.refclassid = 'pg_opclass'::regclass AND x.refobjid = o.oid AND x.classid = 'pg_amproc'::regclass) AS functions,
       d.description AS comment
FROM pg_opclass o
JOIN ns ON ns.oid = o.opcnamespace
JOIN pg_am m ON m.oid = o.opcmethod
JOIN pg_opfamily f ON f.oid = o.opcfamily
JOIN pg_namespace fn ON fn.oid = f.opfnamespace
@comment(pg_opclass, o.oid)
WHERE @own(pg_opclass, o.oid)

-- query casts
SELECT 'cast' AS kind, 0 AS unit, format_type(c.castsource, NULL) || ' as ' || format_type(c.casttarget, NULL) AS name,
       NULL AS acl, NULL AS owner,
       CASE WHEN c.castfunc <> 0 THEN c.castfunc::regprocedure::text END AS function,
       CASE c.castcontext WHEN 'a' THEN 'assignment' WHEN 'i' THEN 'implicit' ELSE 'explicit' END AS context,
       CASE c.castmethod WHEN 'f' THEN 'function' WHEN 'i' THEN 'inout' ELSE 'binary' END AS method,
       d.description AS comment
FROM pg_cast c
@comment(pg_cast, c.oid)
-- A range is cast to its multirange from the beginning.
WHERE c.oid >= 16384 AND @own(pg_cast, c.oid)
  AND NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = 'pg_cast'::regclass AND i.objid = c.oid AND i.deptype = 'i')

-- query transforms
SELECT 'transform' AS kind, 0 AS unit, 'for ' || format_type(t.trftype, NULL) || ' language ' || quote_ident(l.lanname) AS name,
       NULL AS acl, NULL AS owner,
       CASE WHEN t.trffromsql <> 0 THEN t.trffromsql::oid::regprocedure::text END AS from_sql,
       CASE WHEN t.trftosql <> 0 THEN t.trftosql::oid::regprocedure::text END AS to_sql,
       d.description AS comment
FROM pg_transform t
JOIN pg_language l ON l.oid = t.trflang
@comment(pg_transform, t.oid)
WHERE @own(pg_transform, t.oid)

-- query text_search_parsers
WITH @ns
SELECT 'text_search_parser' AS kind, 0 AS unit, ns.name || '.' || quote_ident(p.prsname) AS name, NULL AS acl, NULL AS owner,
       p.prsstart::oid::regprocedure::text AS start, p.prstoken::oid::regprocedure::text AS token,
       p.prsend::oid::regprocedure::text AS "end", p.prslextype::oid::regprocedure::text AS token_types,
       CASE WHEN p.prsheadline <> 0 THEN p.prsheadline::oid::regprocedure::text END AS headline, d.description AS comment
FROM pg_ts_parser p
JOIN ns ON ns.oid = p.prsnamespace
@comment(pg_ts_parser, p.oid)
WHERE @own(pg_ts_parser, p.oid)

-- query text_search_templates
WITH @ns
SELECT 'text_search_template' AS kind, 0 AS unit, ns.name || '.' || quote_ident(t.tmplname) AS name, NULL AS acl, NULL AS owner,
       CASE WHEN t.tmplinit <> 0 THEN t.tmplinit::oid::regprocedure::text END AS init,
       t.tmpllexize::oid::regprocedure::text AS lexize, d.description AS comment
FROM pg_ts_template t
JOIN ns ON ns.oid = t.tmplnamespace
@comment(pg_ts_template, t.oid)
WHERE @own(pg_ts_template, t.oid)

-- query text_search_dictionaries
WITH @ns
SELECT 'text_search_dictionary' AS kind, 0 AS unit, ns.name || '.' || quote_ident(t.dictname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(t.dictowner)) AS owner,
       (SELECT quote_ident(n.nspname) || '.' || quote_ident(m.tmplname) FROM pg_ts_template m JOIN pg_namespace n ON n.oid = m.tmplnamespace WHERE m.oid = t.dicttemplate) AS template,
       t.dictinitoption AS options, d.description AS comment
FROM pg_ts_dict t
JOIN ns ON ns.oid = t.dictnamespace
@comment(pg_ts_dict, t.oid)
WHERE @own(pg_ts_dict, t.oid)

-- query text_search_configurations
WITH @ns
SELECT 'text_search_configuration' AS kind, 0 AS unit, ns.name || '.' || quote_ident(t.cfgname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(t.cfgowner)) AS owner,
       (SELECT quote_ident(n.nspname) || '.' || quote_ident(p.prsname) FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace WHERE p.oid = t.cfgparser) AS parser,
       (SELECT string_agg(m.token || ': ' || m.dictionaries, '; ' ORDER BY m.token COLLATE "C")
        FROM (SELECT y.alias AS token, string_agg(c.mapdict::regdictionary::text, ', ' ORDER BY c.mapseqno) AS dictionaries
              FROM pg_ts_config_map c JOIN ts_token_type(t.cfgparser) y ON y.tokid = c.maptokentype
              WHERE c.mapcfg = t.oid GROUP BY y.alias) m) AS mappings,
       d.description AS comment
FROM pg_ts_config t
JOIN ns ON ns.oid = t.cfgnamespace
@comment(pg_ts_config, t.oid)
WHERE @own(pg_ts_config, t.oid)

-- query event_triggers
SELECT 'event_trigger' AS kind, 0 AS unit, quote_ident(e.evtname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(e.evtowner)) AS owner,
       e.evtevent AS event, e.evtfoid::regprocedure::text AS function,
       CASE e.evtenabled WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END AS enabled,
       (SELECT string_agg(quote_literal(g), ', ' ORDER BY g COLLATE "C") FROM unnest(e.evttags) g) AS tags,
       d.description AS comment
FROM pg_event_trigger e
JOIN pg_proc p ON p.oid = e.evtfoid
JOIN pg_namespace n ON n.oid = p.pronamespace
@comment(pg_event_trigger, e.oid)
WHERE e.evtname !~ '^annals_' AND n.nspname <> ALL (@excluded) AND @own(pg_event_trigger, e.oid)

-- query publications
SELECT 'publication' AS kind, 0 AS unit, quote_ident(p.pubname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(p.pubowner)) AS owner,
       CASE WHEN p.puballtables THEN 'true' END AS all_tables,
       concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                 CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END) AS operations,
       CASE WHEN p.pubviaroot THEN 'true' END AS via_root,
       --[18+] CASE p.pubgencols WHEN 's' THEN 'stored' END AS generated_columns,
       d.description AS comment
FROM pg_publication p
@comment(pg_publication, p.oid)
WHERE @own(pg_publication, p.oid)

-- query publication_tables
SELECT 'publication_table' AS kind, 0 AS unit, quote_ident(p.pubname) || ': ' || r.prrelid::regclass::text AS name,
       NULL AS acl, NULL AS owner,
       --[15+] (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C")
       --[15+]  FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) AS columns,
       --[15+] pg_get_expr(r.prqual, r.prrelid) AS filter,
       'true' AS published
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE @own(pg_publication, p.oid)

-- query publication_schemas
--[15+] SELECT 'publication_schema' AS kind, 0 AS unit, quote_ident(p.pubname) || ': ' || r.pnnspid::regnamespace::text AS name,
--[15+]        NULL AS acl, NULL AS owner, 'true' AS published
--[15+] FROM pg_publication_namespace r JOIN pg_publication p ON p.oid = r.pnpubid
--[15+] WHERE @own(pg_publication, p.oid)

-- query security_labels
SELECT 'security_label' AS kind, 0 AS unit, quote_ident(s.provider) || ' on ' || i.type || ' ' || i.identity AS name,
       NULL AS acl, NULL AS owner, s.label AS label
FROM pg_seclabel s CROSS JOIN LATERAL pg_identify_object(s.classoid, s.objoid, s.objsubid) i
WHERE coalesce(i.schema, '') <> ALL (@excluded)
UNION ALL
SELECT 'security_label', 0, quote_ident(s.provider) || ' on database current', NULL, NULL, s.label
FROM pg_shseclabel s
WHERE s.classoid = 'pg_database'::regclass AND s.objoid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())

-- query default_privileges
WITH @ns
SELECT 'default_privileges' AS kind, 0 AS unit,
       'of ' || quote_ident(pg_get_userbyid(f.defaclrole)) || ' for '
           || CASE f.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                   WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' ELSE f.defaclobjtype::text END
           || coalesce(' in ' || ns.name, '') AS name,
       array_to_string(f.defaclacl, E'\n') AS acl, NULL AS owner
FROM pg_default_acl f LEFT JOIN ns ON ns.oid = f.defaclnamespace
WHERE f.defaclnamespace = 0 OR ns.oid IS NOT NULL

-- query changed_grants
-- What came with the server or an extension, and is granted otherwise than it came.
SELECT 'grant' AS kind, 0 AS unit, i.type || ' ' || i.identity AS name,
       array_to_string(coalesce(o.acl, acldefault(o.type, o.owner)), E'\n') AS acl, NULL AS owner
FROM (
    SELECT 'pg_class'::regclass AS class, c.oid AS id, c.relacl AS acl, c.relowner AS owner,
           CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char" AS type, c.relnamespace AS namespace
    FROM pg_class c WHERE c.relacl IS NOT NULL
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, p.proacl, p.proowner, 'f', p.pronamespace FROM pg_proc p WHERE p.proacl IS NOT NULL
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, t.typacl, t.typowner, 'T', t.typnamespace FROM pg_type t WHERE t.typacl IS NOT NULL
    UNION ALL
    SELECT 'pg_language'::regclass, l.oid, l.lanacl, l.lanowner, 'l', 0 FROM pg_language l WHERE l.lanacl IS NOT NULL
    UNION ALL
    SELECT 'pg_namespace'::regclass, n.oid, n.nspacl, n.nspowner, 'n', 0 FROM pg_namespace n
    WHERE n.nspacl IS NOT NULL AND n.nspname = 'pg_catalog'
) o
LEFT JOIN pg_init_privs v ON v.classoid = o.class AND v.objoid = o.id AND v.objsubid = 0
LEFT JOIN pg_namespace n ON n.oid = o.namespace
CROSS JOIN LATERAL pg_identify_object(o.class, o.id, 0) i
-- What is granted on information_schema when a database is made is not noted anywhere.
WHERE (o.id < 16384 AND (n.oid IS NULL OR n.nspname = 'pg_catalog')
       OR EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.class AND e.objid = o.id AND e.deptype = 'e'))
  AND coalesce(n.nspname, '') <> ALL (@excluded)
  AND ARRAY(SELECT a::text FROM unnest(o.acl) a ORDER BY 1) <> ARRAY(SELECT a::text FROM unnest(coalesce(v.initprivs, acldefault(o.type, o.owner))) a ORDER BY 1)

-- query subscriptions
SELECT 'subscription' AS kind, 0 AS unit, quote_ident(s.subname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(s.subowner)) AS owner,
       s.subenabled::text AS enabled,
       (SELECT string_agg(quote_ident(p), ', ' ORDER BY p COLLATE "C") FROM unnest(s.subpublications) p) AS publications,
       quote_ident(s.subslotname) AS slot,
       --[14+] s.subsynccommit AS synchronous_commit,
       --[14+] CASE WHEN s.subbinary THEN 'true' END AS "binary",
       --[14+] CASE s.substream::text WHEN 't' THEN 'on' WHEN 'true' THEN 'on' WHEN 'p' THEN 'parallel' END AS streaming,
       --[15+] CASE WHEN s.subtwophasestate <> 'd' THEN 'true' END AS two_phase,
       --[15+] CASE WHEN s.subdisableonerr THEN 'true' END AS disable_on_error,
       --[16+] s.suborigin AS origin,
       --[16+] CASE WHEN NOT s.subpasswordrequired THEN 'false' END AS password_required,
       --[16+] CASE WHEN s.subrunasowner THEN 'true' END AS run_as_owner,
       --[17+] CASE WHEN s.subfailover THEN 'true' END AS failover,
       --[14+] (SELECT d.description FROM pg_description d WHERE d.classoid = 'pg_subscription'::regclass AND d.objoid = s.oid) AS comment,
       'hidden' AS connection
FROM pg_subscription s
WHERE s.subdbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
