//! What was open when a target was opened for work: settled from evidence, and said.

use annals_events::{ReconciledAs, RunFinished, RunOutcome, TargetRegistered};
use annals_executor::reconcile;
use annals_integrity::LedgerMismatch;

use crate::diverged::check_not_diverged;
use crate::error::{Failure, TargetFailure};
use crate::open::{Opened, Recovered};
use crate::restore_in_place;
use crate::swap;
use crate::targets::Target;
use crate::workspace::Workspace;

impl Opened<'_> {
    /// Registers the target in a fresh log, settles what an interrupted run left, and notes once
    /// that the server is on another timeline than the log last saw.
    pub(crate) async fn settle(
        &mut self,
        workspace: &Workspace,
        target: &Target,
        (seen, now): (Option<u32>, u32),
    ) -> Result<(), Failure> {
        let registered = TargetRegistered {
            platform: self.platform.as_str().to_owned(),
            reason: None,
            server_version: self.session.facts().short_version().to_owned(),
        };
        if !self.book().is_registered {
            self.record(vec![registered.clone().into()]).await?;
        }
        // A standby's timeline is the one of its last checkpoint, and nobody's news.
        let is_standby = self.session.facts().in_recovery;
        let promoted = seen.filter(|then| *then != now && !is_standby);
        if let Some(run) = self.recovery().open_run.clone() {
            let (mut events, mut steps_done) = (Vec::new(), run.steps_done);
            let mut settled = Vec::new();
            for step in self.recovery().open_steps.clone() {
                let name = &workspace.config().workspace;
                let identity = self.recovery().target.clone();
                let (found, evidence) =
                    reconcile(&mut self.session, name, &step, identity.as_ref())
                        .await
                        .map_err(TargetFailure::from)?;
                steps_done += u64::from(found == ReconciledAs::TookEffect);
                if let Some(then) = promoted.filter(|_| found != ReconciledAs::TookEffect) {
                    self.taken_over = Some((step.id(), then, now));
                }
                settled.push((step.id(), found));
                let event = annals_events::StepReconciled {
                    evidence,
                    found,
                    run: step.key.run,
                    step: step.key.step,
                };
                events.push(event.into());
            }
            let mut reason = Some("its process ended; settled by the next command".to_owned());
            let mut outcome = RunOutcome::Interrupted;
            let restoring = self.recovery().restoring.clone();
            let restoring = restoring.filter(|restore| restore.run == run.run);
            let entries = self.recovery().adopting.iter().filter(|e| e.adopted.run == run.run);
            let entries = entries.count() as u64;
            if let Some(restore) = &restoring {
                let restored = match restore.is_in_place() {
                    true => restore_in_place::settle(self, target, restore).await?,
                    false => swap::settle(self, restore).await?,
                };
                events.extend(restored.events);
                (outcome, reason) = (restored.outcome, restored.reason);
                steps_done = if outcome == RunOutcome::Succeeded { run.steps } else { 0 };
                settled = vec![restored.step];
            } else if let Some(rows) = self.recovery().restoring_rows.clone() {
                // The rows came with a row about the run, or not at all.
                let what = format!("putting back rows of backup {}", rows.backup);
                let found = self.session.restored_rows_of(run.run).await;
                match found.map_err(crate::open::fault(target))? {
                    Some(tables) => {
                        let (backup, run) = (rows.backup, run.run);
                        events.push(annals_events::RowsRestored { backup, run, tables }.into());
                        (outcome, reason) = (RunOutcome::Succeeded, None);
                        settled = vec![(what, ReconciledAs::TookEffect)];
                    }
                    None => settled = vec![(what, ReconciledAs::NoEffect)],
                }
            } else if entries > 0 {
                // Its rows are written in one transaction: all of them are there, or none.
                let rows = self.ledger.iter().filter(|row| row.run == run.run).count() as u64;
                let what = format!("the adoption of {entries} changes");
                if rows == entries && entries == run.steps {
                    (outcome, reason, steps_done) = (RunOutcome::Succeeded, None, entries);
                    settled = vec![(what, ReconciledAs::TookEffect)];
                } else {
                    settled = vec![(what, ReconciledAs::NoEffect)];
                }
            }
            events.push(RunFinished { outcome, reason, run: run.run, steps_done }.into());
            self.record(events).await?;
            self.untold.push(run.run);
            self.recovered.push(Recovered {
                run: run.run,
                started_at: run.at,
                by: run.by,
                steps: settled,
            });
            self.compare();
            if restoring.is_some() && outcome == RunOutcome::Succeeded {
                self.record_as_it_is(&target.name, Some(run.run), Vec::new()).await?;
            }
        }
        let diverged = self.diverged();
        if let Some(then) = promoted.filter(|_| !diverged) {
            tracing::warn!(
                "the target is on timeline {now}, the log last saw timeline {then}: the server was \
                 promoted or recovered since; it has every change the log knows"
            );
            self.record(vec![registered.into()]).await?;
        }
        if !self.recovered.is_empty() || (promoted.is_some() && !diverged) {
            self.publish().await?;
        }
        Ok(())
    }

    /// Whether the target has lost what the log says took effect.
    fn diverged(&self) -> bool {
        self.mismatches.iter().any(|m| matches!(m, LedgerMismatch::NotInLedger(_)))
    }

    /// Says what was found, in a command whose document has no place for it.
    pub(crate) fn say_what_was_found(&self) {
        for run in &self.recovered {
            let steps = run.steps.iter().map(|(id, found)| match found {
                ReconciledAs::TookEffect => format!("{id} had taken effect"),
                ReconciledAs::NoEffect => format!("{id} had left nothing"),
                ReconciledAs::Partial => format!("{id} is half done"),
            });
            let steps: Vec<String> = steps.collect();
            tracing::warn!(
                "recovered a run by {} of {} that was cut short: {}",
                run.by,
                run.started_at.to_human(),
                if steps.is_empty() {
                    "it was between two steps".to_owned()
                } else {
                    steps.join(", ")
                }
            );
        }
        if self.diverged() {
            tracing::warn!(
                "DIVERGED: the target has lost changes the log says took effect: look with annals \
                 status"
            );
        }
    }

    /// Refuses to go on where the target has lost something, or another server has taken over while
    /// a step was in doubt.
    pub(crate) async fn check_same_server(&mut self, target: &Target) -> Result<(), Failure> {
        let (book, mismatches) = (&self.recorder.book, &self.mismatches);
        check_not_diverged(&mut self.session, target, book, mismatches).await?;
        match self.taken_over.clone() {
            None => Ok(()),
            Some((step, then, now)) => {
                let target = target.name.clone();
                Err(TargetFailure::TakenOver { target, then, now, step }.into())
            }
        }
    }
}
