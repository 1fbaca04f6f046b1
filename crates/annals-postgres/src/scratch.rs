//! Databases that a restore has made beside the target, and what shows whose they are: their name,
//! the comment on them, and the lock of the restore that is at work in them.

use crate::batch::literal;
use crate::fault::Fault;
use crate::lock::LockKey;
use crate::session::Session;

/// A database that a restore has made and not named yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchDatabase {
    /// Its name.
    pub name: String,
    /// Why somebody still needs it, if so.
    pub in_use: Option<String>,
}

/// Names annals gives: the prefix, and a UUID without hyphens.
const NAME: &str = "^annals_restore_[0-9a-f]{32}$";

impl LockKey {
    /// The lock of the restore that is at work in a scratch database.
    pub fn of_scratch(name: &str) -> Self {
        Self::of(&format!("scratch database {name}"))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Session {
    /// Says in a comment whose scratch database that is.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn mark_scratch(&mut self, name: &str, mark: &str) -> Result<(), Fault> {
        self.run(&format!("COMMENT ON DATABASE {} IS {}", quoted(name), literal(mark))).await
    }

    /// The scratch databases with this mark, whoever is at work in them, and those of a role of ours
    /// that were never marked: whoever made them ended behind that, or holds their lock.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn scratch_databases(&mut self, mark: &str) -> Result<Vec<ScratchDatabase>, Fault> {
        let query = format!(
            "SELECT d.datname::text FROM pg_catalog.pg_database d, \
             LATERAL pg_catalog.shobj_description(d.oid, 'pg_database') AS mark \
             WHERE d.datname ~ '{NAME}' AND (mark = {} \
             OR mark IS NULL AND pg_catalog.pg_has_role(d.datdba, 'USAGE')) ORDER BY 1",
            literal(mark)
        );
        let names: Vec<String> =
            self.texts(&query).await?.into_iter().flatten().flatten().collect();
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let key = LockKey::of_scratch(&name).number();
            // Whichever database the restore holds its lock in.
            let held = format!(
                "SELECT l.pid::text FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' \
                 AND l.granted AND l.objsubid = 1 \
                 AND l.classid::int8 << 32 | l.objid::int8 = {key} LIMIT 1"
            );
            let holder = self.texts(&held).await?.into_iter().flatten().flatten().next();
            let in_use = match holder {
                Some(pid) => Some(format!("the restore in backend {pid} is at work in it")),
                None => {
                    self.guests(&name).await?.first().map(|it| format!("{it} is connected to it"))
                }
            };
            all.push(ScratchDatabase { name, in_use });
        }
        Ok(all)
    }
}
