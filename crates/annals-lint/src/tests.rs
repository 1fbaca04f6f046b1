//! Every rule's own examples, and what makes a statement harmless.

use annals_events::{Digest, Direction, FileRef, LeafHash, StepMode};
use annals_migrations::{
    PLAN_FORMAT, Plan, PlannedStatement, PlannedStep, Precondition, StatementClass, Timeouts,
};

use crate::{RULES, lint};

fn plan(direction: Direction, statements: &[&str]) -> Plan {
    let file = FileRef { canonical: Digest::of(b""), name: "1_a.sql".into(), raw: Digest::of(b"") };
    let statements = statements.iter().map(|sql| PlannedStatement {
        class: StatementClass::Transactional,
        line: 1,
        sql: (*sql).to_owned(),
        data: None,
    });
    let step = PlannedStep {
        direction,
        file,
        mode: StepMode::Transactional,
        name: "a".into(),
        ordinal: 1,
        rollback: None,
        statements: statements.collect(),
        streamed: None,
        timeouts: Timeouts { lock_ms: 0, lock_outside_ms: 0, statement_ms: 0 },
        version: "1".parse().unwrap(),
    };
    Plan {
        format: PLAN_FORMAT,
        workspace: "w".into(),
        target: "t".into(),
        direction,
        precondition: Precondition {
            log_size: 0,
            log_head: LeafHash::ZERO,
            system_identifier: "1".into(),
            database: "d".into(),
        },
        out_of_order: Vec::new(),
        single_transaction: false,
        steps: vec![step],
        terms: None,
    }
}

fn found(direction: Direction, statements: &[&str]) -> Vec<&'static str> {
    lint(&plan(direction, statements)).iter().map(|finding| finding.rule).collect()
}

#[test]
fn every_rule_finds_its_bad_example_and_nothing_in_its_good_one() {
    for rule in RULES {
        assert!(found(Direction::Up, &[rule.bad]).contains(&rule.id), "{}: {}", rule.id, rule.bad);
        assert!(
            !found(Direction::Up, &[rule.good]).contains(&rule.id),
            "{}: {}",
            rule.id,
            rule.good
        );
    }
}

#[test]
fn what_is_done_to_a_table_of_the_same_plan_is_harmless() {
    let create = "CREATE TABLE public.T (a int)";
    for rule in RULES {
        assert_eq!(found(Direction::Up, &[create, rule.bad]), [""; 0], "{}", rule.id);
    }
}

#[test]
fn a_rollback_that_drops_what_was_added_is_not_a_surprise() {
    assert_eq!(found(Direction::Down, &["DROP TABLE t", "ALTER TABLE t DROP COLUMN a"]), [""; 0]);
}

mod danger {
    use annals_events::Direction;
    use annals_migrations::RiskLevel;

    use super::plan;
    use crate::{Danger, RiskFacts, risk};

    fn level(statements: &[&str]) -> RiskLevel {
        risk(&plan(Direction::Up, statements), &RiskFacts::default()).level
    }

    fn dangers(sql: &str) -> Vec<&'static str> {
        let report = risk(&plan(Direction::Up, &[sql]), &RiskFacts::default());
        report.hazards.iter().map(|hazard| hazard.danger.id()).collect()
    }

    #[test]
    fn each_statement_has_the_level_of_the_table() {
        use RiskLevel::{Critical, High, Low, Medium};
        let cases: &[(&str, RiskLevel)] = &[
            ("CREATE TABLE t (id int PRIMARY KEY)", Low),
            ("CREATE VIEW v AS SELECT 1", Low),
            ("COMMENT ON TABLE t IS 'x'", Low),
            ("SELECT count(*) FROM t", Low),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", Medium),
            ("INSERT INTO t VALUES (1, now())", Medium),
            ("ALTER TABLE t ADD COLUMN a int", Medium),
            ("ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 1", Medium),
            ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", Medium),
            ("ALTER TABLE t VALIDATE CONSTRAINT c", Medium),
            ("CREATE INDEX CONCURRENTLY i ON t (a)", Medium),
            ("SET search_path = a", Medium),
            ("DROP INDEX i", Medium),
            ("CREATE TABLE c (id int REFERENCES t)", Medium),
            ("CREATE INDEX i ON t (a)", High),
            ("ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid()", High),
            ("ALTER TABLE t ADD COLUMN a bigserial", High),
            ("ALTER TABLE t ALTER COLUMN a TYPE bigint", High),
            ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", High),
            ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", High),
            ("ALTER TABLE t RENAME TO u", High),
            ("ALTER TABLE t DISABLE ROW LEVEL SECURITY", High),
            ("GRANT ALL ON t TO PUBLIC", High),
            ("UPDATE t SET a = 1 WHERE id = 1", High),
            ("DELETE FROM t WHERE id = 1", High),
            ("DO $$ BEGIN NULL; END $$", High),
            ("CALL p()", High),
            ("SELECT wipe_everything()", High),
            ("CREATE EXTENSION hstore", High),
            ("VACUUM FULL t", High),
            ("LOCK TABLE t", High),
            ("DROP TABLE t", Critical),
            ("DROP SCHEMA s", Critical),
            ("DROP VIEW v CASCADE", Critical),
            ("ALTER TABLE t DROP COLUMN a", Critical),
            ("TRUNCATE t", Critical),
            ("DELETE FROM t", Critical),
            ("UPDATE t SET a = 1", Critical),
            ("DELETE FROM t WHERE true", Critical),
            ("DELETE FROM t WHERE 1 = 1", Critical),
            ("WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone", Critical),
            ("COPY t TO PROGRAM 'sh'", Critical),
            ("COPY t FROM '/etc/passwd'", Critical),
            ("ALTER SYSTEM SET fsync = off", Critical),
        ];
        for (sql, expected) in cases {
            assert_eq!(level(&[sql]), *expected, "{sql}: {:?}", dangers(sql));
        }
    }

    #[test]
    fn no_comment_lowers_it() {
        for sql in [
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) /* NOT VALID */",
            "CREATE INDEX /* CONCURRENTLY */ i ON t (a)",
            "CREATE INDEX i ON t (a) -- CONCURRENTLY",
            "/* risk: low */ DROP TABLE t",
            "DELETE FROM t /* WHERE id = 1 */",
            "REFRESH MATERIALIZED VIEW /* CONCURRENTLY */ v",
        ] {
            assert!(level(&[sql]) >= RiskLevel::High, "{sql}: {:?}", dangers(sql));
        }
    }

    #[test]
    fn a_table_counts_as_new_only_where_its_name_means_it() {
        let index = "CREATE INDEX i ON t (a)";
        assert_eq!(level(&["CREATE TABLE t (a int)", index]), RiskLevel::Low);
        for before in [
            vec!["CREATE TABLE IF NOT EXISTS t (a int)"],
            vec!["CREATE TEMP TABLE t (a int)"],
            vec![
                "CREATE TABLE t (a int)",
                "ALTER TABLE t RENAME TO u",
                "ALTER TABLE o RENAME TO t",
            ],
            vec!["SET search_path = a", "CREATE TABLE t (a int)"],
            vec!["CREATE TABLE t (a int)", "DO $$ BEGIN END $$"],
        ] {
            let all: Vec<&str> = before.iter().copied().chain([index]).collect();
            assert!(level(&all) >= RiskLevel::High, "{all:?}");
        }
        assert_eq!(level(&["CREATE TABLE t (a int)", "DROP TABLE t"]), RiskLevel::Critical);
    }

    #[test]
    fn what_is_known_besides_the_plan_raises_it() {
        let index = plan(Direction::Up, &["CREATE INDEX i ON t (a)"]);
        let table = plan(Direction::Up, &["CREATE TABLE t (a int)"]);
        let large = RiskFacts { large: ["t".to_owned()].into(), ..RiskFacts::default() };
        let unproven = RiskFacts { unproven: ["1_a".to_owned()].into(), ..RiskFacts::default() };
        assert_eq!(risk(&index, &large).level, RiskLevel::Critical);
        assert_eq!(risk(&table, &unproven).level, RiskLevel::High);
        let mut late = table.clone();
        late.out_of_order = vec!["1".parse().unwrap()];
        assert_eq!(risk(&late, &RiskFacts::default()).level, RiskLevel::High);
        let down = plan(Direction::Down, &["SELECT 1"]);
        assert_eq!(risk(&down, &RiskFacts::default()).level, RiskLevel::Medium);
    }

    #[test]
    fn the_table_in_the_reference_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/risk.md");
        let text = std::fs::read_to_string(path).unwrap();
        for danger in Danger::ALL {
            let line =
                format!("| `{}` | {} | {} |", danger.id(), danger.level().as_str(), danger.what());
            assert!(text.contains(&line), "docs/reference/risk.md lacks the line\n{line}");
        }
        let lines = text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(lines, Danger::ALL.len());
    }
}
