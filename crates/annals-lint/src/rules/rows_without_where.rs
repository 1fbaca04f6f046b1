//! Every row of a table deleted or changed.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, relation_name};

pub(crate) const RULE: Rule = Rule {
    id: "rows-without-where",
    risk: Risk::DataLoss,
    effect: "reaches every row of the table in one transaction",
    instead: "say which rows with WHERE; change many of them in batches",
    good: "DELETE FROM t WHERE a = 1",
    bad: "DELETE FROM t",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    let unbounded = match node.kind() {
        SyntaxKind::TRUNCATE => true,
        SyntaxKind::DELETE | SyntaxKind::UPDATE => {
            !node.children().any(|child| child.kind() == SyntaxKind::WHERE_CLAUSE)
        }
        _ => false,
    };
    let kinds = [SyntaxKind::RELATION_NAME, SyntaxKind::TABLE_LIST];
    let table = relation_name::child(node, &kinds).unwrap_or_default();
    if unbounded && !context.is_new(&table) { vec![table] } else { Vec::new() }
}
