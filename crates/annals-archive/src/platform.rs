//! What a managed platform has in a database from the beginning, as far as it matters to a backup that is
//! brought into a database of its own.

use annals_postgres::Session;

use crate::catalog::quoted;
use crate::error::ArchiveError;
use crate::sections::cut;

/// Takes back what the platform gives a project in a new database: default privileges, rights to `public`,
/// publications. The backup brings what the project has made of them.
pub(crate) async fn make_bare(session: &mut Session) -> Result<(), ArchiveError> {
    let sql = "SELECT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %s REVOKE ALL ON %s FROM %s', \
            pg_catalog.pg_get_userbyid(d.defaclrole), \
            d.defaclnamespace::pg_catalog.regnamespace, \
            CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' \
                ELSE 'TYPES' END, \
            CASE a.grantee WHEN 0 THEN 'PUBLIC' \
                ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END) \
        FROM pg_catalog.pg_default_acl d, LATERAL pg_catalog.aclexplode(d.defaclacl) a \
        WHERE d.defaclnamespace <> 0 \
        UNION \
        SELECT pg_catalog.format('REVOKE ALL ON SCHEMA public FROM %I', pg_catalog.pg_get_userbyid(a.grantee)) \
        FROM pg_catalog.pg_namespace n, LATERAL pg_catalog.aclexplode(n.nspacl) a \
        WHERE n.nspname = 'public' AND a.grantee NOT IN (0, n.nspowner) \
        UNION \
        SELECT pg_catalog.format('DROP PUBLICATION %I', pubname) FROM pg_catalog.pg_publication";
    for row in session.texts(sql).await? {
        for sql in row.into_iter().flatten() {
            // What is refused, a comparison tells.
            attempt(session, &sql).await?;
        }
    }
    Ok(())
}

/// Makes the schemas the backup leaves out, and in them what the platform has there.
pub(crate) async fn make_platform(
    session: &mut Session,
    excluded: &[String],
    platform: &str,
) -> Result<(), ArchiveError> {
    for schema in excluded {
        attempt(session, &format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema))).await?;
    }
    for statement in cut(platform, "the platform's schemas")? {
        attempt(session, &statement.sql).await?;
    }
    Ok(())
}

/// Runs a statement the server may refuse.
async fn attempt(session: &mut Session, sql: &str) -> Result<(), ArchiveError> {
    match session.run(sql).await {
        Err(fault) if fault.is_verdict() => {
            tracing::debug!(%fault, "is left out: {}", sql.lines().next().unwrap_or_default());
            Ok(())
        }
        run => Ok(run?),
    }
}
