//! The lock of a run: asked for in the message that begins each step.

use annals_events::{Digest, Direction, LeafHash, RunId, Version};
use annals_postgres::{
    ConnectionSpec, LockKey, NewLedgerRow, Session, SessionSettings, StepBeginning, StepFault,
    TransactionLimits,
};
use annals_testkit::Server;

use crate::block_on;

async fn session(server: &Server) -> Session {
    let spec = ConnectionSpec::from_url(&server.url()).unwrap();
    spec.connect("annals/lock", &SessionSettings::default()).await.unwrap()
}

fn key() -> LockKey {
    LockKey::of("lock")
}

/// Begins a step and takes it back; says whether the lock was ours.
async fn is_kept(session: &mut Session) -> bool {
    let version: Version = "1".parse().unwrap();
    let run: RunId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    let row = NewLedgerRow {
        workspace: "lock",
        version: &version,
        ordinal: 1,
        direction: Direction::Up,
        name: "one",
        file_raw: Digest::of(b""),
        run,
        step: 0,
        log_origin: "here",
        intent_seq: 1,
        intent_hash: LeafHash::ZERO,
        actor: "ann",
    };
    let limits = TransactionLimits { lock_ms: 1_000, statement_ms: 0 };
    let beginning = StepBeginning { limits, lock: key(), row: &row, is_open: false };
    let begun = session.begin_step(&beginning, &["SELECT 1"]).await;
    session.roll_back().await.unwrap();
    match begun {
        Ok(_) => true,
        Err(StepFault::LockLost) => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_lock_that_is_asked_for_keeps_others_out() {
    let server = Server::start();
    block_on(async {
        let (mut ours, mut theirs) = (session(&server).await, session(&server).await);
        ours.install_ledger().await.unwrap();
        assert!(!is_kept(&mut ours).await, "nobody has taken it");
        assert!(ours.try_lock(key()).await.unwrap());
        for _ in 0..3 {
            assert!(is_kept(&mut ours).await);
            assert!(!is_kept(&mut theirs).await);
            assert!(!theirs.try_lock(key()).await.unwrap());
            assert!(ours.holds_lock(key()).await.unwrap());
        }
        ours.unlock(key()).await.unwrap();
        assert!(!ours.holds_lock(key()).await.unwrap());
        assert!(theirs.try_lock(key()).await.unwrap());
    });
}

#[test]
fn a_lock_that_a_file_has_given_back_is_missed() {
    let server = Server::start();
    block_on(async {
        let (mut ours, mut theirs) = (session(&server).await, session(&server).await);
        ours.install_ledger().await.unwrap();
        assert!(ours.try_lock(key()).await.unwrap());
        ours.run("SELECT pg_advisory_unlock_all()").await.unwrap();
        assert!(!is_kept(&mut ours).await);
        // Asking has not taken it.
        assert!(!ours.holds_lock(key()).await.unwrap());
        assert!(theirs.try_lock(key()).await.unwrap());
        assert!(!is_kept(&mut ours).await);
        assert!(is_kept(&mut theirs).await);
    });
}

#[test]
fn one_of_two_holds_keeps_others_out_as_well() {
    let server = Server::start();
    block_on(async {
        let (mut ours, mut theirs) = (session(&server).await, session(&server).await);
        ours.install_ledger().await.unwrap();
        assert!(ours.try_lock(key()).await.unwrap());
        let give = format!("SELECT pg_advisory_unlock({})", key().number());
        ours.run(&give).await.unwrap();
        assert!(!theirs.try_lock(key()).await.unwrap());
        assert!(is_kept(&mut ours).await);
        assert!(!theirs.try_lock(key()).await.unwrap());
        ours.run(&give).await.unwrap();
        assert!(!is_kept(&mut ours).await);
        assert!(theirs.try_lock(key()).await.unwrap());
    });
}
