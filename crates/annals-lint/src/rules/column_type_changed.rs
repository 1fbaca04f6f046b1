//! A column given another type.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, altered_columns};

pub(crate) const RULE: Rule = Rule {
    id: "column-type-changed",
    risk: Risk::Blocking,
    effect: "usually rewrites the whole table while nobody can read or write it",
    instead: "add a new column, fill it in batches, and switch over",
    good: "ALTER TABLE t ADD COLUMN a2 bigint",
    bad: "ALTER TABLE t ALTER COLUMN a TYPE bigint",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    altered_columns(node, context, SyntaxKind::SET_TYPE)
}
