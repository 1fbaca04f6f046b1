//! A reader that follows what its session writes reads what one reads that looks at everything: for
//! each kind of change, made, taken back, made again, committed, and with another one behind it.

use annals_postgres::{Platform, SchemaReader, SchemaScope, Session, read_schema_inside};
use annals_schema::{Snapshot, diff};

use crate::changes::Change;
use crate::{Clones, Laboratory, WORKERS, all_changes, runtime};

/// Another change, which most of them leave alone.
const ELSEWHERE: &str = "CREATE TABLE public.elsewhere (id integer PRIMARY KEY)";

struct Followed {
    reader: SchemaReader,
    complaints: Vec<String>,
}

impl Followed {
    async fn compare(&mut self, session: &mut Session, after: &str) -> Snapshot {
        let scope = SchemaScope::of(Platform::Plain);
        // Before the other one, which leaves a cursor and a session that was reset.
        let whole = read_schema_inside(session, &scope).await;
        let whole = whole.unwrap_or_else(|fault| panic!("{after}: {fault}"));
        match self.reader.read_inside(session).await {
            Ok(read) if read == whole => {}
            Ok(read) => self.complaints.push(format!("{after}\n    {:?}", diff(&whole, &read))),
            Err(fault) => self.complaints.push(format!("{after}\n    {fault}")),
        }
        whole
    }

    async fn turn(&mut self, session: &mut Session) {
        self.reader.turn(session).await.unwrap_or_else(|fault| panic!("{fault}"));
    }
}

/// Nothing where it cannot be part of a transaction.
async fn follow(session: &mut Session, change: &Change) -> Option<Vec<String>> {
    let scope = SchemaScope::of(Platform::Plain);
    let mut followed = Followed { reader: SchemaReader::alone(scope), complaints: Vec::new() };
    let run = async |session: &mut Session, sql: &str| {
        session.run(sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault}"));
    };
    if !change.before.is_empty() {
        run(session, change.before).await;
    }
    run(session, "BEGIN").await;
    let before = followed.compare(session, "the beginning").await;
    run(session, "SAVEPOINT before").await;
    session.run(change.sql).await.ok()?;
    followed.compare(session, "made").await;
    run(session, "ROLLBACK TO before").await;
    let back = followed.compare(session, "taken back").await;
    assert_eq!(diff(&before, &back), [], "{}", change.sql);
    run(session, change.sql).await;
    let made = followed.compare(session, "made again").await;
    followed.turn(session).await;
    followed.compare(session, "committed").await;
    run(session, ELSEWHERE).await;
    followed.compare(session, "another one").await;
    run(session, "DROP TABLE public.elsewhere").await;
    let end = followed.compare(session, "and not").await;
    followed.turn(session).await;
    assert_eq!(diff(&made, &end), [], "{}", change.sql);
    run(session, "ROLLBACK").await;
    Some(followed.complaints)
}

async fn follow_all(laboratory: &Laboratory, worker: usize, changes: &[&Change]) -> Vec<String> {
    let mut clones = Clones::of(laboratory, worker).await;
    let (mut complaints, mut outside) = (Vec::new(), 0);
    for change in changes {
        let mut session = clones.next().await;
        match follow(&mut session, change).await {
            Some(said) => {
                let said = said.into_iter();
                complaints.extend(said.map(|said| format!("{}: {said}", change.sql)));
            }
            None => {
                session.run("ROLLBACK").await.unwrap_or_else(|fault| panic!("{fault}"));
                outside += 1;
            }
        }
        clones.drop(session).await;
    }
    assert!(outside * 10 <= changes.len(), "{outside} cannot be part of a transaction");
    complaints
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
