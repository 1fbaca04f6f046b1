-- What the text of which may have changed with the objects `start`: those that depend on them. What
-- is a type, function or operator has a name made of other names; what depends on that is followed
-- as well. @start: rows of (class, id). Gives the unit each belongs to; without an id: something
-- among them is one of the surroundings, or belongs to an extension, whose grants stand there.
WITH RECURSIVE start (class, id) AS (
    @start
), found (class, id, further) AS (
    SELECT class, id, true FROM start
    UNION
    SELECT d.classid, d.objid,
           d.classid = ANY ('{pg_type, pg_proc, pg_operator, pg_opfamily, pg_opclass}'::regclass[]::oid[])
    FROM found f JOIN pg_depend d ON d.refclassid = f.class AND d.refobjid = f.id
    WHERE f.further
), unit (routine, id) AS (
    SELECT false, CASE WHEN c.relkind IN ('i', 'I') THEN i.indrelid WHEN c.relkind = 't' THEN o.oid ELSE c.oid END
    FROM found f
    JOIN pg_class c ON f.class = 'pg_class'::regclass AND c.oid = f.id
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
    LEFT JOIN pg_class o ON c.relkind = 't' AND o.reltoastrelid = c.oid
    UNION SELECT true, f.id FROM found f WHERE f.class IN ('pg_type'::regclass, 'pg_proc'::regclass)
    -- A composite type is a relation as well.
    UNION SELECT false, t.typrelid FROM found f JOIN pg_type t ON f.class = 'pg_type'::regclass AND t.oid = f.id WHERE t.typrelid <> 0
    UNION SELECT true, t.reltype FROM found f JOIN pg_class t ON f.class = 'pg_class'::regclass AND t.oid = f.id WHERE t.relkind = 'c'
    UNION SELECT k.conrelid = 0, CASE WHEN k.conrelid = 0 THEN k.contypid ELSE k.conrelid END
    FROM found f JOIN pg_constraint k ON f.class = 'pg_constraint'::regclass AND k.oid = f.id
    UNION SELECT false, a.adrelid FROM found f JOIN pg_attrdef a ON f.class = 'pg_attrdef'::regclass AND a.oid = f.id
    UNION SELECT false, g.tgrelid FROM found f JOIN pg_trigger g ON f.class = 'pg_trigger'::regclass AND g.oid = f.id
    UNION SELECT false, r.ev_class FROM found f JOIN pg_rewrite r ON f.class = 'pg_rewrite'::regclass AND r.oid = f.id
    UNION SELECT false, p.polrelid FROM found f JOIN pg_policy p ON f.class = 'pg_policy'::regclass AND p.oid = f.id
    UNION SELECT false, s.stxrelid FROM found f JOIN pg_statistic_ext s ON f.class = 'pg_statistic_ext'::regclass AND s.oid = f.id
    -- What is gone is read as well, and not found.
    UNION SELECT false, s.id FROM start s WHERE s.class = 'pg_class'::regclass
)
SELECT routine, id::int8 AS id FROM unit WHERE id IS NOT NULL
UNION ALL
SELECT false, NULL WHERE EXISTS (
    SELECT FROM found f WHERE f.class <> ALL ('{pg_class, pg_proc, pg_type, pg_constraint, pg_attrdef, pg_trigger, pg_rewrite, pg_policy, pg_statistic_ext}'::regclass[]::oid[])
       OR EXISTS (SELECT FROM pg_depend m WHERE m.classid = f.class AND m.objid = f.id AND m.deptype IN ('e', 'x')))
