//! Applying what is pending.

use annals_events::{Direction, Version};
use annals_integrity::{FileState, FileStatus, compare_files, count_half_done};
use annals_migrations::PlannedStep;

use crate::{Inputs, Reason, check_partial, render};

pub(crate) fn steps(
    inputs: &Inputs<'_>,
    to: Option<&Version>,
    out_of_order: &[Version],
    reasons: &mut Vec<Reason>,
    notes: &mut Vec<String>,
) -> Vec<PlannedStep> {
    check_partial(inputs, Direction::Up, reasons);
    let mut statuses = compare_files(inputs.set, inputs.history);
    let half_done = |version: &Version| {
        inputs.recovery.partial.get(version).is_some_and(|step| step.direction == Direction::Up)
    };
    count_half_done(&mut statuses, half_done);
    let newest = statuses.iter().rev().find(|status| {
        status.migration.is_some() && (status.applied.is_some() || half_done(status.version))
    });
    let newest = newest.map_or_else(String::new, |newest| {
        let half = if newest.applied.is_none() { " (half done)" } else { "" };
        format!("{}_{}{half}", newest.version, newest.name)
    });
    let last = last_place(inputs, to, reasons);
    let mut steps = Vec::new();
    for (place, status) in statuses.iter().enumerate() {
        if check_status(status, out_of_order, &newest, reasons, notes) && place <= last {
            let migration = status.migration.expect("a pending migration has a file");
            if status.state == FileState::OutOfOrder {
                let id = migration.id();
                notes.push(format!("{id}: applied after the later {newest}, as allowed"));
            }
            let what = (status.version, status.name, Direction::Up);
            steps.extend(render(inputs, what, &migration.up, migration.down.as_ref(), reasons));
            check_rollback(migration.down.as_ref(), reasons);
        }
    }
    for version in out_of_order {
        if inputs.set.get(version).is_none() {
            reasons.push(unknown(inputs, version));
        }
    }
    steps
}

/// A rollback nobody could run is found now, not when it is needed.
fn check_rollback(rollback: Option<&annals_migrations::SourceFile>, reasons: &mut Vec<Reason>) {
    if let Some(Err(problems)) = rollback.map(|file| file.script()) {
        reasons.extend(problems.iter().cloned().map(Reason::File));
    }
}

/// Whether the migration is to be applied.
fn check_status(
    status: &FileStatus<'_>,
    out_of_order: &[Version],
    newest: &str,
    reasons: &mut Vec<Reason>,
    notes: &mut Vec<String>,
) -> bool {
    let id = format!("{}_{}", status.version, status.name);
    match status.state {
        FileState::Pending => return true,
        FileState::Applied => {}
        FileState::Reformatted => {
            notes.push(format!("{id}: formatted anew since it was applied; its SQL is the same"));
        }
        FileState::Changed => reasons.push(Reason::Changed { id }),
        FileState::Missing => reasons.push(Reason::Missing { id }),
        FileState::OutOfOrder if out_of_order.contains(status.version) => return true,
        FileState::OutOfOrder => {
            let (version, newest) = (status.version.clone(), newest.to_owned());
            reasons.push(Reason::OutOfOrder { version, id, newest });
        }
    }
    false
}

fn last_place(inputs: &Inputs<'_>, to: Option<&Version>, reasons: &mut Vec<Reason>) -> usize {
    let Some(version) = to else { return usize::MAX };
    inputs.set.position(version).unwrap_or_else(|| {
        reasons.push(unknown(inputs, version));
        0
    })
}

pub(crate) fn unknown(inputs: &Inputs<'_>, version: &Version) -> Reason {
    let known: Vec<&str> = inputs.set.iter().map(|m| m.version.as_str()).collect();
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first, .., last] => format!("{}, {first} to {last}", known.len()),
    };
    Reason::UnknownVersion { version: version.clone(), known }
}
