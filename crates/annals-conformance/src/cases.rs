//! The cases of one writer who does nothing wrong, and of what a store refuses.

use annals_event_store::{AppendError, BlobError, EventStore, KnownHead, OpenError, StoreError};
use annals_events::{
    Event, LogMoved, MAX_CLOCK_REGRESSION_US, MAX_LINE_BYTES, SealError, Seq, UnknownEvent,
};

use crate::drafts::{draft, fact, now, padded};
use crate::home::{Clock, Home, Log, put};

/// The bytes that were acknowledged are the bytes that are read, before and after reopening.
pub async fn acknowledged_events_survive_reopening_byte_for_byte<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "survive").await;
    log.must_append(&mut store, &[fact(1), fact(2)]).await;
    log.must_append(&mut store, &[fact(3)]).await;
    log.publish(&mut store).await;
    log.must_append(&mut store, &[fact(4)]).await;
    let head = store.head();
    drop(store);
    let lines = log.lines().await;
    let events = log.verify().await;
    assert_eq!((events.len(), &events), (5, &log.acknowledged()));
    let (store, seen) = log.open_seeing().await.expect("it opens");
    assert_eq!((store.head(), store.signed(), store.origin()), (head, 4, log.origin()));
    assert_eq!(seen, events);
    drop(store);
    assert_eq!(log.lines().await, lines);
    log.goes_on().await;
}

/// What is written and then made durable is what an append would have stored.
pub async fn events_may_be_written_first_and_made_durable_later<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "written").await;
    let stale = store.head();
    for n in 1..=2 {
        let head = store.head();
        let written = store.write(head, &[fact(n)], log.tick()).await.expect("it is written");
        assert_eq!((written[0].seq, written[0].leaf), (Seq(n), store.head().leaf));
    }
    let error = store.write(stale, &[fact(3)], log.tick()).await.expect_err("it is stale");
    assert!(matches!(error, AppendError::HeadMoved { .. }), "{error}");
    store.sync().await.expect("it is durable");
    store.sync().await.expect("there is nothing left to do");
    assert_eq!(log.verify().await.len(), 3);
    log.publish(&mut store).await;
    drop(store);
    log.goes_on().await;
}

/// The expected head is compared before anything is stored.
pub async fn an_append_on_another_head_stores_nothing<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "stale").await;
    let stale = store.head();
    log.must_append(&mut store, &[fact(1)]).await;
    let error = store.append(stale, &[fact(2)], log.tick()).await.expect_err("it is stale");
    let AppendError::HeadMoved { expected, found } = error else { panic!("{error}") };
    assert_eq!((expected, found), (stale, store.head()));
    assert_eq!(log.verify().await.len(), 2);
    log.must_append(&mut store, &[fact(2)]).await;
    assert_eq!(log.verify().await.len(), 3);
}

/// A batch is whole and in order; an empty one is none.
pub async fn events_of_one_append_stand_together_in_their_order<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "batch").await;
    let drafts: Vec<_> = (0..50).map(fact).collect();
    let recorded = log.must_append(&mut store, &drafts).await;
    for (n, (recorded, draft)) in recorded.iter().zip(&drafts).enumerate() {
        assert_eq!((recorded.seq, recorded.id), (Seq(n as u64 + 1), draft.id));
    }
    assert_eq!(log.must_append(&mut store, &[]).await, []);
    assert_eq!(log.verify().await.len(), 51);
    assert_eq!((store.head().size, store.head().leaf), (51, recorded[49].leaf));
}

/// A batch with one event that cannot be stored leaves nothing of itself.
pub async fn a_draft_that_cannot_be_stored_changes_nothing<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "refused").await;
    let head = store.head();
    let too_long = padded("x".repeat(MAX_LINE_BYTES));
    let error = log.append(&mut store, &[fact(1), too_long, fact(2)]).await;
    assert!(matches!(error, Err(AppendError::Refused(SealError::Unstorable { .. }))));
    assert_eq!(store.head(), head);
    assert_eq!(log.verify().await.len(), 1);
    // The longest that fits is taken.
    let recorded = log.must_append(&mut store, &[padded(String::new())]).await;
    let empty = log.lines().await[1].len();
    assert_eq!(recorded[0].seq, Seq(1));
    // Places and times have the same number of digits in the next one.
    let longest = padded("x".repeat(MAX_LINE_BYTES - empty));
    log.must_append(&mut store, &[longest]).await;
    assert_eq!(log.lines().await[2].len(), MAX_LINE_BYTES);
    drop(store);
    log.goes_on().await;
}

/// Times increase by a microsecond where the clock does not; five seconds back are too many.
pub async fn the_clock_may_stand_or_step_back_a_little_and_no_further<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "clock").await;
    let recorded = log.must_append(&mut store, &[fact(1), fact(2), fact(3)]).await;
    for pair in recorded.windows(2) {
        assert_eq!(pair[0].recorded_at.plus_micros(1), pair[1].recorded_at);
    }
    if H::CLOCK == Clock::Own {
        // A reading of the caller's, however wrong, is not used.
        let head = store.head();
        let recorded = store.append(head, &[fact(4)], now(-9_000_000)).await.expect("taken");
        assert!(recorded[0].recorded_at > now(0));
        log.goes_on().await;
        return;
    }
    let last = recorded[2].recorded_at;
    let head = store.head();
    let early = last.plus_micros(-MAX_CLOCK_REGRESSION_US - 1);
    let refused = store.append(head, &[fact(4)], early).await;
    assert!(matches!(refused, Err(AppendError::Refused(SealError::ClockWentBack { .. }))));
    assert_eq!((store.head(), log.verify().await.len()), (head, 4));
    let early = last.plus_micros(-MAX_CLOCK_REGRESSION_US);
    let recorded = store.append(head, &[fact(4)], early).await.expect("a small step");
    assert_eq!(recorded[0].recorded_at, last.plus_micros(1));
    drop(store);
    log.goes_on().await;
}

/// `read` gives every line from a place on, in order, as it is stored.
pub async fn lines_are_read_in_order_from_any_place_on<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "read").await;
    for n in 0..4 {
        log.must_append(&mut store, &[fact(2 * n), fact(2 * n + 1)]).await;
    }
    let lines = log.lines().await;
    for from in 0..=lines.len() + 1 {
        let mut read = Vec::new();
        let mut visit = |seq: Seq, line: &[u8]| read.push((seq, line.to_vec()));
        store.read(Seq(from as u64), &mut visit).await.expect("it reads");
        let expected = lines.iter().enumerate().skip(from);
        let expected: Vec<_> =
            expected.map(|(seq, line)| (Seq(seq as u64), line.clone())).collect();
        assert_eq!(read, expected, "from {from}");
    }
}

/// More events than any home reads or writes in one piece.
pub async fn many_events_are_read_back_over_every_page<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "many").await;
    for batch in 0..6 {
        let drafts: Vec<_> = (0..171).map(|n| fact(batch * 1_000 + n)).collect();
        log.must_append(&mut store, &drafts).await;
    }
    log.publish(&mut store).await;
    let (mut count, size) = (0, store.head().size);
    store.read(Seq(1), &mut |_, _| count += 1).await.expect("it reads");
    assert_eq!((size, count), (1 + 6 * 171, 6 * 171));
    drop(store);
    let store = log.goes_on().await;
    assert_eq!(store.head().size, size + 1);
}

/// A published head is never followed by one over fewer events.
pub async fn a_checkpoint_never_goes_back<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "checkpoint").await;
    let older = store.checkpoint();
    assert_eq!((older.size, store.signed()), (1, 1));
    log.must_append(&mut store, &[fact(1)]).await;
    let newer = log.publish(&mut store).await;
    let refused = store.publish(&older, &older.sign(log.key())).await;
    assert!(matches!(refused, Err(StoreError::OlderCheckpoint { size: 1, signed: 2 })));
    let again = log.publish(&mut store).await;
    assert_eq!((again, store.signed()), (newer, 2));
    drop(store);
    let store = log.open().await.expect("it opens");
    assert_eq!(store.signed(), 2);
    drop(store);
    log.goes_on().await;
}

/// Content is found by its digest; what is missing or altered is told from it.
pub async fn blobs_are_kept_and_an_altered_one_is_noticed<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "blobs").await;
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let blob = put(&mut store, &content).await;
    assert_eq!(put(&mut store, &content).await, blob);
    let empty = put(&mut store, b"").await;
    drop(store);
    let mut store = log.open().await.expect("it opens");
    assert_eq!(store.get_blob(&blob).await.expect("it is there"), content);
    assert_eq!(store.get_blob(&empty).await.expect("it is there"), b"");

    let mut altered = content.clone();
    altered[7] ^= 1;
    for other in [&altered[..], &content[1..]] {
        home.replace_blob(log.origin(), &blob.digest, Some(other)).await;
        let got = store.get_blob(&blob).await;
        assert!(matches!(got, Err(BlobError::Damaged { .. })), "{got:?}");
        // Storing it again heals it or is refused: what is acknowledged can be fetched.
        if store.put_blob(&content).await.is_ok() {
            assert_eq!(store.get_blob(&blob).await.expect("acknowledged"), content);
        }
    }
    home.replace_blob(log.origin(), &blob.digest, None).await;
    assert!(matches!(store.get_blob(&blob).await, Err(BlobError::Missing { .. })));
    assert_eq!(put(&mut store, &content).await, blob);
    assert_eq!(store.get_blob(&blob).await.expect("it is there again"), content);
}

/// A kind this version does not know is verified and shown, and nothing is written behind it.
pub async fn a_newer_kind_is_read_but_not_written_behind<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "newer").await;
    let unknown = UnknownEvent { kind: "moon_landed".into(), schema: 1, data: "{}".into() };
    log.must_append(&mut store, &[draft(Event::Unknown(unknown))]).await;
    log.publish(&mut store).await;
    drop(store);
    assert_eq!(log.verify().await.len(), 2);
    let error = log.refused("a newer kind").await;
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
    assert_eq!(log.verify().await.len(), 2);
}

/// Behind a `log_moved` to another home nothing is appended here.
pub async fn a_log_that_was_moved_takes_nothing_more<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "moved-away").await;
    let (from, to) = (home.name().await, "postgres:1/elsewhere".to_owned());
    log.must_append(&mut store, &[draft(LogMoved { from, to: to.clone() })]).await;
    log.publish(&mut store).await;
    drop(store);
    let error = log.refused("a log that was moved").await;
    assert!(matches!(&error, OpenError::Moved { to: found, .. } if *found == to), "{error}");
    assert_eq!(log.verify().await.len(), 2);
}

/// Behind a `log_moved` to this home it goes on here.
pub async fn a_log_that_was_moved_here_goes_on<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "moved-here").await;
    let moved = LogMoved { from: "elsewhere".to_owned(), to: home.name().await };
    log.must_append(&mut store, &[draft(moved)]).await;
    drop(store);
    log.goes_on().await;
}

/// A second beginning is refused and changes nothing.
pub async fn a_log_is_created_once<H: Home>(home: &H) {
    let (log, store) = Log::create(home, "once").await;
    drop(store);
    let lines = log.lines().await;
    let Err(error) = log.begin().await else { panic!("created twice") };
    assert!(matches!(error, OpenError::Exists { .. }), "{error}");
    assert_eq!(log.lines().await, lines);
    log.goes_on().await;
}

/// What is not there is not opened, and not made by trying.
pub async fn a_log_that_is_not_there_is_missing<H: Home>(home: &H) {
    let log = Log::named(home, "missing");
    for _ in 0..2 {
        let error = log.refused("no log").await;
        assert!(matches!(error, OpenError::Read(_)), "{error}");
    }
    drop(log.begin().await.expect("there is none"));
    log.goes_on().await;
}

/// NUL, line feeds, what turns the direction of writing, and characters beyond the first plane are
/// kept as they are.
pub async fn a_string_may_hold_any_character<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "characters").await;
    let texts = [
        "\u{0}\u{1}\u{1f}\u{7f}\u{80}",
        "\n\r\t\u{8}\u{c}\"\\/",
        "\\u0000 and \\\\u0000",
        "\u{202e}\u{2066}\u{2028}\u{feff}\u{1f600}\u{10ffff}",
        "\",\"seq\":7,\"",
    ];
    for text in texts {
        log.must_append(&mut store, &[padded(text.to_owned())]).await;
    }
    log.publish(&mut store).await;
    drop(store);
    let events = log.verify().await;
    for (text, recorded) in texts.iter().zip(&events[1..]) {
        let Event::RunFinished(finished) = &recorded.event else { panic!("another event") };
        assert_eq!(finished.reason.as_deref(), Some(*text));
    }
    let head = KnownHead { size: 6, leaf: events[5].leaf };
    drop(log.open_knowing(&[head]).await.expect("it opens"));
    log.goes_on().await;
}
