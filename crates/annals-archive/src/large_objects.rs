//! Large objects, as rows: one for each with the SQL of what it is, and rows of its bytes.

/// A row for each: its number, and the SQL that gives it its owner, rights and comment.
pub(crate) const COPY_OWNERS: &str = "COPY (SELECT m.oid,
    format('ALTER LARGE OBJECT %s OWNER TO %I;', m.oid, pg_get_userbyid(m.lomowner))
    || coalesce((SELECT string_agg(format('GRANT %s ON LARGE OBJECT %s TO %s%s;', a.privilege_type,
            m.oid, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), ''
            ORDER BY a.grantee, a.privilege_type)
        FROM aclexplode(m.lomacl) a WHERE a.grantee <> m.lomowner), '')
    || coalesce(format('COMMENT ON LARGE OBJECT %s IS %L;', m.oid,
            obj_description(m.oid, 'pg_largeobject')), '')
  FROM pg_largeobject_metadata m ORDER BY m.oid) TO STDOUT";

/// Their bytes: number, place, and 256 KiB at most. 262144 is INV_READ, and 2 is SEEK_END.
pub(crate) const COPY_PAGES: &str = "COPY (SELECT l.oid, p.at, lo_get(l.oid, p.at, 262144)
  FROM (SELECT o.oid, o.fd, lo_lseek64(o.fd, 0, 2) AS size
          FROM (SELECT m.oid, lo_open(m.oid, 262144) AS fd FROM pg_largeobject_metadata m
                 ORDER BY m.oid OFFSET 0) o OFFSET 0) l
 CROSS JOIN LATERAL (SELECT lo_close(l.fd) AS closed OFFSET 0) c
 CROSS JOIN LATERAL generate_series(0, l.size - 1, 262144) p (at)
 WHERE c.closed = 0) TO STDOUT";

/// Where the rows of both go before they are large objects; of the session alone.
pub(crate) const OWNERS_TABLE: &str = "pg_temp.annals_large_object_owners";
pub(crate) const PAGES_TABLE: &str = "pg_temp.annals_large_object_pages";

/// Makes the tables, in the session.
pub(crate) const MAKE_OWNERS_TABLE: &str =
    "CREATE TEMP TABLE annals_large_object_owners (number oid, sql text)";
pub(crate) const MAKE_PAGES_TABLE: &str =
    "CREATE TEMP TABLE IF NOT EXISTS annals_large_object_pages (number oid, at int8, bytes bytea)";

/// Makes them all, empty; then gives each what it is.
pub(crate) const CREATE_ALL: &str = "SELECT count(pg_catalog.lo_create(number))::text \
    FROM pg_temp.annals_large_object_owners";
pub(crate) const OWN_ALL: &str = "DO $annals$ DECLARE one record; BEGIN \
    FOR one IN SELECT sql FROM pg_temp.annals_large_object_owners ORDER BY number LOOP \
    EXECUTE one.sql; END LOOP; END $annals$";

/// Writes what came into the table of pages, and empties that.
pub(crate) const PUT_PAGES: &str = "SELECT count(pg_catalog.lo_put(number, at, bytes))::text \
    FROM pg_temp.annals_large_object_pages; TRUNCATE pg_temp.annals_large_object_pages";
