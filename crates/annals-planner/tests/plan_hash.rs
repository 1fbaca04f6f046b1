//! The hash of a plan covers all of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use annals_events::{Digest, Direction, FileRef, LeafHash, StepMode, Version};
use annals_migrations::{
    Plan, PlannedStatement, PlannedStep, Precondition, StatementClass, StreamedFile, Timeouts,
};
use proptest::prelude::*;

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

fn any_file() -> impl Strategy<Value = FileRef> {
    ("[a-z]{1,8}", any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(name, canonical, raw)| {
        FileRef { canonical: Digest::from_bytes(canonical), name, raw: Digest::from_bytes(raw) }
    })
}

fn any_statement() -> impl Strategy<Value = PlannedStatement> {
    let index = || ("[a-z]{1,4}", "[a-z]{1,4}");
    let class = prop_oneof![
        Just(StatementClass::Transactional),
        Just(StatementClass::Repeatable),
        index().prop_map(|(index, table)| StatementClass::ConcurrentIndexBuild {
            index,
            table,
            if_not_exists: false,
        }),
        index()
            .prop_map(|(index, _)| StatementClass::ConcurrentIndexDrop { if_exists: true, index }),
        (index(), 1..9u64, 0..9u64).prop_map(|((column, table), batch, pause_ms)| {
            StatementClass::Backfill { batch, column, pause_ms, table }
        }),
    ];
    let data = proptest::option::of(any::<String>());
    (class, 1..1_000u32, any::<String>(), data)
        .prop_map(|(class, line, sql, data)| PlannedStatement { class, line, sql, data })
}

fn any_stream() -> impl Strategy<Value = StreamedFile> {
    let blocks = proptest::collection::vec(any::<[u8; 32]>().prop_map(Digest::from_bytes), 2..4);
    (blocks, 0..1u64 << 40, 0..1u64 << 40, "[a-z]{1,8}", 0..1u64 << 40).prop_map(
        |(blocks, bytes, copies, path, statements)| StreamedFile {
            blocks,
            bytes,
            copies,
            path,
            statements,
        },
    )
}

fn any_timeouts() -> impl Strategy<Value = Timeouts> {
    (0..1u64 << 31, 0..1u64 << 31, 0..1u64 << 31).prop_map(
        |(lock_ms, lock_outside_ms, statement_ms)| Timeouts {
            lock_ms,
            lock_outside_ms,
            statement_ms,
        },
    )
}

fn any_direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Up), Just(Direction::Down)]
}

fn any_mode() -> impl Strategy<Value = StepMode> {
    prop_oneof![Just(StepMode::Transactional), Just(StepMode::StatementByStatement)]
}

fn any_step() -> impl Strategy<Value = PlannedStep> {
    let files = (any_file(), proptest::option::of(any_file()));
    let statements = proptest::collection::vec(any_statement(), 2..4);
    let names = ("[a-z_]{1,8}", 1..1_000_000u64, 1..9u64);
    (any_direction(), any_mode(), files, statements, names, any_timeouts(), any_stream()).prop_map(
        |(
            direction,
            mode,
            (file, rollback),
            mut statements,
            (name, version, ordinal),
            timeouts,
            streamed,
        )| {
            // Unlike statements, so that their order is something to be changed.
            statements[1].sql = format!("{}!", statements[0].sql);
            let version = v(&version.to_string());
            PlannedStep {
                direction,
                file,
                mode,
                name,
                ordinal,
                rollback,
                statements,
                streamed: Some(streamed),
                timeouts,
                version,
            }
        },
    )
}

/// Names every field: one that is added needs its line in the tables below.
fn any_plan() -> impl Strategy<Value = Plan> {
    let precondition = (0..1u64 << 40, any::<[u8; 32]>(), "[0-9]{19}", any::<String>()).prop_map(
        |(log_size, head, system_identifier, database)| Precondition {
            log_size,
            log_head: LeafHash::from_bytes(head),
            system_identifier,
            database,
        },
    );
    let steps = proptest::collection::vec(any_step(), 2..4);
    (any::<String>(), any::<String>(), any_direction(), precondition, steps).prop_map(
        |(workspace, target, direction, precondition, mut steps)| {
            steps[1].name = format!("{}_", steps[0].name);
            let out_of_order = vec![v("1"), v("2")];
            Plan {
                format: 1,
                workspace,
                target,
                direction,
                precondition,
                out_of_order,
                single_transaction: false,
                steps,
                terms: None,
            }
        },
    )
}

fn turn(direction: &mut Direction) {
    *direction = match direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    };
}

fn switch(mode: &mut StepMode) {
    *mode = match mode {
        StepMode::Transactional => StepMode::StatementByStatement,
        StepMode::StatementByStatement => StepMode::Transactional,
    };
}

fn flip(digest: &mut Digest) {
    let mut bytes = *digest.as_bytes();
    bytes[31] ^= 1;
    *digest = Digest::from_bytes(bytes);
}

fn reclass(class: &mut StatementClass) {
    *class = match class {
        StatementClass::Transactional => StatementClass::Repeatable,
        StatementClass::Repeatable => StatementClass::Transactional,
        StatementClass::ConcurrentIndexBuild { index, table, if_not_exists } => {
            let (index, table) = (index.clone(), format!("{table}x"));
            StatementClass::ConcurrentIndexBuild { index, table, if_not_exists: !*if_not_exists }
        }
        StatementClass::ConcurrentIndexDrop { if_exists, index } => {
            let index = format!("{index}x");
            StatementClass::ConcurrentIndexDrop { if_exists: !*if_exists, index }
        }
        StatementClass::Backfill { batch, column, pause_ms, table } => StatementClass::Backfill {
            batch: *batch + 1,
            column: column.clone(),
            pause_ms: *pause_ms,
            table: table.clone(),
        },
        other => unreachable!("not among those that are made: {other:?}"),
    };
}

fn other_rollback(rollback: &mut Option<FileRef>) {
    match rollback {
        None => {
            *rollback = Some(FileRef {
                canonical: Digest::of(b""),
                name: String::new(),
                raw: Digest::of(b""),
            })
        }
        Some(file) => flip(&mut file.canonical),
    }
}

fn stream(plan: &mut Plan) -> &mut StreamedFile {
    plan.steps[1].streamed.as_mut().unwrap()
}

type Mutation = (&'static str, fn(&mut Plan));

const OF_A_PLAN: &[Mutation] = &[
    ("format", |plan| plan.format += 1),
    ("workspace", |plan| plan.workspace.push('x')),
    ("target", |plan| plan.target.push('x')),
    ("direction", |plan| turn(&mut plan.direction)),
    ("precondition.log_size", |plan| plan.precondition.log_size += 1),
    ("precondition.log_head", |plan| {
        plan.precondition.log_head = LeafHash::of_line(plan.precondition.log_head.as_bytes());
    }),
    ("precondition.system_identifier", |plan| plan.precondition.system_identifier.push('0')),
    ("precondition.database", |plan| plan.precondition.database.push('x')),
    ("out_of_order", |plan| plan.out_of_order.push(v("3"))),
    ("out_of_order, its order", |plan| plan.out_of_order.swap(0, 1)),
    ("single_transaction", |plan| plan.single_transaction ^= true),
    ("steps, one fewer", |plan| drop(plan.steps.pop())),
    ("steps, their order", |plan| plan.steps.swap(0, 1)),
];

const OF_A_STEP: &[Mutation] = &[
    ("direction", |plan| turn(&mut plan.steps[1].direction)),
    ("file.canonical", |plan| flip(&mut plan.steps[1].file.canonical)),
    ("file.name", |plan| plan.steps[1].file.name.push('x')),
    ("file.raw", |plan| flip(&mut plan.steps[1].file.raw)),
    ("mode", |plan| switch(&mut plan.steps[1].mode)),
    ("name", |plan| plan.steps[1].name.push('x')),
    ("ordinal", |plan| plan.steps[1].ordinal += 1),
    ("rollback", |plan| other_rollback(&mut plan.steps[1].rollback)),
    ("statements, one fewer", |plan| drop(plan.steps[1].statements.pop())),
    ("statements, their order", |plan| plan.steps[1].statements.swap(0, 1)),
    ("statement.class", |plan| reclass(&mut plan.steps[1].statements[0].class)),
    ("statement.line", |plan| plan.steps[1].statements[0].line += 1),
    ("statement.data", |plan| match &mut plan.steps[1].statements[0].data {
        Some(data) => data.push('x'),
        none => *none = Some(String::new()),
    }),
    ("streamed", |plan| plan.steps[1].streamed = None),
    ("streamed.blocks", |plan| flip(&mut stream(plan).blocks[1])),
    ("streamed.bytes", |plan| stream(plan).bytes += 1),
    ("streamed.copies", |plan| stream(plan).copies += 1),
    ("streamed.path", |plan| stream(plan).path.push('x')),
    ("streamed.statements", |plan| stream(plan).statements += 1),
    ("statement.sql", |plan| plan.steps[1].statements[0].sql.push(' ')),
    ("timeouts.lock_ms", |plan| plan.steps[1].timeouts.lock_ms += 1),
    ("timeouts.lock_outside_ms", |plan| plan.steps[1].timeouts.lock_outside_ms += 1),
    ("timeouts.statement_ms", |plan| plan.steps[1].timeouts.statement_ms += 1),
    ("version", |plan| plan.steps[1].version = v("1000001")),
];

proptest! {
    #[test]
    fn every_change_of_a_plan_changes_its_hash(plan in any_plan()) {
        let hash = plan.hash();
        prop_assert_eq!(plan.clone().hash(), hash);
        for (what, mutate) in OF_A_PLAN.iter().chain(OF_A_STEP) {
            let mut other = plan.clone();
            mutate(&mut other);
            prop_assert_ne!(other.hash(), hash, "{}", what);
        }
    }
}
