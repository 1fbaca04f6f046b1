//! Takes the picture of a schema in one snapshot, with a handful of set-based queries.

mod changes;
mod prepared;
mod queries;
mod reader;
mod rows;
mod written;

pub use reader::SchemaReader;

use std::collections::BTreeMap;

use annals_schema::{Object, ObjectKind, Snapshot};
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, Row, raw_sql};

use crate::fault::Fault;
use crate::ledger::LEDGER_SCHEMA;
use crate::platform::Platform;
use crate::session::Session;
use queries::{Catalog, Group, Only};
use rows::{Read, read_row};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Inside of a transaction that goes on afterwards, nothing of a reading is left.
const BEGIN_INSIDE: &str = "SAVEPOINT annals_schema";
const END_INSIDE: &str = "ROLLBACK TO SAVEPOINT annals_schema; RELEASE SAVEPOINT annals_schema";

/// What is set while the catalog is read: every name is printed with its schema, and constants look
/// the same whatever a role, a database or a file has set.
const SETTINGS: &[(&str, &str)] = &[
    ("search_path", ""),
    ("row_security", "on"),
    ("quote_all_identifiers", "off"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("xmlbinary", "base64"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("work_mem", "16MB"),
    ("standard_conforming_strings", "on"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// All of them in one statement.
fn settings() -> String {
    // To set one costs more than to look at it: locales are looked up.
    let calls = SETTINGS.iter().map(|(name, value)| {
        format!(
            "CASE WHEN pg_catalog.current_setting('{name}') OPERATOR(pg_catalog.<>) '{value}' \
             THEN pg_catalog.set_config('{name}', '{value}', true) END"
        )
    });
    format!("SELECT {}", calls.collect::<Vec<_>>().join(", "))
}

/// Kinds an ordinary role may be kept from reading, with what tells whether it is.
const GUARDED: &[(ObjectKind, &str, &str)] = &[
    (
        ObjectKind::Subscription,
        "subscriptions",
        "pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'subname', 'SELECT') \
         AND pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'subpublications', 'SELECT')",
    ),
    (
        ObjectKind::UserMapping,
        "user_mappings",
        "pg_catalog.has_table_privilege('pg_catalog.pg_user_mappings', 'SELECT')",
    ),
    (
        ObjectKind::Setting,
        "settings",
        "pg_catalog.has_table_privilege('pg_catalog.pg_db_role_setting', 'SELECT')",
    ),
];

/// How often a catalog that changes while it is read is read anew.
const ATTEMPTS: usize = 5;

/// Which schemas are a project's own.
///
/// What the server brings, `pg_*` and `information_schema`, and annals' own schema never are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaScope {
    /// What runs around the database; it manages schemas of its own.
    pub platform: Platform,
    /// Schemas that are managed by something else besides.
    pub managed: Vec<String>,
    /// Schemas that are the project's own although the platform manages them.
    pub include: Vec<String>,
}

impl SchemaScope {
    /// What a platform leaves to the project.
    pub const fn of(platform: Platform) -> Self {
        Self { platform, managed: Vec::new(), include: Vec::new() }
    }

    /// The schemas that are left out.
    pub fn excluded(&self) -> Vec<String> {
        let mut excluded = self.attachable();
        let managed = self.managed.iter().filter(|name| !self.include.contains(name));
        excluded.extend(managed.cloned());
        excluded.push(LEDGER_SCHEMA.to_owned());
        excluded.sort();
        excluded.dedup();
        excluded
    }

    /// The platform's schemas: policies on their tables, and triggers that call a function of the
    /// project, are the project's own.
    fn attachable(&self) -> Vec<String> {
        let platform = self.platform.managed_schemas().iter().map(|name| (*name).to_owned());
        platform.filter(|name| !self.include.contains(name)).collect()
    }
}

/// Reads the whole schema of the session's database, as an ordinary role may see it.
///
/// Left out: what belongs to the server, to an extension, to the platform, and annals' own schema.
///
/// # Errors
///
/// When the server does not answer as expected.
pub async fn read_schema(session: &mut Session, scope: &SchemaScope) -> Result<Snapshot, Fault> {
    let catalog = Catalog::new(session.facts().major(), scope);
    let mut attempt = 1;
    loop {
        let read = read_whole(session, &catalog).await;
        match read {
            Err(fault) if attempt < ATTEMPTS && is_a_race(&fault) => attempt += 1,
            read => {
                let objects = read?.into_iter().map(|read| read.object);
                return Ok(Snapshot::new(session.facts().major(), objects));
            }
        }
    }
}

/// What prints a definition looks at the catalog of now, not of the snapshot: it stumbles over what
/// was dropped in between.
fn is_a_race(fault: &Fault) -> bool {
    // Internal error (cache lookup failed), undefined table, object, function, column.
    matches!(fault.code(), Some("XX000" | "42P01" | "42704" | "42883" | "42703" | "3F000"))
}

async fn read_whole(session: &mut Session, catalog: &Catalog) -> Result<Vec<Read>, Fault> {
    session.reset().await?;
    let Opening { unreadable, .. } = begin(session, BEGIN, "").await?;
    let read = read_groups(session, catalog, &unreadable).await;
    let ended = session.roll_back().await;
    let read = read?;
    ended?;
    Ok(read)
}

/// As [`read_schema`], in the transaction that is open and stays so: what it has done is seen.
///
/// # Errors
///
/// As [`read_schema`].
pub async fn read_schema_inside(
    session: &mut Session,
    scope: &SchemaScope,
) -> Result<Snapshot, Fault> {
    let catalog = Catalog::new(session.facts().major(), scope);
    let Opening { unreadable, .. } = begin(session, BEGIN_INSIDE, "").await?;
    let read = read_groups(session, &catalog, &unreadable).await;
    let ended = session.run(END_INSIDE).await;
    let read = read?;
    ended?;
    Ok(Snapshot::new(session.facts().major(), read.into_iter().map(|read| read.object)))
}

/// What a session says when it begins to read.
struct Opening {
    /// The kinds this role may not read.
    unreadable: Vec<ObjectKind>,
    /// What is prepared.
    mark: Option<String>,
    /// With the columns that were asked for besides.
    row: PgRow,
}

/// Begins to read; asks for `columns` besides.
fn begin_sql(how: &str, columns: &str) -> String {
    let asked: Vec<&str> = GUARDED.iter().map(|(_, _, asked)| *asked).collect();
    let (mark, comma) = (prepared::MARK, if columns.is_empty() { "" } else { ", " });
    let (settings, asked) = (settings(), asked.join(", "));
    format!("{how}; {settings}; SELECT {asked}, {mark} AS mark{comma}{columns}")
}

async fn begin(session: &mut Session, how: &str, columns: &str) -> Result<Opening, Fault> {
    let rows = session.rows(&begin_sql(how, columns)).await?;
    Opening::read(rows.into_iter().last())
}

impl Opening {
    fn read(row: Option<PgRow>) -> Result<Self, Fault> {
        let row = row.ok_or_else(|| Fault::Protocol("no answer".to_owned()))?;
        let mut unreadable = Vec::new();
        for (at, (kind, ..)) in GUARDED.iter().enumerate() {
            if !row.try_get::<bool, _>(at)? {
                unreadable.push(*kind);
            }
        }
        Ok(Self { unreadable, mark: row.try_get("mark")?, row })
    }
}

async fn read_groups(
    session: &mut Session,
    catalog: &Catalog,
    unreadable: &[ObjectKind],
) -> Result<Vec<Read>, Fault> {
    let mut sql = catalog.queries(Group::Relations, Only::All, &[]);
    sql.push_str(&catalog.queries(Group::Routines, Only::All, &[]));
    sql.push_str(&catalog.queries(Group::Surroundings, Only::All, &skipped(unreadable)));
    let mut read = fetch(session, &sql).await?;
    read.extend(unreadable.iter().map(|kind| note(*kind)));
    Ok(read)
}

/// The queries of kinds that cannot be read.
fn skipped(unreadable: &[ObjectKind]) -> Vec<&'static str> {
    let guarded = GUARDED.iter().filter(|(kind, ..)| unreadable.contains(kind));
    guarded.map(|(_, query, _)| *query).collect()
}

fn note(kind: ObjectKind) -> Read {
    let reason = "the role may not read it".to_owned();
    let object = Object {
        attributes: BTreeMap::from([("reason".to_owned(), reason)]),
        kind: ObjectKind::Unreadable,
        name: kind.as_str().to_owned(),
    };
    Read { group: Group::Surroundings, unit: 0, object }
}

/// Sends queries in one message. Each row becomes its objects as it arrives: all of them at once
/// would be several times as large.
async fn fetch(session: &mut Session, sql: &str) -> Result<Vec<Read>, Fault> {
    let mut answers = raw_sql(AssertSqlSafe(sql)).fetch_many(session.connection());
    let mut read = Vec::new();
    while let Some(answer) = answers.try_next().await? {
        // What is sent behind the queries resets the session.
        let is_of_reset = |row: &PgRow| row.try_get_raw("set_config").is_ok();
        if let Either::Right(row) = answer
            && !is_of_reset(&row)
        {
            read_row(&row, &mut read)?;
        }
    }
    Ok(read)
}
