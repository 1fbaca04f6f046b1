//! A table dropped.

use annals_events::Direction;
use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

pub(crate) const RULE: Rule = Rule {
    id: "table-dropped",
    risk: Risk::DataLoss,
    effect: "its rows are gone, and programs that use it fail",
    instead: "stop using it first; rename it away, and drop it in a later release with a backup",
    good: "CREATE TABLE t (a int)",
    bad: "DROP TABLE t",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    // Rolling back a created table drops it: that is the point.
    if node.kind() != SyntaxKind::DROP_TABLE || context.direction == Direction::Down {
        return Vec::new();
    }
    let names = node.children().filter(|child| child.kind() == SyntaxKind::TABLE_NAME_REF);
    names
        .map(|name| relation_name::normalized(&name.text().to_string()))
        .filter(|name| !context.is_new(name))
        .collect()
}
