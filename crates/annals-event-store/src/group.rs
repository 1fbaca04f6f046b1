//! Group commit: many appenders of one process, one write and one sync for all that wait.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use annals_events::{Draft, Recorded, Timestamp};

use crate::disk::{Disk, RealDisk};
use crate::file::FileLog;
use crate::store::{AppendError, EventStore, Head};

/// A file log shared by the threads of a process.
///
/// Who comes while another is writing waits; the next write takes all who wait at once. An append
/// that returns `Ok` is durable, and its events stand next to each other.
pub struct GroupLog<D: Disk = RealDisk> {
    log: Mutex<FileLog<D>>,
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: Vec<(u64, Vec<Draft>, Timestamp)>,
    done: HashMap<u64, Result<Vec<Recorded>, AppendError>>,
    is_led: bool,
}

/// A panic within a write leaves the log stopped, one before it leaves it as it was.
fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_durable(why: &str) -> Result<Vec<Recorded>, AppendError> {
    Err(AppendError::NotDurable(why.into()))
}

/// The one who writes for all of a batch. Gives the lead back when dropped, also by a panic: who
/// waits is then told that nobody knows, and not left waiting.
struct Lead<'a, D: Disk> {
    group: &'a GroupLog<D>,
    own: u64,
    batch: Vec<(u64, Vec<Draft>, Timestamp)>,
    results: Option<Vec<Result<Vec<Recorded>, AppendError>>>,
}

impl<D: Disk> Drop for Lead<'_, D> {
    fn drop(&mut self) {
        let tickets = self.batch.iter().map(|(ticket, ..)| *ticket);
        let mut queue = enter(&self.group.queue);
        match self.results.take() {
            Some(results) => queue.done.extend(tickets.zip(results)),
            None => {
                let others = tickets.filter(|ticket| *ticket != self.own);
                let why = "the thread that was writing panicked";
                queue.done.extend(others.map(|ticket| (ticket, not_durable(why))));
            }
        }
        queue.is_led = false;
        self.group.moved.notify_all();
    }
}

impl<D: Disk> GroupLog<D> {
    /// Shares `log`.
    pub fn new(log: FileLog<D>) -> Self {
        Self { log: Mutex::new(log), queue: Mutex::default(), moved: Condvar::new() }
    }

    /// The log itself, when nobody shares it any more.
    pub fn into_inner(self) -> FileLog<D> {
        self.log.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right edge.
    pub fn head(&self) -> Head {
        enter(&self.log).head()
    }

    /// Appends that wait for the write that is under way to end.
    pub fn waiting(&self) -> usize {
        enter(&self.queue).waiting.len()
    }

    /// Appends `drafts`, wherever the head is. Blocks until they are durable.
    ///
    /// # Errors
    ///
    /// See [`AppendError`].
    pub fn append(&self, drafts: Vec<Draft>, now: Timestamp) -> Result<Vec<Recorded>, AppendError> {
        let mut queue = enter(&self.queue);
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push((ticket, drafts, now));
        loop {
            if let Some(result) = queue.done.remove(&ticket) {
                return result;
            }
            if queue.is_led {
                queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.is_led = true;
            let batch = std::mem::take(&mut queue.waiting);
            drop(queue);
            let mut lead = Lead { group: self, own: ticket, batch, results: None };
            lead.results = Some(self.write(&lead.batch));
            drop(lead);
            queue = enter(&self.queue);
        }
    }

    fn write(
        &self,
        batch: &[(u64, Vec<Draft>, Timestamp)],
    ) -> Vec<Result<Vec<Recorded>, AppendError>> {
        let requests: Vec<&[Draft]> =
            batch.iter().map(|(_, drafts, _)| drafts.as_slice()).collect();
        let now =
            batch.iter().map(|(.., now)| *now).max().expect("invariant: a leader waits itself");
        match enter(&self.log).append_each(&requests, now) {
            Ok(results) => results,
            Err(AppendError::NotDurable(cause)) => {
                batch.iter().map(|_| not_durable(&cause.to_string())).collect()
            }
            Err(_) => (0..batch.len()).map(|_| Err(AppendError::Stopped)).collect(),
        }
    }
}
