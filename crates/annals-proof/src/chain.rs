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

/// One link goes down and is committed: why it cannot, or what is there behind it. Where it is one
/// transaction, `open` is the next one, so that what is written can be followed.
async fn step_down(
    session: &mut Session,
    reader: &mut SchemaReader,
    group: &Group<'_>,
    open: &mut bool,
) -> Result<(Option<FileFailure>, Option<Snapshot>), RehearsalError> {
    let mut relations = Relations::default();
    if !(group.is_transactional() && group.members.len() == 1) {
        if std::mem::take(open) {
            session.roll_back().await?;
        }
        let back = group.down(session, Manner::Committing, Eyes::Closed, &mut relations).await?;
        return Ok(match back.failure {
            Some(failure) => (Some(failure), None),
            None => (None, Some(reader.read(session).await?)),
        });
    }
    if !std::mem::replace(open, true) {
        session.run("BEGIN").await?;
    }
    let back = group.down(session, Manner::Inside, Eyes::Closed, &mut relations).await?;
    if let Some(failure) = back.failure {
        session.roll_back().await?;
        return Ok((Some(failure), None));
    }
    if let Err(fault) = reader.turn(session).await {
        check_alive(&fault)?;
        return Ok((Some(group.refused(&fault)), None));
    }
    Ok((None, Some(reader.read_inside(session).await?)))
}

/// Goes down from the newest link on; one place for each that was reached, newest first.
///
/// `top` is the schema all of them have left.
pub(crate) async fn go_down(
    session: &mut Session,
    reader: &mut SchemaReader,
    links: &[Link<'_, '_>],
    top: &Snapshot,
) -> Result<Vec<ChainPlace>, RehearsalError> {
    let (mut places, mut above) = (Vec::new(), BTreeSet::new());
    // Only where something differs does it matter what exactly there was.
    let mut expected: Option<Snapshot> = None;
    let mut open = false;
    for (at, link) in links.iter().enumerate().rev() {
        let (failure, found) = step_down(session, reader, link.group, &mut open).await?;
        let Some(found) = found else {
            places.push(ChainPlace {
                verdict: ProofVerdict::RollbackFails,
                differences: Vec::new(),
                failure,
            });
            break;
        };
        if found.fingerprint().digest == link.before {
            expected = None;
            above.clear();
            places.push(ChainPlace {
                verdict: ProofVerdict::Exact,
                differences: Vec::new(),
                failure: None,
            });
            continue;
        }
        let was = match expected.take() {
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
        let new = differences.iter().filter(|found| !above.contains(&named(found))).cloned();
        places.push(ChainPlace { verdict, differences: new.collect(), failure: None });
        above = differences.iter().map(named).collect();
        expected = Some(was);
    }
    Ok(places)
}
