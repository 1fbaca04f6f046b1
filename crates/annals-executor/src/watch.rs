//! While a statement of ours is awaited: who is in its way, in whose way it is, how far it is.
//!
//! A second connection looks, by short queries outside any transaction: an open one would keep a
//! concurrent index build waiting. What goes wrong with it never fails the work. Whether the server
//! answers at all is found out by the session itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use annals_migrations::PlannedStep;
use annals_postgres::{Blocker, BuildProgress, ConnectError, Observed, Watch};

use crate::context::{Advance, Progress, RunContext};
use crate::interrupt::Interrupt;

/// Most statements are over before anybody looks.
const FIRST_LOOK: Duration = Duration::from_millis(300);

/// Between two looks. A lock timeout of 2 s leaves time for three.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Others may wait so long before it is said that they do.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// How long a cancelled statement may take to end.
const CANCEL_PATIENCE: Duration = Duration::from_secs(15);

/// How what is awaited meets others who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Cancelled, it leaves nothing and can be tried again.
    GivesWay,
    /// It cannot be taken back without leaving something behind.
    Stays,
}

/// How a watched piece of work ended.
pub(crate) enum Ended<T> {
    /// By itself.
    Done(T),
    /// A stop was asked for: what came of it, if the server said so in time.
    Stopped(Option<T>),
    /// Others have waited too long for it, and it was cancelled.
    GaveWay(Option<T>),
}

/// Who looks, and what was seen.
pub(crate) struct Watcher {
    watch: Option<Watch>,
    /// The server answers, but lets nobody look.
    is_off: bool,
    /// Who was in the way of this step, by backend.
    pub(crate) blockers: BTreeMap<i32, Blocker>,
    /// Who waited for this step, by backend, since when.
    waiting: BTreeMap<i32, (Instant, Blocker)>,
    told: bool,
}

/// What a piece of work is awaited with.
pub(crate) struct Eyes<'a, P> {
    pub(crate) watcher: &'a mut Watcher,
    pub(crate) context: &'a RunContext<'a>,
    pub(crate) progress: &'a mut P,
    pub(crate) interrupt: &'a mut Interrupt,
    pub(crate) step: &'a PlannedStep,
    /// The backend that works.
    pub(crate) pid: i32,
    pub(crate) manner: Manner,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self {
            watch: None,
            is_off: false,
            blockers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            told: false,
        }
    }

    /// Forgets whom another step has met.
    pub(crate) fn forget(&mut self) {
        self.blockers.clear();
        self.waiting.clear();
    }

    /// Who had to wait when the work gave way.
    pub(crate) fn kept_waiting(&self) -> Vec<Blocker> {
        self.waiting.values().map(|(_, blocker)| blocker.clone()).collect()
    }

    /// Says goodbye.
    pub(crate) async fn close(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.close().await;
        }
    }

    /// Looks once; nothing if nobody can.
    async fn look(
        &mut self,
        context: &RunContext<'_>,
        pid: i32,
    ) -> Option<(Observed, Vec<Blocker>)> {
        if self.is_off {
            return None;
        }
        if self.watch.as_ref().is_some_and(|watch| watch.backend() != pid) {
            self.watch = None;
        }
        if self.watch.is_none() {
            self.watch = self.connect(context, pid).await;
        }
        let watch = self.watch.as_mut()?;
        let found = match watch.look().await {
            Ok(observed) => watch.waiting().await.map(|waiting| (observed, waiting)),
            Err(fault) => Err(fault),
        };
        match found {
            Ok(found) => Some(found),
            Err(fault) => {
                tracing::debug!(%fault, "the second connection is made anew");
                self.watch = None;
                None
            }
        }
    }

    async fn connect(&mut self, context: &RunContext<'_>, pid: i32) -> Option<Watch> {
        let name = format!("{}/watch", context.application_name());
        match Watch::start(context.spec, &context.settings, &name, pid).await {
            Ok(watch) => Some(watch),
            Err(ConnectError::Unreachable { .. }) => None,
            Err(refused) => {
                tracing::warn!(%refused, "nobody looks after what takes long");
                self.is_off = true;
                None
            }
        }
    }

    /// Takes in who waits for us at this moment; says for how long the first of them has.
    fn take_in(&mut self, waiting: Vec<Blocker>) -> Duration {
        let now = Instant::now();
        let before = std::mem::take(&mut self.waiting);
        let since = |pid: i32| before.get(&pid).map_or(now, |(since, _)| *since);
        self.waiting =
            waiting.into_iter().map(|other| (other.pid, (since(other.pid), other))).collect();
        let first = self.waiting.values().map(|(since, _)| *since).min();
        first.map_or(Duration::ZERO, |since| now - since)
    }
}

/// Waits for `work`, and looks after it once it takes long.
pub(crate) async fn watched<T, P: Progress>(
    work: impl Future<Output = T>,
    eyes: Eyes<'_, P>,
) -> Ended<T> {
    let Eyes { watcher, context, progress, interrupt, step, pid, manner } = eyes;
    let give_way = Duration::from_millis(context.patience.max_blocking_ms);
    watcher.told = false;
    watcher.waiting.clear();
    let mut pause = FIRST_LOOK;
    tokio::pin!(work);
    loop {
        let look = async {
            tokio::time::sleep(pause).await;
            watcher.look(context, pid).await
        };
        let seen = tokio::select! {
            biased;
            done = &mut work => return Ended::Done(done),
            () = interrupt.wait() => {
                cancel(watcher, context, pid).await;
                return Ended::Stopped(tokio::time::timeout(CANCEL_PATIENCE, work).await.ok());
            }
            seen = look => seen,
        };
        pause = BETWEEN_LOOKS;
        let Some((observed, waiting)) = seen.filter(|(observed, _)| observed.alive) else {
            continue;
        };
        for blocker in &observed.blockers {
            watcher.blockers.insert(blocker.pid, blocker.clone());
        }
        progress.blocked(step, &observed.blockers);
        if observed.blockers.is_empty() {
            let (what, done, total, unit) = far(observed.progress.as_ref());
            progress.advanced(step, &Advance { what: &what, done, total, unit });
        }
        let kept_waiting = watcher.take_in(waiting);
        if kept_waiting >= TOLD_AFTER && !watcher.told {
            watcher.told = true;
            let names = named(&watcher.kept_waiting());
            progress.notice("warning", &format!("{} keeps others waiting: {names}", step.id()));
        }
        // They may have waited for two looks more than was seen.
        let at_most = kept_waiting + 2 * BETWEEN_LOOKS;
        let anybody = !watcher.waiting.is_empty();
        if anybody && manner == Manner::GivesWay && !give_way.is_zero() && at_most >= give_way {
            cancel(watcher, context, pid).await;
            return Ended::GaveWay(tokio::time::timeout(CANCEL_PATIENCE, work).await.ok());
        }
    }
}

/// Cancels what backend `pid` does. If it has just finished, there is nothing to cancel: also fine.
async fn cancel(watcher: &mut Watcher, context: &RunContext<'_>, pid: i32) {
    if let Some(watch) = watcher.watch.as_mut().filter(|watch| watch.backend() == pid)
        && watch.cancel().await.is_ok()
    {
        return;
    }
    if let Ok(mut other) =
        context.spec.connect(&context.application_name(), &context.settings).await
    {
        let _ = other.cancel_backend(pid).await;
        other.close().await;
    }
}

/// Some of `sessions` by name, and the number of the others.
pub(crate) fn named(sessions: &[Blocker]) -> String {
    const NAMED: usize = 5;
    let names: Vec<String> = sessions.iter().take(NAMED).map(ToString::to_string).collect();
    match sessions.len().saturating_sub(NAMED) {
        0 => names.join("; "),
        more => format!("{}; and {more} more", names.join("; ")),
    }
}

/// How far the server says it is: what, how much of it is done, of how much, in which unit.
fn far(progress: Option<&BuildProgress>) -> (String, u64, Option<u64>, &'static str) {
    let Some(progress) = progress else {
        return ("working".to_owned(), 0, None, "");
    };
    let counts = [
        (progress.blocks_done, progress.blocks_total, "blocks"),
        (progress.tuples_done, progress.tuples_total, "rows"),
        (progress.bytes_done, progress.bytes_total, "bytes"),
        (progress.lockers_done, progress.lockers_total, "sessions waited for"),
    ];
    let what = match &progress.relation {
        Some(relation) => format!("{} on {relation}: {}", progress.command, progress.phase),
        None => format!("{}: {}", progress.command, progress.phase),
    };
    match counts.into_iter().find(|(_, total, _)| *total > 0) {
        Some((done, total, unit)) => (what, done, Some(total), unit),
        None => (what, progress.tuples_done, None, "rows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_counted_in_what_has_a_total() {
        let mut progress = BuildProgress {
            command: "CREATE INDEX".to_owned(),
            phase: "building index: scanning table".to_owned(),
            relation: Some("t".to_owned()),
            blocks_done: 3,
            blocks_total: 10,
            ..BuildProgress::default()
        };
        let words = "CREATE INDEX on t: building index: scanning table".to_owned();
        assert_eq!(far(Some(&progress)), (words, 3, Some(10), "blocks"));
        (progress.blocks_total, progress.lockers_total) = (0, 2);
        assert_eq!(far(Some(&progress)).3, "sessions waited for");
        assert_eq!(far(None).0, "working");
    }

    #[test]
    fn many_sessions_are_counted_instead_of_named() {
        let session = |pid| Blocker { pid, user: "app".to_owned(), ..Blocker::default() };
        let seven: Vec<Blocker> = (1..8).map(session).collect();
        let text = named(&seven);
        assert!(text.contains("backend 5 (") && !text.contains("backend 6 ("), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
    }

    #[test]
    fn whoever_waits_is_counted_from_when_it_was_first_seen() {
        let session = |pid| Blocker { pid, ..Blocker::default() };
        let mut watcher = Watcher::new();
        assert_eq!(watcher.take_in(vec![session(1)]), Duration::ZERO);
        let first = watcher.waiting[&1].0;
        watcher.take_in(vec![session(1), session(2)]);
        assert_eq!(watcher.waiting[&1].0, first);
        watcher.take_in(vec![session(2)]);
        assert_eq!(watcher.kept_waiting().len(), 1);
        assert_eq!(watcher.take_in(Vec::new()), Duration::ZERO);
    }
}
