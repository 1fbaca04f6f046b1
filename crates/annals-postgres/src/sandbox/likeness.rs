//! What a database is set to, so that another one can be made like it.

use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// Who compares and orders text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocaleProvider {
    /// The C library.
    Libc,
    /// ICU.
    Icu,
    /// PostgreSQL itself, since 17.
    Builtin,
}

/// A setting one role has in a database.
#[derive(Clone, PartialEq, Eq)]
pub struct RoleSetting {
    /// The role.
    pub role: String,
    /// The setting's name.
    pub name: String,
    /// Its value, as the server stores it.
    pub value: String,
}

/// Everything about a database but its content that changes what a migration does in it. It cannot
/// be printed: some keep secrets in settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Likeness {
    /// The server's major version.
    pub server_major: u32,
    /// Encoding, such as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Who compares text.
    pub provider: LocaleProvider,
    /// The locale of a provider that is not the C library.
    pub locale: Option<String>,
    /// ICU's further rules, since 16.
    pub icu_rules: Option<String>,
    /// Those of the server's settings that change what SQL means, where its configuration sets them.
    pub server_settings: Vec<(String, String)>,
    /// `ALTER DATABASE … SET`.
    pub settings: Vec<(String, String)>,
    /// `ALTER ROLE … IN DATABASE … SET`.
    pub role_settings: Vec<RoleSetting>,
}

/// Where a database could not be made like another. It repeats no setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlike {
    /// What differs, such as `locale` or `setting work_mem`.
    pub what: String,
    /// Why, in the server's words.
    pub reason: String,
}

/// What a server's configuration may change about the meaning of SQL. Resources, logging and
/// connections are not among it.
const MEANINGFUL: &[&str] = &[
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "default_table_access_method",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_isolation",
    "escape_string_warning",
    "extra_float_digits",
    "jit",
    "lo_compat_privileges",
    "max_identifier_length",
    "quote_all_identifiers",
    "row_security",
    "search_path",
    "session_replication_role",
    "standard_conforming_strings",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
];

const DATABASE: &str = "SELECT pg_catalog.pg_encoding_to_char(d.encoding)::text AS encoding, \
    d.datcollate::text AS collate, d.datctype::text AS ctype, \
    coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') AS provider, \
    coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', \
        pg_catalog.to_jsonb(d) ->> 'daticulocale') AS locale, \
    pg_catalog.to_jsonb(d) ->> 'daticurules' AS rules \
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

const SETTINGS: &str = "SELECT r.rolname::text AS role, \
    pg_catalog.split_part(e.entry, '=', 1) AS name, \
    pg_catalog.substr(e.entry, pg_catalog.strpos(e.entry, '=') + 1) AS value \
    FROM pg_catalog.pg_db_role_setting s \
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS e(entry, at) \
    WHERE d.datname = $1 AND (s.setrole = 0 OR r.oid IS NOT NULL) \
    ORDER BY r.rolname NULLS FIRST, e.at";

const SERVER_SETTINGS: &str = "SELECT name, setting AS value FROM pg_catalog.pg_settings \
    WHERE source IN ('configuration file', 'command line', 'environment variable') \
    AND name = ANY($1) ORDER BY name";

/// Reads what the session's database is set to. Any role may.
///
/// # Errors
///
/// When the server does not answer as expected.
pub async fn read_likeness(session: &mut Session) -> Result<Likeness, Fault> {
    let server_major = session.facts().major();
    let row = sqlx::query(DATABASE).fetch_one(session.connection()).await?;
    let provider = match row.try_get("provider")? {
        "c" => LocaleProvider::Libc,
        "i" => LocaleProvider::Icu,
        "b" => LocaleProvider::Builtin,
        other => return Err(Fault::Protocol(format!("locale provider {other:?}"))),
    };
    let mut likeness = Likeness {
        server_major,
        encoding: row.try_get("encoding")?,
        collate: row.try_get("collate")?,
        ctype: row.try_get("ctype")?,
        provider,
        locale: row.try_get("locale")?,
        icu_rules: row.try_get("rules")?,
        server_settings: Vec::new(),
        settings: Vec::new(),
        role_settings: Vec::new(),
    };
    let database = session.facts().identity.database.clone();
    (likeness.settings, likeness.role_settings) = read_settings(session, &database).await?;
    let names: Vec<String> = MEANINGFUL.iter().map(|name| (*name).to_owned()).collect();
    for row in sqlx::query(SERVER_SETTINGS).bind(names).fetch_all(session.connection()).await? {
        likeness.server_settings.push((row.try_get("name")?, row.try_get("value")?));
    }
    Ok(likeness)
}

/// The settings of a database, and those roles have in it.
pub(super) async fn read_settings(
    session: &mut Session,
    database: &str,
) -> Result<(Vec<(String, String)>, Vec<RoleSetting>), Fault> {
    let (mut settings, mut of_roles) = (Vec::new(), Vec::new());
    for row in sqlx::query(SETTINGS).bind(database).fetch_all(session.connection()).await? {
        let (name, value) = (row.try_get("name")?, row.try_get("value")?);
        match row.try_get("role")? {
            Some(role) => of_roles.push(RoleSetting { role, name, value }),
            None => settings.push((name, value)),
        }
    }
    Ok((settings, of_roles))
}
