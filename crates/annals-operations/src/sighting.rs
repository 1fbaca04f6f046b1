//! What migrations a workspace holds, recorded when it is others than before.

use annals_event_store::EventStore;
use annals_events::{BlobRef, Event, MigrationsSeen};
use annals_migrations::{Migration, MigrationSet};
use annals_projections::{SeenMigration, SeenSet};

use crate::error::{Failure, LogFailure};
use crate::open::Opened;

impl Opened<'_> {
    /// The event that says which migrations there are, unless the log says so already.
    ///
    /// What is pending at a moment can then be replayed from the log alone.
    pub(crate) async fn sighting(&mut self, set: &MigrationSet) -> Result<Option<Event>, Failure> {
        let before = match self.book().migrations_seen {
            Some(blob) => self.seen(&blob).await,
            None => None,
        };
        let known = before.as_ref().map(SeenSet::migrations).unwrap_or_default();
        let seen: Vec<SeenMigration> =
            set.iter().enumerate().map(|(n, now)| see(now, known.get(n), known)).collect();
        if before.is_some() && seen == known {
            return Ok(None);
        }
        let blob = SeenSet::new(seen).to_blob();
        let set_blob = self.recorder.log.put_blob(&blob).await.map_err(LogFailure::from)?;
        Ok(Some(MigrationsSeen { files: set.len() as u64, set: set_blob }.into()))
    }

    /// The list as last recorded, where it can be read: else it is recorded anew.
    async fn seen(&mut self, blob: &BlobRef) -> Option<SeenSet> {
        let content = self.recorder.log.get_blob(blob).await.ok()?;
        SeenSet::from_blob(&content).ok()
    }
}

/// A migration as it is now. Reading a file's statements takes time: where its bytes are those of
/// the last list, what stands there is taken.
fn see(now: &Migration, here: Option<&SeenMigration>, known: &[SeenMigration]) -> SeenMigration {
    let is_same = |seen: &&SeenMigration| {
        let rollback = match (&seen.rollback, &now.down) {
            (Some(seen), Some(now)) => seen.raw == now.raw() && seen.name == now.name(),
            (None, None) => true,
            _ => false,
        };
        rollback
            && seen.raw == now.up.raw()
            && seen.name == now.up.name()
            && seen.version == now.version
    };
    let found = here.filter(is_same).or_else(|| known.iter().find(is_same));
    found.cloned().unwrap_or_else(|| {
        let rollback = now.down.as_ref().map(|file| file.reference());
        SeenMigration::new(now.version.clone(), now.up.reference(), rollback)
    })
}
