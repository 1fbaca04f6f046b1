//! Scratch databases: each is marked as that of one log, and held by the restore that works in it. What
//! a killed restore left is dropped by the next one, and by `status`.

use annals_archive::ArchiveError;
use annals_postgres::{ConnectionSpec, LockKey, Session};

use crate::error::Failure;
use crate::restore::drop_database;
use crate::swap;
use crate::targets::Target;
use crate::workspace::Workspace;

fn words(target: &Target) -> String {
    format!(
        "scratch database of annals, log {}: a restore is at work in it, or was killed",
        target.origin
    )
}

/// Holds the lock of a scratch database for as long as the session lasts.
pub(crate) async fn hold(server: &mut Session, name: &str) -> Result<(), Failure> {
    server.try_lock(LockKey::of_scratch(name)).await.map_err(ArchiveError::from)?;
    Ok(())
}

/// Says whose scratch database that is.
pub(crate) async fn mark(server: &mut Session, target: &Target, name: &str) -> Result<(), Failure> {
    Ok(server.mark_scratch(name, &words(target)).await.map_err(ArchiveError::from)?)
}

/// Drops the scratch databases of this log that nobody is at work in, and says so. What cannot be looked
/// at or dropped is left, and said.
pub(crate) async fn sweep(server: &mut Session, target: &Target) {
    let found = match server.scratch_databases(&words(target)).await {
        Ok(found) => found,
        Err(fault) => {
            tracing::debug!(%fault, "scratch databases are not looked for");
            return;
        }
    };
    for database in found {
        match database.in_use {
            Some(why) => tracing::info!("the scratch database {} stays: {why}", database.name),
            None => {
                tracing::warn!(
                    "a restore that was killed has left the scratch database {}: it is dropped",
                    database.name
                );
                drop_database(server, &database.name).await;
            }
        }
    }
}

/// The same from a session that only reads: another one is opened where there is something to drop.
pub(crate) async fn sweep_behind(
    session: &mut Session,
    workspace: &Workspace,
    target: &Target,
    spec: &ConnectionSpec,
) {
    let found = session.scratch_databases(&words(target)).await.unwrap_or_default();
    if found.iter().all(|database| database.in_use.is_some()) {
        return;
    }
    match swap::beside(spec, &target.settings(workspace)).await {
        Ok(mut server) => {
            sweep(&mut server, target).await;
            server.close().await;
        }
        Err(failure) => tracing::warn!(
            "a restore that was killed has left a scratch database, and it cannot be dropped: {failure}"
        ),
    }
}
