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
