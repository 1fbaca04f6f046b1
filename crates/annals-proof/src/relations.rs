//! Which relations there are, and what a statement does to them.

use std::collections::HashMap;

use annals_postgres::{Fault, HeldLock, Session, Trace};

use crate::report::{LockSeen, StatementSeen};

/// What is known of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relation {
    name: String,
    kind: String,
    file: Option<u32>,
}

/// The relations of a database, kept up to date by the locks that are seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Relations(HashMap<u32, Relation>);

const ALL: &str = "SELECT c.oid::pg_catalog.int8, pg_catalog.format('%I.%I', n.nspname, c.relname), \
    c.relkind, pg_catalog.pg_relation_filenode(c.oid)::pg_catalog.int8 FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid >= 16384 AND n.nspname <> 'pg_toast'";

/// Modes by their strength, as the catalog names them and as `LOCK TABLE` spells them.
const MODES: &[(&str, &str)] = &[
    ("AccessShareLock", "ACCESS SHARE"),
    ("RowShareLock", "ROW SHARE"),
    ("RowExclusiveLock", "ROW EXCLUSIVE"),
    ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
    ("ShareLock", "SHARE"),
    ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
    ("ExclusiveLock", "EXCLUSIVE"),
    ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
];

/// From this one on a lock can mean that rows or their table change.
const TOUCHES: usize = 2;

/// How strong a mode is, from 0.
pub fn rank(mode: &str) -> usize {
    let found = MODES.iter().position(|(held, spelled)| mode == *held || mode == *spelled);
    found.unwrap_or_default()
}

impl Relations {
    /// Reads all of them.
    pub(crate) async fn read(session: &mut Session) -> Result<Self, Fault> {
        let mut all = HashMap::new();
        for row in session.texts(ALL).await? {
            let [Some(oid), Some(name), Some(kind), file] = row.as_slice() else { continue };
            let file = file.as_ref().and_then(|file| file.parse().ok());
            let Ok(oid) = oid.parse() else { continue };
            all.insert(oid, Relation { name: name.clone(), kind: kind.clone(), file });
        }
        Ok(Self(all))
    }

    /// Takes over what `locks` say of relations that may have been made, changed or dropped.
    pub(crate) fn follow(&mut self, locks: &[HeldLock]) {
        for lock in locks {
            match (&lock.name, &lock.kind) {
                (Some(name), Some(kind)) => {
                    let (name, kind) = (name.clone(), kind.clone());
                    self.0.insert(lock.relation, Relation { name, kind, file: lock.file });
                }
                _ => drop(self.0.remove(&lock.relation)),
            }
        }
    }

    /// The tables among `locks` whose rows may be concerned, by the names they have here.
    pub(crate) fn touched(&self, locks: &[HeldLock]) -> Vec<String> {
        let strong = locks.iter().filter(|lock| rank(&lock.mode) >= TOUCHES);
        let known = strong.filter_map(|lock| self.0.get(&lock.relation));
        let tables = known.filter(|relation| matches!(relation.kind.as_str(), "r" | "p"));
        let mut names: Vec<String> = tables.map(|relation| relation.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What each statement of a file has done to the relations that were there before it.
    pub(crate) fn seen(&self, lines: &[u32], traces: &[Trace]) -> Vec<StatementSeen> {
        let mut held: &[HeldLock] = &[];
        let mut files: HashMap<u32, u32> = HashMap::new();
        let mut all = Vec::with_capacity(traces.len());
        for (line, trace) in lines.iter().zip(traces) {
            let is_new = |lock: &&HeldLock| {
                !held.iter().any(|old| old.relation == lock.relation && old.mode == lock.mode)
            };
            let mut locks: Vec<LockSeen> = Vec::new();
            let mut rewrites = Vec::new();
            for lock in trace.locks.iter().filter(is_new) {
                let Some(relation) = self.0.get(&lock.relation) else { continue };
                let (_, mode) = MODES[rank(&lock.mode)];
                locks.push(LockSeen { mode, relation: relation.name.clone() });
            }
            for lock in &trace.locks {
                let Some(relation) = self.0.get(&lock.relation) else { continue };
                let (Some(old), Some(now)) = (relation.file, lock.file) else { continue };
                let old = files.insert(lock.relation, now).unwrap_or(old);
                let is_table = matches!(relation.kind.as_str(), "r" | "m");
                if is_table && old != now && !rewrites.contains(&relation.name) {
                    rewrites.push(relation.name.clone());
                }
            }
            locks.sort_by(|a, b| {
                rank(b.mode).cmp(&rank(a.mode)).then_with(|| a.relation.cmp(&b.relation))
            });
            held = &trace.locks;
            all.push(StatementSeen { line: *line, us: trace.us, locks: Some(locks), rewrites });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(relation: u32, mode: &str, file: u32) -> HeldLock {
        let (name, kind) = (Some(format!("public.t{relation}")), Some("r".to_owned()));
        HeldLock { relation, name, kind, file: Some(file), mode: mode.to_owned() }
    }

    #[test]
    fn locks_are_told_where_they_are_taken_and_rewrites_once() {
        let mut relations = Relations::default();
        relations.follow(&[lock(1, "AccessShareLock", 10), lock(2, "AccessShareLock", 20)]);
        let first = vec![lock(1, "ShareLock", 10), lock(3, "AccessExclusiveLock", 30)];
        let mut second = first.clone();
        second.extend([lock(1, "AccessExclusiveLock", 11), lock(2, "AccessShareLock", 20)]);
        second[0].file = Some(11);
        let traces = [Trace { us: 5, locks: first.clone() }, Trace { us: 6, locks: second }];
        let seen = relations.seen(&[1, 2], &traces);
        let spelled = |at: usize| -> Vec<(&str, &str)> {
            let locks = seen[at].locks.as_ref().unwrap().iter();
            locks.map(|lock| (lock.mode, lock.relation.as_str())).collect()
        };
        // What the file itself has made (3) keeps nobody waiting.
        assert_eq!(spelled(0), [("SHARE", "public.t1")]);
        assert_eq!(spelled(1), [("ACCESS EXCLUSIVE", "public.t1"), ("ACCESS SHARE", "public.t2")]);
        assert_eq!(seen[0].rewrites, Vec::<String>::new());
        assert_eq!(seen[1].rewrites, ["public.t1"]);
        assert_eq!(relations.touched(&first), ["public.t1"]);
    }
}
