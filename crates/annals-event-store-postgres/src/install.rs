//! Creates and upgrades the store's tables, functions and roles.

use annals_event_store::Cause;
use annals_postgres::{ConnectError, ConnectionSpec, Fault, Session, SessionSettings};
use sqlx::Row;

use crate::link::{Limits, StoreFault, format};

/// Format of the tables and functions this annals installs, and the newest it writes to.
pub const STORE_FORMAT: u32 = 2;

/// What leads from each format to the next.
const FORMATS: [&str; STORE_FORMAT as usize] = [
    include_str!("../../../event-store/postgres/store-1.sql"),
    include_str!("../../../event-store/postgres/store-2.sql"),
];

/// Who may do what.
const RIGHTS: &str = include_str!("../../../event-store/postgres/rights.sql");

/// The roles the store has where they can be created.
const OWNER: &str = "annals_owner";
const WRITER: &str = "annals_writer";
const READER: &str = "annals_reader";

/// Installations of one database come one after another: the first 64 bits of SHA-256 over
/// `annals store install 1`.
const INSTALL_LOCK: i64 = 0xcd05_841f_cd10_560f_u64.cast_signed();

/// The role attributes of the installing role, and the roles of the store that are there.
const LOOK: &str = "SELECT current_user::text AS me, r.rolsuper, r.rolcreaterole, \
    (SELECT count(*) FROM pg_roles WHERE rolname IN ('annals_owner', 'annals_writer', \
        'annals_reader')) AS roles, \
    (SELECT pg_get_userbyid(c.relowner)::text FROM pg_class c JOIN pg_namespace n \
        ON n.oid = c.relnamespace WHERE n.nspname = 'annals' AND c.relname = 'log_head') AS owner, \
    (SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'annals') \
        AS schema_owner, \
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'annals') AS occupied, \
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'annals' AND c.relname IN ('ledger', 'log_store')) AS ours, \
    current_setting('server_encoding') AS encoding \
    FROM pg_roles r WHERE r.rolname = current_user";

/// What an installation found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// What was done.
    pub done: Installed,
    /// Whom the tables belong to.
    pub ownership: Ownership,
}

/// What an installation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The store was not there.
    Installed {
        /// Its format now.
        format: u32,
    },
    /// It was there in an older format.
    Upgraded {
        /// Its format before.
        from: u32,
        /// Its format now.
        to: u32,
    },
    /// There was nothing to do.
    UpToDate {
        /// Its format.
        format: u32,
    },
}

/// Whom the store's tables belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// A role nobody logs in as. Writers are members of `annals_writer`, auditors of
    /// `annals_reader`. Only superusers and whoever may grant that role can alter a log.
    Separate {
        /// The role.
        owner: String,
    },
    /// The role that installed it, which may not create others, as with some hosted databases.
    /// Whoever logs in as it can alter a log; only heads kept elsewhere show it.
    Installer {
        /// The role.
        role: String,
    },
}

/// Why the store was not installed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server says no.
    #[error("cannot install the event store: {0}")]
    Server(#[from] Fault),
    /// What is there was made by a newer annals.
    #[error("the event store has format {found}, this annals knows {STORE_FORMAT}")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// Something else stands in its place.
    #[error("the schema annals holds something else than annals' own tables")]
    Foreign,
    /// Lines are UTF-8, and the server checks them as text.
    #[error("the database has the encoding {0}, the event store needs UTF8")]
    Encoding(String),
    /// The tables belong to a role the installing one cannot act as.
    #[error("the event store belongs to {owner}, and {me} cannot act as that role")]
    NotOwner {
        /// Who connected.
        me: String,
        /// The owner.
        owner: String,
    },
    /// A row is not one annals writes.
    #[error("cannot read the event store's format")]
    Unreadable(#[source] Cause),
}

impl From<sqlx::Error> for InstallError {
    fn from(error: sqlx::Error) -> Self {
        Self::Server(error.into())
    }
}

impl From<StoreFault> for InstallError {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Connect(error) => Self::Connect(error),
            StoreFault::Server(fault) => Self::Server(fault),
            StoreFault::Newer { found } => Self::Newer { found },
            other => Self::Unreadable(Box::new(other)),
        }
    }
}

/// Who installs where.
struct Site {
    me: String,
    may_do_all: bool,
    may_create_roles: bool,
    roles: i64,
    owner: Option<String>,
    schema_owner: Option<String>,
    version_num: u32,
}

/// Installs the store in the format of this annals, or brings it there: in one transaction, one
/// installation at a time. Where nothing is to be done, nothing is.
///
/// # Errors
///
/// See [`InstallError`].
pub async fn install(spec: &ConnectionSpec) -> Result<Installation, InstallError> {
    install_up_to(spec, STORE_FORMAT).await
}

/// As [`install`], but no further than `format`: while older versions of annals still write to this
/// database.
///
/// # Errors
///
/// See [`InstallError`].
pub async fn install_up_to(
    spec: &ConnectionSpec,
    format: u32,
) -> Result<Installation, InstallError> {
    let limits = Limits::default();
    let settings =
        SessionSettings { lock_timeout_ms: limits.lock_ms, ..SessionSettings::default() };
    let mut session = spec.connect("annals/install", &settings).await?;
    let installed = in_transaction(&mut session, format.clamp(1, STORE_FORMAT), &limits).await;
    // Whatever failed is undone by the server when the session ends.
    session.close().await;
    installed
}

/// Format of the store in a database, if it is installed there.
///
/// # Errors
///
/// When the database cannot be reached or does not let us look.
pub async fn installed_format(spec: &ConnectionSpec) -> Result<Option<u32>, StoreFault> {
    let settings = SessionSettings {
        lock_timeout_ms: Limits::default().lock_ms,
        ..SessionSettings::default()
    };
    let mut session = spec.connect("annals/install", &settings).await?;
    let found = format(&mut session).await;
    session.close().await;
    found
}

async fn in_transaction(
    session: &mut Session,
    wanted: u32,
    limits: &Limits,
) -> Result<Installation, InstallError> {
    // The path holds nothing anybody else can create in.
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; \
         SET LOCAL statement_timeout = {}; SET LOCAL client_min_messages = warning; \
         SET LOCAL synchronous_commit = on; SELECT pg_advisory_xact_lock({INSTALL_LOCK})",
        limits.statement_ms
    );
    session.run(&begin).await?;
    let site = look(session).await?;
    let found = format(session).await?;
    let done = match found {
        Some(found) if found > STORE_FORMAT => return Err(InstallError::Newer { found }),
        Some(found) if found >= wanted => Installed::UpToDate { format: found },
        Some(from) => Installed::Upgraded { from, to: wanted },
        None => Installed::Installed { format: wanted },
    };
    let owner = match &site.owner {
        Some(owner) => owner.clone(),
        None => future_owner(session, &site).await?,
    };
    if !matches!(done, Installed::UpToDate { .. }) {
        let from = found.unwrap_or(0) as usize;
        build(session, &site, &owner, &FORMATS[from..wanted as usize]).await?;
        session.run("COMMIT").await?;
        tracing::info!(format = wanted, owner, "installed the event store");
    }
    let ownership = if owner == OWNER {
        Ownership::Separate { owner }
    } else {
        Ownership::Installer { role: owner }
    };
    Ok(Installation { done, ownership })
}

async fn look(session: &mut Session) -> Result<Site, InstallError> {
    let version_num = session.facts().version_num;
    let row = sqlx::query(LOOK).fetch_one(session.connection()).await?;
    let encoding: String = row.try_get("encoding")?;
    if encoding != "UTF8" {
        return Err(InstallError::Encoding(encoding));
    }
    let (occupied, ours): (bool, bool) = (row.try_get("occupied")?, row.try_get("ours")?);
    if occupied && !ours {
        return Err(InstallError::Foreign);
    }
    let may_do_all = row.try_get("rolsuper")?;
    Ok(Site {
        me: row.try_get("me")?,
        may_do_all,
        may_create_roles: may_do_all || row.try_get("rolcreaterole")?,
        roles: row.try_get("roles")?,
        owner: row.try_get("owner")?,
        schema_owner: row.try_get("schema_owner")?,
        version_num,
    })
}

/// The store's own role where it can be had: it may be there from another database.
async fn future_owner(session: &mut Session, site: &Site) -> Result<String, InstallError> {
    let can_be_had = if site.may_do_all || site.roles < 3 {
        site.may_create_roles
    } else {
        can_act_as(session, site, OWNER).await? || can_be_granted(session, site, OWNER).await?
    };
    Ok(if can_be_had { OWNER.to_owned() } else { site.me.clone() })
}

/// Whether the installing role may make itself a member of `role`.
async fn can_be_granted(
    session: &mut Session,
    site: &Site,
    role: &str,
) -> Result<bool, InstallError> {
    session.run("SAVEPOINT grant_tried").await?;
    let granted = session.run(&format!("GRANT {} TO {}", quoted(role), quoted(&site.me))).await;
    session.run("ROLLBACK TO SAVEPOINT grant_tried").await?;
    match granted {
        Ok(()) => Ok(true),
        Err(fault) if fault.is_verdict() => Ok(false),
        Err(fault) => Err(fault.into()),
    }
}

/// Runs `formats` as the owner, who is made one of the installing role's for just as long.
async fn build(
    session: &mut Session,
    site: &Site,
    owner: &str,
    formats: &[&str],
) -> Result<(), InstallError> {
    if owner == OWNER && site.roles < 3 {
        for role in [OWNER, WRITER, READER] {
            create_role(session, role).await?;
        }
    }
    let me = quoted(&site.me);
    let borrows = owner != site.me && !can_act_as(session, site, owner).await?;
    if borrows {
        let granted = session.run(&format!("GRANT {} TO {me}", quoted(owner))).await;
        granted.map_err(|fault| match fault.code() {
            Some("42501") => {
                InstallError::NotOwner { me: site.me.clone(), owner: owner.to_owned() }
            }
            _ => fault.into(),
        })?;
    }
    close_defaults(session).await?;
    settle_schema(session, site, owner).await?;
    if owner != site.me {
        session.run(&format!("SET LOCAL ROLE {}", quoted(owner))).await?;
    }
    for sql in formats {
        session.run(sql).await?;
    }
    session.run(RIGHTS).await?;
    if owner != site.me {
        session.run("RESET ROLE").await?;
    }
    if borrows {
        session.run(&format!("REVOKE {} FROM {me}", quoted(owner))).await?;
    }
    if owner == OWNER && !site.may_do_all {
        session.run(&format!("GRANT {WRITER} TO {me}")).await?;
    }
    Ok(())
}

async fn create_role(session: &mut Session, role: &str) -> Result<(), InstallError> {
    let there = sqlx::query("SELECT FROM pg_roles WHERE rolname = $1")
        .bind(role)
        .fetch_optional(session.connection())
        .await?;
    if there.is_none() {
        session.run(&format!("CREATE ROLE {role} NOLOGIN")).await?;
    }
    Ok(())
}

/// Whether the installing role may become `owner` as things are.
async fn can_act_as(session: &mut Session, site: &Site, owner: &str) -> Result<bool, InstallError> {
    // Since PostgreSQL 16 being a member and being allowed to become a role are two things.
    let right = if site.version_num >= 160_000 { "SET" } else { "MEMBER" };
    let row = sqlx::query("SELECT pg_has_role(current_user, $1::name, $2) AS may")
        .bind(owner)
        .bind(right)
        .fetch_one(session.connection())
        .await?;
    Ok(row.try_get("may")?)
}

/// The schema is the owner's, or whoever owned it could drop the tables in it. Who had it, or
/// installs now, may go on to keep a ledger there.
async fn settle_schema(
    session: &mut Session,
    site: &Site,
    owner: &str,
) -> Result<(), InstallError> {
    let before = site.schema_owner.as_deref();
    if before.is_none() {
        session.run("CREATE SCHEMA annals; REVOKE ALL ON SCHEMA annals FROM PUBLIC").await?;
    }
    let before = before.unwrap_or(&site.me);
    if before != owner {
        let (before, owner) = (quoted(before), quoted(owner));
        let sql = format!(
            "ALTER SCHEMA annals OWNER TO {owner}; \
             GRANT USAGE, CREATE ON SCHEMA annals TO {before}"
        );
        session.run(&sql).await?;
    }
    Ok(())
}

/// Takes back the default privileges somebody set for the schema, as far as they are ours to set.
async fn close_defaults(session: &mut Session) -> Result<(), InstallError> {
    let defaults = "SELECT DISTINCT pg_get_userbyid(d.defaclrole)::text AS role, \
        CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' \
        WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END AS what, \
        CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END AS grantee \
        FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace \
        CROSS JOIN LATERAL aclexplode(d.defaclacl) a \
        WHERE n.nspname = 'annals' AND pg_has_role(current_user, d.defaclrole, 'USAGE')";
    for row in sqlx::query(defaults).fetch_all(session.connection()).await? {
        let (role, what): (&str, &str) = (row.try_get("role")?, row.try_get("what")?);
        let grantee: &str = row.try_get("grantee")?;
        let grantee = if grantee.is_empty() { "PUBLIC".to_owned() } else { quoted(grantee) };
        let sql = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA annals REVOKE ALL ON {what} \
             FROM {grantee}",
            quoted(role)
        );
        session.run(&sql).await?;
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
