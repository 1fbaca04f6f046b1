//! A constraint added to a table with rows.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

pub(crate) const RULE: Rule = Rule {
    id: "add-constraint-scans",
    risk: Risk::Blocking,
    effect: "checks every row while holding a lock that stops writers",
    instead: "add it NOT VALID, and VALIDATE CONSTRAINT in a later migration",
    good: "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    bad: "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    let table = relation_name::table(node);
    if node.kind() != SyntaxKind::ALTER_TABLE || context.is_new(&table) {
        return Vec::new();
    }
    let scans = |node: &SyntaxNode| {
        let text = node.text().to_string().to_uppercase();
        let kind = node.children().any(|child| {
            matches!(
                child.kind(),
                SyntaxKind::CHECK_CONSTRAINT | SyntaxKind::FOREIGN_KEY_CONSTRAINT
            )
        });
        kind && !text.split_whitespace().collect::<Vec<_>>().join(" ").contains("NOT VALID")
    };
    let adds = node.children().filter(|child| child.kind() == SyntaxKind::ADD_CONSTRAINT);
    adds.filter(|add| scans(add)).map(|_| table.clone()).collect()
}
