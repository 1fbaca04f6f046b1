//! The whole chain: everything is up, and goes down again from the newest on.

use std::collections::BTreeSet;

use annals_events::{Digest, ProofVerdict};
use annals_postgres::{SchemaReader, Session};
use annals_schema::{Difference, Object, ObjectKey, Snapshot, diff};

use crate::errand::{Eyes, check_alive};
use crate::group::{Group, Manner};
use crate::judge::Likeness;
use crate::place::RehearsalError;
use crate::relations::Relations;
use crate::report::{ChainPlace, FileFailure, ObjectDifference, likeness};

/// What leads from the schema behind a step back to the one before it.
#[derive(Debug)]
pub(crate) struct Undo {
    /// As they were.
    changed: Vec<Object>,
    /// What was not there.
    removed: BTreeSet<ObjectKey>,
}

impl Undo {
    pub(crate) fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let (mut changed, mut removed) = (Vec::new(), BTreeSet::new());
        for difference in diff(before, after) {
            let key = match difference {
                Difference::Added(key) => {
                    removed.insert(key);
                    continue;
                }
                Difference::Removed(key) | Difference::Changed(key, _) => key,
            };
            let attributes = before.get(&key).cloned().unwrap_or_default();
            changed.push(Object { attributes, kind: key.kind, name: key.name });
        }
        Self { changed, removed }
    }

    fn applied_to(&self, after: &Snapshot) -> Snapshot {
        after.with(self.changed.iter().cloned(), &self.removed)
    }
}

/// A step of the chain, as it was on its way up.
pub(crate) struct Link<'g, 'a> {
    pub(crate) group: &'g Group<'a>,
    pub(crate) before: Digest,
    pub(crate) undo: Undo,
}

/// What is there behind a step down, or why it could not be taken.
pub(crate) enum Below {
    There(Snapshot),
    Fails(Option<FileFailure>),
}

/// The way down, newest link first.
#[derive(Debug, Default)]
pub(crate) struct Descent {
    /// One for each link that was reached, newest first.
    pub(crate) places: Vec<ChainPlace>,
    /// Whether the session is in a transaction that goes on from the last picture.
    pub(crate) open: bool,
    /// What differed behind the link before.
    above: BTreeSet<(&'static str, String)>,
    /// What should be there; only where something differs does it matter what exactly.
    expected: Option<Snapshot>,
}

impl Descent {
    /// One link goes down and is committed. Where it is one transaction, `open` is the next one, so that
    /// what is written can be followed.
    pub(crate) async fn step(
        &mut self,
        session: &mut Session,
        reader: &mut SchemaReader,
        group: &Group<'_>,
    ) -> Result<Below, RehearsalError> {
        let mut relations = Relations::default();
        if !(group.is_transactional() && group.members.len() == 1) {
            if std::mem::take(&mut self.open) {
                session.roll_back().await?;
            }
            let back =
                group.down(session, Manner::Committing, Eyes::Closed, &mut relations).await?;
            return Ok(match back.failure {
                Some(failure) => Below::Fails(Some(failure)),
                None => Below::There(reader.read(session).await?),
            });
        }
        if !std::mem::replace(&mut self.open, true) {
            session.run("BEGIN").await?;
        }
        let back = group.down(session, Manner::Inside, Eyes::Closed, &mut relations).await?;
        if let Some(failure) = back.failure {
            session.roll_back().await?;
            self.open = false;
            return Ok(Below::Fails(Some(failure)));
        }
        if let Err(fault) = reader.turn(session).await {
            check_alive(&fault)?;
            self.open = false;
            return Ok(Below::Fails(Some(group.refused(&fault))));
        }
        Ok(Below::There(reader.read_inside(session).await?))
    }

    /// Says of the link `at` what is below it, all later ones having been judged. `top` is the schema
    /// the links have left. Whether the way goes on.
    pub(crate) fn judge(
        &mut self,
        links: &[Link<'_, '_>],
        at: usize,
        top: &Snapshot,
        below: Below,
    ) -> bool {
        let place = |verdict, differences, failure| ChainPlace { verdict, differences, failure };
        let (link, found) = match below {
            Below::There(found) => (&links[at], found),
            Below::Fails(failure) => {
                self.places.push(place(ProofVerdict::RollbackFails, Vec::new(), failure));
                return false;
            }
        };
        if found.fingerprint().digest == link.before {
            self.expected = None;
            self.above.clear();
            self.places.push(place(ProofVerdict::Exact, Vec::new(), None));
            return true;
        }
        let was = match self.expected.take() {
            Some(behind) => link.undo.applied_to(&behind),
            None => {
                let later = links[at + 1..].iter().rev();
                let behind =
                    later.fold(top.clone(), |picture, link| link.undo.applied_to(&picture));
                link.undo.applied_to(&behind)
            }
        };
        let differences = ObjectDifference::between(&was, &found);
        let verdict = match likeness(&differences) {
            Likeness::Differs => ProofVerdict::Differs,
            Likeness::ColumnOrder | Likeness::Equal => ProofVerdict::ColumnOrder,
        };
        let named = |found: &ObjectDifference| (found.kind, found.name.clone());
        let new = differences.iter().filter(|found| !self.above.contains(&named(found)));
        let new = new.cloned().collect();
        self.places.push(place(verdict, new, None));
        self.above = differences.iter().map(named).collect();
        self.expected = Some(was);
        true
    }
}
