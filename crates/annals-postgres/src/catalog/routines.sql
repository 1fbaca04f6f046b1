-- Functions and types; `unit` is the function or the type, with a minus sign.

-- query functions
WITH @ns
SELECT 'function' AS kind, -(p.oid::int8) AS unit,
       ns.name || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
       @acl(p.proacl, 'f', p.proowner) AS acl, quote_ident(pg_get_userbyid(p.proowner)) AS owner,
       CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'w' THEN 'window function' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS "is",
       pg_get_function_arguments(p.oid) AS arguments,
       pg_get_function_result(p.oid) AS returns,
       CASE WHEN p.prokind <> 'a' THEN quote_ident(l.lanname) END AS language,
       CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' END AS volatility,
       CASE WHEN p.proisstrict AND p.prokind <> 'a' THEN 'true' END AS strict,
       CASE WHEN p.prosecdef THEN 'definer' END AS security,
       CASE WHEN p.proleakproof THEN 'true' END AS leakproof,
       CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' END AS parallel,
       CASE WHEN p.procost <> CASE WHEN l.lanname IN ('c', 'internal') THEN 1 ELSE 100 END AND p.prokind <> 'a' THEN p.procost END AS cost,
       CASE WHEN p.proretset AND p.prorows <> 1000 THEN p.prorows END AS rows,
       CASE WHEN p.prosupport <> 0 THEN p.prosupport::text END AS support,
       @settings(p.proconfig) AS settings,
       (SELECT string_agg(format_type(y, NULL), ', ' ORDER BY at) FROM unnest(p.protrftypes) WITH ORDINALITY AS u(y, at)) AS transforms,
       p.probin AS library,
       --[14+] pg_get_function_sqlbody(p.oid) AS sql_body,
       --[14+] CASE WHEN p.prokind <> 'a' AND p.prosqlbody IS NULL THEN p.prosrc END AS body,
       --[-13] CASE WHEN p.prokind <> 'a' THEN p.prosrc END AS body,
       CASE a.aggkind WHEN 'o' THEN 'ordered set' WHEN 'h' THEN 'hypothetical set' END AS aggregates,
       a.aggtransfn::regprocedure::text AS transition,
       format_type(a.aggtranstype, NULL) AS state,
       nullif(a.aggtransspace, 0) AS state_size,
       CASE WHEN a.aggfinalfn <> 0 THEN a.aggfinalfn::regprocedure::text END AS final,
       CASE WHEN a.aggfinalextra THEN 'true' END AS final_extra,
       CASE a.aggfinalmodify WHEN 's' THEN 'shareable' WHEN 'w' THEN 'read_write' WHEN 'r' THEN 'read_only' END AS final_modify,
       CASE WHEN a.aggcombinefn <> 0 THEN a.aggcombinefn::regprocedure::text END AS combine,
       CASE WHEN a.aggserialfn <> 0 THEN a.aggserialfn::regprocedure::text END AS serialize,
       CASE WHEN a.aggdeserialfn <> 0 THEN a.aggdeserialfn::regprocedure::text END AS deserialize,
       a.agginitval AS initial,
       CASE WHEN a.aggmtransfn <> 0 THEN a.aggmtransfn::regprocedure::text END AS moving_transition,
       CASE WHEN a.aggminvtransfn <> 0 THEN a.aggminvtransfn::regprocedure::text END AS moving_inverse,
       CASE WHEN a.aggmtranstype <> 0 THEN format_type(a.aggmtranstype, NULL) END AS moving_state,
       nullif(a.aggmtransspace, 0) AS moving_state_size,
       CASE WHEN a.aggmfinalfn <> 0 THEN a.aggmfinalfn::regprocedure::text END AS moving_final,
       CASE WHEN a.aggmfinalextra THEN 'true' END AS moving_final_extra,
       CASE WHEN a.aggmtransfn <> 0 THEN CASE a.aggmfinalmodify WHEN 's' THEN 'shareable' WHEN 'w' THEN 'read_write' WHEN 'r' THEN 'read_only' END END AS moving_final_modify,
       a.aggminitval AS moving_initial,
       CASE WHEN a.aggsortop <> 0 THEN a.aggsortop::regoperator::text END AS sort_operator,
       d.description AS comment
FROM pg_proc p
JOIN ns ON ns.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
@comment(pg_proc, p.oid)
-- What makes values of a range type comes and goes with the type.
WHERE @own(pg_proc, p.oid) AND @only(p.oid)
  AND p.oid NOT IN (SELECT i.objid FROM pg_depend i WHERE i.refclassid = 'pg_type'::regclass AND i.classid = 'pg_proc'::regclass AND i.deptype = 'i')

-- query types
WITH @ns
SELECT 'type' AS kind, -(t.oid::int8) AS unit, ns.name || '.' || quote_ident(t.typname) AS name,
       @acl(t.typacl, 'T', t.typowner) AS acl, quote_ident(pg_get_userbyid(t.typowner)) AS owner,
       CASE WHEN NOT t.typisdefined THEN 'shell' ELSE
           CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' WHEN 'c' THEN 'composite' ELSE 'base' END END AS "is",
       CASE WHEN t.typtype = 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) END AS labels,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS base,
       CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation THEN t.typcollation::regcollation::text END AS collation,
       CASE WHEN t.typtype = 'd' AND t.typnotnull THEN 'true' END AS not_null,
       --[17+] (SELECT quote_ident(k.conname) FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'n') AS not_null_constraint,
       CASE WHEN t.typtype = 'd' THEN coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault) ELSE t.typdefault END AS "default",
       format_type(r.rngsubtype, NULL) AS subtype,
       CASE WHEN r.rngsubopc <> 0 THEN (SELECT quote_ident(n.nspname) || '.' || quote_ident(o.opcname) FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace WHERE o.oid = r.rngsubopc) END AS subtype_operator_class,
       CASE WHEN r.rngcollation <> s.typcollation THEN r.rngcollation::regcollation::text END AS subtype_collation,
       CASE WHEN r.rngcanonical <> 0 THEN r.rngcanonical::regprocedure::text END AS canonical,
       CASE WHEN r.rngsubdiff <> 0 THEN r.rngsubdiff::regprocedure::text END AS subtype_diff,
       --[14+] format_type(r.rngmultitypid, NULL) AS multirange,
       i.*,
       d.description AS comment
FROM pg_type t
JOIN ns ON ns.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_type s ON s.oid = r.rngsubtype
LEFT JOIN LATERAL (
    SELECT t.typinput::regprocedure::text AS input, t.typoutput::regprocedure::text AS output,
           CASE WHEN t.typreceive <> 0 THEN t.typreceive::regprocedure::text END AS receive,
           CASE WHEN t.typsend <> 0 THEN t.typsend::regprocedure::text END AS send,
           CASE WHEN t.typmodin <> 0 THEN t.typmodin::regprocedure::text END AS modifier_input,
           CASE WHEN t.typmodout <> 0 THEN t.typmodout::regprocedure::text END AS modifier_output,
           CASE WHEN t.typanalyze <> 0 THEN t.typanalyze::regprocedure::text END AS "analyze",
           --[14+] CASE WHEN t.typsubscript <> 0 THEN t.typsubscript::regprocedure::text END AS subscript,
           t.typlen AS length, CASE WHEN t.typbyval THEN 'true' END AS by_value,
           t.typalign AS alignment, t.typstorage AS storage, t.typcategory AS category,
           CASE WHEN t.typispreferred THEN 'true' END AS preferred, t.typdelim AS delimiter,
           CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END AS element,
           CASE WHEN t.typcollation <> 0 THEN 'true' END AS collatable
    WHERE t.typtype = 'b' AND t.typisdefined
) i ON true
@comment(pg_type, t.oid)
WHERE (t.typtype IN ('e', 'd', 'r') OR NOT t.typisdefined
       OR (t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid))
       OR (t.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')))
  AND @own(pg_type, t.oid) AND @only(t.oid)

-- query domain_constraints
WITH @ns
SELECT 'constraint' AS kind, -(k.contypid::int8) AS unit,
       ns.name || '.' || quote_ident(t.typname) || '.' || quote_ident(k.conname) AS name,
       NULL AS acl, NULL AS owner, @constraint,
       d.description AS comment
FROM pg_constraint k
JOIN pg_type t ON t.oid = k.contypid
JOIN ns ON ns.oid = t.typnamespace
@comment(pg_constraint, k.oid)
WHERE k.contype <> 'n' AND @own(pg_type, t.oid) AND @only(k.contypid)
