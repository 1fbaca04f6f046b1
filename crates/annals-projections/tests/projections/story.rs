//! Some weeks of one target, made up: everything that can happen to it happens once.
//!
//! Built event by event, without a clock and without randomness: the same bytes on every machine.

use annals_events::*;
use annals_projections::{SeenMigration, SeenSet};
use uuid::Uuid;

/// 2026-01-05T09:00:00Z, a Monday.
const BEGINNING_US: i64 = 1_767_603_600_000_000;
const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

const FIRST_KEY: &str = "shop+f123c0b0+AYP91qRTYiIgJBR9nk3bYUGkoGyV57Y1iGlJtS1Ms9zl";
const SECOND_KEY: &str = "shop+0badcafe+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh";
const APPROVER_KEY: &str = "lucja+5eed5eed+AR8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";

fn uuid(kind: u128, n: u128) -> Uuid {
    Uuid::from_u128(0x019b_8c00_0000_7000_8000_0000_0000_0000 + (kind << 32) + n)
}

/// Run `n` of the story.
pub(crate) fn run(n: u128) -> RunId {
    RunId(uuid(1, n))
}

/// Approval `n` of the story.
pub(crate) fn approval(n: u128) -> ApprovalId {
    ApprovalId(uuid(2, n))
}

/// Backup `n` of the story.
pub(crate) fn backup(n: u128) -> BackupId {
    BackupId(uuid(3, n))
}

fn blob(text: &str) -> BlobRef {
    BlobRef { digest: Digest::of(text.as_bytes()), size: text.len() as u64 }
}

fn file(name: &str) -> FileRef {
    FileRef {
        canonical: Digest::of(format!("statements of {name}").as_bytes()),
        name: name.to_owned(),
        raw: Digest::of(name.as_bytes()),
    }
}

/// The migrations, by number from 1.
const IDS: [(&str, &str); 5] =
    [("001", "users"), ("002", "orders"), ("003", "totals"), ("004", "index"), ("005", "audit")];

/// The first `n` migrations as the workspace held them.
pub(crate) fn seen(n: usize) -> SeenSet {
    let one = |(version, name): &(&str, &str)| {
        let rollback = file(&format!("{version}_{name}_rollback.sql"));
        let up = file(&format!("{version}_{name}.sql"));
        SeenMigration::new(version.parse().unwrap(), up, Some(rollback))
    };
    SeenSet::new(IDS[..n].iter().map(one).collect())
}

/// A log in the making.
pub(crate) struct Story {
    chain: Chain,
    clock_us: i64,
    actor: &'static str,
    target: Option<TargetIdentity>,
    pub(crate) lines: Vec<u8>,
    pub(crate) events: Vec<Recorded>,
}

impl Story {
    fn say(&mut self, event: impl Into<Event>) -> Seq {
        let n = self.events.len() as u128;
        let draft = Draft {
            event: event.into(),
            id: EventId(uuid(0, n)),
            occurred_at: Timestamp::from_micros(self.clock_us),
            actor: Actor {
                host: "build-7".to_owned(),
                name: self.actor.to_owned(),
                tool: "annals 0.1.0".to_owned(),
            },
            target: self.target.clone(),
            incarnation: 0,
        };
        self.clock_us += 250_000;
        let (origin, now) = ("shop/production".parse().unwrap(), self.clock_us);
        let now = Timestamp::from_micros(now);
        let recorded = seal(&mut self.chain, &origin, &draft, now, &mut self.lines).unwrap();
        let seq = recorded.seq;
        self.events.push(recorded);
        seq
    }

    fn wait(&mut self, us: i64) {
        self.clock_us += us;
    }

    fn began(&mut self, n: u128, direction: Direction, steps: u64) {
        let plan = blob(&format!("plan {n}"));
        self.say(PlanMade { direction, plan, steps });
        self.say(RunStarted { direction, plan: plan.digest, run: run(n), steps });
    }

    /// The intent of a step for migration `number`, which changes for the `ordinal`th time.
    fn step(&mut self, n: u128, step: u64, number: usize, ordinal: u64) {
        let (version, name) = IDS[number - 1];
        let up = ordinal % 2 == 1;
        let rollback = file(&format!("{version}_{name}_rollback.sql"));
        let whole = file(&format!("{version}_{name}.sql"));
        let outside = number == 4 && up;
        self.say(StepStarted {
            direction: if up { Direction::Up } else { Direction::Down },
            file: if up { whole } else { rollback.clone() },
            mode: if outside { StepMode::StatementByStatement } else { StepMode::Transactional },
            name: name.to_owned(),
            ordinal,
            rollback: up.then_some(rollback),
            run: run(n),
            statements: if outside { 2 } else { 1 },
            step,
            version: version.parse().unwrap(),
        });
    }

    fn did(&mut self, n: u128, step: u64, number: usize, ordinal: u64) {
        self.step(n, step, number, ordinal);
        let transaction = (700 + self.events.len()).to_string();
        self.say(StepSucceeded { duration_us: 12_345, run: run(n), step, transaction });
    }

    fn failed(&mut self, n: u128, step: u64, code: &str, message: &str) {
        let error = RecordedError {
            code: Some(code.to_owned()),
            line: Some(7),
            message: message.to_owned(),
            statement: Some(1),
        };
        let effect = Effect::None;
        self.say(StepFailed { duration_us: 2_000, effect, error, run: run(n), step });
    }

    fn settled(&mut self, n: u128, step: u64, found: ReconciledAs) {
        let took_effect = found == ReconciledAs::TookEffect;
        let evidence = Evidence {
            ledger_row: took_effect,
            statements_done: u64::from(found == ReconciledAs::Partial),
            transaction: took_effect.then(|| "9001".to_owned()),
            transaction_status: took_effect.then(|| "committed".to_owned()),
        };
        self.say(StepReconciled { evidence, found, run: run(n), step });
    }

    fn ended(&mut self, n: u128, outcome: RunOutcome, reason: Option<&str>, steps_done: u64) {
        let reason = reason.map(str::to_owned);
        self.say(RunFinished { outcome, reason, run: run(n), steps_done });
    }

    fn pictured(&mut self, n: u128, objects: u64) {
        let snapshot = blob(&format!("schema of {objects} objects"));
        let fingerprint = snapshot.digest;
        self.say(SchemaRecorded {
            fingerprint,
            objects,
            run: Some(run(n)),
            server_major: 15,
            snapshot,
            step: None,
        });
    }

    fn checked(&mut self, findings: u64) {
        let passed = CheckOutcome::Passed;
        let indexes = if findings == 0 { passed } else { CheckOutcome::Failed };
        let checks = CheckResults {
            constraints: passed,
            data_consistency: CheckOutcome::NotChecked,
            history: passed,
            indexes,
            permissions: passed,
            table_structure: passed,
        };
        let report = blob(&format!("{findings} findings"));
        let level = CheckLevel::Standard;
        self.say(IntegrityChecked {
            checks,
            duration_us: None,
            findings,
            level,
            report,
            result: indexes,
        });
    }

    fn read_migrations(&mut self, n: usize) {
        let set = seen(n).to_blob();
        let set = BlobRef { digest: Digest::of(&set), size: set.len() as u64 };
        self.say(MigrationsSeen { files: n as u64, set });
    }

    fn approved(&mut self, n: u128, plan: u128, lapses_after_us: Option<i64>) {
        let expires_at = lapses_after_us.map(|us| Timestamp::from_micros(self.clock_us + us));
        self.say(ApprovalGiven {
            approval: approval(n),
            approver: "Łucja".to_owned(),
            expires_at,
            key: APPROVER_KEY.to_owned(),
            plan: blob(&format!("plan {plan}")).digest,
            signature: "AA==".to_owned(),
        });
    }

    fn anchored(&mut self, anchor: &str, kind: &str) {
        let (root, size) = (self.chain.root(), self.chain.size());
        let (anchor, kind) = (anchor.to_owned(), kind.to_owned());
        self.say(CheckpointAnchored { anchor, kind, root, size });
    }

    fn backed_up(&mut self, n: u128, for_run: Option<u128>) {
        let manifest = blob(&format!("manifest {n}"));
        let (kind, run) = ("full".to_owned(), for_run.map(run));
        self.say(BackupTaken {
            backup: backup(n),
            bytes: 4_096 * n as u64,
            duration_us: None,
            kind,
            manifest,
            run,
        });
    }

    fn looked_at_backup(&mut self, n: u128, depth: BackupDepth, result: CheckOutcome) {
        self.say(BackupVerified { backup: backup(n), depth, result });
    }
}

/// The first two days: two migrations, a backup, a third that fails.
fn beginning(story: &mut Story) {
    story.say(LogCreated {
        checkpoint_key: FIRST_KEY.to_owned(),
        format: FORMAT_VERSION,
        target: "production".to_owned(),
        workspace: "shop".to_owned(),
    });
    story.target = Some(TargetIdentity {
        database: "app".to_owned(),
        system_identifier: "7412345678901234567".to_owned(),
        timeline: 1,
    });
    let (platform, server_version) = ("plain".to_owned(), "15.18".to_owned());
    story.say(TargetRegistered { platform, reason: None, server_version });
    story.say(KeyAdded { key: APPROVER_KEY.to_owned(), purpose: KeyPurpose::Approver });
    story.read_migrations(3);
    story.began(1, Direction::Up, 2);
    story.did(1, 0, 1, 1);
    story.did(1, 1, 2, 1);
    story.ended(1, RunOutcome::Succeeded, None, 2);
    story.pictured(1, 20);
    story.wait(30 * MINUTE_US);
    story.checked(0);
    story.anchored("vault", "directory");
    story.wait(DAY_US);
    story.actor = "Łucja";
    story.approved(1, 2, Some(DAY_US));
    story.actor = "Ada";
    story.backed_up(1, Some(2));
    story.looked_at_backup(1, BackupDepth::Sealed, CheckOutcome::Passed);
    story.began(2, Direction::Up, 1);
    story.step(2, 0, 3, 1);
    story.failed(2, 0, "42P01", "relation \"order\" does not exist");
    story.ended(2, RunOutcome::Failed, Some("003_totals failed"), 0);
}

/// A step outside a transaction is killed half-way, and continued.
fn half_way(story: &mut Story) {
    story.wait(2 * DAY_US);
    story.read_migrations(4);
    story.began(3, Direction::Up, 2);
    story.did(3, 0, 3, 1);
    story.step(3, 1, 4, 1);
    let sql = |n: u64| Digest::of(format!("statement {n}").as_bytes());
    let (step, by_now) = (1, run(3));
    story.say(StatementStarted { run: by_now, sql: sql(1), statement: 1, step });
    story.say(StatementSucceeded { duration_us: 70, found: None, run: by_now, statement: 1, step });
    story.say(StatementStarted { run: by_now, sql: sql(2), statement: 2, step });
    story.wait(10 * MINUTE_US);
    let (digest, quarantined_as) = (Digest::of(b"torn"), "tail-31-0123456789ab".to_owned());
    story.say(TailRepaired { bytes: 4, digest, quarantined_as });
    story.settled(3, 1, ReconciledAs::Partial);
    story.ended(3, RunOutcome::Interrupted, Some("its process was killed"), 1);
    story.began(4, Direction::Up, 1);
    story.step(4, 0, 4, 1);
    let found = Some("index orders_by_day is valid".to_owned());
    story.say(StatementSucceeded { duration_us: 40, found, run: run(4), statement: 2, step: 0 });
    let transaction = "801".to_owned();
    story.say(StepSucceeded { duration_us: 90_000, run: run(4), step: 0, transaction });
    story.ended(4, RunOutcome::Succeeded, None, 1);
    story.pictured(4, 31);
    story.checked(2);
    story.wait(MINUTE_US);
    story.checked(0);
}

/// Another key, another home.
fn moving_house(story: &mut Story) {
    story.wait(3 * DAY_US);
    story.say(KeyAdded { key: SECOND_KEY.to_owned(), purpose: KeyPurpose::Log });
    let (key, size) = (FIRST_KEY.to_owned(), Some(story.chain.size()));
    story.say(KeyRetired { key, purpose: KeyPurpose::Log, size });
    let backend = || "postgres".to_owned();
    story.say(StoreInstalled { backend: backend(), format: 1 });
    let to = "postgres:7412345678901234567/app".to_owned();
    story.say(LogMoved { from: "file".to_owned(), to });
    story.say(StoreUpgraded { backend: backend(), from: 1, to: 2 });
    story.anchored("vault", "directory");
    story.anchored("far away", "s3");
    story.backed_up(2, None);
    story.looked_at_backup(2, BackupDepth::Restored, CheckOutcome::Passed);
    story.backed_up(3, None);
    story.looked_at_backup(3, BackupDepth::Restored, CheckOutcome::Failed);
    story.say(BackupFailed { reason: "no space left on device".to_owned(), run: None });
    story.say(BackupRemoved { backup: backup(1), reason: "older than 7 days".to_owned() });
}

/// A commit whose answer was lost, an emergency, and a way back.
fn emergency(story: &mut Story) {
    story.wait(DAY_US);
    story.read_migrations(5);
    story.actor = "Łucja";
    story.approved(2, 5, None);
    story.approved(3, 99, Some(30 * DAY_US));
    let reason = "the plan was wrong".to_owned();
    story.say(ApprovalRevoked { approval: approval(3), reason });
    story.actor = "Ada";
    story.began(5, Direction::Up, 1);
    story.step(5, 0, 5, 1);
    story.settled(5, 0, ReconciledAs::TookEffect);
    story.ended(5, RunOutcome::Interrupted, Some("the connection was lost"), 1);
    story.wait(5 * MINUTE_US);
    story.actor = "Grace";
    let to_version: Option<Version> = Some("003".parse().unwrap());
    let declared = |n: u128| EmergencyDeclared {
        reason: "checkout is down".to_owned(),
        run: run(n),
        to_version: to_version.clone(),
    };
    story.say(declared(6));
    story.began(6, Direction::Down, 2);
    story.did(6, 0, 5, 2);
    story.step(6, 1, 4, 2);
    story.failed(6, 1, "55P03", "canceling statement due to lock timeout");
    story.ended(6, RunOutcome::Failed, Some("004_index failed"), 1);
    story.wait(MINUTE_US);
    story.say(declared(7));
    story.began(7, Direction::Down, 1);
    story.did(7, 0, 4, 2);
    story.ended(7, RunOutcome::Succeeded, None, 1);
    story.pictured(7, 29);
    story.checked(0);
    story.anchored("vault", "directory");
    rehearsed_and_drifted(story);
    brought_back(story);
}

/// The emergency is over and rehearsed for the next time, the glass that was broken looked at; a
/// backup takes the place of the target.
fn brought_back(story: &mut Story) {
    story.wait(MINUTE_US);
    story.say(EmergencyFinished {
        duration_us: 1_500_000,
        lost_rows: Some(12),
        result: CheckOutcome::Passed,
        run: run(7),
        terminated: 1,
        way: EmergencyWay::Rollback,
    });
    story.say(BreakGlassUsed {
        journal: None,
        reason: "nobody else was awake".to_owned(),
        run: run(7),
        without: WithoutSafeguard::Approval,
    });
    story.say(BreakGlassReviewed { note: "it was right".to_owned(), run: run(7) });
    let recipients = vec!["vault".to_owned()];
    let manifest = blob("manifest 2, for others");
    story.say(BackupRekeyed { backup: backup(2), bytes: 4160, manifest, recipients });
    story.say(EmergencyRehearsed {
        backup: backup(2),
        duration_us: 900_000,
        restore_us: 4_000_000,
        result: CheckOutcome::Passed,
        steps: 1,
        to_version: Some("003".parse().unwrap()),
        way: EmergencyWay::Rollback,
    });
    restored(story);
    rows_restored(story);
    let (list, signatures) = (blob("approvers"), Vec::new());
    story.say(ApproversChanged { approvers: 3, before: None, list, signatures });
}

/// A backup takes the place of the target, and has every change the target had.
fn restored(story: &mut Story) {
    let (after, before) = (Digest::of(b"restored"), Digest::of(b"schema"));
    let (direction, plan) = (Direction::Down, Digest::of(b"restore"));
    story.say(RunStarted { direction, plan, run: run(20), steps: 0 });
    story.say(RestoreStarted {
        after,
        backup: backup(2),
        before,
        keep_as: Some("app_before_restore".to_owned()),
        log_size: 40,
        restored_oid: Some(20_002),
        run: run(20),
        scratch: Some("annals_restore_20".to_owned()),
        server_major: 15,
        target_oid: 16_384,
    });
    story.say(TargetRestored {
        after,
        backup: backup(2),
        before: Some(before),
        kept_as: Some("app_before_restore".to_owned()),
        log_size: 40,
        run: run(20),
        server_major: 15,
    });
    let outcome = RunOutcome::Succeeded;
    story.say(RunFinished { outcome, reason: None, run: run(20), steps_done: 0 });
}

/// Rows that somebody deleted are put back; a run relies on a backup of somebody else's.
fn rows_restored(story: &mut Story) {
    let (direction, plan) = (Direction::Up, Digest::of(b"rows"));
    let tables = vec!["public.orders".to_owned(), "public.lines".to_owned()];
    story.say(RunStarted { direction, plan, run: run(21), steps: 0 });
    let (backup, rows) = (backup(2), RowsWanted::All);
    story.say(RowsRestoreStarted { backup, rows, run: run(21), tables: tables.clone() });
    let table = |(table, inserted): (String, u64)| RestoredTable {
        inserted,
        replaced: inserted / 2,
        table,
    };
    let tables = tables.into_iter().zip([1, 4]).map(table).collect();
    story.say(RowsRestored { backup, run: run(21), tables });
    let outcome = RunOutcome::Succeeded;
    story.say(RunFinished { outcome, reason: None, run: run(21), steps_done: 0 });
    story.say(ExternalBackupNamed {
        evidence: "pgbackrest info: ok".to_owned(),
        lsn: "0/1949F80".to_owned(),
        name: "20260101-000000F".to_owned(),
        run: run(22),
    });
}

/// A rollback is rehearsed; somebody makes an index by hand, and keeps it.
fn rehearsed_and_drifted(story: &mut Story) {
    story.wait(MINUTE_US);
    let schema = |text: &str| Digest::of(text.as_bytes());
    story.say(ProofRecorded {
        after: Some(schema("after")),
        batch: 1,
        before: schema("before"),
        chain: Some(ProofVerdict::ColumnOrder),
        file: file("005_audit.sql").into(),
        lost_rows: 0,
        name: "audit".to_owned(),
        report: blob("proof"),
        rollback: Some(file("005_audit_rollback.sql").into()),
        server_major: 15,
        verdict: ProofVerdict::Exact,
        version: "005".parse().unwrap(),
    });
    story.say(DriftFound {
        differences: 1,
        expected: schema("after"),
        found: schema("by hand"),
        report: blob("drift"),
        server_major: 15,
    });
    story.say(DriftAccepted {
        differences: 1,
        expected_major: Some(15),
        reason: "the index was needed at once".to_owned(),
        report: blob("drift"),
        server_major: 15,
    });
    story.say(SchemaRecorded {
        fingerprint: schema("by hand"),
        objects: 30,
        run: None,
        server_major: 15,
        snapshot: blob("picture"),
        step: None,
    });
}

/// Somebody begins to adopt what a tool of old has applied, and thinks better of it.
fn not_adopted(story: &mut Story) {
    story.wait(MINUTE_US);
    story.say(RunStarted {
        direction: Direction::Up,
        plan: blob("adoption 9").digest,
        run: run(9),
        steps: 1,
    });
    story.say(BaselineAdopted {
        basis: AdoptionBasis::Declared,
        direction: Direction::Up,
        evidence: Box::new(AdoptionEvidence {
            file: FileStanding::NotCompared,
            found: "Grace says so".to_owned(),
            row: None,
            timeline: Some(1),
            timeline_then: None,
            transaction_status: None,
        }),
        file: file("005_audit.sql"),
        holds: true,
        name: "audit".to_owned(),
        ordinal: 3,
        parent: None,
        reason: Some("it was applied by hand".to_owned()),
        remains: None,
        rollback: None,
        run: run(9),
        step: 0,
        version: "005".parse().unwrap(),
    });
    story.ended(9, RunOutcome::Interrupted, Some("the target was lost"), 0);
}

/// Up again; the last step is in doubt when the log ends.
fn end(story: &mut Story) {
    story.wait(7 * DAY_US);
    story.actor = "Ada";
    story.began(8, Direction::Up, 2);
    story.did(8, 0, 4, 3);
    story.step(8, 1, 5, 3);
}

/// The whole story.
pub(crate) fn story() -> Story {
    let mut story = Story {
        chain: Chain::default(),
        clock_us: BEGINNING_US,
        actor: "Ada",
        target: None,
        lines: Vec::new(),
        events: Vec::new(),
    };
    beginning(&mut story);
    half_way(&mut story);
    moving_house(&mut story);
    emergency(&mut story);
    not_adopted(&mut story);
    end(&mut story);
    story
}
