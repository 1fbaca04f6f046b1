//! A reader that follows what its session writes reads what one reads that looks at everything: for
//! each kind of change, made, taken back, made again, committed, and with another one behind it.

use annals_postgres::{Platform, SchemaReader, SchemaScope, Session, read_schema_inside};
use annals_schema::{Snapshot, diff};

use crate::changes::Change;
use crate::{Clones, Laboratory, WORKERS, all_changes, runtime};

/// Another change, which most of them leave alone.
const ELSEWHERE: &str = "CREATE TABLE public.elsewhere (id integer PRIMARY KEY)";

/// Behind every how many changes another one is made.
const EVERY: usize = 4;

/// A clone, the reader that has followed it from its beginning, and what it is known to read.
struct Followed {
    session: Session,
    reader: SchemaReader,
    known: Option<Snapshot>,
    changes: usize,
    complaints: Vec<String>,
}

impl Followed {
    async fn in_a_new_clone(clones: &mut Clones<'_>) -> Self {
        Self {
            session: clones.next().await,
            reader: SchemaReader::alone(SchemaScope::of(Platform::Plain)),
            known: None,
            changes: 0,
            complaints: Vec::new(),
        }
    }

    /// The rest in a new clone.
    async fn anew(self, clones: &mut Clones<'_>) -> Self {
        let Self { mut session, complaints, .. } = self;
        session.run("ROLLBACK").await.unwrap_or_else(|fault| panic!("{fault}"));
        clones.drop(session).await;
        Self { complaints, ..Self::in_a_new_clone(clones).await }
    }

    async fn run(&mut self, sql: &str) {
        self.session.run(sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    }

    /// What one that looks at everything reads: the expectation of what comes next.
    async fn compare(&mut self, after: &str) -> Snapshot {
        let scope = SchemaScope::of(Platform::Plain);
        // Before the other one, which leaves a cursor and a session that was reset.
        let whole = read_schema_inside(&mut self.session, &scope).await;
        let whole = whole.unwrap_or_else(|fault| panic!("{after}: {fault}"));
        self.expect(&whole, after).await;
        whole
    }

    /// The same as `whole`, which was read where the schema was the same as here.
    async fn expect(&mut self, whole: &Snapshot, after: &str) {
        match self.reader.read_inside(&mut self.session).await {
            Ok(read) if read == *whole => {}
            Ok(read) => self.complaints.push(format!("{after}\n    {:?}", diff(whole, &read))),
            Err(fault) => self.complaints.push(format!("{after}\n    {fault}")),
        }
    }

    async fn turn(&mut self) {
        self.reader.turn(&mut self.session).await.unwrap_or_else(|fault| panic!("{fault}"));
    }

    /// Whether it could be made: in a transaction, and behind those before.
    async fn follow(&mut self, change: &Change) -> bool {
        if !change.before.is_empty() {
            if self.session.run(change.before).await.is_err() {
                return false;
            }
            // Outside of the transactions that it sees.
            self.reader = SchemaReader::alone(SchemaScope::of(Platform::Plain));
            self.known = None;
        }
        self.run("BEGIN").await;
        let about = |what: &str| format!("{}: {what}", change.sql);
        let before = match self.known.take() {
            Some(known) => known,
            None => self.compare(&about("the beginning")).await,
        };
        self.run("SAVEPOINT before").await;
        if self.session.run(change.sql).await.is_err() {
            return false;
        }
        let made = self.compare(&about("made")).await;
        self.run("ROLLBACK TO before").await;
        self.expect(&before, &about("taken back")).await;
        self.run(change.sql).await;
        self.expect(&made, &about("made again")).await;
        self.turn().await;
        self.expect(&made, &about("committed")).await;
        if self.changes.is_multiple_of(EVERY) {
            self.run(ELSEWHERE).await;
            self.compare(&about("another one")).await;
            self.run("DROP TABLE public.elsewhere").await;
            self.expect(&made, &about("and not")).await;
            self.turn().await;
        }
        self.run("ROLLBACK").await;
        self.known = Some(made);
        self.changes += 1;
        true
    }
}

/// One behind the other, in a new clone where one cannot be made behind the others.
async fn follow_all(laboratory: &Laboratory, worker: usize, changes: &[&Change]) -> Vec<String> {
    let mut clones = Clones::of(laboratory, worker).await;
    let mut followed = Followed::in_a_new_clone(&mut clones).await;
    let mut outside = 0;
    for change in changes {
        if followed.follow(change).await {
            continue;
        }
        followed = followed.anew(&mut clones).await;
        if !followed.follow(change).await {
            followed = followed.anew(&mut clones).await;
            outside += 1;
        }
    }
    clones.drop(followed.session).await;
    assert!(outside * 10 <= changes.len(), "{outside} cannot be part of a transaction");
    followed.complaints
}

#[test]
fn every_change_is_followed() {
    let laboratory = Laboratory::new();
    let major: u32 =
        laboratory.server.value("SELECT current_setting('server_version_num')").parse().unwrap();
    let changes: Vec<&Change> =
        all_changes().filter(|change| change.since <= major / 10_000).collect();
    let share = changes.len().div_ceil(WORKERS);
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let laboratory = &laboratory;
        let follow = |(worker, changes)| {
            scope.spawn(move || runtime().block_on(follow_all(laboratory, worker, changes)))
        };
        let workers: Vec<_> = changes.chunks(share).enumerate().map(follow).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let tried = changes.len();
    assert!(complaints.is_empty(), "{} of {tried}:\n{}", complaints.len(), complaints.join("\n"));
}
