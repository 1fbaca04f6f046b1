-- What hangs on a relation: its row, columns, constraints, indexes, triggers, rules, policies and
-- statistics. `unit` is the relation.
--
-- Each query gives rows of one kind: kind, unit, name, acl, owner, then one column an attribute;
-- an attribute that is null is left out. `queries.rs` says what a word behind an `@` stands for,
-- and what is written behind `--[14+]`.

-- query tables
WITH @ns
SELECT CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS kind, c.oid AS unit,
       ns.name || '.' || quote_ident(c.relname) AS name,
       @acl(c.relacl, 'r', c.relowner) AS acl, quote_ident(pg_get_userbyid(c.relowner)) AS owner,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table'
                      WHEN 'v' THEN 'view' ELSE 'materialized view' END AS "is",
       CASE WHEN c.relpersistence = 'u' THEN 'unlogged' END AS persistence,
       (SELECT quote_ident(am.amname) FROM pg_am am WHERE am.oid = c.relam) AS access_method,
       (SELECT quote_ident(s.spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace) AS tablespace,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
       pg_get_expr(c.relpartbound, c.oid) AS partition_bound,
       CASE WHEN c.relkind IN ('r', 'p', 'f') THEN
           (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
            FROM pg_inherits i WHERE i.inhrelid = c.oid) END AS inherits,
       --[14+] CASE WHEN c.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhdetachpending) THEN 'true' END AS detach_pending,
       CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type,
       CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'n' THEN CASE WHEN c.relkind IN ('r', 'p') THEN 'nothing' END
                           WHEN 'i' THEN 'index' END AS replica_identity,
       @reloptions(c.reloptions) AS options,
       @reloptions(toast.reloptions) AS toast_options,
       (SELECT quote_ident(s.srvname) FROM pg_foreign_server s WHERE s.oid = f.ftserver) AS server,
       @options(f.ftoptions) AS foreign_options,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition,
       CASE WHEN c.relkind = 'm' AND NOT c.relispopulated THEN 'false' END AS populated,
       d.description AS comment
FROM pg_class c
JOIN ns ON ns.oid = c.relnamespace
LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid
@comment(pg_class, c.oid)
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND @own(pg_class, c.oid) AND @only(c.oid)

-- query row_security
WITH @ns
SELECT 'row_security' AS kind, c.oid AS unit, ns.name || '.' || quote_ident(c.relname) AS name,
       NULL AS acl, NULL AS owner,
       c.relrowsecurity::text AS enabled, c.relforcerowsecurity::text AS forced
FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND @own(pg_class, c.oid) AND @only(c.oid)

-- query columns
WITH @ns
SELECT 'column' AS kind, a.attrelid AS unit,
       ns.name || '.' || quote_ident(c.relname) || '.' || quote_ident(a.attname) AS name,
       array_to_string(a.attacl, E'\n') AS acl,
       CASE WHEN a.attacl IS NOT NULL THEN quote_ident(pg_get_userbyid(c.relowner)) END AS owner,
       row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS "position",
       format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation,
       CASE WHEN a.attnotnull THEN 'true' END AS not_null,
       --[18+] quote_ident(nn.conname) AS not_null_constraint,
       --[18+] CASE WHEN nn.connoinherit THEN 'true' END AS not_null_no_inherit,
       --[18+] CASE WHEN NOT nn.convalidated THEN 'false' END AS not_null_validated,
       --[18+] CASE WHEN nn.coninhcount > 0 AND nn.conislocal THEN 'true' END AS not_null_local,
       --[18+] obj_description(nn.oid, 'pg_constraint') AS not_null_comment,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(e.adbin, e.adrelid) END AS "default",
       CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END AS generated,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(e.adbin, e.adrelid) END AS expression,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity,
       CASE WHEN a.attstorage <> t.typstorage THEN
           CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended' END
       END AS storage,
       --[14+] CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS compression,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS statistics,
       @reloptions(a.attoptions) AS options,
       @options(a.attfdwoptions) AS foreign_options,
       CASE WHEN a.attinhcount > 0 THEN 'true' END AS inherited,
       CASE WHEN a.attinhcount > 0 AND a.attislocal THEN 'true' END AS local,
       d.description AS comment
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN ns ON ns.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = a.attrelid AND d.objsubid = a.attnum
--[18+] LEFT JOIN pg_constraint nn ON nn.conrelid = a.attrelid AND nn.contype = 'n' AND nn.conkey[1] = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
  AND @own(pg_class, c.oid) AND @own(pg_type, c.reltype) AND @only(a.attrelid)

-- query sequences
WITH @ns
SELECT 'sequence' AS kind, c.oid AS unit, ns.name || '.' || quote_ident(c.relname) AS name,
       @acl(c.relacl, 's', c.relowner) AS acl, quote_ident(pg_get_userbyid(c.relowner)) AS owner,
       CASE WHEN c.relpersistence = 'u' THEN 'unlogged' END AS persistence,
       format_type(s.seqtypid, NULL) AS type, s.seqstart AS start, s.seqincrement AS increment,
       s.seqmin AS min, s.seqmax AS max, s.seqcache AS cache,
       CASE WHEN s.seqcycle THEN 'true' END AS cycle,
       o.owned_by, o.identity, d.description AS comment
FROM pg_class c
JOIN ns ON ns.oid = c.relnamespace
JOIN pg_sequence s ON s.seqrelid = c.oid
LEFT JOIN LATERAL (
    SELECT p.refobjid::regclass::text || '.' || quote_ident(a.attname) AS owned_by,
           CASE WHEN p.deptype = 'i' THEN 'true' END AS identity
    FROM pg_depend p JOIN pg_attribute a ON a.attrelid = p.refobjid AND a.attnum = p.refobjsubid
    WHERE p.classid = 'pg_class'::regclass AND p.objid = c.oid AND p.objsubid = 0
      AND p.refclassid = 'pg_class'::regclass AND p.deptype IN ('a', 'i')
) o ON true
@comment(pg_class, c.oid)
WHERE c.relkind = 'S' AND @own(pg_class, c.oid) AND @only(c.oid)

-- query constraints
WITH @ns
SELECT 'constraint' AS kind, k.conrelid AS unit,
       ns.name || '.' || quote_ident(c.relname) || '.' || quote_ident(k.conname) AS name,
       NULL AS acl, NULL AS owner, @constraint,
       CASE WHEN k.contype = 'f' THEN
           (SELECT string_agg(DISTINCT CASE g.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' ELSE 'always' END
                              || ' on ' || CASE WHEN g.tgrelid = k.conrelid THEN 'this table' ELSE g.tgrelid::regclass::text END, ', ')
            FROM pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O') END AS triggers,
       d.description AS comment
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN ns ON ns.oid = c.relnamespace
@comment(pg_constraint, k.oid)
WHERE k.contype NOT IN ('t', 'n') AND @own(pg_class, c.oid) AND @only(k.conrelid)

-- query indexes
WITH @ns
SELECT 'index' AS kind, i.indrelid AS unit, ns.name || '.' || quote_ident(x.relname) AS name,
       NULL AS acl, NULL AS owner,
       i.indrelid::regclass::text AS "table", pg_get_indexdef(i.indexrelid) AS definition,
       CASE WHEN i.indisunique THEN 'true' END AS "unique",
       CASE WHEN NOT i.indisvalid THEN 'false' END AS valid,
       CASE WHEN NOT i.indisready THEN 'false' END AS ready,
       CASE WHEN NOT i.indislive THEN 'false' END AS live,
       CASE WHEN i.indisclustered THEN 'true' END AS clustered,
       CASE WHEN i.indisreplident THEN 'true' END AS replica_identity,
       (SELECT quote_ident(s.spcname) FROM pg_tablespace s WHERE s.oid = x.reltablespace) AS tablespace,
       (SELECT quote_ident(k.conname) FROM pg_constraint k
        WHERE k.conrelid = i.indrelid AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS "constraint",
       CASE WHEN x.relispartition THEN (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = x.oid) END AS parent,
       CASE WHEN i.indexprs IS NOT NULL THEN
           (SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = x.oid AND a.attnum > 0 AND a.attstattarget >= 0) END AS statistics,
       d.description AS comment
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid
JOIN ns ON ns.oid = c.relnamespace
@comment(pg_class, x.oid)
WHERE @own(pg_class, c.oid) AND @only(i.indrelid)

-- query triggers
WITH @ns, @attachable
SELECT 'trigger' AS kind, g.tgrelid AS unit,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(g.tgname) AS name,
       NULL AS acl, NULL AS owner,
       pg_get_triggerdef(g.oid) AS definition,
       CASE g.tgenabled WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END AS enabled,
       CASE WHEN g.tgparentid <> 0 THEN 'true' END AS inherited,
       d.description AS comment
FROM pg_trigger g
JOIN pg_class c ON c.oid = g.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
@comment(pg_trigger, g.oid)
WHERE (NOT g.tgisinternal OR (g.tgparentid <> 0 AND g.tgconstraint = 0)) AND @own(pg_class, c.oid)
  AND (n.oid IN (SELECT oid FROM ns)
       OR (n.oid IN (SELECT oid FROM attachable)
           AND (SELECT p.pronamespace FROM pg_proc p WHERE p.oid = g.tgfoid) IN (SELECT oid FROM ns)))
  AND @only(g.tgrelid)

-- query rules
WITH @ns
SELECT 'rule' AS kind, r.ev_class AS unit,
       ns.name || '.' || quote_ident(c.relname) || '.' || quote_ident(r.rulename) AS name,
       NULL AS acl, NULL AS owner,
       pg_get_ruledef(r.oid) AS definition,
       CASE r.ev_enabled WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END AS enabled,
       d.description AS comment
FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class
JOIN ns ON ns.oid = c.relnamespace
@comment(pg_rewrite, r.oid)
WHERE r.rulename <> '_RETURN' AND @own(pg_class, c.oid) AND @only(r.ev_class)

-- query policies
WITH @ns, @attachable
SELECT 'policy' AS kind, p.polrelid AS unit,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(p.polname) AS name,
       NULL AS acl, NULL AS owner,
       CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END AS command,
       p.polpermissive::text AS permissive,
       (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r = 0, pg_get_userbyid(r) COLLATE "C")
        FROM unnest(p.polroles) r) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS "using",
       pg_get_expr(p.polwithcheck, p.polrelid) AS "check",
       d.description AS comment
FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
@comment(pg_policy, p.oid)
WHERE (n.oid IN (SELECT oid FROM ns) OR n.oid IN (SELECT oid FROM attachable))
  AND @own(pg_class, c.oid) AND @only(p.polrelid)

-- query statistics
WITH @ns
SELECT 'statistics' AS kind, s.stxrelid AS unit, ns.name || '.' || quote_ident(s.stxname) AS name,
       NULL AS acl, quote_ident(pg_get_userbyid(s.stxowner)) AS owner,
       s.stxrelid::regclass::text AS "table",
       -- By name: the server keeps them in the order of the table's columns.
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C")
        FROM pg_attribute a WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys)) AS columns,
       --[14+] array_to_string(pg_get_statisticsobjdef_expressions(s.oid), ', ') AS expressions,
       (SELECT string_agg(CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies' WHEN 'm' THEN 'mcv' END, ', ' ORDER BY k)
        FROM unnest(s.stxkind) k WHERE k <> 'e') AS kinds,
       CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget END AS target,
       d.description AS comment
FROM pg_statistic_ext s
JOIN ns ON ns.oid = s.stxnamespace
@comment(pg_statistic_ext, s.oid)
WHERE @own(pg_statistic_ext, s.oid) AND @only(s.stxrelid)
