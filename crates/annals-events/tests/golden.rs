//! Every kind, once: its stored bytes are canonical, read back, and never change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use uuid::Uuid;

use annals_events::*;

fn run() -> RunId {
    RunId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0001))
}

fn file(name: &str) -> FileRef {
    FileRef { canonical: Digest::of(b"c"), name: name.into(), raw: Digest::of(b"r") }
}

fn approval() -> ApprovalId {
    ApprovalId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0002))
}

fn backup() -> BackupId {
    BackupId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0003))
}

fn root() -> TreeHash {
    CompactRange::default().root()
}

fn blob() -> BlobRef {
    BlobRef { digest: Digest::of(b"blob"), size: 4 }
}

fn drift() -> [Event; 2] {
    let found = DriftFound {
        differences: 2,
        expected: Digest::of(b"schema"),
        found: Digest::of(b"another"),
        report: blob(),
        server_major: 15,
    };
    let accepted = DriftAccepted {
        differences: 2,
        expected_major: Some(15),
        reason: "the index was needed at once".into(),
        report: blob(),
        server_major: 15,
    };
    [found.into(), accepted.into()]
}

fn proof() -> Event {
    ProofRecorded {
        after: Some(Digest::of(b"another")),
        batch: 1,
        before: Digest::of(b"schema"),
        chain: Some(ProofVerdict::ColumnOrder),
        file: file("001_users.sql").into(),
        lost_rows: 3,
        name: "users".into(),
        report: blob(),
        rollback: Some(file("001_users_rollback.sql").into()),
        server_major: 15,
        verdict: ProofVerdict::LosesData,
        version: "001".parse().unwrap(),
    }
    .into()
}

fn adopted() -> Event {
    let earlier = EarlierChange {
        at: at(0),
        by: "Łucja".into(),
        direction: Direction::Up,
        duration_us: Some(1200),
        file: file("001_users.sql"),
        intent_hash: LeafHash::of_line(b"intent"),
        intent_seq: Seq(4),
        name: "users".into(),
        ordinal: 1,
        rollback: Some(file("001_users_rollback.sql")),
        run: run(),
        seq: Seq(7),
        step: 0,
        transaction: Some("742".into()),
    };
    let row = AdoptedRow {
        file: Digest::of(b"r"),
        intent_hash: LeafHash::of_line(b"intent"),
        intent_seq: 9,
        origin: "demo/production".into(),
        run: run(),
        step: 0,
        transaction: "742".into(),
    };
    BaselineAdopted {
        basis: AdoptionBasis::Lost,
        direction: Direction::Down,
        evidence: Box::new(AdoptionEvidence {
            file: FileStanding::Identical,
            found: "the ledger has no row of it".into(),
            row: Some(row),
            timeline: Some(2),
            timeline_then: Some(1),
            transaction_status: Some("in the future".into()),
        }),
        file: file("001_users_rollback.sql"),
        holds: false,
        name: "users".into(),
        ordinal: 2,
        parent: Some(Box::new(ParentLog {
            leaf: LeafHash::of_line(b"head"),
            origin: "demo/production".into(),
            size: 12,
        })),
        reason: Some("failover of 1 January".into()),
        remains: Some(Box::new(earlier)),
        rollback: None,
        run: run(),
        step: 0,
        version: "001".parse().unwrap(),
    }
    .into()
}

/// One example of every kind, in [`Event::KINDS`]' order.
fn examples() -> Vec<Event> {
    let error = RecordedError {
        code: Some("42P01".into()),
        line: Some(7),
        message: "relation \"x\" does not exist".into(),
        statement: Some(2),
    };
    let passed = CheckOutcome::Passed;
    vec![
        LogCreated {
            checkpoint_key: "demo+00000000+AQ==".into(),
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "demo".into(),
        }
        .into(),
        TargetRegistered { platform: "plain".into(), reason: None, server_version: "15.18".into() }
            .into(),
        PlanMade { direction: Direction::Up, plan: blob(), steps: 1 }.into(),
        RunStarted { direction: Direction::Up, plan: blob().digest, run: run(), steps: 1 }.into(),
        StepStarted {
            direction: Direction::Up,
            file: file("001_init.sql"),
            mode: StepMode::Transactional,
            name: "init".into(),
            ordinal: 1,
            rollback: Some(file("001_init_rollback.sql")),
            run: run(),
            statements: 3,
            step: 0,
            version: "001".parse().unwrap(),
        }
        .into(),
        StatementStarted { run: run(), sql: Digest::of(b"vacuum"), statement: 1, step: 0 }.into(),
        StatementSucceeded { duration_us: 5, found: None, run: run(), statement: 1, step: 0 }
            .into(),
        StepSucceeded { duration_us: 1200, run: run(), step: 0, transaction: "742".into() }.into(),
        StepFailed { duration_us: 9, effect: Effect::None, error, run: run(), step: 0 }.into(),
        StepReconciled {
            evidence: Evidence {
                ledger_row: true,
                statements_done: 0,
                transaction: Some("742".into()),
                transaction_status: Some("committed".into()),
            },
            found: ReconciledAs::TookEffect,
            run: run(),
            step: 0,
        }
        .into(),
        RunFinished { outcome: RunOutcome::Succeeded, reason: None, run: run(), steps_done: 1 }
            .into(),
        SchemaRecorded {
            fingerprint: Digest::of(b"schema"),
            objects: 12,
            run: Some(run()),
            server_major: 15,
            snapshot: blob(),
            step: Some(0),
        }
        .into(),
        IntegrityChecked {
            checks: CheckResults {
                constraints: passed,
                data_consistency: CheckOutcome::NotChecked,
                history: passed,
                indexes: passed,
                permissions: passed,
                table_structure: passed,
            },
            duration_us: Some(1_204_331),
            findings: 0,
            level: CheckLevel::Standard,
            report: blob(),
            result: passed,
        }
        .into(),
        TailRepaired { bytes: 17, digest: Digest::of(b"t"), quarantined_as: "tail-14".into() }
            .into(),
        KeyAdded { key: "demo+00000000+AQ==".into(), purpose: KeyPurpose::Log }.into(),
        KeyRetired { key: "demo+00000000+AQ==".into(), purpose: KeyPurpose::Log, size: Some(15) }
            .into(),
        CheckpointAnchored { anchor: "vault".into(), kind: "s3".into(), root: root(), size: 16 }
            .into(),
        LogMoved { from: "file".into(), to: "postgres:7412345678901234567/app".into() }.into(),
        StoreInstalled { backend: "postgres".into(), format: 1 }.into(),
        StoreUpgraded { backend: "postgres".into(), from: 1, to: 2 }.into(),
        MigrationsSeen { files: 3, set: blob() }.into(),
        EmergencyDeclared {
            reason: "checkout is down".into(),
            run: run(),
            to_version: Some("001".parse().unwrap()),
        }
        .into(),
        ApprovalGiven {
            approval: approval(),
            approver: "Łucja".into(),
            expires_at: Some(at(3_600_000_000)),
            key: "lucja+00000000+AQ==".into(),
            plan: blob().digest,
            signature: "AA==".into(),
        }
        .into(),
        ApprovalRevoked { approval: approval(), reason: "the plan was wrong".into() }.into(),
        BackupTaken {
            backup: backup(),
            bytes: 4096,
            duration_us: Some(2_310_442),
            kind: "full".into(),
            manifest: blob(),
            run: Some(run()),
        }
        .into(),
        BackupVerified { backup: backup(), depth: BackupDepth::Restored, result: passed }.into(),
        BackupFailed { reason: "no space left".into(), run: None }.into(),
        BackupRemoved { backup: backup(), reason: "older than 90 days".into() }.into(),
        adopted(),
        drift()[0].clone(),
        drift()[1].clone(),
        proof(),
    ]
    .into_iter()
    .chain(recovery())
    .collect()
}

/// What follows when things went wrong, and who may approve.
fn recovery() -> Vec<Event> {
    let version: Option<annals_events::Version> = Some("001".parse().unwrap());
    vec![
        RestoreStarted {
            after: Digest::of(b"restored"),
            backup: backup(),
            before: Digest::of(b"schema"),
            keep_as: Some("app_before_restore".into()),
            log_size: 17,
            restored_oid: Some(20_002),
            run: run(),
            scratch: Some("annals_restore_1".into()),
            server_major: 15,
            target_oid: 16_384,
        }
        .into(),
        TargetRestored {
            after: Digest::of(b"restored"),
            backup: backup(),
            before: Some(Digest::of(b"schema")),
            kept_as: Some("app_before_restore".into()),
            log_size: 17,
            run: run(),
            server_major: 15,
        }
        .into(),
        BackupRekeyed {
            backup: backup(),
            bytes: 4160,
            manifest: blob(),
            recipients: vec!["vault".into()],
        }
        .into(),
        EmergencyFinished {
            duration_us: 1200,
            lost_rows: Some(3),
            result: CheckOutcome::Passed,
            run: run(),
            terminated: 1,
            way: EmergencyWay::Rollback,
        }
        .into(),
        EmergencyRehearsed {
            backup: backup(),
            duration_us: 1200,
            restore_us: 3400,
            result: CheckOutcome::Passed,
            steps: 2,
            to_version: version,
            way: EmergencyWay::Rollback,
        }
        .into(),
        BreakGlassUsed {
            journal: Some(Digest::of(b"journal")),
            reason: "checkout is down".into(),
            run: run(),
            without: WithoutSafeguard::Log,
        }
        .into(),
        BreakGlassReviewed { note: "it was right".into(), run: run() }.into(),
        ApproversChanged { approvers: 3, before: None, list: blob(), signatures: Vec::new() }
            .into(),
        RowsRestoreStarted {
            backup: backup(),
            rows: RowsWanted::Missing,
            run: run(),
            tables: vec!["public.orders".into()],
        }
        .into(),
        RowsRestored {
            backup: backup(),
            run: run(),
            tables: vec![RestoredTable { inserted: 3, replaced: 0, table: "public.orders".into() }],
        }
        .into(),
        ExternalBackupNamed {
            evidence: "pgbackrest info: full backup 20260101-000000F, ok".into(),
            lsn: "0/1949F80".into(),
            name: "20260101-000000F".into(),
            run: run(),
        }
        .into(),
    ]
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + micros)
}

fn draft(event: Event, n: u128) -> Draft {
    Draft {
        event,
        id: EventId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0001_0000 + n)),
        occurred_at: at(0),
        actor: Actor { host: "build-7".into(), name: "Łucja".into(), tool: "annals 0.1.0".into() },
        target: Some(TargetIdentity {
            database: "app".into(),
            system_identifier: "7412345678901234567".into(),
            timeline: 1,
        }),
        incarnation: 0,
    }
}

fn golden_log() -> Vec<u8> {
    let origin: Origin = "demo/production".parse().unwrap();
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    for (n, event) in examples().into_iter().enumerate() {
        let now = at(n as i64 * 1000);
        seal(&mut chain, &origin, &draft(event, n as u128), now, &mut lines).unwrap();
    }
    lines
}

#[test]
fn every_kind_has_an_example_and_reads_back_as_it_was_written() {
    let kinds: Vec<_> = examples().iter().map(|event| event.kind().to_owned()).collect();
    assert_eq!(kinds, Event::KINDS);
    let lines = golden_log();
    let mut chain = Chain::default();
    for (line, event) in lines.split_inclusive(|&b| b == b'\n').zip(examples()) {
        let line = &line[..line.len() - 1];
        assert_eq!(chain.accept(line).unwrap().event, event);
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), line);
    }
    assert_eq!(chain.size(), Event::KINDS.len() as u64);
}

#[test]
fn the_stored_bytes_of_every_kind_stay_as_they_are() {
    let golden = include_bytes!("../../../event-store/vectors/every-kind.jsonl");
    let written = golden_log();
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../event-store/vectors/every-kind.jsonl");
        std::fs::write(path, &written).unwrap();
        return;
    }
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(golden));
}

#[test]
fn a_restore_in_place_names_no_other_database() {
    let started = RestoreStarted {
        after: Digest::of(b"restored"),
        backup: backup(),
        before: Digest::of(b"schema"),
        keep_as: None,
        log_size: 17,
        restored_oid: None,
        run: run(),
        scratch: None,
        server_major: 15,
        target_oid: 16_384,
    };
    let text = serde_json::to_string(&started).unwrap();
    for name in ["keep_as", "restored_oid", "scratch"] {
        assert!(!text.contains(name), "{text}");
    }
    let read: RestoreStarted = serde_json::from_str(&text).unwrap();
    assert_eq!(read, started);
    assert!(read.is_in_place());
}

#[test]
fn any_changed_byte_is_noticed_and_named() {
    let log = golden_log();
    let lines: Vec<&[u8]> = log.split_inclusive(|&b| b == b'\n').collect();
    let mut before = Chain::default();
    // The last line is left out: what follows it, a checkpoint or another event, vouches for it.
    for pair in lines.windows(2) {
        let at = before.size();
        for (byte, flip) in (0..pair[0].len()).flat_map(|n| [0x01, 0x20, 0x80].map(|f| (n, f))) {
            let mut damaged = pair.concat();
            damaged[byte] ^= flip;
            let mut chain = before.clone();
            let bad = damaged
                .split(|&b| b == b'\n')
                .take_while(|line| !line.is_empty())
                .find_map(|line| chain.accept(line).err())
                .unwrap_or_else(|| panic!("line {at}, byte {byte} ^ {flip:#x}: not noticed"));
            assert!((at..=at + 1).contains(&bad.at().0), "line {at}, byte {byte}: {bad}");
        }
        before.accept(&pair[0][..pair[0].len() - 1]).unwrap();
    }
}

#[test]
fn a_fact_from_the_future_is_kept_but_not_understood() {
    let origin: Origin = "demo/production".parse().unwrap();
    let unknown = UnknownEvent { kind: "moon_landed".into(), schema: 3, data: "{\"a\":1}".into() };
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    seal(&mut chain, &origin, &draft(Event::Unknown(unknown.clone()), 1), at(0), &mut lines)
        .unwrap();
    let read = decode(&lines[..lines.len() - 1]).unwrap();
    assert_eq!(read.event, Event::Unknown(unknown));
}

#[test]
fn time_never_stands_still_and_never_jumps_back() {
    let origin: Origin = "demo/production".parse().unwrap();
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    let mut put = |now| {
        let draft = draft(examples().remove(0), 1);
        seal(&mut chain, &origin, &draft, now, &mut lines).map(|recorded| recorded.recorded_at)
    };
    assert_eq!(put(at(100)), Ok(at(100)));
    assert_eq!(put(at(100)), Ok(at(101)));
    assert_eq!(put(at(-4_000_000)), Ok(at(102)));
    assert!(matches!(put(at(-5_000_000)), Err(SealError::ClockWentBack { .. })));
    assert_eq!(put(at(103)), Ok(at(103)));
}

#[test]
fn an_event_too_long_for_a_line_leaves_nothing_behind() {
    let origin: Origin = "demo/production".parse().unwrap();
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    let mut long = draft(examples().remove(0), 1);
    long.actor.name = "x".repeat(MAX_LINE_BYTES);
    let error = seal(&mut chain, &origin, &long, at(0), &mut lines).unwrap_err();
    assert!(matches!(error, SealError::Unstorable { source: DecodeError::TooLong(_), .. }));
    assert_eq!((chain.size(), lines.len()), (0, 0));
}
