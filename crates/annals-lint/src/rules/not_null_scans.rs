//! A column made NOT NULL.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, altered_columns};

pub(crate) const RULE: Rule = Rule {
    id: "not-null-scans",
    risk: Risk::Blocking,
    effect: "checks every row while nobody can read or write the table",
    instead: "add CHECK (… IS NOT NULL) NOT VALID, validate it later, then set NOT NULL",
    good: "ALTER TABLE t ADD CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID",
    bad: "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    altered_columns(node, context, SyntaxKind::SET_NOT_NULL)
}
