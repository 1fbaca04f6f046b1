//! Many writers at once.

use std::sync::Arc;

use annals_conformance::{Home, Log, fact};
use annals_event_store::{AppendError, EventStore};
use annals_events::{EventId, Recorded};
use annals_testkit::Server;

use crate::home::{PgHome, prepare, runtime};

const CLIENTS: u64 = 8;
const EVENTS: u64 = 12;

/// One client: appends its events one by one, each as often as it takes.
async fn client<H: Home>(log: &Log<'_, H>, number: u64) -> (Vec<Recorded>, u64) {
    let mut store = log.open().await.unwrap();
    let (mut mine, mut lost) = (Vec::new(), 0);
    for n in 0..EVENTS {
        let drafts = [fact(number * 1_000 + 2 * n), fact(number * 1_000 + 2 * n + 1)];
        loop {
            let before = store.head();
            match log.append(&mut store, &drafts).await {
                Ok(recorded) => break mine.extend(recorded),
                Err(AppendError::HeadMoved { .. }) => {
                    assert!(store.head().size > before.size, "somebody else has won");
                    lost += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    (mine, lost)
}

#[test]
fn of_eight_clients_one_wins_each_place() {
    let server = Server::start();
    let home = prepare(&server);
    let runtime = runtime();
    let (log, key) = runtime.block_on(async {
        // A default under which waiting for another's commit would end in an error.
        home.run("ALTER ROLE app SET default_transaction_isolation = 'repeatable read'").await;
        let (log, store) = Log::create(&home, "race").await;
        drop(store);
        let key = Arc::clone(log.key());
        (log, key)
    });
    let results: Vec<(Vec<Recorded>, u64)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (home, key): (&PgHome, _) = (&home, Arc::clone(&key));
                scope.spawn(move || {
                    let log = Log::with_key(home, "race", key);
                    crate::home::runtime().block_on(client(&log, number))
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let lost: u64 = results.iter().map(|(_, lost)| lost).sum();
    let mut acknowledged: Vec<Recorded> =
        results.into_iter().flat_map(|(recorded, _)| recorded).collect();
    acknowledged.sort_by_key(|recorded| recorded.seq);
    let total = usize::try_from(CLIENTS * EVENTS * 2).unwrap();
    let events = runtime.block_on(log.verify());
    assert_eq!(events.len(), total + 1);
    assert_eq!(acknowledged, events[1..], "each place was acknowledged once");
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    for pair in acknowledged.chunks(2) {
        let at = usize::try_from(pair[0].seq.0).unwrap();
        assert_eq!(ids[at..at + 2], [pair[0].id, pair[1].id], "a pair stands together");
    }
    eprintln!("{lost} appends came late");
    drop(runtime.block_on(log.goes_on()));
}
