//! The contents of tables as numbers: equal where the rows are, whatever their order.

use annals_events::CheckLevel::Full;
use annals_integrity::{ContentMethod, TableContent, compare_contents};
use annals_postgres::{CheckLimits, CheckReport};

use crate::ground::{Asked, Ground};

fn contents(report: &CheckReport, server_major: u32) -> Vec<TableContent> {
    let content = |content: &annals_postgres::Content| TableContent {
        table: content.table.clone(),
        columns: content.columns.clone(),
        method: if content.as_text { ContentMethod::Text } else { ContentMethod::Record },
        server_major,
        rows: content.rows,
        sums: content.sums,
        parts: content.parts,
    };
    report.contents.iter().map(content).collect()
}

#[test]
fn a_copy_is_compared_by_its_content() {
    let ground = Ground::new();
    let major = ground.major();
    let asked = Asked::at(Full);
    let original = contents(&ground.check("sound", &asked), major);
    assert!(original.iter().any(|c| c.table == "app.child" && c.rows == 3 && c.sums[0] != 0));

    // Other places of rows, other numbers of types, other order of columns.
    ground.copy("copy");
    ground.sql(
        "copy",
        "CREATE TYPE app.mood2 AS ENUM ('cross', 'calm'); \
        ALTER TABLE app.child ALTER mood TYPE app.mood2 USING mood::text::app.mood2; \
        DROP VIEW app.seen; ALTER TABLE app.guarded ADD moved name; \
        UPDATE app.guarded SET moved = owner; DROP POLICY own ON app.guarded; \
        ALTER TABLE app.guarded DROP owner; ALTER TABLE app.guarded RENAME moved TO owner; \
        DELETE FROM app.part WHERE id < 10; \
        INSERT INTO app.part SELECT i, '2026-01-01' FROM generate_series(9, 1, -1) i",
    );
    let same = contents(&ground.check("copy", &asked), major);
    assert_eq!(compare_contents(&original, &same), []);

    // Two rows that are exchanged for two others, so that their number stays.
    ground.sql(
        "copy",
        "UPDATE app.child SET note = 'z' WHERE id = 1; DELETE FROM app.parent WHERE id = 3",
    );
    let other = contents(&ground.check("copy", &asked), major);
    let found = compare_contents(&original, &other);
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|f| (f.id, f.subject.as_str(), f.evidence.as_str())).collect();
    assert_eq!(
        found,
        [
            ("data.checksum", "table app.child", "3 rows on both sides, with other content"),
            ("data.checksum", "table app.parent", "2 rows, expected 3"),
        ]
    );
}

#[test]
fn a_table_that_is_read_in_parts_by_several_sessions_comes_to_the_same() {
    let ground = Ground::new();
    ground.copy("large");
    ground.sql(
        "large",
        "INSERT INTO app.part SELECT i % 200, date '2026-02-01' + i / 200 \
        FROM generate_series(1, 40000) i ON CONFLICT DO NOTHING; \
        SET session_replication_role = replica; \
        INSERT INTO app.child (parent, n, fine) SELECT 1, 1, 1 FROM generate_series(1, 20000); \
        UPDATE app.child SET parent = 77 WHERE id IN (19000, 20000)",
    );
    let whole = ground.check("large", &Asked::at(Full));
    let parted = Asked {
        limits: CheckLimits { part_blocks: 16, ..CheckLimits::default() },
        jobs: 3,
        ..Asked::at(Full)
    };
    let parted = ground.check("large", &parted);
    assert_eq!(whole.seen.len(), 1, "{:?}", whole.seen);
    let names = |report: &CheckReport| {
        report.seen.iter().map(|s| (s.check, s.subject.clone())).collect::<Vec<_>>()
    };
    assert_eq!(names(&whole), names(&parted));
    assert_eq!((whole.tables, whole.rows), (parted.tables, parted.rows));
    let parts = |report: &CheckReport| report.contents.iter().map(|c| c.parts).max().unwrap();
    assert_eq!(parts(&whole), 1);
    // Before 14 a part costs as much as the whole.
    assert_eq!(parts(&parted) > 1, ground.major() >= 14);
    let plain = |report: &CheckReport| {
        report.contents.iter().map(|c| (c.table.clone(), c.rows, c.sums)).collect::<Vec<_>>()
    };
    assert_eq!(plain(&whole), plain(&parted));
}
