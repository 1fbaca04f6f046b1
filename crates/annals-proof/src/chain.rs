//! The whole chain: everything is up, and goes down again from the newest on.

use std::collections::BTreeSet;

use annals_events::{Digest, ProofVerdict};
use annals_postgres::{SchemaReader, Session};
use annals_schema::{Difference, Object, ObjectKey, Snapshot, diff};

use crate::errand::Eyes;
use crate::group::{Group, Manner};
use crate::judge::Likeness;
use crate::place::RehearsalError;
use crate::relations::Relations;
use crate::report::{ChainPlace, ObjectDifference, likeness};

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
    for (at, link) in links.iter().enumerate().rev() {
        let mut relations = Relations::default();
        let back =
            link.group.down(session, Manner::Committing, Eyes::Closed, &mut relations).await?;
        if let Some(failure) = back.failure {
            places.push(ChainPlace {
                verdict: ProofVerdict::RollbackFails,
                differences: Vec::new(),
                failure: Some(failure),
            });
            break;
        }
        let found = reader.read(session).await?;
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
