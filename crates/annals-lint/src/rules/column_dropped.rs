//! A column dropped.

use annals_events::Direction;
use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

pub(crate) const RULE: Rule = Rule {
    id: "column-dropped",
    risk: Risk::DataLoss,
    effect: "its values are gone, and programs that read it fail",
    instead: "stop using it first; drop it in a later release, with a backup",
    good: "ALTER TABLE t ADD COLUMN b int",
    bad: "ALTER TABLE t DROP COLUMN b",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    let table = relation_name::table(node);
    // Rolling back an added column drops it: that is the point, and the plan says so elsewhere.
    if node.kind() != SyntaxKind::ALTER_TABLE
        || context.is_new(&table)
        || context.direction == Direction::Down
    {
        return Vec::new();
    }
    let drops = node.children().filter(|child| child.kind() == SyntaxKind::DROP_COLUMN);
    drops
        .filter_map(|drop| relation_name::child(&drop, &[SyntaxKind::COLUMN_NAME_REF]))
        .map(|column| format!("{table}.{column}"))
        .collect()
}
