//! What every kind of anchor does: run against a folder and against a store.

use annals_anchor::{Anchor, AnchorError, ObjectPath};
use annals_keys::SecretKey;

use crate::sample::{Fault, OPEN, Sample};
use crate::whole::download_and_check;

fn may_move_between_threads<F: Future + Send>(future: F) -> F {
    future
}

/// Publishes a growing log; after each publication the copy is whole.
pub(crate) async fn a_growing_log_stays_whole(anchor: &Anchor) {
    assert_eq!(anchor.read_checkpoint().await.unwrap(), None);
    let mut since_size = 0;
    for size in [1, 2, 99, 100, 101, 255, 256, 257, 700] {
        let log = Sample::new(size);
        let receipt = may_move_between_threads(anchor.publish(&log, OPEN)).await.unwrap();
        assert_eq!((receipt.since_size, receipt.size), (since_size, size as u64));
        assert_eq!(receipt.place, anchor.name());
        assert_eq!(receipt.kind, anchor.kind());
        assert!(receipt.objects_written > 1 && receipt.bytes_written > 0);
        assert_eq!(download_and_check(anchor, &log).await, size as u64);
        since_size = size as u64;
    }
    let log = Sample::new(700);
    let note = anchor.read_checkpoint().await.unwrap().unwrap();
    assert_eq!(OPEN(&note).unwrap(), *annals_anchor::Exhibit::checkpoint(&log));
    let again = anchor.publish(&log, OPEN).await.unwrap();
    assert_eq!((again.objects_written, again.objects_present), (0, 0));
    let first = log.fixed_objects().remove(0);
    assert_eq!(anchor.fetch(&first.path).await.unwrap(), first.bytes);
    let absent: ObjectPath = "tile/9/999".parse().unwrap();
    let error = anchor.fetch(&absent).await.unwrap_err();
    assert!(matches!(error, AnchorError::Absent { .. }), "{error}");
}

/// Publishes to an anchor that holds 300 events what does not fit, and nothing changes there.
pub(crate) async fn what_does_not_fit_is_refused(anchor: &Anchor) {
    let log = Sample::new(300);
    anchor.publish(&log, OPEN).await.unwrap();
    let note = anchor.read_checkpoint().await.unwrap().unwrap();

    let refusal = async |log: &Sample| {
        let error = anchor.publish(log, OPEN).await.unwrap_err();
        assert!(error.to_string().contains(&anchor.name()), "{error}");
        assert!(!error.next_step().is_empty());
        error
    };

    let error = refusal(&Sample::new(299)).await;
    assert!(
        matches!(&error, AnchorError::Ahead { note: held, size: 300, ours: 299, .. } if *held == note),
        "{error}"
    );
    for fork in [Sample::fork(300, 299), Sample::fork(300, 0), Sample::fork(400, 150)] {
        let error = refusal(&fork).await;
        assert!(
            matches!(&error, AnchorError::Fork { note: held, size: 300, .. } if *held == note),
            "{error}"
        );
    }
    // What the signed 300 events do not contain is not judged by them.
    let error = refusal(&Sample::telling(400, usize::MAX, "shop/staging")).await;
    assert!(matches!(error, AnchorError::ForeignOrigin { .. }), "{error}");
    let stranger = SecretKey::generate("stranger").unwrap();
    let error = refusal(&Sample::new(400).signed_by(&stranger)).await;
    assert!(matches!(error, AnchorError::OwnNote { source: Some(_), .. }), "{error}");
    let error = anchor
        .publish(&Sample::new(400).signed_by(&stranger), &|note| {
            annals_keys::Checkpoint::open(note, &stranger.verifier().into())
        })
        .await
        .unwrap_err();
    assert!(
        matches!(&error, AnchorError::Unverified { note: held, .. } if *held == note),
        "{error}"
    );

    assert_eq!(anchor.read_checkpoint().await.unwrap().unwrap(), note);
    assert_eq!(download_and_check(anchor, &log).await, 300);
    anchor.publish(&Sample::new(400), OPEN).await.unwrap();
    assert_eq!(download_and_check(anchor, &Sample::new(400)).await, 400);
}

/// A log side that shows other lines than it signed gets no checkpoint.
pub(crate) async fn a_log_that_shows_other_lines_is_not_signed_for(anchor: &Anchor) {
    anchor.publish(&Sample::new(10), OPEN).await.unwrap();
    let note = anchor.read_checkpoint().await.unwrap().unwrap();
    for fault in [Fault::Gap, Fault::Short, Fault::Checkpoint, Fault::Error, Fault::Torn] {
        let mut log = Sample::new(350);
        log.fault = Some(fault);
        let error = anchor.publish(&log, OPEN).await.unwrap_err();
        let expected = matches!(error, AnchorError::Incomplete { .. } | AnchorError::Log { .. });
        assert!(expected, "{fault:?}: {error}");
        assert_eq!(anchor.read_checkpoint().await.unwrap().unwrap(), note, "{fault:?}");
        assert_eq!(download_and_check(anchor, &Sample::new(350)).await, 10, "{fault:?}");
    }
    anchor.publish(&Sample::new(350), OPEN).await.unwrap();
    assert_eq!(download_and_check(anchor, &Sample::new(350)).await, 350);

    let mut log = Sample::new(400);
    log.fault = Some(Fault::Long);
    let error = anchor.publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Incomplete { size: 400, shown: 401, .. }), "{error}");
    assert_eq!(OPEN(&anchor.read_checkpoint().await.unwrap().unwrap()).unwrap().size, 350);
}

/// Lines of a publication that was cut short belong to a larger log, which alone may go on.
///
/// `cut_short` publishes to the same place and dies before the checkpoint.
pub(crate) async fn lines_beyond_this_log_are_not_signed_for(
    anchor: &Anchor,
    cut_short: impl AsyncFn(&Sample),
) {
    anchor.publish(&Sample::new(10), OPEN).await.unwrap();
    cut_short(&Sample::new(350)).await;
    let error = anchor.publish(&Sample::new(120), OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Beyond { ours: 120, .. }), "{error}");
    let error = anchor.publish(&Sample::fork(350, 110), OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Conflict { .. }), "{error}");
    assert_eq!(download_and_check(anchor, &Sample::new(400)).await, 10);
    anchor.publish(&Sample::new(400), OPEN).await.unwrap();
    assert_eq!(download_and_check(anchor, &Sample::new(400)).await, 400);
}

/// Two publishers of a growing log at once; `other` speaks to the same place.
pub(crate) fn publishers_at_once_end_well_or_cleanly(one: Anchor, other: Anchor) -> Anchor {
    let publish = |anchor: &Anchor, sizes: &[usize]| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut published = 0;
        for size in sizes {
            let log = Sample::new(*size);
            match runtime.block_on(anchor.publish(&log, OPEN)) {
                Ok(receipt) => {
                    assert_eq!(receipt.size, *size as u64);
                    published += 1;
                }
                Err(
                    AnchorError::Ahead { .. }
                    | AnchorError::Overtaken { .. }
                    | AnchorError::Beyond { .. }
                    | AnchorError::Contended { .. },
                ) => {}
                Err(error) => panic!("{size}: {error}"),
            }
        }
        published
    };
    let odd: Vec<usize> = (1..40).map(|n| n * 14 - 7).collect();
    let even: Vec<usize> = (1..40).map(|n| n * 14).collect();
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| publish(&one, &odd));
        let b = scope.spawn(|| publish(&other, &even));
        (a.join().unwrap(), b.join().unwrap())
    });
    println!("{a} of {} and {b} of {} publications ended well", odd.len(), even.len());
    assert!(a + b > 0);
    one
}
