//! Two writers of one log.

use annals_event_store::{AppendError, EventStore, OpenError};

use crate::drafts::fact;
use crate::home::{Home, Log, Writers};

/// Either the second is not let in, or each place is taken once and whoever comes late is told.
pub async fn two_writers_never_take_the_same_place<H: Home>(home: &H) {
    let (log, mut first) = Log::create(home, "writers").await;
    let second = log.open().await;
    if H::WRITERS == Writers::One {
        let Err(OpenError::Locked { holder, .. }) = second else { panic!("a second was let in") };
        assert_eq!(holder, "the first");
        log.must_append(&mut first, &[fact(1)]).await;
        drop(first);
        log.goes_on().await;
        return;
    }
    let mut second = second.expect("two may write");
    for n in 0..5 {
        log.must_append(&mut first, &[fact(10 * n), fact(10 * n + 1)]).await;
        let built_on = second.head();
        let late = log.append(&mut second, &[fact(10 * n + 2)]).await;
        let Err(AppendError::HeadMoved { expected, found }) = late else { panic!("{late:?}") };
        assert_eq!((expected, found), (built_on, first.head()));
        // The late one has seen what came in between, and goes on behind it.
        assert_eq!(second.head(), first.head());
        assert_eq!(second.checkpoint(), first.checkpoint());
        log.must_append(&mut second, &[fact(10 * n + 3)]).await;
        let late = log.append(&mut first, &[fact(10 * n + 4)]).await;
        assert!(matches!(late, Err(AppendError::HeadMoved { .. })), "{late:?}");
    }
    assert_eq!(log.verify().await, log.acknowledged());
    log.publish(&mut second).await;
    drop((first, second));
    log.goes_on().await;
}
