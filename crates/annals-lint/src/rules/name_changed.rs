//! A table or column renamed.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

pub(crate) const RULE: Rule = Rule {
    id: "name-changed",
    risk: Risk::Breaking,
    effect: "programs that use the old name fail at once",
    instead: "add the new one beside the old one, and drop that in a later release",
    good: "ALTER TABLE t ADD COLUMN b int",
    bad: "ALTER TABLE t RENAME COLUMN a TO b",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    let table = relation_name::table(node);
    if node.kind() != SyntaxKind::ALTER_TABLE || context.is_new(&table) {
        return Vec::new();
    }
    let renames = node.children().filter_map(|child| match child.kind() {
        SyntaxKind::TABLE_RENAME_TO => Some(table.clone()),
        SyntaxKind::RENAME_COLUMN => {
            let column = relation_name::child(&child, &[SyntaxKind::COLUMN_NAME_REF])?;
            Some(format!("{table}.{column}"))
        }
        _ => None,
    });
    renames.collect()
}
