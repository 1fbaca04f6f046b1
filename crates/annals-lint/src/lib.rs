//! Safety rules over the statements of a plan.
//!
//! Nothing here performs IO or decides anything: a rule says what a statement does to a busy
//! database or to data, and what to do instead. One file a rule in `rules/`, one line in [`RULES`].

mod danger;
mod rule;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use annals_events::Direction;
use annals_migrations::{Plan, Script};

pub use danger::{Danger, Hazard, LARGE_BYTES, RiskFacts, RiskReport, risk};
use rule::{Context, relation_name};
pub use rule::{LintFinding, Risk, Rule};

/// Every rule.
pub const RULES: &[Rule] = &[
    rules::add_constraint_scans::RULE,
    rules::column_dropped::RULE,
    rules::column_type_changed::RULE,
    rules::index_blocks_writes::RULE,
    rules::name_changed::RULE,
    rules::not_null_scans::RULE,
    rules::rows_without_where::RULE,
    rules::table_dropped::RULE,
];

/// Applies every rule to every statement. Tables created earlier in the same plan are empty and
/// unknown to anybody, so what is done to them is harmless.
pub fn lint(plan: &Plan) -> Vec<LintFinding> {
    let statements = plan.steps.iter().flat_map(|step| {
        let statements = step.statements.iter();
        statements.map(|s| (&*step.file.name, step.direction, &*s.sql, s.line))
    });
    look(statements)
}

/// The same over migration files, in the order in which they would be applied.
pub fn lint_scripts<'a>(scripts: impl Iterator<Item = (&'a str, &'a Script)>) -> Vec<LintFinding> {
    look(scripts.flat_map(|(file, script)| {
        script.statements.iter().map(move |s| (file, Direction::Up, &*s.text, s.line))
    }))
}

fn look<'a>(
    statements: impl Iterator<Item = (&'a str, Direction, &'a str, u32)>,
) -> Vec<LintFinding> {
    let mut created: BTreeSet<String> = BTreeSet::new();
    let mut findings = Vec::new();
    for (file, direction, sql, line) in statements {
        let Some(node) = rule::parse(sql) else {
            continue;
        };
        let context = Context { created: &created, direction };
        for rule in RULES {
            let subjects = (rule.check)(&node, &context);
            findings.extend(subjects.into_iter().map(|subject| LintFinding {
                rule: rule.id,
                risk: rule.risk,
                file: file.to_owned(),
                line,
                subject,
                effect: rule.effect,
                instead: rule.instead,
            }));
        }
        created.extend(relation_name::created(&node));
    }
    findings
}
