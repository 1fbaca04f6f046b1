//! Finds out, before anything is written, whether a connection is a session of the server.
//!
//! A pooler that hands out single transactions gives the backend of one client to the next: the lock
//! and the settings of a run would end up with a stranger. Such a pooler shows itself when a second
//! connection opens a transaction: it is given the backend that the first one has left, or the first
//! one is given another.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row, raw_sql};
use tokio::time::timeout;

use crate::connect::{ConnectError, ConnectionSpec};
use crate::fault::Fault;
use crate::session::Session;

/// How long the second connection may queue for a backend.
const QUEUE: Duration = Duration::from_secs(2);

const TRANSACTIONS: &str = "single transactions";
const STATEMENTS: &str = "single statements";

/// Probes the server behind `session`, on which nothing has been set yet.
///
/// # Errors
///
/// [`ConnectError::Pooled`]; or that there is no second connection, without which it cannot be
/// known.
pub(crate) async fn probe(
    session: &mut Session,
    spec: &ConnectionSpec,
    application: &str,
) -> Result<(), ConnectError> {
    if is_servers_own_socket(spec) {
        return Ok(());
    }
    let address = spec.address();
    let mine = session.facts().backend_pid;
    let mut other = spec.open(application).await?;
    let theirs = match timeout(QUEUE, begin(&mut other)).await {
        Ok(Ok(theirs)) => Some(theirs),
        Ok(Err(fault)) if says_statement_mode(&fault) => {
            return Err(pooled(spec, STATEMENTS, "it refuses BEGIN".to_owned()));
        }
        Ok(Err(fault)) => {
            return Err(ConnectError::Unusable { address, reason: fault.to_string() });
        }
        // It waits while the first connection rests: then that one keeps its backend.
        Err(_) => None,
    };
    if theirs == Some(mine) {
        let evidence = format!("two connections were served by the same backend, {mine}");
        return Err(pooled(spec, TRANSACTIONS, evidence));
    }
    let now = session.backend_pid().await;
    let now = now.map_err(|fault| ConnectError::Unusable { address, reason: fault.to_string() })?;
    check_same(spec, mine, now)?;
    if theirs.is_some() {
        // Its backend is free again before the first connection is asked once more.
        let _ = timeout(QUEUE, raw_sql("ROLLBACK").execute(&mut other)).await;
        let _ = timeout(QUEUE, other.close()).await;
    }
    Ok(())
}

/// A session stays with its backend.
pub(crate) fn check_same(spec: &ConnectionSpec, before: i32, now: i32) -> Result<(), ConnectError> {
    if before == now {
        return Ok(());
    }
    let evidence = format!("one connection was served by backend {before}, then by {now}");
    Err(pooled(spec, TRANSACTIONS, evidence))
}

/// What a fault on an address says of a pooler there, if it does.
pub(crate) fn refused_by_pooler(spec: &ConnectionSpec, fault: &Fault) -> Option<ConnectError> {
    says_statement_mode(fault).then(|| pooled(spec, STATEMENTS, "it refuses BEGIN".to_owned()))
}

/// PgBouncer's words.
fn says_statement_mode(fault: &Fault) -> bool {
    fault.to_string().contains("not allowed in statement pooling mode")
}

/// Opens a transaction that stays open; the backend it is given.
async fn begin(connection: &mut PgConnection) -> Result<i32, Fault> {
    let row = raw_sql("BEGIN; SELECT pg_catalog.pg_backend_pid() AS pid").fetch_one(connection);
    Ok(row.await?.try_get("pid")?)
}

/// A socket beside which a living PostgreSQL keeps its lock file: it is the one that listens.
fn is_servers_own_socket(spec: &ConnectionSpec) -> bool {
    let Some(socket) = spec.endpoint().socket() else { return false };
    let mut lock = socket.into_os_string();
    lock.push(".lock");
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    let pid = text.lines().next().unwrap_or_default().trim().to_owned();
    let name = std::fs::read_to_string(Path::new("/proc").join(&pid).join("comm"));
    !pid.is_empty() && matches!(name.unwrap_or_default().trim(), "postgres" | "postmaster")
}

fn pooled(spec: &ConnectionSpec, unit: &'static str, evidence: String) -> ConnectError {
    ConnectError::Pooled { address: spec.address(), unit, evidence, instead: instead(spec) }
}

/// Says of an address of Supabase that is known to lead to a pooler of transactions what a command
/// that writes will ask for. It is not probed for those that only read.
pub(crate) fn note(spec: &ConnectionSpec) {
    let (host, port) = (spec.endpoint().options.get_host(), spec.endpoint().options.get_port());
    if port == 6543 && (host.ends_with(".supabase.com") || host.ends_with(".supabase.co")) {
        tracing::warn!(
            "{} hands out single transactions: commands that write need {}",
            spec.address(),
            instead(spec)
        );
    }
}

/// The address that gives a session.
fn instead(spec: &ConnectionSpec) -> String {
    let (host, port) = (spec.endpoint().options.get_host(), spec.endpoint().options.get_port());
    if host.ends_with(".pooler.supabase.com") {
        let project = spec.user().split_once('.').map_or("<project>", |(_, project)| project);
        return format!(
            "the pooler's session mode, {host}:5432 with the same user, or the server itself, \
             db.{project}.supabase.co:5432 with the user postgres"
        );
    }
    if port == 6543 {
        return format!("the server itself: {host}:5432");
    }
    "the address of the server itself, or of a pool in session mode (PgBouncer: pool_mode = session)"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_address_is_named() {
        for (url, named) in [
            (
                "postgres://postgres.abc@aws-0-eu.pooler.supabase.com:6543/postgres",
                ["aws-0-eu.pooler.supabase.com:5432", "db.abc.supabase.co:5432"],
            ),
            (
                "postgres://postgres@db.abc.supabase.co:6543/postgres",
                ["db.abc.supabase.co:5432"; 2],
            ),
            ("postgres://ann@pool.example:6432/shop", ["pool_mode = session"; 2]),
        ] {
            let spec = ConnectionSpec::read(url, &|_| None).unwrap_or_else(|e| panic!("{e}"));
            let told = instead(&spec);
            assert!(named.iter().all(|name| told.contains(name)), "{told}");
        }
    }
}
