//! The application: it writes while annals migrates, and keeps a journal of what was acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::link::Link;

/// The tables it writes to.
pub const TABLES: [&str; 2] = ["app.orders", "app.items"];

/// What one writer knows.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Its number, as in the rows.
    pub writer: u32,
    /// The table.
    pub table: &'static str,
    /// Rows whose insertion was acknowledged.
    pub acknowledged: BTreeSet<u32>,
    /// Rows whose insertion was neither acknowledged nor refused.
    pub unknown: BTreeSet<u32>,
}

/// Writers at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Journal>>,
}

impl Writers {
    /// Starts one writer for each of [`TABLES`].
    pub fn start(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = TABLES.iter().zip(1..).map(|(table, writer)| {
            let (url, stop) = (format!("{url}?application_name=faults-writer"), Arc::clone(&stop));
            std::thread::spawn(move || write(&url, table, writer, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Ends them and returns what they know.
    pub fn stop(self) -> Vec<Journal> {
        self.stop.store(true, Ordering::SeqCst);
        let joined = self.threads.into_iter().map(JoinHandle::join);
        joined.map(|journal| journal.expect("a writer does not panic")).collect()
    }
}

/// Inserts one row after the other until it is told to stop; connects again where it must.
fn write(url: &str, table: &'static str, writer: u32, stop: &AtomicBool) -> Journal {
    let mut journal = Journal { writer, table, ..Default::default() };
    let mut link = None;
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
        let Some(open) = link.as_mut() else {
            // What the application does about durability is its own; it is as sure as by default.
            link = Link::open(url).ok().and_then(|mut fresh| {
                fresh.run("SET synchronous_commit = local").is_ok().then_some(fresh)
            });
            continue;
        };
        n += 1;
        match open.run(&format!("INSERT INTO {table} (writer, n) VALUES ({writer}, {n})")) {
            Ok(()) => drop(journal.acknowledged.insert(n)),
            Err(error) => {
                // The server's verdict means that there is no row; silence means nothing.
                if error.as_database_error().is_none() {
                    journal.unknown.insert(n);
                }
                link = None;
            }
        }
    }
    journal
}
