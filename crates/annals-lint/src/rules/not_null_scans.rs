//! A column made NOT NULL.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

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
    let table = relation_name::table(node);
    if node.kind() != SyntaxKind::ALTER_TABLE || context.is_new(&table) {
        return Vec::new();
    }
    let alters = node.children().filter(|child| child.kind() == SyntaxKind::ALTER_COLUMN);
    alters
        .filter(|alter| alter.children().any(|child| child.kind() == SyntaxKind::SET_NOT_NULL))
        .filter_map(|alter| relation_name::child(&alter, &[SyntaxKind::COLUMN_NAME_REF]))
        .map(|column| format!("{table}.{column}"))
        .collect()
}
