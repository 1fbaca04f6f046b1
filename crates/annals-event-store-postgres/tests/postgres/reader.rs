//! Auditors: what they see, and that they see one moment.

use annals_conformance::{Home, Log, fact};
use annals_event_store::{BlobError, EventStore};
use annals_event_store_postgres::{LogReader, PgLog, StoreFault};
use annals_events::{Digest, Origin, Scanner, Seq};
use annals_keys::{Checkpoint, KeyRing};

use crate::home::{PgHome, bytea, in_database, limits};

#[test]
fn an_auditor_verifies_a_log_with_select_alone() {
    in_database(async |home: &PgHome| {
        let (log, mut store) = Log::create(home, "audited").await;
        let blob = store.put_blob(b"a plan").await.unwrap();
        log.must_append(&mut store, &(0..600).map(fact).collect::<Vec<_>>()).await;
        log.publish(&mut store).await;
        log.must_append(&mut store, &[fact(601)]).await;

        let mut reader = LogReader::connect(&home.spec_of("auditor"), limits()).await.unwrap();
        assert_eq!(reader.home(), home.name().await);
        assert_eq!(reader.origins().await.unwrap(), [log.origin().clone()]);
        let mut seen = reader.log(log.origin()).await.unwrap();
        let ring = KeyRing::from(log.key().verifier());
        let checkpoint = Checkpoint::open(seen.checkpoint().unwrap(), &ring).unwrap();
        let mut events = Vec::new();
        let scanner = Scanner::new(&[checkpoint.size]);
        let scanned =
            seen.scan(scanner, &mut |recorded, _| events.push(recorded.clone())).await.unwrap();
        assert_eq!((scanned.damage.clone(), events), (None, log.acknowledged()));
        assert_eq!(scanned.root_at(checkpoint.size), Some(checkpoint.root));
        assert_eq!((seen.head().size, seen.head().leaf), (602, scanned.chain.last()));
        assert_eq!(seen.blob(&blob).await.unwrap(), b"a plan");
        let unknown = annals_events::BlobRef { digest: Digest::of(b"x"), size: 1 };
        assert!(matches!(seen.blob(&unknown).await, Err(BlobError::Missing { .. })));
        let mut tail = Vec::new();
        seen.lines(Seq(600), &mut |seq, _| tail.push(seq)).await.unwrap();
        assert_eq!(tail, [Seq(600), Seq(601)]);
        seen.close().await;

        let nobody: Origin = "no/body".parse().unwrap();
        assert!(matches!(reader.log(&nobody).await, Err(StoreFault::Missing(_))));
        reader.close().await;
        // The same rights do not open it for writing.
        let (spec, now) = (home.spec_of("auditor"), log.tick());
        let first = annals_conformance::created(log.key());
        let made = PgLog::create(&spec, &nobody, &first, log.key(), limits()).await;
        assert!(made.is_err_and(|error| error.to_string().contains("cannot write")), "{now}");
    });
}

#[test]
fn an_auditor_sees_one_moment_while_others_append() {
    in_database(async |home: &PgHome| {
        let (log, mut store) = Log::create(home, "moment").await;
        log.must_append(&mut store, &(0..300).map(fact).collect::<Vec<_>>()).await;
        log.publish(&mut store).await;
        let mut reader = LogReader::connect(&home.spec_of("auditor"), limits()).await.unwrap();
        let mut seen = reader.log(log.origin()).await.unwrap();
        log.must_append(&mut store, &[fact(301)]).await;
        log.publish(&mut store).await;
        let scanned = seen.scan(Scanner::new(&[]), &mut |_, _| {}).await.unwrap();
        assert_eq!((scanned.damage, scanned.chain.size()), (None, 301));
        assert_eq!(Checkpoint::claimed(seen.checkpoint().unwrap()).unwrap().size, 301);
        drop(seen);
        let seen = reader.log(log.origin()).await.unwrap();
        assert_eq!(seen.head().size, 302);
    });
}

#[test]
fn an_auditor_is_told_of_damage_with_its_place() {
    in_database(async |home: &PgHome| {
        let (log, mut store) = Log::create(home, "found").await;
        log.must_append(&mut store, &[fact(1), fact(2), fact(3)]).await;
        let lines = log.lines().await;
        let altered: Vec<u8> =
            lines[2].iter().map(|b| if *b == b'h' { b'i' } else { *b }).collect();
        let sql = format!("UPDATE annals.log_event SET line = {} WHERE seq = 2", bytea(&altered));
        home.run_past_tripwires(&sql).await;
        let mut reader = LogReader::connect(&home.spec_of("auditor"), limits()).await.unwrap();
        let mut seen = reader.log(log.origin()).await.unwrap();
        let scanned = seen.scan(Scanner::new(&[]), &mut |_, _| {}).await.unwrap();
        assert_eq!(scanned.damage.map(|damage| damage.at()), Some(Seq(2)));
        assert_eq!(scanned.chain.size(), 2);
    });
}

#[test]
fn the_logs_of_one_database_do_not_mix() {
    in_database(async |home: &PgHome| {
        let (a, mut first) = Log::create(home, "a").await;
        let (b, mut second) = Log::create(home, "b").await;
        for n in 0..5 {
            a.must_append(&mut first, &[fact(n)]).await;
            b.must_append(&mut second, &[fact(n), fact(100 + n)]).await;
        }
        a.publish(&mut first).await;
        b.publish(&mut second).await;
        assert_eq!((a.verify().await.len(), b.verify().await.len()), (6, 11));
        assert_eq!((first.head().size, second.head().size), (6, 11));
        let mut reader = LogReader::connect(&home.spec_of("auditor"), limits()).await.unwrap();
        let origins = reader.origins().await.unwrap();
        assert_eq!(origins, [a.origin().clone(), b.origin().clone()]);
        a.goes_on().await;
        b.goes_on().await;
    });
}
