//! Triggers and policies of a project on tables of schemas its backups leave out, such as a trigger on
//! Supabase's `auth.users` or a policy on `storage.objects`. No dump has them; the picture has.

use std::collections::BTreeSet;

use annals_postgres::Session;
use annals_schema::{Attachment, ObjectKey, Snapshot, attachments};

use crate::catalog::literal;
use crate::error::ArchiveError;

/// Those of a picture whose table is there, and those whose table is not: a copy of a platform does not have
/// every table of it.
pub(crate) async fn attached(
    session: &mut Session,
    picture: &Snapshot,
    excluded: &[String],
) -> Result<(Vec<Attachment>, Vec<Attachment>), ArchiveError> {
    let all = attachments(picture, excluded);
    let tables: BTreeSet<&str> = all.iter().map(|it| it.table.as_str()).collect();
    let mut there = BTreeSet::new();
    for table in tables {
        let sql = format!("SELECT pg_catalog.to_regclass({}) IS NOT NULL", literal(table));
        let found = session.texts(&sql).await?;
        if found.into_iter().flatten().flatten().any(|found| found == "t") {
            there.insert(table.to_owned());
        }
    }
    Ok(all.into_iter().partition(|it| there.contains(&it.table)))
}

/// What of a picture cannot be in a database, for want of the platform's table it is on.
pub(crate) async fn elsewhere(
    session: &mut Session,
    picture: &Snapshot,
    excluded: &[String],
) -> Result<BTreeSet<ObjectKey>, ArchiveError> {
    let (_, elsewhere) = attached(session, picture, excluded).await?;
    for it in &elsewhere {
        tracing::warn!("{} is not made and not compared: {} is not there", it.key, it.table);
    }
    Ok(elsewhere.into_iter().map(|it| it.key).collect())
}
