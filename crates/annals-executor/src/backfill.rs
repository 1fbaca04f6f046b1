//! A backfill: one statement for batch after batch of a key, each in a transaction of its own.
//!
//! The progress row changes in the transaction of its batch, so a crash loses the batch that was
//! under way and nothing else, and the next run goes on behind the last one that was committed. The
//! largest key is taken once, at the beginning: the end does not run away from a busy table.

use std::time::{Duration, Instant};

use annals_events::Effect;
use annals_migrations::{PlannedStep, StatementClass, with_bounds};
use annals_postgres::{
    BackfillKey, BackfillProgress, Fault, KeyLook, NewLedgerRow, StatementRow, StepCommit, Witness,
};

use crate::context::{Advance, Intent, Progress};
use crate::failpoint;
use crate::run::{Stage, StepEnd, ledger_row, limits, may_have};
use crate::statements::{begun_as, refused};
use crate::transaction::{Lost, Stopped, again};
use crate::watch::{Ended, Eyes, Manner, watched};

/// The longest pause between two attempts, or between two batches that had to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The first pause where the file asks for none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// How fast it goes: as the file says, slower for a while after somebody was in the way.
struct Pace {
    batch: u64,
    pause: Duration,
    asked: (u64, Duration),
}

impl Pace {
    fn of(batch: u64, pause_ms: u64) -> Self {
        let pause = Duration::from_millis(pause_ms);
        Self { batch, pause, asked: (batch, pause) }
    }

    /// Half as many rows, after twice the pause.
    fn slower(&mut self) {
        self.batch = (self.batch / 2).max(1);
        self.pause = (self.pause.max(SHORTEST_PAUSE) * 2).min(LONGEST_PAUSE.max(self.asked.1));
    }

    /// Back towards what was asked for.
    fn faster(&mut self) {
        let (batch, pause) = self.asked;
        self.batch = (self.batch * 2).min(batch);
        self.pause = (self.pause / 2).max(pause);
        if self.pause <= SHORTEST_PAUSE.max(pause) {
            self.pause = pause;
        }
    }
}

/// Checks that the progress the target shows is that of this file's statements and of this log.
pub(crate) async fn check_progress<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
) -> Result<(), StepEnd> {
    let (workspace, ordinal) = (stage.context.workspace, step.ordinal);
    let rows = stage.session.backfills_of(workspace, &step.version, ordinal).await;
    for row in rows.map_err(|error| refused(error.to_string(), Effect::None))? {
        if begun_as(stage, step, row.statement).is_none() {
            let reason = "the target shows a backfill as begun, but the log has no intent of it: a \
                          row of annals.backfills was added by hand";
            return Err(refused(reason.to_owned(), Effect::Partial));
        }
        let place = usize::try_from(row.statement).unwrap_or_default().wrapping_sub(1);
        let class = step.statements.get(place).map(|statement| &statement.class);
        let same = match class {
            Some(StatementClass::Backfill { table, column, .. }) => {
                let look = stage.session.backfill_key(table, column).await;
                let look = look.map_err(|fault| refused(fault.to_string(), Effect::Partial))?;
                matches!(look, KeyLook::Good(key)
                    if key.name() == row.key_column && key.type_name == row.key_type)
            }
            _ => false,
        };
        if !same {
            let (key, kind, batches) = (&row.key_column, &row.key_type, row.batches);
            let reason = format!(
                "{batches} batches by {key} ({kind}) are done, and the file does not go by that key \
                 any more; put its directives back as they were"
            );
            return Err(refused(reason, Effect::Partial));
        }
    }
    Ok(())
}

/// Runs the backfill that is statement `n` to its end. Its row among the statements follows.
pub(crate) async fn run<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    (at, intent): (usize, Intent),
    n: usize,
    row: &StatementRow,
) -> Result<(), Stopped> {
    let StatementClass::Backfill { table, column, batch, pause_ms } = &step.statements[n].class
    else {
        return Ok(());
    };
    let key = match stage.session.backfill_key(table, column).await.map_err(Stopped::Fault)? {
        KeyLook::Good(key) => key,
        KeyLook::NoTable | KeyLook::Bad(_) => {
            let gone = format!("the key {table}.{column} is gone");
            return Err(Stopped::Fault(Fault::Protocol(gone)));
        }
    };
    let ledger = ledger_row(stage.context, step, at, intent);
    if !begin(stage, step, &ledger, row, &key).await? {
        return Ok(());
    }
    let mut pace = Pace::of(*batch, *pause_ms);
    let mut tried = 0;
    loop {
        if stage.interrupt.requested() {
            return Err(Stopped::OnRequest);
        }
        let began = Instant::now();
        tried += 1;
        match one_batch(stage, step, &ledger, (n, row), &key, pace.batch).await {
            Ok(None) => return Ok(()),
            Ok(Some(progress)) => {
                failpoint::hit("after_batch");
                say(stage, step, &key, &progress);
                if tried == 1 {
                    pace.faster();
                }
                tried = 0;
                stage.watcher.forget();
            }
            Err(Stopped::Fault(fault)) => {
                let Some(lost) = Lost::statement(&fault, step, n) else {
                    return Err(Stopped::Fault(fault));
                };
                pace.slower();
                again(stage, step, lost, tried, began).await?;
            }
            Err(stopped) => return Err(stopped),
        }
        let Stage { interrupt, .. } = stage;
        tokio::select! {
            () = interrupt.wait() => {}
            () = tokio::time::sleep(pace.pause) => {}
        }
    }
}

fn say<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    key: &BackfillKey,
    progress: &BackfillProgress,
) {
    // Statistics are an estimate: what is done is never more than all of it.
    let total = progress.keys_about.map(|about| about.max(progress.keys));
    let what = format!("backfill of {}", key.table);
    let advance = Advance { what: &what, done: progress.keys, total, unit: "rows" };
    stage.progress.advanced(step, &advance);
}

/// Notes how far the backfill goes, unless an earlier run has. False: there is nothing to do.
async fn begin<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    ledger: &NewLedgerRow<'_>,
    row: &StatementRow,
    key: &BackfillKey,
) -> Result<bool, Stopped> {
    let session = &mut *stage.session;
    let known = session.backfills_of(ledger.workspace, &step.version, step.ordinal).await;
    let known = known.map_err(|error| Stopped::Fault(Fault::Protocol(error.to_string())))?;
    if let Some(known) = known.iter().find(|known| known.statement == row.statement) {
        if known.sql != row.sql {
            tracing::warn!(
                "{}: {} batches were done in an earlier form of the statement; the rest is done in \
                 the one that is in the file now",
                step.id(),
                known.batches
            );
        }
        return Ok(true);
    }
    session.begin(limits(step)).await.map_err(Stopped::Fault)?;
    let work = async {
        let Some(upper) = session.largest_key(key).await? else { return Ok(false) };
        session.begin_backfill(ledger, (row.statement, row.sql), key, &upper).await?;
        Ok(true)
    };
    let begun = match work.await {
        Ok(begun) => begun,
        Err(fault) => {
            let _ = session.roll_back().await;
            return Err(Stopped::Fault(fault));
        }
    };
    session.commit().await.map_err(Stopped::Fault)?;
    failpoint::hit("after_backfill_begun");
    Ok(begun)
}

/// One batch and its progress, in one transaction: how far the whole backfill is now; nothing if no
/// key was left.
async fn one_batch<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    ledger: &NewLedgerRow<'_>,
    (n, row): (usize, &StatementRow),
    key: &BackfillKey,
    keys: u64,
) -> Result<Option<BackfillProgress>, Stopped> {
    stage.session.begin(limits(step)).await.map_err(Stopped::Fault)?;
    match inside(stage, step, ledger, (n, row), key, keys).await {
        Ok(Some((progress, transaction))) => {
            failpoint::hit("before_batch_commit");
            // When its answer is lost, the row tells the next run whether the batch was kept.
            let (lock, may) = (stage.context.lock, may_have(step));
            let (transaction, witness) = (transaction.as_str(), Witness::Moving);
            let commit = StepCommit { transaction, lock, witness, may };
            stage.session.commit_step(&commit).await.map_err(Stopped::Fault)?;
            Ok(Some(progress))
        }
        Ok(None) => {
            stage.session.roll_back().await.map_err(Stopped::Fault)?;
            Ok(None)
        }
        Err(stopped) => {
            // The server has rolled back already, or does when it notices that we are gone.
            let _ = stage.session.roll_back().await;
            Err(stopped)
        }
    }
}

/// The batch up to its commit: how far the backfill will be, and the transaction; nothing if no key
/// is left.
async fn inside<R, P: Progress>(
    stage: &mut Stage<'_, R, P>,
    step: &PlannedStep,
    ledger: &NewLedgerRow<'_>,
    (n, row): (usize, &StatementRow),
    key: &BackfillKey,
    keys: u64,
) -> Result<Option<(BackfillProgress, String)>, Stopped> {
    let Stage { session, context, interrupt, progress: told, watcher, .. } = stage;
    let locked = session.lock_backfill(ledger, row.statement).await;
    let (mut progress, transaction) = locked.map_err(Stopped::Fault)?;
    let next = session.next_batch(key, &progress, keys).await.map_err(Stopped::Fault)?;
    let Some(bounds) = next else { return Ok(None) };
    failpoint::hit("in_batch");
    let sql = with_bounds(&step.statements[n].sql, &bounds.from, &bounds.to);
    let pid = session.facts().backend_pid;
    let (told, manner) = (&mut **told, Manner::Stays);
    let eyes = Eyes { watcher, context, progress: told, interrupt, step, pid, manner };
    let changed = match watched(session.run_counting(&sql), eyes).await {
        Ended::Done(changed) => changed.map_err(Stopped::Fault)?,
        Ended::Stopped(_) | Ended::GaveWay(_) => return Err(Stopped::OnRequest),
    };
    let noted = session.advance_backfill(ledger, &progress, row.sql, &bounds, changed).await;
    noted.map_err(Stopped::Fault)?;
    progress.batches += 1;
    progress.keys += bounds.keys;
    progress.rows += changed;
    progress.last = Some(bounds.last);
    Ok(Some((progress, transaction)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_gives_way_and_comes_back() {
        let mut pace = Pace::of(1_000, 100);
        pace.slower();
        pace.slower();
        assert_eq!((pace.batch, pace.pause), (250, Duration::from_millis(400)));
        for _ in 0..2 {
            pace.faster();
        }
        assert_eq!((pace.batch, pace.pause), (1_000, Duration::from_millis(100)));
        for _ in 0..20 {
            pace.slower();
        }
        assert_eq!((pace.batch, pace.pause), (1, LONGEST_PAUSE));
        for _ in 0..20 {
            pace.faster();
        }
        assert_eq!((pace.batch, pace.pause), (1_000, Duration::from_millis(100)));
        let mut unpaused = Pace::of(3, 0);
        unpaused.slower();
        assert!(unpaused.pause > Duration::ZERO);
        for _ in 0..3 {
            unpaused.faster();
        }
        assert_eq!((unpaused.batch, unpaused.pause), (3, Duration::ZERO));
    }
}
