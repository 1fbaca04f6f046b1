//! Takes the picture of a schema in one snapshot, with one set-based query.

use std::collections::BTreeMap;
use std::future::ready;

use annals_schema::{Object, ObjectKind, Snapshot};
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::fault::Fault;
use crate::ledger::LEDGER_SCHEMA;
use crate::platform::Platform;
use crate::session::Session;

const QUERY: &str = include_str!("catalog.sql");

/// Reads the whole schema of the session's database, as an ordinary role may see it.
///
/// Left out: what belongs to the server, to an extension, to the platform, and annals' own schema.
///
/// # Errors
///
/// When the server does not answer as expected.
pub async fn read_schema(session: &mut Session, platform: Platform) -> Result<Snapshot, Fault> {
    let mut excluded: Vec<String> =
        platform.managed_schemas().iter().map(|name| (*name).to_owned()).collect();
    excluded.push(LEDGER_SCHEMA.to_owned());
    session.reset().await?;
    // With an empty search path every name the server prints is qualified.
    session
        .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''")
        .await?;
    // Each row becomes its object as it arrives: all of them at once would be several times as large.
    let rows = sqlx::query(QUERY).bind(&excluded).fetch(session.connection());
    let objects: Result<Vec<Object>, Fault> =
        rows.map_err(Fault::from).and_then(|row| ready(read_object(&row))).try_collect().await;
    let ended = session.roll_back().await;
    let objects = objects?;
    ended?;
    Ok(Snapshot::new(objects))
}

fn read_object(row: &PgRow) -> Result<Object, Fault> {
    let (kind, attributes): (&str, &str) = (row.try_get("kind")?, row.try_get("attributes")?);
    let attributes: BTreeMap<String, String> = serde_json::from_str(attributes)
        .map_err(|error| Fault::Protocol(format!("catalog attributes: {error}")))?;
    let kind = ObjectKind::parse(kind)
        .ok_or_else(|| Fault::Protocol(format!("catalog object kind {kind:?}")))?;
    Ok(Object { attributes, kind, name: row.try_get("name")? })
}
