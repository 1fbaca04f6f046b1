//! Rolling back.

use annals_events::{Direction, Version};
use annals_migrations::PlannedStep;
use annals_projections::Change;

use crate::up::unknown;
use crate::{Inputs, Reason, check_partial, render};

/// Everything applied behind `version` in the files' order, the last applied first.
pub(crate) fn steps_to(
    inputs: &Inputs<'_>,
    version: &Version,
    reasons: &mut Vec<Reason>,
    notes: &mut Vec<String>,
) -> Vec<PlannedStep> {
    let everything = version.number() == "0" && inputs.set.get(version).is_none();
    let place = inputs.set.position(version);
    if place.is_none() && !everything {
        reasons.push(unknown(inputs, version));
        return Vec::new();
    }
    if !everything && !inputs.history.is_applied(version) {
        reasons.push(Reason::NotApplied { version: version.clone() });
        return Vec::new();
    }
    let behind = inputs.history.applied().iter().rev().filter(|change| {
        // A migration whose file is gone has no place; it is named as a problem below.
        everything
            || inputs.set.position(&change.version) > place
            || inputs.set.get(&change.version).is_none()
    });
    let changes: Vec<&Change> = behind.collect();
    steps(inputs, &changes, reasons, notes)
}

/// The last `count`, in the reverse of the order they were applied; first what an earlier run has
/// rolled back half-way.
pub(crate) fn steps_last(
    inputs: &Inputs<'_>,
    count: u64,
    reasons: &mut Vec<Reason>,
    notes: &mut Vec<String>,
) -> Vec<PlannedStep> {
    let applied = inputs.history.applied();
    if count > applied.len() as u64 {
        reasons.push(Reason::TooMany { asked: count, applied: applied.len() as u64 });
        return Vec::new();
    }
    let count = usize::try_from(count).unwrap_or(applied.len());
    let mut changes: Vec<&Change> = applied.iter().rev().collect();
    changes.sort_by_key(|change| !inputs.recovery.partial.contains_key(&change.version));
    changes.truncate(count);
    steps(inputs, &changes, reasons, notes)
}

fn steps(
    inputs: &Inputs<'_>,
    changes: &[&Change],
    reasons: &mut Vec<Reason>,
    notes: &mut Vec<String>,
) -> Vec<PlannedStep> {
    check_partial(inputs, Direction::Down, reasons);
    let mut steps = Vec::with_capacity(changes.len());
    for change in changes {
        let id = change.id();
        let Some(migration) = inputs.set.get(&change.version) else {
            reasons.push(Reason::Missing { id });
            continue;
        };
        let Some(file) = &migration.down else {
            reasons.push(Reason::NoRollback { id });
            continue;
        };
        match &change.rollback {
            Some(then) if then.raw != file.raw() && then.canonical != file.canonical() => {
                notes.push(format!("{id}: its rollback was changed since it was applied"));
            }
            None => notes.push(format!("{id}: its rollback was added after it was applied")),
            Some(_) => {}
        }
        let what = (&change.version, change.name.as_str(), Direction::Down);
        steps.extend(render(inputs, what, file, None, reasons));
    }
    steps
}
