//! A column given another type.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

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
    let table = relation_name::table(node);
    if node.kind() != SyntaxKind::ALTER_TABLE || context.is_new(&table) {
        return Vec::new();
    }
    let alters = node.children().filter(|child| child.kind() == SyntaxKind::ALTER_COLUMN);
    alters
        .filter(|alter| alter.children().any(|child| child.kind() == SyntaxKind::SET_TYPE))
        .filter_map(|alter| relation_name::child(&alter, &[SyntaxKind::COLUMN_NAME_REF]))
        .map(|column| format!("{table}.{column}"))
        .collect()
}
