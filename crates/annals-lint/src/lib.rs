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

use annals_migrations::Plan;

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
    let mut created: BTreeSet<String> = BTreeSet::new();
    let mut findings = Vec::new();
    for step in &plan.steps {
        for statement in &step.statements {
            let Some(node) = rule::parse(&statement.sql) else {
                continue;
            };
            let context = Context { created: &created, direction: step.direction };
            for rule in RULES {
                let subjects = (rule.check)(&node, &context);
                findings.extend(subjects.into_iter().map(|subject| LintFinding {
                    rule: rule.id,
                    risk: rule.risk,
                    file: step.file.name.clone(),
                    line: statement.line,
                    subject,
                    effect: rule.effect,
                    instead: rule.instead,
                }));
            }
            created.extend(relation_name::created(&node));
        }
    }
    findings
}
